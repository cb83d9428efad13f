/** The OpenAPI document, by a validator that is not ours, and what a real coordinator answers held against it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatAddress } from '../../common/config/address.ts';
import { ApiDocument } from '../helpers/api-document.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { until } from '../helpers/programs.ts';

let cluster: LocalCluster;
let origin = '';
let document: ApiDocument;
beforeAll(async () => {
  cluster = await LocalCluster.start({ http: { host: '127.0.0.1', port: 0 } });
  const { http } = cluster.coordinator;
  origin = http === null ? '' : `http://${formatAddress(http)}`;
  document = await ApiDocument.of(origin);
});
afterAll(() => cluster.close());

describe('the document', () => {
  test('is OpenAPI 3.1, by a validator of others, which refuses one that is not', async () => {
    // It writes into what it is given.
    const whole = structuredClone(document.text) as unknown as Record<string, unknown>;
    const validator = new Validator();
    expect(await validator.validate(whole)).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
    const broken = { ...document.text, paths: { '/v1/jobs': { get: { responses: 'none' } } } };
    expect((await new Validator().validate(broken)).valid).toBe(false);
  });

  test('every operation has a name of its own, a known tag, a summary and the problem reply', () => {
    const names = document.operations().map(([, { operationId }]) => operationId);
    expect(names.filter((name) => !/^[a-z][A-Za-z]+$/.test(name))).toEqual([]);
    expect(new Set(names).size).toBe(names.length);
    const tags = new Set(document.text.tags.map(({ name }) => name));
    for (const [route, operation] of document.operations()) {
      const isKnown = operation.tags.length > 0 && operation.tags.every((tag) => tags.has(tag));
      expect([route, isKnown, operation.summary !== '']).toEqual([route, true, true]);
      const errors = Object.keys(operation.responses['default']?.content ?? {});
      expect([route, errors]).toEqual([
        route,
        [route.includes(' /azure/') ? 'application/json' : 'application/problem+json'],
      ]);
    }
  });

  test('each parameter of a path is declared, and references lead somewhere', () => {
    for (const [route, { parameters = [] }] of document.operations()) {
      const named = [...route.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name);
      const declared = parameters.filter((one) => one.in === 'path' && one.required === true).map(({ name }) => name);
      expect([route, declared.sort()]).toEqual([route, named.sort()]);
    }
    const text = JSON.stringify(document.text);
    const refs = [...text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(([, to]) => to);
    expect(refs.length).toBeGreaterThan(20);
    expect([...new Set(refs)].sort()).toEqual(Object.keys(document.text.components.schemas).sort());
  });
});

/** Sends, and expects the status and a body as the document has it. */
async function ask(route: string, url: string, status: number, body?: unknown): Promise<unknown> {
  const [method = ''] = route.split(' ');
  const sent =
    body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
  const reply = await fetch(`${origin}${url}`, { method: method.toUpperCase(), ...sent });
  const found = (await reply.json()) as unknown;
  expect([route, reply.status, document.differences(route, reply.status, found)]).toEqual([route, status, []]);
  return found;
}

