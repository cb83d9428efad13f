/** What tells the columns of two results apart, in words that name the column and both types. */

import { columnOf } from '../../common/core/result.ts';

export const mismatchAdvice =
  "return the same columns with the same types from every mini-batch, or declare them in the deployment's output.schema";

/**
 * `wanted` are the columns that the job's first rows have, `found` those of the rows that do not fit; both `name:type`.
 * The first difference is told: another type, a column too few or too many, another order.
 */
export function schemaDifference(wanted: readonly string[], found: readonly string[]): string {
  const [own, other] = [found.map(columnOf), wanted.map(columnOf)];
  for (const { name, type } of own) {
    const same = other.filter((column) => column.name === name);
    const isAlike = same.some((column) => column.type === type);
    const [first] = same;
    if (first && !isAlike) return `column ${name} is ${type} here and ${first.type} in the job's first rows`;
  }
  const added = own.find(({ name }) => !other.some((column) => column.name === name));
  if (added) return `the rows have a column ${added.name} (${added.type}), which the job's first rows have not`;
  const missing = other.find(({ name }) => !own.some((column) => column.name === name));
  if (missing) return `the rows lack the column ${missing.name} (${missing.type}), which the job's first rows have`;
  return `the rows have columns ${found.join(', ')}, but the job's first rows have ${wanted.join(', ')}`;
}
