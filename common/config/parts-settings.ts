/** Keys of `settings.output` about the files that rows become: their sizes, folders and insides. */
import { extname } from 'node:path';
import type { z } from 'zod';
import type { OutputForm } from '../core/output-form.ts';
import { limits } from '../core/limits.ts';
import {
  isOneFile,
  partCompressions,
  rowsOfFormat,
  type PartCompression,
  type PartFormat,
  type PartsForm,
} from '../core/parts-form.ts';
import { columnOf } from '../core/result.ts';
import { optional } from './asset-schemas.ts';
import type { ConfigProblem, KeyPath } from './config-source.ts';
import { field, memoryBytes, oneOf, wholeNumber, type Maybe } from './field-types.ts';

export interface RawParts {
  readonly partition_by?: Maybe<readonly string[]>;
  readonly file_rows?: Maybe<number>;
  readonly file_bytes?: Maybe<number>;
  readonly row_group_rows?: Maybe<number>;
  readonly compression?: Maybe<PartCompression>;
}

export const isColumnName = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length <= 255 && !/\p{Cc}/u.test(value);

const columnNames = field(
  'the name of a column, or a list of names that differ',
  (value): readonly string[] | undefined => {
    const names: readonly unknown[] = Array.isArray(value) ? value : [value];
    const isFine = names.length > 0 && names.every(isColumnName) && new Set(names).size === names.length;
    return isFine ? names : undefined;
  },
  {
    anyOf: [
      { type: 'string', minLength: 1 },
      { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1, uniqueItems: true },
    ],
  },
);

export const partsKeys: { readonly [key in keyof RawParts]-?: z.ZodType<RawParts[key]> } = {
  partition_by: optional(
    columnNames,
    'parquet, arrow, arrow_file: columns whose values become folders (country=de/), one or a list.',
  ),
  file_rows: optional(wholeNumber(1), 'Rows of a file at most; more begin the next one.'),
  file_bytes: optional(memoryBytes, 'About so many bytes of rows, as they were scored, make a file: 128MB.'),
  row_group_rows: optional(
    wholeNumber(1),
    `parquet: rows of a row group at most, ${limits.rowGroupRowsDefault} by default. arrow_file: of a record batch.`,
  ),
  compression: optional(oneOf(partCompressions), 'parquet: snappy (the default), zstd (smaller, slower) or none.'),
};

/** Formats that a key has a meaning for; a key that is not named here has one for all. */
export type KeyFormats = Readonly<Record<string, readonly PartFormat[]>>;

const meaning = {
  partition_by: ['parquet', 'arrow', 'arrow_file'],
  row_group_rows: ['parquet', 'arrow_file'],
  compression: ['parquet'],
} as const satisfies KeyFormats;

/** Puts a problem for each key that is given and means nothing for the format. */
export function refuseOthers(
  output: object,
  formats: KeyFormats,
  format: PartFormat,
  path: KeyPath,
  problems: ConfigProblem[],
): void {
  const given = output as Readonly<Record<string, unknown>>;
  for (const [key, own] of Object.entries(formats)) {
    if ((given[key] ?? null) === null || own.includes(format)) continue;
    const message = `${key} is for format: ${own.join(', ')}, and the format is ${format}; take it away, or change the format`;
    problems.push({ code: 'CONFIG_INVALID', path: [...path, key], at: 'key', message });
  }
}

/** What else is told of the output. */
export interface AboutOutput {
  readonly format: PartFormat;
  readonly form: OutputForm;
  readonly isSummaryOnly: boolean;
  /** Where `settings` stand; the keys are in `output` there. */
  readonly settingsPath: KeyPath;
  readonly hasFileName: boolean;
}

