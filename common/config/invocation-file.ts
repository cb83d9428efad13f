/**
 * What may be said of one invocation, in the file that `invoke --file` names and by `--set`: inputs, outputs, and settings of the
 * deployment that hold for this job only.
 * @source Azure ML CLI v2, `batch-endpoint invoke`
 */
import * as z from 'zod';
import { anything, nonEmptyText, text, textMap, type Maybe } from './field-types.ts';
import { optional } from './asset-schemas.ts';
import type { ConfigProblem, ConfigSource, KeyPath } from './config-source.ts';
import { problemsOf } from './schema-problems.ts';

/** Where something is, as it was written. */
export interface InvocationPlace {
  readonly name: string;
  readonly key: KeyPath;
  /** Null: what stands there decides. */
  readonly type: 'uri_folder' | 'uri_file' | null;
  readonly path: string;
}

/** What was said; what was not is undefined. Values of settings are as written: the coordinator reads them. */
export interface InvocationFile {
  readonly input: InvocationPlace | null;
  readonly output: InvocationPlace | null;
  readonly overrides: Readonly<Record<string, unknown>>;
  readonly deployment_name: string | undefined;
  readonly job_name: string | undefined;
  readonly experiment_name: string | undefined;
  readonly display_name: string | undefined;
  readonly description: string | undefined;
  readonly compute: string | undefined;
  readonly tags: Readonly<Record<string, string>> | undefined;
  readonly properties: Readonly<Record<string, string>> | undefined;
}

interface RawPlace {
  readonly type?: Maybe<string>;
  readonly path?: Maybe<string>;
  readonly default?: unknown;
}

const place: z.ZodType<RawPlace> = z.preprocess(
  (value) => (typeof value === 'string' ? { path: value } : value),
  z.strictObject(
    {
      type: optional(text, 'uri_folder or uri_file.'),
      path: optional(nonEmptyText, 'A path, a location, azureml:NAME:VERSION.'),
      mode: optional(text, 'Has no effect here.'),
      // Of the literal inputs of pipeline deployments.
      default: anything.optional(),
    },
    'a path or a mapping with path',
  ),
) as z.ZodType<RawPlace>;

const settingKeys = {
  mini_batch_size: anything.optional(),
  instance_count: anything.optional(),
  max_concurrency_per_instance: anything.optional(),
  max_retries: anything.optional(),
  timeout: anything.optional(),
  error_threshold: anything.optional(),
  logging_level: anything.optional(),
  output_file_name: anything.optional(),
  environment_variables: optional(textMap, 'Beside those of the deployment.'),
};

const retries = optional(
  z.strictObject({ max_retries: anything.optional(), timeout: anything.optional() }, 'a mapping'),
  'Tries and seconds of a run().',
);

const schema = z.strictObject({
  $schema: optional(text, 'A hint for editors; it decides nothing.'),
  inputs: optional(z.record(z.string(), place), 'One input, whatever its name.'),
  outputs: optional(z.record(z.string(), place), 'One output, whatever its name.'),
  ...settingKeys,
  retry_settings: retries,
  settings: optional(z.strictObject({ ...settingKeys, retry_settings: retries }, 'a mapping'), 'The same.'),
  compute: optional(
    z.union([z.string(), z.strictObject({ instance_count: anything.optional(), target: nonEmptyText.optional() })]),
    'Named set of worker nodes.',
  ),
  resources: optional(z.strictObject({ instance_count: anything.optional() }, 'a mapping'), 'The same.'),
  output_dataset: optional(
    z.strictObject({ datastore_id: nonEmptyText, path: nonEmptyText }, 'a mapping'),
    'Datastore and path of the results.',
  ),
  deployment_name: optional(text, 'Deployment that serves it.'),
  job_name: optional(text, 'Name of the job.'),
  name: optional(text, 'The same.'),
  experiment_name: optional(text, 'What its jobs are grouped by.'),
  display_name: optional(text, 'Shown instead of the name.'),
  description: optional(text, 'Words for people.'),
  tags: optional(textMap, 'Names and values for people.'),
  properties: optional(textMap, 'Names and values for programs.'),
});

/** @throws CONFIG_INVALID, CONFIG_UNKNOWN_KEY */
export function readInvocation(source: ConfigSource): InvocationFile {
  const value = source.toJs();
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw source.toError(problemsOf(parsed.error, value, schema));
  const raw = parsed.data;
  const problems: ConfigProblem[] = [];
  const input = onePlace('inputs', raw.inputs ?? {}, problems);
  const output = onePlace('outputs', raw.outputs ?? {}, problems) ?? datasetPlace(raw.output_dataset ?? null);
  if (problems.length > 0) throw source.toError(problems);
  const compute = typeof raw.compute === 'string' ? { target: raw.compute } : (raw.compute ?? {});
  const given = { ...raw, ...raw.settings };
  const retrySettings = { ...raw.retry_settings, ...raw.settings?.retry_settings };
  const overrides = {
    mini_batch_size: given.mini_batch_size,
    instance_count: compute.instance_count ?? raw.resources?.instance_count ?? given.instance_count,
    max_concurrency_per_instance: given.max_concurrency_per_instance,
    max_retries: retrySettings.max_retries ?? given.max_retries,
    timeout: retrySettings.timeout ?? given.timeout,
    error_threshold: given.error_threshold,
    logging_level: given.logging_level,
    output_file_name: given.output_file_name,
    environment_variables: given.environment_variables,
  };
  return {
    input,
    output,
    overrides: Object.fromEntries(Object.entries(overrides).filter(([, one]) => one !== undefined && one !== null)),
    deployment_name: raw.deployment_name ?? undefined,
    job_name: raw.job_name ?? raw.name ?? undefined,
    experiment_name: raw.experiment_name ?? undefined,
    display_name: raw.display_name ?? undefined,
    description: raw.description ?? undefined,
    compute: compute.target,
    tags: raw.tags ?? undefined,
    properties: raw.properties ?? undefined,
  };
}

function onePlace(
  key: 'inputs' | 'outputs',
  places: Readonly<Record<string, RawPlace>>,
  problems: ConfigProblem[],
): InvocationPlace | null {
  const names = Object.keys(places);
  const fail = (path: KeyPath, message: string): null => {
    problems.push({ code: 'CONFIG_INVALID', path, at: 'value', message });
    return null;
  };
  const [name] = names;
  if (name === undefined) return null;
  if (names.length > 1) {
    return fail([key], `${key}: wanted one, found ${names.join(', ')}; a job has one input and one output`);
  }
  const { type = null, path = null } = places[name] as RawPlace;
  if (type !== null && type !== 'uri_folder' && type !== 'uri_file') {
    const literal = 'literal inputs are those of pipeline deployments, which are not run here';
    return fail([key, name, 'type'], `${key}.${name}.type: wanted uri_folder or uri_file, found ${type}; ${literal}`);
  }
  if (path === null) return fail([key, name], `${key}.${name}: wanted path, found nothing`);
  return { name, key: [key, name, 'path'], type, path };
}

function datasetPlace(
  dataset: { readonly datastore_id: string; readonly path: string } | null,
): InvocationPlace | null {
  if (dataset === null) return null;
  const store = dataset.datastore_id.replace(/^azureml:(?!\/\/)/i, '').replace(/^.*\/datastores\//i, '');
  const path = `azureml://datastores/${store}/paths/${dataset.path.replace(/^\/+/, '')}`;
  return { name: 'score', key: ['output_dataset', 'path'], type: 'uri_folder', path };
}
