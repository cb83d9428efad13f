/** `job logs --follow` against the real HTTP API: logs that grow, a job that ends, a coordinator that goes away. */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startApi, type ApiHandle } from '../../coordinator/api/server.ts';
import { cli, testHost, type CliRun } from '../helpers/cli-host.ts';
import { FakeBackend } from '../helpers/fake-backend.ts';
import { runCli } from '../../cli/run-cli.ts';

let dir = '';
let backend: FakeBackend;
let api: ApiHandle;

const startOn = async (port: number): Promise<ApiHandle> =>
  await startApi({ backend, host: '127.0.0.1', port, onDefect: () => undefined });

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-follow-'));
  backend = new FakeBackend(dir);
  api = await startOn(0);
});
afterEach(async () => {
  await api.close();
  rmSync(dir, { recursive: true, force: true });
});

const one = 'user/stdout/n1/process000.stdout.txt';
const two = 'user/stdout/n2/process000.stdout.txt';

/** As when a piece of a log has come from a node. */
function print(path: string, bytes: string | Uint8Array): void {
  const target = join(dir, '_logs', path);
  mkdirSync(dirname(target), { recursive: true });
  appendFileSync(target, bytes);
}

const args = (): readonly string[] => ['job', 'logs', 'job-1', '--follow', '--server', `127.0.0.1:${api.address.port}`];

/** `between[n]` happens after the command's look number n. */
async function follow(
  between: readonly (() => void | Promise<void>)[],
  more: readonly string[] = [],
): Promise<CliRun & { readonly looks: number }> {
  let looks = 0;
  const delay = async (): Promise<void> => {
    await between[looks]?.();
    looks += 1;
  };
  const run = await cli([...args(), ...more], { cwd: dir, delay });
  return { ...run, looks };
}

test('shows what is there, then what comes, each byte once, and ends some looks after the job', async () => {
  print(one, 'init done\nscoring a\n');
  const { code, stdout, stderr, looks } = await follow([
    () => print(one, 'scoring b\n'),
    () => undefined,
    () => {
      print(two, 'init done\n');
      backend.finish('Completed');
    },
    () => print(one, 'the last words\n'),
  ]);
  expect(code).toBe(0);
  expect(stdout).toBe('init done\nscoring a\nscoring b\ninit done\nthe last words\n');
  expect(stderr).toBe(`==> ${one} <==\n==> ${two} <==\n==> ${one} <==\n`);
  // News, then three looks without any.
  expect(looks).toBe(4 + 3);
});

test('a character that comes in two pieces is one, and lines of two processes are not run together', async () => {
  const [first, second] = [
    Buffer.from('gr\u00fc\u00dfe, 50 %').subarray(0, 3),
    Buffer.from('gr\u00fc\u00dfe, 50 %').subarray(3),
  ];
  print(one, first);
  const { stdout } = await follow([
    () => print(one, second),
    () => print(two, 'of another\n'),
    () => {
      print(one, ', 100 %\n');
      backend.finish('Completed');
    },
  ]);
  expect(stdout).toBe('gr\u00fc\u00dfe, 50 %\nof another\n, 100 %\n');
});

test('only what was asked for, whatever else there is', async () => {
  print(one, 'of one\n');
  print(two, 'of two\n');
  print('user/stderr/n2/process000.stderr.txt', 'a warning\n');
  print('sys/node/n2/process000.txt', 'a record\n');
  backend.finish('Completed');
  expect((await follow([], ['--node', 'n2', '--stream', 'stdout'])).stdout).toBe('of two\n');
  expect((await follow([], ['--stream', 'stderr'])).stdout).toBe('a warning\n');
});

test('waits for a coordinator that goes away, and shows nothing twice', async () => {
  print(one, 'before\n');
  const { port } = api.address;
  const { code, stdout, stderr } = await follow([
    () => api.close(),
    async () => {
      print(one, 'meanwhile\n');
      api = await startOn(port);
    },
    () => backend.finish('Completed'),
  ]);
  expect(code, stderr).toBe(0);
  expect(stdout).toBe('before\nmeanwhile\n');
  expect(stderr.match(/connection lost, trying again: no answer from the coordinator/g)).toHaveLength(1);
});

test('gives up when the coordinator stays away', async () => {
  const { code, stderr } = await follow([() => api.close()]);
  expect(code).toBe(5);
  expect(stderr).toContain('COORDINATOR_UNREACHABLE');
  api = await startOn(0);
});

test('Ctrl-C ends it and leaves the job alone', async () => {
  print(one, 'so far\n');
  const host = testHost({
    cwd: dir,
    delay: () => {
      host.interrupt();
      return Promise.resolve();
    },
  });
  expect(await runCli(args(), host)).toBe(130);
  expect(host.out).toBe('so far\n');
  expect([backend.canceled, host.exits]).toEqual([[], []]);
});
