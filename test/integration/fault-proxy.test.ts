/** The proxy of `npm run chaos` on real sockets: without trouble it changes nothing, with trouble it does what its name says. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../common/io/clock.ts';
import { FaultProxy } from '../chaos/fault-proxy.ts';
import { until } from '../helpers/programs.ts';

const troubleMs = 300;
let server: Server;
let proxy: FaultProxy;
/** Of the server's side; it answers each piece with the same. */
let accepted: Socket[] = [];
let opened: Socket[] = [];

beforeEach(async () => {
  accepted = [];
  opened = [];
  server = createServer((socket) => {
    accepted.push(socket);
    socket.on('error', () => undefined).on('data', (bytes) => socket.write(bytes));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await FaultProxy.open(() => (server.address() as AddressInfo).port);
});
afterEach(async () => {
  for (const socket of [...opened, ...accepted]) socket.destroy();
  await proxy.close();
  server.close();
});

interface Client {
  readonly socket: Socket;
  text: string;
  /** `end`: closed in order; otherwise the error's code. */
  fate: string;
}

async function open(): Promise<Client> {
  const client = start();
  await once(client.socket, 'connect');
  return client;
}

function start(): Client {
  const socket = connect(Number(proxy.address.split(':')[1]), '127.0.0.1');
  opened.push(socket);
  const client: Client = { socket, text: '', fate: '' };
  socket.setEncoding('utf8').on('data', (text: string) => (client.text += text));
  socket.on('error', (error: NodeJS.ErrnoException) => (client.fate = error.code ?? 'error'));
  socket.on('end', () => (client.fate ||= 'end'));
  return client;
}

async function echo(client: Client, text: string): Promise<void> {
  const wanted = client.text + text;
  client.socket.write(text);
  await until(() => client.text === wanted, `the answer to ${text}`, 5_000);
}

test('a megabyte passes unchanged both ways, and an end is an end', async () => {
  const client = await open();
  await echo(client, 'x'.repeat(1_000_000));
  expect(proxy.connections).toBe(1);
  client.socket.end();
  await until(() => proxy.connections === 0, 'the end of the connection', 5_000);
});

test.each(['hold', 'slow'] as const)('%s: late, and nothing is lost', async (what) => {
  const client = await open();
  await echo(client, 'before ');
  const trouble = proxy.trouble(what, 'up', troubleMs);
  client.socket.write('during ');
  await until(() => client.text === 'before during ', 'what was sent meanwhile', 5_000);
  expect(await trouble).toBe(true);
  await echo(client, 'after');
});

test('hold: nothing arrives before it is over', async () => {
  const client = await open();
  await echo(client, 'before ');
  const began = systemClock.monotonic();
  const trouble = proxy.trouble('hold', 'down', troubleMs);
  client.socket.write('during ');
  await until(() => client.text === 'before during ', 'what was held', 5_000);
  expect(systemClock.monotonic() - began).toBeGreaterThan(troubleMs - 10);
  await trouble;
});

test('swallow: what is sent is gone, the connection too in the end', async () => {
  const client = await open();
  await echo(client, 'before ');
  const trouble = proxy.trouble('swallow', 'up', troubleMs);
  client.socket.write('during ');
  await trouble;
  await until(() => client.fate === 'ECONNRESET', 'the reset', 5_000);
  expect(client.text).toBe('before ');
});

test('half-open: the coordinator has lost it, the node hears only later', async () => {
  const client = await open();
  await echo(client, 'before ');
  const trouble = proxy.trouble('half-open', 'up', troubleMs);
  await until(() => accepted[0]?.destroyed ?? false, 'the end on the other side', 5_000);
  expect(client.fate).toBe('');
  await trouble;
  await until(() => client.fate === 'ECONNRESET', 'the reset', 5_000);
});

test('cut and reset end what there is; new connections are served', async () => {
  const cut = await open();
  await echo(cut, 'a');
  await proxy.trouble('cut', 'both', troubleMs);
  expect(cut.fate).toBe('end');
  const reset = await open();
  await echo(reset, 'a');
  await proxy.trouble('reset', 'both', troubleMs);
  expect(reset.fate).toBe('ECONNRESET');
  await echo(await open(), 'still there');
});

test('refuse: old connections go on, new ones are reset; trouble comes one at a time and not for nobody', async () => {
  expect(await proxy.trouble('cut', 'both', troubleMs)).toBe(false);
  const old = await open();
  await echo(old, 'a');
  const trouble = proxy.trouble('refuse', 'both', troubleMs);
  expect(await proxy.trouble('cut', 'both', troubleMs)).toBe(false);
  const refused = start();
  await until(() => refused.fate === 'ECONNRESET', 'the refusal', 5_000);
  await echo(old, 'b');
  expect(await trouble).toBe(true);
});