/** Null: one file of rows as they were scored. What has no meaning, or cannot be, is put into `problems`. */
export function resolveParts(output: RawParts, about: AboutOutput, problems: ConfigProblem[]): PartsForm | null {
  const { format, form, isSummaryOnly, settingsPath } = about;
  const path = [...settingsPath, 'output'];
  const fail = (key: string, message: string): void => {
    problems.push({ code: 'CONFIG_INVALID', path: [...path, key], at: 'key', message });
  };
  const given = (Object.keys(partsKeys) as (keyof typeof partsKeys)[]).filter((key) => (output[key] ?? null) !== null);
  if (isSummaryOnly) {
    for (const key of given) fail(key, `${key} has no meaning with output_action: summary_only; remove one of them`);
    return null;
  }
  refuseOthers(output, meaning, format, path, problems);
  const several = severalFiles.filter((key) => given.includes(key));
  if (about.hasFileName && several.length > 0) {
    const message = `output_file_name has no meaning with output.${several.join(', output.')}: the files of such an output have names of their own (part-00000…); remove one of them`;
    problems.push({ code: 'CONFIG_INVALID', path: [...settingsPath, 'output_file_name'], at: 'key', message });
  }
  const partitionBy = output.partition_by ?? [];
  const defect = partitionDefect(partitionBy, form);
  if (defect !== null) fail('partition_by', defect);
  if (given.length === 0 && format !== 'parquet' && format !== 'arrow_file') return null;
  return {
    format,
    partitionBy,
    header: format === 'csv' && form.header,
    fileRows: output.file_rows ?? null,
    fileBytes: output.file_bytes ?? null,
    rowGroupRows: output.row_group_rows ?? limits.rowGroupRowsDefault,
    compression: output.compression ?? 'snappy',
  };
}

/** Keys that make more than one file of the rows. */
const severalFiles = ['partition_by', 'file_rows', 'file_bytes'] as const;

/** What can be said before there are rows, where their columns are declared; null: nothing. */
function partitionDefect(
  partitionBy: readonly string[],
  { schema, fileColumn, rowColumn, inputColumns = [] }: OutputForm,
): string | null {
  if (partitionBy.length > limits.partitionColumnsMax) {
    return `wanted at most ${limits.partitionColumnsMax} columns to partition by, found ${partitionBy.length}`;
  }
  // Columns of the input are known when they are read.
  if (schema === null || inputColumns === 'all') return null;
  const declared = new Map(schema.map(columnOf).map(({ name, type }) => [name, type]));
  // Columns that a scorer of ours adds by itself need not be declared.
  const added = ['file', 'row', fileColumn, rowColumn, ...inputColumns];
  const missing = partitionBy.find((name) => !declared.has(name) && !added.includes(name));
  if (missing !== undefined) {
    return `output.schema has no column ${missing} to partition by; it has ${[...declared.keys()].join(', ')}`;
  }
  const other = partitionBy.find((name) => /^(?:binary|list|struct)/.test(declared.get(name) ?? ''));
  return other === undefined ? null : `column ${other} is ${declared.get(other)}, whose values name no folders`;
}

/** Name of the file of rows where none is given. @source Azure ML: predictions.csv; Arrow: .arrows for a stream, .arrow for a file */
const outputNames: Readonly<Record<PartFormat, string>> = {
  azure: 'predictions.csv',
  csv: 'predictions.csv',
  jsonl: 'predictions.jsonl',
  arrow: 'predictions.arrows',
  arrow_file: 'predictions.arrow',
  parquet: 'predictions.parquet',
};

/** A name that a deployment file has for text does not name what is none: `predictions.csv` becomes `predictions.parquet`. */
export function fittingName(format: PartFormat, given: string): string {
  if (rowsOfFormat(format) !== 'arrow') return given;
  return given.replace(/\.(?:csv|tsv|txt|jsonl|json|arrows|arrow|parquet)$/i, extname(outputNames[format]));
}

/** Of several files that of the first, where they have no folders. */
export function outputNameOf(format: PartFormat, parts: PartsForm | null): string {
  const name = outputNames[format];
  return parts === null || isOneFile(parts) ? name : name.replace('predictions', 'part-00000');
}
