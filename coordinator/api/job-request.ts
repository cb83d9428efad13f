/**
 * The body of POST /v1/jobs. `deployment` is a resolved one, as `job submit` sends it after reading the files on its
 * side, or the absolute path of a deployment file on the coordinator's machine, which is easier by hand.
 */
import { isAbsolute } from 'node:path';
import * as z from 'zod';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { isInputText } from '../../common/config/input-location.ts';
import { patternProblem } from '../../common/config/input-pattern.ts';
import {
  outputFormats,
  type CondaSpec,
  type DeploymentSettings,
  type EnvironmentSpec,
  type Artifact,
  type ArtifactSource,
  type LocalArtifact,
  type LocalDeployment,
  type MiniBatchSize,
  type SplitFiles,
  type Scorer,
} from '../../common/core/deployment.ts';
import { digest } from '../../common/core/ids.ts';
import { plainOrigin } from '../../common/core/job-origin.ts';
import { inputListColumnDefault, selectionOf } from '../../common/core/input-selection.ts';
import { limits } from '../../common/core/limits.ts';
import { defaultOutputForm, type OutputForm } from '../../common/core/output-form.ts';
import { partCompressions, partFormats, rowsOfFormat, type PartsForm } from '../../common/core/parts-form.ts';
import { executionProviders, type OnnxSettings } from '../../common/core/onnx-settings.ts';
import { columnOf } from '../../common/core/result.ts';
import { isDigest } from '../../common/storage/artifact-listing.ts';
import { isConfined } from '../../common/storage/confine.ts';
import { parseType } from '../../common/format/column-type.ts';
import type { JobRequest } from './backend.ts';
import { invalidError } from './typed-route.ts';

export const absolutePath: z.ZodString = z
  .string()
  .refine((path) => isAbsolute(path) && !path.includes('\0'), 'wanted an absolute path');
const count = z.int().min(1);

/** Of one file or folder, without anything that leads elsewhere. */
const plainName = z
  .string()
  .min(1)
  .max(255)
  .refine((name) => isConfined(name) && !name.includes('/'), 'wanted a plain file name');

const sealedShape = {
  kind: z.enum(['file', 'folder']),
  name: plainName,
  digest: z.string().refine(isDigest, 'wanted sha256: and 64 hex digits').transform(digest),
  bytes: z.int().min(0),
  asset: z.exactOptional(z.string().max(300)),
};
/** What an upload answered. */
export const sealedArtifact: z.ZodType<Artifact> = z.strictObject(sealedShape).meta({ id: 'Artifact' });
const localArtifact: z.ZodType<LocalArtifact> = z.strictObject({
  kind: z.enum(['file', 'folder']),
  path: absolutePath,
});
const artifact: z.ZodType<ArtifactSource> = z.union([localArtifact, sealedArtifact], {
  error:
    "wanted { kind, path } on the coordinator's machine, or what an upload answered: { kind, name, digest, bytes }",
});

/** Relative, and below the code folder. */
const scriptPath = z
  .string()
  .min(1)
  .refine((path) => !isAbsolute(path) && !path.split('/').includes('..'), 'wanted a path inside of the code folder');

const channelNumbers = z.array(z.number()).max(4);

const onnxSettings: z.ZodType<OnnxSettings> = z.strictObject({
  image: z.strictObject({
    layout: z.enum(['nchw', 'nhwc']).nullable(),
    width: count.nullable(),
    height: count.nullable(),
    channels: z.enum(['gray', 'rgb', 'bgr']).nullable(),
    scale: z.number(),
    mean: channelNumbers,
    std: channelNumbers,
  }),
  columns: z.record(z.string(), z.union([z.string(), z.array(z.string()).min(1)])),
  features: z.array(z.string()).min(1).nullable(),
  missing: z.union([z.literal('refuse'), z.strictObject({ fill: z.union([z.number(), z.string()]) })]),
  batchRows: count.nullable(),
  labels: z.array(z.string()).nullable(),
  topK: count.nullable(),
  outputs: z.array(z.string()).nullable(),
  providers: z.array(z.enum(executionProviders)).min(1),
});

const conda: z.ZodType<CondaSpec> = z.strictObject({
  name: z.string(),
  yaml: z.string().max(limits.condaYamlCharsMax),
  digest: z.string().transform(digest),
});

export const environmentSchema: z.ZodType<EnvironmentSpec> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('host'), python: z.string().min(1).nullable() }),
  z.strictObject({ kind: z.literal('conda'), conda }),
  z.strictObject({ kind: z.literal('image'), image: z.string().min(1), conda: conda.nullable() }),
]);

const scorer: z.ZodType<Scorer> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('onnx'), settings: onnxSettings }),
  z.strictObject({ kind: z.literal('mlflow'), rowsPerPredict: count.nullable() }),
  z.strictObject({ kind: z.literal('python'), script: scriptPath }),
  z.strictObject({ kind: z.literal('node'), script: scriptPath }),
]);

