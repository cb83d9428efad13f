/** Coordinator and worker nodes in one process, over real gRPC on loopback, with real files and scoring hosts: what it costs. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { isFinal } from '../../common/core/states.ts';
import { delay } from '../../common/io/delay.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { OpenFile } from '../../common/ports/file-system.ts';
import type { JobEvent, JobView } from '../../coordinator/api/backend.ts';
import type { Coordinator } from '../../coordinator/coordinator.ts';
import type * as Translation from '../../common/rpc/translate-coordinator-message.ts';
import { BulkLink } from '../../worker/bulk-link.ts';
import { ControlLink } from '../../worker/control-link.ts';
import type { WorkerHandle } from '../../worker/worker.ts';
import { scorersDir, smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { failing } from '../helpers/failing.ts';
import { LocalCluster, newFolder } from '../helpers/local-cluster.ts';
import { until } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';
import { quietTurns } from '../helpers/turns.ts';

/** Messages to worker nodes as they go on the wire. */
const wire = vi.hoisted(() => ({ down: 0 }));
vi.mock('../../common/rpc/translate-coordinator-message.ts', async (importOriginal) => {
  const original = await importOriginal<typeof Translation>();
  const writeCoordinatorMessage: typeof original.writeCoordinatorMessage = (message) => {
    wire.down += 1;
    return original.writeCoordinatorMessage(message);
  };
  return { ...original, writeCoordinatorMessage };
});

let cluster: LocalCluster;
let dir = '';
let syncs: Readonly<Record<string, number>> = {};
/** What a sync takes in addition: a disk that is none of the fastest, on every machine. */
let syncMs = 0;
let coordinator: Coordinator;
let workers: readonly WorkerHandle[] = [];

beforeEach(async () => {
  dir = newFolder();
  // Before anything is opened: the journal keeps its file.
  syncs = countSyncs();
  wire.down = 0;
  syncMs = 0;
  cluster = await LocalCluster.start({}, dir);
  ({ coordinator, workers } = cluster);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await cluster.close();
});

const joinNode = (name: string, slots: number): Promise<WorkerHandle> => cluster.join(name, slots);

interface Job {
  readonly input: string;
  readonly output: string;
  readonly miniBatchSize: number;
  readonly environment?: Readonly<Record<string, string>>;
  readonly name?: string;
}

async function submit({ input, output, miniBatchSize, environment = {}, name }: Job): Promise<string> {
  const more = ['output:', '  format: csv'];
  const path = writeDeployment(dir, 'hashes', { script: 'hash-rows.mjs', miniBatchSize, environment, more });
  const request = { deployment: await loadDeployment(path), inputPath: input, outputDir: join(dir, output) };
  return (await coordinator.jobs.submit({ ...request, isOverwrite: false, name: name ?? null })).name;
}

async function follow(job: string, after = 0): Promise<readonly JobEvent[]> {
  const events: JobEvent[] = [];
  for await (const event of coordinator.jobs.events(job, after, new AbortController().signal)) events.push(event);
  return events;
}

async function ended(job: string): Promise<JobView> {
  await follow(job);
  const view = coordinator.jobs.show(job);
  expect(isFinal(view.status)).toBe(true);
  return view;
}

/** What the scorer must have made of the files, computed here. */
function wantedRows(input: string, names: readonly string[], padChars: number): string {
  const rows = names.map((name) => {
    const digest = createHash('sha256')
      .update(readFileSync(join(input, name)))
      .digest('hex')
      .slice(0, 16);
    return `${name},${digest.padEnd(padChars, '=~')}\n`;
  });
  return `file,digest\n${rows.join('')}`;
}

const inputNames = (count: number): readonly string[] => [...smallFiles(count)].map(([name]) => name);

/** Counts syncs of files and of folders (`names`), by the folder that they lie in. */
function countSyncs(): Record<string, number> {
  const counts: Record<string, number> = {};
  const add = (path: string, what: string): void => {
    const [top = '', second = ''] = path.slice(dir.length + 1).split('/');
    const key = `${top === 'state' ? second : top} ${what}`;
    counts[key] = (counts[key] ?? 0) + 1;
  };
  const { open, syncDir } = nodeFileSystem;
  vi.spyOn(nodeFileSystem, 'open').mockImplementation(async (path, mode): Promise<OpenFile> => {
    const file = await open.call(nodeFileSystem, path, mode);
    const datasync = file.datasync.bind(file);
    file.datasync = async () => {
      add(path, 'files');
      if (syncMs > 0) await delay(syncMs, new AbortController().signal);
      await datasync();
    };
    return file;
  });
  vi.spyOn(nodeFileSystem, 'syncDir').mockImplementation((path) => {
    add(path, 'names');
    return syncDir.call(nodeFileSystem, path);
  });
  return counts;
}

