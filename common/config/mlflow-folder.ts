/** What a saved MLflow model says of itself: whether anything can call it, and which packages it was saved with. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EnvironmentSpec } from '../core/deployment.ts';
import { readConda } from './conda-file.ts';
import { ConfigSource, type ConfigProblem, type KeyPath } from './config-source.ts';
import { kindAt } from './deployment-paths.ts';
import { hostEnvironment, labelOf, readCondaFile } from './environment-resolve.ts';

export interface MlflowRequest {
  /** Absolute; holds `MLmodel`. */
  readonly folder: string;
  /** Key of the deployment that names the folder. */
  readonly key: KeyPath;
  readonly cwd: string;
  readonly onNote: (text: string) => void;
}

type Keys = Readonly<Record<string, unknown>>;

/** Whether `folder` is a saved MLflow model. */
export async function isMlflowFolder(folder: string): Promise<boolean> {
  return (await kindAt(join(folder, 'MLmodel'))) === 'file';
}

/**
 * The environment that a model brings along: its conda file, else its list for virtual environments, else its requirements.
 * Null after adding to `problems`.
 * @source MLflow model format: flavors.python_function.env
 */
export async function readMlflowEnvironment(
  request: MlflowRequest,
  problems: ConfigProblem[],
): Promise<EnvironmentSpec | null> {
  const { folder, key, cwd, onNote } = request;
  const file = join(folder, 'MLmodel');
  const source = new ConfigSource(await readFile(file, 'utf8'), labelOf(file, cwd));
  const pyfunc = keysOf(keysOf(keysOf(source.toJs())['flavors'])['python_function']);
  if (Object.keys(pyfunc).length === 0) {
    const place = source.locate(['flavors'], 'key');
    const message =
      'wanted a model with the flavor python_function, which is what scores without a script; give code_configuration with a script that loads it';
    problems.push({ code: 'DEPLOYMENT_INVALID', path: key, at: 'value', message, place });
    return null;
  }
  const named = typeof pyfunc['env'] === 'string' ? { conda: pyfunc['env'] } : keysOf(pyfunc['env']);
  const name = source.textAt(['name']) ?? 'mlflow-model';
  const conda = await existing(folder, [named['conda'], 'conda.yaml']);
  if (conda !== null) {
    const spec = await readCondaFile(conda, { cwd, onNote, name: null }, problems);
    return spec && { kind: 'conda', conda: spec };
  }
  const venv = await existing(folder, [named['virtualenv'], 'python_env.yaml']);
  if (venv !== null) return await readPythonEnv(venv, name, request, problems);
  const requirements = await existing(folder, ['requirements.txt']);
  if (requirements !== null) {
    const python = source.textAt(['flavors', 'python_function', 'python_version']);
    return await readLists(name, python, [], ['-r requirements.txt'], source, request, problems);
  }
  onNote(
    `${labelOf(folder, cwd)} names no packages (no conda.yaml, python_env.yaml or requirements.txt): the worker node's own Python scores it`,
  );
  return hostEnvironment;
}

/** `python`, `build_dependencies`, `dependencies`; the latter most often is `-r requirements.txt`. */
async function readPythonEnv(
  file: string,
  name: string,
  request: MlflowRequest,
  problems: ConfigProblem[],
): Promise<EnvironmentSpec | null> {
  const source = new ConfigSource(await readFile(file, 'utf8'), labelOf(file, request.cwd));
  const { build_dependencies: build, dependencies } = keysOf(source.toJs());
  return await readLists(
    name,
    source.textAt(['python']),
    listOf(build),
    listOf(dependencies),
    source,
    request,
    problems,
  );
}

async function readLists(
  name: string,
  python: string | null,
  build: readonly unknown[],
  pip: readonly unknown[],
  source: ConfigSource,
  { folder, cwd, onNote }: MlflowRequest,
  problems: ConfigProblem[],
): Promise<EnvironmentSpec | null> {
  const packages = [
    ...(python === null ? ['python'] : [`python=${python}`]),
    ...(build.length === 0 ? ['pip'] : build),
  ];
  const value = { dependencies: [...packages, { pip }] };
  const request = { source, at: [], baseDir: folder, fallbackName: name, cwd, onNote };
  const conda = await readConda(value, request, problems);
  return conda && { kind: 'conda', conda };
}

async function existing(folder: string, names: readonly unknown[]): Promise<string | null> {
  for (const name of names) {
    if (typeof name !== 'string' || name === '') continue;
    const path = join(folder, name);
    if (path.startsWith(`${folder}/`) && (await kindAt(path)) === 'file') return path;
  }
  return null;
}

function keysOf(value: unknown): Keys {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Keys) : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}
