/** What a command says of a coordinator that is not there, breaks off, refuses, or is somebody else; and of its own files. */
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createServer as createStillServer, type AddressInfo, type Socket } from 'node:net';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { createTransport, type Transport } from '../../cli/api/transport.ts';
import { openUploads } from '../../cli/api/uploads.ts';
import { createClient } from '../../cli/client.ts';
import { openConnection, type Connection } from '../../cli/connection.ts';
import type { Address } from '../../common/config/address.ts';
import { limits } from '../../common/core/limits.ts';
import { Authority } from '../../common/security/authority.ts';
import { failing } from '../helpers/failing.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0)) await one();
});

async function serve(answer: RequestListener): Promise<Connection> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  undo.push(() => (server.closeAllConnections(), server.close()));
  return { server: addressOf(server), ca: null, token: null, isInsecure: true };
}

function addressOf(server: { address(): unknown }): Address {
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

function transportOf(connection: Connection): Transport {
  const { origin, send } = openConnection(connection);
  return createTransport(origin, send);
}

it('an order goes on to the next coordinator from one that takes no connection', async () => {
  const sockets: Socket[] = [];
  const still = createStillServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  await once(still, 'listening');
  const authority = await Authority.of(await Authority.make(Date.now()));
  const asked: string[] = [];
  const leader = createSecureServer(await authority.issueServer(['localhost'], Date.now()), (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    request.resume().on('end', () => response.end('{}'));
  }).listen(0, '127.0.0.1');
  await once(leader, 'listening');
  undo.push(
    () => vi.useRealTimers(),
    () => (leader.closeAllConnections(), leader.close()),
    () => (sockets.forEach((socket) => socket.destroy()), still.close()),
  );
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const both = { server: addressOf(still), others: [addressOf(leader)] };
  const transport = transportOf({ ...both, ca: authority.cert, token: null, isInsecure: false });
  let sent = 0;
  const bytes = async function* (): AsyncGenerator<Uint8Array> {
    sent += 1;
    yield await Promise.resolve(Buffer.from('bytes'));
  };
  const done = transport.upload('/v1/artifacts', 'application/octet-stream', bytes);
  await once(still, 'connection');
  await vi.advanceTimersByTimeAsync(limits.leaderSilentMs);
  expect((await done).value).toEqual({});
  // The bytes from the beginning, and once.
  expect([asked, sent]).toEqual([['POST /v1/artifacts'], 2]);
});

const cut: RequestListener = (_request, response) => {
  response.writeHead(200, { 'content-length': 1_000 }).write('{"value":[');
  setImmediate(() => response.destroy());
};
const portal: RequestListener = (_request, response) => void response.end('<html>Log in first</html>');

it.each([
  ['that breaks off', cut, 'no answer from the coordinator at 127.0.0.1:'],
  [
    'of somebody else',
    portal,
    'is not the HTTP API of a Batchmill coordinator of this release (its answer is no JSON)',
  ],
])('an answer %s is told as what it is', async (_what, answer, text) => {
  const connection = await serve(answer);
  const wanted = failing('COORDINATOR_UNREACHABLE', text);
  await expect(transportOf(connection).ask('GET', '/v1/endpoints')).rejects.toThrow(wanted);
  await expect(createClient(connection).nodes()).rejects.toThrow(wanted);
});

it('a refusal that has no body is told by its number', async () => {
  const connection = await serve((_request, response) => void response.writeHead(429).end());
  const asked = transportOf(connection).has('/v1/artifacts/a');
  await expect(asked).rejects.toThrow(failing('TOO_MANY_REQUESTS', 'it answers 429 Too Many Requests'));
});

it.each([
  ['goes away', 'file', 'DEPLOYMENT_NOT_FOUND', 'b.bin cannot be read: ENOENT'],
  ['goes away', 'folder', 'DEPLOYMENT_NOT_FOUND', 'ENOENT'],
  ['grows', 'folder', 'ARTIFACT_CORRUPT', 'b.bin changed while it was sent'],
] as const)('a file that %s while a %s is sent is told as that', async (what, kind, code, text) => {
  const dir = await mkdtemp(join(tmpdir(), 'batchmill-connection-'));
  undo.push(() => rm(dir, { recursive: true }));
  const file = join(dir, 'b.bin');
  await writeFile(file, 'some bytes');
  const view = { release: '1', hostname: `not ${hostname()}`, state_dir: '/', instance: 'x' };
  const connection = await serve((request, response) => {
    if (request.url === '/v1/server') return void response.end(JSON.stringify(view));
    request.resume();
    if (request.method === 'POST') return void request.on('end', () => response.end('{}'));
    // Its digest is known by now.
    void (what === 'grows' ? truncate(file, 5_000_000) : rm(file)).then(() => response.writeHead(404).end());
  });
  const uploads = await openUploads(transportOf(connection), () => undefined);
  const sent = uploads.send({ kind, path: kind === 'file' ? file : dir });
  await expect(sent).rejects.toThrow(failing(code, text));
});
