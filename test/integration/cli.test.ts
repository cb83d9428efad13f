/** The command line against the real HTTP API, with the backend replaced. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runCli } from '../../cli/run-cli.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { compiledFile } from '../../common/io/package-files.ts';
import { startApi, type ApiHandle } from '../../coordinator/api/server.ts';
import { cli, testHost, type CliRun, type TestHost, type TestHostOptions } from '../helpers/cli-host.ts';
import { FakeBackend } from '../helpers/fake-backend.ts';

let dir = '';
let backend: FakeBackend;
let api: ApiHandle;

const startOn = async (port: number): Promise<ApiHandle> =>
  await startApi({ backend, host: '127.0.0.1', port, onDefect: () => undefined });

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-cli-'));
  await writeFile(join(dir, 'digits.onnx'), '');
  await writeFile(join(dir, 'predictions.csv'), 'file,label\na.png,7\n');
  backend = new FakeBackend(dir);
  api = await startOn(0);
});
afterEach(async () => {
  await api.close();
  expect(backend.subscriptions).toBe(0);
  await rm(dir, { recursive: true, force: true });
});

const server = (): readonly string[] => ['--server', `127.0.0.1:${api.address.port}`];

async function job(args: readonly string[], options: TestHostOptions = {}): Promise<CliRun> {
  return await cli(['job', ...args, ...server()], { cwd: dir, ...options });
}

const submit = ['submit', 'digits.onnx', '--input', 'in', '--output', 'out', '--by-path'];

describe('submit', () => {
  test('sends the resolved deployment and absolute paths, and says the next command', async () => {
    const { code, stdout, stderr } = await job([
      ...submit,
      '--name',
      'mine',
      '--overwrite',
      '--set',
      'settings.mini_batch_size=3',
      'settings.error_threshold=0',
    ]);
    expect(code).toBe(0);
    expect(backend.submitted).toHaveLength(1);
    expect(backend.submitted[0]).toMatchObject({
      name: 'mine',
      inputPath: join(dir, 'in'),
      outputDir: join(dir, 'out'),
      isOverwrite: true,
      deployment: {
        name: 'digits',
        model: { kind: 'file', path: join(dir, 'digits.onnx') },
        settings: { miniBatchSize: { kind: 'files', files: 3 }, errorThreshold: 0 },
      },
    });
    expect(stdout).toMatch(/^\{\n {2}"name": "mine",\n {2}"status": "Queued"/);
    expect(stderr).toContain('job         mine\nnext        batchmill job stream mine\n');
  });

  test('a refusal keeps its code and its exit code', async () => {
    backend.submitError = new BatchError('OUTPUT_EXISTS', '/out holds results', { detail: 'predictions.csv' });
    const { code, stdout, stderr } = await job(submit);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain('error OUTPUT_EXISTS: /out holds results');
    expect(stderr).toContain('    predictions.csv');
  });

  test('--wait answers with the end of the job, and with one document only', async () => {
    backend.submitsAs = 'job-1';
    backend.finish('Completed');
    const { code, stdout } = await job([...submit, '--wait']);
    expect([code, (JSON.parse(stdout) as { status: string }).status]).toEqual([0, 'Completed']);
  });
});

describe('questions', () => {
  test('list, show and nodes answer in every format', async () => {
    expect(JSON.parse((await job(['list'])).stdout)).toEqual(backend.list());
    expect((await job(['list', '-o', 'tsv'])).stdout).toMatch(/^job-1\tRunning\t250\/500\t0\t250\tdigits\t/);
    expect((await job(['show', 'last', '-o', 'yaml'])).stdout).toMatch(/^name: job-1\nstatus: Running\n/);
    expect((await job(['show', 'last'], { isTerminal: true })).stdout).toMatch(/^name +job-1\nstatus +Running\n/);
    const nodes = await cli(['node', 'list', ...server(), '-o', 'table']);
    expect(nodes.stdout.split('\n')[1]).toMatch(/^node-1 +ready +2 +1 +host +7 /);
  });

  test('list takes the jobs that are archived, too, or alone', async () => {
    for (const flag of ['--include-archived', '--archived-only']) {
      expect(await job(['list', flag])).toMatchObject({ code: 0, stderr: '' });
    }
  });

  test('the server may come from the environment', async () => {
    const environment = { BATCHMILL_SERVER: `http://127.0.0.1:${api.address.port}` };
    expect((await cli(['job', 'list'], { environment })).code).toBe(0);
  });

  test('an unknown job is exit code 3', async () => {
    const { code, stderr } = await job(['show', 'nobody']);
    expect([code, stderr]).toEqual([3, expect.stringContaining('error JOB_NOT_FOUND: no job is called nobody')]);
  });

  test('cancel answers with the job', async () => {
    const { code, stdout } = await job(['cancel', 'last']);
    expect([code, (JSON.parse(stdout) as { status: string }).status]).toEqual([0, 'CancelRequested']);
    expect(backend.canceled).toEqual(['job-1']);
  });
});

describe('wait and stream', () => {
  test.each([
    ['wait', 'Completed', 0],
    ['wait', 'Failed', 1],
    ['wait', 'Canceled', 4],
    ['stream', 'Completed', 0],
    ['stream', 'Failed', 1],
    ['stream', 'Canceled', 0],
  ] as const)('%s on %s', async (verb, status, wanted) => {
    backend.emit(2);
    if (status === 'Failed') backend.change({ error: { code: 'NO_RESULTS', message: 'no rows', detail: '' } });
    backend.finish(status);
    const { code, stdout, stderr } = await job([verb, 'last']);
    expect(code).toBe(wanted);
    expect(stderr).toContain(`job-1 ${status}: 250 of 500 files`);
    if (verb === 'wait') expect((JSON.parse(stdout) as { status: string }).status).toBe(status);
    else expect(stdout).toBe('09:30:13  event 3\n');
    expect(stderr.includes('error NO_RESULTS: no rows')).toBe(status === 'Failed');
  });

  test('stream -o json is one line of JSON an event', async () => {
    backend.finish('Completed');
    const { stdout } = await job(['stream', 'last', '-o', 'json']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { sequence: number }).sequence)).toEqual([1]);
  });

  test('Ctrl-C detaches, leaves the job alone and says how to come back', async () => {
    const host = testHost({ cwd: dir });
    const run = runCli(['job', 'stream', 'job-1', ...server()], host);
    await backend.subscriptionsReach(1);
    host.interrupt();
    expect(await run).toBe(130);
    expect(host.err).toContain('Come back with: batchmill job stream job-1');
    expect([backend.canceled, host.exits]).toEqual([[], []]);
    await backend.subscriptionsReach(0);
  });

  /** Runs `stream` on a host whose waiting is a restart of the coordinator. */
  async function streamAcross(restart: (host: TestHost) => Promise<void>): Promise<{ host: TestHost; code: number }> {
    const host: TestHost = testHost({ cwd: dir, delay: async () => await restart(host) });
    const run = runCli(['job', 'stream', 'job-1', '-o', 'tsv', ...server()], host);
    await backend.subscriptionsReach(1);
    backend.push('state');
    backend.push('state');
    await backend.delivered(2);
    await api.close();
    return { host, code: await run };
  }

  test('a coordinator that comes back is followed on, without a line lost or doubled', async () => {
    let tries = 0;
    const { host, code } = await streamAcross(async () => {
      tries += 1;
      if (tries !== 3) return;
      backend.push('state');
      backend.finish('Completed');
      api = await startOn(api.address.port);
    });
    expect(code).toBe(0);
    expect(host.out.split('\n').map((line) => line.split('\t')[0])).toEqual(['1', '2', '3', '4', '']);
    expect(host.err.split('connection lost')).toHaveLength(2);
    expect(tries).toBe(3);
  });

  test('one that stays away is given up', async () => {
    const { host, code } = await streamAcross(async () => Promise.resolve());
    expect(code).toBe(5);
    expect(host.err).toContain('error COORDINATOR_UNREACHABLE');
  });
});

