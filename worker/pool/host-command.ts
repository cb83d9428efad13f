/** How a scoring host is started: which program, with which arguments and environment. */
import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Scorer } from '../../common/core/deployment.ts';
import { invariant } from '../../common/core/invariant.ts';
import { compiledFile, packageFile } from '../../common/io/package-files.ts';
import { hostEnvironment, type HostEnvironmentOptions } from './host-environment.ts';

export interface HostCommand {
  /** Absolute path of the program: it is started without a shell. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface HostCommandOptions {
  readonly scorer: Scorer;
  /** From {@link resolvePython}; null where no Python scorer runs. */
  readonly python: string | null;
  readonly environment: HostEnvironmentOptions;
  /** Inside of a container instead, whose `python3` it is then; Python scorers only. */
  readonly container?: Container | null;
}

/** A container image and what of this machine is seen in it. */
export interface Container {
  /** Absolute path of Apptainer. */
  readonly apptainer: string;
  readonly image: string;
  /** Absolute folders, at the same places inside. */
  readonly binds: readonly string[];
  /** Whose GPU of the node's the host has; null: none. */
  readonly gpu: 'nvidia' | 'amd' | null;
}

/** Whether the scorer runs in the Python host. */
export function isPythonScorer({ kind }: Scorer): boolean {
  return kind === 'python' || kind === 'mlflow';
}

/** The command of the host for `scorer`. */
export function hostCommand(options: HostCommandOptions): HostCommand {
  const env = hostEnvironment(options.environment);
  if (!isPythonScorer(options.scorer)) {
    return { command: process.execPath, args: [compiledFile('worker', 'scorers', 'node-host.js')], env };
  }
  const args = ['-X', 'faulthandler', packageFile('worker', 'python', 'batchmill_host')];
  if (options.container) return inContainer(options.container, args, env);
  invariant(options.python !== null, 'a Python scorer needs a resolved interpreter');
  return { command: options.python, args, env };
}

/** Apptainer hands on the channels (descriptors 3 and 4) and all variables but PATH, which is the image's own. */
function inContainer(
  { apptainer, image, binds, gpu }: Container,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): HostCommand {
  const folders = [...new Set([...binds, packageFile('worker', 'python')])].flatMap((dir) => ['--bind', dir]);
  const driver = gpu === null ? [] : [gpu === 'nvidia' ? '--nv' : '--rocm'];
  return {
    command: apptainer,
    args: ['exec', ...driver, ...folders, image, 'python3', ...args],
    env: { ...env, PYTHONNOUSERSITE: '1' },
  };
}

/** Oldest Python that the host runs on. */
const pythonOldest = { major: 3, minor: 8 } as const;
const probe = 'import sys; print(sys.executable); print(sys.version_info[0], sys.version_info[1])';
const probeTimeoutMs = 20_000;

/**
 * The real binary of an interpreter: `wanted` (--python; a path or a name), or the first of python3 and python on PATH.
 * Asked once per worker node, because a version manager's shim costs more at each start than the interpreter itself.
 * Throws PYTHON_NOT_FOUND when there is none, or when it is too old.
 */
export async function resolvePython(wanted: string | null): Promise<string> {
  const candidates = wanted === null ? ['python3', 'python'] : [wanted];
  const refusals: string[] = [];
  for (const candidate of candidates) {
    const found = await askPython(candidate);
    if ('path' in found) return found.path;
    refusals.push(`${candidate}: ${found.refusal}`);
  }
  throw new BatchError(
    'PYTHON_NOT_FOUND',
    `no Python ${pythonOldest.major}.${pythonOldest.minor} or later was found ` +
      `(${refusals.join('; ')}), which Python scripts need; install one on this worker node, or name it with --python`,
  );
}

type PythonAnswer = { readonly path: string } | { readonly refusal: string };

async function askPython(candidate: string): Promise<PythonAnswer> {
  try {
    const { stdout } = await promisify(execFile)(candidate, ['-I', '-S', '-c', probe], { timeout: probeTimeoutMs });
    const [path = '', version = ''] = stdout.split('\n');
    const [major = 0, minor = 0] = version.split(' ').map(Number);
    const isNewEnough = major > pythonOldest.major || (major === pythonOldest.major && minor >= pythonOldest.minor);
    if (path !== '' && isNewEnough) return { path };
    return { refusal: `it is Python ${major}.${minor}` };
  } catch (error) {
    // Every way in which it does not answer is a refusal; the caller says them all when no candidate is left.
    const isFolder = await stat(candidate).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (isFolder) return { refusal: `it is a folder; wanted the interpreter itself, such as ${candidate}/bin/python` };
    return { refusal: describeRefusal(error) };
  }
}

function describeRefusal(error: unknown): string {
  const { code, killed, stderr } = error as { code?: string | number; killed?: boolean; stderr?: string };
  if (code === 'ENOENT') return 'there is no such program';
  if (code === 'EACCES') return 'it cannot be executed';
  if (killed === true) return `it did not answer within ${probeTimeoutMs / 1_000} s`;
  const lastLine = (stderr ?? '').trim().split('\n').at(-1) ?? '';
  return lastLine === '' ? `it failed (${code ?? String(error)})` : lastLine;
}
