/** Where data and Pythons of the bench are kept from run to run. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { invariant } from '../../common/core/invariant.ts';
import { packageFile } from '../../common/io/package-files.ts';
import type { Place } from '../workloads/workload.ts';

/** The folder of `BENCH_DIR` that stays between runs. */
export function benchDir(): string {
  return join(process.env['BENCH_DIR'] ?? tmpdir(), `batchmill-bench-${userInfo().username}`);
}

/** `scale` is a share of the standard sizes. */
export function placeOf(scale: number, isQuick: boolean, say: (text: string) => void): Place {
  return {
    scale,
    isQuick,
    processes: availableParallelism(),
    data: async (name, make) => {
      const dir = join(benchDir(), 'data', name);
      if (existsSync(dir)) return dir;
      say(`making ${name}`);
      const unfinished = `${dir}.${process.pid}.tmp`;
      rmSync(unfinished, { recursive: true, force: true });
      mkdirSync(unfinished, { recursive: true });
      await make(unfinished);
      renameSync(unfinished, dir);
      return dir;
    },
    python: (name) => Promise.resolve(pythonOf(name, say)),
  };
}

/** A virtual environment with the packages of `bench/requirements/NAME.txt`, made anew when these change. */
function pythonOf(name: string, say: (text: string) => void): string {
  const requirements = packageFile('bench', 'requirements', `${name}.txt`);
  const dir = packageFile('.venv-bench', name);
  const digest = createHash('sha256').update(readFileSync(requirements)).digest('hex');
  const mark = join(dir, 'requirements.sha256');
  const python = join(dir, 'bin', 'python');
  if (existsSync(mark) && readFileSync(mark, 'utf8') === digest) return python;
  say(`installing ${requirements} into ${dir}`);
  rmSync(dir, { recursive: true, force: true });
  execute('python3', ['-m', 'venv', dir]);
  execute(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements]);
  writeFileSync(mark, digest);
  return python;
}

function execute(command: string, args: readonly string[]): void {
  const { status } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  invariant(status === 0, `${command} ${args.join(' ')} ended with ${status}`);
}
