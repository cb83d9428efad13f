/** Paths of a machine that is not the coordinator's. */
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { cli, type CliRun } from '../helpers/cli-host.ts';
import { jobView } from '../helpers/fake-backend.ts';

interface Told {
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
}

let dir = '';
let server: ReturnType<typeof createServer>;
let told: Told[] = [];
let uploads = 0;

const schedule = {
  ...{ name: 's', cron: '@daily', time_zone: 'UTC', endpoint_name: 'digits', deployment_name: null, body: {} },
  ...{ missed: 'once', is_paused: false, next_runs: [], last_run: null },
};

/** It has no artifact yet, and takes what it is told. */
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-laptop-'));
  [told, uploads] = [[], 0];
  let digest = '';
  server = createServer((request, response) => {
    const { url = '', method } = request;
    const end = (value: unknown): void => void response.end(JSON.stringify(value));
    if (url === '/v1/server') return end({ release: '1', hostname: 'elsewhere', state_dir: '/', instance: 'x' });
    if (method === 'HEAD') {
      digest = decodeURIComponent(url.split('/').at(-1) ?? '');
      return void response.writeHead(404).end();
    }
    if (url.startsWith('/v1/artifacts?')) {
      uploads += 1;
      return void request.resume().on('end', () => end({ kind: 'folder', name: 'in', digest, bytes: 1 }));
    }
    void json(request).then((body) => {
      told.push({ path: url, body: body as Told['body'] });
      end(method === 'PUT' ? schedule : jobView('job-1', 'Running'));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  await writeFile(join(dir, 'digits.onnx'), 'a model');
  await mkdir(join(dir, 'in'));
  await writeFile(join(dir, 'in', 'a.png'), 'an image');
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(dir, { recursive: true, force: true });
});

const run = async (...args: readonly string[]): Promise<CliRun> => {
  const where = ['--server', `http://127.0.0.1:${(server.address() as AddressInfo).port}`];
  return await cli([...args, ...where], { cwd: dir });
};
const sent = expect.stringMatching(/^sha256:[0-9a-f]{64}$/) as string;

it.each([
  ['resume', []],
  ['retry', ['--failed-only']],
])('job %s sends the model of another deployment', async (verb, flags) => {
  expect(await run('job', verb, 'job-1', '--deployment', 'digits.onnx', ...flags)).toMatchObject({ code: 0 });
  const model = { kind: 'file', name: 'digits.onnx', digest: sent };
  expect(told).toMatchObject([{ path: `/v1/jobs/job-1/${verb}`, body: { deployment: { model } } }]);
  expect(uploads).toBe(1);
});

const scheduled = ['schedule', 'create', 's', '--cron', '@daily', '--endpoint', 'digits'];

it('schedule create sends the input, and says that it will not change', async () => {
  const { code, stderr } = await run(...scheduled, '--input', 'in');
  expect([code, stderr]).toEqual([0, expect.stringContaining('is sent as it is now, and each run scores that')]);
  expect(told).toMatchObject([{ path: '/v1/schedules/s', body: { body: { input: sent } } }]);
  // What is not here is there, or will be.
  expect((await run(...scheduled, '--input', '/data/arrivals')).stderr).toBe('');
  expect(told[1]).toMatchObject({ body: { body: { input: '/data/arrivals' } } });
  expect(uploads).toBe(1);
});

const output = "note: the output lies on the coordinator's machine; `batchmill job download NAME` fetches it\n";

it('says whose disk paths are looked for on, where they look like this one’s', async () => {
  await writeFile(join(dir, 'list.csv'), 'file\na.png\n');
  const submit = ['job', 'submit', 'digits.onnx', '--input', 'in'];
  expect((await run(...submit, '--output', 'out')).stderr).toContain(output);
  const listed = await run(...submit, '--output', '/out', '--input-list', 'list.csv', '--since', './before');
  expect(listed.stderr).toContain(`note: --input-list ${join(dir, 'list.csv')} is looked for on the coordinator's`);
  expect(listed.stderr).toContain(`note: --since ${join(dir, 'before')} is looked for on the coordinator's machine`);
  expect(listed.stderr).not.toContain(output);
  const invoked = await run('batch-endpoint', 'invoke', '-n', 'digits', '--input', 'in', '--output-path', 'out');
  expect([invoked.code, invoked.stderr]).toEqual([0, expect.stringContaining(output)]);
  expect((await run(...scheduled, '--input', '/in', '--output-path', 'out')).stderr).toContain(output);
  expect((await run(...submit, '--output', 'out', '--by-path')).stderr).not.toContain('note: ');
});
