/** Jobs from and to Google Cloud Storage, on a server that speaks as it does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';
import { readStored, seed, testStores } from '../helpers/seed-store.ts';
import { startStoreProxy, type StoreProxy } from '../helpers/store-proxy.ts';
import { gcsEnvironment, gcsProgram, makeGcsBucket, startGcs, type StoreServer } from '../helpers/store-servers.ts';

const isThere = gcsProgram() !== null;
let dir = '';
let server: StoreServer;
let proxy: StoreProxy;
let environment: Readonly<Record<string, string>>;

const inputs: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    Array.from({ length: 30 }, (_, index) => [`part-${index % 3}/file-${index}.txt`, `content ${index}\n`]),
  ),
  'sp ace+%25 ü#.txt': 'odd',
  '😀.txt': 'smile',
  'empty.txt': '',
  '_hidden.txt': 'no',
};
const scored = Object.keys(inputs).length - 1;

beforeAll(async () => {
  if (!isThere) return;
  server = await startGcs();
  proxy = await startStoreProxy(server.origin);
  environment = gcsEnvironment(proxy.origin);
  await makeGcsBucket(server.origin, 'bucket');
  await seed(testStores(environment), 'gs://bucket/in', inputs);
});
afterAll(async () => {
  for (const one of [proxy, server]) await one?.close();
});
beforeEach(({ skip }) => {
  skip(!isThere, 'there is no wheel of fake-gcs-server for this machine');
  dir = mkdtempSync(join(tmpdir(), 'batchmill-google-'));
  proxy.asked.length = 0;
});
afterEach(async () => {
  await endPrograms();
  if (dir !== '') rmSync(dir, { recursive: true, force: true });
});

async function run(output: string, more: readonly string[], input: string): Promise<void> {
  const args = ['run', hashes(more), '--input', input, '--output', output, '--slots', '2'];
  const end = await runProgram(args, { cwd: dir, environment });
  expect(end.code, end.stderr).toBe(0);
}

const hashes = (more: readonly string[]): string => writeDeployment(dir, 'hashes', { script: 'hash-rows.mjs', more });
const stored = (place: string): ReturnType<typeof readStored> => readStored(testStores(environment), place);

test('the output of a bucket is that of a folder, and so is the one that is written to a bucket', async () => {
  await run(join(dir, 'local'), [], writeInputs(join(dir, 'in'), Object.entries(inputs)));
  const { text, files } = readOutput(join(dir, 'local'));
  expect(files).toHaveLength(scored);
  await run(join(dir, 'from'), [], 'gs://bucket/in/');
  expect(readOutput(join(dir, 'from')).text).toBe(text);
  // Each object once, and one page of a listing.
  expect(proxy.count('get')).toBe(scored - 1);
  expect(proxy.count('list')).toBe(1);

  // A folder whose name means something in an address.
  await run('gs://bucket/run of=1 %/', [], 'gs://bucket/in');
  const found = await stored('gs://bucket/run of=1 %');
  expect(found['predictions.csv']).toBe(Buffer.from(text).toString('latin1'));
  expect(JSON.parse(found['_manifest.json'] ?? '')).toMatchObject({ totals: { files: scored, rows: scored } });
  const named = ['_SUCCESS', '_manifest.json', '_manifest/files-00000.jsonl', '_manifest/segments-00000.jsonl'];
  expect(Object.keys(found).toSorted()).toEqual([...named, 'predictions.csv']);
  expect(found['_SUCCESS']).toBe('');
  expect(Object.keys(await stored('gs://bucket/')).filter((key) => key.includes('_writing'))).toEqual([]);

  const again = ['run', hashes([]), '--input', 'gs://bucket/in', '--output', 'gs://bucket/run of=1 %'];
  const refused = await runProgram(again, { cwd: dir, environment });
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('holds results already (_SUCCESS')]);
});

test('parts go from the worker nodes to the bucket, into folders of their partitions', async () => {
  const cluster = await ClusterProcesses.start({ dir, environment });
  const nodes = [];
  for (const node of ['node-a', 'node-b']) nodes.push(await cluster.startWorker(node, { slots: 1 }));
  const parts = hashes(['output: {format: parquet, partition_by: file}']);
  const job = await cluster.submit([parts, '--input', 'gs://bucket/in', '--output', 'gs://bucket/parts']);
  await cluster.job(job, (view) => view.ended_at !== null, 'its end');
  const found = await stored('gs://bucket/parts');
  const folders = new Set(Object.keys(found).flatMap((key) => (key.includes('=') ? [key.split('/')[0]] : [])));
  expect(folders.size).toBe(scored);
  expect(found).toHaveProperty('_SUCCESS', '');
  expect(Object.keys(found).filter((key) => /_attempts|_writing|partial|tmp/.test(key))).toEqual([]);
  for (const node of nodes) expect(node.stderr).not.toContain('through the coordinator');
  expect(proxy.asked.filter(({ url }) => url.includes('_attempts')).length).toBeGreaterThan(0);
});

test('a bucket that is not there, and one that lets nobody in', async () => {
  const wrong = async (input: string): Promise<string> => {
    const args = ['run', hashes([]), '--input', input, '--output', join(dir, 'out')];
    const end = await runProgram(args, { cwd: dir, environment });
    expect(end.code).not.toBe(0);
    return end.stderr;
  };
  expect(await wrong('gs://no-such-bucket/in')).toContain('INPUT_NOT_FOUND');
  proxy.fault = () => ({ kind: 'status', status: 403 });
  expect(await wrong('gs://bucket/in')).toContain(
    'it answered 403; looked at GOOGLE_APPLICATION_CREDENTIALS (not set)',
  );
  proxy.fault = () => null;
});
