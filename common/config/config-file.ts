/** Reads a YAML of any kind, and says which it is. */
import { dirname } from 'node:path';
import type { z } from 'zod';
import { BatchError } from '../core/batch-error.ts';
import type { EnvironmentSpec, LocalArtifact, LocalDeployment } from '../core/deployment.ts';
import { unreachable } from '../core/invariant.ts';
import {
  computeSchema,
  dataSchema,
  endpointSchema,
  environmentSchema,
  modelSchema,
  type RawCommon,
  type RawCompute,
  type RawData,
  type RawEndpoint,
  type RawModel,
} from './asset-schemas.ts';
import { configKinds, guessKind, kindText, type ConfigKind } from './config-kind.ts';
import type { ConfigProblem, ConfigSource } from './config-source.ts';
import { deploymentOf, openConfig, type LoadOptions, type OpenedFile } from './deployment-file.ts';
import { findArtifact } from './deployment-paths.ts';
import { parseDeployment } from './deployment-schema.ts';
import { resolveEnvironment } from './environment-resolve.ts';
import { isMlflowFolder } from './mlflow-folder.ts';
import { inputText } from './input-location.ts';
import { parseCompute, parseReference } from './reference.ts';
import { problemsOf } from './schema-problems.ts';

/** What people write beside what a file is about. */
export interface Described {
  /** Null: whoever creates it must say. */
  readonly name: string | null;
  readonly description: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly properties: Readonly<Record<string, string>>;
}

interface Versioned extends Described {
  /** Null: counted up when it is registered. */
  readonly version: string | null;
}

export interface EndpointFile extends Described {
  readonly kind: 'endpoint';
  readonly authMode: 'aad_token';
  readonly defaultDeployment: string | null;
}

export interface DeploymentFile extends Described {
  readonly kind: 'deployment';
  readonly endpointName: string | null;
  /** Name of the compute, whichever way it was written. */
  readonly compute: string | null;
  readonly deployment: LocalDeployment;
}

export interface ModelFile extends Versioned {
  readonly kind: 'model';
  readonly type: 'custom_model' | 'mlflow_model' | 'triton_model';
  readonly artifact: LocalArtifact;
}

export interface DataFile extends Versioned {
  readonly kind: 'data';
  readonly type: 'uri_folder' | 'uri_file';
  /** Absolute, or the canonical text of a location. */
  readonly path: string;
  /** What stands at the path; null for a location. */
  readonly artifact: LocalArtifact | null;
}

export interface EnvironmentFile extends Versioned {
  readonly kind: 'environment';
  readonly environment: EnvironmentSpec;
}

export interface ComputeFile extends Described {
  readonly kind: 'compute';
  readonly type: 'amlcompute' | 'slurm';
  readonly size: string | null;
  readonly tier: 'dedicated' | 'low_priority';
  readonly instancesMin: number;
  readonly instancesMax: number;
  readonly idleSeconds: number;
  /** Worker nodes that have all of them are its nodes; none: all nodes. */
  readonly labels: Readonly<Record<string, string>>;
  /** Of sbatch, with which `batchmill allocator slurm` submits its nodes. */
  readonly slurmOptions: readonly string[];
}

export type ConfigFile = EndpointFile | DeploymentFile | ModelFile | DataFile | EnvironmentFile | ComputeFile;

export interface LoadFileOptions extends LoadOptions {
  /** Told by the keys of the file when absent. */
  readonly kind?: ConfigKind;
}

/**
 * The file at `path`, checked and with every default filled in; a folder, a bare model or a script is a deployment.
 * @throws CONFIG_INVALID when its kind cannot be told; what loading a deployment throws
 */
export async function loadConfigFile(path: string, options: LoadFileOptions = {}): Promise<ConfigFile> {
  return await readConfig(await openConfig(path, options), options);
}

