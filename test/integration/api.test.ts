import { defaultOnnxSettings } from '../../common/core/onnx-settings.ts';
import { defaultOutputForm } from '../../common/core/output-form.ts';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { plainOrigin } from '../../common/core/job-origin.ts';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { startApi, type ApiHandle } from '../../coordinator/api/server.ts';
import { FakeBackend } from '../helpers/fake-backend.ts';

let dir = '';
let backend: FakeBackend;
let api: ApiHandle;
let defects: unknown[] = [];
let isReady = true;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-api-'));
  backend = new FakeBackend(dir);
  defects = [];
  isReady = true;
  api = await startApi({
    backend,
    host: '127.0.0.1',
    port: 0,
    onDefect: (error) => defects.push(error),
    isReady: () => isReady,
    streamsMax: 25,
  });
});
afterEach(async () => {
  await api.close();
  expect(backend.subscriptions).toBe(0);
  await rm(dir, { recursive: true, force: true });
});

const url = (path: string): string => `http://127.0.0.1:${api.address.port}${path}`;

const deployment: LocalDeployment = {
  name: 'digits',
  scorer: { kind: 'onnx', settings: defaultOnnxSettings },
  model: { kind: 'file', path: '/models/digits.onnx' },
  code: null,
  environment: { kind: 'host', python: null },
  settings: {
    miniBatchSize: { kind: 'auto' },
    triesMax: 3,
    timeoutMs: 30_000,
    errorThreshold: -1,
    isolation: 'file',
    outputAction: 'append_row',
    outputFileName: 'predictions.csv',
    outputFormat: 'csv',
    outputForm: { ...defaultOutputForm, delimiter: ';', fileColumn: 'source', inputColumns: ['id', 'land'] },
    parts: {
      format: 'csv',
      header: true,
      partitionBy: [],
      fileRows: 100,
      fileBytes: null,
      rowGroupRows: 9,
      compression: 'none',
    } as const,
    loggingLevel: 'info',
    environmentVariables: { A: 'b' },
    instanceCountMax: null,
    concurrencyPerInstanceMax: null,
    recursive: true,
    customOutput: 'collected',
    memoryBytesMax: null,
    gpu: null,
    keepWarm: null,
    speculation: 'auto',
    progressTimeoutMs: null,
  },
};
const submission = { deployment, input_path: '/in', output_path: '/out' };

async function post(path: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
  return await fetch(url(path), { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } });
}

/** Status, content type and body of a reply that is a problem. */
async function problem(reply: Response): Promise<Record<string, unknown>> {
  expect(reply.headers.get('content-type')).toContain('application/problem+json');
  const body = (await reply.json()) as Record<string, unknown>;
  expect(body['status']).toBe(reply.status);
  return body;
}