describe('what is answered', () => {
  test('of a job, from its submission to its end, is as the document says', async () => {
    const { dir } = cluster;
    const inputs = ['a', 'b', 'POISON-1'].map((name) => [`${name}.txt`, name] as const);
    const list = join(dir, 'poison');
    writeFileSync(list, 'POISON-1.txt\n');
    const environment = { POISON: list };
    const deployment = writeDeployment(dir, 'told', { script: 'poison-rows.mjs', miniBatchSize: 1, environment });
    const input = writeInputs(join(dir, 'in'), inputs);
    const submission = { deployment, input_path: input, output_path: join(dir, 'out'), name: 'told' };
    await ask('post /v1/jobs', '/v1/jobs', 201, submission);
    await ask('post /v1/jobs', '/v1/jobs', 409, { ...submission, name: 'again' });
    await ask('get /v1/nodes', '/v1/nodes', 200);
    await ask('get /v1/doctor', `/v1/doctor?path=${encodeURIComponent(dir)}&path=/nowhere`, 200);
    await ask('get /v1/doctor', '/v1/doctor?path=relative', 400);
    await cluster.join('n1', 1);
    await until(() => cluster.coordinator.jobs.show('told').ended_at !== null, 'the end of the job');
    await until(async () => (await fetch(`${origin}/v1/jobs/told/output`)).ok, 'the sealed output');
    expect(await ask('get /v1/jobs/{name}', '/v1/jobs/told', 200)).toMatchObject({ status: 'Completed' });
    await ask('get /v1/jobs', '/v1/jobs', 200);
    await ask('get /v1/nodes', '/v1/nodes', 200);
    await ask('get /v1/jobs/{name}/output', '/v1/jobs/told/output', 200);
    await ask('get /v1/jobs/{name}/logs', '/v1/jobs/told/logs', 200);
    await ask('get /v1/jobs/{name}/printed', '/v1/jobs/told/printed?first=0', 200);
    expect(await ask('get /v1/jobs/{name}/errors', '/v1/jobs/told/errors', 200)).toMatchObject({ groups: 1 });
    await ask('patch /v1/jobs/{name}', '/v1/jobs/told', 200, { tags: { team: 'mail' }, archived: true });
    await ask('post /v1/jobs/{name}/pause', '/v1/jobs/told/pause', 409, {});
    await ask('post /v1/jobs/{name}/cancel', '/v1/jobs/told/cancel', 202, {});
    await ask('post /v1/nodes/{name}/release', '/v1/nodes/n1/release', 400, {});
    await ask('get /v1/jobs/{name}/printed', '/v1/jobs/told/printed', 400);
    await ask('get /v1/jobs/{name}', '/v1/jobs/nobody', 404);
    await ask('post /v1/jobs/prune', '/v1/jobs/prune', 200, { names: ['told'], dry_run: true });
    await ask('get /healthz', '/healthz', 200);
    await ask('get /readyz', '/readyz', 200);
    const events = await (await fetch(`${origin}/v1/jobs/told/events`)).text();
    expect(events.endsWith('event: end\ndata: {}\n\n')).toBe(true);
  });

  test('of endpoints, deployments, assets and what operators set up is as the document says', async () => {
    const { dir } = cluster;
    const input = writeInputs(join(dir, 'given'), [['a.txt', 'a']]);
    const deployment = writeDeployment(dir, 'blue', { script: 'hash-rows.mjs' });
    const endpoint = '/v1/endpoints/{endpoint}';
    await ask('get /v1/server', '/v1/server', 200);
    await ask(`put ${endpoint}`, '/v1/endpoints/mail', 201, { description: 'all mail', tags: { team: 'mail' } });
    await ask(`put ${endpoint}`, '/v1/endpoints/mail', 200, { description: 'all of it' });
    await ask(`get ${endpoint}`, '/v1/endpoints/nobody', 404);
    const one = '/v1/endpoints/mail/deployments/blue';
    await ask(`put ${endpoint}/deployments/{deployment}`, one, 201, { deployment, set_default: true });
    await ask(`get ${endpoint}/deployments/{deployment}`, one, 200);
    await ask(`get ${endpoint}/deployments`, '/v1/endpoints/mail/deployments', 200);
    await ask(`get ${endpoint}/deployments/{deployment}/revisions`, `${one}/revisions`, 200);
    await ask(`get ${endpoint}`, '/v1/endpoints/mail', 200);
    await ask('get /v1/endpoints', '/v1/endpoints', 200);
    await ask(`post ${endpoint}/jobs`, '/v1/endpoints/mail/jobs', 201, { input, priority: 5 });
    await ask(`post ${endpoint}/jobs`, '/v1/endpoints/mail/jobs', 400, { input, nonsense: 1 });
    await ask('post /v1/data', '/v1/data', 201, { name: 'given', path: input });
    await ask('get /v1/data', '/v1/data', 200);
    await ask('get /v1/data/{name}/versions/{version}', '/v1/data/given/versions/1', 200);
    await ask('put /v1/datastores/{name}', '/v1/datastores/mine', 201, { location: dir });
    await ask('get /v1/datastores', '/v1/datastores', 200);
    await ask('put /v1/computes/{name}', '/v1/computes/gpu', 201, { labels: { gpu: 'yes' } });
    await ask('get /v1/computes/{name}', '/v1/computes/gpu', 200);
  });

  test('is found wrong where it is not, or says more than the document', () => {
    const route = 'get /v1/jobs/{name}/output';
    expect(document.differences(route, 200, { value: [{ path: 'a', size_bytes: 1 }] })).toEqual([]);
    expect(document.differences(route, 200, { value: [{ path: 'a' }] })).toHaveLength(1);
    expect(document.differences(route, 200, { value: [{ path: 'a', size_bytes: 1, more: 1 }] })).toHaveLength(1);
    expect(document.differences(route, 200, { value: [{ path: 'a', size_bytes: -1 }] })).toHaveLength(1);
  });
});