/** What {@link loadConfigFile} does with a file that is open. */
export async function readConfig(opened: OpenedFile, options: LoadFileOptions): Promise<ConfigFile> {
  const kind = options.kind ?? (opened.isYaml ? kindOfFile(opened.source) : 'deployment');
  if (kind !== 'deployment' && !opened.isYaml) {
    throw new BatchError('CONFIG_INVALID', `${opened.source.label}: wanted the YAML of ${kindText[kind]}`);
  }
  const problems: ConfigProblem[] = [];
  const loaded = await loadKind(kind, opened, options, problems);
  if (problems.length > 0 || loaded === null) throw opened.source.toError(problems);
  return loaded;
}

function kindOfFile(source: ConfigSource): ConfigKind {
  const guess = guessKind(source.toJs());
  if (guess.kind !== null) return guess.kind;
  const kinds = configKinds.map((kind) => kindText[kind].replace(/^an? /, '')).join(', ');
  throw new BatchError(
    'CONFIG_INVALID',
    `${source.label}: wanted one of ${kinds}, but its kind cannot be told: ${guess.reason}. Or say --type`,
  );
}

async function loadKind(
  kind: ConfigKind,
  opened: OpenedFile,
  options: LoadOptions,
  problems: ConfigProblem[],
): Promise<ConfigFile | null> {
  switch (kind) {
    case 'deployment':
      return await loadDeploymentFile(opened, options);
    case 'endpoint':
      return endpointOf(checked(endpointSchema, opened.source), problems);
    case 'model':
      return await modelOf(checked(modelSchema, opened.source), opened, problems);
    case 'data':
      return await dataOf(checked(dataSchema, opened.source), opened, problems);
    case 'environment':
      return await environmentOf(opened, options, problems);
    case 'compute':
      return computeOf(checked(computeSchema, opened.source), problems);
    default:
      return unreachable(kind);
  }
}

/** @throws CONFIG_INVALID, CONFIG_UNKNOWN_KEY */
function checked<T>(schema: z.ZodType<T>, source: ConfigSource): T {
  const value = source.toJs();
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw source.toError(problemsOf(result.error, value, schema));
}

async function loadDeploymentFile(opened: OpenedFile, options: LoadOptions): Promise<DeploymentFile> {
  const deployment = await deploymentOf(opened, options);
  const parsed = parseDeployment(opened.source.toJs());
  const root = 'root' in parsed ? parsed.root : {};
  const { endpoint_name: endpointName = null, compute: written = null } = root;
  const reference = written === null ? null : parseCompute(written);
  const compute = reference?.kind === 'asset' ? reference.name : written;
  return { kind: 'deployment', ...described(root), name: deployment.name, endpointName, compute, deployment };
}

function endpointOf(raw: RawEndpoint, problems: ConfigProblem[]): EndpointFile {
  const { deployment_name: snake = null, deploymentName: camel = null } = raw.defaults ?? {};
  if (snake !== null && camel !== null && snake.toLowerCase() !== camel.toLowerCase()) {
    const message = `defaults.deploymentName: ${camel} and deployment_name ${snake} differ; keep one of them`;
    problems.push({ code: 'CONFIG_INVALID', path: ['defaults', 'deploymentName'], at: 'value', message });
  }
  return { kind: 'endpoint', ...described(raw), authMode: 'aad_token', defaultDeployment: snake ?? camel };
}

async function modelOf(raw: RawModel, opened: OpenedFile, problems: ConfigProblem[]): Promise<ModelFile | null> {
  const artifact = await findPath(raw.path ?? null, 'file or folder', 'model', opened, problems);
  if (artifact === null) return null;
  const isMlflow = artifact.kind === 'folder' && (await isMlflowFolder(artifact.path));
  if (raw.type === 'mlflow_model' && !isMlflow) {
    const message = `path: wanted an MLflow model, a folder with a file MLmodel in it, found ${artifact.path}`;
    problems.push({ code: 'CONFIG_INVALID', path: ['path'], at: 'value', message });
  }
  const type = raw.type ?? (isMlflow ? 'mlflow_model' : 'custom_model');
  return { kind: 'model', ...versioned(raw), type, artifact };
}

