/** Outputs in stores, of real servers: through the coordinator, and put there by worker nodes themselves, whatever dies on the way. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram, type ProgramEnd } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';
import { readStored, seed, testStores } from '../helpers/seed-store.ts';
import { startStoreProxy, type StoreProxy } from '../helpers/store-proxy.ts';
import {
  azuriteEnvironment,
  makeBucket,
  makeContainer,
  s3Environment,
  startAzurite,
  startS3,
  type StoreServer,
} from '../helpers/store-servers.ts';

const files = 60;
let dir = '';
let input = '';
let s3: StoreServer;
let azurite: StoreServer;
let s3Proxy: StoreProxy;
let environment: Readonly<Record<string, string>>;

beforeAll(async () => {
  [s3, azurite] = await Promise.all([startS3(), startAzurite()]);
  s3Proxy = await startStoreProxy(s3.origin);
  environment = { ...s3Environment(s3Proxy.origin), ...azuriteEnvironment(azurite.origin) };
  await makeBucket(s3.origin, 'bucket');
  await makeContainer(azurite.origin, 'con', 'private');
});
afterAll(async () => {
  for (const one of [s3Proxy, s3, azurite]) await one?.close();
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-store-outputs-'));
  input = writeInputs(join(dir, 'in'), smallFiles(files));
  s3Proxy.fault = () => null;
  s3Proxy.asked.length = 0;
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

const stores = (): ReturnType<typeof testStores> => testStores({ ...environment, ...s3Environment(s3.origin) });

const stored = (location: string): ReturnType<typeof readStored> => readStored(stores(), location);

const rows = (more: readonly string[]): string =>
  writeDeployment(dir, 'rows', {
    script: 'poison-rows.mjs',
    miniBatchSize: 7,
    environment: { POISON: join(dir, 'poison') },
    more,
  });
const jsonl = ['output:', '  format: jsonl'];
const inParts = [...jsonl, '  file_rows: 20'];

async function run(args: readonly string[]): Promise<ProgramEnd> {
  const end = await runProgram(['run', ...args, '--slots', '2'], { cwd: dir, environment });
  expect(end.code, end.stderr).toBe(0);
  return end;
}

async function local(): Promise<string> {
  await run([rows(jsonl), '--input', input, '--output', join(dir, 'local')]);
  return readOutput(join(dir, 'local'), 'predictions.jsonl').text;
}

const joined = (found: Readonly<Record<string, string>>): string =>
  Object.keys(found)
    .filter((path) => path.startsWith('part-'))
    .toSorted()
    .map((path) => found[path])
    .join('');

test('the tutorial, through Azurite: a folder over https, and an output path with another file name', async () => {
  const wanted = await local();
  const blobs = `${azurite.origin}/devstoreaccount1/con`;
  await seed(stores(), 'az://con/data', Object.fromEntries(smallFiles(files)));
  writeFileSync(join(dir, 'batchmill.yml'), 'datastores:\n  workspaceblobstore: az://con\n');
  const end = await run([rows(jsonl), '--input', `${blobs}/data`, '--output', `${blobs}/first`]);
  expect(end.stderr).toContain(`output      ${blobs}/first/predictions.jsonl`);
  expect(JSON.parse(end.stdout)).toMatchObject({ status: 'Completed', output_path: `${blobs}/first` });
  const place = 'azureml://datastores/workspaceblobstore/paths/second/run';
  const set = ['--set', 'output_file_name=scores.jsonl'];
  await run([rows(jsonl), '--input', `${blobs}/data`, '--output', place, ...set]);
  const [first, second] = [await stored('az://con/first'), await stored('az://con/second/run')];
  expect([first['predictions.jsonl'], second['scores.jsonl']]).toEqual([wanted, wanted]);
  for (const found of [first, second]) {
    const manifest = JSON.parse(found['_manifest.json'] ?? '') as { readonly totals: unknown };
    expect(manifest.totals).toMatchObject({ files, scored: files, rows: files });
    expect(found).toHaveProperty('_SUCCESS', '');
    expect(Object.keys(found).filter((path) => /partial|tmp|_attempts|_rows/.test(path))).toEqual([]);
  }

  // What is there stays, unless it is to be replaced.
  const refused = await runProgram(['run', rows(jsonl), '--input', input, '--output', 'az://con/first'], {
    cwd: dir,
    environment,
  });
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('holds results already (_SUCCESS')]);
  await run([rows(inParts), '--input', input, '--output', 'az://con/first', '--overwrite']);
  const replaced = await stored('az://con/first');
  expect(replaced).not.toHaveProperty('predictions.jsonl');
  expect(joined(replaced)).toBe(wanted);
});

test('a place that cannot be written to is refused before anything is scored', async () => {
  const wrong = async (output: string): Promise<string> => {
    const end = await runProgram(['run', rows(jsonl), '--input', input, '--output', output], { cwd: dir, environment });
    expect(end.code).not.toBe(0);
    expect(end.stderr).not.toContain('files scored');
    return end.stderr;
  };
  expect(await wrong('s3://nobody-has-this/out')).toMatch(/INPUT_NOT_FOUND|STORE_DENIED/);
  expect(await wrong(`${s3.origin}/bucket/out`)).toContain('cannot be written to');
  expect(await wrong('s3://bucket/out?x=y')).toContain('LOCATION_INVALID');
});

/** Uploads of objects of this name, by what they ask for. */
const uploads = (name: string): readonly string[] =>
  s3Proxy.asked
    .filter(({ method, url }) => method !== 'GET' && method !== 'HEAD' && url.includes(name))
    .map(({ method, url }) => `${method} ${url}`);