describe('costs of a thousand mini-batches', () => {
  test('messages and syncs are shared; what fits goes inline; what is here is not fetched', async () => {
    const up = vi.spyOn(ControlLink.prototype, 'send');
    const uploads = vi.spyOn(BulkLink.prototype, 'upload');
    const inputs = vi.spyOn(BulkLink.prototype, 'input');
    const artifacts = vi.spyOn(BulkLink.prototype, 'artifact');
    const input = writeInputs(join(dir, 'in'), smallFiles(1_000));
    await joinNode('node-a', 1);
    await joinNode('node-b', 1);
    const before = { ...syncs };
    syncMs = 20;
    const view = await ended(await submit({ input, output: 'out', miniBatchSize: 1 }));
    expect(view).toMatchObject({ status: 'Completed', rows: 1_000, mini_batches: { total: 1_000, failed_tries: 0 } });
    expect(readOutput(join(dir, 'out')).text).toBe(wantedRows(input, inputNames(1_000), 16));

    const cost = (key: string): number => (syncs[key] ?? 0) - (before[key] ?? 0);
    // A slot that reports each result by itself, as it must when nothing else has happened, and an answer to it.
    expect(up.mock.calls.length).toBeLessThan(1_300);
    expect(wire.down).toBeLessThan(2_600);
    expect(cost('journal files')).toBeGreaterThan(0);
    expect(cost('journal files')).toBeLessThan(500);
    expect(cost('out files')).toBeGreaterThan(0);
    expect(cost('out files') + cost('jobs files')).toBeLessThan(500);
    expect(cost('journal names') + cost('out names') + cost('jobs names')).toBeLessThan(50);
    expect(uploads.mock.calls).toEqual([]);
    expect(inputs.mock.calls).toEqual([]);
    // The code folder: its list and each of its files, once a node.
    expect(artifacts.mock.calls.length).toBeLessThanOrEqual(2 * (1 + readdirSync(scorersDir).length));
    expect(workers.map((worker) => worker.stats().hostsStarted)).toEqual([1, 1]);
  });

  test('nothing is said and nothing is synced while there is nothing to do', async () => {
    const up = vi.spyOn(ControlLink.prototype, 'send');
    await joinNode('node-a', 2);
    const input = writeInputs(join(dir, 'in'), smallFiles(10));
    await ended(await submit({ input, output: 'out', miniBatchSize: 1 }));
    await until(() => workers[0]?.stats().held === 0, 'no lease');
    await quietTurns();
    const before = { ...syncs };
    const [said, heard] = [up.mock.calls.length, wire.down];
    await quietTurns();
    expect({ ...syncs }).toEqual(before);
    expect([up.mock.calls.length, wire.down]).toEqual([said, heard]);
  });
});

describe('large results', () => {
  test.each([
    ['above what is held in memory on the coordinator', 600_000],
    ['above what is held in memory on the worker node', 1_200_000],
  ])('%s: %i characters a row, ten rows a mini-batch', async (_what, padChars) => {
    const uploads = vi.spyOn(BulkLink.prototype, 'upload');
    const input = writeInputs(join(dir, 'in'), smallFiles(40));
    await joinNode('node-a', 2);
    await joinNode('node-b', 1);
    const environment = { PAD_CHARS: String(padChars) };
    const view = await ended(await submit({ input, output: 'out', miniBatchSize: 10, environment }));
    expect(view).toMatchObject({ status: 'Completed', rows: 40, mini_batches: { total: 4, failed_tries: 0 } });
    expect(uploads.mock.calls).toHaveLength(4);
    const found = readOutput(join(dir, 'out'));
    // Not toBe: a difference of megabytes is of no use to anyone.
    expect(found.text === wantedRows(input, inputNames(40), padChars)).toBe(true);
    expect(
      readdirSync(join(dir, 'state', 'jobs'), { recursive: true }).filter((name) => /segment/.test(String(name))),
    ).toEqual([]);
    await until(() => workers.every((worker) => worker.stats().held === 0), 'nothing held');
  });
});

