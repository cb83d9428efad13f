/** CSV files as the cells that a model takes: columns by name, or all that suit side by side. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { readRecords } from './csv-records.ts';
import type { FileRows, InputCells, ReadColumn } from './file-rows.ts';
import { carriedNames, cellError, matchColumns, missingCell, type TableFeed } from './table-columns.ts';
import { cellsOf, cellTypes, type Cells, isMissingText } from './tensor-cells.ts';

/** Rows that were parsed and not yet taken. */
interface RowCollector {
  add(record: readonly string[], line: number): void;
  take(): FileRows;
}

/** A column of the file that goes into an input. */
interface FedColumn {
  readonly at: number;
  readonly header: string;
}

/** Rows of a `.csv` (comma) or `.tsv` (tab) file with a header row. Throws INPUT_… codes that name line, column and text. */
export async function* readCsv(file: HostFile, feed: TableFeed): AsyncGenerator<FileRows> {
  let headers: readonly string[] | null = null;
  let collector: RowCollector | null = null;
  const isByName = feed.plan.inputs.every((input) => input.columns !== null);
  const onRecord = (record: string[], line: number): void => {
    if (headers === null) {
      headers = headersOf(file, record);
      // Columns by name need no row; others are told apart by the first one.
      if (isByName) collector = openCollector(file, feed, headers, null);
      return;
    }
    if (record.length !== headers.length) throw lengthError(file, line, record.length, headers.length);
    collector ??= openCollector(file, feed, headers, record);
    collector.add(record, line);
  };
  const delimiter = file.name.toLowerCase().endsWith('.tsv') ? '\t' : ',';
  const { part } = file;
  if (part?.kind === 'text') {
    const head = await readHead(file, delimiter, part.head, isByName);
    headers = head.headers && headersOf(file, head.headers);
    if (headers && (isByName || head.first)) collector = openCollector(file, feed, headers, head.first);
  }
  const range = part?.kind === 'text' ? part : undefined;
  for await (const _ of readRecords(file, delimiter, onRecord, range)) {
    const block = (collector as RowCollector | null)?.take();
    if (block && block.rows > 0) yield block;
  }
  if (headers === null) {
    throw new BatchError('INPUT_DECODE_FAILED', `${file.name} is empty: a CSV file begins with a row of column names`);
  }
}

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
function openCollector(
  file: HostFile,
  feed: TableFeed,
  headers: readonly string[],
  first: readonly string[] | null,
): RowCollector {
  const suits = (header: string, type: string): boolean => {
    const text = first?.[headers.indexOf(header)] ?? '';
    return isMissingText(text) || cellTypes[type]?.parse(text) !== null;
  };
  const parts = matchColumns(file, feed.plan, headers, { suits, isList: () => false }).map(({ input, columns }) => {
    const { name, type, rank } = input;
    const fed = columns.map((header) => ({ at: headers.indexOf(header), header }));
    const cells = cellCollector(file, type, fed, feed);
    const take = (): InputCells => ({ name, type, dims: rank === 1 ? [] : [fed.length], cells: cells.take() });
    return { add: cells.add, take };
  });
  const texts = carriedNames(file, feed.carried, headers).map((name) => textCollector(name, headers.indexOf(name)));
  return collectorOf(
    (record, line) => {
      parts.forEach((part) => part.add(record, line));
      for (const text of texts) text.add(record);
    },
    () => ({ inputs: parts.map((part) => part.take()), carried: texts.map((text) => text.take()) }),
  );
}

interface TextCollector {
  readonly add: (record: readonly string[]) => void;
  readonly take: () => ReadColumn;
}

/** A column as it stands in the file. */
function textCollector(name: string, at: number): TextCollector {
  let texts: string[] = [];
  return {
    add: (record) => void texts.push(record[at] as string),
    take: () => {
      const taken = texts;
      texts = [];
      return { name, type: 'text', cell: (row) => taken[row] };
    },
  };
}

function collectorOf(
  addCells: (record: readonly string[], line: number) => void,
  takeCells: () => Omit<FileRows, 'rows'>,
): RowCollector {
  let rows = 0;
  return {
    add: (record, line) => {
      addCells(record, line);
      rows += 1;
    },
    take: () => {
      const taken = { rows, ...takeCells() };
      rows = 0;
      return taken;
    },
  };
}

interface CellCollector {
  readonly add: (record: readonly string[], line: number) => void;
  readonly take: () => Cells;
}

/** Cells of some columns, row by row, parsed as `type`. */
function cellCollector(
  file: HostFile,
  type: string,
  columns: readonly FedColumn[],
  { missing }: TableFeed,
): CellCollector {
  const { parse } = cellTypes[type] as (typeof cellTypes)[string];
  let values: (number | bigint | string)[] = [];
  const insteadOf = (text: string, line: number, header: string): number | bigint | string => {
    const place = `${file.name}, line ${line}, column ${header}`;
    if (isMissingText(text)) return missingCell(missing, type, () => place);
    throw cellError(place, text, type);
  };
  const add = (record: readonly string[], line: number): void => {
    for (const { at, header } of columns) {
      const text = record[at] as string;
      values.push(parse(text) ?? insteadOf(text, line, header));
    }
  };
  const take = (): Cells => {
    const taken = values;
    values = [];
    return cellsOf(type, taken);
  };
  return { add, take };
}
