/** Downloads, logs and events over connections that break, and over those where nothing comes any more. */
import { once } from 'node:events';
import type { FileHandle } from 'node:fs/promises';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createClient } from '../../cli/client.ts';
import { fetchFile } from '../../cli/fetch-file.ts';
import { runCli } from '../../cli/run-cli.ts';
import { limits } from '../../common/core/limits.ts';
import { deferred } from '../../common/io/deferred.ts';
import { failing } from '../helpers/failing.ts';
import { cli, testHost, type TestHost } from '../helpers/cli-host.ts';
import { FakeBackend } from '../helpers/fake-backend.ts';

let dir = '';
const undo: (() => unknown)[] = [];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-broken-'));
  undo.push(() => rm(dir, { recursive: true }));
});
afterEach(async () => {
  vi.useRealTimers();
  for (const one of undo.splice(0).reverse()) await one();
});

/** A coordinator with one job, whose files are answered for by `answer`; its port. */
async function serve(sizeBytes: number, answer: RequestListener): Promise<number> {
  const job = JSON.stringify({ ...new FakeBackend(dir).show('last'), output_bytes: sizeBytes });
  const list = JSON.stringify({ value: [{ path: 'predictions.csv', size_bytes: sizeBytes }] });
  const server = createServer((request, response) => {
    const { url = '' } = request;
    if (/\/jobs\/(last|job-1)$/.test(url)) response.end(job);
    else if (url.endsWith('/output')) response.end(list);
    else answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  undo.push(() => (server.closeAllConnections(), server.close()));
  return (server.address() as AddressInfo).port;
}

const download = (port: number): readonly string[] => [
  ...['job', 'download', 'last', '--output', 'got', '--server', `http://127.0.0.1:${port}`],
];

it('a download goes on where it broke as often as something comes', async () => {
  const rows = 'a,1\n'.repeat(8);
  const asked: (string | undefined)[] = [];
  const port = await serve(rows.length, (request, response) => {
    asked.push(request.headers.range);
    const from = Number(/\d+/.exec(request.headers.range ?? '')?.[0] ?? 0);
    const last = rows.length - 1;
    if (from > 0) response.writeHead(206, { 'content-range': `bytes ${from}-${last}/${rows.length}` });
    response.write(rows.slice(from, from + 4));
    setImmediate(() => response.destroy());
  });
  const { code } = await cli(download(port), { cwd: dir });
  expect(code).toBe(0);
  expect(await readFile(join(dir, 'got/predictions.csv'), 'utf8')).toBe(rows);
  expect(asked).toEqual([undefined, ...[4, 8, 12, 16, 20, 24, 28].map((from) => `bytes=${from}-`)]);
});

it('a download gives up when nothing comes for as long as a coordinator is waited for', async () => {
  let tried = 0;
  const port = await serve(4, (_request, response) => {
    tried += 1;
    response.destroy();
  });
  const waited: number[] = [];
  const delay = async (ms: number): Promise<void> => await Promise.resolve(void waited.push(ms));
  const { code, stderr } = await cli(download(port), { cwd: dir, delay });
  expect([code, stderr]).toEqual([5, expect.stringContaining('connection lost, trying again: ')]);
  expect(tried).toBe(waited.length + 1);
  expect(waited.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThanOrEqual(limits.clientReconnectMsTotal);
  expect(await readdir(join(dir, 'got'))).toEqual([]);
});

it('a download begins anew when the file is another one by the next try', async () => {
  const asked: (string | undefined)[] = [];
  const port = await serve(20, (request, response) => {
    asked.push([request.headers.range, request.headers['if-range']].join());
    if (asked.length > 1) return void response.setHeader('etag', '"2"').end('other');
    response.writeHead(200, { etag: '"1"', 'content-length': 20 }).write('a longer one');
    setImmediate(() => response.destroy());
  });
  const { code, stdout } = await cli(download(port), { cwd: dir });
  expect([code, JSON.parse(stdout)]).toEqual([0, [{ path: 'predictions.csv', size_bytes: 5 }]]);
  expect(asked).toEqual([',', 'bytes=12-,"1"']);
  expect(await readFile(join(dir, 'got/predictions.csv'), 'utf8')).toBe('other');
});

it('a disk that takes a part of the bytes gets the rest, and one that is full is an error', async () => {
  const fetchOn = async (room: number): Promise<number> => {
    let held = 0;
    const write = async (_bytes: Uint8Array, _offset: number, length: number): Promise<unknown> => {
      const bytesWritten = Math.min(3, length, room - held);
      if (bytesWritten === 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      held += bytesWritten;
      return await Promise.resolve({ bytesWritten });
    };
    const bytes = (async function* () {
      yield await Promise.resolve(Buffer.alloc(8));
    })();
    await fetchFile({ write } as unknown as FileHandle, {
      ...{ path: 'rows.csv', sizeBytes: 8, signal: new AbortController().signal },
      fetch: async () => await Promise.resolve({ offset: 0, totalBytes: 8, tag: null, bytes }),
      patience: { renew: () => undefined, wait: (error) => Promise.reject(error) },
    });
    return held;
  };
  expect(await fetchOn(8)).toBe(8);
  await expect(fetchOn(7)).rejects.toMatchObject({ code: 'ENOSPC' });
});

/** Presses Ctrl-C once, when the coordinator has been asked something that it never answers. */
async function interrupted(args: readonly string[]): Promise<{ readonly host: TestHost; readonly code: number }> {
  const asked = deferred<void>();
  const port = await serve(8, (_request, response) => {
    if (args[1] === 'download') response.setHeader('content-length', 8).write('file');
    asked.resolve();
  });
  const host = testHost({ cwd: dir });
  const ended = runCli([...args, '--server', `http://127.0.0.1:${port}`], host);
  await asked.promise;
  expect(host.interrupt()).toBe(1);
  return { host, code: await ended };
}

it.each([
  ['download', 'last', '--output', 'got'],
  ['logs', 'last', '--follow'],
  ['tail', 'last', '--follow'],
  ['stream', 'untold'],
  ['wait', 'untold'],
])('the first Ctrl-C ends job %s while the coordinator stands still', async (verb, ...flags) => {
  const { host, code } = await interrupted(['job', verb, ...flags]);
  expect([code, host.exits]).toEqual([130, []]);
  if (verb === 'download') expect(await readdir(join(dir, 'got'))).toEqual([]);
});

it('events are left when not even a sign of life comes', async () => {
  const begun = deferred<void>();
  const port = await serve(8, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': alive\n\n');
    begun.resolve();
  });
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const server = { host: '127.0.0.1', port };
  const client = createClient({ server, ca: null, token: null, isInsecure: true });
  const next = client.events('last', 0, new AbortController().signal)[Symbol.asyncIterator]().next();
  const left = expect(next).rejects.toThrow(failing('COORDINATOR_UNREACHABLE', 'nothing was heard for 45 s'));
  await begun.promise;
  await vi.advanceTimersByTimeAsync(3 * limits.apiKeepAliveMs);
  await left;
});
