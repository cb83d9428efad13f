/** What is registered, uploaded and invoked over HTTP, on a real coordinator with a real worker node and hosts. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { formatAddress } from '../../common/config/address.ts';
import { parseListing } from '../../common/storage/artifact-listing.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';

/** One row for each file: its name, its first word, what the environment says and which model it got. */
const script = `
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
export function run(files) {
  return files.map((file) => [basename(file), readFileSync(file, 'utf8').trim(), process.env.WORD ?? '-'].join(' '));
}
`;

let cluster: LocalCluster;
beforeEach(async () => {
  cluster = await LocalCluster.start({ http: { host: '127.0.0.1', port: 0 } });
  mkdirSync(join(cluster.dir, 'in'));
  mkdirSync(join(cluster.dir, 'code'));
  writeFileSync(join(cluster.dir, 'code', 'rows.mjs'), script);
  for (const name of ['a.txt', 'b.txt', 'c.txt']) writeFileSync(join(cluster.dir, 'in', name), `${name[0]}!\n`);
  writeFileSync(
    join(cluster.dir, 'deployment.yml'),
    'type: model\ncode_configuration: { code: ./code, scoring_script: rows.mjs }\nsettings: { mini_batch_size: 1 }\n',
  );
});
afterEach(() => cluster.close());

/** What a caller gets has no type here: what is looked for in vain fails a test. */
type Json = Readonly<Record<string, unknown>>;

interface Answer {
  readonly status: number;
  readonly etag: string | null;
  readonly body: Json;
}

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const http = cluster.coordinator.http;
  if (!http) throw new Error('the coordinator serves no HTTP');
  const isBytes = body instanceof Uint8Array;
  const reply = await fetch(`http://${formatAddress(http)}${path}`, {
    method,
    headers: { ...(body === undefined || isBytes ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: isBytes ? new Uint8Array(body) : JSON.stringify(body) }),
  });
  const text = await reply.text();
  const parsed = (text === '' ? {} : JSON.parse(text)) as Answer['body'];
  return { status: reply.status, etag: reply.headers.get('etag'), body: parsed };
}

async function refusal(method: string, path: string, body?: unknown, headers?: Record<string, string>) {
  const { status, body: problem } = await call(method, path, body, headers);
  return { status, code: problem['code'] as string, detail: problem['detail'] as string };
}

interface Entry {
  readonly name: string;
  readonly text?: string;
  readonly type?: 'file' | 'symlink' | 'link' | 'fifo' | 'directory';
  readonly linkname?: string;
}

async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const { text = '', ...header } of entries) tar.entry({ ...header, mode: 0o644 }, text);
  tar.finalize();
  const pieces: Buffer[] = [];
  for await (const piece of tar) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

const tarType = { 'content-type': 'application/x-tar' };
const bytesType = { 'content-type': 'application/octet-stream' };

async function restart(): Promise<void> {
  await cluster.coordinator.close();
  cluster.coordinator = await cluster.open({ http: { host: '127.0.0.1', port: 0 } });
}

/** As the command line sends it: resolved, with paths of this machine. */
async function resolved(set: readonly string[] = []) {
  return await loadDeployment(join(cluster.dir, 'deployment.yml'), { set });
}

async function putDeployment(name: string, more: Record<string, unknown> = {}, set: readonly string[] = []) {
  return await call('PUT', `/v1/endpoints/texts/deployments/${name}`, { deployment: await resolved(set), ...more });
}

async function ended(name: string): Promise<Answer['body']> {
  for await (const event of cluster.coordinator.jobs.events(name, 0, new AbortController().signal)) void event;
  return (await call('GET', `/v1/jobs/${name}`)).body;
}

const rowsOf = (job: Answer['body']): readonly string[] =>
  readFileSync(job['output_file'] as string, 'utf8')
    .trimEnd()
    .split('\n');