test('parts go from the worker nodes to the store, and those of a committed attempt get their names there', async () => {
  const wanted = await local();
  const cluster = await ClusterProcesses.start({ dir, environment });
  for (const node of ['node-a', 'node-b']) await cluster.startWorker(node, { slots: 1 });
  const job = await cluster.submit([rows(inParts), '--input', input, '--output', 's3://bucket/direct']);
  await cluster.job(job, (view) => view.status === 'Completed', 'completed');
  const found = await stored('s3://bucket/direct');
  expect(joined(found)).toBe(wanted);
  expect(
    Object.keys(found)
      .filter((path) => path.startsWith('_'))
      .toSorted(),
  ).toEqual(['_SUCCESS', '_manifest.json', '_manifest.jws', '_manifest/files-00000.jsonl']);
  // Each part was sent once, and copied within the store.
  const attempts = uploads('_attempts').filter((one) => one.startsWith('PUT'));
  expect(attempts).toHaveLength(4);
  expect(uploads('/direct/part-').filter((one) => one.startsWith('PUT'))).toHaveLength(4);
  const shown = await cluster.cli(['job', 'download', job, '--output', join(dir, 'copy')]);
  expect(shown.code).not.toBe(0);
  expect(shown.stderr).toContain('is in s3://bucket/direct; read it there');
});

test(
  'a worker node that dies in the middle of a multipart upload leaves nothing to be seen',
  { timeout: 240_000 },
  async () => {
    // Parts of more than one block: the rows are long.
    const long = writeInputs(
      join(dir, 'long'),
      Array.from({ length: 40 }, (_, index) => [`f${String(index).padStart(2, '0')}.txt`, `${index}`] as const),
    );
    const deployment = writeDeployment(dir, 'wide', {
      script: 'hash-rows.mjs',
      miniBatchSize: 2,
      environment: { PAD_CHARS: '600000' },
      more: jsonl,
    });
    await run([deployment, '--input', long, '--output', join(dir, 'wide')]);
    const wanted = readFileSync(join(dir, 'wide', 'predictions.jsonl'), 'latin1');
    const direct = writeDeployment(dir, 'wide', {
      ...{ script: 'hash-rows.mjs', miniBatchSize: 2, environment: { PAD_CHARS: '600000' } },
      more: [...jsonl, '  file_rows: 1000000'],
    });
    const cluster = await ClusterProcesses.start({ dir, environment, heartbeat: '500ms' });
    const victim = await cluster.startWorker('node-victim', { slots: 1 });
    // The second block of the upload never arrives.
    let isStuck = false;
    s3Proxy.fault = ({ method, url }) => {
      if (method !== 'PUT' || !/_attempts.*partNumber=2/.test(url) || isStuck) return null;
      isStuck = true;
      return { kind: 'hold', until: new Promise(() => undefined) };
    };
    const job = await cluster.submit([direct, '--input', long, '--output', 's3://bucket/torn']);
    await victim.until(() => isStuck, 'an upload in its middle', 120_000);
    await victim.kill();
    const between = await stored('s3://bucket/torn');
    expect(Object.keys(between).filter((path) => path.includes('part-'))).toEqual([]);
    await cluster.startWorker('node-heir', { slots: 1 });
    await cluster.job(job, (view) => view.status === 'Completed', 'completed', 120_000);
    const found = await stored('s3://bucket/torn');
    expect(joined(found)).toBe(wanted);
    expect(Object.keys(found).filter((path) => /_attempts|partial|tmp/.test(path))).toEqual([]);
    expect(uploads('_attempts').filter((one) => one.includes('uploads'))).toHaveLength(2);
  },
);