export const miniBatchSize: z.ZodType<MiniBatchSize> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('files'), files: count.max(limits.miniBatchFilesMax) }),
  z.strictObject({ kind: z.literal('bytes'), bytes: count }),
  z.strictObject({ kind: z.literal('seconds'), seconds: z.number().min(limits.autoSecondsMin) }),
  z.strictObject({ kind: z.literal('auto') }),
]);

const splitFiles: z.ZodType<SplitFiles> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('auto'), partBytes: z.exactOptional(count) }),
  z.strictObject({ kind: z.literal('off') }),
  z.strictObject({ kind: z.literal('bytes'), bytes: count.min(limits.splitPartBytesAsked) }),
]);

const outputFileName = z
  .string()
  .max(255)
  .regex(/^([^_.\\/\p{Cc}][^\\/\p{Cc}]*)?$/u, 'wanted a plain file name, not beginning with "_" or "."')
  .refine((name) => !name.includes('..'), 'wanted a file name without ".."');

const columnName = z.string().min(1).max(255);

const outputForm: z.ZodType<OutputForm> = z.strictObject({
  header: z.boolean(),
  delimiter: z.string().regex(/^[,;|:\t ]$/, 'wanted one of , ; | : tab space'),
  schema: z.array(z.string().refine(isDeclared, 'wanted name:type')).min(1).nullable(),
  evolves: z.boolean().default(false),
  fileColumn: columnName.nullable(),
  rowColumn: columnName.nullable(),
  inputColumns: z.exactOptional(z.union([z.literal('all'), z.array(columnName).min(1)])),
});

function isDeclared(text: string): boolean {
  const { name, type } = columnOf(text);
  return name !== '' && parseType(type) !== null;
}
export const patterns: z.ZodArray<z.ZodString> = z
  .array(
    z.string().check(({ value, issues }) => {
      const problem = patternProblem(value);
      if (problem !== null)
        issues.push({ code: 'custom', message: `${JSON.stringify(value)} ${problem}`, input: value });
    }),
  )
  .max(limits.inputPatternsMax);

const parts: z.ZodType<PartsForm> = z
  .strictObject({
    format: z.enum(partFormats),
    header: z.boolean(),
    partitionBy: z.array(columnName).max(limits.partitionColumnsMax),
    fileRows: count.nullable(),
    fileBytes: count.nullable(),
    rowGroupRows: count,
    compression: z.enum(partCompressions),
  })
  .refine(({ format, partitionBy }) => partitionBy.length === 0 || rowsOfFormat(format) === 'arrow', {
    path: ['partitionBy'],
    message: 'wanted a format that has columns: parquet, arrow or arrow_file',
  });

const settings: z.ZodType<DeploymentSettings> = z.strictObject({
  miniBatchSize,
  splitFiles: splitFiles.default({ kind: 'off' }),
  triesMax: count,
  timeoutMs: count.max(limits.timeoutMsMax),
  errorThreshold: z.int().min(-1),
  isolation: z.enum(['file', 'mini_batch']),
  outputAction: z.enum(['append_row', 'summary_only']),
  outputFileName,
  outputFormat: z.enum(outputFormats),
  outputForm: outputForm.default(defaultOutputForm),
  parts: parts.nullable().default(null),
  loggingLevel: z.enum(['debug', 'info', 'warning']),
  environmentVariables: z.record(z.string().regex(/^[^=\0]+$/), z.string()),
  instanceCountMax: count.nullable(),
  concurrencyPerInstanceMax: count.nullable(),
  recursive: z.boolean(),
  include: patterns.default([]),
  exclude: patterns.default([]),
  incremental: z.boolean().default(false),
  customOutput: z.enum(['collected', 'shared']),
  memoryBytesMax: count.nullable(),
  gpu: z.number().positive().max(64).nullable().default(null),
  require: z.exactOptional(z.record(z.string(), z.string())),
  keepWarm: z.boolean().nullable().default(null),
  speculation: z.enum(['auto', 'off']).default('auto'),
  progressTimeoutMs: count.max(limits.timeoutMsMax).nullable(),
});

export const deploymentSchema: z.ZodType<LocalDeployment> = z
  .strictObject({
    name: z.string().regex(/^[a-z][a-z0-9-]{1,30}[a-z0-9]$/i, 'wanted 3 to 32 letters, digits and "-"'),
    scorer,
    model: artifact.nullable(),
    code: artifact.nullable(),
    environment: environmentSchema,
    settings,
  })
  .refine((one) => one.settings.outputAction === 'summary_only' || one.settings.outputFileName !== '', {
    path: ['settings', 'outputFileName'],
    message: 'wanted a name',
  })
  .refine(
    (one) => one.settings.splitFiles?.kind !== 'bytes' || one.scorer.kind === 'onnx' || one.scorer.kind === 'mlflow',
    {
      path: ['settings', 'splitFiles'],
      message: 'wanted auto or off: a script is given paths and opens its files itself',
    },
  )
  .refine(({ settings: { parts, outputFormat } }) => !parts || rowsOfFormat(parts.format) === outputFormat, {
    path: ['settings', 'parts', 'format'],
    message: 'wanted one that is made of rows of outputFormat',
  })
  .refine(
    (one) => (one.scorer.kind === 'onnx' || one.scorer.kind === 'mlflow' ? one.model !== null : one.code !== null),
    {
      path: ['scorer'],
      message: 'wanted the model or the code that this scorer needs',
    },
  )
  .meta({ id: 'Deployment', description: 'a resolved one, as `batchmill validate -o json` prints it' });