describe('uploads', () => {
  it('are kept by digest, files and folders, and checked against what the caller says', async () => {
    const bytes = Buffer.from('weights');
    const sha256 = createHash('sha256').update(bytes);
    const hex = sha256.copy().digest('hex');
    const good = { ...bytesType, 'content-digest': `sha-256=:${sha256.digest('base64')}:` };
    const file = await call('POST', '/v1/artifacts?kind=file&name=w.bin', bytes, good);
    expect(file).toMatchObject({
      status: 201,
      body: { kind: 'file', name: 'w.bin', digest: `sha256:${hex}`, bytes: 7 },
    });
    const entries = [{ name: './a/x.txt', text: 'x' }, { name: 'b.txt', text: 'bb' }, { name: 'a/__pycache__/x.pyc' }];
    const folder = await call('POST', '/v1/artifacts?kind=folder&name=data', await tarOf(entries), tarType);
    expect(folder).toMatchObject({ status: 201, body: { kind: 'folder', name: 'data', bytes: 3 } });
    const digest = String(folder.body['digest']);
    const listing = join(cluster.dir, 'state/artifacts/sha256', digest.slice(7, 9), digest.slice(7));
    expect(parseListing(readFileSync(listing)).map(({ path }) => path)).toEqual(['a/x.txt', 'b.txt']);
    expect((await call('HEAD', `/v1/artifacts/sha256:${hex}`)).status).toBe(200);
    expect((await call('HEAD', `/v1/artifacts/sha256:${'0'.repeat(64)}`)).status).toBe(404);
    const wrong = { ...bytesType, 'content-digest': `sha-256=:${Buffer.alloc(32).toString('base64')}:` };
    expect(await refusal('POST', '/v1/artifacts?kind=file&name=w.bin', Buffer.from('other'), wrong)).toMatchObject({
      code: 'ARTIFACT_CORRUPT',
    });
    expect(await refusal('POST', '/v1/artifacts?kind=file&name=..%2Fw', bytes, bytesType)).toMatchObject({
      status: 400,
    });
  });

  it.each<readonly [string, readonly Entry[], string]>([
    ['a name that climbs', [{ name: '../../evil.txt', text: 'x' }], 'not a path within the folder'],
    ['a name from the root', [{ name: '/etc/evil.txt', text: 'x' }], 'not a path within the folder'],
    ['a name with a climb within', [{ name: 'a/../../evil.txt', text: 'x' }], 'not a path within the folder'],
    ['a link', [{ name: 'a', type: 'symlink', linkname: '/etc' }], 'is a symlink'],
    ['a hard link', [{ name: 'a', type: 'link', linkname: '/etc/passwd' }], 'is a link'],
    ['a pipe', [{ name: 'a', type: 'fifo' }], 'is a fifo'],
    [
      'a file twice',
      [
        { name: 'a', text: '1' },
        { name: './a', text: '2' },
      ],
      'is there twice',
    ],
    ['nothing', [{ name: 'a', type: 'directory' }], 'it holds no files'],
  ])('that hold %s are refused, and nothing lands elsewhere', async (_what, entries, why) => {
    const before = readdirSync(cluster.dir);
    const answer = await refusal('POST', '/v1/artifacts?kind=folder&name=d', await tarOf(entries), tarType);
    expect(answer).toMatchObject({ status: 400, code: 'REQUEST_INVALID' });
    expect(answer.detail).toContain(why);
    expect(readdirSync(cluster.dir)).toEqual(before);
    expect(existsSync(join(cluster.dir, '..', 'evil.txt'))).toBe(false);
  });

  it('that are refused at their beginning are answered before their end, and others are served', async () => {
    const rest = Buffer.alloc(1_048_576);
    let sent = 0;
    const first = await tarOf([{ name: '../evil', text: 'x' }]);
    async function* endless(): AsyncGenerator<Uint8Array> {
      yield first.subarray(0, 1_024);
      for (; sent < 4_096; sent += 1) yield await Promise.resolve(rest);
    }
    const { http } = cluster.coordinator;
    if (!http) throw new Error('the coordinator serves no HTTP');
    const reply = await fetch(`http://${formatAddress(http)}/v1/artifacts?kind=folder&name=d`, {
      ...{ method: 'POST', headers: tarType, body: ReadableStream.from(endless()) },
      ...({ duplex: 'half' } as object),
    });
    expect([reply.status, ((await reply.json()) as { code: string }).code]).toEqual([400, 'REQUEST_INVALID']);
    expect(sent).toBeLessThan(4_096);
    expect((await call('GET', '/v1/models')).status).toBe(200);
  });

  it('that are no archive, or end in the middle, are refused', async () => {
    const noise = await refusal('POST', '/v1/artifacts?kind=folder&name=d', Buffer.alloc(2_000, 7), tarType);
    expect(noise).toMatchObject({ status: 400, code: 'REQUEST_INVALID' });
    const whole = await tarOf([{ name: 'a', text: 'x'.repeat(5_000) }]);
    const cut = await refusal('POST', '/v1/artifacts?kind=folder&name=d', whole.subarray(0, 2_000), tarType);
    expect(cut).toMatchObject({ status: 400, code: 'REQUEST_INVALID' });
  });
});

