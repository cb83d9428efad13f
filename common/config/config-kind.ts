/**
 * Which of the kinds of YAML a file is. Its keys decide; `$schema` is a hint for editors and only breaks a tie, since files with
 * the wrong one are about.
 */
import { nearestWord } from './nearest-word.ts';

export const configKinds = ['endpoint', 'deployment', 'model', 'data', 'environment', 'compute'] as const;
export type ConfigKind = (typeof configKinds)[number];

/** With the article that people say it with. */
export const kindText: Readonly<Record<ConfigKind, string>> = {
  endpoint: 'an endpoint',
  deployment: 'a deployment',
  model: 'a model',
  data: 'a data asset',
  environment: 'an environment',
  compute: 'a compute',
};

export type KindGuess =
  | { readonly kind: ConfigKind }
  /** Why it cannot be told, as the end of a message. */
  | { readonly kind: null; readonly reason: string };

/** Values of `type` that one kind alone has. */
const typeWords: Readonly<Record<string, ConfigKind>> = {
  model: 'deployment',
  pipeline: 'deployment',
  custom_model: 'model',
  mlflow_model: 'model',
  triton_model: 'model',
  uri_folder: 'data',
  uri_file: 'data',
  mltable: 'data',
  amlcompute: 'compute',
  kubernetes: 'compute',
  slurm: 'compute',
};

/** Keys that one kind alone has. */
const ownKeys: Readonly<Record<ConfigKind, readonly string[]>> = {
  endpoint: ['auth_mode', 'defaults'],
  deployment: [
    'endpoint_name',
    'model',
    'code_configuration',
    'environment',
    'settings',
    'compute',
    'resources',
    'component',
    'job_definition',
    'instance_count',
    'max_concurrency_per_instance',
    'mini_batch_size',
    'split_files',
    'retry_settings',
    'error_threshold',
    'logging_level',
    'output_action',
    'output_file_name',
    'environment_variables',
  ],
  model: ['flavors'],
  data: [],
  environment: ['image', 'build', 'conda_file', 'os_type', 'inference_config'],
  compute: ['size', 'tier', 'min_instances', 'max_instances', 'idle_time_before_scale_down', 'network_settings'],
};

/** Keys that say nothing, since most kinds have them. An endpoint alone is complete with no more than these. */
const endpointKeys = new Set(['$schema', 'name', 'description', 'tags', 'properties']);

const schemaWords: readonly (readonly [RegExp, ConfigKind])[] = [
  [/deployment/i, 'deployment'],
  [/endpoint/i, 'endpoint'],
  [/environment/i, 'environment'],
  [/compute/i, 'compute'],
  [/model/i, 'model'],
  [/data|asset/i, 'data'],
];

/** What `value`, a document's plain value, is. */
export function guessKind(value: unknown): KindGuess {
  if (typeof value !== 'object' || value === null) return { kind: null, reason: 'it holds no keys' };
  const entries = value as Readonly<Record<string, unknown>>;
  const keys = Object.keys(entries).filter((key) => entries[key] !== null);
  if (keys.includes('dependencies') || keys.includes('channels')) {
    return { kind: null, reason: 'it is a conda file; name it as conda_file of an environment' };
  }
  const typed = kindOfType(entries['type']);
  if (typed !== null) return { kind: typed };
  const counts = configKinds.map((kind) => [kind, keys.filter((key) => ownKeys[kind].includes(key)).length] as const);
  const most = Math.max(...counts.map(([, count]) => count));
  const found = most === 0 ? [] : counts.filter(([, count]) => count === most).map(([kind]) => kind);
  if (found.length === 1) return { kind: found[0] as ConfigKind };
  const candidates = most > 0 ? found : candidatesWithoutKeys(keys);
  const hinted = kindOfSchema(entries['$schema'], candidates);
  if (hinted !== null) return { kind: hinted };
  if (most === 0 && keys.length > 0 && keys.every((key) => endpointKeys.has(key))) return { kind: 'endpoint' };
  return { kind: null, reason: reasonFor(keys) };
}

/** A file with `path` and no type is a model or a data asset, whichever its `$schema` says. */
function candidatesWithoutKeys(keys: readonly string[]): readonly ConfigKind[] {
  return keys.includes('path') ? ['model', 'data'] : configKinds;
}

function kindOfType(type: unknown): ConfigKind | null {
  if (typeof type !== 'string') return null;
  const near = nearestWord(type, Object.keys(typeWords));
  return near === null ? null : (typeWords[near] ?? null);
}

function kindOfSchema(schema: unknown, candidates: readonly ConfigKind[]): ConfigKind | null {
  if (typeof schema !== 'string') return null;
  const file = schema.slice(schema.lastIndexOf('/') + 1);
  const found = schemaWords.find(([word]) => word.test(file))?.[1] ?? null;
  return found !== null && candidates.includes(found) ? found : null;
}

function reasonFor(keys: readonly string[]): string {
  if (keys.includes('path'))
    return 'path alone may be a model or a data asset: add type (custom_model, mlflow_model, uri_folder, uri_file)';
  if (keys.length === 0) return 'it is empty';
  return `its keys (${keys.slice(0, 8).join(', ')}) are of none of them`;
}
