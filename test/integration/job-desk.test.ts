/** What goes wrong with one job or one request is that job's, and never the end of the coordinator. */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import type { Coordinator } from '../../coordinator/coordinator.ts';
import { failing } from '../helpers/failing.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { until } from '../helpers/programs.ts';

let cluster: LocalCluster;
let dir = '';

beforeEach(async () => {
  cluster = await LocalCluster.start();
  dir = cluster.dir;
});
afterEach(() => cluster.close());

const noChange = {
  ...{ deployment: null, miniBatchSize: null, timeoutMs: null, triesMax: null, errorThreshold: null },
  ...{ instanceCountMax: null, concurrencyPerInstanceMax: null },
};

interface How {
  readonly isOverwrite?: boolean;
  /** Name of its folder; default: its own. */
  readonly output?: string;
  readonly since?: string;
  readonly to?: Coordinator;
}

async function submit(name: string, { output = name, to = cluster.coordinator, ...how }: How = {}): Promise<JobView> {
  const inputPath = writeInputs(join(dir, 'in'), smallFiles(3));
  const deployment = await loadDeployment(writeDeployment(dir, 'desk', { script: 'hash-rows.mjs' }));
  return to.jobs.submit({ deployment, inputPath, outputDir: join(dir, output), isOverwrite: false, name, ...how });
}

/** No worker node has joined: the job waits until it is canceled. */
async function submitAndCancel(name: string): Promise<void> {
  await submit(name);
  await until(() => cluster.coordinator.jobs.show(name).files.is_listed, 'the end of the listing');
  await cluster.coordinator.jobs.cancel(name, 0);
  await until(async () => await isSealed(name), `the end of ${name}`);
}

async function isSealed(name: string): Promise<boolean> {
  try {
    await cluster.coordinator.jobs.outputFiles(name);
    return true;
  } catch {
    return false;
  }
}

test('an output folder that is gone has no files, and one that holds more is not looked into', async () => {
  await submitAndCancel('job-a');
  mkdirSync(join(dir, 'job-a', 'mine'));
  writeFileSync(join(dir, 'job-a', 'mine', '_SUCCESS'), '');
  const files = await cluster.coordinator.jobs.outputFiles('job-a');
  expect(files.map((file) => file.path)).toEqual([
    '_manifest.json',
    '_manifest/files-00000.jsonl',
    '_manifest/segments-00000.jsonl',
    'predictions.csv.partial',
  ]);
  rmSync(join(dir, 'job-a'), { recursive: true });
  expect(await cluster.coordinator.jobs.outputFiles('job-a')).toEqual([]);
  expect(cluster.coordinator.jobs.show('job-a').status).toBe('Canceled');
});

test('a state directory that takes no job refuses that job alone', async () => {
  await submitAndCancel('job-b');
  rmSync(join(dir, 'state', 'jobs'), { recursive: true });
  writeFileSync(join(dir, 'state', 'jobs'), 'a file where a folder should be');
  await expect(submit('job-c')).rejects.toThrow(failing('STATE_UNWRITABLE', 'the state folder'));
  expect(cluster.coordinator.jobs.list().map((job) => job.name)).toEqual(['job-b']);
  rmSync(join(dir, 'state', 'jobs'));
  expect((await submit('job-d')).name).toBe('job-d');
});

test('--overwrite destroys nothing for a job that cannot be made', async () => {
  await submitAndCancel('job-e');
  const inputPath = join(dir, 'in');
  const deployment = await loadDeployment(writeDeployment(dir, 'desk', { script: 'hash-rows.mjs' }));
  const gone = { ...deployment, code: { kind: 'folder', path: join(dir, 'gone') } } as const;
  const request = { deployment: gone, inputPath, outputDir: join(dir, 'job-e'), isOverwrite: true, name: 'job-f' };
  await expect(cluster.coordinator.jobs.submit(request)).rejects.toThrow(failing('DEPLOYMENT_NOT_FOUND', 'gone'));
  expect((await cluster.coordinator.jobs.outputFiles('job-e')).length).toBe(4);
});

