/** How rows are written, beyond the format: `settings.output` of a deployment, resolved. */

export interface OutputForm {
  /** Of `csv`: the names of the columns stand in the first line. */
  readonly header: boolean;
  /** Of `csv`: one character. */
  readonly delimiter: string;
  /** Of `arrow`: `name:type` of each column that the scorer gives, in order; null: as the rows have them. */
  readonly schema: readonly string[] | null;
  /** Of `arrow`: rows are widened to the columns of the job's first rows, where nothing is lost. */
  readonly evolves: boolean;
  /** Name of a column with each row's file; null: none is added. */
  readonly fileColumn: string | null;
  /** Name of a column with the number of each row within its file, from 0; null: none is added. */
  readonly rowColumn: string | null;
  /** Columns of the input table that stand before those of the scorer, in this order; `all`: all of them. Absent: none. */
  readonly inputColumns?: InputColumns;
}

export type InputColumns = 'all' | readonly string[];

/** Nothing told; also of jobs from before any of it could be. */
export const defaultOutputForm: OutputForm = {
  header: true,
  delimiter: ',',
  schema: null,
  evolves: false,
  fileColumn: null,
  rowColumn: null,
};
