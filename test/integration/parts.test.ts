/** Outputs made of parts: the second stage of a job on a real coordinator with real worker nodes and hosts. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../common/io/clock.ts';
import { createLog, type Log } from '../../common/io/log.ts';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import type { PartsForm } from '../../common/core/parts-form.ts';
import type { JobEvent, JobView } from '../../coordinator/api/backend.ts';
import { verifyOutput } from '../../coordinator/verify/verify-output.ts';
import { failing } from '../helpers/failing.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { until } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

const files = 60;
const nothing = {
  ...{ deployment: null, miniBatchSize: null, timeoutMs: null, triesMax: null },
  ...{ errorThreshold: null, instanceCountMax: null, concurrencyPerInstanceMax: null },
};

let cluster: LocalCluster;
let input = '';
beforeEach(async () => {
  cluster = await LocalCluster.start();
  input = writeInputs(join(cluster.dir, 'in'), smallFiles(files));
});
afterEach(() => cluster.close());

/** Rows as JSON, a row a file, in parts of `fileRows`. */
async function deploymentOf(parts: Partial<PartsForm> | null): Promise<LocalDeployment> {
  const more = ['output:', '  format: jsonl', 'error_threshold: -1'];
  const environment = { POISON: join(cluster.dir, 'poison') };
  const path = writeDeployment(cluster.dir, 'rows', { script: 'poison-rows.mjs', miniBatchSize: 7, environment, more });
  const deployment = await loadDeployment(path);
  const form: PartsForm = {
    ...{
      format: 'jsonl',
      header: true,
      partitionBy: [],
      fileRows: null,
      fileBytes: null,
      rowGroupRows: 100,
      compression: 'snappy',
    },
    ...parts,
  };
  const { settings } = deployment;
  const outputFileName = form.fileRows === null ? settings.outputFileName : 'part-00000.jsonl';
  return parts ? { ...deployment, settings: { ...settings, outputFileName, parts: form } } : deployment;
}

async function submit(output: string, parts: Partial<PartsForm> | null): Promise<string> {
  const request = { deployment: await deploymentOf(parts), inputPath: input, outputDir: join(cluster.dir, output) };
  return (await cluster.coordinator.jobs.submit({ ...request, isOverwrite: false, name: output })).name;
}

async function ended(job: string): Promise<{ readonly view: JobView; readonly events: readonly JobEvent[] }> {
  const events: JobEvent[] = [];
  const { jobs } = cluster.coordinator;
  for await (const event of jobs.events(job, 0, new AbortController().signal)) events.push(event);
  return { view: jobs.show(job), events };
}

const verify = (output: string): ReturnType<typeof verifyOutput> =>
  verifyOutput({ dir: join(cluster.dir, output), inputPath: null, key: null });
const namesOf = (output: string): readonly string[] =>
  readdirSync(join(cluster.dir, output))
    .filter((name) => name !== '_logs')
    .sort();
const joined = (output: string): string =>
  namesOf(output)
    .filter((name) => name.startsWith('part-'))
    .map((name) => readFileSync(join(cluster.dir, output, name), 'utf8'))
    .join('');

