/**
 * Records of a CSV file. Lines without quotes are cut by hand, which is several times faster; from the first quote on the
 * rest of the file is csv-parse's.
 */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { linesHeadBytes } from '../core/row-scanner.ts';

/** Takes a record and the number of the line where it ends, from 1. */
export type OnRecord = (record: string[], line: number) => void;

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

/**
 * Calls `onRecord` for each record, the header first; yields after each piece of the file how many there were so far, so that
 * the caller may use what has come before it reads on. Empty lines are skipped, a byte order mark and any line ending are fine. Throws
 * INPUT_UNREADABLE, and INPUT_DECODE_FAILED with the line.
 */
export async function* readRecords(
  file: HostFile,
  delimiter: string,
  onRecord: OnRecord,
  range: RecordRange = wholeFile,
): AsyncGenerator<number> {
  let records = 0;
  const take: OnRecord = (record, line) => {
    records += 1;
    onRecord(record, line);
  };
  const lines = new LineCutter(file, delimiter, take, range.line - 1);
  const decoder = new TextDecoder('utf-8', { ignoreBOM: range.begin > 0 });
  let parser: RecordParser | null = null;
  try {
    for await (const bytes of bytesOf(file.path, range)) {
      const text = decoder.decode(bytes, { stream: true });
      if (parser) await parser.write(text);
      else if (!lines.push(text)) parser = await openParser(file, delimiter, take, lines);
      yield records;
    }
    const rest = decoder.decode();
    if (parser) await parser.write(rest);
    else if (!lines.push(`${rest}\n`)) parser = await openParser(file, delimiter, take, lines);
    await parser?.end();
    yield records;
  } catch (error) {
    if (error instanceof BatchError) throw error;
    throw new BatchError('INPUT_UNREADABLE', `${file.name} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

/** Pieces of a range; none of an empty one. */
export function bytesOf(path: string, { begin, end }: Pick<RecordRange, 'begin' | 'end'>): AsyncIterable<Uint8Array> {
  // A stream takes an end before its beginning for a mistake.
  if (begin >= end) return Readable.from([]);
  return createReadStream(path, { start: begin, end: end - 1, highWaterMark: readBytes });
}

/** Cuts lines for as long as they are simple. */
class LineCutter {
  /** Lines of the file up to where it was cut. */
  lines: number;
  /** Text behind the last line that was cut. */
  rest = '';
  readonly #file: HostFile;
  readonly #delimiter: string;
  readonly #onRecord: OnRecord;

  constructor(file: HostFile, delimiter: string, onRecord: OnRecord, lines: number) {
    this.lines = lines;
    this.#file = file;
    this.#delimiter = delimiter;
    this.#onRecord = onRecord;
  }

  /** False when `rest`, which then holds all of `text`, is not simple: it has a quote, or a return that ends no line. */
  push(text: string): boolean {
    this.rest += text;
    // A return at the very end may be half of a line's end.
    if (text.includes('"') || /\r(?!\n|$)/.test(this.rest)) return false;
    let from = 0;
    for (let end = this.rest.indexOf('\n'); end >= 0; end = this.rest.indexOf('\n', from)) {
      this.#cut(this.rest.slice(from, this.rest[end - 1] === '\r' ? end - 1 : end));
      from = end + 1;
    }
    this.rest = this.rest.slice(from);
    if (this.rest.length > limits.csvRecordCharsMax) throw tooLong(this.#file, this.lines + 1);
    return true;
  }

  #cut(line: string): void {
    this.lines += 1;
    if (line !== '') this.#onRecord(line.split(this.#delimiter), this.lines);
  }
}

function tooLong(file: HostFile, line: number): BatchError {
  const text = `${file.name}, line ${line}: longer than ${limits.csvRecordCharsMax} characters, so this is no CSV file`;
  return new BatchError('INPUT_DECODE_FAILED', text);
}

interface RecordParser {
  write(text: string): Promise<void>;
  end(): Promise<void>;
}

/** csv-parse, from what `lines` has left on. */
async function openParser(
  file: HostFile,
  delimiter: string,
  onRecord: OnRecord,
  lines: LineCutter,
): Promise<RecordParser> {
  const { parse } = await import('csv-parse');
  const before = lines.lines;
  const parser = parse({
    delimiter,
    record_delimiter: ['\r\n', '\n', '\r'],
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: limits.csvRecordCharsMax,
    on_record: (record: string[], context: { lines: number }) => {
      onRecord(record, before + context.lines);
      return null;
    },
  });
  // Records are taken as they are found, and errors come back with each write.
  parser.on('error', () => undefined);
  parser.resume();
  const call = (start: (done: (error?: Error | null) => void) => void): Promise<void> =>
    new Promise((resolve, reject) => {
      start((error) => (error ? reject(failureOf(file, error, before)) : resolve()));
    });
  const opened: RecordParser = {
    write: (text) => call((done) => parser.write(text, done)),
    end: () => call((done) => parser.end(done)),
  };
  await opened.write(lines.rest);
  return opened;
}

/** What `onRecord` threw as it is; else csv-parse's words with the line as the file has it. */
function failureOf(file: HostFile, error: Error, linesBefore: number): BatchError {
  if (error instanceof BatchError) return error;
  const line = linesBefore + ((error as { lines?: number }).lines ?? 0);
  const [words] = error.message.split(':');
  return new BatchError('INPUT_DECODE_FAILED', `${file.name}, line ${line}: ${words}`, { cause: error });
}
