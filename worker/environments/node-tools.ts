/** Looks for what this node has to make environments with: conda and its kin, uv, interpreters, Apptainer, Docker. */
import { access, constants, readdir, readFile, realpath } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { homedir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { Environment } from '../../common/config/process-settings.ts';
import { readPipConfiguration } from './installer-environment.ts';
import type { NodeTools } from './plan-environment.ts';
import type { Interpreter } from './python-version.ts';

export interface FindToolsOptions {
  /** Of the worker node. */
  readonly environment: Environment;
  /** A path or a name (BATCHMILL_CONDA); null: whichever is on PATH. */
  readonly conda: string | null;
  /** The interpreter of the worker node (--python), a path or a name; null: none was named. */
  readonly python: string | null;
}

export async function findTools({ environment, conda, python }: FindToolsOptions): Promise<NodeTools> {
  const dirs = (environment['PATH'] ?? '').split(':').filter((dir) => dir !== '');
  const [uv, apptainer, singularity, docker] = await Promise.all(
    ['uv', 'apptainer', 'singularity', 'docker'].map((name) => onPath(name, dirs)),
  );
  return {
    conda: await findConda(conda, dirs),
    uv: uv ?? null,
    interpreters: await findInterpreters(python, dirs, environment['HOME'] ?? homedir()),
    apptainer: apptainer ?? singularity ?? null,
    docker: docker ?? null,
  };
}

async function findConda(named: string | null, dirs: readonly string[]): Promise<NodeTools['conda']> {
  for (const name of named === null ? ['micromamba', 'mamba', 'conda'] : [named]) {
    const path = await onPath(name, dirs);
    if (path === null) continue;
    const base = basename(path);
    return { kind: base.startsWith('micromamba') ? 'micromamba' : base.startsWith('mamba') ? 'mamba' : 'conda', path };
  }
  return null;
}

/** The file that `name` is, as a path or along PATH; null when there is none that can be executed. */
async function onPath(name: string, dirs: readonly string[]): Promise<string | null> {
  const candidates = name.includes('/') ? [resolve(name)] : dirs.map((dir) => join(dir, name));
  for (const path of candidates) if (await isExecutable(path)) return path;
  return null;
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

const probe =
  'import sys, importlib.util as u; print(sys.executable); print(*sys.version_info[:3]); ' +
  'print(all(u.find_spec(m) for m in ("venv", "ensurepip")))';
const probeTimeoutMs = 20_000;

/** The node's own first, then those on PATH, then those of pyenv and uv, newest first; each binary once. */
async function findInterpreters(
  own: string | null,
  dirs: readonly string[],
  home: string,
): Promise<readonly Interpreter[]> {
  const ownPath = own === null ? null : await onPath(own, dirs);
  const named = await Promise.all(dirs.filter((dir) => !isShims(dir)).map(pythonsIn));
  const managed = await Promise.all(
    [join(home, '.pyenv', 'versions'), join(home, '.local', 'share', 'uv', 'python')].map(versionsIn),
  );
  const candidates = [...(ownPath === null ? [] : [ownPath]), ...named.flat(), ...managed.flat()];
  const seen = new Set<string>();
  const distinct: string[] = [];
  for (const path of candidates) {
    const real = await realpath(path).catch(() => path);
    // An interpreter of a virtual environment leads to another one, but has packages of its own: the node's own stays.
    if (seen.has(real) || !(await isExecutable(path))) continue;
    seen.add(real);
    distinct.push(path);
  }
  const asked = await Promise.all(distinct.map(askInterpreter));
  return asked.filter((one) => one !== null);
}

/** A version manager's shims answer for whichever version is chosen in the folder; the versions themselves are asked. */
function isShims(dir: string): boolean {
  return basename(dir) === 'shims';
}

async function pythonsIn(dir: string): Promise<readonly string[]> {
  const names = await readdir(dir).catch(() => []);
  return names
    .filter((name) => /^python3(\.\d+)?$/.test(name))
    .sort()
    .map((name) => join(dir, name));
}

async function versionsIn(dir: string): Promise<readonly string[]> {
  const names = await readdir(dir).catch(() => []);
  const newestFirst = names.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  return newestFirst.map((name) => join(dir, name, 'bin', 'python3'));
}

/** What the interpreter at `path` says of itself; null when it does not answer. */
export async function askInterpreter(path: string): Promise<Interpreter | null> {
  try {
    const { stdout } = await promisify(execFile)(path, ['-I', '-c', probe], { timeout: probeTimeoutMs });
    const [executable = '', version = '', hasVenv = ''] = stdout.split('\n');
    const [major = 0, minor = 0, patch = 0] = version.split(' ').map(Number);
    return { path: executable, version: [major, minor, patch], hasVenv: hasVenv === 'True' };
  } catch {
    // One that does not answer is none.
    return null;
  }
}

/** What pip's own configuration files say, last one wins. @source pip's documentation: configuration files */
export async function pipConfiguration(environment: Environment): Promise<Readonly<Record<string, string>>> {
  const named = environment['PIP_CONFIG_FILE'];
  // The way to say that none is to be read.
  if (named === '/dev/null') return {};
  const home = environment['HOME'] ?? homedir();
  const config = environment['XDG_CONFIG_HOME'] ?? join(home, '.config');
  const paths = ['/etc/pip.conf', join(home, '.pip', 'pip.conf'), join(config, 'pip', 'pip.conf')];
  const texts = await Promise.all(
    [...paths, ...(named === undefined ? [] : [named])].map((path) => readFile(path, 'utf8').catch(() => '')),
  );
  return Object.assign({}, ...texts.map(readPipConfiguration)) as Record<string, string>;
}
