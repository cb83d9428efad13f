/** Columns that say of which file each row is, and which row of it: added by name, before those of the scorer. */
import { BatchError } from '../core/batch-error.ts';
import type { OutputForm } from '../core/output-form.ts';

/** Where the rows of a result come from. */
export interface RowOrigin {
  /** Path within the input. */
  readonly fileOf: (row: number) => string;
  /** Within the file, from 0. */
  readonly numberOf: (row: number) => number;
}

export type OriginColumn =
  | { readonly kind: 'file'; readonly name: string; readonly cell: (row: number) => string }
  | { readonly kind: 'row'; readonly name: string; readonly cell: (row: number) => number };

/** True when the form asks for such columns. */
export const asksForOrigin = ({ fileColumn, rowColumn }: OutputForm): boolean =>
  fileColumn !== null || rowColumn !== null;

/** Those that the form asks for. @throws SCORER_OUTPUT_INVALID when one of `names`, the scorer's own, is named so */
export function originColumns(form: OutputForm, origin: RowOrigin | null, names: readonly string[]): OriginColumn[] {
  const columns: OriginColumn[] = [];
  if (origin === null) return columns;
  const { fileColumn, rowColumn } = form;
  if (fileColumn !== null) columns.push({ kind: 'file', name: fileColumn, cell: origin.fileOf });
  if (rowColumn !== null) columns.push({ kind: 'row', name: rowColumn, cell: origin.numberOf });
  const taken = columns.find(({ name }) => names.includes(name));
  if (!taken) return columns;
  throw new BatchError(
    'SCORER_OUTPUT_INVALID',
    `the rows have a column ${JSON.stringify(taken.name)} of their own; give the one of output.include another name: include: {${taken.kind}: NAME}`,
  );
}
