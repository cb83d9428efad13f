/** A column as the text formats see it, whether it stands in an Arrow table or in values that a script returned. */

export interface TextColumn {
  readonly name: string;
  /** As the schema names it; equal for equal columns whatever values they hold. */
  readonly type: string;
  /** False when no cell can ever hold a delimiter, a quote or a line break. */
  readonly isQuotable: boolean;
  /** Text of a cell in `azure` and `csv`, before quoting; empty when it is missing or not a number. */
  readonly cell: (row: number) => string;
  /** The same of a column of safe integers without a gap; absent for others. */
  readonly integer?: (row: number) => number;
  /** The same of a column of float32 without a gap; one that is not a number has no text. */
  readonly single?: (row: number) => number;
  /** The cell as a JSON value; `null` when it is missing or not a finite number. */
  readonly json: (row: number) => string;
}

/** Rows 0 to `rows − 1` of some columns. */
export interface TextBlock {
  readonly rows: number;
  readonly columns: readonly TextColumn[];
}

/** `True` and `False`. @source Python's csv module */
export const booleanText = (value: boolean): string => (value ? 'True' : 'False');
