/** A coordinator makes no system call that its systemd unit would kill it for. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

const folder = new TempFolder();
afterAll(() => folder.remove());

const lack = ['strace', 'systemd-analyze'].filter((name) => spawnSync(name, ['--version']).error !== undefined);
if (lack.length > 0)
  console.warn(`SKIPPED: there is no ${lack.join(' and no ')}; what the unit's filter kills is not looked at`);

/** Names of a set of systemd's, those of the sets in it too. */
function expanded(set: string): readonly string[] {
  const { stdout } = spawnSync('systemd-analyze', ['syscall-filter', set], { encoding: 'utf8' });
  const names = stdout
    .split('\n')
    .slice(1)
    .map((line) => line.trim());
  return names
    .filter((name) => /^@?[a-z0-9_-]+$/.test(name))
    .flatMap((name) => (name.startsWith('@') ? expanded(name) : [name]));
}

it.skipIf(lack.length > 0)('starts, serves and stops within the sets of SystemCallFilter', async () => {
  const unit = readFileSync(packageFile('deploy', 'systemd', 'batchmill-coordinator.service'), 'utf8');
  const sets = /^SystemCallFilter=(.*)$/m.exec(unit)?.[1]?.split(' ') ?? [];
  const allowed = new Set(sets.flatMap(expanded));
  expect(allowed.has('read')).toBe(true);
  const [calls, pid] = [join(folder.path, 'calls'), join(folder.path, 'pid')];
  const start = [
    'coordinator',
    'start',
    '--listen',
    '127.0.0.1:0',
    '--http',
    '127.0.0.1:0',
    '--state-dir',
    folder.path,
  ];
  const program = [process.execPath, packageFile('dist', 'cli', 'main.js'), ...start];
  const shell = ['sh', '-c', 'echo "$$" >"$1"; shift; exec "$@"', 'sh', pid, ...program];
  const traced = spawn('strace', ['-f', '-qq', '-o', calls, ...shell], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, HOME: folder.path, XDG_CONFIG_HOME: folder.path },
  });
  let said = '';
  let isTold = false;
  traced.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
    if (isTold || !/coordinator serves/.test(said)) return;
    isTold = true;
    process.kill(Number(readFileSync(pid, 'utf8')), 'SIGTERM');
  });
  await once(traced, 'close');
  expect(said).toMatch(/coordinator serves/);
  const lines = readFileSync(calls, 'utf8').matchAll(/^\d+ +([a-z0-9_]+)\(/gm);
  const made = new Set([...lines].map(([, name]) => name ?? ''));
  expect([...made].filter((name) => !allowed.has(name))).toEqual([]);
});
