/** Shapes of what is registered: what callers send and what they get. */
import * as z from 'zod';
import { assetName, resourceName, textMap, wholeNumber } from '../../common/config/field-types.ts';
import { isInputText } from '../../common/config/input-location.ts';
import type { Deployment, EnvironmentSpec } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import { slurmOptionFault } from '../../common/core/slurm-options.ts';
import type {
  AllocationReport,
  AssetKind,
  AssetRequest,
  AssetViews,
  ComputeRequest,
  ComputeView,
  DatastoreRequest,
  DatastoreView,
  DataView,
  DemandView,
  DeploymentView,
  Description,
  EndpointRequest,
  EndpointView,
  EnvironmentView,
  ModelView,
  ServerView,
} from './registry-backend.ts';
import { nodeSchema } from './view-schemas.ts';
import { environmentSchema, sealedArtifact } from './job-request.ts';

const text = z.string();
const time = z.iso.datetime();
const labels = z.record(text, text);
const said = { description: text.nullable(), tags: labels, properties: labels };
const made = { id: text.describe('path of this API'), name: text, ...said, created_at: time, created_by: text };
const spec: z.ZodType<EnvironmentSpec> = environmentSchema;

export const serverSchema: z.ZodType<ServerView> = z
  .object({
    ...{ release: text, hostname: text, state_dir: text, now: time },
    instance: text.describe('also in the file `instance` of state_dir: who can read it there shares the disk'),
  })
  .meta({ id: 'Server' });

export const modelSchema: z.ZodType<ModelView> = z
  .object({
    ...made,
    version: text,
    type: z.enum(['custom_model', 'mlflow_model', 'triton_model']),
    path: text.describe('what deployments refer to it as'),
    artifact: sealedArtifact,
    flavor: z.enum(['onnx', 'mlflow']).nullable().describe('what scores it without a script'),
    environment: spec.nullable(),
  })
  .meta({ id: 'Model' });

export const dataSchema: z.ZodType<DataView> = z
  .object({ ...made, version: text, type: z.enum(['uri_folder', 'uri_file']), path: text })
  .meta({ id: 'Data' });

export const environmentViewSchema: z.ZodType<EnvironmentView> = z
  .object({
    ...made,
    ...{ version: text, image: text.nullable(), spec },
    conda_file: text.nullable().describe('text of the conda file'),
  })
  .meta({ id: 'EnvironmentAsset' });

export const assetSchemas: { readonly [K in AssetKind]: z.ZodType<AssetViews[K]> } = {
  model: modelSchema,
  data: dataSchema,
  environment: environmentViewSchema,
};

export const datastoreSchema: z.ZodType<DatastoreView> = z
  .object({ ...made, location: text })
  .meta({ id: 'Datastore' });

const state = z.literal('Succeeded');

const allocation = {
  state: z.enum(['active', 'paused']),
  pending: z.int().min(0).describe('Slurm jobs that wait'),
  running: z.int().min(0).describe('Slurm jobs that run'),
  wanted: z.int().min(0),
  reason: text.max(limits.nodeReasonCharsMax).nullable().describe('why it is paused, or what went wrong last'),
  paused_until: time.nullable(),
};

export const allocationBody: z.ZodType<AllocationReport> = z.strictObject(allocation).meta({ id: 'AllocationReport' });

export const demandSchema: z.ZodType<DemandView> = z
  .object({
    jobs: z.int(),
    mini_batches: z.int().describe('that wait or are under way'),
    nodes: z.array(nodeSchema).readonly(),
  })
  .meta({ id: 'Demand' });

export const computeSchema: z.ZodType<ComputeView> = z
  .object({
    ...made,
    type: text,
    labels: labels.describe('its worker nodes are those that have all of them'),
    min_instances: z.int(),
    max_instances: z.int().nullable(),
    idle_time_before_scale_down: z.number().describe('seconds'),
    ...{ size: text.nullable(), tier: text.nullable(), provisioning_state: state },
    slurm_options: z
      .array(text)
      .readonly()
      .describe('of sbatch, with which `batchmill allocator slurm` submits its nodes'),
    allocation: z
      .object({ ...allocation, seen_at: time.describe('when it last asked what there is to do') })
      .meta({ id: 'Allocation' })
      .nullable()
      .describe('what its allocator said last; null: none has since the coordinator was started'),
  })
  .meta({ id: 'Compute' });

export const endpointSchema: z.ZodType<EndpointView> = z
  .object({
    ...made,
    auth_mode: z.literal('aad_token'),
    defaults: z.object({ deployment_name: text.nullable() }).meta({ id: 'EndpointDefaults' }),
    concurrency_max: z.int().nullable().describe('jobs that may run at a time'),
    ...{ provisioning_state: state, scoring_uri: text, openapi_uri: text, changed_at: time },
  })
  .meta({ id: 'Endpoint' });

export const deploymentSchema: z.ZodType<DeploymentView> = z
  .object({
    ...made,
    ...{ endpoint_name: text, type: z.literal('model'), revision: z.int().min(1), model: text.nullable() },
    code_configuration: z.object({ code: text, scoring_script: text }).meta({ id: 'CodeConfiguration' }).nullable(),
    environment: text,
    compute: text.nullable(),
    resources: z.object({ instance_count: z.int().nullable() }).meta({ id: 'DeploymentResources' }),
    settings: z.record(text, z.unknown()).describe('by the keys of the YAML'),
    document: z.unknown().describe('the file as it was written'),
    deployment: (z.record(text, z.unknown()) as unknown as z.ZodType<Deployment>).describe(
      'resolved, as it can be put again',
    ),
    ...{ provisioning_state: state, changed_at: time },
  })
  .meta({ id: 'EndpointDeployment' });