async function dataOf(raw: RawData, opened: OpenedFile, problems: ConfigProblem[]): Promise<DataFile | null> {
  const type = raw.type ?? 'uri_folder';
  if (type === 'mltable') {
    const message = 'type: wanted uri_folder or uri_file; batch endpoints do not read mltable';
    problems.push({ code: 'CONFIG_INVALID', path: ['type'], at: 'value', message });
    return null;
  }
  const place = raw.path === null || raw.path === undefined ? null : placeElsewhere(raw.path, problems);
  if (place !== null) return { kind: 'data', ...versioned(raw), type, path: place, artifact: null };
  const wanted = type === 'uri_folder' ? 'folder' : 'file';
  const artifact = await findPath(raw.path ?? null, wanted, 'data', opened, problems);
  return artifact && { kind: 'data', ...versioned(raw), type, path: artifact.path, artifact };
}

/** What a store or a datastore holds, as its canonical text; null for a path. */
function placeElsewhere(path: string, problems: ConfigProblem[]): string | null {
  const reference = parseReference(path);
  if (reference.kind !== 'uri' && reference.kind !== 'datastore') return null;
  try {
    return inputText(path, '/');
  } catch (error) {
    if (!(error instanceof BatchError)) throw error;
    problems.push({ code: 'CONFIG_INVALID', path: ['path'], at: 'value', message: error.message });
    return path;
  }
}

async function findPath(
  path: string | null,
  wanted: 'file' | 'folder' | 'file or folder',
  about: 'model' | 'data',
  { source, file }: OpenedFile,
  problems: ConfigProblem[],
): Promise<LocalArtifact | null> {
  if (path !== null) {
    const value = source.textAt(['path']) ?? path;
    return await findArtifact({ key: ['path'], value, baseDir: dirname(file), wanted, about }, problems);
  }
  problems.push({ code: 'CONFIG_INVALID', path: [], at: 'key', message: `wanted path, a local ${wanted}` });
  return null;
}

async function environmentOf(
  { source, file, cwd }: OpenedFile,
  { onNote = (): void => undefined }: LoadOptions,
  problems: ConfigProblem[],
): Promise<EnvironmentFile | null> {
  const raw = checked(environmentSchema, source);
  const request = { raw, source, at: [], baseDir: dirname(file), cwd, isNeeded: true, onNote };
  const environment = await resolveEnvironment(request, problems);
  return environment && { kind: 'environment', ...versioned(raw), environment };
}

function computeOf(raw: RawCompute, problems: ConfigProblem[]): ComputeFile | null {
  const fail = (key: string, message: string): null => {
    problems.push({ code: 'CONFIG_INVALID', path: [key], at: 'value', message });
    return null;
  };
  const { type = null, min_instances: least = null, max_instances: most = null } = raw;
  if (type === null) return fail('type', 'type: wanted amlcompute or slurm, found nothing');
  if (type === 'kubernetes') {
    const how = 'start `batchmill worker join` there yourself, as deploy/ shows';
    return fail('type', `type: wanted amlcompute or slurm; ${type} computes are not started from here yet: ${how}`);
  }
  const [instancesMin, instancesMax] = [least ?? 0, most ?? Math.max(1, least ?? 0)];
  if (instancesMin > instancesMax) {
    return fail(
      'min_instances',
      `min_instances: wanted at most max_instances (${instancesMax}), found ${instancesMin}`,
    );
  }
  const idleSeconds = raw.idle_time_before_scale_down ?? 120;
  const tier = raw.tier ?? 'dedicated';
  return {
    kind: 'compute',
    ...described(raw),
    type,
    size: raw.size ?? null,
    tier,
    instancesMin,
    instancesMax,
    idleSeconds,
    labels: raw.labels ?? {},
    slurmOptions: raw.slurm_options ?? [],
  };
}

function described(raw: Omit<RawCommon, 'version'>): Described {
  return {
    name: raw.name ?? null,
    description: raw.description ?? null,
    tags: raw.tags ?? {},
    properties: raw.properties ?? {},
  };
}

function versioned(raw: RawCommon): Versioned {
  return { ...described(raw), version: raw.version ?? null };
}