test('a coordinator that is killed while it publishes publishes again', { timeout: 120_000 }, async () => {
  const wanted = await local();
  const cluster = await ClusterProcesses.start({ dir, environment, heartbeat: '500ms' });
  await cluster.startWorker('node-a', { slots: 2 });
  let isStuck = false;
  s3Proxy.fault = ({ method, url }) => {
    if (isStuck || method !== 'PUT' || !url.includes('/again/_manifest.json')) return null;
    isStuck = true;
    return { kind: 'hold', until: new Promise(() => undefined) };
  };
  const job = await cluster.submit([rows(inParts), '--input', input, '--output', 's3://bucket/again']);
  await cluster.coordinator.until(() => isStuck, 'the manifest on its way', 60_000);
  await cluster.coordinator.kill();
  expect(await stored('s3://bucket/again')).not.toHaveProperty('_SUCCESS');
  await cluster.restartCoordinator();
  await cluster.job(job, (view) => view.status === 'Completed', 'completed', 60_000);
  const found = await stored('s3://bucket/again');
  expect([joined(found), found['_SUCCESS']]).toEqual([wanted, '']);
  expect(Object.keys(found).filter((path) => path.includes('_attempts'))).toEqual([]);
});

test('a job that failed and goes on leaves nothing of its first end', async () => {
  const wanted = await local();
  const cluster = await ClusterProcesses.start({ dir, environment });
  await cluster.startWorker('node-a', { slots: 1 });
  writeFileSync(join(dir, 'poison'), 'file-00003.txt');
  const strict = rows([...jsonl, 'error_threshold: 0']);
  const job = await cluster.submit([strict, '--input', input, '--output', 's3://bucket/twice']);
  await cluster.job(job, (view) => view.status === 'Failed', 'failed');
  expect((await cluster.cli(['job', 'wait', job])).code).toBe(1);
  expect(await stored('s3://bucket/twice')).toHaveProperty('_errors.jsonl');
  writeFileSync(join(dir, 'poison'), '');
  const resumed = await cluster.cli(['job', 'resume', job, '--wait']);
  expect(resumed.code, resumed.stderr).toBe(0);
  const found = await stored('s3://bucket/twice');
  expect(found['predictions.jsonl']).toBe(wanted);
  expect(Object.keys(found).filter((path) => /_errors|partial|_attempts/.test(path))).toEqual([]);
});

test('a node without credentials sends its parts through the coordinator', async () => {
  const wanted = await local();
  const cluster = await ClusterProcesses.start({ dir, environment });
  const nobody = {
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: '',
    AWS_SECRET_ACCESS_KEY: '',
    AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
  };
  const poor = await cluster.startWorker('node-poor', { slots: 1, environment: nobody });
  const job = await cluster.submit([rows(inParts), '--input', input, '--output', 's3://bucket/poor']);
  await cluster.job(job, (view) => view.status === 'Completed', 'completed', 120_000);
  expect(joined(await stored('s3://bucket/poor'))).toBe(wanted);
  expect(poor.stderr).toContain('parts go through the coordinator from now on');
  expect(uploads('_attempts')).toEqual([]);
});
