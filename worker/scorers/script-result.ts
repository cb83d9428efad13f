/** What run() of a script may return, told apart and checked; how it is written is common/format's. */
import type { Table } from 'apache-arrow';
import { BatchError } from '../../common/core/batch-error.ts';
import { cellTypeOf } from '../../common/format/arrow-values.ts';
import type { ColumnType } from '../../common/format/column-type.ts';
import type { RowEncoder, RowsAbout } from '../../common/format/row-encoder.ts';
import type { RowOrigin } from '../../common/format/row-origin.ts';
import type { EncodedRows } from '../../common/format/text-encoder.ts';
import type { ValueRows } from '../../common/format/value-text.ts';

const wanted = 'run() must return an array with one result per row';

/** Tells where the rows of a result come from, once it is known how many they are. */
export type OriginOf = (rows: number) => RowOrigin | null;

export interface ResultOptions {
  readonly originOf?: OriginOf;
  /** What the rows are to be widened to; null: nothing. */
  readonly columns?: readonly string[] | null;
}

/**
 * Encodes what run() returned: an array (or typed array) of single values, of arrays or of objects, or an Arrow table.
 * Anything else, and rows that differ in their columns, throw SCORER_OUTPUT_INVALID with what was found.
 */
export function encodeResult(result: unknown, encoder: RowEncoder, options: ResultOptions = {}): EncodedRows {
  const { originOf = () => null, columns = null } = options;
  const about = (rows: number): RowsAbout => ({ origin: originOf(rows), columns });
  if (isTable(result)) return encoder.table(result, about(result.numRows));
  if (isTypedArray(result)) return encoder.values({ kind: 'list', values: result }, about(result.length));
  if (!Array.isArray(result)) throw invalid(`${wanted}, not ${nameOf(result)}`);
  return encoder.values(rowsOf(result), about(result.length));
}

/**
 * The origin of rows of these files: one row a file, or all of the only file. @throws SCORER_OUTPUT_INVALID where nobody
 * knows it
 */
export function originOfFiles(names: readonly string[], rows: number): RowOrigin {
  const [only] = names;
  if (rows === names.length) return { fileOf: (row) => names[row] as string, numberOf: () => 0 };
  if (only !== undefined && names.length === 1) return { fileOf: () => only, numberOf: (row) => row };
  throw invalid(
    `run() returned ${rows} rows for ${names.length} files, and output.include asks for the file of each: ` +
      'return one row for each file, or set mini_batch_size to 1',
  );
}

/** By its shape: a script may bring another copy of apache-arrow, whose classes are not ours. */
export function isTable(value: unknown): value is Table {
  if (typeof value !== 'object' || value === null) return false;
  const { schema, batches } = value as { schema?: { fields?: unknown }; batches?: unknown };
  return Array.isArray(batches) && Array.isArray(schema?.fields);
}

export function isTypedArray(value: unknown): value is ArrayLike<number | bigint> {
  return ArrayBuffer.isView(value) && !(value instanceof DataView);
}

type RowKind = 'value' | 'array' | 'object';

/** All rows are of one kind, and those with cells have the same ones. */
function rowsOf(rows: readonly unknown[]): ValueRows {
  if (rows.length === 0) return { kind: 'list', values: rows };
  const kind = kindOf(rows[0], 0);
  for (let i = 1; i < rows.length; i += 1) {
    const found = kindOf(rows[i], i);
    if (found !== kind) throw invalid(`row ${i} is ${nameOf(rows[i])}, but row 0 is ${nameOf(rows[0])}`);
  }
  if (kind === 'value') return { kind: 'list', values: rows };
  return kind === 'array' ? arrayRows(rows as ArrayLike<unknown>[]) : objectRows(rows as Record<string, unknown>[]);
}

function kindOf(row: unknown, index: number): RowKind {
  if (row === undefined) throw invalid(`row ${index} is undefined: does the function that makes it lack a return?`);
  if (typeof row === 'function' || typeof row === 'symbol') throw invalid(`row ${index} is ${nameOf(row)}`);
  if (row instanceof Promise) throw invalid(`row ${index} is a Promise: return await Promise.all(…) of the rows`);
  if (Array.isArray(row) || isTypedArray(row)) return 'array';
  if (row instanceof Map || row instanceof Set) throw invalid(`row ${index} is ${nameOf(row)}, not a plain object`);
  return typeof row === 'object' && row !== null && !(row instanceof Date) ? 'object' : 'value';
}

function arrayRows(rows: readonly ArrayLike<unknown>[]): ValueRows {
  const width = rows[0]?.length ?? 0;
  const odd = rows.findIndex((row) => row.length !== width);
  if (odd >= 0) throw invalid(`row ${odd} has ${rows[odd]?.length} cells, but row 0 has ${width}`);
  if (width === 0) throw invalid('the rows are empty arrays');
  const names = Array.from({ length: width }, (_, i) => `c${i}`);
  const cell = (row: number, column: number): unknown => rows[row]?.[column];
  return { kind: 'records', names, rows: rows.length, cell, cellType: commonCellType(rows), isUnnamed: true };
}

/** Of rows that are typed arrays of one type; null for any others. */
function commonCellType(rows: readonly ArrayLike<unknown>[]): ColumnType | null {
  const type = cellTypeOf(rows[0]);
  return type && rows.every((row) => row.constructor === rows[0]?.constructor) ? type : null;
}

/** Columns are the keys of the first row, in its order; another order of the same keys is the same columns. */
function objectRows(rows: readonly Record<string, unknown>[]): ValueRows {
  const names = Object.keys(rows[0] ?? {});
  if (names.length === 0) throw invalid(`row 0 is ${nameOf(rows[0])} without keys`);
  const known = new Set(names);
  rows.forEach((row, i) => {
    const keys = Object.keys(row);
    const added = keys.filter((key) => !known.has(key));
    const missing = names.filter((name) => !Object.hasOwn(row, name));
    if (added.length + missing.length > 0) throw invalid(differing(i, added, missing));
  });
  return { kind: 'records', names, rows: rows.length, cell: (row, column) => rows[row]?.[names[column] as string] };
}

function differing(row: number, added: readonly string[], missing: readonly string[]): string {
  const parts = [
    missing.length > 0 ? `lacks ${missing.join(', ')}` : '',
    added.length > 0 ? `has in addition ${added.join(', ')}` : '',
  ].filter(Boolean);
  return `all rows must have the keys of row 0: row ${row} ${parts.join(' and ')}`;
}

/** What a value is, for messages. */
export function nameOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== 'object') return `a ${typeof value}`;
  return `a value of type ${(value.constructor as { name?: string } | undefined)?.name ?? 'object'}`;
}

function invalid(message: string): BatchError {
  return new BatchError('SCORER_OUTPUT_INVALID', message);
}
