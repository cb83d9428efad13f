/** Tables as the cells that a model takes: CSV, JSON Lines, Parquet and Arrow files, told apart by their extensions. */
import { extname } from 'node:path';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { FileReader, FileRows, InputCells } from './file-rows.ts';
import { readArrowBlocks } from './arrow-blocks.ts';
import type { BlockReader, ColumnBlock } from './column-block.ts';
import { LateColumns } from './late-columns.ts';
import { readCsv } from './csv-reader.ts';
import { readJsonBlocks } from './json-blocks.ts';
import { readParquetBlocks } from './parquet-blocks.ts';
import {
  carriedNames,
  cellError,
  featuresIn,
  FirstFailure,
  matchColumns,
  missingCell,
  type CellPlace,
  type FedInput,
  type TableFeed,
} from './table-columns.ts';
import { cellsOf, cellTypes, isNumericType, isWide, plainRange, setterOf, type Cells } from './tensor-cells.ts';

const blockReaders: Readonly<Record<string, BlockReader>> = {
  '.jsonl': readJsonBlocks,
  '.ndjson': readJsonBlocks,
  '.parquet': readParquetBlocks,
  '.arrow': readArrowBlocks,
  '.arrows': readArrowBlocks,
  '.feather': readArrowBlocks,
  '.ipc': readArrowBlocks,
};

/** Reads tables for a model. */
export function openTableReader(feed: TableFeed): FileReader<InputCells> {
  return {
    extensions: ['.csv', '.tsv', ...Object.keys(blockReaders)],
    hasRowNumbers: true,
    filesAheadMax: 1,
    read: (file, risk) => {
      risk();
      const readBlocks = blockReaders[extname(file.name).toLowerCase()];
      return readBlocks === undefined ? readCsv(file, feed) : readTyped(file, feed, readBlocks);
    },
  };
}

/** Rows of a file whose values have types of their own. */
async function* readTyped(file: HostFile, feed: TableFeed, readBlocks: BlockReader): AsyncGenerator<FileRows> {
  const { inputs } = feed.plan;
  const isByName = inputs.every((input) => input.columns !== null);
  let fed: readonly FedInput[] | null = null;
  let features: readonly FedInput[] = [];
  let late: LateColumns | null = null;
  const wanted = {
    fed: isByName ? inputs.flatMap((input) => input.columns ?? []) : null,
    carried: feed.carried ?? [],
    isExact: inputs.some(({ type }) => exactTypes.has(type)),
  };
  for await (const block of readBlocks(file, wanted)) {
    late ??= new LateColumns(file, feed, block);
    const { names } = late;
    if (fed === null) {
      const look = block.look ?? lookAt(block);
      fed = matchColumns(file, feed.plan, names, look);
      features = fed.filter(({ input, columns }) => input.columns === null && !columns.some(look.isList));
    }
    if (block.isHead) continue;
    late.check(
      block,
      features.map(({ input }) => input),
    );
    const carried = carriedNames(file, feed.carried, names).map((name) => block.carried(name));
    const place: CellPlace = (row, column) => `${file.name}, ${block.place(row)}, column ${column}`;
    for (let first = 0; first < block.rows; first += limits.tableBlockRowsMax) {
      const rows = Math.min(limits.tableBlockRowsMax, block.rows - first);
      yield {
        rows,
        ...featuresIn(fed),
        inputs: fed.map((one) => cellsFor(one, block, { first, rows }, feed, place)),
        carried: carried.map((column) => ({ ...column, cell: (row) => column.cell(first + row) })),
      };
    }
  }
  late?.end();
}

/** Of inputs whose values may be integers that a double does not hold. */
const exactTypes: ReadonlySet<string> = new Set(['string', 'int64', 'uint64']);

/** Judges a column by its first value that is not missing. */
function lookAt(block: ColumnBlock): { suits(column: string, type: string): boolean; isList(column: string): boolean } {
  const firstOf = (column: string): unknown => {
    const values = block.column(column);
    for (let row = 0; row < block.rows; row += 1) if (!isMissing(values[row])) return values[row];
    return null;
  };
  return {
    suits: (column, type) => {
      const value = firstOf(column);
      if (value === null || typeof value === 'string') return value === null || !isNumericType(type);
      return cellTypes[type]?.convert(value) !== null;
    },
    isList: (column) => isList(firstOf(column)),
  };
}

const isMissing = (value: unknown): boolean => value === null || value === undefined || Number.isNaN(value);
const isList = (value: unknown): value is ArrayLike<unknown> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));

