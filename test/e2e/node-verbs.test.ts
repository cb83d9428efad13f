/** What operators do to worker nodes, by the command line on real processes: it works at once, and outlives coordinator and node. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, until } from '../helpers/programs.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

const folder = new TempFolder();
const dir = folder.path;
let cluster: ClusterProcesses;

beforeAll(async () => {
  cluster = await ClusterProcesses.start({ dir, isSecure: true, heartbeat: '1s' });
});
afterAll(async () => {
  await endPrograms();
  folder.remove();
});

async function node(...args: readonly string[]): Promise<unknown> {
  const { code, stdout, stderr } = await cluster.cli(['node', ...args, '-o', 'json']);
  if (code !== 0) throw new Error(`node ${args.join(' ')} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as unknown;
}

async function submit(name: string, pauseMs: number, files: number, ...more: readonly string[]): Promise<string> {
  const environment = {
    PAUSE_MS: String(pauseMs),
    FAST_WHEN: join(dir, `fast-${name}`),
    TRACE: join(dir, `trace-${name}`),
  };
  const deployment = writeDeployment(dir, name, { script: 'hash-rows.mjs', miniBatchSize: 1, environment });
  const input = writeInputs(join(dir, 'in', name), smallFiles(files));
  return await cluster.submit([deployment, '--input', input, '--output', join(dir, 'out', name), ...more]);
}

test('a cordoned node gets nothing, also after a restart of the coordinator and of itself, until it is uncordoned', async () => {
  const first = await cluster.startWorker('a', { slots: 2 });
  expect(await node('cordon', 'a')).toMatchObject([{ name: 'a', state: 'ready', cordoned: true }]);
  const job = await submit('held', 0, 6);
  const waits = /every worker node that is connected is cordoned or quarantined \(a\)/;
  await cluster.job(job, ({ waiting }) => waits.test(waiting ?? ''), 'why it waits');
  cluster.coordinator.signal('SIGKILL');
  await cluster.restartCoordinator();
  first.signal('SIGTERM');
  expect((await first.endsWithin(30_000)).code).toBe(0);
  await cluster.startWorker('a', { slots: 2 });
  await cluster.node('a', ({ cordoned, leases }) => cordoned && leases === 0, 'cordoned again');
  expect((await cluster.client.show(job)).mini_batches.leased).toBe(0);
  expect(await node('uncordon', 'a')).toMatchObject([{ name: 'a', cordoned: false }]);
  await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job');
});

test('a node that is drained ends its process in time, and what it held is scored elsewhere as no try', async () => {
  const held = await cluster.startWorker('b', { slots: 1 });
  await node('cordon', 'a');
  const job = await submit('drained', 60_000, 3);
  await cluster.node('b', ({ leases }) => leases > 0, 'leases');
  const drained = node('drain', 'b', '--deadline', '1s', '--wait');
  expect((await held.endsWithin(30_000)).code).toBe(0);
  expect(await drained).toMatchObject([{ name: 'b', state: 'gone', cordoned: true, leases: 0 }]);
  writeInputs(dir, [['fast-drained', '']]);
  await node('uncordon', 'a');
  const done = await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job');
  expect(done.mini_batches).toMatchObject({ committed: 3, failed_tries: 0 });
});

test('a node whose process is told twice to end gives back what runs, and is gone at once', async () => {
  const hasty = await cluster.startWorker('hasty', { slots: 1 });
  await node('cordon', 'a');
  const job = await submit('hurried', 60_000, 2);
  await until(() => existsSync(join(dir, 'trace-hurried')), 'run() on the node');
  hasty.signal('SIGTERM');
  await hasty.says(/once more to stop at once/);
  hasty.signal('SIGTERM');
  expect(await hasty.endsWithin(30_000)).toMatchObject({ code: 0, signal: null });
  await cluster.node('hasty', ({ state, leases }) => state === 'gone' && leases === 0, 'gone');
  writeInputs(dir, [['fast-hurried', '']]);
  await node('uncordon', 'a');
  const done = await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job');
  expect(done.mini_batches).toMatchObject({ committed: 2, failed_tries: 0 });
});

test('a quarantined node says why; labels go over its own; a stranger is not found', async () => {
  const why = { state: 'quarantined', quarantine: 'its card is hot' };
  expect(await node('quarantine', 'a', '--reason', 'its card is hot')).toMatchObject([why]);
  expect(await node('release', 'a')).toMatchObject([{ state: 'ready', quarantine: null }]);
  await node('label', 'a', 'pool=night', 'gpu=a100');
  await node('label', 'a', 'gpu-');
  expect(await node('show', 'a')).toMatchObject({ name: 'a', labels: { pool: 'night' } });
  const lost = await cluster.cli(['node', 'drain', 'nobody']);
  expect([lost.code, lost.stderr]).toEqual([
    3,
    expect.stringMatching(/RESOURCE_NOT_FOUND: no worker node nobody has joined/),
  ]);
  const audit = (await cluster.cli(['audit', '-o', 'json'])).stdout;
  expect(audit).toContain('/v1/nodes/a/quarantine');
  expect(readFileSync(join(dir, 'out', 'drained', 'predictions.csv'), 'utf8').split('\n').length).toBeGreaterThan(3);
});

test('a job that requires a label waits for a node that has it, and says so', async () => {
  const job = await submit('picky', 0, 2, '--require', 'gpu=h100,rack=7');
  const lack = 'no worker node that is connected has the labels that this job requires (gpu=h100, rack=7)';
  const waits = await cluster.job(job, ({ waiting }) => waiting?.startsWith(lack) === true, 'why it waits');
  expect(waits).toMatchObject({ require: { gpu: 'h100', rack: '7' }, mini_batches: { leased: 0 } });
  expect((await cluster.cli(['explain', job])).stdout).toContain(lack);
  await node('label', 'a', 'gpu=h100', 'rack=7');
  await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job');
  const wrong = await cluster.cli(['job', 'submit', 'x', '--input', 'i', '--output', 'o', '--require', 'gpu']);
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('wanted labels such as gpu=a100') as string]);
});
