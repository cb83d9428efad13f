/** Jobs whose results go to a place in a store: who may have it, and what of it goes when. */
import { existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { runEmbedded } from '../../cli/embedded.ts';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { selectionOf } from '../../common/core/input-selection.ts';
import { parseLocation, type StoreLocation } from '../../common/core/location.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import { failing } from '../helpers/failing.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { until } from '../helpers/programs.ts';
import { readStored, seed, testStores } from '../helpers/seed-store.ts';
import { startStoreProxy, type StoreProxy } from '../helpers/store-proxy.ts';
import { makeBucket, s3Environment, startS3, type StoreServer } from '../helpers/store-servers.ts';

let s3: StoreServer;
let proxy: StoreProxy;
let cluster: LocalCluster;

beforeAll(async () => {
  s3 = await startS3();
  await makeBucket(s3.origin, 'bucket');
  proxy = await startStoreProxy(s3.origin);
  for (const [name, value] of Object.entries(s3Environment(proxy.origin))) vi.stubEnv(name, value);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await proxy?.close();
  await s3?.close();
});
beforeEach(async () => {
  cluster = await LocalCluster.start();
});
afterEach(() => cluster.close());

interface How {
  readonly isOverwrite?: boolean;
  /** Folder of its code, where it is not the usual one. */
  readonly code?: string;
}

async function submit(name: string, outputDir: string, { code, isOverwrite = false }: How = {}): Promise<JobView> {
  const inputPath = writeInputs(join(cluster.dir, 'in'), smallFiles(3));
  const loaded = await loadDeployment(writeDeployment(cluster.dir, 'places', { script: 'hash-rows.mjs' }));
  const deployment = code === undefined ? loaded : { ...loaded, code: { kind: 'folder', path: code } as const };
  return await cluster.coordinator.jobs.submit({ deployment, inputPath, outputDir, isOverwrite, name });
}

const stored = (location: string): ReturnType<typeof readStored> =>
  readStored(testStores(s3Environment(s3.origin)), location);

/** No worker node has joined: the job waits until it is canceled. */
async function cancel(name: string): Promise<void> {
  const { jobs } = cluster.coordinator;
  await until(() => jobs.show(name).files.is_listed, 'the end of the listing');
  await jobs.cancel(name, 0);
  await until(() => jobs.show(name).status === 'Canceled', `the end of ${name}`);
}

const noChange = {
  ...{ deployment: null, miniBatchSize: null, timeoutMs: null, triesMax: null, errorThreshold: null },
  ...{ instanceCountMax: null, concurrencyPerInstanceMax: null },
};

const results = {
  '_manifest.json': JSON.stringify({
    name: 'earlier',
    output: { path: 'predictions.csv' },
    custom_files: [{ path: 'report.txt', bytes: 3 }],
    custom_chunks: [],
  }),
  '_manifest/files-00000.jsonl': '',
  _SUCCESS: '',
  'predictions.csv': 'a,b',
  'report.txt': 'own',
  'notes.txt': 'of somebody',
};

test('a place is taken however its address is written', async () => {
  await submit('job-a', 's3://bucket/one');
  for (const place of ['s3://bucket/one/', 's3://bucket/one']) {
    await expect(submit('job-b', place, { isOverwrite: true })).rejects.toThrow(
      failing('OUTPUT_EXISTS', 'job job-a is writing to'),
    );
  }
  await submit('job-b', 's3://bucket/one-b');
});

test('--overwrite removes nothing of a store for a job that is refused, and the results alone for one that is taken', async () => {
  await seed(testStores(s3Environment(s3.origin)), 's3://bucket/two', results);
  await expect(submit('job-c', 's3://bucket/two')).rejects.toThrow(failing('OUTPUT_EXISTS', '_manifest.json'));
  const gone = submit('job-c', 's3://bucket/two', { isOverwrite: true, code: join(cluster.dir, 'gone') });
  await expect(gone).rejects.toThrow(failing('DEPLOYMENT_NOT_FOUND', 'gone'));
  expect(await stored('s3://bucket/two')).toEqual(results);
  await submit('job-c', 's3://bucket/two', { isOverwrite: true });
  expect(await stored('s3://bucket/two')).toEqual({ 'notes.txt': 'of somebody' });
});

test('a job that the store refuses at the last moment leaves nothing, and its name to others', async () => {
  const place = 's3://bucket/five';
  const stores = testStores(s3Environment(s3.origin));
  await seed(stores, place, { _SUCCESS: '' });
  proxy.fault = ({ method, url }) =>
    method === 'DELETE' && url.includes('_SUCCESS') ? { kind: 'status', status: 403 } : null;
  await expect(submit('job-e', place, { isOverwrite: true })).rejects.toThrow(failing('STORE_DENIED', '403'));
  proxy.fault = () => null;
  expect(existsSync(join(cluster.dir, 'state', 'jobs', 'job-e'))).toBe(false);
  expect(await stored(place)).toEqual({ _SUCCESS: '' });
  expect((await submit('job-e', place, { isOverwrite: true })).name).toBe('job-e');
});

test('a job goes on only where no other one has put its results meanwhile', async () => {
  await submit('job-d', 's3://bucket/three');
  await cancel('job-d');
  await until(async () => '_manifest.json' in (await stored('s3://bucket/three')), 'its manifest');
  await seed(testStores(s3Environment(s3.origin)), 's3://bucket/three', results);
  await until(async () => {
    const resumed = cluster.coordinator.jobs.resume('job-d', noChange);
    return await resumed.then(
      () => expect.unreachable(),
      (error: Error) => /holds the results of a later job/.test(error.message),
    );
  }, 'its refusal');
  expect(cluster.coordinator.jobs.show('job-d').status).toBe('Canceled');
});

test('`run` keeps rows that the store does not take, and a coordinator sends them when the place is free', async () => {
  const inputPath = writeInputs(join(cluster.dir, 'in'), smallFiles(20));
  const deployment = await loadDeployment(writeDeployment(cluster.dir, 'kept', { script: 'hash-rows.mjs' }));
  const stores = testStores(s3Environment(s3.origin));
  const other = { '_manifest.json': results['_manifest.json'] };
  const kept: string[] = [];
  let seeding: Promise<void> | null = null;
  const ended = await runEmbedded({
    ...{ deployment, inputPath, selection: selectionOf(deployment.settings), outputDir: 's3://bucket/four' },
    ...{ isOverwrite: false, since: null, nodes: 1, slots: 1, python: 'python3', signal: new AbortController().signal },
    onEvent: () => (seeding ??= seed(stores, 's3://bucket/four', other)),
    onErrors: () => undefined,
    onKept: (text) => kept.push(text),
  });
  await seeding;
  expect(ended).toMatchObject({ status: 'Failed', error: { code: 'OUTPUT_EXISTS' } });
  expect(await stored('s3://bucket/four')).toEqual(other);
  const [, stateDir = ''] = /--state-dir (\S+)/.exec(kept.join()) ?? [];
  onTestFinished(() => rmSync(dirname(stateDir), { recursive: true }));

  const place = parseLocation('s3://bucket/four/_manifest.json') as StoreLocation;
  const { store, key } = await stores.openToWrite(place);
  await store.remove(key);
  const coordinator = await cluster.open({ stateDir });
  try {
    await coordinator.jobs.resume(ended.name, noChange);
    await until(() => coordinator.jobs.show(ended.name).status === 'Completed', 'the end of the job');
    await until(async () => '_SUCCESS' in (await stored('s3://bucket/four')), 'its results');
  } finally {
    await coordinator.close();
  }
  expect((await stored('s3://bucket/four'))['predictions.csv']?.split('\n')).toHaveLength(21);
});
