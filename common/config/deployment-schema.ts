/**
 * Keys of a deployment YAML, Azure's and ours, in both of Azure's forms: nested (`type: model`, knobs under `settings`)
 * and flat (no `type`, knobs at the root).
 * @source Azure ML batch deployment YAML schema, CLI v2
 */
import { z } from 'zod';
import { outputFormats, type DeploymentSettings, type MiniBatchSize, type OutputFormat } from '../core/deployment.ts';
import { nearestWord } from './nearest-word.ts';
import { kindOf, type ConfigProblem, type KeyPath } from './config-source.ts';
import {
  field,
  miniBatchSize,
  nonEmptyText,
  oneOf,
  outputFileName,
  resourceName,
  text,
  textMap,
  timeoutMs,
  wholeNumber,
  yesOrNo,
} from './field-types.ts';
import { onnxKeys, type RawOnnx } from './onnx-settings-schema.ts';

const environmentVariables = textMap.refine((map) => Object.keys(map).every((name) => /^[^=\0]+$/.test(name)), {
  message: 'names without "="',
});

const settingsShape = {
  instance_count: wholeNumber(1).nullish(),
  max_concurrency_per_instance: wholeNumber(1).nullish(),
  mini_batch_size: miniBatchSize.nullish(),
  retry_settings: z
    .strictObject({ max_retries: wholeNumber(0).nullish(), timeout: timeoutMs.nullish() }, 'a mapping')
    .nullish(),
  error_threshold: wholeNumber(-1).nullish(),
  logging_level: oneOf(['debug', 'info', 'warning'], {
    warn: 'warning',
    error: 'warning',
    critical: 'warning',
  }).nullish(),
  output_action: oneOf(['append_row', 'summary_only']).nullish(),
  output_file_name: outputFileName.nullish(),
  environment_variables: environmentVariables.nullish(),
  output: z.strictObject({ format: oneOf(outputFormats).nullish() }, 'a mapping').nullish(),
  input: z.strictObject({ recursive: yesOrNo.nullish() }, 'a mapping').nullish(),
  onnx: onnxKeys.nullish(),
  isolation: oneOf(['file', 'mini_batch']).nullish(),
};

const modelObject = z.strictObject(
  {
    $schema: text.nullish(),
    name: text.nullish(),
    version: text.nullish(),
    description: text.nullish(),
    tags: textMap.nullish(),
    properties: textMap.nullish(),
    path: nonEmptyText.nullish(),
    type: oneOf(['custom_model', 'mlflow_model']).nullish(),
    flavors: z.unknown().nullish(),
  },
  'a path or a mapping with path',
);

const environmentObject = z.strictObject(
  {
    $schema: text.nullish(),
    name: text.nullish(),
    version: text.nullish(),
    description: text.nullish(),
    tags: textMap.nullish(),
    properties: textMap.nullish(),
    image: text.nullish(),
    build: z.strictObject({ path: text.nullish(), dockerfile_path: text.nullish() }, 'a mapping').nullish(),
    conda_file: z.unknown().nullish(),
    os_type: text.nullish(),
    inference_config: z.unknown().nullish(),
  },
  'a name, a path or a mapping',
);

/** A text, or an object of `schema`: told apart before validation, so that a message speaks of one of them only. */
const textOr = <S extends z.ZodObject>(schema: S): z.ZodPreprocess<S> =>
  z.preprocess((value) => (typeof value === 'string' ? { path: value } : value), schema);

const rootShape = {
  $schema: text.nullish(),
  name: resourceName.nullish(),
  endpoint_name: resourceName.nullish(),
  description: text.nullish(),
  tags: textMap.nullish(),
  properties: textMap.nullish(),
  type: field('model (pipeline component deployments are not supported)', (value) =>
    value === 'model' ? value : undefined,
  ).nullish(),
  model: textOr(modelObject).nullish(),
  code_configuration: z
    .strictObject({ code: nonEmptyText.nullish(), scoring_script: nonEmptyText.nullish() }, 'a mapping')
    .nullish(),
  environment: textOr(environmentObject.extend({ path: text.nullish() })).nullish(),
  compute: text.nullish(),
  resources: z
    .strictObject(
      { instance_count: wholeNumber(1).nullish(), instance_type: text.nullish(), properties: z.unknown().nullish() },
      'a mapping',
    )
    .nullish(),
};

const flatSchema = z.strictObject({ ...rootShape, ...settingsShape });
const nestedSchema = z.strictObject({
  ...rootShape,
  settings: z.strictObject(settingsShape, 'a mapping').nullish(),
});