/** A request whose Host header can be anything, which fetch does not allow. */
async function rawGet(path: string, headers: Record<string, string>): Promise<{ status: number; body: string }> {
  const sent = httpRequest(url(path), { headers, agent: false });
  sent.end();
  const [reply] = (await once(sent, 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of reply) body += String(chunk);
  return { status: reply.statusCode ?? 0, body };
}

describe('jobs', () => {
  test('a submission reaches the backend as it was sent and answers with the job', async () => {
    const reply = await post(
      '/v1/jobs',
      JSON.stringify({ ...submission, overwrite: true, since: 'before', name: 'mine' }),
    );
    expect(reply.status).toBe(201);
    expect(reply.headers.get('location')).toBe('/v1/jobs/mine');
    expect(Object.keys((await reply.json()) as object)[0]).toBe('name');
    expect(backend.submitted).toEqual([
      {
        deployment: {
          ...deployment,
          settings: {
            ...deployment.settings,
            splitFiles: { kind: 'off' },
            include: [],
            exclude: [],
            incremental: false,
          },
        },
        inputPath: '/in',
        selection: { include: [], exclude: [], recursive: true, list: null },
        outputDir: '/out',
        isOverwrite: true,
        since: 'before',
        name: 'mine',
        origin: plainOrigin,
      },
    ]);
  });

  test('patterns of the request win over those of the deployment, each kind by itself', async () => {
    const settings = { ...deployment.settings, include: ['*.png'], exclude: ['old/'] };
    const request = { ...submission, deployment: { ...deployment, settings }, include: ['*.jpg', 'raw/**'] };
    expect((await post('/v1/jobs', JSON.stringify(request))).status).toBe(201);
    expect(backend.submitted[0]?.selection).toEqual({
      include: ['*.jpg', 'raw/**'],
      exclude: ['old/'],
      recursive: true,
      list: null,
    });
  });

  test('a path stands for the deployment file there', async () => {
    await writeFile(join(dir, 'model.onnx'), '');
    await writeFile(join(dir, 'deployment.yml'), 'type: model\nname: from-file\nmodel: model.onnx\n');
    const body = { ...submission, deployment: join(dir, 'deployment.yml'), set: ['settings.mini_batch_size=7'] };
    expect((await post('/v1/jobs', JSON.stringify(body))).status).toBe(201);
    expect(backend.submitted[0]?.deployment.name).toBe('from-file');
    expect(backend.submitted[0]?.deployment.settings.miniBatchSize).toEqual({ kind: 'files', files: 7 });
    const missing = await post('/v1/jobs', JSON.stringify({ ...submission, deployment: '/nowhere.yml' }));
    expect(await problem(missing)).toMatchObject({ status: 404, code: 'DEPLOYMENT_NOT_FOUND' });
  });

  test.each([
    ['not json', '{"a":', 'the body is not JSON'],
    ['no object', '[]', 'the body: '],
    ['nothing', '', 'input_path: '],
    ['a relative path', JSON.stringify({ ...submission, input_path: 'in' }), 'input_path: wanted an absolute path'],
    ['an unknown key', JSON.stringify({ ...submission, inputs: 1 }), 'inputs'],
    ['a pattern that is none', JSON.stringify({ ...submission, include: ['a', 'b/../c'] }), 'include.1: "b/../c" has'],
    ['a name that is taken by us', JSON.stringify({ ...submission, name: 'last' }), 'name: "last" stands for'],
    ['a relative deployment', JSON.stringify({ ...submission, deployment: 'a.yml' }), 'deployment: wanted an absolute'],
    [
      'an output file that climbs',
      JSON.stringify({
        ...submission,
        deployment: { ...deployment, settings: { ...deployment.settings, outputFileName: '../x' } },
      }),
      'deployment.settings.outputFileName: ',
    ],
    [
      'a script that climbs',
      JSON.stringify({
        ...submission,
        deployment: {
          ...deployment,
          scorer: { kind: 'python', script: '../x.py' },
          code: { kind: 'folder', path: '/c' },
        },
      }),
      'deployment.scorer.script: wanted a path inside',
    ],
    [
      'a scorer without its model',
      JSON.stringify({ ...submission, deployment: { ...deployment, model: null } }),
      'deployment.scorer: wanted the model',
    ],
  ])('%s is refused and reaches nobody', async (_what, body, reason) => {
    const found = await problem(await post('/v1/jobs', body));
    expect(found).toMatchObject({ status: 400, code: 'REQUEST_INVALID', type: 'urn:batchmill:error:REQUEST_INVALID' });
    expect(found['detail']).toContain(reason);
    expect(backend.submitted).toEqual([]);
  });

  test('list, show, nodes and cancel pass through', async () => {
    const list = (await (await fetch(url('/v1/jobs'))).json()) as { value: { name: string }[] };
    expect(list.value.map((one) => one.name)).toEqual(['job-1']);
    expect(await (await fetch(url('/v1/jobs/last'))).json()).toMatchObject({ name: 'job-1', status: 'Running' });
    expect(await (await fetch(url('/v1/nodes'))).json()).toEqual({ value: backend.nodes() });
    const release = async (name: string): Promise<Response> =>
      await fetch(url(`/v1/nodes/${name}/release`), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{}',
      });
    expect(await (await release('node-1')).json()).toEqual({ value: backend.nodes() });
    const refused = await release('node-2');
    expect([refused.status, await refused.json()]).toMatchObject([400, { code: 'REQUEST_INVALID' }]);
    const canceled = await post('/v1/jobs/job-1/cancel', '');
    expect(canceled.status).toBe(202);
    expect(await canceled.json()).toMatchObject({ status: 'CancelRequested' });
  });

  test('a page of the list is asked for as the query says', async () => {
    backend.next = 41;
    const query = '?endpoint=Fraud&deployment=blue&status=Running,Failed&archived=all&limit=7&cursor=90';
    expect(await (await fetch(url(`/v1/jobs${query}`))).json()).toMatchObject({ next: '41' });
    await fetch(url('/v1/jobs?status=Running&status=Queued'));
    await fetch(url('/v1/jobs?archived=true'));
    const plain = { endpoint: null, deployment: null, states: null, archived: false, limit: 50, before: null };
    expect(backend.queries).toEqual([
      ...[
        { endpoint: 'Fraud', deployment: 'blue', states: ['Running', 'Failed'], archived: null, limit: 7, before: 90 },
        { ...plain, states: ['Running', 'Queued'] },
      ],
      { ...plain, archived: true },
    ]);
  });

  test.each([
    ['limit=0', 'limit: wanted a whole number from 1 to 1000, found 0'],
    ['limit=1001', 'limit: wanted a whole number from 1 to 1000'],
    ['cursor=x', 'cursor: wanted the `next` of an earlier page'],
    ['status=Done', 'status.0: '],
    ['archived=perhaps', 'archived: '],
    ['state=Running', 'state'],
  ])('a list with %s is refused', async (query, reason) => {
    const found = await problem(await fetch(url(`/v1/jobs?${query}`)));
    expect(found).toMatchObject({ status: 400, code: 'REQUEST_INVALID' });
    expect(found['detail']).toContain(reason);
    expect(backend.queries).toEqual([]);
  });

  test('a job that is known already is not sent again', async () => {
    const get = async (known: string): Promise<Response> =>
      await fetch(url('/v1/jobs/job-1'), { headers: { 'if-none-match': known } });
    const etag = (await fetch(url('/v1/jobs/job-1'))).headers.get('etag') ?? '';
    expect(etag).toMatch(/^W\/"[\w-]{22}"$/);
    for (const known of [etag, `"other", ${etag}`, etag.replace('W/', ''), '*']) {
      const reply = await get(known);
      expect([known, reply.status, await reply.text()]).toEqual([known, 304, '']);
      expect(reply.headers.get('etag')).toBe(etag);
    }
    expect((await get('"other"')).status).toBe(200);
    backend.change({ rows: 251 });
    const changed = await get(etag);
    expect([changed.status, changed.headers.get('etag') === etag]).toEqual([200, false]);
  });

  test('labels: what is sent changes, what is left out stays, what is none of them is refused', async () => {
    const patch = async (body: unknown, type = 'application/json'): Promise<Response> =>
      await fetch(url('/v1/jobs/job-1'), {
        method: 'PATCH',
        body: JSON.stringify(body),
        headers: { 'content-type': type },
      });
    const changed = await patch({ tags: { team: 'mail' }, archived: true });
    expect([changed.status, await changed.json()]).toMatchObject([200, { tags: { team: 'mail' }, archived: true }]);
    const again = await patch({ display_name: 'first try' });
    expect(await again.json()).toMatchObject({ display_name: 'first try', tags: { team: 'mail' }, archived: true });
    expect((await problem(await patch({ status: 'Completed' })))['status']).toBe(400);
    expect((await problem(await patch({ tags: { a: 1 } })))['detail']).toContain('tags.a: ');
    expect((await problem(await patch({}, 'text/plain')))['status']).toBe(415);
  });

  test('an error of the backend is a problem with its code, status and detail', async () => {
    expect(await problem(await fetch(url('/v1/jobs/nobody')))).toMatchObject({ status: 404, code: 'JOB_NOT_FOUND' });
    backend.submitError = new BatchError('OUTPUT_EXISTS', '/out holds results', { detail: 'three files' });
    expect(await problem(await post('/v1/jobs', JSON.stringify(submission)))).toMatchObject({
      status: 409,
      code: 'OUTPUT_EXISTS',
      detail: '/out holds results',
      info: 'three files',
      is_retryable: false,
    });
    expect(defects).toEqual([]);
  });

  test('a defect answers INTERNAL and is told', async () => {
    backend.submitError = new TypeError('x is not a function');
    expect(await problem(await post('/v1/jobs', JSON.stringify(submission)))).toMatchObject({
      status: 500,
      code: 'INTERNAL',
    });
    expect(defects).toEqual([backend.submitError]);
  });
});

