/** Azure's data plane on a real coordinator: routing to deployments, envelopes, lists and errors. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatAddress } from '../../common/config/address.ts';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import type { AzureJob } from '../../coordinator/api/azure/azure-envelope.ts';
import { ApiDocument } from '../helpers/api-document.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { until } from '../helpers/programs.ts';

let cluster: LocalCluster;
let document: ApiDocument;
let origin = '';
let input = '';
/** As the endpoint says it. */
let scoringUri = '';
beforeEach(async () => {
  cluster = await LocalCluster.start({ http: { host: '127.0.0.1', port: 0 } });
  const { http } = cluster.coordinator;
  origin = http === null ? '' : `http://${formatAddress(http)}`;
  document = await ApiDocument.of(origin);
  input = writeInputs(join(cluster.dir, 'in'), [['a.txt', 'a']]);
  const made = await send('PUT', `${origin}/v1/endpoints/Fraud`, {});
  scoringUri = ((await made.json()) as { scoring_uri: string }).scoring_uri;
});
afterEach(() => cluster.close());

const json = { 'content-type': 'application/json' };
async function send(method: string, url: string, body: unknown): Promise<Response> {
  return await fetch(url, { method, headers: json, body: JSON.stringify(body) });
}

async function deploy(name: string): Promise<void> {
  const deployment = await loadDeployment(writeDeployment(cluster.dir, name, { script: 'hash-rows.mjs' }));
  const reply = await send('PUT', `${origin}/v1/endpoints/Fraud/deployments/${name}`, { deployment });
  expect(reply.status).toBe(201);
}

/** A body with what samples have: capitals, a trailing comma, a number as text. */
const bodyOf = (more = ''): string =>
  `{ "properties": { "InputData": { "any": { "JobInputType": "UriFolder", "Uri": ${JSON.stringify(input)}, }, }, ${more} }, }`;

async function post(headers: Record<string, string> = {}, body = bodyOf(), uri = scoringUri): Promise<Response> {
  return await fetch(uri, { method: 'POST', headers: { ...json, ...headers }, body });
}

const route = '/azure/endpoints/{endpoint}/jobs';
/** Of a reply that the document knows. */
async function jobOf(reply: Response, status: number): Promise<AzureJob> {
  const found = (await reply.json()) as AzureJob;
  expect([reply.status, document.differences(`post ${route}`, status, found)]).toEqual([status, []]);
  return found;
}
async function errorOf(reply: Response, status: number): Promise<{ code: string; message: string; details: unknown }> {
  const found = (await reply.json()) as { error: { code: string; message: string; details: unknown } };
  expect([reply.status, document.differences(`post ${route}`, reply.status, found)]).toEqual([status, []]);
  return found.error;
}