test('a job whose folder a later one has written to has no rows, logs or files, also when the later one is forgotten', async () => {
  await submitAndCancel('job-l');
  const { jobs } = cluster.coordinator;
  expect((await jobs.outputFiles('job-l')).length).toBe(4);
  const reads: Record<string, () => Promise<unknown>> = {
    outputDir: () => jobs.outputDir('job-l'),
    outputFiles: () => jobs.outputFiles('job-l'),
    outputFile: () => jobs.outputFile('job-l', '_manifest.json'),
    logFiles: () => jobs.logFiles('job-l'),
    logFile: () => jobs.logFile('job-l', 'job_result.txt'),
    printed: () => jobs.printed('job-l', { first: 0 }),
    since: () => submit('job-n', { since: 'job-l' }),
  };
  const gone = failing('OUTPUT_EXISTS', `${join(dir, 'job-l')} holds the results of a later job by now`);
  const expectGone = async (): Promise<void> => {
    for (const [name, read] of Object.entries(reads)) await expect(read(), name).rejects.toThrow(gone);
  };
  await submit('job-m', { isOverwrite: true, output: 'job-l' });
  await expectGone();
  await until(() => jobs.show('job-m').files.is_listed, 'the end of the listing');
  await jobs.cancel('job-m', 0);
  await until(() => isSealed('job-m'), 'the end of job-m');
  expect((await jobs.outputFiles('job-m')).length).toBe(4);
  await expectGone();
  await jobs.prune({ names: ['job-m'], olderThanMs: null, states: null, isDryRun: false, withOutput: false });
  await expectGone();
  expect(jobs.show('job-l').status).toBe('Canceled');
});

test('a folder that a job of another coordinator writes to is not overwritten, until that job has ended', async () => {
  await submit('job-i');
  const other = await cluster.open({ stateDir: join(dir, 'state-of-another') });
  try {
    const writing = failing('OUTPUT_EXISTS', `is writing to ${join(dir, 'job-i')}; wait for its end`);
    await expect(submit('job-i', { isOverwrite: true, to: other })).rejects.toThrow(writing);
    expect(existsSync(join(dir, 'job-i', 'predictions.csv.partial'))).toBe(true);
    // Also after a restart of the first one.
    await cluster.coordinator.close();
    cluster.coordinator = await cluster.open();
    await expect(submit('job-i', { isOverwrite: true, to: other })).rejects.toThrow(writing);
    await until(() => cluster.coordinator.jobs.show('job-i').files.is_listed, 'the end of the listing');
    await cluster.coordinator.jobs.cancel('job-i', 0);
    await until(async () => await isSealed('job-i'), 'the end of job-i');
    expect(readdirSync(join(dir, 'job-i'))).not.toContain('.batchmill-lock');
    expect((await submit('job-i', { isOverwrite: true, to: other })).status).not.toBe('Failed');
  } finally {
    await other.close();
  }
});

test('a job whose output folder was removed while the coordinator was away fails, and the next one is taken', async () => {
  await submit('job-g');
  await cluster.coordinator.close();
  rmSync(join(dir, 'job-g'), { recursive: true });
  cluster.coordinator = await cluster.open();
  expect(cluster.coordinator.jobs.show('job-g')).toMatchObject({
    status: 'Failed',
    error: { code: 'STATE_UNWRITABLE' },
  });
  expect((await submit('job-h')).status).not.toBe('Failed');
});

const asBefore = {
  ...{ deployment: null, miniBatchSize: null, timeoutMs: null, triesMax: null },
  ...{ errorThreshold: null, instanceCountMax: null, concurrencyPerInstanceMax: null },
};