describe('assets', () => {
  it('count versions up, never change what a version is, and outlive a restart', async () => {
    const model = (more: object) =>
      call('POST', '/v1/models', { name: 'texts', path: join(cluster.dir, 'code'), ...more });
    expect((await model({})).body).toMatchObject({ name: 'texts', version: '1', type: 'custom_model', flavor: null });
    expect((await model({ description: 'second' })).body).toMatchObject({ version: '2', description: 'second' });
    const said = await model({ version: '2', description: 'said anew' });
    expect(said).toMatchObject({ status: 200, body: { version: '2', description: 'said anew' } });
    const other = await refusal('POST', '/v1/models', { name: 'texts', version: '2', path: join(cluster.dir, 'in') });
    expect(other).toMatchObject({ status: 409, code: 'RESOURCE_EXISTS' });
    expect((await model({ version: 'blue' })).status).toBe(201);
    const latest = await call('GET', '/v1/models/texts/labels/latest');
    await restart();
    expect(await call('GET', '/v1/models/texts/labels/latest')).toEqual(latest);
    expect(latest.body).toMatchObject({ version: 'blue' });
    const all = (await call('GET', '/v1/models?name=texts')).body['value'] as { version: string }[];
    expect(all.map(({ version }) => version)).toEqual(['blue', '2', '1']);
    expect((await call('GET', '/v1/models')).body['value']).toHaveLength(1);
    expect((await call('DELETE', '/v1/models/texts/versions/blue')).status).toBe(204);
    // What was said of a number is never said of something else.
    expect((await call('DELETE', '/v1/models/texts/versions/2')).status).toBe(204);
    expect((await model({})).body).toMatchObject({ version: '3' });
    expect(await refusal('GET', '/v1/models/texts/versions/blue')).toMatchObject({
      ...{ status: 404, code: 'RESOURCE_NOT_FOUND', detail: 'there is no model texts:blue' },
    });
  });

  it('are looked into: an MLflow folder brings its environment, an ONNX file is scored without a script', async () => {
    const folder = join(cluster.dir, 'mlflow');
    mkdirSync(folder);
    writeFileSync(join(folder, 'MLmodel'), 'flavors:\n  python_function:\n    loader_module: x\n    env: conda.yaml\n');
    writeFileSync(join(folder, 'conda.yaml'), 'dependencies: [python=3.11, pip: [numpy]]\n');
    const mlflow = await call('POST', '/v1/models', { name: 'm', path: folder });
    expect(mlflow.body).toMatchObject({ type: 'mlflow_model', flavor: 'mlflow', environment: { kind: 'conda' } });
    writeFileSync(join(cluster.dir, 'net.onnx'), 'not looked at before it is loaded');
    const onnx = await call('POST', '/v1/models', { name: 'o', path: join(cluster.dir, 'net.onnx') });
    expect(onnx.body).toMatchObject({ type: 'custom_model', flavor: 'onnx', environment: null });
    const none = await refusal('POST', '/v1/models', {
      name: 'x',
      path: join(cluster.dir, 'in'),
      type: 'mlflow_model',
    });
    expect(none).toMatchObject({ code: 'DEPLOYMENT_INVALID' });
    const environment = await call('POST', '/v1/environments', {
      name: 'e',
      conda_file: { dependencies: ['python=3.11'] },
    });
    expect(environment.body).toMatchObject({ version: '1', spec: { kind: 'conda' } });
    await call('PUT', '/v1/endpoints/nets', {});
    const document = { type: 'model', model: 'azureml:o@latest', settings: { mini_batch_size: 5 } };
    const deployed = await call('PUT', '/v1/endpoints/nets/deployments/net', { document });
    expect(deployed).toMatchObject({
      status: 201,
      body: { model: 'azureml:o:1', revision: 1, settings: { mini_batch_size: 5 } },
    });
    const lost = await refusal('PUT', '/v1/endpoints/nets/deployments/lost', {
      document: { ...document, model: 'azureml:p:1' },
    });
    expect(lost.detail).toContain('there is no model p:1');
  });
});

