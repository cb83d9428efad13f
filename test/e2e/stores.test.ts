/** Jobs over inputs in stores and on web servers: the same bytes as from a folder, from real servers, with nothing secret left behind. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { parseLocation, type StoreLocation } from '../../common/core/location.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, Program, runProgram, until } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';
import { seed, testStores } from '../helpers/seed-store.ts';
import { startStoreProxy, type StoreProxy } from '../helpers/store-proxy.ts';
import {
  azuriteEnvironment,
  makeBucket,
  makeContainer,
  s3Environment,
  startAzurite,
  startS3,
  startWebServer,
  type StoreServer,
} from '../helpers/store-servers.ts';

let dir = '';
let s3: StoreServer;
let azurite: StoreServer;
let web: StoreServer;
let s3Proxy: StoreProxy;
/** Both stores’ credentials, as a person has them in the shell. */
let environment: Readonly<Record<string, string>>;
/** Nothing that lets anybody in; the files of credentials of whoever runs this are somewhere else. */
const nobody = { AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' };
let names = 0;

const inputs: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    Array.from({ length: 60 }, (_, index) => [
      `part-${index % 3}/file-${index}.txt`,
      `content ${index}\n`.repeat(index),
    ]),
  ),
  'sp ace+%25 ü#.txt': 'odd',
  '😀.txt': 'smile',
  'large.bin': 'x'.repeat(2 * limits.storeRangeBytes + 17),
  '_hidden.txt': 'no',
};

beforeAll(async () => {
  const files = mkdtempSync(join(tmpdir(), 'batchmill-stores-files-'));
  writeInputs(join(files, 'in'), Object.entries(inputs));
  [s3, azurite, web] = await Promise.all([startS3(), startAzurite(), startWebServer(files)]);
  s3Proxy = await startStoreProxy(s3.origin);
  environment = { ...s3Environment(s3Proxy.origin), ...azuriteEnvironment(azurite.origin) };
  await makeBucket(s3.origin, 'bucket');
  await makeContainer(azurite.origin, 'con', 'private');
  await makeContainer(azurite.origin, 'public', 'container');
  const stores = testStores(environment);
  for (const place of ['s3://bucket/in', 'az://con/in', 'az://public/in']) await seed(stores, place, inputs);
  webFolder = files;
});

let webFolder = '';

afterAll(async () => {
  for (const one of [s3Proxy, s3, azurite, web]) await one?.close();
  if (webFolder !== '') rmSync(webFolder, { recursive: true, force: true });
});

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-stores-'));
  s3Proxy.fault = () => null;
  s3Proxy.asked.length = 0;
});

afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

function hashes(more: Readonly<Record<string, string>> = {}): string {
  return writeDeployment(dir, 'hashes', { script: 'hash-rows.mjs', environment: more });
}

async function scored(input: string, variables: Readonly<Record<string, string>>): Promise<string> {
  names += 1;
  const out = join(dir, `out-${names}`);
  const args = ['run', hashes(), '--input', input, '--output', out, '--slots', '2'];
  const end = await runProgram(args, { cwd: dir, environment: variables });
  expect(end.code, end.stderr).toBe(0);
  return readOutput(out).sha256;
}

/** Every file below a folder, as text. */
function everything(folder: string): string {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path));
  return paths.flatMap((path) => (statSync(path).isFile() ? [path, readFileSync(path, 'latin1')] : [path])).join('\n');
}

test('the output is the same to the byte wherever the files are', { timeout: 240_000 }, async () => {
  const local = await scored(join(webFolder, 'in'), {});
  writeFileSync(join(dir, 'batchmill.yml'), 'datastores:\n  blobs: az://con\n');
  const blobs = `${azurite.origin}/devstoreaccount1`;
  const places: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
    ['s3://bucket/in', environment],
    ['az://con/in/', environment],
    [`${blobs}/con/in`, environment],
    [`${blobs}/public/in/`, { AZURE_STORAGE_CONNECTION_STRING: '' }],
    ['wasbs://con@devstoreaccount1.blob.core.windows.net/in', environment],
    ['abfss://con@devstoreaccount1.dfs.core.windows.net/in', environment],
    ['azureml://datastores/blobs/paths/in/', environment],
    [`${web.origin}/in/`, {}],
  ];
  const found: [string, string][] = [];
  for (const [place, variables] of places) found.push([place, await scored(place, variables)]);
  expect(found).toEqual(places.map(([place]) => [place, local]));
  // Each object was asked for once, a large one by its ranges; no more lists than pages.
  const files = Object.entries(inputs).filter(([path, text]) => text !== '' && !path.startsWith('_')).length;
  expect(s3Proxy.count('get')).toBe(files + 2);
  expect(s3Proxy.count('list')).toBe(1);
});