test('finished jobs that are kept no longer are pruned by themselves, with what is nobody’s; results stay', async () => {
  await submitAndCancel('job-p');
  await submit('job-q');
  mkdirSync(join(dir, 'state', 'jobs', 'orphan', 'inputs'), { recursive: true });
  await cluster.coordinator.close();
  cluster.coordinator = await cluster.open({ keepFinishedMs: 0 });
  await until(() => cluster.coordinator.jobs.list().length === 1, 'the end of the finished job');
  await until(() => readdirSync(join(dir, 'state', 'jobs')).join() === 'job-q', 'only one folder');
  expect(existsSync(join(dir, 'job-p', '_manifest.json'))).toBe(true);
  await cluster.coordinator.close();
  cluster.coordinator = await cluster.open();
  expect(cluster.coordinator.jobs.list().map(({ name }) => name)).toEqual(['job-q']);
  expect((await submit('job-p', { isOverwrite: true })).name).toBe('job-p');
});

test('a job goes on only where its output is, and alone there', async () => {
  await submitAndCancel('job-r');
  const resumed = await cluster.coordinator.jobs.resume('job-r', asBefore);
  expect(resumed).toMatchObject({ status: 'Running', error: null, generation: 1 });
  await expect(submit('job-r', { isOverwrite: true })).rejects.toThrow(failing('REQUEST_INVALID', 'exists'));
  await expect(cluster.coordinator.jobs.resume('job-r', { ...asBefore, timeoutMs: 5 })).rejects.toThrow(
    failing('JOB_NOT_FINISHED', 'settings can be changed once it has ended'),
  );
  await cluster.coordinator.jobs.cancel('job-r', 60_000);
  await until(async () => await isSealed('job-r'), 'the end again: nothing runs, so nothing is waited for');
  await expect(cluster.coordinator.jobs.prune({ ...all, names: ['job-r', 'job-none'] })).rejects.toThrow(
    failing('JOB_NOT_FOUND', 'job-none'),
  );
  const manifest = JSON.parse(readFileSync(join(dir, 'job-r', '_manifest.json'), 'utf8')) as object;
  writeFileSync(join(dir, 'job-r', '_manifest.json'), JSON.stringify({ ...manifest, name: 'another' }));
  await expect(cluster.coordinator.jobs.resume('job-r', asBefore)).rejects.toThrow(
    failing('OUTPUT_EXISTS', 'a later job'),
  );
  const [pruned] = await cluster.coordinator.jobs.prune({ ...all, withOutput: true });
  expect(pruned).toMatchObject({ name: 'job-r', output_removed: false });
  expect(readdirSync(join(dir, 'job-r'))).toContain('_manifest.json');
});

const all = { names: [], olderThanMs: null, states: null, isDryRun: false, withOutput: false };

test('one who saw lines before a restart misses none of those after it', async () => {
  await submit('job-s');
  /** What pauses and resumptions say after `after`, up to `count` of it; a grant between them may say that the job runs. */
  const linesAfter = async (
    after: number,
    count: number,
  ): Promise<readonly { message: string; sequence: number }[]> => {
    const stop = new AbortController();
    const lines: { message: string; sequence: number }[] = [];
    for await (const { message, sequence } of cluster.coordinator.jobs.events('job-s', after, stop.signal)) {
      if (/^(paused$|paused:|goes on)/.test(message)) lines.push({ message: message.replace(/:.*/, ''), sequence });
      if (lines.length === count) stop.abort();
    }
    return lines;
  };
  await cluster.coordinator.jobs.pause('job-s');
  const seen = (await linesAfter(0, 1)).at(-1)?.sequence ?? 0;
  await cluster.coordinator.close();
  cluster.coordinator = await cluster.open();
  for (let i = 0; i < 2; i += 1) {
    await cluster.coordinator.jobs.resume('job-s', noChange);
    await cluster.coordinator.jobs.pause('job-s');
  }
  const messages = (await linesAfter(seen, 4)).map(({ message }) => message);
  expect(messages).toEqual(['goes on after a pause', 'paused', 'goes on after a pause', 'paused']);
});