describe('invoking', () => {
  test('answers 201 with the envelope, whose id leads to the job and to its rows', async () => {
    await deploy('blue');
    expect(scoringUri).toBe(`${origin}/azure/endpoints/Fraud/jobs`);
    const reply = await post({}, bodyOf('"errorThreshold": "0", "outputFileName": "rows.csv", "displayName": "Mine",'));
    const job = await jobOf(reply, 201);
    expect(reply.headers.get('location')).toBe(job.id);
    expect(job).toMatchObject({
      systemData: { createdBy: 'local' },
      properties: {
        ...{ provisioningState: 'InProgress', outputFileName: expect.stringContaining('rows.csv') as string },
        ...{ displayName: 'Mine', inputData: { input: { jobInputType: 'UriFolder', uri: input } } },
        interactionEndpoints: { Studio: { endpoint: `${origin}/v1/jobs/${job.name}` } },
      },
    });
    await cluster.join('n1', 1);
    const poll = async (): Promise<AzureJob> => {
      const id = job.id.slice(job.id.lastIndexOf('/') + 1);
      return (await (await fetch(`${scoringUri}/${id}`)).json()) as AzureJob;
    };
    await until(async () => (await poll()).properties.provisioningState !== 'InProgress', 'the end of the job');
    const { properties } = await poll();
    expect([properties.status, properties.provisioningState]).toEqual(['Completed', 'Succeeded']);
    expect(document.differences(`get ${route}/{id}`, 200, await poll())).toEqual([]);
    const file = join(properties.outputData['score']?.uri ?? '', properties.outputFileName ?? '');
    expect(readFileSync(file, 'utf8')).toContain('a.txt');
  });

  test('a key makes one job of many calls, and of one other body a refusal', async () => {
    await deploy('blue');
    const key = { 'idempotency-key': 'k1' };
    const first = await jobOf(await post(key), 201);
    expect((await jobOf(await post(key), 200)).name).toBe(first.name);
    const other = await errorOf(await post(key, bodyOf('"description": "another",')), 422);
    expect(other).toMatchObject({ code: 'UserError', details: [{ code: 'IDEMPOTENCY_MISMATCH' }] });
    expect(cluster.coordinator.jobs.list()).toHaveLength(1);
  });

  test('goes to the deployment that is named, the default one, the only one, or none', async () => {
    expect((await errorOf(await post(), 424)).message).toContain('No deployment exists for this endpoint');
    await deploy('blue');
    expect((await jobOf(await post(), 201)).properties.deployment).toBe('blue');
    await deploy('green');
    const undecided = await errorOf(await post(), 424);
    expect(undecided.code).toBe('FailedDependency');
    expect(undecided.message).toContain('No valid deployments to route to');
    const named = await jobOf(await post({ 'azureml-model-deployment': 'GREEN' }), 201);
    expect(named.properties.deployment).toBe('green');
    const unknown = await errorOf(await post({ 'azureml-model-deployment': 'red' }), 404);
    expect(unknown.message).toContain('Deployment name red not found for this endpoint');
    await send('PUT', `${origin}/v1/endpoints/Fraud`, { defaults: { deployment_name: 'green' } });
    expect((await jobOf(await post(), 201)).properties.deployment).toBe('green');
    const missing = await errorOf(await post({}, bodyOf(), scoringUri.replace('Fraud', 'other')), 404);
    expect(missing.code).toBe('NotFound');
    expect((await post({}, bodyOf(), scoringUri.replace('Fraud', 'FRAUD'))).status).toBe(201);
    expect(cluster.coordinator.jobs.list()).toHaveLength(4);
  });

  test('what is wrong comes back in the envelope, and reaches nobody', async () => {
    await deploy('blue');
    for (const more of [
      '"nonsense": 1,',
      '"errorThreshold": "ten",',
      '"name": "no name",',
      '"loggingLevel": "loud",',
    ]) {
      const error = await errorOf(await post({}, bodyOf(more)), 400);
      expect([more, error]).toMatchObject([more, { code: 'BadRequest', details: [{ code: 'REQUEST_INVALID' }] }]);
    }
    expect((await errorOf(await post({}, '{"properties"'), 400)).message).toContain('the body is not JSON');
    input = join(cluster.dir, 'nowhere');
    expect(await errorOf(await post(), 404)).toMatchObject({ details: [{ code: 'INPUT_NOT_FOUND' }] });
    expect(cluster.coordinator.jobs.list()).toEqual([]);
    // Our own routes stay strict.
    const strict = await fetch(`${origin}/v1/jobs/prune`, {
      method: 'POST',
      headers: json,
      body: '{"dry_run": true,}',
    });
    expect([strict.status, await strict.json()]).toMatchObject([400, { code: 'REQUEST_INVALID' }]);
  });
});

test('lists go on at nextLink, by endpoint and by deployment; a job is seen under its own endpoint only', async () => {
  await deploy('blue');
  await deploy('green');
  const names: string[] = [];
  for (let i = 0; i < 53; i += 1) {
    const job = await jobOf(await post({ 'azureml-model-deployment': i === 5 ? 'green' : 'blue' }), 201);
    names.unshift(job.name);
  }
  type Page = { readonly value: readonly AzureJob[]; readonly nextLink: string | null };
  const page = async (url: string): Promise<Page> => (await (await fetch(url)).json()) as Page;
  const first = await page(`${scoringUri}?api-version=2022-05-01`);
  expect(document.differences(`get ${route}`, 200, first)).toEqual([]);
  const second = await page(first.nextLink ?? '');
  expect(new URL(first.nextLink ?? '').searchParams.get('api-version')).toBe('2022-05-01');
  expect(second.nextLink).toBeNull();
  expect([...first.value, ...second.value].map(({ name }) => name)).toEqual(names);
  const green = [names[47]];
  const byQuery = await page(`${scoringUri}?deployment=Green`);
  const byPath = await page(`${origin}/azure/endpoints/fraud/deployments/green/jobs`);
  expect([byQuery, byPath].map(({ value }) => value.map(({ name }) => name))).toEqual([green, green]);
  await send('PUT', `${origin}/v1/endpoints/other`, {});
  expect((await page(`${origin}/azure/endpoints/other/jobs`)).value).toEqual([]);
  for (const path of [`other/jobs/${names[0]}`, 'fraud/jobs/last', 'fraud/jobs/nobody', 'nowhere/jobs']) {
    const reply = await fetch(`${origin}/azure/endpoints/${path}`);
    expect([path, reply.status]).toEqual([path, 404]);
    expect(await reply.json()).toMatchObject({ error: { code: 'NotFound' } });
  }
});