describe('endpoints and deployments', () => {
  it('are upserts; each change of what scores is a revision; ETags keep writers apart', async () => {
    const made = await call('PUT', '/v1/endpoints/texts', { tags: { team: 'a' }, properties: { kept: 'yes' } });
    expect(made).toMatchObject({ status: 201, body: { name: 'texts', defaults: { deployment_name: null } } });
    expect(made.body['scoring_uri']).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/azure\/endpoints\/texts\/jobs$/);
    expect(await refusal('PUT', '/v1/endpoints/Texts', { properties: { kept: 'no' } })).toMatchObject({ status: 400 });
    expect(await refusal('PUT', '/v1/endpoints/x', {})).toMatchObject({ status: 400, code: 'REQUEST_INVALID' });
    const first = await putDeployment('one', { set_default: true });
    expect(first).toMatchObject({ status: 201, body: { revision: 1, endpoint_name: 'texts' } });
    expect((await putDeployment('one', { description: 'the same' })).body).toMatchObject({
      revision: 1,
      description: 'the same',
    });
    expect((await putDeployment('one', {}, ['settings.mini_batch_size=2'])).body).toMatchObject({ revision: 2 });
    await restart();
    const revisions = (await call('GET', '/v1/endpoints/texts/deployments/one/revisions')).body[
      'value'
    ] as Answer['body'][];
    expect(revisions.map((one) => [one['revision'], (one['settings'] as Json)['mini_batch_size']])).toEqual([
      [2, 2],
      [1, 1],
    ]);
    const seen = await call('GET', '/v1/endpoints/TEXTS');
    expect(seen.body).toMatchObject({ name: 'texts', defaults: { deployment_name: 'one' } });
    const late = { 'if-match': seen.etag ?? '' };
    const properties = { kept: 'yes' };
    expect((await call('PUT', '/v1/endpoints/texts', { properties }, late)).status).toBe(200);
    expect(await refusal('PUT', '/v1/endpoints/texts', { properties }, late)).toMatchObject({
      status: 412,
      code: 'RESOURCE_CHANGED',
    });
    expect(
      await refusal('PUT', '/v1/endpoints/texts', { properties, defaults: { deploymentName: 'two' } }),
    ).toMatchObject({
      ...{ status: 404, code: 'RESOURCE_NOT_FOUND' },
    });
    expect((await call('GET', '/v1/endpoints/texts', undefined, { 'if-none-match': seen.etag ?? '' })).status).toBe(
      200,
    );
    await putDeployment('two', { set_default: true });
    expect((await call('DELETE', '/v1/endpoints/texts/deployments/two')).status).toBe(204);
    expect((await call('GET', '/v1/endpoints/texts')).body['defaults']).toEqual({ deployment_name: null });
    expect((await call('DELETE', '/v1/endpoints/texts')).status).toBe(204);
    expect(await refusal('GET', '/v1/endpoints/texts/deployments/one')).toMatchObject({ code: 'RESOURCE_NOT_FOUND' });
  });

  it('do not go while jobs of them run, unless they are forced to; the jobs stay', async () => {
    await call('PUT', '/v1/endpoints/texts', {});
    await putDeployment('one');
    const job = (await call('POST', '/v1/endpoints/texts/jobs', { input: join(cluster.dir, 'in') })).body;
    const refused = await refusal('DELETE', '/v1/endpoints/texts');
    expect(refused).toMatchObject({ status: 409, code: 'RESOURCE_IN_USE' });
    expect(refused.detail).toContain(job['name']);
    expect(await refusal('DELETE', '/v1/endpoints/texts/deployments/one')).toMatchObject({ code: 'RESOURCE_IN_USE' });
    expect((await call('DELETE', '/v1/endpoints/texts?force=true')).status).toBe(204);
    await cluster.join('node-1', 1);
    expect(await ended(job['name'] as string)).toMatchObject({ status: 'Completed', endpoint: 'texts', revision: 1 });
  });
});

