/**
 * Keys of a deployment YAML, Azure's and ours, in both of Azure's forms: nested (`type: model`, knobs under `settings`)
 * and flat (no `type`, knobs at the root).
 * @source Azure ML batch deployment YAML schema, CLI v2
 */
import * as z from 'zod';
import type { DeploymentSettings, MiniBatchSize, SplitFiles } from '../core/deployment.ts';
import {
  environmentInline,
  modelSchema,
  optional,
  textOr,
  type RawCommon,
  type RawEnvironment,
  type RawModel,
} from './asset-schemas.ts';
import type { ConfigProblem, KeyPath } from './config-source.ts';
import {
  anything,
  globPatterns,
  gpuShare,
  memoryBytes,
  miniBatchSize,
  nonEmptyText,
  oneOf,
  outputFileName,
  resourceName,
  splitFiles,
  text,
  textMap,
  timeoutMs,
  wholeNumber,
  yesOrNo,
  type Maybe,
} from './field-types.ts';
import { problemsOf, type KeyHint } from './schema-problems.ts';
import { outputKeys, type RawOutput } from './output-settings.ts';
import { onnxKeys, type RawOnnx } from './onnx-settings-schema.ts';

const environmentVariables = textMap.refine((map) => Object.keys(map).every((name) => /^[^=\0]+$/.test(name)), {
  message: 'names without "="',
});

const settingsShape = {
  instance_count: optional(wholeNumber(1), 'Worker nodes at most; resources.instance_count wins.'),
  max_concurrency_per_instance: optional(wholeNumber(1), 'Scoring processes at most on each worker node.'),
  mini_batch_size: optional(miniBatchSize, 'Files (20), bytes (64MB), time (30s) or auto.'),
  split_files: optional(splitFiles, 'Whether large tables are shared out: auto, off, or the size of a part (16MB).'),
  retry_settings: optional(
    z.strictObject(
      {
        max_retries: optional(wholeNumber(0), 'Tries in all, at least one; 3 by default.'),
        timeout: optional(timeoutMs, 'Seconds for one run(); 30 by default.'),
      },
      'a mapping',
    ),
    'How often and how long a mini-batch is tried.',
  ),
  progress_update_timeout: optional(
    timeoutMs,
    'Seconds without the end of any attempt after which the job fails; max_retries × timeout + 30 by default.',
  ),
  error_threshold: optional(wholeNumber(-1), 'The job fails when more files than this have failed; -1: never.'),
  logging_level: optional(
    oneOf(['debug', 'info', 'warning'], { warn: 'warning', error: 'warning', critical: 'warning', fatal: 'warning' }),
    'debug, info (default) or warning, which error and critical are read as.',
  ),
  output_action: optional(oneOf(['append_row', 'summary_only']), 'summary_only writes no rows.'),
  output_file_name: optional(outputFileName, 'Name of the file of rows; predictions.csv by default.'),
  environment_variables: optional(environmentVariables, 'Names and values for the script; values become text.'),
  output: optional(outputKeys, 'What the output looks like.'),
  input: optional(
    z.strictObject(
      {
        recursive: optional(yesOrNo, 'false skips sub-folders, as Azure does.'),
        include: optional(globPatterns, 'Glob patterns of the files to score; all by default.'),
        exclude: optional(globPatterns, 'Glob patterns of files and folders to leave out.'),
        incremental: optional(
          yesOrNo,
          'true takes the rows of files that are still the same from the last complete job, and scores the others.',
        ),
      },
      'a mapping',
    ),
    'Which files of the input are scored.',
  ),
  onnx: optional(onnxKeys, 'For the built-in ONNX scorer; see docs/onnx.md.'),
  mlflow: optional(
    z.strictObject(
      { rows_per_predict: optional(wholeNumber(1), 'Rows of one call of predict; a whole file by default.') },
      'a mapping',
    ),
    'For MLflow models without a script.',
  ),
  isolation: optional(oneOf(['file', 'mini_batch']), 'Whether a failing mini-batch is split down to the file.'),
  speculation: optional(oneOf(['auto', 'off']), 'off: a straggler gets no second attempt beside it.'),
};

