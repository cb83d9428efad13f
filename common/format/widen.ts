/** Columns of a mini-batch as those that the job's first rows have fixed, where no value is lost by it. */
import { BatchError } from '../core/batch-error.ts';
import { columnOf } from '../core/result.ts';
import { parseType, type ColumnType } from './column-type.ts';

/** Null into anything, integers into wider ones and into float64 (value by value), floats into larger ones, lists by their items. */
export function widens(from: ColumnType, to: ColumnType): boolean {
  if (from.kind === 'null') return true;
  if (from.kind === 'list' && to.kind === 'list') return widens(from.item, to.item);
  if (from.kind === 'float' && to.kind === 'float') return from.bits <= to.bits;
  if (from.kind !== 'int') return false;
  if (to.kind === 'float') return to.bits === 64 || from.bits < to.bits / 2;
  if (to.kind !== 'int') return false;
  return from.isSigned === to.isSigned ? from.bits <= to.bits : to.isSigned && from.bits < to.bits;
}

/**
 * The type that a column is to be made of; null when it has it already. `own` and `wanted` are texts.
 * @throws RESULT_SCHEMA_MISMATCH, which names the column and both types
 */
export function fitType(name: string, own: string, wanted: string): ColumnType | null {
  if (own === wanted) return null;
  const [from, to] = [parseType(own), parseType(wanted)];
  if (from !== null && to !== null && widens(from, to)) return to;
  throw new BatchError(
    'RESULT_SCHEMA_MISMATCH',
    `column ${name} is ${own} here and ${wanted} in the job's first rows, which is not wide enough; declare the column in output.schema`,
  );
}

/**
 * Each column with the type that it is to have. Columns of other names, or in another order, stay as they are: what is
 * wrong with them the coordinator says.
 */
export function widened<C extends { readonly name: string }>(
  columns: readonly C[],
  told: readonly string[] | null,
  fit: (column: C, wanted: string) => ColumnType | null,
): readonly { readonly column: C; readonly type: ColumnType | null }[] {
  const wanted = (told ?? []).map(columnOf);
  const isAlike = columns.length === wanted.length && columns.every(({ name }, i) => name === wanted[i]?.name);
  return columns.map((column, i) => ({ column, type: isAlike ? fit(column, wanted[i]?.type ?? '') : null }));
}
