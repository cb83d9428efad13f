/**
 * Keys of the YAML kinds beside deployments: endpoint, model, data asset, environment and compute. Models and environments
 * stand inside of deployments too.
 * @source Azure ML CLI v2 YAML schemas
 */
import * as z from 'zod';
import { slurmOptionFault } from '../core/slurm-options.ts';
import {
  anything,
  assetName,
  idleSeconds,
  nonEmptyText,
  oneOf,
  resourceName,
  text,
  textMap,
  wholeNumber,
  yesOrNo,
  type Maybe,
} from './field-types.ts';

/** A key that may be absent or empty, with the words that editors show for it. */
export const optional = <S extends z.ZodType>(schema: S, about: string): z.ZodOptional<z.ZodNullable<S>> =>
  schema.nullish().describe(about);

/** A text, or an object of `schema`: told apart before validation, so that a message speaks of one of them only. */
export function textOr<T>(schema: z.ZodType<T>): z.ZodType<T> {
  return z.preprocess((value) => (typeof value === 'string' ? { path: value } : value), schema) as z.ZodType<T>;
}

const slurmOption = text.refine((one) => slurmOptionFault(one) === null, {
  error: ({ input }) => slurmOptionFault(String(input)) ?? '',
});

/** What every file may have beside its own keys. */
export interface RawCommon {
  readonly name?: Maybe<string>;
  readonly version?: Maybe<string>;
  readonly description?: Maybe<string>;
  readonly tags?: Maybe<Readonly<Record<string, string>>>;
  readonly properties?: Maybe<Readonly<Record<string, string>>>;
}

const common = {
  $schema: optional(text, 'A hint for editors; it decides nothing.'),
  description: optional(text, 'Words for people.'),
  tags: optional(textMap, 'Names and values for people; values become text.'),
  properties: optional(textMap, 'Names and values for programs; values become text.'),
};

const asset = {
  ...common,
  name: optional(assetName, 'Letters, digits, "_", "-" and ".".'),
  version: optional(nonEmptyText, 'Counted up by itself when absent.'),
};

export const modelTypes = ['custom_model', 'mlflow_model', 'triton_model'] as const;
export const dataTypes = ['uri_folder', 'uri_file', 'mltable'] as const;
export const computeTypes = ['amlcompute', 'kubernetes', 'slurm'] as const;

export interface RawModel extends RawCommon {
  readonly path?: Maybe<string>;
  readonly type?: Maybe<(typeof modelTypes)[number]>;
}

export const modelSchema: z.ZodType<RawModel> = z.strictObject(
  {
    ...asset,
    path: optional(nonEmptyText, 'Local file or folder, relative to this YAML.'),
    type: optional(
      oneOf(modelTypes),
      'mlflow_model needs no script. Absent: mlflow_model for a folder with a file MLmodel, else custom_model.',
    ),
    flavors: optional(anything, 'Kept as it is.'),
    // What Azure gives back when it shows a model.
    stage: optional(text, 'Kept as it is.'),
  },
  'a path or a mapping with path',
);

export interface RawEnvironment extends RawCommon {
  readonly path?: Maybe<string>;
  readonly image?: Maybe<string>;
  readonly build?: unknown;
  readonly conda_file?: unknown;
}

const environmentShape = {
  ...asset,
  image: optional(nonEmptyText, 'Container image. With a conda_file, only the conda file is built.'),
  build: optional(
    z.strictObject(
      {
        path: optional(nonEmptyText, 'Folder of the build.'),
        dockerfile_path: optional(nonEmptyText, 'Dockerfile in it.'),
      },
      'a mapping',
    ),
    'Images are not built here: give image or conda_file.',
  ),
  conda_file: optional(
    z.unknown().meta({ type: ['string', 'object'] }),
    'Path of a conda file, relative to this YAML, or its contents.',
  ),
  os_type: optional(oneOf(['linux']), 'Only linux.'),
  inference_config: optional(anything, 'For online endpoints; has no effect.'),
};

