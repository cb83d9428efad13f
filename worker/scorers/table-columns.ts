/** Which columns of a table go into which inputs of a model, and what is said when they do not fit; whatever the file's format. */
import { nearestWord } from '../../common/config/nearest-word.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import type { InputColumns } from '../../common/core/output-form.ts';
import type { OnnxSettings } from '../../common/core/onnx-settings.ts';
import type { TableInput, TablePlan } from './onnx-inputs.ts';
import { fillOf, isNumericType } from './tensor-cells.ts';

/** How a model is fed from tables. */
export interface TableFeed {
  readonly plan: TablePlan;
  readonly missing: OnnxSettings['missing'];
  /** Columns that stand in the output too; absent: none. */
  readonly carried?: InputColumns;
}

/** An input and the columns that are side by side in it. */
export interface FedInput {
  readonly input: TableInput;
  readonly columns: readonly string[];
}

/** What the first rows say of a column: whether a value of it may go into an input of `type`, and whether it holds lists. */
export interface ColumnLook {
  readonly suits: (column: string, type: string) => boolean;
  readonly isList: (column: string) => boolean;
}

/** Who wants columns that a file lacks, and what to do about it. */
export const wantedByModel = [
  'the model takes',
  '. settings.onnx.columns maps inputs to columns of other names',
] as const;
export const wantedByOutput = 'output.include names';

/** Finds the columns of each input. Throws INPUT_COLUMNS_MISSING with what the file has. */
export function matchColumns(
  file: HostFile,
  plan: TablePlan,
  names: readonly string[],
  look: ColumnLook,
): readonly FedInput[] {
  const wanted = plan.inputs.flatMap((input) => input.columns ?? []);
  const missing = [...new Set(wanted)].filter((name) => !names.includes(name));
  if (missing.length > 0) {
    throw missingError(file, missing, names, ...wantedByModel);
  }
  return plan.inputs.map((input) => {
    const columns = input.columns ?? featuresOf(input, names, look);
    const isList = columns.length === 1 && look.isList(columns[0] as string);
    const isRight = isList || (columns.length > 0 && (input.width === null || input.width === columns.length));
    if (!isRight) throw countError(file, input, columns, names);
    return { input, columns };
  });
}

/** Columns that are fed because nobody has named others: their order matters. */
export function featuresIn(fed: readonly FedInput[]): { readonly features?: readonly string[] } {
  const found = fed.find(({ input }) => input.columns === null);
  return found === undefined ? {} : { features: found.columns };
}

/** Columns of the file that stand in the output. Throws INPUT_COLUMNS_MISSING with what the file has. */
export function carriedNames(
  file: HostFile,
  carried: InputColumns | undefined,
  names: readonly string[],
): readonly string[] {
  if (carried === undefined) return [];
  if (carried === 'all') return names;
  const missing = carried.filter((name) => !names.includes(name));
  if (missing.length > 0) throw missingError(file, missing, names, wantedByOutput);
  return carried;
}

/** The column of lists that is named as the input is, else all columns whose values suit. */
function featuresOf(input: TableInput, names: readonly string[], look: ColumnLook): readonly string[] {
  if (names.includes(input.name) && look.isList(input.name)) return [input.name];
  return names.filter((name) => look.suits(name, input.type) && !look.isList(name));
}

export function missingError(
  file: HostFile,
  missing: readonly string[],
  names: readonly string[],
  who: string,
  hint = '',
): BatchError {
  const named = missing.map((name) => {
    const nearest = nearestWord(name, names);
    return nearest === null ? name : `${name} (did you mean ${nearest}?)`;
  });
  return new BatchError(
    'INPUT_COLUMNS_MISSING',
    `${file.name} lacks ${missing.length === 1 ? 'the column' : 'the columns'} ${named.join(', ')} that ${who}; ` +
      `it has ${names.join(', ')}${hint}`,
  );
}

function countError(
  file: HostFile,
  input: TableInput,
  columns: readonly string[],
  names: readonly string[],
): BatchError {
  const wanted = input.width === null ? 'columns' : `${input.width} ${input.width === 1 ? 'column' : 'columns'}`;
  const numeric = isNumericType(input.type) ? ' of numbers' : '';
  return new BatchError(
    'INPUT_COLUMNS_MISSING',
    `the model takes ${wanted}${numeric} for ${input.name}, ${file.name} has ${columns.length} ` +
      `(${columns.join(', ') || 'none'}) among ${names.length}; settings.onnx.columns lists those to take`,
  );
}

/** Where a cell stands, as messages have it: `a.csv, line 3, column age`. */
export type CellPlace = (row: number, column: string) => string;

/** Columns are taken one after the other, and yet what fails is told of the first row that does. */
export class FirstFailure {
  /** Rows before the one that failed. */
  rows: number;
  #error: unknown = null;

  constructor(rows: number) {
    this.rows = rows;
  }

  set(row: number, error: unknown): void {
    if (row >= this.rows) return;
    this.rows = row;
    this.#error = error;
  }

  check(): void {
    if (this.#error !== null) throw this.#error;
  }
}

/** The cell that stands for a missing value. Throws INPUT_DECODE_FAILED when the deployment names none that fits. */
export function missingCell(
  missing: TableFeed['missing'],
  type: string,
  place: () => string,
): number | bigint | string {
  const cell = missing === 'refuse' ? null : fillOf(missing.fill, type);
  if (cell !== null) return cell;
  const told = missing === 'refuse' ? '' : ` (${JSON.stringify(missing.fill)} is not ${articleOf(type)} ${type})`;
  const hint = `settings.onnx.missing says what to feed instead${told}`;
  throw new BatchError(
    'INPUT_DECODE_FAILED',
    `${place()} is empty, and the model wants ${articleOf(type)} ${type}; ${hint}`,
  );
}

/** `a.csv, line 3, column age: "x" is not an int64` */
export function cellError(place: string, value: unknown, type: string): BatchError {
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : shownOf(value).slice(0, 80);
  return new BatchError('INPUT_DECODE_FAILED', `${place}: ${shown} is not ${articleOf(type)} ${type}`);
}

function shownOf(value: unknown): string {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'a date' : value.toISOString();
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return 'a list';
  return typeof value === 'object' && value !== null && value.toString === Object.prototype.toString
    ? 'an object'
    : String(value);
}

const articleOf = (type: string): string => (/^i/.test(type) ? 'an' : 'a');
