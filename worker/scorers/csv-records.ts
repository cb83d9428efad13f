/**
 * Records of a CSV file. Lines without quotes, or with quotes around whole cells and no more, are cut by hand, many times faster; from the
 * first line on that is not so simple, the rest of the file is csv-parse's.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { linesHeadBytes } from '../core/row-scanner.ts';
import { CellPlaces, type Standstill } from './csv-cells.ts';
import { isDecodeError, notUtf8 } from './not-utf8.ts';

/** Bytes of a file that begin with a record. */
export interface RecordRange {
  readonly begin: number;
  readonly end: number;
  /** Number of the line where they begin, from 1. */
  readonly line: number;
}

export const wholeFile: RecordRange = { begin: 0, end: Infinity, line: 1 };
/** Of JSON Lines, the first of these tell the columns. */
const readBytes = linesHeadBytes;
const readBytesMin = 4_096;

/** Records with as many cells each, one behind the other. What it gives is only good until the next table is asked for. */
export interface RecordTable {
  readonly rows: number;
  /** Cells of each. */
  readonly width: number;
  /** As CellPlaces has the cells; null where they are known as texts alone. */
  readonly bytes: (Pick<CellPlaces, 'places' | 'numbers'> & { readonly all: Uint8Array }) | null;
  readonly text: (row: number, cell: number) => string;
  /** Number of the line where a record ends, from 1. */
  readonly line: (row: number) => number;
}

/**
 * The records of a file, the header first. Empty lines are skipped, a byte order mark and any line ending are fine. Throws
 * INPUT_UNREADABLE, and INPUT_DECODE_FAILED with the line, also for what is not UTF-8, in whatever cell it is.
 */
