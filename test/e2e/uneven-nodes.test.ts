/** Nodes that are not alike: one that straggles, one that is busy while another is idle, one that is sick. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { JobEvent, NodeView } from '../../coordinator/api/backend.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, signalIfAlive, until } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-uneven-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

const name = (index: number): string => `f${String(index).padStart(3, '0')}.txt`;

function inputsOf(count: number): string {
  return writeInputs(
    join(dir, 'in'),
    Array.from({ length: count }, (_, index) => [name(index), `text ${index}`] as const),
  );
}

interface Gated {
  readonly deployment: string;
  open(): void;
  /** Nodes on which run() has begun, or ended, with a mini-batch that begins with the file, in order of time. */
  nodes(what: 'begin' | 'end', first: string): readonly string[];
}

/** One file a mini-batch; the one of `held` waits until the gate is opened. */
function gated(held: string): Gated {
  const [gate, trace] = [join(dir, 'gate'), join(dir, 'trace.txt')];
  return {
    deployment: writeDeployment(dir, 'gated', {
      script: 'gated-rows.mjs',
      miniBatchSize: 1,
      environment: { HELD: held, GATE: gate, TRACE: trace },
      more: ['retry_settings:', '  timeout: 300', 'output:', '  format: csv'],
    }),
    open: () => writeFileSync(gate, ''),
    nodes: (what, first) => {
      const lines = existsSync(trace) ? readFileSync(trace, 'utf8').split('\n').filter(Boolean) : [];
      const own = lines.filter((line) => line.startsWith(`${what} ${first} `));
      return own.map((line) => /\/nodes\/([^/]+)\//.exec(line)?.[1] ?? '');
    },
  };
}

const rowsOf = (count: number): string =>
  `file,text\n${Array.from({ length: count }, (_, index) => `${name(index)},text ${index}\n`).join('')}`;

async function eventsOf(cluster: ClusterProcesses, job: string): Promise<readonly JobEvent[]> {
  const events: JobEvent[] = [];
  for await (const event of cluster.client.events(job, 0, new AbortController().signal)) events.push(event);
  return events;
}

test(
  'a straggler gets a second attempt on an idle node, and the first commit counts',
  { timeout: 150_000 },
  async () => {
    const files = 20;
    const held = name(0);
    const script = gated(held);
    const cluster = await ClusterProcesses.start({ dir, heartbeat: '1s' });
    const slow = await cluster.startWorker('slow', { slots: 1 });
    const out = join(dir, 'out');
    const job = await cluster.submit([script.deployment, '--input', inputsOf(files), '--output', out]);
    await until(() => script.nodes('begin', held).length === 1, 'the mini-batch that will straggle');
    await cluster.startWorker('quick', { slots: 1 });
    const tail = await cluster.job(job, (view) => view.mini_batches.committed === files - 1, 'all but one');
    expect(tail.mini_batches).toMatchObject({ total: files, leased: 1 });
    const [host] = slow.children() as [number];
    signalIfAlive(host, 'SIGSTOP');
    // Whoever begins with it now ends at once; the one that straggles does not even see that it could.
    script.open();
    const done = await cluster.job(job, (view) => view.status === 'Completed', 'completed', 90_000);

    expect(script.nodes('begin', held)).toEqual(['slow', 'quick']);
    expect(script.nodes('end', held)).toEqual(['quick']);
    expect(done).toMatchObject({ rows: files, files: { scored: files, failed: 0 } });
    expect(done.mini_batches).toEqual({ total: files, committed: files, leased: 0, failed_tries: 0 });
    // The loser is no failure, and its host, which cannot be asked to stop, is ended.
    expect((await eventsOf(cluster, job)).filter(({ kind }) => kind === 'attempt-failed')).toEqual([]);
    await until(() => !slow.children().includes(host), 'the end of the host that straggled', 20_000);
    await cluster.node('slow', (node) => node.state === 'ready' && node.leases === 0, 'is free again');
    const sealed = readOutput(out);
    expect([sealed.isComplete, sealed.text]).toEqual([true, rowsOf(files)]);
    expect(sealed.files[0]).toMatchObject({ path: held, node: 'quick', attempts: 1 });
  },
);

test('what a busy node has not begun is taken back for one that comes late', { timeout: 90_000 }, async () => {
  const script = gated(name(0));
  const cluster = await ClusterProcesses.start({ dir, heartbeat: '1s' });
  await cluster.startWorker('busy', { slots: 1 });
  const out = join(dir, 'out');
  const job = await cluster.submit([script.deployment, '--input', inputsOf(2), '--output', out]);
  await until(() => script.nodes('begin', name(0)).length === 1, 'the first of two mini-batches');
  await cluster.node('busy', (node) => node.leases === 2, 'has work ahead');
  expect(script.nodes('begin', name(1))).toEqual([]);
  await cluster.startWorker('late', { slots: 1 });
  await until(() => script.nodes('end', name(1)).length === 1, 'the second one on the node that was idle');
  expect(script.nodes('end', name(0))).toEqual([]);
  script.open();
  const done = await cluster.job(job, (view) => view.status === 'Completed', 'completed');

  expect([script.nodes('begin', name(0)), script.nodes('begin', name(1))]).toEqual([['busy'], ['late']]);
  expect(done.mini_batches).toEqual({ total: 2, committed: 2, leased: 0, failed_tries: 0 });
  const sealed = readOutput(out);
  expect([sealed.isComplete, sealed.text]).toEqual([true, rowsOf(2)]);
  expect(sealed.files.map(({ node, attempts }) => [node, attempts])).toEqual([
    ['busy', 1],
    ['late', 1],
  ]);
});

test('a sick node is quarantined and costs no file; released, it scores again', { timeout: 120_000 }, async () => {
  const files = 150;
  const brokenWhen = join(dir, 'broken');
  writeFileSync(brokenWhen, '');
  const fastWhen = join(dir, 'fast');
  const deployment = writeDeployment(dir, 'fragile', {
    script: 'fragile-rows.mjs',
    miniBatchSize: 1,
    environment: { FAST_WHEN: fastWhen },
    more: ['output:', '  format: csv', 'error_threshold: 0', 'retry_settings:', '  max_retries: 3', '  timeout: 60'],
  });
  const cluster = await ClusterProcesses.start({ dir, heartbeat: '1s' });
  await cluster.startWorker('well', { slots: 1 });
  await cluster.startWorker('sick', { slots: 1, environment: { CUDA_CACHE_PATH: brokenWhen } });
  const out = join(dir, 'out');
  const job = await cluster.submit([deployment, '--input', inputsOf(files), '--output', out]);

  await cluster.node('sick', (node) => node.state === 'quarantined', 'is quarantined');
  const told = await cluster.job(job, () => true, 'an answer');
  expect(told.quarantined_nodes.map((node) => node.name)).toEqual(['sick']);
  const listed = JSON.parse((await cluster.cli(['node', 'list', '-o', 'json'])).stdout) as readonly NodeView[];
  expect(listed.map((node) => [node.name, node.state, node.quarantines.map((one) => one.job)])).toEqual([
    ['well', 'ready', []],
    ['sick', 'quarantined', [job]],
  ]);
  expect(listed[1]?.quarantines[0]?.reason).toContain('different mini-batches failed on worker node sick');
  // It gets nothing more, and the job goes on without it.
  const { failed_tries: failedTries, committed } = told.mini_batches;
  await cluster.job(job, (view) => view.mini_batches.committed > committed + 3, 'going on');
  const without = await cluster.job(job, () => true, 'an answer');
  expect(without.mini_batches.failed_tries).toBe(failedTries);
  await cluster.node('sick', (node) => node.leases === 0, 'holds nothing');

  rmSync(brokenWhen);
  const released = await cluster.cli(['node', 'release', 'sick']);
  expect(released.code, released.stderr).toBe(0);
  await cluster.node('sick', (node) => node.state === 'ready' && node.leases > 0, 'has work again');
  writeFileSync(fastWhen, '');
  const done = await cluster.job(job, (view) => view.status === 'Completed', 'completed', 90_000);
  expect(done).toMatchObject({ rows: files, files: { scored: files, failed: 0 }, quarantined_nodes: [] });
  expect(done.mini_batches.failed_tries).toBe(failedTries);
  const told2 = (await eventsOf(cluster, job)).filter(({ kind }) => kind === 'node').map(({ message }) => message);
  expect(told2).toEqual([
    expect.stringContaining('worker node sick is quarantined'),
    'worker node sick is no longer quarantined',
  ]);
  const sealed = readOutput(out);
  expect([sealed.isComplete, sealed.errors]).toEqual([true, []]);
  expect(sealed.text).toBe(`file\n${Array.from({ length: files }, (_, index) => `${name(index)}\n`).join('')}`);
  expect([...new Set(sealed.files.map(({ node }) => node))].sort()).toEqual(['sick', 'well']);
});
