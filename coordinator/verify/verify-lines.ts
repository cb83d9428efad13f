/**
 * Lines of input files: each ordinal once, in input order, in mini-batches that tile them; each failed one with its reason in the
 * errors file; rows as the segments of the output count them. All three are read side by side, a line at a time.
 */
import type { ErrorLine, FileLine, SealedChunk, SealedTotals, SegmentLine } from '../output/sealed-lines.ts';
import { errorLineSchema, fileLineSchema, segmentLineSchema, type Manifest } from '../output/manifest-schema.ts';
import type { FindingKind } from './findings.ts';
import { isSamePart, PartWalk } from './part-walk.ts';
import { isAsSealed, readLines, type NumberedLine, type Place } from './sealed-files.ts';

export type LineTotals = Omit<SealedTotals, 'rows' | 'output_bytes'>;

export interface VerifiedLines {
  readonly totals: LineTotals;
  /** False when a part could not be read, so that nothing follows from the sums. */
  readonly isWhole: boolean;
}

/** `onFile` gets every line that can be trusted. */
export async function verifyLines(
  place: Place,
  manifest: Manifest,
  onFile: (line: FileLine) => Promise<void>,
): Promise<VerifiedLines> {
  const errors = await sideLines(place, manifest.errors ? [manifest.errors] : [], errorLineSchema);
  const segments = await sideLines(place, manifest.segments ?? [], segmentLineSchema);
  const walk = new LineWalk(place, manifest, new ErrorSide(place, errors), new SegmentSide(place, segments));
  for (const chunk of manifest.files) {
    if (!(await isAsSealed(place, chunk))) {
      walk.lose();
      continue;
    }
    walk.enter(chunk.path);
    for await (const line of readLines(place, chunk, fileLineSchema)) {
      await walk.take(line);
      await onFile(line.value);
    }
  }
  await walk.end();
  return { totals: walk.totals, isWhole: walk.isWhole };
}

/** Null when one of the files is not what was sealed: what is in it says nothing. */
async function sideLines<T>(
  place: Place,
  chunks: readonly SealedChunk[],
  schema: Parameters<typeof readLines<T>>[2],
): Promise<Peeking<T & { readonly at: LineAt }> | null> {
  for (const chunk of chunks) if (!(await isAsSealed(place, chunk))) return null;
  async function* all(): AsyncGenerator<T & { readonly at: LineAt }, void, void> {
    for (const chunk of chunks) {
      for await (const { line, value } of readLines(place, chunk, schema))
        yield { ...value, at: { path: chunk.path, line } };
    }
  }
  return await Peeking.of(all());
}

interface LineAt {
  readonly path: string;
  readonly line: number;
}

/** An iteration whose next value can be looked at. */
class Peeking<T> {
  readonly #from: AsyncIterator<T>;
  next: T | null = null;

  private constructor(from: AsyncIterator<T>) {
    this.#from = from;
  }

  static async of<T>(from: AsyncIterable<T>): Promise<Peeking<T>> {
    const peeking = new Peeking(from[Symbol.asyncIterator]());
    await peeking.advance();
    return peeking;
  }

  async advance(): Promise<void> {
    const next = await this.#from.next();
    this.next = next.done === true ? null : next.value;
  }
}

function report(place: Place, at: LineAt, kind: FindingKind, message: string): void {
  const where = `line ${at.line}`;
  place.findings.add({
    ...{ code: 'MANIFEST_INVALID', kind, path: at.path },
    ...{ place: where, message: `${at.path}, ${where}: ${message}` },
  });
}

/** The errors file beside the lines of the files. */
class ErrorSide {
  readonly #place: Place;
  readonly #lines: Peeking<ErrorLine & { readonly at: LineAt }> | null;

  constructor(place: Place, lines: Peeking<ErrorLine & { readonly at: LineAt }> | null) {
    this.#place = place;
    this.#lines = lines;
  }