/** Looked at by {@link parseDeployment}, since a wrong key of one form says nothing about the other. */
export const deploymentBody: z.ZodUnknown = z.unknown().meta({
  description: "absolute path of a deployment file on the coordinator's machine, or a resolved deployment",
  anyOf: [{ type: 'string' }, { $ref: '#/components/schemas/DeploymentInput' }],
});

/** Of a job among others. */
export const priority: z.ZodInt = z.int().min(-100).max(100).describe('a higher one goes first');

/** A wish for a job's name. */
export const jobNameText: z.ZodString = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,99}$/i, 'wanted letters, digits, ".", "_" and "-", at most 100')
  .refine((name) => name !== 'last', '"last" stands for the newest job');

/** As `worker join --label` takes them. */
export const labelKey: z.ZodString = z
  .string()
  .regex(/^[a-z0-9][\w./-]{0,62}$/i, 'letters, digits and . _ / -, at most 63');
export const labelValue: z.ZodString = z
  .string()
  .regex(/^[\w./:@-]{1,63}$/, 'letters, digits and . _ / : @ -, at most 63');

/** Of worker nodes. */
export const requiredLabels: z.ZodType<Readonly<Record<string, string>>> = z
  .record(labelKey, labelValue)
  .refine((labels) => Object.keys(labels).length <= limits.nodeLabelsMax, `wanted ${limits.nodeLabelsMax} at most`)
  .describe('only worker nodes that have all these labels score it');

const setKeys = z.array(z.string()).describe('`key=value`, over what the deployment file says');

export interface JobRequestBody {
  readonly deployment?: unknown;
  readonly set?: readonly string[] | undefined;
  readonly input_path: string;
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
  readonly input_list?: string | null | undefined;
  readonly input_list_column: string;
  readonly output_path: string;
  readonly overwrite: boolean;
  readonly since?: string | null | undefined;
  readonly name?: string | null | undefined;
  readonly priority: number;
  readonly compute?: string | null | undefined;
  readonly require?: Readonly<Record<string, string>> | undefined;
}

export const jobRequestBody: z.ZodType<JobRequestBody> = z
  .strictObject({
    deployment: deploymentBody,
    set: setKeys.optional(),
    input_path: z.string().refine(isInputText, 'wanted an absolute path or the location of a store'),
    include: patterns.optional(),
    exclude: patterns.optional(),
    input_list: absolutePath.nullish(),
    input_list_column: z.string().min(1).default(inputListColumnDefault),
    output_path: z.string().refine(isInputText, 'wanted an absolute path or the location of a store'),
    overwrite: z.boolean().default(false),
    since: z.string().min(1).nullish(),
    name: jobNameText.nullish(),
    priority: priority.default(0),
    compute: z.string().min(1).nullish().describe('named set of worker nodes'),
    require: requiredLabels.optional(),
  })
  .meta({
    id: 'JobRequest',
    examples: [{ deployment: '/models/digits/deployment.yml', input_path: '/data/scans', output_path: '/data/out' }],
  });

/** @throws REQUEST_INVALID naming each field of the deployment that is wrong; what {@link loadDeployment} throws for a path */
export async function jobRequestOf(request: JobRequestBody, owner: string): Promise<JobRequest> {
  const deployment = await parseDeployment(request.deployment, request.set ?? []);
  const selection = selectionOf(deployment.settings);
  return {
    deployment,
    inputPath: request.input_path,
    selection: {
      ...selection,
      include: request.include ?? selection.include,
      exclude: request.exclude ?? selection.exclude,
      list: request.input_list ? { path: request.input_list, column: request.input_list_column, identity: null } : null,
    },
    outputDir: request.output_path,
    isOverwrite: request.overwrite,
    since: request.since ?? null,
    name: request.name ?? null,
    origin: {
      ...{ ...plainOrigin, owner, priority: request.priority, compute: request.compute ?? null },
      ...(request.require && { require: request.require }),
    },
  };
}

/** A path on this machine, or a resolved deployment. @throws REQUEST_INVALID, and what {@link loadDeployment} throws */
export async function parseDeployment(value: unknown, set: readonly string[]): Promise<LocalDeployment> {
  return typeof value === 'string'
    ? await loadDeployment(parse(absolutePath, value, 'deployment'), { set })
    : parse(deploymentSchema, value, 'deployment');
}

/** @throws REQUEST_INVALID naming each field that is wrong */
export function parse<S extends z.ZodType>(schema: S, value: unknown, prefix: string): z.infer<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw invalidError(result.error, prefix, 'the body');
}