test('the parts are the rows in order, and all that is left of them', async () => {
  await cluster.join('a', 2);
  await cluster.join('b', 1);
  const plain = await ended(await submit('plain', null));
  expect(plain.view.status).toBe('Completed');
  const { view, events } = await ended(await submit('parts', { fileRows: 20 }));
  expect([view.error, view.status, view.rows, view.output_file, view.parts]).toEqual([
    null,
    'Completed',
    files,
    null,
    null,
  ]);
  expect(joined('parts')).toBe(readOutput(join(cluster.dir, 'plain'), 'predictions.jsonl').text);
  // Mini-batches of 7 are not cut: two of them to a part.
  const parts = Array.from({ length: 4 }, (_, index) => `part-0000${index}.jsonl`);
  expect(namesOf('parts')).toEqual(['_SUCCESS', '_manifest', '_manifest.json', ...parts]);
  const { manifest } = readOutput(join(cluster.dir, 'parts'), 'none');
  expect(manifest.output).toBeNull();
  expect(manifest.custom_files.map(({ path, rows }) => [path, rows])).toEqual(
    parts.map((path, index) => [path, [14, 14, 14, 18][index]]),
  );
  expect(manifest.totals.rows).toBe(files);
  expect((await verify('parts')).findings).toEqual([]);
  expect(cluster.coordinator.jobs.list().map(({ name }) => name)).toEqual(['parts', 'plain']);
  expect(events.map(({ message }) => message)).toContain(
    `all ${files} rows are there; the output is made of them in 4 parts`,
  );
  await until(() => readdirSync(join(cluster.dir, 'state', 'jobs')).length === 2, 'the folder of the inner job goes');
  const outputs = await cluster.coordinator.jobs.outputFiles('parts');
  expect(outputs.map(({ path }) => path)).toEqual(expect.arrayContaining(parts));
});

test('one file has the name that was asked for', async () => {
  await cluster.join('a', 1);
  const { view } = await ended(await submit('one', {}));
  expect([view.status, view.output_file]).toEqual(['Completed', join(cluster.dir, 'one', 'predictions.jsonl')]);
  expect(namesOf('one')).toEqual(['_SUCCESS', '_manifest', '_manifest.json', 'predictions.jsonl']);
});

async function withoutNode(output: string): Promise<string> {
  const worker = await cluster.join('a', 1);
  const job = await submit(output, { fileRows: 20 });
  const { jobs } = cluster.coordinator;
  for await (const { job: view } of jobs.events(job, 0, new AbortController().signal)) {
    if (view.status === 'Finalizing') break;
  }
  await worker.close();
  return job;
}

test('a restart between rows and parts goes on with the parts', async () => {
  const job = await withoutNode('again');
  for (let restarts = 0; restarts < 2; restarts += 1) {
    await cluster.coordinator.close();
    cluster.coordinator = await cluster.open();
    expect(cluster.coordinator.jobs.show(job).status).toBe('Finalizing');
  }
  await cluster.join('c', 2);
  const { view } = await ended(job);
  expect([view.status, view.rows]).toEqual(['Completed', files]);
  expect(joined('again').split('\n')).toHaveLength(files + 1);
  expect(namesOf('again').filter((name) => name.startsWith('_rows'))).toEqual([]);
});

test('a job is canceled while its parts are made, keeps its rows, and is resumed', async () => {
  const job = await withoutNode('stopped');
  const { jobs } = cluster.coordinator;
  await until(() => jobs.show(job).waiting !== null, 'a reason to wait');
  expect(jobs.show(job).waiting).toContain('no worker node is connected');
  expect((await jobs.cancel(job, 0)).status).toBe('Canceled');
  await ended(job);
  expect(namesOf('stopped')).toEqual(['_manifest', '_manifest.json', '_rows.jsonl.partial']);
  await jobs.resume(job, nothing);
  await cluster.join('c', 2);
  expect((await ended(job)).view.status).toBe('Completed');
  expect(joined('stopped').split('\n')).toHaveLength(files + 1);
  expect(namesOf('stopped')).not.toContain('_rows.jsonl.partial');
});

test('a job that is paused while its parts are made goes on when it is asked to', async () => {
  const job = await withoutNode('paused');
  const { jobs } = cluster.coordinator;
  await until(() => jobs.show(job).waiting !== null, 'a reason to wait');
  await jobs.pause(job);
  expect(jobs.show(job).waiting).toBe(`paused on request; \`batchmill job resume ${job}\` goes on`);
  // Told by and by: of parts that are made in a moment nobody hears.
  for await (const { message } of jobs.events(job, 0, new AbortController().signal)) {
    if (message.includes('parts made')) break;
  }
  await cluster.join('c', 1);
  expect((await jobs.resume(job, nothing)).status).toBe('Finalizing');
  expect((await ended(job)).view.status).toBe('Completed');
  expect(joined('paused').split('\n')).toHaveLength(files + 1);
});