describe('download', () => {
  test('fetches every file whole, and leaves nothing half', async () => {
    const { code, stdout } = await job(['download', 'last', '--output', 'got']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual([{ path: 'predictions.csv', size_bytes: 19 }]);
    expect(await readdir(join(dir, 'got'))).toEqual(['predictions.csv']);
    expect(await readFile(join(dir, 'got/predictions.csv'), 'utf8')).toBe('file,label\na.png,7\n');
  });

  test('does not touch what is there unless told to', async () => {
    await job(['download', 'last', '--output', 'got']);
    await writeFile(join(dir, 'got/predictions.csv'), 'mine');
    const again = await job(['download', 'last', '--output', 'got']);
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('error OUTPUT_EXISTS: ')]);
    expect(await readFile(join(dir, 'got/predictions.csv'), 'utf8')).toBe('mine');
    expect((await job(['download', 'last', '--output', 'got', '--overwrite'])).code).toBe(0);
    expect(await readFile(join(dir, 'got/predictions.csv'), 'utf8')).toBe('file,label\na.png,7\n');
  });

  test('a job that is not done says so', async () => {
    backend.outputError = new BatchError('JOB_NOT_FINISHED', 'job-1 is Running');
    expect((await job(['download', 'last', '--output', 'got'])).code).toBe(2);
  });
});