/** What people say of a thing; null stands for nothing. */
const saidGiven = {
  description: text.max(10_000).nullish(),
  tags: textMap.nullish(),
  properties: textMap.nullish(),
};
interface SaidGiven {
  readonly description?: string | null | undefined;
  readonly tags?: Readonly<Record<string, string>> | null | undefined;
  readonly properties?: Readonly<Record<string, string>> | null | undefined;
}

export function descriptionOf({ description, tags, properties }: SaidGiven): Description {
  return { description: description ?? null, tags: tags ?? {}, properties: properties ?? {} };
}

export const assetBody: z.ZodType<AssetRequest> = z
  .strictObject({
    ...saidGiven,
    name: assetName,
    version: z.union([text, z.int()]).nullish().describe('counted up when absent'),
    type: z.enum(['custom_model', 'mlflow_model', 'triton_model', 'uri_folder', 'uri_file', 'mltable']).nullish(),
    path: text.nullish().describe("absolute, on the coordinator's machine; of data also a location"),
    artifact: sealedArtifact.nullish().describe('what an upload answered'),
    image: text.nullish(),
    conda_file: z.unknown().optional().describe('a mapping, or the text of a conda file'),
  })
  .meta({ id: 'AssetRequest' })
  .transform(({ description, tags, properties, version, conda_file: condaFile, ...rest }) => ({
    ...descriptionOf({ description, tags, properties }),
    name: rest.name,
    version: version === null || version === undefined || version === '' ? null : String(version),
    ...{ type: rest.type ?? null, path: rest.path ?? null, artifact: rest.artifact ?? null },
    ...{ image: rest.image ?? null, condaFile: condaFile ?? null },
  }));

const deploymentNames = z
  .strictObject({ deployment_name: resourceName.nullish(), deploymentName: resourceName.nullish() })
  .nullish()
  .describe('absent: it stays as it is; null: none');

export const endpointBody: z.ZodType<EndpointRequest> = z
  .strictObject({
    ...saidGiven,
    auth_mode: z.enum(['aad_token', 'AADToken', 'aadToken']).nullish(),
    defaults: deploymentNames,
    concurrency_max: z
      .int()
      .min(1)
      .nullish()
      .describe('jobs that may run at a time; absent: it stays as it is; null: any number'),
  })
  .meta({ id: 'EndpointRequest' })
  .transform(({ defaults, concurrency_max: concurrencyMax, ...said }) => ({
    ...descriptionOf(said),
    defaultDeployment: defaultIn(defaults),
    concurrencyMax,
  }));

/** Under either name; undefined: nothing is said of it. */
function defaultIn(defaults: z.infer<typeof deploymentNames>): string | null | undefined {
  if (!defaults) return defaults;
  const { deployment_name: snake, deploymentName: camel } = defaults;
  return snake ?? camel ?? (snake === null || camel === null ? null : undefined);
}

export interface DeploymentBody extends SaidGiven {
  readonly deployment?: unknown;
  readonly document?: Readonly<Record<string, unknown>> | null | undefined;
  readonly compute?: string | null | undefined;
  readonly set_default: boolean;
}

export const deploymentBody: z.ZodType<DeploymentBody> = z
  .strictObject({
    ...saidGiven,
    deployment: z
      .unknown()
      .meta({ anyOf: [{ type: 'string' }, { $ref: '#/components/schemas/DeploymentInput' }] })
      .optional()
      .describe("resolved, or the absolute path of a deployment file on the coordinator's machine"),
    document: z
      .record(text, z.unknown())
      .nullish()
      .describe('the YAML as JSON; alone: resolved here, by what is registered'),
    compute: text.nullish(),
    set_default: z.boolean().default(false).describe('the endpoint gets it as its default'),
  })
  .meta({ id: 'DeploymentRequest' });

export const datastoreBody: z.ZodType<DatastoreRequest> = z
  .strictObject({
    ...saidGiven,
    location: text.refine(isInputText, 'wanted an absolute path or the location of a store'),
  })
  .meta({ id: 'DatastoreRequest' })
  .transform(({ location, ...said }) => ({ ...descriptionOf(said), location }));

export const computeBody: z.ZodType<ComputeRequest> = z
  .strictObject({
    ...saidGiven,
    type: text.default('amlcompute'),
    labels: textMap.nullish(),
    min_instances: wholeNumber(0).nullish(),
    max_instances: wholeNumber(1).nullish(),
    idle_time_before_scale_down: z.number().min(0).nullish().describe('seconds'),
    ...{ size: text.nullish(), tier: text.nullish() },
    slurm_options: z
      .array(
        text.max(1_000).refine((one) => slurmOptionFault(one) === null, {
          error: ({ input }) => slurmOptionFault(String(input)) ?? '',
        }),
      )
      .max(100)
      .nullish(),
  })
  .meta({ id: 'ComputeRequest' })
  .transform((given) => ({
    ...descriptionOf(given),
    ...{ type: given.type, labels: given.labels ?? {}, minInstances: given.min_instances ?? 0 },
    ...{ maxInstances: given.max_instances ?? null, idleSeconds: given.idle_time_before_scale_down ?? 120 },
    ...{ size: given.size ?? null, tier: given.tier ?? null },
    ...(given.slurm_options && given.slurm_options.length > 0 ? { slurmOptions: given.slurm_options } : {}),
  }));
