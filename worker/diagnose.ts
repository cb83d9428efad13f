/** How this worker node's machine is, for whoever asks `batchmill doctor`. It looks; the coordinator judges. */
import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Environment } from '../common/config/process-settings.ts';
import { toBatchError } from '../common/core/batch-error.ts';
import type { Diagnose, Diagnosis, Python } from '../common/core/diagnosis.ts';
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import { reasonOf } from '../common/io/errno.ts';
import { inTime, lookAtPath, roomOf } from '../common/io/look-at-path.ts';
import { packageRelease } from '../common/io/package-files.ts';

export interface DiagnoseOptions {
  readonly scratchDir: string;
  /** As the operator named it; null: whichever is on PATH. */
  readonly python: string | null;
  /** Of the worker node. */
  readonly environment: Environment;
  readonly clock: Clock;
  readonly gpus: () => Promise<number>;
  /** Path of the interpreter. @throws PYTHON_NOT_FOUND */
  readonly findPython: () => Promise<string>;
}

/** Never rejects, and resolves in less time than the coordinator waits. */
export async function diagnose({ id, paths }: Diagnose, options: DiagnoseOptions): Promise<Diagnosis> {
  const { scratchDir, clock, environment } = options;
  const receivedMs = Math.round(clock.wall());
  const [room, gpus, python, seen] = await Promise.all([
    roomOf(scratchDir),
    inTime(gpusOf(options.gpus, environment), { gpus: 0, gpuProblem: late('nvidia-smi') }),
    inTime(pythonOf(options.findPython), { path: null, problem: late('the interpreter') }),
    Promise.all(paths.map((path) => lookAtPath(path))),
  ]);
  return {
    ...{ id, release: packageRelease(), runtime: process.versions.node, receivedMs, scratchDir, room, ...gpus, python },
    ...{ isPythonNamed: options.python !== null, paths: seen, sentMs: Math.round(clock.wall()) },
  };
}

function late(what: string): string {
  return `${what} does not answer within ${limits.diagnosisLookMsMax / 1_000} s`;
}

async function gpusOf(
  count: () => Promise<number>,
  environment: Environment,
): Promise<Pick<Diagnosis, 'gpus' | 'gpuProblem'>> {
  const gpus = await count();
  // Who hides GPUs from the node wants it so.
  if (gpus > 0 || environment['CUDA_VISIBLE_DEVICES'] !== undefined) return { gpus, gpuProblem: null };
  const devices = (await readdir('/dev').catch(() => [])).filter((name) => /^nvidia\d+$/.test(name));
  const gpuProblem = devices.length === 0 ? null : `nvidia-smi lists none of ${devices.join(', ')}`;
  return { gpus, gpuProblem };
}

async function pythonOf(find: () => Promise<string>): Promise<Python> {
  try {
    const path = await find();
    const timeout = limits.diagnosisLookMsMax;
    const { stdout } = await promisify(execFile)(path, ['--version'], { timeout });
    return { path, version: stdout.trim().replace(/^Python /, '') };
  } catch (error) {
    const { code, message } = toBatchError(error);
    return { path: null, problem: code === 'INTERNAL' ? reasonOf(error) : message };
  }
}