describe('servers that are no coordinator', () => {
  let other: Server;
  const listen = async (reply: (url: string) => { status: number; body: string }): Promise<readonly string[]> => {
    other = createServer((request, response) => {
      const { status, body } = reply(request.url ?? '');
      response.writeHead(status, { 'content-type': 'application/json' }).end(body);
    });
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    return ['--server', `127.0.0.1:${(other.address() as AddressInfo).port}`];
  };
  afterEach(() => other.close());

  test.each([
    ['another program', { status: 200, body: '{"hello":"world"}' }],
    ['an error of another program', { status: 404, body: '<html>' }],
  ])('%s', async (_what, reply) => {
    const where = await listen(() => reply);
    const { code, stderr } = await cli(['job', 'list', ...where]);
    expect([code, stderr]).toEqual([5, expect.stringContaining('is not the HTTP API of a Batchmill coordinator')]);
  });

  test('one that names files outside of the folder writes none of them', async () => {
    const where = await listen((path) => {
      if (path.endsWith('/output')) return { status: 200, body: '{"value":[{"path":"../evil","size_bytes":1}]}' };
      return { status: 200, body: path.includes('/output/') ? 'x' : JSON.stringify(backend.show('last')) };
    });
    const { code, stderr } = await cli(['job', 'download', 'last', '--output', 'got', ...where], { cwd: dir });
    expect(code).not.toBe(0);
    expect(stderr).toContain('lies outside of');
    expect(await readdir(dir)).not.toContain('evil');
  });

  test('nobody at all is exit code 5 and says how to start one', async () => {
    const where = await listen(() => ({ status: 200, body: '' }));
    await new Promise((resolve) => other.close(resolve));
    const { code, stdout, stderr } = await cli(['job', 'list', ...where]);
    expect([code, stdout]).toEqual([5, '']);
    expect(stderr).toMatch(/error COORDINATOR_UNREACHABLE: no answer .*ECONNREFUSED.*batchmill coordinator start/);
  });
});

describe('the compiled program', () => {
  const main = compiledFile('cli', 'main.js');
  test('has been built; if not, run `npm run build`', () => expect(existsSync(main)).toBe(true));

  test('a real Ctrl-C detaches and gives the shell 130', async () => {
    const child = spawn(process.execPath, [main, 'job', 'stream', 'job-1', ...server()], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    const ended = once(child, 'close');
    await backend.subscriptionsReach(1);
    child.kill('SIGINT');
    expect((await ended)[0]).toBe(130);
    expect(stderr).toContain('detached; the job goes on');
    await backend.subscriptionsReach(0);
  });

  test('a reader that has seen enough is no error', async () => {
    const child = spawn(process.execPath, [main, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    expect((await once(child, 'close'))[0]).toBe(0);
  });
});
