/**
 * The paths in a list of inputs, as they stand there: text, CSV, JSON Lines or Parquet, told by the ending of its name. A piece
 * of the file is in memory at a time, of Parquet a row group.
 */
import { isUtf8 } from 'node:buffer';
import { extname } from 'node:path';
import type { FileHandle } from 'node:fs/promises';
import { BatchError } from '../../common/core/batch-error.ts';
import type { InputList } from '../../common/core/input-selection.ts';
import { limits } from '../../common/core/limits.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { readFully } from '../../common/io/read-fully.ts';

/** Paths that stand one behind the other. */
export interface ListBlock {
  readonly paths: readonly string[];
  /** Where each of them stands: the number of its line, or of its row in Parquet, from 1. */
  readonly places: readonly number[];
}

type ListForm = 'text' | 'csv' | 'tsv' | 'json' | 'parquet';

const forms: Readonly<Record<string, ListForm>> = {
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.jsonl': 'json',
  '.ndjson': 'json',
  '.parquet': 'parquet',
};

const readBytes = 262_144;

function formOf(list: InputList): ListForm {
  return forms[extname(list.path).toLowerCase()] ?? 'text';
}

/** @throws INPUT_LIST_INVALID; INPUT_UNREADABLE is the caller's to say */
export function decodeListBlocks(list: InputList, file: FileHandle): AsyncGenerator<ListBlock> {
  const form = formOf(list);
  switch (form) {
    case 'text':
      return textBlocks(list, file);
    case 'csv':
    case 'tsv':
      return csvBlocks(list, file, form === 'csv' ? ',' : '\t');
    case 'json':
      return jsonBlocks(list, file);
    case 'parquet':
      return parquetBlocks(list, file);
  }
}

/** Whether its decoder may never end: what reads it must not be waited for without a limit. */
export function isEndlessPossible(list: InputList): boolean {
  return formOf(list) === 'parquet';
}

/** `place`: 0 when it is about the list as a whole. */
export function listError(list: InputList, place: number, what: string, cause?: unknown): BatchError {
  const where = place === 0 ? '' : `, ${placeText(list, place)}`;
  return new BatchError('INPUT_LIST_INVALID', `the list of inputs ${list.path}${where}: ${what}`, { cause });
}

/** `line 7` */
export function placeText(list: InputList, place: number): string {
  return `${formOf(list) === 'parquet' ? 'row' : 'line'} ${place}`;
}

async function* textBlocks(list: InputList, file: FileHandle): AsyncGenerator<ListBlock> {
  for await (const { text, firstLine } of lineBlocks(list, file)) {
    const paths: string[] = [];
    const places: number[] = [];
    let line = firstLine;
    for (const one of text.split('\n')) {
      const path = one.endsWith('\r') ? one.slice(0, -1) : one;
      if (path !== '' && !path.startsWith('#')) {
        paths.push(path);
        places.push(line);
      }
      line += 1;
    }
    yield { paths, places };
  }
}

async function* jsonBlocks(list: InputList, file: FileHandle): AsyncGenerator<ListBlock> {
  for await (const { text, firstLine } of lineBlocks(list, file)) {
    const paths: string[] = [];
    const places: number[] = [];
    let line = firstLine;
    for (const one of text.split('\n')) {
      if (one.trim() !== '') {
        paths.push(pathOf(list, line, columnOf(list, line, one)));
        places.push(line);
      }
      line += 1;
    }
    yield { paths, places };
  }
}

function columnOf(list: InputList, line: number, text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw listError(list, line, `is no JSON: ${reasonOf(error)}`, error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw listError(
      list,
      line,
      `wanted a JSON object with a key ${JSON.stringify(list.column)}, found ${excerpt(text)}`,
    );
  }
  if (Object.hasOwn(value, list.column)) return (value as Record<string, unknown>)[list.column];
  throw missingColumn(list, line, Object.keys(value));
}

async function* csvBlocks(list: InputList, file: FileHandle, delimiter: string): AsyncGenerator<ListBlock> {
  const { parse } = await import('csv-parse');
  let at = -1;
  let paths: string[] = [];
  let places: number[] = [];
  const take = (record: readonly string[], line: number): void => {
    if (at < 0) {
      at = record.indexOf(list.column);
      if (at < 0) throw missingColumn(list, line, record);
      return;
    }
    paths.push(pathOf(list, line, record[at]));
    places.push(line);
  };
  const parser = parse({
    delimiter,
    record_delimiter: ['\r\n', '\n', '\r'],
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: limits.inputListLineBytesMax,
    on_record: (record: string[], { lines }: { lines: number }) => {
      take(record, lines);
      return null;
    },
  });
  // Records are taken as they are found, and errors come back with each write.
  parser.on('error', () => undefined);
  parser.resume();
  const call = (start: (done: (error?: Error | null) => void) => void): Promise<void> =>
    new Promise((resolve, reject) => {
      start((error) => (error ? reject(csvFailure(list, error)) : resolve()));
    });
  const taken = (): ListBlock => {
    const block = { paths, places };
    [paths, places] = [[], []];
    return block;
  };
  for await (const { text } of lineBlocks(list, file)) {
    await call((done) => parser.write(`${text}\n`, done));
    yield taken();
  }
  await call((done) => parser.end(done));
  yield taken();
  if (at < 0)
    throw listError(
      list,
      0,
      `is empty; wanted a first line that names its columns, ${JSON.stringify(list.column)} among them`,
    );
}

