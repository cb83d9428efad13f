/** Who a coordinator is to NATS, whom it trusts there, and which servers it refuses. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nkeys } from '@nats-io/transport-node';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { natsSettings, openNats } from '../../common/config/nats-settings.ts';
import { systemClock } from '../../common/io/clock.ts';
import { Authority } from '../../common/security/authority.ts';
import { NatsStream } from '../../coordinator/journal/stream/nats-stream.ts';
import { failing } from '../helpers/failing.ts';
import { freePorts } from '../helpers/free-ports.ts';
import { NatsServer, type NatsOptions } from '../helpers/nats-server.ts';

let dir: string;
const servers: NatsServer[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-nats-access-'));
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.kill();
  rmSync(dir, { recursive: true });
});

async function server(options: NatsOptions): Promise<NatsServer> {
  const own = join(dir, `server-${servers.length}`);
  mkdirSync(own);
  const made = new NatsServer(own, options);
  servers.push(made);
  return await made.start();
}

/** What was doubted. */
async function opened(
  { address }: NatsServer,
  environment: Record<string, string>,
  isLossy = false,
): Promise<string[]> {
  const doubts: string[] = [];
  const nats = natsSettings(environment, isLossy);
  const onDoubt = (what: string): void => void doubts.push(what);
  const stream = await NatsStream.open({ servers: [address], name: 'test', replicas: 1, nats, onDoubt });
  expect(await stream.ends()).toEqual({ first: 1, last: 0 });
  await stream.close();
  return doubts;
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
}

it('shows who it is by a password, a token or a key in a file, and says how when it is refused', async () => {
  const password = await server({ more: 'authorization { user: mill, password: "grain and stone" }' });
  const refused = failing('JOURNAL_STREAM_UNFIT', 'refused who this is');
  await expect(opened(password, {})).rejects.toThrow(refused);
  const user = { BATCHMILL_NATS_USER: 'mill', BATCHMILL_NATS_PASSWORD_FILE: file('password', 'grain and stone\n') };
  await opened(password, user);
  await expect(opened(password, { ...user, BATCHMILL_NATS_PASSWORD_FILE: file('other', 'chaff') })).rejects.toThrow(
    refused,
  );
  await expect(opened(password, { ...user, BATCHMILL_NATS_PASSWORD_FILE: join(dir, 'none') })).rejects.toThrow(
    failing('CONFIG_INVALID', 'none, for NATS, cannot be read'),
  );

  const token = await server({ more: 'authorization { token: "a token" }' });
  await opened(token, { BATCHMILL_NATS_TOKEN_FILE: file('token', 'a token\n') });

  const key = nkeys.createUser();
  const nkey = await server({ more: `authorization { users: [ { nkey: ${key.getPublicKey()} } ] }` });
  await opened(nkey, { BATCHMILL_NATS_NKEY: file('seed', key.getSeed()) });
  await expect(opened(nkey, { BATCHMILL_NATS_NKEY: file('stranger', nkeys.createUser().getSeed()) })).rejects.toThrow(
    refused,
  );
});

it('trusts the authority that it is told, and shows a certificate', async () => {
  const authority = await Authority.make(systemClock.wall()).then((made) => Authority.of(made));
  const own = await authority.issueServer(['127.0.0.1', 'localhost'], systemClock.wall());
  const ca = file('ca.pem', authority.cert);
  const [cert, key] = [file('server.pem', own.cert), file('server.key', own.key)];
  const tls = `tls { cert_file: "${cert}", key_file: "${key}", ca_file: "${ca}", verify: false }`;
  const secure = await server({ more: tls });
  await opened(secure, { BATCHMILL_NATS_CA: ca });
  const stranger = file('stranger.pem', (await Authority.make(systemClock.wall())).cert);
  await expect(opened(secure, { BATCHMILL_NATS_CA: stranger })).rejects.toThrow(
    failing('JOURNAL_STREAM_UNREACHABLE', ''),
  );
});

it('refuses a server that acknowledges before it syncs, unless the operator insists', async () => {
  const [monitor = 0, other = 0] = await freePorts(2);
  const lax = await server({ jetstream: 'sync_interval: "2m"', more: `http: "127.0.0.1:${monitor}"` });
  const durable = await server({ more: `http: "127.0.0.1:${other}"` });
  const looked = { BATCHMILL_NATS_MONITORING: `http://127.0.0.1:${monitor}` };
  await expect(opened(lax, looked)).rejects.toThrow(failing('JOURNAL_STREAM_UNFIT', 'acknowledges before it syncs'));
  expect(await opened(lax, looked, true)).toEqual([expect.stringContaining('set sync_interval: always')]);
  expect(await opened(durable, { BATCHMILL_NATS_MONITORING: `http://127.0.0.1:${other}/` })).toEqual([]);
  expect(await opened(durable, {})).toEqual([expect.stringContaining('could not be checked')]);
  // Monitoring that is away is no reason not to start.
  await lax.kill();
  expect(await opened(durable, looked)).toEqual([expect.stringContaining('could not be checked')]);
});

const oldServer = '/usr/sbin/nats-server';
const oldVersion = existsSync(oldServer) ? execFileSync(oldServer, ['--version']).toString().trim() : '';
const isOld = / v2\.([0-9]|10)\./.test(oldVersion);
if (!isOld) console.warn(`SKIPPED: no server before 2.11 at ${oldServer}; Debian's nats-server package is one`);
it.skipIf(!isOld)('refuses a server that is too old by its version', async () => {
  const old = await server({ program: oldServer, jetstream: '' });
  await expect(opened(old, {})).rejects.toThrow(failing('JOURNAL_STREAM_UNFIT', 'the journal needs 2.11 or later'));
});

it('variables that contradict each other are refused', () => {
  const settings = (environment: Record<string, string>) => natsSettings(environment, false);
  expect(settings({})).toEqual(openNats);
  expect(() => settings({ BATCHMILL_NATS_USER: 'a' })).toThrow(/without BATCHMILL_NATS_PASSWORD_FILE/);
  expect(() => settings({ BATCHMILL_NATS_NKEY: 'a', BATCHMILL_NATS_CREDENTIALS: 'b' })).toThrow(/both set/);
  expect(() => settings({ BATCHMILL_NATS_KEY: 'a' })).toThrow(/go together/);
  expect(() => settings({ BATCHMILL_NATS_MONITORING: 'nats://a' })).toThrow(/wanted http:/);
});

it('says what a standby may not answer, and takes no silence for an answer where no server was asked', async () => {
  const mute = '{ user: mill, password: stone, permissions: { publish: { deny: "_INBOX.>" } } }';
  const { address } = await server({ more: `authorization { users: [ ${mute} ] }\nno_auth_user: mill` });
  const forbidden: string[] = [];
  const onForbidden = (what: string): void => void forbidden.push(what);
  const stream = await NatsStream.open({ servers: [address], name: 'test', replicas: 1, onForbidden });
  const peers = stream.peers();
  peers.answer(() => Promise.resolve('here'));
  expect(await peers.ask('who?', 200)).toEqual([]);
  expect(await peers.ask('who?', 200)).toEqual([]);
  expect(forbidden).toEqual([
    expect.stringContaining('may not publish to _INBOX.> on NATS; allow that in reply (allow_responses: true)'),
  ]);
  await servers.at(-1)?.kill();
  const unknown = failing('JOURNAL_STREAM_UNREACHABLE', 'could not be asked on batchmill.test.standby of NATS');
  await expect(peers.ask('who?', 200)).rejects.toThrow(unknown);
  await stream.close();
  await expect(peers.ask('who?', 200)).rejects.toThrow(unknown);
});
