/** More connections of one address than the HTTP port takes. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { startApi, type ApiHandle } from '../../coordinator/api/server.ts';
import { FakeBackend } from '../helpers/fake-backend.ts';
import { until } from '../helpers/programs.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

let folder: TempFolder;
let api: ApiHandle;
const crowds: string[] = [];

beforeEach(async () => {
  folder = new TempFolder();
  crowds.length = 0;
  api = await startApi({
    backend: new FakeBackend(folder.path),
    host: '127.0.0.1',
    port: 0,
    onDefect: () => undefined,
    onCrowd: (address) => crowds.push(address),
  });
});
afterEach(async () => {
  await api.close();
  folder.remove();
});

async function connected(from: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: api.address.port, localAddress: from });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** What is answered; empty when the connection is ended instead. */
async function answered(from: string): Promise<string> {
  const socket = await connected(from);
  socket.write('GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n');
  let heard = '';
  socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  await once(socket, 'close');
  return heard;
}

it('ends those that are too many, says so once, and serves other addresses', async () => {
  const sockets: Socket[] = [];
  while (sockets.length < limits.apiConnectionsPerAddressMax) sockets.push(await connected('127.0.0.1'));
  expect(crowds).toEqual([]);
  for (let count = 0; count < 3; count += 1) expect(await answered('127.0.0.1')).toBe('');
  expect(crowds).toEqual(['127.0.0.1']);
  expect(await answered('127.0.0.2')).toMatch(/^HTTP\/1\.1 200 /);
  // One that leaves makes room for one.
  sockets[0]?.destroy();
  await until(async () => (await answered('127.0.0.1')) !== '', 'room for one more');
});
