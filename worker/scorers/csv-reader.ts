/** CSV files as the cells that a model takes: columns by name, or all numeric columns as one table of features. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { nearestWord } from '../../common/config/nearest-word.ts';
import { readRecords } from './csv-records.ts';
import type { FileReader, FileRows, InputCells } from './file-rows.ts';
import type { ColumnsPlan, FeaturesPlan } from './onnx-inputs.ts';
import { cellsOf, cellTypes, type Cells, isNumericType } from './tensor-cells.ts';

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

/** Reads `.csv` (comma) and `.tsv` (tab) files with a header row. */
export function openCsvReader(plan: ColumnsPlan | FeaturesPlan): FileReader {
  return { extensions: ['.csv', '.tsv'], hasRowNumbers: true, read: (file) => readCsv(file, plan) };
}

async function* readCsv(file: HostFile, plan: ColumnsPlan | FeaturesPlan): AsyncGenerator<FileRows> {
  let headers: readonly string[] | null = null;
  let collector: RowCollector | null = null;
  const onRecord = (record: string[], line: number): void => {
    if (headers === null) {
      headers = headersOf(file, record);
      // Columns by name need no row; features are told apart by the first one.
      if (plan.kind === 'columns') collector = columnsCollector(file, plan, headers);
      return;
    }
    if (record.length !== headers.length) throw lengthError(file, line, record.length, headers.length);
    collector ??= featuresCollector(file, plan as FeaturesPlan, headers, record);
    collector.add(record, line);
  };
  const delimiter = file.name.toLowerCase().endsWith('.tsv') ? '\t' : ',';
  for await (const records of readRecords(file, delimiter, onRecord)) {
    if (records < 2) continue;
    const block = (collector as RowCollector | null)?.take();
    if (block && block.rows > 0) yield block;
  }
  if (headers === null) {
    throw new BatchError('INPUT_DECODE_FAILED', `${file.name} is empty: a CSV file begins with a row of column names`);
  }
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

/** One input a column; a column that no input is named after is left out. */
function columnsCollector(file: HostFile, plan: ColumnsPlan, headers: readonly string[]): RowCollector {
  const names = plan.inputs.map((input) => input.name);
  const missing = names.filter((name) => !headers.includes(name));
  if (missing.length > 0) throw missingError(file, missing, headers);
  const parts = plan.inputs.map(({ name, type, rank }) => {
    const column = { at: headers.indexOf(name), header: name };
    const cells = cellCollector(file, type, [column]);
    const take = (): InputCells => ({ name, type, dims: rank === 1 ? [] : [1], cells: cells.take() });
    return { add: cells.add, take };
  });
  return collectorOf(
    (record, line) => parts.forEach((part) => part.add(record, line)),
    () => parts.map((part) => part.take()),
  );
}

function missingError(file: HostFile, missing: readonly string[], headers: readonly string[]): BatchError {
  const named = missing.map((name) => {
    const nearest = nearestWord(name, headers);
    return nearest === null ? name : `${name} (did you mean ${nearest}?)`;
  });
  return new BatchError(
    'INPUT_COLUMNS_MISSING',
    `${file.name} lacks ${missing.length === 1 ? 'the column' : 'the columns'} ${named.join(', ')} that the model takes; it has ${headers.join(', ')}`,
  );
}

/**
 * All columns in file order as one input. For a model of numbers those whose first cell is a number or empty: a name or an
 * identifier beside the features is left out.
 */
function featuresCollector(
  file: HostFile,
  plan: FeaturesPlan,
  headers: readonly string[],
  first: readonly string[],
): RowCollector {
  const parse = isNumericType(plan.type) ? cellTypes['float64']?.parse : undefined;
  const columns = headers
    .map((header, at): FedColumn => ({ header, at }))
    .filter(({ at }) => !parse || parse(first[at] as string) !== null);
  const count = columns.length;
  if (count === 0 || (plan.features !== null && plan.features !== count))
    throw countError(file, plan, columns, headers);
  const cells = cellCollector(file, plan.type, columns);
  return collectorOf(cells.add, () => [{ name: plan.input, type: plan.type, dims: [count], cells: cells.take() }]);
}

function countError(
  file: HostFile,
  plan: FeaturesPlan,
  columns: readonly FedColumn[],
  headers: readonly string[],
): BatchError {
  const wanted = plan.features === null ? 'columns' : `${plan.features} ${plan.features === 1 ? 'column' : 'columns'}`;
  const numeric = isNumericType(plan.type) ? ' of numbers' : '';
  const found = columns.map((column) => column.header).join(', ') || 'none';
  return new BatchError(
    'INPUT_COLUMNS_MISSING',
    `the model takes ${wanted}${numeric}, ${file.name} has ${columns.length} (${found}) among ${headers.length}`,
  );
}

function collectorOf(
  addCells: (record: readonly string[], line: number) => void,
  takeInputs: () => InputCells[],
): RowCollector {
  let rows = 0;
  return {
    add: (record, line) => {
      addCells(record, line);
      rows += 1;
    },
    take: () => {
      const taken = { rows, inputs: takeInputs() };
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
function cellCollector(file: HostFile, type: string, columns: readonly FedColumn[]): CellCollector {
  const { parse } = cellTypes[type] as (typeof cellTypes)[string];
  let values: (number | bigint | string)[] = [];
  const add = (record: readonly string[], line: number): void => {
    for (const { at, header } of columns) {
      const text = record[at] as string;
      const value = parse(text);
      if (value === null) throw cellError(file, line, header, text, type);
      values.push(value);
    }
  };
  const take = (): Cells => {
    const taken = values;
    values = [];
    return cellsOf(type, taken);
  };
  return { add, take };
}

function cellError(file: HostFile, line: number, header: string, text: string, type: string): BatchError {
  const shown =
    text.trim() === '' ? 'is empty' : `${JSON.stringify(text.slice(0, 80))} is not ${articleOf(type)} ${type}`;
  return new BatchError('INPUT_DECODE_FAILED', `${file.name}, line ${line}, column ${header}: ${shown}`);
}

const articleOf = (type: string): string => (/^i/.test(type) ? 'an' : 'a');