describe('invoking', () => {
  beforeEach(async () => {
    await call('PUT', '/v1/endpoints/texts', {});
    await cluster.join('node-1', 1);
  });

  const invoke = (body: object, headers?: Record<string, string>) =>
    call('POST', '/v1/endpoints/texts/jobs', body, headers);

  it('finds the deployment: named, default, the only one, or says what there is', async () => {
    const input = join(cluster.dir, 'in');
    const refused = async (body: object) =>
      (await refusal('POST', '/v1/endpoints/texts/jobs', { input, ...body })).detail;
    expect(await refused({})).toContain('No deployment exists for this endpoint');
    await putDeployment('one');
    expect((await invoke({ input })).body).toMatchObject({ deployment: 'one', endpoint: 'texts', revision: 1 });
    await putDeployment('two');
    expect(await refused({})).toContain('No valid deployments to route to: texts has one, two and no default');
    expect(await refused({ deployment_name: 'three' })).toContain('Deployment name three not found for this endpoint');
    expect((await invoke({ input, deployment_name: 'TWO' })).body).toMatchObject({ deployment: 'two' });
    await call('PUT', '/v1/endpoints/texts', { defaults: { deployment_name: 'two' } });
    expect((await invoke({ input })).body).toMatchObject({ deployment: 'two' });
    expect(await refused({ input: null })).toContain('the following arguments are required: --input');
    expect(await refused({ inputs: { other: { path: input } } })).toContain('one input, 2 are given: other, input');
    expect((await refusal('POST', '/v1/endpoints/none/jobs', { input })).detail).toBe('there is no endpoint none');
  });

  it('takes every form of input and output, and lays overrides over the deployment for this job alone', async () => {
    await putDeployment('one');
    const rows = ['a.txt a! -', 'b.txt b! -', 'c.txt c! -'];
    const local = await ended((await invoke({ input: join(cluster.dir, 'in') })).body['name'] as string);
    expect(local['output_path']).toBe(join(cluster.dir, 'state/outputs', local['name'] as string, 'score'));
    expect(rowsOf(local)).toEqual(rows);
    const tar = await tarOf([
      { name: 'c.txt', text: 'c!' },
      { name: 'a.txt', text: 'a!' },
      { name: 'b.txt', text: 'b!' },
    ]);
    const upload = (await call('POST', '/v1/artifacts?kind=folder&name=in', tar, tarType)).body;
    expect(rowsOf(await ended((await invoke({ input: upload['digest'] })).body['name'] as string))).toEqual(rows);
    await call('POST', '/v1/data', { name: 'texts-data', artifact: upload });
    await call('POST', '/v1/data', { name: 'texts-data', path: 'azureml://datastores/here/paths/in' });
    await call('PUT', '/v1/datastores/here', { location: cluster.dir });
    const named = { x: { type: 'uri_folder', path: 'azureml:texts-data@latest' } };
    const file = { y: { type: 'uri_file', path: 'azureml://datastores/here/paths/out/mine.txt' } };
    const asset = await ended((await invoke({ inputs: named, outputs: file })).body['name'] as string);
    expect(asset).toMatchObject({ output_file: join(cluster.dir, 'out/mine.txt') });
    expect(rowsOf(asset)).toEqual(rows);
    expect(await refusal('POST', '/v1/endpoints/texts/jobs', { inputs: named, outputs: file })).toMatchObject({
      ...{ status: 409, code: 'OUTPUT_EXISTS' },
    });
    const changed = {
      mini_batch_size: 3,
      output_file_name: 'o.csv',
      environment_variables: { WORD: 'w' },
      timeout: '60',
    };
    const other = {
      input: 'azureml:texts-data:1',
      overrides: changed,
      priority: 7,
      tags: { a: 1 },
      display_name: 'Mine',
    };
    const job = await ended((await invoke(other)).body['name'] as string);
    expect(job).toMatchObject({ priority: 7, tags: { a: '1' }, display_name: 'Mine', mini_batches: { total: 1 } });
    expect(rowsOf(job)).toEqual(rows.map((row) => row.replace('-', 'w')));
    expect((await call('GET', '/v1/endpoints/texts/deployments/one')).body['settings']).toMatchObject({
      mini_batch_size: 1,
    });
    expect(await refusal('POST', '/v1/endpoints/texts/jobs', { input: 'azureml:nothing:1' })).toMatchObject({
      ...{ status: 404, detail: 'there is no data nothing:1' },
    });
    const wrong = { input: '/in', overrides: { mini_batch_size: 0, timeout: -1 }, surprise: 1 };
    const { detail } = await refusal('POST', '/v1/endpoints/texts/jobs', wrong);
    for (const field of ['overrides.mini_batch_size', 'overrides.timeout', 'surprise']) expect(detail).toContain(field);
  });

  it('starts one job for a key, however often and at once it is asked, also after a restart', async () => {
    await putDeployment('one');
    const body = { input: join(cluster.dir, 'in') };
    const key = { 'idempotency-key': 'k-1' };
    const answers = await Promise.all(Array.from({ length: 20 }, () => invoke(body, key)));
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array.from({ length: 19 }, () => 200), 201]);
    expect(new Set(answers.map(({ body: job }) => job['name'])).size).toBe(1);
    const [{ body: job }] = answers as [Answer];
    await ended(job['name'] as string);
    await restart();
    expect(await invoke(body, key)).toMatchObject({ status: 200, body: { name: job['name'], status: 'Completed' } });
    expect(await refusal('POST', '/v1/endpoints/texts/jobs', { ...body, priority: 1 }, key)).toMatchObject({
      ...{ status: 422, code: 'IDEMPOTENCY_MISMATCH' },
    });
    const others = await Promise.all(Array.from({ length: 20 }, () => invoke(body)));
    expect(new Set(others.map(({ body: one }) => one['name'])).size).toBe(20);
    // A request that was refused leaves its key free.
    expect((await invoke({ input: '/nowhere' }, { 'idempotency-key': 'k-2' })).status).toBe(404);
    expect((await invoke(body, { 'idempotency-key': 'k-2' })).status).toBe(201);
    // A job that is forgotten takes its key with it.
    expect((await call('POST', '/v1/jobs/prune', { names: [job['name']], output: true })).status).toBe(200);
    expect((await invoke(body, key)).status).toBe(201);
  });
});
