/** Tables whose values have types of their own, as their readers hand them on. */
import type { HostFile } from '../../common/core/host-protocol.ts';

/** Some rows of a file, column by column. */
export interface ColumnBlock {
  readonly rows: number;
  /** All columns of the file, in its order. */
  readonly names: readonly string[];
  /** Values of a column; what is missing is null or undefined. */
  readonly column: (name: string) => ArrayLike<unknown>;
  /** Where a row stands: `line 7`, `row 6`. */
  readonly place: (row: number) => string;
}

/** Blocks of a file. `columns` are all that will be asked for; null when that is not known before the first block. */
export type BlockReader = (file: HostFile, columns: readonly string[] | null) => AsyncGenerator<ColumnBlock>;
