/** What reading an input file gives: rows of cells for the inputs of a model. */
import type { HostFile } from '../../common/core/host-protocol.ts';
import type { ColumnType } from '../../common/format/column-type.ts';
import type { Cells } from './tensor-cells.ts';

/** Cells of one input of the model for some rows; `dims` are the dimensions after the first. */
export interface InputCells {
  readonly name: string;
  readonly type: string;
  readonly dims: readonly number[];
  readonly cells: Cells;
}

/** The same for one row that is put straight to where a call has it, so that nothing is made and copied on the way. */
export interface RowToPut extends Pick<InputCells, 'name' | 'type' | 'dims'> {
  readonly cellBytes: number;
  /** Writes the row's cells from place `at` on. */
  readonly put: (cells: Cells, at: number) => void;
}

/** Some rows of a file, for all inputs of the model. */
export interface FileRows<Input = InputCells> {
  readonly rows: number;
  readonly inputs: readonly Input[];
  /** As ResultSchema has them. */
  readonly features?: readonly string[];
  /** Columns that are to stand in the output; none where nobody asks for them. */
  readonly carried?: readonly ReadColumn[];
}

/** A column of a file as its reader knows it. */
export interface ReadColumn {
  readonly name: string;
  /** `text`: of CSV, where any value is text. Null: JSON's, each value has its own. */
  readonly type: ColumnType | 'text' | null;
  /** Null or undefined where there is no value. */
  readonly cell: (row: number) => unknown;
}

/** Reads files of one kind. */
export interface FileReader<Input = InputCells | RowToPut> {
  /** Extensions in small letters, with their dots. */
  readonly extensions: readonly string[];
  /** True when rows of a file are numbered in the output. */
  readonly hasRowNumbers: boolean;
  /** Files that are worth opening before their rows are asked for, the one that is asked for included. */
  readonly filesAheadMax: number;
  /**
   * Opens a file and gives its rows in order, one walk of them; throws an INPUT_… code for a file that cannot be read to its end. `risk` is
   * called before code that may end the process, such as a library's, has the file.
   */
  read(file: HostFile, risk: () => void): AsyncIterable<FileRows<Input>>;
}