describe('jobs', () => {
  test('several at once: each complete, each with its own rows', async () => {
    await joinNode('node-a', 2);
    const jobs = await Promise.all(
      [1, 2, 3, 4].map(async (number) => {
        const input = writeInputs(join(dir, `in-${number}`), smallFiles(50 * number));
        return { number, input, name: await submit({ input, output: `out-${number}`, miniBatchSize: 10 }) };
      }),
    );
    expect(new Set(jobs.map((job) => job.name)).size).toBe(4);
    for (const { number, input, name } of jobs) {
      expect(await ended(name)).toMatchObject({ status: 'Completed', rows: 50 * number });
      const found = readOutput(join(dir, `out-${number}`));
      expect(found.text).toBe(wantedRows(input, inputNames(50 * number), 16));
    }
  });

  test('one output folder is not for two jobs', async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(10));
    await submit({ input, output: 'out', miniBatchSize: 10 });
    await expect(submit({ input, output: 'out', miniBatchSize: 10 })).rejects.toThrow(
      failing('OUTPUT_EXISTS', 'is writing to'),
    );
  });

  test('nor is the input folder an output folder; nothing is made there', async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(10));
    await expect(submit({ input, output: 'in/out', miniBatchSize: 10 })).rejects.toThrow(
      failing('OUTPUT_IN_INPUT', 'lies in the input folder'),
    );
    expect(existsSync(join(dir, 'in', 'out'))).toBe(false);
  });

  test('nor when both ask at the same time; the name of a refused one is free again', async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(10));
    const job = { input, output: 'out', miniBatchSize: 10, name: 'mine' };
    // Whichever comes first is taken, the other one is told.
    const refusals = async (jobs: readonly Job[]): Promise<readonly unknown[]> => {
      const all = await Promise.allSettled(jobs.map((one) => submit(one)));
      return all.flatMap((one): unknown[] => (one.status === 'rejected' ? [one.reason] : []));
    };
    expect(await refusals([job, { ...job, name: 'yours' }])).toEqual([failing('OUTPUT_EXISTS', 'is writing to')]);
    const twins = ['a', 'b'].map((output) => ({ ...job, output, name: 'twin' }));
    expect(await refusals(twins)).toEqual([failing('REQUEST_INVALID', 'a job named twin exists')]);
    expect([existsSync(join(dir, 'a')), existsSync(join(dir, 'b'))].sort()).toEqual([false, true]);
    const taken = coordinator.jobs.list().map((view) => view.name);
    expect(taken).toHaveLength(2);
    const free = taken.includes('mine') ? 'yours' : 'mine';
    await expect(submit({ ...job, output: 'c', name: free })).resolves.toBe(free);
  });

  test('events: every state once and in order, counts never fall, late followers see the same end', async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(200));
    const job = await submit({ input, output: 'out', miniBatchSize: 10, environment: { PAUSE_MS: '60' } });
    const live = follow(job);
    await joinNode('node-a', 2);
    const events = await live;
    const states = events.filter((event) => event.kind === 'state').map((event) => event.message);
    expect(states).toEqual([
      'Preparing',
      'Running',
      'Finalizing',
      'Completed',
      `output is sealed in ${join(dir, 'out')}`,
    ]);
    const sequences = events.map((event) => event.sequence);
    expect(sequences).toEqual([...new Set(sequences)].sort((a, b) => a - b));
    const scored = events.map((event) => event.job.files.scored);
    expect(scored).toEqual([...scored].sort((a, b) => a - b));
    expect(
      events.some((event) => event.kind === 'progress' && event.job.files.scored > 0 && event.job.files.scored < 200),
    ).toBe(true);
    expect(events.at(-1)?.job).toMatchObject({ status: 'Completed', files: { scored: 200 } });
    const seen = events.at(-3)?.sequence ?? 0;
    expect((await follow(job, seen)).map((event) => event.sequence)).toEqual(sequences.slice(-2));
    expect((await follow(job, sequences.at(-1))).map((event) => event.sequence)).toEqual([]);
  });

  test('cancel: the hosts are killed, what is committed stays, the next job has the slots', async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(100));
    const node = await joinNode('node-a', 2);
    const job = await submit({ input, output: 'out', miniBatchSize: 10, environment: { PAUSE_MS: '3600000' } });
    await until(() => node.stats().running === 2, 'two mini-batches on their way');
    expect(await coordinator.jobs.cancel(job, 0)).toMatchObject({ status: 'Canceled' });
    const view = await ended(job);
    expect(view).toMatchObject({ status: 'Canceled', rows: 0, error: { code: 'JOB_CANCELED' } });
    await until(() => node.stats().running === 0 && node.stats().held === 0, 'nothing on the slots');
    const { manifest, files, isComplete } = readOutput(join(dir, 'out'));
    expect([manifest.verdict, isComplete]).toEqual(['Canceled', false]);
    expect(files.map((file) => file.status)).toEqual(new Array(100).fill('unscored'));
    expect(await coordinator.jobs.cancel(job, 0)).toMatchObject({ status: 'Canceled' });
    const next = await ended(await submit({ input, output: 'next', miniBatchSize: 10 }));
    expect(next).toMatchObject({ status: 'Completed', rows: 100 });
  });

  test('a node that leaves at once gives its leases back; what it was at is scored elsewhere', async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(100));
    const fast = join(dir, 'fast');
    const leaving = await joinNode('node-a', 2);
    const job = await submit({
      input,
      output: 'out',
      miniBatchSize: 10,
      environment: { PAUSE_MS: '3600000', FAST_WHEN: fast },
    });
    await until(() => leaving.stats().running === 2, 'two mini-batches on their way');
    await leaving.close();
    await until(() => coordinator.jobs.show(job).mini_batches.leased === 0, 'no lease');
    expect(coordinator.jobs.nodes()).toMatchObject([{ name: 'node-a', state: 'gone', leases: 0 }]);
    writeFileSync(fast, '');
    await joinNode('node-b', 1);
    expect(await ended(job)).toMatchObject({ status: 'Completed', rows: 100, mini_batches: { failed_tries: 0 } });
    expect(readOutput(join(dir, 'out')).text).toBe(wantedRows(input, inputNames(100), 16));
  });
});
