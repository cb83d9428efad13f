/** Tables whose values have types of their own, as their readers hand them on. */
import type { HostFile } from '../../common/core/host-protocol.ts';
import type { InputColumns } from '../../common/core/output-form.ts';
import type { ReadColumn } from './file-rows.ts';
import type { ColumnLook } from './table-columns.ts';

/** Some rows of a file, column by column. */
export interface ColumnBlock {
  readonly rows: number;
  /** True: its rows are only there to tell the columns of a file by, of which a part is read. */
  readonly isHead?: boolean;
  /** What the types of the columns say, whatever their values; absent: the values of the first block say it. */
  readonly look?: ColumnLook;
  /** All columns of the file, in its order; those of its first rows where rows may bring others, which `late` finds. */
  readonly names: readonly string[];
  /** The first value, that is not missing, of a column which `names` lacks, of those that matter. Absent: there are no others. */
  readonly late?: (matters: (name: string, value: unknown) => boolean) => LateColumn | null;
  /** Values of a column; what is missing is null or undefined. */
  readonly column: (name: string) => ArrayLike<unknown>;
  /** The same for the output: whole, and with its type. Only of columns that were to be carried. */
  readonly carried: (name: string) => ReadColumn;
  /** Where a row stands: `line 7`, `row 6`. */
  readonly place: (row: number) => string;
}

/** A column that begins behind the rows that tell the columns. */
export interface LateColumn {
  readonly name: string;
  readonly row: number;
}

/** What will be asked for. */
export interface WantedColumns {
  /** For the model; null when that is not known before the first block. */
  readonly fed: readonly string[] | null;
  /** For the output. */
  readonly carried: InputColumns;
  /** True: integers that a double does not hold are told from their neighbours, also where nothing is carried. */
  readonly isExact?: boolean;
}

export type BlockReader = (file: HostFile, wanted: WantedColumns) => AsyncGenerator<ColumnBlock>;
