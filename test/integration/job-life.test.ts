/** What people do to jobs after submitting them: the command line and the HTTP API, with the backend replaced. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startApi, type ApiHandle } from '../../coordinator/api/server.ts';
import { cli, type CliRun } from '../helpers/cli-host.ts';
import { FakeBackend } from '../helpers/fake-backend.ts';

let dir = '';
let backend: FakeBackend;
let api: ApiHandle;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-life-'));
  await writeFile(join(dir, 'digits.onnx'), '');
  backend = new FakeBackend(dir);
  api = await startApi({ backend, host: '127.0.0.1', port: 0, onDefect: () => undefined });
});
afterEach(async () => {
  await api.close();
  await rm(dir, { recursive: true, force: true });
});

async function job(...args: readonly string[]): Promise<CliRun> {
  return await cli(['job', ...args, '--server', `127.0.0.1:${api.address.port}`], { cwd: dir });
}

async function post(path: string, body: unknown): Promise<Response> {
  const url = `http://127.0.0.1:${api.address.port}/v1/jobs/${path}`;
  const headers = { 'content-type': 'application/json' };
  return await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
}

const nothing = {
  ...{ deployment: null, miniBatchSize: null, timeoutMs: null, triesMax: null },
  ...{ errorThreshold: null, instanceCountMax: null, concurrencyPerInstanceMax: null },
};

describe('the command line', () => {
  test('cancel gives a grace of 30 s unless told otherwise, and none by force', async () => {
    for (const flags of [[], ['--grace', '2.5'], ['--force'], ['--grace', '0']]) {
      expect((await job('cancel', 'last', ...flags)).code).toBe(0);
    }
    expect(backend.graces).toEqual([30_000, 2_500, 0, 0]);
  });

  test('pause and resume answer with the job', async () => {
    const paused = await job('pause', 'last', '-o', 'table');
    expect([paused.code, paused.stdout]).toEqual([0, expect.stringContaining('Running, paused')]);
    const resumed = await job('resume', 'job-1');
    expect(JSON.parse(resumed.stdout)).toMatchObject({ name: 'job-1', paused: false });
    expect(backend.reopened).toEqual([{ verb: 'resume', name: 'job-1', request: nothing }]);
  });

  test('resume and retry say what is to change, and nothing of what stays', async () => {
    const flags = ['--mini-batch-size', '64MB', '--timeout', '90', '--max-retries', '2', '--error-threshold', '-1'];
    expect((await job('resume', 'job-1', ...flags, '--instance-count', '3', '--slots-per-node', '1')).code).toBe(0);
    expect(backend.reopened.at(-1)?.request).toEqual({
      ...{ deployment: null, miniBatchSize: { kind: 'bytes', bytes: 67_108_864 }, timeoutMs: 90_000, triesMax: 2 },
      ...{ errorThreshold: -1, instanceCountMax: 3, concurrencyPerInstanceMax: 1 },
    });
    const retried = await job(
      'retry',
      'job-1',
      '--failed-only',
      '--by-path',
      '--deployment',
      'digits.onnx',
      '--mini-batch-size',
      '7',
    );
    expect(retried.code, retried.stderr).toBe(0);
    const { verb, request } = backend.reopened.at(-1) ?? {};
    expect([verb, request?.deployment?.name, request?.miniBatchSize]).toEqual([
      'retry',
      'digits',
      { kind: 'files', files: 7 },
    ]);
  });

  test('prune names what it took', async () => {
    const pruned = await job('prune', 'job-1', '--older-than', '30d', '--state', 'failed', '--dry-run', '--output');
    expect(pruned.stderr).toContain('1 jobs would be pruned');
    expect(JSON.parse(pruned.stdout)).toMatchObject([{ name: 'job-1', output_removed: true }]);
    const wanted = {
      names: ['job-1'],
      olderThanMs: 2_592_000_000,
      states: ['Failed'],
      isDryRun: true,
      withOutput: true,
    };
    expect(backend.pruned).toEqual([wanted]);
    expect((await job('prune', '--all')).code).toBe(0);
    expect(backend.pruned.at(-1)).toMatchObject({ names: [], olderThanMs: null, states: null, isDryRun: false });
  });

  test.each([
    [['retry', 'job-1'], 'say --failed-only'],
    [['prune'], 'say which jobs'],
    [['prune', '--state', 'Running'], 'wanted Completed, Failed or Canceled'],
    [['prune', '--older-than', 'long'], '--older-than: wanted a time such as 30d'],
    [['cancel', 'job-1', '--grace', 'soon'], '--grace: wanted seconds'],
    [['resume', 'job-1', '--mini-batch-size', 'x'], '--mini-batch-size: a count of files'],
    [['resume', 'job-1', '--set', 'a=b'], 'give it too'],
  ])('%j is wrong usage', async (args, reason) => {
    const { code, stderr } = await job(...args);
    expect([code, stderr]).toEqual([2, expect.stringContaining(reason)]);
    expect([backend.reopened, backend.pruned, backend.canceled]).toEqual([[], [], []]);
  });
});

describe('the HTTP API', () => {
  test('takes no body for what has defaults', async () => {
    expect((await post('job-1/cancel', {})).status).toBe(202);
    expect((await post('job-1/pause', {})).status).toBe(202);
    expect((await post('job-1/resume', { mini_batch_size: '20' })).status).toBe(202);
    expect(backend.graces).toEqual([30_000]);
    expect(backend.reopened.at(-1)?.request).toEqual({ ...nothing, miniBatchSize: { kind: 'files', files: 20 } });
  });

  test.each([
    ['job-1/cancel', { grace: 3 }],
    ['job-1/cancel', { grace_seconds: -1 }],
    ['job-1/resume', { timeout_seconds: 0 }],
    ['job-1/resume', { deployment: 'relative.yml' }],
    ['job-1/retry', {}],
    ['job-1/retry', { failed_only: false }],
    ['prune', { states: ['Gone'] }],
  ])('POST %s %j is refused', async (path, body) => {
    const reply = await post(path, body);
    expect([reply.status, await reply.json()]).toEqual([400, expect.objectContaining({ code: 'REQUEST_INVALID' })]);
    expect([backend.reopened, backend.pruned, backend.canceled]).toEqual([[], [], []]);
  });
});
