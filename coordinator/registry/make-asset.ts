/** From what a request says to what is registered: files are sealed, and looked at for how they can be scored. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { parse as parseYaml } from 'yaml';
import type { AssetLookup } from '../../common/config/assets.ts';
import { ConfigSource, type ConfigProblem } from '../../common/config/config-source.ts';
import { kindAt } from '../../common/config/deployment-paths.ts';
import { flavorOf, flavorOfNames, resolveDeployment } from '../../common/config/deployment-resolve.ts';
import { resolveEnvironment } from '../../common/config/environment-resolve.ts';
import { readMlflowEnvironment } from '../../common/config/mlflow-folder.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Artifact, EnvironmentSpec, LocalDeployment } from '../../common/core/deployment.ts';
import type { AssetKind, AssetRequest } from '../api/registry-backend.ts';
import { assetIn } from '../core/decide-registry.ts';
import type { Registry } from '../core/registry.ts';
import { type Asset, type DataAsset, type EnvironmentAsset, type ModelAsset } from '../core/resources.ts';
import type { ArtifactStore } from './artifact-store.ts';
import { laidOut } from './stored.ts';

export interface AssetPlaces {
  readonly artifacts: ArtifactStore;
  readonly stateDir: string;
  readonly locate: (text: string) => Promise<string>;
}

type Unmade<A extends Asset> = Omit<A, 'createdMs' | 'createdBy'>;

/** @throws REQUEST_INVALID, DEPLOYMENT_NOT_FOUND, DEPLOYMENT_INVALID, ENVIRONMENT_INVALID, LOCATION_INVALID, ARTIFACT_NOT_FOUND */
export async function assetOf(kind: AssetKind, request: AssetRequest, places: AssetPlaces): Promise<Unmade<Asset>> {
  switch (kind) {
    case 'model':
      return await modelOf(request, places);
    case 'data':
      return await dataOf(request, places);
    case 'environment':
      return await environmentOf(request);
  }
}

function saidOf({ name, version, description, tags, properties }: AssetRequest) {
  return { name, version: version ?? '', description, tags, properties };
}

async function modelOf(request: AssetRequest, { artifacts }: AssetPlaces): Promise<Unmade<ModelAsset>> {
  const artifact = request.artifact ? await artifacts.keep(request.artifact) : await localModel(request, artifacts);
  const { flavor, environment } = await lookInto(artifact, artifacts);
  const type = typeOf(request.type, flavor);
  if (type === 'mlflow_model' && flavor !== 'mlflow') {
    const message = `the model ${request.name} is to be an mlflow_model, which is a folder with a file MLmodel in it; ${artifact.name} has none`;
    throw new BatchError('DEPLOYMENT_INVALID', message);
  }
  return { kind: 'model', ...saidOf(request), type, artifact, flavor, environment };
}

/** A folder with a file MLmodel is an MLflow model, whoever forgot to say so. */
function typeOf(given: string | null, flavor: ModelAsset['flavor']): ModelAsset['type'] {
  if (given === null) return flavor === 'mlflow' ? 'mlflow_model' : 'custom_model';
  return given as ModelAsset['type'];
}

async function localModel({ path, name }: AssetRequest, artifacts: ArtifactStore): Promise<Artifact> {
  if (path === null) throw new BatchError('REQUEST_INVALID', `model ${name}: wanted path or artifact, found neither`);
  if (!isAbsolute(path)) {
    const message = `model ${name}: path: wanted an absolute path on the coordinator's machine, found ${path}; upload what lies elsewhere and give it as artifact`;
    throw new BatchError('REQUEST_INVALID', message);
  }
  const kind = await kindAt(path);
  if (kind === null) throw new BatchError('DEPLOYMENT_NOT_FOUND', `model ${name}: ${path} does not exist`);
  return await artifacts.add({ kind, path });
}

/** Laid out where the code that reads model folders finds them. */
async function lookInto(
  artifact: Artifact,
  artifacts: ArtifactStore,
): Promise<Pick<ModelAsset, 'flavor' | 'environment'>> {
  const home = await mkdtemp(join(tmpdir(), 'batchmill-model-'));
  try {
    const dir = join(home, artifact.name);
    if (artifact.kind === 'file') return { flavor: await flavorOf({ kind: 'file', path: dir }), environment: null };
    const names = (await artifacts.listing(artifact.digest)).map(({ path }) => path);
    const flavor = flavorOfNames(names.filter((name) => !name.includes('/')));
    if (flavor !== 'mlflow') return { flavor, environment: null };
    await artifacts.copyOut(artifact.digest, dir, (path) => !path.includes('/'));
    const problems: ConfigProblem[] = [];
    const request = { folder: dir, key: [], cwd: home, onNote: () => undefined };
    return { flavor, environment: await readMlflowEnvironment(request, problems) };
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function dataOf(request: AssetRequest, places: AssetPlaces): Promise<Unmade<DataAsset>> {
  const { artifact, path, name } = request;
  if (request.type !== null && request.type !== 'uri_folder' && request.type !== 'uri_file') {
    const message = `data ${name}: wanted type uri_folder or uri_file, found ${request.type}; mltable is not read`;
    throw new BatchError('REQUEST_INVALID', message);
  }
  if (artifact) {
    const laid = await laidOut(artifact, places);
    return { kind: 'data', ...saidOf(request), type: artifact.kind === 'file' ? 'uri_file' : 'uri_folder', path: laid };
  }
  if (path === null) throw new BatchError('REQUEST_INVALID', `data ${name}: wanted path or artifact, found neither`);
  // What it stands for is looked up when a job needs it, so that a datastore may move.
  await places.locate(path);
  return { kind: 'data', ...saidOf(request), type: request.type ?? 'uri_folder', path };
}

async function environmentOf(request: AssetRequest): Promise<Unmade<EnvironmentAsset>> {
  const { name, image, condaFile } = request;
  const given: unknown = typeof condaFile === 'string' ? parseYaml(condaFile) : condaFile;
  const raw = { name, image, conda_file: given ?? null };
  const source = new ConfigSource(JSON.stringify(raw), `environment ${name}`);
  const problems: ConfigProblem[] = [];
  const spec: EnvironmentSpec | null = await resolveEnvironment(
    { raw, source, at: [], baseDir: '/', cwd: '/', isNeeded: true, onNote: () => undefined },
    problems,
  );
  if (problems.length > 0 || spec === null) throw source.toError(problems);
  return { kind: 'environment', ...saidOf(request), spec };
}

/** Assets as deployments look them up. */
export function lookupIn(registry: Registry): AssetLookup {
  return {
    model: async (name, version) => Promise.resolve(assetIn(registry, 'model', name, version).resource),
    environment: async (name, version) =>
      Promise.resolve(assetIn(registry, 'environment', name, version).resource.spec),
  };
}

/** A deployment file that came as JSON: what it names must be registered, or lie on this machine under an absolute path. */
export async function resolveDocument(document: unknown, name: string, registry: Registry): Promise<LocalDeployment> {
  const source = new ConfigSource(JSON.stringify(document ?? {}), 'document');
  return await resolveDeployment({
    ...{ source, baseDir: '/', cwd: '/', fallbackName: name, isBare: false, environment: null },
    ...{ assets: lookupIn(registry), python: 'python3', onNote: () => undefined },
  });
}