const memory = optional(memoryBytes, 'Of one scoring host with all that it started, such as 2GB; no limit by default.');

const gpu = optional(
  gpuShare,
  'Of one scoring host: a share of a GPU such as 0.5, or so many whole ones; one for each host as far as they go, by default.',
);

const keep_warm = optional(
  yesOrNo,
  'Whether scoring hosts wait for the next job of the deployment; yes for the built-in ONNX scorer, no for scripts and MLflow models by default.',
);

const require = optional(textMap, 'Labels that worker nodes must have, all of them, such as gpu: a100.');

const rootShape = {
  $schema: optional(text, 'A hint for editors; it decides nothing.'),
  name: optional(resourceName, '3 to 32 letters, digits and "-"; from the name of the file by default.'),
  endpoint_name: optional(resourceName, 'Endpoint that it belongs to; matched whatever the case.'),
  description: optional(text, 'Words for people.'),
  tags: optional(textMap, 'Names and values for people; values become text.'),
  properties: optional(textMap, 'Names and values for programs; values become text.'),
  type: optional(oneOf(['model']), 'model: the knobs stand under settings. Absent: they stand at the root.'),
  model: optional(textOr(modelSchema), 'Path of a local file or folder, or a mapping with path.'),
  code_configuration: optional(
    z.strictObject(
      {
        code: optional(nonEmptyText, 'Folder that ships to the worker nodes.'),
        scoring_script: optional(nonEmptyText, 'Script inside of it, with init() and run(mini_batch).'),
      },
      'a mapping',
    ),
    'The scoring script.',
  ),
  environment: optional(textOr(environmentInline), 'The packages of a Python script.'),
  compute: optional(text, 'A name; has no effect here.'),
  resources: optional(
    z.strictObject(
      {
        instance_count: optional(wholeNumber(1), 'Worker nodes at most.'),
        instance_type: optional(text, 'Has no effect here.'),
        properties: optional(anything, 'Has no effect here.'),
        memory,
        gpu,
        keep_warm,
        require,
      },
      'a mapping',
    ),
    'Worker nodes, memory and GPUs.',
  ),
};

/** No `type`, knobs at the root. */
export const flatSchema: z.ZodType<RawDeployment & RawSettings> = z.strictObject({ ...rootShape, ...settingsShape });
/** `type: model`, knobs under `settings`. */
export const nestedSchema: z.ZodType<RawDeployment & { readonly settings?: Maybe<RawNestedSettings> }> = z.strictObject(
  {
    ...rootShape,
    settings: optional(
      z.strictObject(
        {
          ...settingsShape,
          resources: optional(
            z.strictObject({ memory, gpu, keep_warm, require }, 'a mapping'),
            'Limits of a scoring host.',
          ),
        },
        'a mapping',
      ),
      'The knobs.',
    ),
  },
);

/** Knobs as a file gives them: right in type, possibly absent. */
export interface RawSettings {
  readonly instance_count?: Maybe<number>;
  readonly max_concurrency_per_instance?: Maybe<number>;
  readonly mini_batch_size?: Maybe<MiniBatchSize>;
  readonly split_files?: Maybe<SplitFiles>;
  /** `timeout` in milliseconds. */
  readonly retry_settings?: Maybe<{ readonly max_retries?: Maybe<number>; readonly timeout?: Maybe<number> }>;
  /** In milliseconds. */
  readonly progress_update_timeout?: Maybe<number>;
  readonly error_threshold?: Maybe<number>;
  readonly logging_level?: Maybe<DeploymentSettings['loggingLevel']>;
  readonly output_action?: Maybe<DeploymentSettings['outputAction']>;
  readonly output_file_name?: Maybe<string>;
  readonly environment_variables?: Maybe<Readonly<Record<string, string>>>;
  readonly output?: Maybe<RawOutput>;
  readonly input?: Maybe<{
    readonly recursive?: Maybe<boolean>;
    readonly incremental?: Maybe<boolean>;
    readonly include?: Maybe<readonly string[]>;
    readonly exclude?: Maybe<readonly string[]>;
  }>;
  readonly onnx?: Maybe<RawOnnx>;
  readonly mlflow?: Maybe<{ readonly rows_per_predict?: Maybe<number> }>;
  readonly isolation?: Maybe<DeploymentSettings['isolation']>;
  readonly speculation?: Maybe<DeploymentSettings['speculation']>;
}