interface Part {
  readonly first: number;
  readonly rows: number;
}

function cellsFor(
  { input, columns }: FedInput,
  block: ColumnBlock,
  part: Part,
  { missing }: TableFeed,
  place: CellPlace,
): InputCells {
  const { name, type, rank } = input;
  const [only] = columns;
  const direct = columns.length === 1 ? cellsAsTheyAre(block.column(only as string), type, part) : null;
  if (direct !== null) return { name, type, dims: rank === 1 ? [] : [1], cells: direct };
  const { convert } = cellTypes[type] as (typeof cellTypes)[string];
  const cellOf = (value: unknown, row: number, column: string): number | bigint | string => {
    if (isMissing(value)) return missingCell(missing, type, () => place(row, column));
    const cell = convert(value);
    if (cell === null) throw cellError(place(row, column), value, type);
    return cell;
  };
  if (columns.length === 1 && lookAt(block).isList(only as string)) {
    const { cells, width } = listCells(input, only as string, block, part, cellOf, place);
    return { name, type, dims: rank === 1 ? [] : [width], cells: cellsOf(type, cells) };
  }
  const cells = (cellTypes[type] as (typeof cellTypes)[string]).make(part.rows * columns.length);
  const failures = new FirstFailure(part.rows);
  columns.forEach((column, at) => {
    const into = { cells, at, step: columns.length, type };
    putColumn(block.column(column), part, into, (value, row) => cellOf(value, row, column), failures);
  });
  failures.check();
  return { name, type, dims: rank === 1 ? [] : [columns.length], cells };
}

/** Where a column goes: from `at` on, and a cell in `step`. */
interface Place {
  readonly cells: Cells;
  readonly at: number;
  readonly step: number;
  readonly type: string;
}

/** Numbers that stand for themselves are written as they are, all others as `cellOf` has them. */
function putColumn(
  values: ArrayLike<unknown>,
  { first }: Part,
  { cells, at: begin, step, type }: Place,
  cellOf: (value: unknown, row: number) => number | bigint | string,
  failures: FirstFailure,
): void {
  const set = setterOf(cells);
  const { least, most } = plainRange(type) ?? { least: Infinity, most: -Infinity };
  const isFloat = type.startsWith('float');
  const isDirect = !Array.isArray(cells) && !isWide(cells) && type !== 'float16';
  const numbers = cells as Float64Array;
  let row = 0;
  try {
    for (let at = begin; row < failures.rows; row += 1, at += step) {
      const value = values[first + row];
      const isPlain = typeof value === 'number' && value >= least && value <= most;
      if (isPlain && isDirect && (isFloat || Number.isInteger(value))) numbers[at] = value;
      else set(at, cellOf(value, first + row));
    }
  } catch (error) {
    failures.set(row, error);
  }
}

/** Typed values of the input's own type without a gap need no conversion. */
function cellsAsTheyAre(values: ArrayLike<unknown>, type: string, { first, rows }: Part): Cells | null {
  if (!ArrayBuffer.isView(values) || type === 'float16' || type === 'bool') return null;
  const cells = values as unknown as Exclude<Cells, string[]>;
  if (cellTypes[type]?.make(0).constructor !== cells.constructor) return null;
  const taken = cells.subarray(first, first + rows);
  return type.startsWith('float') && (taken as Float32Array).some(Number.isNaN) ? null : taken;
}

/** A list in each row, all of one length. */
function listCells(
  { name, rank, width }: FedInput['input'],
  column: string,
  block: ColumnBlock,
  { first, rows }: Part,
  cellOf: (value: unknown, row: number, column: string) => number | bigint | string,
  place: CellPlace,
): { readonly cells: readonly (number | bigint | string)[]; readonly width: number } {
  const values = block.column(column);
  const cells: (number | bigint | string)[] = [];
  let length = rank === 1 ? 1 : width;
  for (let row = first; row < first + rows; row += 1) {
    const list = values[row];
    const found = isList(list) ? list.length : null;
    length ??= found;
    if (found === null || found !== length) {
      const wanted = `${name} takes a list of ${length ?? 'some'} values`;
      const shown = found === null ? 'there is none' : `found ${found}`;
      throw new BatchError('INPUT_DECODE_FAILED', `${place(row, column)}: ${wanted}, ${shown}`);
    }
    for (let i = 0; i < found; i += 1) cells.push(cellOf((list as ArrayLike<unknown>)[i], row, column));
  }
  return { cells, width: length ?? 0 };
}