test('a node without credentials has its files from the coordinator, one with them reads for itself', async () => {
  const local = await scored(join(webFolder, 'in'), {});
  const cluster = await ClusterProcesses.start({ dir, environment });
  const poor = await cluster.startWorker('node-poor', {
    environment: { ...nobody, AWS_ENDPOINT_URL: 'http://127.0.0.1:1' },
  });
  const job = await cluster.submit([hashes(), '--input', 's3://bucket/in', '--output', join(dir, 'poor')]);
  await cluster.job(job, (view) => view.status === 'Completed', 'completed');
  expect(readOutput(join(dir, 'poor')).sha256).toBe(local);
  expect(poor.stderr).toContain('inputs come through the coordinator');
  expect(poor.stderr).not.toContain('straight from the store');
  poor.signal('SIGTERM');
  await poor.ended;

  const rich = await cluster.startWorker('node-rich');
  const again = await cluster.submit([hashes(), '--input', 's3://bucket/in', '--output', join(dir, 'rich')]);
  await cluster.job(again, (view) => view.status === 'Completed', 'completed');
  expect(readOutput(join(dir, 'rich')).sha256).toBe(local);
  await rich.says(/inputs came straight from the store/);
  expect(rich.stderr).not.toContain('through the coordinator');
  const verified = await runProgram(['job', 'verify', join(dir, 'rich')], { cwd: dir, environment });
  expect(verified.code, verified.stdout).toBe(0);
  expect(verified.stdout).toContain('s3://bucket/in');

  // Nothing that lets anybody in has been written down.
  const secrets = ['test-secret-key', 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq'];
  const written = [everything(dir), cluster.coordinator.stderr, rich.stderr, poor.stderr].join('\n');
  expect(written).toContain('s3://bucket/in');
  for (const secret of secrets) expect(written).not.toContain(secret);
});

test('credentials come from the files of the AWS tools, and without any nothing is signed', async () => {
  const { AWS_ENDPOINT_URL = '' } = environment;
  const home = writeInputs(join(dir, 'home'), [
    ['.aws/credentials', '[work]\naws_access_key_id = KEY-OF-THE-FILE\naws_secret_access_key = hush\n'],
    ['.aws/config', '[profile work]\nregion = eu-west-3\n'],
  ]);
  const input = 's3://bucket/in/part-0/file-3.txt';
  await scored(input, { AWS_ENDPOINT_URL, HOME: home, AWS_PROFILE: 'work' });
  const signed = s3Proxy.asked.map((one) => one.authorization);
  expect(signed.length).toBeGreaterThan(1);
  for (const one of signed) expect(one).toMatch(/Credential=KEY-OF-THE-FILE\/\d+\/eu-west-3\/s3\//);

  const nowhere = { AWS_ENDPOINT_URL, HOME: join(dir, 'nobody') };
  const args = ['run', hashes(), '--input', input, '--output', join(dir, 'refused')];
  const { code, stderr } = await runProgram(args, { cwd: dir, environment: nowhere });
  expect(code).toBe(6);
  expect(stderr).toContain('it answered 403; looked at AWS_ACCESS_KEY_ID (not set)');
  const url = `${s3.origin}/bucket/in/part-0/file-3.txt?acl`;
  // The server wants to see that a request is signed, not by whom.
  const authorization =
    'AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=b';
  const opened = await fetch(url, { method: 'PUT', headers: { authorization, 'x-amz-acl': 'public-read' } });
  expect(opened.status).toBe(200);
  s3Proxy.asked.length = 0;
  await scored(input, nowhere);
  expect(new Set(s3Proxy.asked.map((one) => one.authorization))).toEqual(new Set(['']));
});

test('a signature in a location is refused before anything is written, and not repeated', async () => {
  const cluster = await ClusterProcesses.start({ dir, environment });
  const place = `${azurite.origin}/devstoreaccount1/con/in?sv=2021-12-02&sig=VERYSECRET`;
  const refused = await cluster.cli(['job', 'submit', hashes(), '--input', place, '--output', join(dir, 'out')]);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('LOCATION_INVALID');
  // By the API too, where no command line has looked before.
  const reply = await fetch(`http://${cluster.http}/v1/jobs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ deployment: hashes(), input_path: place, output_path: join(dir, 'out') }),
  });
  expect(reply.status).toBe(400);
  const said = [refused.stderr, await reply.text(), cluster.coordinator.stderr, everything(cluster.stateDir)].join(
    '\n',
  );
  expect(said).toContain('LOCATION_INVALID');
  expect(said).not.toContain('VERYSECRET');
});

test('what changed or went away since the listing is given up, each with its reason, and the rest is scored', async () => {
  const stores = testStores(environment);
  const place = 's3://bucket/changing';
  const files = Object.fromEntries(
    Array.from({ length: 30 }, (_, index) => [`f${String(index).padStart(2, '0')}`, `old ${index}`]),
  );
  await seed(stores, place, files);
  // Staging stops at the first file that is asked for, until the others have changed.
  let go: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (go = resolve));
  s3Proxy.fault = ({ kind }) => (kind === 'get' ? { kind: 'hold', until: gate } : null);
  const out = join(dir, 'out');
  const args = ['run', hashes(), '--input', place, '--output', out, '--slots', '1', '--mini-batch-size', '3'];
  const program = new Program(args, { cwd: dir, environment });
  await program.until(() => s3Proxy.count('get') > 0, 'a file that is asked for');
  await seed(testStores(s3Environment(s3.origin)), place, { f28: 'new' });
  const { store } = await testStores(s3Environment(s3.origin)).openToWrite(parseLocation(place) as StoreLocation);
  await store.remove('changing/f29');
  go();
  const end = await program.endsWithin(60_000);
  const { errors, text, files: lines } = readOutput(out);
  expect(errors.map(({ path, code }) => [path, code])).toEqual([
    ['f28', 'INPUT_CHANGED'],
    ['f29', 'INPUT_UNREADABLE'],
  ]);
  expect(end.code, end.stderr).toBe(0);
  expect(text.match(/^f\d\d\b/gm)).toHaveLength(28);
  expect(lines).toHaveLength(30);
});

test('a store that throttles, breaks off and comes back costs time and no row', async () => {
  const local = await scored(join(webFolder, 'in'), {});
  let asked = 0;
  s3Proxy.fault = ({ kind }) => {
    if (kind === 'other') return null;
    asked += 1;
    if (asked % 7 === 3) return { kind: 'status', status: 503 };
    if (asked % 7 === 5) return { kind: 'status', status: 429 };
    return asked % 11 === 4 ? { kind: 'cut', bytes: 3 } : null;
  };
  expect(await scored('s3://bucket/in', environment)).toBe(local);
  expect(asked).toBeGreaterThan(Object.keys(inputs).length);
});

describe('a listing of several pages', () => {
  // A page and some of the second.
  const count = 1_300;
  const place = 's3://bucket/pages';
  const files = Object.fromEntries(
    Array.from({ length: count }, (_, index) => [`f${String(index).padStart(5, '0')}`, `content ${index}`]),
  );

  test('is scored before it has ended, and goes on where a coordinator was killed', { timeout: 240_000 }, async () => {
    await seed(testStores(s3Environment(s3.origin)), place, files);
    let go: () => void = () => undefined;
    let gate = new Promise<void>((resolve) => (go = resolve));
    s3Proxy.fault = ({ kind, url }) =>
      kind === 'list' && /continuation-token/.test(url) ? { kind: 'hold', until: gate } : null;
    const cluster = await ClusterProcesses.start({ dir, environment, heartbeat: '500ms' });
    await cluster.startWorker('node-1', { slots: 2 });
    const job = await cluster.submit([
      hashes(),
      '--input',
      place,
      '--output',
      join(dir, 'out'),
      '--mini-batch-size',
      '50',
    ]);
    // All of the first page is scored while the second is still to come.
    const early = await cluster.job(job, (view) => view.rows >= 1_000, 'the first page scored');
    expect(early.files).toMatchObject({ total: 1_000, is_listed: false });
    await cluster.coordinator.kill();
    go();
    gate = Promise.resolve();
    await cluster.restartCoordinator();
    await cluster.job(job, (view) => view.status === 'Completed', 'completed', 120_000);
    const { files: lines, text, errors } = readOutput(join(dir, 'out'));
    expect(errors).toEqual([]);
    expect(lines.map(({ path }) => path)).toEqual(Object.keys(files));
    expect(new Set(text.match(/^f\d{5}\b/gm)).size).toBe(count);
    expect(text.match(/^f\d{5}\b/gm)).toHaveLength(count);
  });
});

test('local files do not load the client of the stores', async () => {
  const local = hashes({ PAUSE_MS: '600000', FAST_WHEN: join(dir, 'fast') });
  const hasClient = (program: Program): boolean => /opendal/.test(readFileSync(`/proc/${program.pid}/maps`, 'utf8'));
  const seen: boolean[] = [];
  for (const input of [join(webFolder, 'in'), 's3://bucket/in']) {
    names += 1;
    const args = ['run', local, '--input', input, '--output', join(dir, `out-${names}`), '--slots', '1'];
    const program = new Program(args, { cwd: dir, environment });
    await until(() => program.children().length > 0, 'a scoring host');
    seen.push(hasClient(program));
    await program.kill();
  }
  expect(seen).toEqual([false, true]);
});
