/** CSV files as the cells that a model takes: columns by name, or all that suit side by side. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { takeCells, type CellValue } from './csv-columns.ts';
import { readRecords, readTables, type RecordTable } from './csv-records.ts';
import type { FileRows, InputCells, ReadColumn } from './file-rows.ts';
import {
  carriedNames,
  cellError,
  featuresIn,
  FirstFailure,
  matchColumns,
  missingCell,
  type TableFeed,
} from './table-columns.ts';
import { cellTypes, isMissingText } from './tensor-cells.ts';

/** Rows of a `.csv` (comma) or `.tsv` (tab) file with a header row. Throws INPUT_… codes that name line, column and text. */
export async function* readCsv(file: HostFile, feed: TableFeed): AsyncGenerator<FileRows> {
  const isByName = feed.plan.inputs.every((input) => input.columns !== null);
  const delimiter = file.name.toLowerCase().endsWith('.tsv') ? '\t' : ',';
  const range = file.part?.kind === 'text' ? file.part : undefined;
  let headers: readonly string[] | null = null;
  let take: TakeRows | null = null;
  if (range) {
    const head = await readHead(file, delimiter, range.head, isByName);
    headers = head.headers && headersOf(file, head.headers);
    if (headers && (isByName || head.first)) take = openRows(file, feed, headers, head.first);
  }
  for await (const table of readTables(file, delimiter, range)) {
    let first = 0;
    if (headers === null) {
      headers = headersOf(file, recordOf(table, 0));
      first = 1;
      // Columns by name need no row; others are told apart by the first one.
      if (isByName) take = openRows(file, feed, headers, null);
    }
    if (first === table.rows) continue;
    if (table.width !== headers.length) throw lengthError(file, table.line(first), table.width, headers.length);
    take ??= openRows(file, feed, headers, recordOf(table, first));
    yield take(table, first);
  }
  if (headers === null) {
    throw new BatchError('INPUT_DECODE_FAILED', `${file.name} is empty: a CSV file begins with a row of column names`);
  }
}

const recordOf = ({ width, text }: RecordTable, row: number): string[] =>
  Array.from({ length: width }, (_, cell) => text(row, cell));

/** The rows of a table from `first` on. */
type TakeRows = (table: RecordTable, first: number) => FileRows;

interface Head {
  readonly headers: readonly string[] | null;
  readonly first: readonly string[] | null;
}

/** The header of a file that is shared out, and its first row, by which all parts judge the columns alike. */
async function readHead(file: HostFile, delimiter: string, bytes: number, isByName: boolean): Promise<Head> {
  const found: string[][] = [];
  const range = { begin: 0, end: bytes, line: 1 };
  try {
    for await (const _ of readRecords(file, delimiter, (record) => void found.push(record), range));
  } catch (error) {
    // A first row that is broken fails the part that has it.
    if (found.length === 0 || !isByName) throw error;
  }
  return { headers: found[0] ?? null, first: isByName ? null : (found[1] ?? null) };
}

function headersOf(file: HostFile, record: readonly string[]): readonly string[] {
  const headers = record.map((name) => name.trim());
  const twice = headers.find((name, i) => name !== '' && headers.indexOf(name) !== i);
  if (twice === undefined) return headers;
  throw new BatchError('INPUT_DECODE_FAILED', `${file.name} has two columns named ${JSON.stringify(twice)}`);
}

function lengthError(file: HostFile, line: number, found: number, wanted: number): BatchError {
  const text = `${file.name}, line ${line}: ${found} ${found === 1 ? 'cell' : 'cells'}, but the header has ${wanted}`;
  return new BatchError('INPUT_DECODE_FAILED', text);
}

/** `first` is a row that tells which columns are numbers; null when no input asks for that. A name beside the features is left out. */
function openRows(
  file: HostFile,
  feed: TableFeed,
  headers: readonly string[],
  first: readonly string[] | null,
): TakeRows {
  const suits = (header: string, type: string): boolean => {
    const text = first?.[headers.indexOf(header)] ?? '';
    return isMissingText(text) || cellTypes[type]?.parse(text) !== null;
  };
  const fed = matchColumns(file, feed.plan, headers, { suits, isList: () => false });
  const features = featuresIn(fed);
  const parts = fed.map(({ input, columns }) => {
    const places = columns.map((header) => headers.indexOf(header));
    const insteadOf = (text: string, line: number, column: number): CellValue => {
      const place = `${file.name}, line ${line}, column ${columns[column]}`;
      if (isMissingText(text)) return missingCell(feed.missing, input.type, () => place);
      throw cellError(place, text, input.type);
    };
    return { input, taker: { type: input.type, places, insteadOf } };
  });
  const carried = carriedNames(file, feed.carried, headers).map((name) => ({ name, at: headers.indexOf(name) }));
  return (table, from) => {
    const rows = table.rows - from;
    const failures = new FirstFailure(rows);
    const inputs = parts.map(({ input: { name, type, rank }, taker }): InputCells => {
      const dims = rank === 1 ? [] : [taker.places.length];
      return { name, type, dims, cells: takeCells(table, from, taker, failures) };
    });
    failures.check();
    const texts = carried.map(({ name, at }): ReadColumn => {
      const values = Array.from({ length: rows }, (_, row) => table.text(from + row, at));
      return { name, type: 'text', cell: (row) => values[row] };
    });
    return { rows, inputs, carried: texts, ...features };
  };
}