export const environmentSchema: z.ZodType<RawEnvironment> = z.strictObject(environmentShape);
/** The same inside of a deployment, where a text stands for `path`. */
export const environmentInline: z.ZodType<RawEnvironment> = z.strictObject(
  { ...environmentShape, path: optional(nonEmptyText, 'An environment YAML or a conda file.') },
  'a name, a path or a mapping',
);

export interface RawData extends RawCommon {
  readonly path?: Maybe<string>;
  readonly type?: Maybe<(typeof dataTypes)[number]>;
}

export const dataSchema: z.ZodType<RawData> = z.strictObject({
  ...asset,
  path: optional(nonEmptyText, 'Local file or folder, relative to this YAML, or a location such as s3://…'),
  type: optional(oneOf(dataTypes), 'uri_folder (default) or uri_file; mltable is not read.'),
});

export interface RawEndpoint extends RawCommon {
  readonly auth_mode?: Maybe<'aad_token'>;
  readonly defaults?: Maybe<{ readonly deployment_name?: Maybe<string>; readonly deploymentName?: Maybe<string> }>;
}

export const endpointSchema: z.ZodType<RawEndpoint> = z.strictObject({
  ...common,
  name: optional(resourceName, '3 to 32 letters, digits and "-"; matched whatever the case.'),
  auth_mode: optional(oneOf(['aad_token']), 'Only aad_token; any bearer token of this server is meant by it.'),
  defaults: optional(
    z.strictObject(
      {
        deployment_name: optional(resourceName, 'Deployment that serves an invocation that names none.'),
        deploymentName: optional(resourceName, 'The same, as Azure’s REST interface writes it.'),
      },
      'a mapping',
    ),
    'What holds when an invocation does not say.',
  ),
});

export interface RawCompute extends RawCommon {
  readonly type?: Maybe<(typeof computeTypes)[number]>;
  readonly size?: Maybe<string>;
  readonly tier?: Maybe<'dedicated' | 'low_priority'>;
  readonly min_instances?: Maybe<number>;
  readonly max_instances?: Maybe<number>;
  /** Seconds. */
  readonly idle_time_before_scale_down?: Maybe<number>;
  readonly labels?: Maybe<Readonly<Record<string, string>>>;
  readonly slurm_options?: Maybe<readonly string[]>;
}

export const computeSchema: z.ZodType<RawCompute> = z.strictObject({
  ...common,
  name: optional(assetName, 'Letters, digits, "_", "-" and ".".'),
  type: optional(
    oneOf(computeTypes),
    'amlcompute: worker nodes that come and go; slurm: those that an allocator submits to Slurm.',
  ),
  size: optional(text, 'A machine size; kept as it is.'),
  tier: optional(oneOf(['dedicated', 'low_priority']), 'dedicated (default) or low_priority.'),
  min_instances: optional(wholeNumber(0), 'Worker nodes that stay; 0 by default.'),
  max_instances: optional(wholeNumber(1), 'Worker nodes at most; 1 by default.'),
  idle_time_before_scale_down: optional(idleSeconds, 'Seconds without work until a node goes; 120 by default.'),
  labels: optional(textMap, 'Worker nodes that have all of them are its nodes; none: all nodes.'),
  slurm_options: optional(
    z.array(slurmOption),
    'Of sbatch, with which its worker nodes are submitted: --partition=gpu.',
  ),
  location: optional(text, 'Has no effect here.'),
  ssh_public_access_enabled: optional(yesOrNo, 'Has no effect here.'),
  ssh_settings: optional(anything, 'Has no effect here.'),
  network_settings: optional(anything, 'Has no effect here.'),
  identity: optional(anything, 'Has no effect here.'),
  enable_node_public_ip: optional(yesOrNo, 'Has no effect here.'),
  resource_id: optional(text, 'Of a kubernetes compute; has no effect here.'),
  namespace: optional(text, 'Of a kubernetes compute; has no effect here.'),
});
