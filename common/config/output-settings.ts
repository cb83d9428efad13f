/** `settings.output` of a deployment: keys, and what they come to. */
import * as z from 'zod';
import type { DeploymentSettings } from '../core/deployment.ts';
import { defaultOutputForm, type InputColumns, type OutputForm } from '../core/output-form.ts';
import { partFormats, type PartFormat } from '../core/parts-form.ts';
import { parseType, typeText, type ColumnType } from '../format/column-type.ts';
import { optional } from './asset-schemas.ts';
import type { ConfigProblem, KeyPath } from './config-source.ts';
import { field, oneOf, yesOrNo, type Maybe } from './field-types.ts';
import { isColumnName, partsKeys, refuseOthers, type KeyFormats, type RawParts } from './parts-settings.ts';

/** What separates fields and is in no number. */
const delimiters: Readonly<Record<string, string>> = {
  tab: '\t',
  '\\t': '\t',
  space: ' ',
  comma: ',',
  semicolon: ';',
  pipe: '|',
};
const delimiterSymbols = [',', ';', '|', ':', '\t', ' '];

const delimiter = field(
  'one of , ; | : tab space',
  (value) => {
    const symbol = delimiters[String(value).toLowerCase()] ?? String(value);
    return delimiterSymbols.includes(symbol) ? symbol : undefined;
  },
  { enum: [...delimiterSymbols, ...Object.keys(delimiters)] },
);

export interface IncludedColumns {
  readonly file: string | null;
  readonly row: string | null;
  readonly input: InputColumns | null;
}

/** `true`, a name or a list of names; undefined for anything else. */
function inputColumnsOf(value: unknown): InputColumns | undefined {
  if (value === true) return 'all';
  const names: readonly unknown[] = Array.isArray(value) ? value : [value];
  const isFine = names.length > 0 && names.every(isColumnName) && new Set(names).size === names.length;
  return isFine ? names : undefined;
}

const columnNames = { type: 'array', items: { type: 'string' }, minItems: 1, uniqueItems: true };

/** `[file, row, input]`, or the first two with names of their own, and the columns of the input that are kept. */
const include = field(
  'file, row, input or a list of them, or names: {file: source, row: line, input: [id, country]}',
  (value): IncludedColumns | undefined => {
    const given = typeof value === 'string' ? [value] : value;
    if (typeof given !== 'object' || given === null) return undefined;
    const pairs = Array.isArray(given)
      ? (given as readonly unknown[]).map((word) => [word, word === 'input' ? true : word] as const)
      : Object.entries(given);
    const isFine = ([key, name]: readonly [unknown, unknown]): boolean =>
      key === 'input' ? inputColumnsOf(name) !== undefined : (key === 'file' || key === 'row') && isColumnName(name);
    if (!pairs.every(isFine) || pairs.length === 0) return undefined;
    const named = new Map<unknown, unknown>(pairs);
    const [file, row] = ['file', 'row'].map((key) => (named.get(key) ?? null) as string | null);
    const input = named.has('input') ? (inputColumnsOf(named.get('input')) as InputColumns) : null;
    const names = [file, row, ...(Array.isArray(input) ? (input as readonly string[]) : [])].filter(
      (name) => name !== null,
    );
    const isDistinct = named.size === pairs.length && new Set(names).size === names.length;
    return isDistinct ? { file: file ?? null, row: row ?? null, input } : undefined;
  },
  {
    anyOf: [
      { enum: ['file', 'row', 'input'] },
      { type: 'array', items: { enum: ['file', 'row', 'input'] }, minItems: 1, uniqueItems: true },
      {
        type: 'object',
        properties: {
          file: { type: 'string' },
          row: { type: 'string' },
          input: { anyOf: [{ enum: [true] }, { type: 'string' }, columnNames] },
        },
        additionalProperties: false,
      },
    ],
  },
);

/** A mapping of columns to types as `name:type` each, or `evolve`. */
const declaredColumns = field(
  'evolve, or a mapping of columns to types such as int64, float32, utf8, bool, date32, timestamp[us,UTC] or list<float32>',
  (value): readonly string[] | 'evolve' | undefined => {
    if (typeof value === 'string') return value.toLowerCase() === 'evolve' ? 'evolve' : undefined;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    const pairs = Object.entries(value).map(([name, text]) => [name, parseType(String(text))] as const);
    if (pairs.length === 0 || !pairs.every(([name, type]) => isColumnName(name) && type !== null)) return undefined;
    return pairs.map(([name, type]) => `${name}:${typeText(type as ColumnType)}`);
  },
  { anyOf: [{ enum: ['evolve'] }, { type: 'object', additionalProperties: { type: 'string' }, minProperties: 1 }] },
);

/** Keys of `settings.output`. */
export const outputKeys: z.ZodType<RawOutput> = z.strictObject(
  {
    format: optional(
      oneOf(partFormats),
      'azure (spaces, no header), csv (commas, header), jsonl, arrow (an IPC stream), arrow_file (with a footer) or parquet.',
    ),
    header: optional(yesOrNo, 'csv: false leaves out the line with the names of the columns.'),
    delimiter: optional(delimiter, 'csv: another one than the comma.'),
    schema: optional(
      declaredColumns,
      'arrow, arrow_file, parquet: the columns that the scorer gives, in order, each with its type; by default the first rows have them. evolve: others are widened to those.',
    ),
    include: optional(
      include,
      'Columns before the others: the file of each row, its number in it, columns of the input. [file, row, input], or names for them.',
    ),
    ...partsKeys,
    custom: optional(
      oneOf(['collected', 'shared']),
      'Files that the script writes to AZUREML_BI_OUTPUT_PATH: published with their mini-batch, or written straight.',
    ),
  },
  'a mapping',
);

export interface RawOutput extends RawParts {
  readonly format?: Maybe<PartFormat>;
  readonly header?: Maybe<boolean>;
  readonly delimiter?: Maybe<string>;
  readonly schema?: Maybe<readonly string[] | 'evolve'>;
  readonly include?: Maybe<IncludedColumns>;
  readonly custom?: Maybe<DeploymentSettings['customOutput']>;
}

const meaning = {
  header: ['csv'],
  delimiter: ['csv'],
  schema: ['arrow', 'arrow_file', 'parquet'],
} as const satisfies KeyFormats;

/** `path` is where the keys stand; what one of them has no meaning with is put into `problems`. */
export function resolveOutputForm(
  output: RawOutput,
  format: PartFormat,
  path: KeyPath,
  problems: ConfigProblem[],
): OutputForm {
  refuseOthers(output, meaning, format, path, problems);
  const schema = output.schema ?? null;
  return {
    header: output.header ?? defaultOutputForm.header,
    delimiter: output.delimiter ?? defaultOutputForm.delimiter,
    schema: schema === 'evolve' ? null : schema,
    evolves: schema === 'evolve',
    fileColumn: output.include?.file ?? null,
    rowColumn: output.include?.row ?? null,
    ...(output.include?.input ? { inputColumns: output.include.input } : {}),
  };
}