describe('what is refused before anybody looks at it', () => {
  test('a Host header that is not this machine’s', async () => {
    const port = String(api.address.port);
    for (const host of [
      'evil.example',
      `evil.example:${port}`,
      '127.0.0.1.evil.example',
      'localhost.evil',
      '10.0.0.1',
    ]) {
      const reply = await rawGet('/v1/jobs', { host });
      expect([host, reply.status]).toEqual([host, 400]);
      expect(reply.body).toContain('only this machine is served');
    }
    for (const host of ['localhost', `localhost:${port}`, `127.0.0.1:${port}`, '[::1]:80', 'LOCALHOST']) {
      expect([host, (await rawGet('/v1/jobs', { host })).status]).toEqual([host, 200]);
    }
  });

  test('a POST that a web page could send without asking', async () => {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/jsonx',
    ]) {
      const reply = await post('/v1/jobs/job-1/cancel', '{}', { 'content-type': type });
      expect(await problem(reply)).toMatchObject({ status: 415, code: 'REQUEST_INVALID' });
    }
    const bare = await fetch(url('/v1/jobs/job-1/cancel'), { method: 'POST' });
    expect(bare.status).toBe(415);
    expect(backend.canceled).toEqual([]);
    expect(
      (await post('/v1/jobs/job-1/cancel', '{}', { 'content-type': 'application/json; charset=utf-8' })).status,
    ).toBe(202);
  });

  test('a body beyond the limit', async () => {
    const reply = await post('/v1/jobs', JSON.stringify({ a: 'x'.repeat(limits.apiBodyBytesMax) }));
    expect(await problem(reply)).toMatchObject({ status: 413, code: 'REQUEST_INVALID' });
  });

  test('a route that is not there', async () => {
    expect(await problem(await fetch(url('/v2/jobs')))).toMatchObject({ status: 404, code: 'REQUEST_INVALID' });
    expect((await fetch(url('/v1/jobs'), { method: 'DELETE' })).status).toBe(404);
  });
});

