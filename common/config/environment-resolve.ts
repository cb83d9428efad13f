/** From `environment:` of a deployment, or from an environment YAML, to what a worker node makes of it. */
import { readFile } from 'node:fs/promises';
import { basename, dirname, extname, isAbsolute, join, relative, resolve } from 'node:path';
import { BatchError } from '../core/batch-error.ts';
import type { CondaSpec, EnvironmentSpec } from '../core/deployment.ts';
import { environmentSchema, type RawEnvironment } from './asset-schemas.ts';
import { lookedUp, ownAsset, type AssetLookup } from './assets.ts';
import { readConda } from './conda-file.ts';
import { ConfigSource, kindOf, type ConfigProblem, type KeyPath } from './config-source.ts';
import { findArtifact, kindAt, todayText } from './deployment-paths.ts';
import { parseReference, referenceText } from './reference.ts';
import { problemsOf } from './schema-problems.ts';

/** The Python that the worker node was started with. */
export const hostEnvironment: EnvironmentSpec = { kind: 'host', python: null };

export interface EnvironmentRequest {
  readonly raw: RawEnvironment;
  readonly source: ConfigSource;
  /** Where it stands in `source`; empty for a file of its own. */
  readonly at: KeyPath;
  /** Folder of the YAML, absolute. */
  readonly baseDir: string;
  /** What relative paths in messages start from. */
  readonly cwd: string;
  /** False for scorers without Python: files are checked, what cannot be followed is let be. */
  readonly isNeeded: boolean;
  readonly onNote: (text: string) => void;
  /** Absent: there is no registry to ask. */
  readonly assets?: AssetLookup | null;
}

/** Null after adding to `problems`. */
export async function resolveEnvironment(
  request: EnvironmentRequest,
  problems: ConfigProblem[],
): Promise<EnvironmentSpec | null> {
  const { raw, at, isNeeded } = request;
  const fail = (code: ConfigProblem['code'], key: KeyPath, where: 'key' | 'value', message: string): null => {
    problems.push({ code, path: [...at, ...key], at: where, message: `${[...at, ...key].join('.')}: ${message}` });
    return null;
  };
  if (raw.path) return await resolvePath(raw.path, request, problems);
  if (raw.build) {
    if (!isNeeded) return hostEnvironment;
    const message =
      'images are not built here: build it yourself and give its name as image, or give conda_file, or --environment host|PATH';
    return fail('ENVIRONMENT_INVALID', ['build'], 'key', message);
  }
  if (raw.conda_file !== null && raw.conda_file !== undefined) {
    const conda = await resolveConda(raw.conda_file, request, problems);
    if (conda === null) return null;
    if (raw.image && isNeeded) {
      request.onNote(
        `environment: the conda file is built on each worker node's own system; the image ${raw.image} is not used`,
      );
    }
    return { kind: 'conda', conda };
  }
  if (raw.image) return { kind: 'image', image: raw.image, conda: null };
  if (!isNeeded) return hostEnvironment;
  const named = raw.name ? `the name of a registered environment (${raw.name})` : 'neither';
  return fail(
    'CONFIG_INVALID',
    [],
    'key',
    `wanted conda_file or image, found ${named}; or say --environment host|PATH`,
  );
}

/** A text: a reference, an environment YAML or a conda file. */
async function resolvePath(
  path: string,
  request: EnvironmentRequest,
  problems: ConfigProblem[],
): Promise<EnvironmentSpec | null> {
  const { source, at, cwd } = request;
  const key = source.textAt(at) === null ? [...at, 'path'] : at;
  const reference = parseReference(path);
  if (reference.kind !== 'path') {
    if (!request.isNeeded) return hostEnvironment;
    const { assets = null } = request;
    const asset = ownAsset(reference, assets);
    if (asset && assets) return await lookedUp(assets.environment, asset, key, problems);
    const what = referenceText(reference, 'environment');
    const message = `${key.join('.')}: ${path} ${what}${reference.kind === 'malformed' ? '' : todayText('environment')}`;
    problems.push({ code: 'CONFIG_INVALID', path: key, at: 'value', message });
    return null;
  }
  const { baseDir } = request;
  const found = await findArtifact({ key, value: path, baseDir, wanted: 'file', about: 'environment' }, problems);
  if (!found) return null;
  const inner = await openYaml(found.path, cwd);
  const value = inner.toJs();
  const next = { source: inner, at: [], baseDir: dirname(found.path), cwd, onNote: request.onNote };
  if (isConda(value)) {
    const conda = await readConda(value, { ...next, fallbackName: nameOf(found.path) }, problems);
    return conda && { kind: 'conda', conda };
  }
  const parsed = environmentSchema.safeParse(value);
  const own: ConfigProblem[] = [];
  const spec = parsed.success
    ? await resolveEnvironment({ ...next, raw: parsed.data, isNeeded: request.isNeeded }, own)
    : (own.push(...problemsOf(parsed.error, value, environmentSchema)), null);
  problems.push(...own.map((one) => ({ ...one, place: one.place ?? inner.locate(one.path, one.at) })));
  return spec;
}

