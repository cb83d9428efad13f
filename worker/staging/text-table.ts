/**
 * Where the rows of a table of text begin, as far as this node has looked. A scan goes on from the nearest place that is known, so that no
 * byte is looked at twice but for a mebibyte now and then, whatever parts of the file the node is given, and in whatever order.
 */
import type { HostPart } from '../../common/core/host-protocol.ts';
import type { FilePart } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { linesHeadBytes, RowScanner, type RowForm, type ScanState } from '../core/row-scanner.ts';
import { bytesOf, type Keep, type PartSource } from './part-source.ts';

/** What is read at first behind a part, to find the end of its last row. */
const behindBytes = 65_536;

interface Head {
  /** Bytes that tell the columns. */
  readonly bytes: number;
  /** Where the first row may begin. */
  readonly rowsBegin: number;
  /** Null: too many to keep. */
  readonly kept: Uint8Array | null;
}

export class TextTable {
  readonly #form: RowForm;
  /** In order of their offsets, a mebibyte apart. */
  readonly #places: ScanState[];
  /** The first place at or behind an offset that was asked for. */
  readonly #answers = new Map<number, ScanState>();
  #head: Head | null = null;

  constructor(form: RowForm) {
    this.#form = form;
    this.#places = [new RowScanner(form).state];
  }