/** Reads server-sent events until `count` have come, or the stream ends; `close` drops the connection. */
async function openEvents(path: string, headers: Record<string, string> = {}) {
  const controller = new AbortController();
  const reply = await fetch(url(path), { headers, signal: controller.signal });
  const reader = (reply.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  const take = async (count: number): Promise<string[]> => {
    const events: string[] = [];
    while (events.length < count) {
      const cut = text.indexOf('\n\n');
      if (cut >= 0) {
        if (!text.startsWith('retry:')) events.push(text.slice(0, cut));
        text = text.slice(cut + 2);
        continue;
      }
      const { value, done } = await reader.read();
      if (done) break;
      text += value;
    }
    return events;
  };
  return { reply, take, close: () => controller.abort() };
}

const idsOf = (events: readonly string[]): string[] => events.map((one) => /^id: (\d+)$/m.exec(one)?.[1] ?? one);

describe('events', () => {
  test('past ones, then live ones, then the end', async () => {
    backend.emit(2);
    const stream = await openEvents('/v1/jobs/last/events');
    expect(stream.reply.headers.get('content-type')).toContain('text/event-stream');
    const [first, second] = await stream.take(2);
    expect(first).toMatch(/^id: 1\nevent: progress\ndata: \{.*\}$/);
    expect(idsOf([second ?? ''])).toEqual(['2']);
    expect(backend.watched).toEqual(['job-1']);
    backend.emit(1);
    expect(idsOf(await stream.take(1))).toEqual(['3']);
    backend.finish();
    expect(await stream.take(9)).toEqual(['event: end\ndata: {}']);
    await backend.subscriptionsReach(0);
  });

  test('a client goes on after the last event that it saw', async () => {
    backend.emit(4);
    const first = await openEvents('/v1/jobs/job-1/events');
    expect(idsOf(await first.take(2))).toEqual(['1', '2']);
    first.close();
    await backend.subscriptionsReach(0);
    const again = await openEvents('/v1/jobs/job-1/events', { 'last-event-id': '2' });
    expect(idsOf(await again.take(2))).toEqual(['3', '4']);
    const byQuery = await openEvents('/v1/jobs/job-1/events?after=3');
    expect(idsOf(await byQuery.take(1))).toEqual(['4']);
    again.close();
    byQuery.close();
    await backend.subscriptionsReach(0);
  });

  test('clients that vanish leave nothing behind', async () => {
    const streams = await Promise.all(Array.from({ length: 20 }, () => openEvents('/v1/jobs/job-1/events')));
    await backend.subscriptionsReach(20);
    streams.forEach((stream) => stream.close());
    await backend.subscriptionsReach(0);
    expect(defects).toEqual([]);
  });

  test('one stream too many is refused until another one ends', async () => {
    const streams = await Promise.all(Array.from({ length: 25 }, () => openEvents('/v1/jobs/job-1/events')));
    await backend.subscriptionsReach(25);
    const refused = await problem(await fetch(url('/v1/jobs/job-1/events')));
    expect(refused).toMatchObject({ status: 503, code: 'STREAMS_EXHAUSTED', is_retryable: true });
    streams[0]?.close();
    await backend.subscriptionsReach(24);
    const again = await openEvents('/v1/jobs/job-1/events');
    await backend.subscriptionsReach(25);
    [...streams, again].forEach((stream) => stream.close());
    await backend.subscriptionsReach(0);
  });

  test('close() ends the streams that are open', async () => {
    const stream = await openEvents('/v1/jobs/job-1/events');
    await backend.subscriptionsReach(1);
    const rest = stream.take(9).catch(() => []);
    await api.close();
    await rest;
    await backend.subscriptionsReach(0);
  });

  test('an unknown job and a bad id are refused before the stream begins', async () => {
    expect((await problem(await fetch(url('/v1/jobs/nobody/events'))))['code']).toBe('JOB_NOT_FOUND');
    for (const id of ['x', '-1', '1.5', '9'.repeat(20)]) {
      const reply = await fetch(url('/v1/jobs/job-1/events'), { headers: { 'last-event-id': id } });
      expect((await problem(reply))['code']).toBe('REQUEST_INVALID');
    }
    expect(backend.watched).toEqual([]);
  });

  test('a source that fails ends the stream with the reason', async () => {
    const stream = await openEvents('/v1/jobs/job-1/events');
    await backend.subscriptionsReach(1);
    backend.fail(new BatchError('JOURNAL_CORRUPT', 'damaged'));
    const [last, ...more] = await stream.take(9);
    expect(last).toMatch(/^event: error\ndata: \{.*JOURNAL_CORRUPT/);
    expect(more).toEqual([]);
  });
});

describe('output', () => {
  const content = 'file,label\na.png,7\n';
  beforeEach(async () => await writeFile(join(dir, 'predictions.csv'), content));
  const get = async (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Response> =>
    await fetch(url(`/v1/jobs/job-1/output/${path}`), { headers, method });

  test('the list, and a file as it is', async () => {
    const list = await (await fetch(url('/v1/jobs/job-1/output'))).json();
    expect(list).toEqual({ value: [{ path: 'predictions.csv', size_bytes: content.length }] });
    const reply = await get('predictions.csv');
    expect([reply.status, await reply.text()]).toEqual([200, content]);
    expect(reply.headers.get('content-type')).toBe('text/csv; charset=utf-8');
    expect(reply.headers.get('accept-ranges')).toBe('bytes');
  });

  test.each([
    ['bytes=0-3', 206, content.slice(0, 4), `bytes 0-3/${content.length}`],
    ['bytes=5-', 206, content.slice(5), `bytes 5-${content.length - 1}/${content.length}`],
    ['bytes=-4', 206, content.slice(-4), `bytes ${content.length - 4}-${content.length - 1}/${content.length}`],
    ['bytes=0-999', 206, content, `bytes 0-${content.length - 1}/${content.length}`],
    ['bytes=0-1,3-4', 200, content, null],
    ['bytes=4-2', 200, content, null],
    ['lines=1-2', 200, content, null],
  ])('Range %s', async (range, status, body, contentRange) => {
    const reply = await get('predictions.csv', { range });
    expect([reply.status, await reply.text()]).toEqual([status, body]);
    expect(reply.headers.get('content-range')).toBe(contentRange);
    expect(Number(reply.headers.get('content-length'))).toBe(body.length);
  });

  test('a range beyond the end, or of another version of the file', async () => {
    const beyond = await get('predictions.csv', { range: 'bytes=99-' });
    expect(beyond.headers.get('content-range')).toBe(`bytes */${content.length}`);
    expect((await problem(beyond))['status']).toBe(416);
    const other = await get('predictions.csv', { range: 'bytes=0-3', 'if-range': '"0-0"' });
    expect([other.status, await other.text()]).toEqual([200, content]);
    const etag = other.headers.get('etag') ?? '';
    expect((await get('predictions.csv', { range: 'bytes=0-3', 'if-range': etag })).status).toBe(206);
  });

  test('HEAD tells the size and sends nothing', async () => {
    const reply = await get('predictions.csv', {}, 'HEAD');
    expect([reply.status, reply.headers.get('content-length')]).toEqual([200, String(content.length)]);
    expect(await reply.text()).toBe('');
  });

  test('an empty file is empty', async () => {
    await writeFile(join(dir, 'empty.csv'), '');
    const reply = await get('empty.csv');
    expect([reply.status, await reply.text()]).toEqual([200, '']);
  });

  test('no way out of the folder', async () => {
    for (const path of [
      '..%2Fsecret',
      '%2e%2e%2fsecret',
      'a/..%2f..%2fsecret',
      '%2Fetc%2Fpasswd',
      'a%00b',
      '..%5csecret',
      '.',
    ]) {
      const reply = await rawGet(`/v1/jobs/job-1/output/${path}`, {});
      expect([path, reply.status]).toEqual([path, 404]);
    }
    expect(backend.opened).toEqual([]);
  });

  test('a file that is not there, a job that is not done', async () => {
    expect((await problem(await get('gone.csv')))['code']).toBe('INPUT_NOT_FOUND');
    backend.outputError = new BatchError('JOB_NOT_FINISHED', 'job-1 is Running');
    expect(await problem(await fetch(url('/v1/jobs/job-1/output')))).toMatchObject({
      status: 409,
      code: 'JOB_NOT_FINISHED',
    });
  });
});

describe('the server itself', () => {
  test('health and readiness', async () => {
    expect(await (await fetch(url('/healthz'))).json()).toEqual({ status: 'ok' });
    expect((await fetch(url('/readyz'))).status).toBe(200);
    isReady = false;
    expect((await fetch(url('/readyz'))).status).toBe(503);
    expect((await fetch(url('/healthz'))).status).toBe(200);
  });

  test('an address that is taken is told by name', async () => {
    const again = startApi({ backend, host: '127.0.0.1', port: api.address.port, onDefect: () => undefined });
    const error = await again.then(
      () => null,
      (caught: unknown) => caught,
    );
    invariant(error instanceof BatchError, 'a second listener must fail');
    expect(error.code).toBe('LISTEN_FAILED');
    expect(error.message).toContain(`127.0.0.1:${api.address.port}`);
  });
});
