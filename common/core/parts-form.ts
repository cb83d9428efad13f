/**
 * How the rows of a job become files, where that is more than one file of rows as they were scored: `settings.output` of a deployment,
 * resolved. Such a job keeps its rows in input order in a working file, and worker nodes make the parts from it.
 */
import type { DeploymentSettings, OutputFormat } from './deployment.ts';

/** `arrow`: IPC streams. `arrow_file`: IPC files, which have a footer. */
export const partFormats = ['azure', 'csv', 'jsonl', 'arrow', 'arrow_file', 'parquet'] as const;
export type PartFormat = (typeof partFormats)[number];

/** What scoring hosts write for it. */
export function rowsOfFormat(format: PartFormat): OutputFormat {
  return format === 'parquet' || format === 'arrow_file' ? 'arrow' : format;
}

export const partCompressions = ['snappy', 'zstd', 'none'] as const;
export type PartCompression = (typeof partCompressions)[number];

export interface PartsForm {
  readonly format: PartFormat;
  /** Names of columns whose values are folders (`country=de/`) and which the files leave out; none: no folders. */
  readonly partitionBy: readonly string[];
  /** Of `csv`: rows come with a first line of names, which each file gets. */
  readonly header: boolean;
  /** Rows of a file at most; null: any. */
  readonly fileRows: number | null;
  /** Bytes of rows, as they were scored, that make a file; null: any. */
  readonly fileBytes: number | null;
  /** Of `parquet`: rows of a row group at most. Of `arrow_file`: of a record batch. */
  readonly rowGroupRows: number;
  /** Of `parquet`. */
  readonly compression: PartCompression;
}

/** What an encode task says of each file that it wrote: a line of JSON, in the order of the rows. */
export interface PartFile {
  /** Relative to the output folder, forward slashes. */
  readonly path: string;
  readonly rows: number;
  readonly bytes: number;
}

/** Whether all rows become one file. */
export function isOneFile({ partitionBy, fileRows, fileBytes }: PartsForm): boolean {
  return partitionBy.length === 0 && fileRows === null && fileBytes === null;
}

type Named = Pick<DeploymentSettings, 'outputAction' | 'outputFileName' | 'outputFormat' | 'parts'>;

/** Whether worker nodes make the files of the output once all rows are there. */
export function hasParts({ outputAction, parts }: Pick<Named, 'outputAction' | 'parts'>): boolean {
  return outputAction === 'append_row' && (parts ?? null) !== null;
}

/** Name of the file in which the rows of a job stand in input order; null when it writes none. */
export function rowsFileName(settings: Named): string | null {
  if (settings.outputAction === 'summary_only') return null;
  return hasParts(settings) ? `_rows.${rowsEndings[settings.outputFormat]}` : settings.outputFileName;
}

const rowsEndings: Readonly<Record<OutputFormat, string>> = {
  azure: 'csv',
  csv: 'csv',
  jsonl: 'jsonl',
  arrow: 'arrows',
};
