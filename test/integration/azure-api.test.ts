/** Azure's data plane over HTTP: routing to deployments, envelopes, lists and errors. */
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import type { AzureEndpoints } from '../../coordinator/api/azure/azure-routes.ts';
import type { InvokeBody } from '../../coordinator/api/azure/azure-request.ts';
import { startApi, type ApiHandle } from '../../coordinator/api/server.ts';
import { ApiDocument } from '../helpers/api-document.ts';
import { FakeBackend, jobView } from '../helpers/fake-backend.ts';

interface Asked {
  readonly endpoint: string;
  readonly body: InvokeBody;
  readonly user: string;
  readonly key: string | null;
}

/** One endpoint, whose deployments a test decides. */
class FakeEndpoints implements AzureEndpoints {
  readonly asked: Asked[] = [];
  readonly seen = new Set<string>();
  deployments: readonly string[] = ['Blue', 'green'];
  default: string | null = 'Blue';
  error: unknown = null;

  endpoint(name: string): ReturnType<AzureEndpoints['endpoint']> {
    return name.toLowerCase() === 'fraud' ? { default: this.default, deployments: this.deployments } : null;
  }

  async invoke(
    ...[endpoint, body, { user }, key]: Parameters<AzureEndpoints['invoke']>
  ): ReturnType<AzureEndpoints['invoke']> {
    await Promise.resolve();
    if (this.error !== null) throw this.error as Error;
    this.asked.push({ endpoint, body, user, key });
    const isNew = key === null || !this.seen.has(key);
    if (key !== null) this.seen.add(key);
    return { job: { ...jobView('fraud-1', 'Queued'), endpoint: 'Fraud' }, isNew };
  }
}

let backend: FakeBackend;
let endpoints: FakeEndpoints;
let api: ApiHandle;
let document: ApiDocument;
let defects: unknown[] = [];
beforeEach(async () => {
  backend = new FakeBackend(tmpdir());
  endpoints = new FakeEndpoints();
  defects = [];
  api = await startApi({ backend, host: '127.0.0.1', port: 0, onDefect: (error) => defects.push(error), endpoints });
  document = await ApiDocument.of(origin());
});
afterEach(() => api.close());
const origin = (): string => `http://127.0.0.1:${api.address.port}`;

const body = '{ "properties": { "InputData": { "any": { "JobInputType": "UriFolder", "Uri": "/in", }, }, }, }';
const route = '/azure/endpoints/{endpoint}/jobs';

async function post(path: string, headers: Record<string, string> = {}, text = body): Promise<Response> {
  const all = { 'content-type': 'application/json', ...headers };
  return await fetch(`${origin()}/azure/endpoints/${path}`, { method: 'POST', headers: all, body: text });
}

/** The error of a reply, which the document must know. */
async function errorOf(reply: Response, asked = `post ${route}`): Promise<{ code: string; message: string }> {
  const found = (await reply.json()) as { error: { code: string; message: string; details: unknown[] } };
  expect(document.differences(asked, reply.status, found)).toEqual([]);
  expect(found.error.details.length).toBeGreaterThan(0);
  return found.error;
}

