/**
 * The promise of the whole program: whatever is killed or frozen on the way, the output is the one of an undisturbed run,
 * byte for byte. Faults come when the job has got so far, not when so much time has gone by; only the minute is a minute.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram, signalIfAlive, until, type Program } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

const files = 10_000;
const miniBatches = 1_000;
const freezeMs = 60_000;

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-faults-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

interface TraceLine {
  readonly what: string;
  readonly first: string;
  readonly node: string;
}

function readTrace(path: string): readonly TraceLine[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => {
    const [what = '', first = '', , cwd = ''] = line.split(' ');
    return { what, first, node: /\/nodes\/([^/]+)\//.exec(cwd)?.[1] ?? '' };
  });
}

/** Mini-batches that `node` has begun and not ended, by their first file. */
function underWay(trace: readonly TraceLine[], node: string): readonly string[] {
  const own = trace.filter((line) => line.node === node);
  const ended = new Set(own.filter((line) => line.what === 'end').map((line) => line.first));
  return own.filter((line) => line.what === 'begin' && !ended.has(line.first)).map((line) => line.first);
}

/** The worker node first: what its scoring hosts still finish finds nobody who reads it. */
function freeze(worker: Program): readonly number[] {
  worker.signal('SIGSTOP');
  const hosts = worker.children();
  for (const pid of hosts) process.kill(pid, 'SIGSTOP');
  return hosts;
}

test('two nodes killed, one frozen for a minute, the coordinator killed: the same 10,000 rows', async () => {
  const input = writeInputs(join(dir, 'in'), smallFiles(files));
  const trace = join(dir, 'trace.txt');
  const fast = join(dir, 'fast');
  const calm = writeDeployment(dir, 'calm', { script: 'hash-rows.mjs', more: ['output:', '  format: csv'] });
  const slow = writeDeployment(dir, 'slow', {
    script: 'hash-rows.mjs',
    environment: { PAUSE_MS: '300', FAST_WHEN: fast, TRACE: trace },
    more: ['output:', '  format: csv'],
  });

  const undisturbed = await runProgram(['run', calm, '--input', input, '--output', join(dir, 'calm')], { cwd: dir });
  expect(undisturbed.code, undisturbed.stderr).toBe(0);
  const wanted = readOutput(join(dir, 'calm'));
  expect(wanted.text.split('\n')).toHaveLength(files + 2);

  const cluster = await ClusterProcesses.start({ dir, heartbeat: '5s' });
  const workers = await Promise.all(['a', 'b', 'c', 'd'].map((name) => cluster.startWorker(`node-${name}`)));
  const [killedFirst, frozen, killedLater] = workers as [Program, Program, Program, Program];
  const job = await cluster.submit([slow, '--input', input, '--output', join(dir, 'out')]);
  const committed = async (count: number): Promise<unknown> =>
    await cluster.job(job, (view) => view.mini_batches.committed >= count, `${count} mini-batches committed`);

  await committed(20);
  const hosts = freeze(frozen);
  const frozenAt = systemClock.monotonic();
  expect(hosts.length).toBeGreaterThan(0);
  const caught = underWay(readTrace(trace), 'node-b');
  expect(caught.length, 'mini-batches that the frozen node was scoring').toBeGreaterThan(0);

  await committed(60);
  await killedFirst.kill();
  await cluster.node('node-b', (node) => node.state === 'lost', 'is seen as lost', freezeMs);
  await cluster.node('node-a', (node) => node.state === 'lost', 'is seen as lost');

  await cluster.coordinator.kill();
  const before = readTrace(trace).length;
  await cluster.restartCoordinator();
  await until(() => readTrace(trace).length > before + 20, 'scoring after the restart');
  const running = await cluster.job(job, (view) => view.status === 'Running' && view.nodes > 0, 'going on');
  await committed(running.mini_batches.committed + 20);
  await killedLater.kill();

  // A frozen machine is frozen for as long as it is: the one wait for a duration of this test.
  await delay(Math.max(0, freezeMs - (systemClock.monotonic() - frozenAt)), new AbortController().signal);
  const thawed = await cluster.job(job, () => true, 'an answer');
  expect(thawed.status, 'the frozen node must come back before the end').toBe('Running');
  const begunBefore = readTrace(trace).filter((line) => line.node === 'node-b').length;
  for (const pid of hosts) signalIfAlive(pid, 'SIGCONT');
  await until(() => underWay(readTrace(trace), 'node-b').length === 0, 'late results of the frozen node');
  frozen.signal('SIGCONT');
  await cluster.node('node-b', (node) => node.state === 'ready', 'is back');
  await frozen.until(
    () => readTrace(trace).filter((line) => line.node === 'node-b').length > begunBefore + 4,
    'new work on the node that was frozen',
  );
  writeFileSync(fast, '');

  const done = await cluster.job(job, (view) => view.status === 'Completed', 'completed', 120_000);
  expect(done).toMatchObject({ rows: files, files: { total: files, scored: files, failed: 0 } });
  const ended = await until(() => existsSync(join(dir, 'out', '_SUCCESS')), 'the end of sealing');
  expect(ended).toBe(true);

  const found = readOutput(join(dir, 'out'));
  expect(found.sha256).toBe(wanted.sha256);
  expect(found.bytes.equals(wanted.bytes)).toBe(true);
  expect(found.files.map((file) => file.ordinal)).toEqual(Array.from({ length: files }, (_, index) => index));
  expect(new Set(found.files.map((file) => file.path)).size).toBe(files);
  expect(found.files.every((file) => file.status === 'scored' && file.rows === 1)).toBe(true);

  // What the frozen node finished late was scored by another node meanwhile, and that one counts.
  const owners = new Map(found.files.map((file) => [file.path, file.node]));
  expect(caught.map((first) => owners.get(first))).not.toContain('node-b');
  const scoredBy = new Set(found.files.map((file) => file.node));
  expect([...scoredBy].sort()).toEqual(['node-a', 'node-b', 'node-c', 'node-d']);
  // Faults cost attempts; without them this test has tested nothing.
  const begun = readTrace(trace).filter((line) => line.what === 'begin').length;
  expect(begun).toBeGreaterThan(miniBatches);
  expect(done.mini_batches).toMatchObject({ total: miniBatches, committed: miniBatches });
});