/** Knobs as a file gives them: right in type, possibly absent. */
export interface RawSettings {
  readonly instance_count?: Maybe<number>;
  readonly max_concurrency_per_instance?: Maybe<number>;
  readonly mini_batch_size?: Maybe<MiniBatchSize>;
  /** `timeout` in milliseconds. */
  readonly retry_settings?: Maybe<{ readonly max_retries?: Maybe<number>; readonly timeout?: Maybe<number> }>;
  readonly error_threshold?: Maybe<number>;
  readonly logging_level?: Maybe<DeploymentSettings['loggingLevel']>;
  readonly output_action?: Maybe<DeploymentSettings['outputAction']>;
  readonly output_file_name?: Maybe<string>;
  readonly environment_variables?: Maybe<Readonly<Record<string, string>>>;
  readonly output?: Maybe<{ readonly format?: Maybe<OutputFormat> }>;
  readonly input?: Maybe<{ readonly recursive?: Maybe<boolean> }>;
  readonly onnx?: Maybe<RawOnnx>;
  readonly isolation?: Maybe<DeploymentSettings['isolation']>;
}

/** Keys outside of the settings that Batchmill acts on. */
export interface RawDeployment {
  readonly name?: Maybe<string>;
  readonly model?: Maybe<{ readonly path?: Maybe<string>; readonly type?: Maybe<string> }>;
  readonly code_configuration?: Maybe<{ readonly code?: Maybe<string>; readonly scoring_script?: Maybe<string> }>;
  readonly environment?: Maybe<{ readonly conda_file?: unknown }>;
  readonly resources?: Maybe<{ readonly instance_count?: Maybe<number> }>;
}

type Maybe<T> = T | null | undefined;

/** A deployment that has the right keys and types, whichever form it was written in. */
export interface ParsedDeployment {
  readonly root: RawDeployment;
  readonly settings: RawSettings;
  /** Where the settings stand: `['settings']` or the root. */
  readonly settingsPath: KeyPath;
}

/** Where the run-time knobs of `value` stand. A file without `type` and without knobs at the root may have `settings` too. */
export function settingsPathOf(value: unknown): KeyPath {
  if (typeof value !== 'object' || value === null) return ['settings'];
  if ('type' in value && value.type !== null) return ['settings'];
  const hasKnobs = Object.keys(settingsShape).some((key) => Object.hasOwn(value, key));
  return Object.hasOwn(value, 'settings') && !hasKnobs ? ['settings'] : [];
}

/** Checks keys and types of `value`; every problem is listed. */
export function parseDeployment(value: unknown): ParsedDeployment | readonly ConfigProblem[] {
  const settingsPath = settingsPathOf(value);
  if (settingsPath.length > 0) {
    const result = nestedSchema.safeParse(value);
    if (result.success) return { root: result.data, settings: result.data.settings ?? {}, settingsPath };
    return problemsOf(result.error, value, nestedSchema);
  }
  const result = flatSchema.safeParse(value);
  if (result.success) return { root: result.data, settings: result.data, settingsPath };
  return problemsOf(result.error, value, flatSchema);
}

function problemsOf(error: z.ZodError, value: unknown, schema: z.ZodType): readonly ConfigProblem[] {
  return error.issues.flatMap((issue): readonly ConfigProblem[] => {
    const path = issue.path.map(String);
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key, schema));
    const found = path.reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], value);
    const message = `${path.join('.')}: wanted ${issue.message}, found ${kindOf(found)}`;
    return [{ code: 'CONFIG_INVALID', path, at: 'value', message }];
  });
}

function unknownKey(parent: KeyPath, key: string, schema: z.ZodType): ConfigProblem {
  const path = [...parent, key];
  const message = `${path.join('.')} is not a known key${hintFor(parent, key, keysAt(schema, parent))}`;
  return { code: 'CONFIG_UNKNOWN_KEY', path, at: 'key', message };
}

function hintFor(parent: KeyPath, key: string, known: readonly string[]): string {
  if (parent.length === 0 && known.includes('settings') && Object.hasOwn(settingsShape, key)) {
    return `; with \`type: model\` it stands under settings: settings.${key}`;
  }
  if (parent.length === 0 && key === 'settings') {
    return '; without `type: model` the settings stand at the root, so either add that line or move them up';
  }
  const near = nearestWord(key, known);
  return near === null ? `; known here: ${known.toSorted().join(', ')}` : `; did you mean ${near}?`;
}

/** Keys that the schema knows below `path`. */
function keysAt(schema: z.ZodType, path: KeyPath): readonly string[] {
  const shape = path.reduce<z.ZodType | undefined>((at, key) => shapeOf(at)?.[key], schema);
  return Object.keys(shapeOf(shape) ?? {}).filter((key) => key !== '$schema');
}

/** Looks through `nullish()` and `preprocess()` for the object below. */
function shapeOf(schema: z.ZodType | undefined): Record<string, z.ZodType> | undefined {
  if (schema instanceof z.ZodObject) return schema.shape as Record<string, z.ZodType>;
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable) return shapeOf(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodPipe) return shapeOf(schema.out as z.ZodType);
  return undefined;
}