  /**
   * Finds the rows of a part; one at a time. What `keep` is given is what a host needs. Bytes before the part are looked at, unless
   * known, and not kept. Throws what the source throws.
   */
  async locate(part: FilePart, source: PartSource, keep: Keep | null): Promise<HostPart> {
    const head = (this.#head ??= await this.#findHead(source));
    if (keep) await keepHead(head, source, keep);
    const target = Math.max(part.begin, head.rowsBegin);
    const isEnd = part.end === part.fileBytes;
    const begin = this.#answers.get(target) ?? null;
    const end = isEnd ? part.fileBytes : (this.#answers.get(part.end)?.offset ?? null);
    if (target >= part.end) return this.#hostPart(head, { ...this.#before(target), offset: target }, target);
    if (begin === null || end === null) return await this.#scan(part, { head, target, begin, isEnd }, source, keep);
    if (begin.offset >= part.end) return this.#hostPart(head, begin, begin.offset);
    if (keep) await keepRange(source, begin.offset, end, keep);
    return this.#hostPart(head, begin, end);
  }

  async #scan(
    part: FilePart,
    known: { readonly head: Head; readonly target: number; readonly begin: ScanState | null; readonly isEnd: boolean },
    source: PartSource,
    keep: Keep | null,
  ): Promise<HostPart> {
    const { head, target, isEnd } = known;
    let { begin } = known;
    const scanner = new RowScanner(this.#form, begin ?? this.#before(target));
    let position = scanner.state.offset;
    for await (const bytes of windows(source, position, part)) {
      let at = 0;
      if (begin === null) {
        at = scanner.seek(bytes, 0, target);
        if (at >= 0) {
          begin = scanner.state;
          this.#answers.set(target, begin);
        } else {
          this.#remember(scanner.state);
          position += bytes.length;
          if (position < part.end) continue;
        }
        if (begin === null || begin.offset >= part.end) break;
      }
      if (isEnd && keep === null) break;
      const stop = isEnd ? -1 : scanner.seek(bytes, at, part.end);
      if (keep) await keep(bytes.subarray(at, stop < 0 ? bytes.length : stop), position + at);
      if (stop >= 0) {
        this.#answers.set(part.end, scanner.state);
        return this.#hostPart(head, begin, scanner.state.offset);
      }
      if (!isEnd) this.#remember(scanner.state);
      position += bytes.length;
      // No record: the reader says so of what is there of it.
      if (position - part.end > limits.splitRecordBytesMax) return this.#hostPart(head, begin, position);
    }
    const none = scanner.state;
    if (begin === null || begin.offset >= part.end) return this.#hostPart(head, none, none.offset);
    return this.#hostPart(head, begin, part.fileBytes);
  }

  #hostPart(head: Head, begin: ScanState, end: number): HostPart {
    const row = this.#form.kind === 'csv' ? Math.max(0, begin.records - 1) : begin.records;
    return { kind: 'text', begin: begin.offset, end, head: head.bytes, row, line: begin.line };
  }

  /** The last place from which all rows at or behind `offset` are found. */
  #before(offset: number): ScanState {
    let low = 0;
    let high = this.#places.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#places[middle] as ScanState).offset <= offset) low = middle;
      else high = middle - 1;
    }
    return this.#places[low] as ScanState;
  }

  #remember(state: ScanState): void {
    const last = this.#places.at(-1) as ScanState;
    if (state.offset - last.offset >= limits.splitPlaceBytes) this.#places.push(state);
  }

  async #findHead(source: PartSource): Promise<Head> {
    const { bytes, rowsBegin } = await (this.#form.kind === 'csv' ? this.#csvHead(source) : this.#linesHead(source));
    const kept = bytes <= limits.splitKeptBytes ? await bytesOf(source, 0, bytes) : null;
    return { bytes, rowsBegin, kept };
  }

  /** The header and the first row. */
  async #csvHead(source: PartSource): Promise<Omit<Head, 'kept'>> {
    let rowsBegin: number | null = null;
    for await (const { offset, records } of this.#starts(source)) {
      if (records >= 1) rowsBegin ??= offset;
      if (records >= 2) return { bytes: offset, rowsBegin: rowsBegin ?? offset };
    }
    return { bytes: source.fileBytes, rowsBegin: rowsBegin ?? source.fileBytes };
  }

  /** The lines within the first bytes; of more, where there is no row in them. */
  async #linesHead(source: PartSource): Promise<Omit<Head, 'kept'>> {
    let within = linesHeadBytes;
    let last: ScanState | null = null;
    for await (const start of this.#starts(source)) {
      if (start.offset > within) {
        if (last !== null && last.records > 0) return { bytes: last.offset, rowsBegin: 0 };
        while (start.offset > within) within += linesHeadBytes;
      }
      last = start;
    }
    const isRest = last !== null && last.records > 0 && source.fileBytes > within;
    return { bytes: isRest && last ? last.offset : source.fileBytes, rowsBegin: 0 };
  }

  /** The beginnings of all lines but the first. */
  async *#starts(source: PartSource): AsyncGenerator<ScanState, void, void> {
    const scanner = new RowScanner(this.#form);
    let reached = 0;
    for (let size = behindBytes; reached < source.fileBytes; size *= 4) {
      const end = Math.min(source.fileBytes, reached + size);
      for await (const bytes of source.read(reached, end)) {
        for (let at = scanner.seek(bytes, 0, 1); at >= 0;) {
          const { state } = scanner;
          yield state;
          at = scanner.seek(bytes, at, state.offset + 1);
        }
      }
      reached = end;
    }
  }
}

async function keepHead({ bytes, kept }: Head, source: PartSource, keep: Keep): Promise<void> {
  if (kept) await keep(kept, 0);
  else await keepRange(source, 0, bytes, keep);
}

export async function keepRange(source: PartSource, begin: number, end: number, keep: Keep): Promise<void> {
  let at = begin;
  for await (const piece of source.read(begin, end)) {
    await keep(piece, at);
    at += piece.length;
  }
}

/** From `begin` to a little behind the part, and on to the end of the file for as long as somebody takes it. */
async function* windows(source: PartSource, begin: number, part: FilePart): AsyncGenerator<Uint8Array, void, void> {
  let at = begin;
  for (let end = part.end + behindBytes; at < part.fileBytes; end += limits.splitPlaceBytes) {
    const stop = Math.min(part.fileBytes, Math.max(end, at));
    yield* source.read(at, stop);
    at = stop;
  }
}