test('rows that the disk has changed make no part', async () => {
  const job = await withoutNode('damaged');
  const path = join(cluster.dir, 'damaged', '_rows.jsonl.partial');
  const bytes = readFileSync(path);
  bytes[300] = (bytes[300] as number) ^ 1;
  writeFileSync(path, bytes);
  await cluster.join('c', 1);
  const { view } = await ended(job);
  expect([view.status, view.error?.code]).toEqual(['Failed', 'OUTPUT_CORRUPT']);
  expect(view.error?.message).toMatch(/^part 0 of the output cannot be made: the rows of job damaged are not what was/);
});

test('failed files that are scored again replace the parts', async () => {
  await cluster.join('a', 2);
  writeFileSync(join(cluster.dir, 'poison'), 'file-00003.txt');
  const job = await submit('mended', { fileRows: 20 });
  const first = (await ended(job)).view;
  expect([first.status, first.rows, first.files.failed]).toEqual(['Completed', files - 1, 1]);
  // The rows stay, since those of other files are taken from there.
  expect(namesOf('mended')).toContain('_rows.jsonl');
  expect((await verify('mended')).findings).toEqual([]);
  const before = joined('mended');
  rmSync(join(cluster.dir, 'poison'));
  await cluster.coordinator.jobs.retry(job, nothing);
  const { view } = await ended(job);
  expect([view.status, view.rows, view.generation]).toEqual(['Completed', files, 2]);
  expect(namesOf('mended').filter((name) => name.startsWith('_rows'))).toEqual([]);
  const plain = await ended(await submit('plain', null));
  expect(plain.view.status).toBe('Completed');
  expect(joined('mended')).toBe(readOutput(join(cluster.dir, 'plain'), 'predictions.jsonl').text);
  expect(joined('mended')).not.toBe(before);
  expect((await verify('mended')).findings).toEqual([]);
  expect(existsSync(join(cluster.dir, 'mended', '_SUCCESS'))).toBe(true);
});

test('a node puts parts beside the output where it sees the folder, and sends them where it does not', async () => {
  const hear = (lines: string[]): Log =>
    createLog({ write: (line) => void lines.push(line), format: 'text', level: 'info', clock: systemClock });
  const told: string[][] = [[], []];
  for (const [index, output] of ['near', 'far'].entries()) {
    const job = await withoutNode(output);
    const attempts = join(cluster.dir, output, '_attempts', job);
    await until(() => existsSync(attempts), 'the folder of attempts');
    if (output === 'far') rmSync(attempts, { recursive: true });
    const worker = await cluster.join(`node-${output}`, 1, { log: hear(told[index] as string[]) });
    expect((await ended(job)).view.status).toBe('Completed');
    await worker.close();
    expect(namesOf(output).filter((name) => name.startsWith('_'))).toEqual(['_SUCCESS', '_manifest', '_manifest.json']);
    expect((await verify(output)).findings).toEqual([]);
  }
  expect(joined('near')).toBe(joined('far'));
  expect(told.map((lines) => /parts go (straight|through)/.exec(lines.join(''))?.[1])).toEqual(['straight', 'through']);
});

test('what somebody else has under the name of a part refuses a job, and stays where it comes later', async () => {
  const put = (): string => writeInputs(join(cluster.dir, 'shared'), [['part-00001.jsonl', 'mine']]);
  put();
  await expect(submit('shared', { fileRows: 20 })).rejects.toThrow(failing('OUTPUT_EXISTS', '(part-00001.jsonl)'));
  rmSync(join(cluster.dir, 'shared', 'part-00001.jsonl'));
  const job = await submit('shared', { fileRows: 20 });
  put();
  await cluster.join('a', 1);
  expect((await ended(job)).view.status).toBe('Completed');
  expect(readFileSync(join(cluster.dir, 'shared', 'part-00001.jsonl'), 'utf8')).toBe('mine');
  expect(namesOf('shared')).toContain(`part-00001.jsonl~${job}`);
  expect((await verify('shared')).findings).toEqual([]);
});