async function resolveConda(
  given: unknown,
  request: EnvironmentRequest,
  problems: ConfigProblem[],
): Promise<CondaSpec | null> {
  const { source, at, baseDir, cwd, onNote, raw } = request;
  const key = [...at, 'conda_file'];
  if (typeof given === 'object') {
    return await readConda(
      given,
      { source, at: key, baseDir, cwd, onNote, fallbackName: raw.name ?? 'inline' },
      problems,
    );
  }
  if (typeof given !== 'string' || given === '') {
    const message = `${key.join('.')}: wanted a path or a mapping with dependencies, found ${kindOf(given)}`;
    problems.push({ code: 'CONFIG_INVALID', path: key, at: 'value', message });
    return null;
  }
  const found = await findArtifact({ key, value: given, baseDir, wanted: 'file', about: 'environment' }, problems);
  return found && (await readCondaFile(found.path, { cwd, onNote, name: raw.name ?? null }, problems));
}

/** A conda file of its own at `file`, absolute; `name` wins over the one in it. */
export async function readCondaFile(
  file: string,
  options: { readonly cwd: string; readonly name: string | null; readonly onNote: (text: string) => void },
  problems: ConfigProblem[],
): Promise<CondaSpec | null> {
  const { cwd, onNote, name } = options;
  const source = await openYaml(file, cwd);
  const request = { source, at: [], baseDir: dirname(file), cwd, onNote, fallbackName: nameOf(file) };
  const conda = await readConda(source.toJs(), request, problems);
  return conda && name !== null ? { ...conda, name } : conda;
}

/** What `--environment` says: `host`, an interpreter, or the folder of a virtual environment. @throws USAGE, DEPLOYMENT_NOT_FOUND */
export async function environmentOfFlag(
  text: string,
  cwd: string,
  onNote: (text: string) => void,
): Promise<EnvironmentSpec> {
  if (text.toLowerCase() === 'host') return hostEnvironment;
  if (text === '') throw new BatchError('USAGE', '--environment: wanted host or a path, found nothing');
  const path = resolve(cwd, text);
  const kind = await kindAt(path);
  if (kind === 'file') return { kind: 'host', python: path };
  if (kind === 'folder') {
    const python = join(path, 'bin', 'python');
    if ((await kindAt(python)) === 'file') return { kind: 'host', python };
    throw new BatchError(
      'DEPLOYMENT_NOT_FOUND',
      `--environment: ${text} is a folder without bin/python; wanted an interpreter or a virtual environment`,
    );
  }
  if (isAbsolute(text)) {
    onNote(`--environment: ${text} is not on this machine; it must be on every worker node`);
    return { kind: 'host', python: text };
  }
  throw new BatchError(
    'DEPLOYMENT_NOT_FOUND',
    `--environment: ${text} does not exist (looked for ${path}); wanted host, an interpreter or a virtual environment`,
  );
}

/** @throws DEPLOYMENT_NOT_FOUND, CONFIG_INVALID for text that is no YAML */
async function openYaml(file: string, cwd: string): Promise<ConfigSource> {
  const label = labelOf(file, cwd);
  try {
    return new ConfigSource(await readFile(file, 'utf8'), label);
  } catch (error) {
    if (error instanceof BatchError) throw error;
    const message = `${label} cannot be read: ${(error as Error).message}`;
    throw new BatchError('DEPLOYMENT_NOT_FOUND', message, { cause: error });
  }
}

/** How messages call a file: by its path from `cwd`, unless that leads far away. */
export function labelOf(file: string, cwd: string): string {
  const path = relative(cwd, file);
  return path.startsWith('../..') ? file : path;
}

function isConda(value: unknown): boolean {
  return typeof value === 'object' && value !== null && ('dependencies' in value || 'channels' in value);
}

function nameOf(file: string): string {
  return basename(file, extname(file));
}