export async function* readTables(
  file: HostFile,
  delimiter: string,
  range: RecordRange = wholeFile,
): AsyncGenerator<RecordTable> {
  const cells = new CellPlaces(delimiter, range.line - 1);
  const joined = new Joined();
  let held: Uint8Array = new Uint8Array(0);
  let parser: Parser | null = null;
  let isFirst = range.begin === 0;
  try {
    for (const piece of piecesOf(file.path, range)) {
      if (parser) {
        yield* parser.read(piece);
        continue;
      }
      if (piece !== null) held = joined.of(held, piece);
      if (isFirst && piece !== null && held.length < byteOrderMark.length) continue;
      if (isFirst) held = withoutMark(held);
      isFirst = false;
      // Behind the last record stands the end of its line, or it is put there.
      const whole = piece === null && held.length > 0 ? Buffer.concat([held, newline]) : held;
      const behind = whole.lastIndexOf(0x0a) + 1;
      const texts = textsOf(whole);
      cells.next = 0;
      for (let end: Standstill = 'full'; end === 'full' || end === 'width';) {
        const from = cells.next;
        end = cells.walk(whole, behind);
        if (!isUtf8(whole.subarray(from, cells.next))) throw notUtf8(file, bytesOf(file.path, range), range.line);
        if (cells.rows > 0) yield tableOf(whole, cells, texts);
        if (end !== 'quotes') continue;
        parser = await openParser(file, delimiter, cells.linesBefore);
        yield* parser.read(held.subarray(cells.next));
        if (piece === null) yield* parser.read(null);
      }
      held = held.subarray(cells.next);
      if (held.length > limits.csvRecordCharsMax && parser === null) checkLength(file, held, cells.linesBefore + 1);
    }
  } catch (error) {
    if (error instanceof BatchError) throw error;
    if (isDecodeError(error)) throw notUtf8(file, bytesOf(file.path, range), range.line);
    throw new BatchError('INPUT_UNREADABLE', `${file.name} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

/** The same, record by record; yields now and then how many there were so far. */
export async function* readRecords(
  file: HostFile,
  delimiter: string,
  onRecord: (record: string[], line: number) => void,
  range: RecordRange = wholeFile,
): AsyncGenerator<number> {
  let records = 0;
  for await (const { rows, width, text, line } of readTables(file, delimiter, range)) {
    for (let row = 0; row < rows; row += 1) {
      records += 1;
      onRecord(
        Array.from({ length: width }, (_, cell) => text(row, cell)),
        line(row),
      );
    }
    yield records;
  }
}

/** What is left of the bytes before, and those behind it, by turns in two buffers: one for each piece would be much for the collector. */
class Joined {
  #next = Buffer.alloc(0);
  #last = Buffer.alloc(0);

  /** Good until the call after the next one; `left` may be of the last one. */
  of(left: Uint8Array, piece: Uint8Array): Uint8Array {
    const length = left.length + piece.length;
    const into = this.#next.length < length ? Buffer.allocUnsafeSlow(length + linesHeadBytes / 4) : this.#next;
    into.set(left);
    into.set(piece, left.length);
    this.#next = this.#last;
    this.#last = into;
    return into.subarray(0, length);
  }
}

/** Null behind the last one. */
function* piecesOf(path: string, range: RecordRange): Generator<Uint8Array | null> {
  yield* bytesOf(path, range);
  yield null;
}

const newline = Uint8Array.of(0x0a);
const byteOrderMark = Buffer.from('\ufeff');

const withoutMark = (bytes: Uint8Array): Uint8Array =>
  byteOrderMark.equals(bytes.subarray(0, byteOrderMark.length)) ? bytes.subarray(byteOrderMark.length) : bytes;

type TextOf = (begin: number, end: number) => string;

/** Texts within these bytes. Those of plain ASCII become one text, made when it is needed, of which the others are views. */
function textsOf(bytes: Uint8Array): TextOf {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let whole: string | null | undefined;
  return (begin, end) => {
    if (whole === undefined) whole = isAscii(buffer) ? buffer.toString('latin1') : null;
    return whole === null ? buffer.toString('utf8', begin, end) : whole.slice(begin, end);
  };
}

function tableOf(bytes: Uint8Array, { rows, width, places, numbers, lines }: CellPlaces, textOf: TextOf): RecordTable {
  return {
    rows,
    width,
    bytes: { all: bytes, places, numbers },
    text: (row, cell) => {
      const slot = 2 * (row * width + cell);
      return textOf(places[slot] as number, places[slot + 1] as number);
    },
    line: (row) => lines[row] as number,
  };
}

/**
 * Pieces of a range, each good until the next one is asked for; none of an empty one. Read at once: nothing else waits in this process, and a piece costs less to read than a thread's
 * way there and back.
 */
export function* bytesOf(path: string, { begin, end }: Pick<RecordRange, 'begin' | 'end'>): Generator<Uint8Array> {
  if (begin >= end) return;
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    let piece = Buffer.alloc(0);
    for (let at = begin; at < end;) {
      // What grows meanwhile, or has no size, is read to its end all the same.
      const left = Math.min(readBytes, end - at, Math.max(size - at, readBytesMin));
      if (piece.length < left) piece = Buffer.allocUnsafeSlow(left);
      const count = readSync(file, piece, 0, left, at);
      if (count === 0) return;
      at += count;
      yield piece.subarray(0, count);
    }
  } finally {
    closeSync(file);
  }
}

function checkLength(file: HostFile, held: Uint8Array, line: number): void {
  if (new TextDecoder().decode(held).length > limits.csvRecordCharsMax) throw tooLong(file, line);
}

function tooLong(file: HostFile, line: number): BatchError {
  const text = `${file.name}, line ${line}: longer than ${limits.csvRecordCharsMax} characters, so this is no CSV file`;
  return new BatchError('INPUT_DECODE_FAILED', text);
}

interface Parser {
  /** Records that end in these bytes; null stands behind the last ones. */
  read(bytes: Uint8Array | null): AsyncGenerator<RecordTable>;
}

/** csv-parse, from a record on that begins behind so many lines. */
async function openParser(file: HostFile, delimiter: string, linesBefore: number): Promise<Parser> {
  const { parse } = await import('csv-parse');
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });
  let found: string[][] = [];
  let lines: number[] = [];
  const parser = parse({
    delimiter,
    record_delimiter: ['\r\n', '\n', '\r'],
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: limits.csvRecordCharsMax,
    on_record: (record: string[], context: { lines: number }) => {
      found.push(record);
      lines.push(linesBefore + context.lines);
      return null;
    },
  });
  // Records are taken as they are found, and errors come back with each write.
  parser.on('error', () => undefined);
  parser.resume();
  const call = (start: (done: (error?: Error | null) => void) => void): Promise<Error | null> =>
    new Promise((resolve) => start((error) => resolve(error ?? null)));
  return {
    async *read(bytes) {
      const text = bytes === null ? decoder.decode() : decoder.decode(bytes, { stream: true });
      let error = await call((done) => parser.write(text, done));
      if (bytes === null) error ??= await call((done) => parser.end(done));
      const [records, ends] = [found, lines];
      [found, lines] = [[], []];
      yield* tablesOf(records, ends);
      if (error !== null) throw failureOf(file, error, linesBefore);
    },
  };
}

/** A table for each run of records with as many cells. */
function tablesOf(records: readonly string[][], lines: readonly number[]): RecordTable[] {
  const tables: RecordTable[] = [];
  for (let from = 0, to = 0; from < records.length; from = to) {
    const first = from;
    const width = (records[from] as string[]).length;
    while (records[to]?.length === width) to += 1;
    tables.push({
      rows: to - from,
      width,
      bytes: null,
      text: (row, cell) => (records[first + row] as string[])[cell] as string,
      line: (row) => lines[first + row] as number,
    });
  }
  return tables;
}

/** csv-parse's words with the line as the file has it. */
function failureOf(file: HostFile, error: Error, linesBefore: number): BatchError {
  const line = linesBefore + ((error as { lines?: number }).lines ?? 0);
  const [words] = error.message.split(':');
  return new BatchError('INPUT_DECODE_FAILED', `${file.name}, line ${line}: ${words}`, { cause: error });
}