/** Under `settings` there is room for what a scoring host may have; in the flat form it stands with the other `resources`. */
export interface RawNestedSettings extends RawSettings {
  readonly resources?: Maybe<{
    readonly memory?: Maybe<number>;
    readonly gpu?: Maybe<number>;
    readonly keep_warm?: Maybe<boolean>;
    readonly require?: Maybe<Readonly<Record<string, string>>>;
  }>;
}

/** Keys outside of the settings. */
export interface RawDeployment extends Omit<RawCommon, 'version'> {
  readonly endpoint_name?: Maybe<string>;
  readonly model?: Maybe<RawModel>;
  readonly code_configuration?: Maybe<{ readonly code?: Maybe<string>; readonly scoring_script?: Maybe<string> }>;
  readonly environment?: Maybe<RawEnvironment>;
  readonly compute?: Maybe<string>;
  readonly resources?: Maybe<{
    readonly instance_count?: Maybe<number>;
    readonly instance_type?: Maybe<string>;
    readonly memory?: Maybe<number>;
    readonly gpu?: Maybe<number>;
    readonly keep_warm?: Maybe<boolean>;
    readonly require?: Maybe<Readonly<Record<string, string>>>;
  }>;
}

/** A deployment that has the right keys and types, whichever form it was written in. */
export interface ParsedDeployment {
  readonly root: RawDeployment;
  readonly settings: RawNestedSettings;
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
  const pipeline = pipelineProblem(value);
  if (pipeline) return [pipeline];
  const settingsPath = settingsPathOf(value);
  if (settingsPath.length > 0) {
    const result = nestedSchema.safeParse(value);
    if (result.success) return { root: result.data, settings: result.data.settings ?? {}, settingsPath };
    return problemsOf(result.error, value, nestedSchema, hintFor);
  }
  const result = flatSchema.safeParse(value);
  if (!result.success) return problemsOf(result.error, value, flatSchema, hintFor);
  // `resources` of the flat form belongs to the root alone.
  const { resources: _, ...settings } = result.data;
  return { root: result.data, settings, settingsPath };
}

/** A deployment of a pipeline component is a thing of its own: it gets one answer, not one for each of its keys. */
function pipelineProblem(value: unknown): ConfigProblem | null {
  if (typeof value !== 'object' || value === null) return null;
  const keys = value as Readonly<Record<string, unknown>>;
  const isTyped = typeof keys['type'] === 'string' && keys['type'].toLowerCase() === 'pipeline';
  const key = isTyped ? 'type' : ['component', 'job_definition'].find((one) => Object.hasOwn(keys, one));
  if (key === undefined) return null;
  const what = key === 'type' ? 'type: wanted model, found pipeline' : `${key} is a key of pipeline deployments`;
  return {
    code: 'DEPLOYMENT_INVALID',
    path: [key],
    at: key === 'type' ? 'value' : 'key',
    message:
      `${what}: pipeline component deployments are not run here. ` +
      'Write each step that scores as a deployment of its own, with type: model, model and code_configuration',
  };
}

const hintFor: KeyHint = (parent, key, known) => {
  if (parent.length > 0) return null;
  if (known.includes('settings') && Object.hasOwn(settingsShape, key)) {
    return `; with \`type: model\` it stands under settings: settings.${key}`;
  }
  if (key === 'settings') {
    return '; without `type: model` the settings stand at the root, so either add that line or move them up';
  }
  return null;
};