function csvFailure(list: InputList, error: Error): BatchError {
  if (error instanceof BatchError) return error;
  const [words = ''] = error.message.split(':');
  return listError(list, (error as { lines?: number }).lines ?? 0, `is no CSV: ${words}`, error);
}

/** Whole lines, without the last line break; checked to be UTF-8. */
async function* lineBlocks(
  list: InputList,
  file: FileHandle,
): AsyncGenerator<{ readonly text: string; readonly firstLine: number }> {
  let rest: Buffer = Buffer.alloc(0);
  let line = 1;
  const checked = (bytes: Buffer): string => {
    if (!isUtf8(bytes)) throw notUtf8(list, bytes, line);
    const text = bytes.toString('utf8');
    return line === 1 && text.startsWith('\ufeff') ? text.slice(1) : text;
  };
  for (let position = 0; ;) {
    const piece = Buffer.allocUnsafe(readBytes);
    const { bytesRead } = await file.read(piece, 0, readBytes, position);
    if (bytesRead === 0) break;
    position += bytesRead;
    const bytes = Buffer.concat([rest, piece.subarray(0, bytesRead)]);
    const end = bytes.lastIndexOf(0x0a);
    rest = bytes.subarray(end + 1);
    if (rest.length > limits.inputListLineBytesMax) {
      const isAfter = end < 0 ? '' : ' or one behind it';
      throw listError(
        list,
        line,
        `this line${isAfter} is longer than ${limits.inputListLineBytesMax} bytes, so this is no list of paths`,
      );
    }
    if (end < 0) continue;
    const text = checked(bytes.subarray(0, end));
    yield { text, firstLine: line };
    line += countLines(text);
  }
  if (rest.length > 0) yield { text: checked(rest), firstLine: line };
}

function countLines(text: string): number {
  let lines = 1;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines += 1;
  return lines;
}

function notUtf8(list: InputList, bytes: Buffer, firstLine: number): BatchError {
  let line = firstLine;
  let from = 0;
  for (let end = bytes.indexOf(0x0a); end >= 0 && isUtf8(bytes.subarray(from, end)); end = bytes.indexOf(0x0a, from)) {
    from = end + 1;
    line += 1;
  }
  return listError(list, line, 'is not UTF-8; write the list in UTF-8, and rename files whose names are not');
}

async function* parquetBlocks(list: InputList, file: FileHandle): AsyncGenerator<ListBlock> {
  const { parquetMetadataAsync, parquetRead, parquetSchema } = await import('hyparquet');
  const { compressors } = await import('hyparquet-compressors');
  const { size } = await file.stat();
  const buffer = {
    byteLength: size,
    slice: async (start: number, end = size): Promise<ArrayBuffer> => {
      const bytes = new Uint8Array(end - start);
      const found = await readFully(file, bytes, start);
      if (found < bytes.length) throw new Error(`the file ends at byte ${start + found}`);
      return bytes.buffer;
    },
  };
  const decoding = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw listError(list, 0, `is no Parquet that can be decoded: ${reasonOf(error)}`, error);
    }
  };
  const metadata = await decoding(() => parquetMetadataAsync(buffer));
  const names = parquetSchema(metadata).children.map((child) => child.element.name);
  if (!names.includes(list.column)) throw missingColumn(list, 0, names);
  const columns = [list.column];
  let first = 0;
  for (const group of metadata.row_groups) {
    const range = { rowStart: first, rowEnd: first + Number(group.num_rows) };
    const chunks: ArrayLike<unknown>[] = [];
    const onChunk = ({ columnData }: { columnData: ArrayLike<unknown> }): void => void chunks.push(columnData);
    await decoding(() => parquetRead({ file: buffer, metadata, columns, compressors, onChunk, ...range }));
    const paths: string[] = [];
    const places: number[] = [];
    for (const value of chunks.flatMap((chunk) => Array.from(chunk))) {
      places.push(first + places.length + 1);
      paths.push(pathOf(list, first + places.length, value));
    }
    first = range.rowEnd;
    if (paths.length !== Number(group.num_rows))
      throw listError(list, first, `stands in a group with ${paths.length} paths`);
    yield { paths, places };
  }
}

function pathOf(list: InputList, place: number, value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  const found = value === null || value === undefined || value === '' ? 'nothing' : excerpt(JSON.stringify(value));
  throw listError(list, place, `wanted a path in the column ${JSON.stringify(list.column)}, found ${found}`);
}

function missingColumn(list: InputList, place: number, names: readonly string[]): BatchError {
  const there = excerpt(names.join(', '));
  return listError(
    list,
    place,
    `has no column ${JSON.stringify(list.column)}, only ${there}; --input-list-column names the one with the paths`,
  );
}

function excerpt(text: string): string {
  const line = text.trim();
  return line.length > 120 ? `${line.slice(0, 120)}…` : line;
}