  async take(file: FileLine, at: LineAt): Promise<void> {
    if (this.#lines === null) return;
    await this.skipTo(file.ordinal);
    const error = this.#lines.next;
    const isNamed = error?.ordinal === file.ordinal;
    if (isNamed && file.status !== 'failed') {
      report(
        this.#place,
        error.at,
        'inconsistent',
        `file ${file.ordinal} has failed here and is ${file.status} in ${at.path}`,
      );
    } else if (isNamed && (error.path !== file.path || error.code !== file.code || !isSamePart(error, file))) {
      const found = `${error.path} with ${error.code}`;
      report(
        this.#place,
        error.at,
        'inconsistent',
        `file ${file.ordinal} is ${found} here, ${file.path} with ${file.code} in ${at.path}`,
      );
    } else if (!isNamed && file.status === 'failed') {
      report(
        this.#place,
        at,
        'gap',
        `file ${file.ordinal} (${file.path}) has failed, and the errors file does not say why`,
      );
    }
    if (isNamed) await this.#lines.advance();
  }

  /** Lines of files before `ordinal` that no file has asked for: doubled, out of order, or of no file. */
  async skipTo(ordinal: number, isTold = true): Promise<void> {
    while (this.#lines?.next && this.#lines.next.ordinal < ordinal) {
      const { next } = this.#lines;
      if (isTold)
        report(this.#place, next.at, 'overlap', `file ${next.ordinal} (${next.path}) is named again, or out of order`);
      await this.#lines.advance();
    }
  }

  async end(files: number): Promise<void> {
    while (this.#lines?.next) {
      const { next } = this.#lines;
      report(this.#place, next.at, 'inconsistent', `file ${next.ordinal} is none of the ${files} of the input`);
      await this.#lines.advance();
    }
  }
}

/** Rows of the files of each segment, so far as they are known by file, against the segment's own count. */
class SegmentSide {
  readonly #place: Place;
  readonly #lines: Peeking<SegmentLine & { readonly at: LineAt }> | null;
  #rows = 0;
  #isKnown = true;

  constructor(place: Place, lines: Peeking<SegmentLine & { readonly at: LineAt }> | null) {
    this.#place = place;
    this.#lines = lines;
  }

  async take(file: FileLine): Promise<void> {
    await this.#passTo(file.ordinal);
    const isCommitted = file.attempt !== null || file.taken === true;
    if (file.status !== 'unscored' && isCommitted && file.rows === null) this.#isKnown = false;
    this.#rows += file.rows ?? 0;
  }

  /** Lines before `ordinal` are lost, and with them the rows of the segments that they are in. */
  async resumeAt(ordinal: number): Promise<void> {
    while (this.#lines?.next && this.#lines.next.first + this.#lines.next.files <= ordinal) await this.#lines.advance();
    this.#isKnown = this.#lines?.next?.first === ordinal;
    this.#rows = 0;
  }

  async end(): Promise<void> {
    await this.#passTo(Number.POSITIVE_INFINITY);
  }

  async #passTo(ordinal: number): Promise<void> {
    if (this.#lines === null) return;
    for (let { next } = this.#lines; next && next.first + next.files <= ordinal; { next } = this.#lines) {
      if (this.#isKnown && next.files > 0 && next.rows !== this.#rows) {
        const files = `files ${next.first} to ${next.first + next.files - 1}`;
        report(
          this.#place,
          next.at,
          'inconsistent',
          `it counts ${next.rows} rows of ${files}, which have ${this.#rows}`,
        );
      }
      if (next.files > 0) [this.#rows, this.#isKnown] = [0, true];
      await this.#lines.advance();
    }
  }
}

class LineWalk {
  isWhole = true;
  readonly #place: Place;
  readonly #manifest: Manifest;
  readonly #errors: ErrorSide;
  readonly #segments: SegmentSide;
  readonly #parts = new PartWalk();
  readonly #counts = { scored: 0, failed: 0, unscored: 0 };
  #taken = 0;
  #inputBytes = 0;
  #path = '';
  #next = 0;
  #before: string | null = null;
  #batch: readonly [first: number, count: number] = [0, 0];
  /** Behind lines that are lost, the next one is believed. */
  #isResuming = false;

  constructor(place: Place, manifest: Manifest, errors: ErrorSide, segments: SegmentSide) {
    this.#place = place;
    this.#manifest = manifest;
    this.#errors = errors;
    this.#segments = segments;
  }

  get totals(): LineTotals {
    const { scored, failed, unscored } = this.#counts;
    const files = scored + failed + unscored;
    return { files, scored, failed, unscored, taken: this.#taken, input_bytes: this.#inputBytes };
  }

  enter(path: string): void {
    this.#path = path;
  }

  lose(): void {
    this.isWhole = false;
    this.#isResuming = true;
  }

  async take({ line, value }: NumberedLine<FileLine>): Promise<void> {
    const at = { path: this.#path, line };
    if (this.#isResuming) await this.#resume(value);
    this.#count(value);
    this.#checkOrdinal(value, at);
    this.#checkOrder(value, at);
    for (const text of this.#parts.take(value)) this.#report(at, text.kind, text.message);
    this.#checkBatch(value, at);
    this.#checkStatus(value, at);
    await this.#errors.take(value, at);
    await this.#segments.take(value);
  }

  async end(): Promise<void> {
    const [first, count] = this.#batch;
    if (!this.#isResuming && first + count > this.#next) {
      this.#report(
        { path: this.#path, line: 0 },
        'gap',
        `mini-batch ${range(first, count)} goes on behind the last file, ${this.#next - 1}`,
      );
    }
    if (this.#isResuming) return;
    for (const { kind, message } of this.#parts.end()) this.#report({ path: this.#path, line: 0 }, kind, message);
    await this.#errors.end(this.#next);
    await this.#segments.end();
  }

  async #resume(value: FileLine): Promise<void> {
    this.#isResuming = false;
    await this.#errors.skipTo(value.ordinal, false);
    await this.#segments.resumeAt(value.ordinal);
    this.#next = value.ordinal;
    this.#before = null;
    this.#parts.resume();
    this.#batch = value.mini_batch ?? [value.ordinal, 0];
  }

  #count({ status, size_bytes, taken }: FileLine): void {
    this.#counts[status] += 1;
    if (taken === true) this.#taken += 1;
    this.#inputBytes += size_bytes;
  }

  #checkOrdinal({ ordinal, path }: FileLine, at: LineAt): void {
    const wanted = this.#next;
    this.#next = Math.max(wanted, ordinal + 1);
    if (ordinal === wanted) return;
    if (ordinal > wanted)
      this.#report(at, 'gap', `files ${wanted} to ${ordinal - 1} are missing before ${ordinal} (${path})`);
    else this.#report(at, 'overlap', `file ${ordinal} (${path}) is named again, wanted is ${wanted}`);
    this.isWhole = false;
  }

  /** By UTF-8 bytes, a folder as `name/`; names that are no UTF-8 have lost the bytes that they were ordered by. */
  #checkOrder({ path, ordinal, part }: FileLine, at: LineAt): void {
    const before = this.#before;
    this.#before = path.includes('\ufffd') ? null : path;
    if (before === null || this.#before === null) return;
    const order = Buffer.compare(Buffer.from(before), Buffer.from(path));
    // Parts of one file stand behind one another; those are held against each other by themselves.
    if (order === 0 && part === undefined)
      this.#report(at, 'overlap', `file ${ordinal} has the path of the one before it, ${path}`);
    if (order > 0)
      this.#report(at, 'inconsistent', `file ${ordinal} (${path}) stands behind ${before}, which comes after it`);
  }

  #checkBatch({ ordinal, mini_batch: batch, status }: FileLine, at: LineAt): void {
    const [first, count] = this.#batch;
    const end = first + count;
    if (batch === null) {
      if (status !== 'unscored') this.#report(at, 'gap', `file ${ordinal} is ${status} and in no mini-batch`);
      else if (ordinal < end)
        this.#report(at, 'inconsistent', `file ${ordinal} is in no mini-batch, and in ${range(first, count)}`);
      return;
    }
    if (batch[0] === first && batch[1] === count && ordinal < end) return;
    this.#batch = batch;
    if (ordinal < end) {
      this.#report(
        at,
        'overlap',
        `file ${ordinal} is in mini-batch ${range(...batch)}, and ${range(first, count)} has it too`,
      );
    } else if (batch[0] < ordinal) {
      this.#report(at, 'overlap', `mini-batch ${range(...batch)} of file ${ordinal} overlaps the files before it`);
    } else if (batch[0] > ordinal) {
      this.#report(
        at,
        'gap',
        `file ${ordinal} says that it is in mini-batch ${range(...batch)}, which begins behind it`,
      );
    }
  }

  #checkStatus({ ordinal, status, attempt, node, code, rows, taken }: FileLine, at: LineAt): void {
    const isSound = {
      scored: (taken === true) === (attempt === null) && (taken === true) === (node === null) && code === null,
      failed: code !== null && taken !== true,
      unscored:
        attempt === null && code === null && rows === null && taken !== true && this.#manifest.verdict !== 'Completed',
    }[status];
    if (!isSound)
      this.#report(at, 'inconsistent', `file ${ordinal} is ${status}, which its attempt, node, code or rows deny`);
  }

  #report(at: LineAt, kind: FindingKind, message: string): void {
    report(this.#place, at, kind, message);
  }
}

function range(first: number, count: number): string {
  return count === 1 ? `${first}` : `${first} to ${first + count - 1}`;
}