describe('invoking', () => {
  test('answers 201 with the envelope, whose id leads back to the job', async () => {
    const reply = await post('Fraud/jobs', { 'azureml-model-deployment': 'blue', 'idempotency-key': 'k1' });
    const job = (await reply.json()) as { id: string; properties: { interactionEndpoints: unknown } };
    expect([reply.status, reply.headers.get('location')]).toEqual([201, '/azure/endpoints/Fraud/jobs/fraud-1']);
    expect(document.differences(`post ${route}`, 201, job)).toEqual([]);
    expect(job).toMatchObject({
      ...{ id: '/azure/endpoints/Fraud/jobs/fraud-1', name: 'fraud-1' },
      systemData: { createdBy: 'local', createdAt: '2026-11-21T09:30:12.000Z' },
      properties: {
        ...{ status: 'Queued', provisioningState: 'InProgress', outputFileName: 'predictions.csv' },
        inputData: { input: { jobInputType: 'UriFolder', uri: '/in' } },
        outputData: { score: { jobOutputType: 'UriFolder', uri: '/out' } },
        interactionEndpoints: { Studio: { endpoint: `${origin()}/v1/jobs/fraud-1` } },
      },
    });
    const inputs = { any: { type: 'uri_folder', path: '/in' } };
    const asked = { endpoint: 'Fraud', body: { deployment_name: 'blue', inputs }, user: 'local', key: 'k1' };
    expect(endpoints.asked).toEqual([asked]);
    expect((await post('Fraud/jobs', { 'idempotency-key': 'k1' })).status).toBe(200);
  });

  test('an endpoint or a deployment that is not there, and none to route to', async () => {
    const missing = await post('other/jobs');
    expect([missing.status, await errorOf(missing)]).toMatchObject([404, { code: 'NotFound' }]);
    const unknown = await post('fraud/jobs', { 'azureml-model-deployment': 'red' });
    expect(unknown.status).toBe(404);
    expect((await errorOf(unknown)).message).toContain('Deployment name red not found for this endpoint');
    endpoints.default = null;
    const undecided = await post('fraud/jobs');
    expect(undecided.status).toBe(424);
    expect(await errorOf(undecided)).toMatchObject({ code: 'FailedDependency' });
    expect((await errorOf(await post('fraud/jobs'))).message).toContain('No valid deployments to route to');
    endpoints.deployments = [];
    expect((await errorOf(await post('fraud/jobs'))).message).toContain('No deployment exists for this endpoint');
    expect(endpoints.asked).toEqual([]);
    // The only one is the default.
    endpoints.deployments = ['blue'];
    expect((await post('fraud/jobs')).status).toBe(201);
  });

  test('what is wrong comes back in the envelope, a defect too', async () => {
    const bad = await post('fraud/jobs', {}, '{"properties": {"inputData": {"a": {"uri": "/a"}}, "nonsense": 1}}');
    expect([bad.status, await errorOf(bad)]).toMatchObject([400, { code: 'BadRequest' }]);
    expect((await post('fraud/jobs', {}, '{"properties"')).status).toBe(400);
    endpoints.error = new BatchError('IDEMPOTENCY_MISMATCH', 'the key stands for another request');
    const conflict = await post('fraud/jobs');
    expect([conflict.status, await errorOf(conflict)]).toMatchObject([422, { code: 'UserError' }]);
    endpoints.error = new TypeError('x is not a function');
    const broken = await post('fraud/jobs');
    expect([broken.status, await errorOf(broken)]).toMatchObject([500, { code: 'InternalServerError' }]);
    expect(defects).toEqual([endpoints.error]);
  });

  test('our own routes stay strict', async () => {
    const headers = { 'content-type': 'application/json' };
    const reply = await fetch(`${origin()}/v1/jobs/prune`, { method: 'POST', headers, body: '{"dry_run": true,}' });
    expect([reply.status, await reply.json()]).toMatchObject([400, { code: 'REQUEST_INVALID' }]);
  });
});

describe('looking', () => {
  test('a job by the last part of its id, only under its own endpoint', async () => {
    backend.change({ endpoint: 'Fraud', status: 'Completed' });
    const get = async (path: string): Promise<Response> => await fetch(`${origin()}/azure/endpoints/${path}`);
    const job = (await (await get('fraud/jobs/job-1')).json()) as unknown;
    expect(job).toMatchObject({ properties: { status: 'Completed', provisioningState: 'Succeeded' } });
    expect(document.differences('get /azure/endpoints/{endpoint}/jobs/{id}', 200, job)).toEqual([]);
    for (const path of ['other/jobs/job-1', 'fraud/jobs/last', 'fraud/jobs/nobody']) {
      const reply = await get(path);
      expect([path, reply.status, (await errorOf(reply, 'get /azure/endpoints/{endpoint}/jobs/{id}')).code]).toEqual([
        path,
        404,
        'NotFound',
      ]);
    }
  });

  test('lists go on at nextLink', async () => {
    backend.next = 17;
    const first = (await (
      await fetch(`${origin()}/azure/endpoints/Fraud/jobs?deployment=Blue&api-version=2022-05-01`)
    ).json()) as {
      nextLink: string;
    };
    expect(document.differences(`get ${route}`, 200, first)).toEqual([]);
    const next = new URL(first.nextLink);
    expect([next.origin, next.searchParams.get('$skiptoken'), next.searchParams.get('deployment')]).toEqual([
      ...[origin(), '17', 'Blue'],
    ]);
    backend.next = null;
    expect(await (await fetch(next)).json()).toMatchObject({ nextLink: null });
    await fetch(`${origin()}/azure/endpoints/Fraud/deployments/green/jobs`);
    const query = { endpoint: 'Fraud', states: null, archived: false, limit: 50 };
    expect(backend.queries).toEqual([
      ...[
        { ...query, deployment: 'Blue', before: null },
        { ...query, deployment: 'Blue', before: 17 },
      ],
      { ...query, deployment: 'green', before: null },
    ]);
    expect((await fetch(`${origin()}/azure/endpoints/nowhere/jobs`)).status).toBe(404);
  });
});
