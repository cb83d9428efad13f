/** Certificates near their end: a worker node's is renewed in time, and what was connected before goes on with the new one. */
import { mkdirSync, readFileSync } from 'node:fs';
import { get } from 'node:https';
import { text } from 'node:stream/consumers';
import { connect } from 'node:tls';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { emptyNodeMessage } from '../../common/core/cluster-messages.ts';
import { incarnation, nodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock, type Clock } from '../../common/io/clock.ts';
import type { Delay } from '../../common/io/delay.ts';
import { silentLog } from '../../common/io/log.ts';
import type { ClusterTrust } from '../../common/rpc/credentials.ts';
import { Authority, lifeOf } from '../../common/security/authority.ts';
import { TlsDoor } from '../../coordinator/service/tls-door.ts';
import { BulkLink } from '../../worker/bulk-link.ts';
import { ControlLink } from '../../worker/control-link.ts';
import { CoordinatorAddresses } from '../../worker/coordinator-addresses.ts';
import { NodeIdentity } from '../../worker/node-identity.ts';
import { failing } from '../helpers/failing.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';

const lifeMs = 3_600_000;
const minuteMs = 60_000;
const wanted = { digest: `sha256:${'0'.repeat(64)}`, tried: [] };

let cluster: LocalCluster;
/** The clock of both sides is moved; OpenSSL's is not. */
let shiftMs = 0;
const clock: Clock = {
  ...systemClock,
  wall: () => systemClock.wall() + shiftMs,
  monotonic: () => systemClock.monotonic(),
};
/** Ends the pause until the node looks at its certificate again. */
let look: () => void = () => undefined;
let looks = 0;
const delay: Delay = (_ms, signal) =>
  new Promise((resolve) => {
    looks += 1;
    look = resolve;
    signal.addEventListener('abort', () => resolve(), { once: true });
  });

beforeAll(async () => {
  cluster = await LocalCluster.start({
    clock,
    http: { host: '127.0.0.1', port: 0 },
    security: { joinTokenMs: lifeMs * 2, nodeCertificateMs: lifeMs },
  });
});
afterAll(async () => await cluster.close());

function openIdentity(token: string | null): Promise<NodeIdentity> {
  const { listen, access } = cluster.coordinator;
  const dir = join(cluster.dir, 'alpha');
  mkdirSync(dir, { recursive: true });
  return NodeIdentity.open({
    ...{ addresses: new CoordinatorAddresses([listen]), name: 'alpha', dir, token },
    ...{ fingerprint: access?.authority.fingerprint ?? null, joinMsMax: 10_000, busyMsMax: 10_000 },
    ...{ clock, delay, log: silentLog },
  });
}

function joined(trust: () => ClusterTrust, process: string): Promise<{ link: ControlLink; session: string }> {
  const request = {
    ...{ protocol: limits.protocolVersion, release: 'test', joinToken: '', name: nodeName('alpha'), slots: 1 },
    ...{ labels: {}, incarnation: incarnation(process), hostname: 'alpha', pid: 1, answersDiagnose: false },
  };
  return new Promise((resolve, reject) => {
    const link = new ControlLink({
      ...{ address: cluster.coordinator.listen, trust, request, clock, inlineOf: () => Buffer.alloc(0) },
      ...{ onMessage: () => undefined, onWritable: () => undefined },
      onJoined: ({ session }) => {
        link.open(session);
        link.send({ ...emptyNodeMessage, hello: [] });
        resolve({ link, session });
      },
      onLost: ({ code, message }) => reject(new Error(`${code}: ${message}`)),
    });
    link.join();
  });
}

/** Minutes that certificates have left, by whose, as Prometheus is told. */
async function minutesLeft(): Promise<Record<string, number>> {
  const { access, http } = cluster.coordinator;
  const wanted = { user: 'prometheus', role: 'reader', ttlMs: 30 * lifeMs, uses: null, createdBy: 'test' } as const;
  const { secret } = (await access?.makeToken(wanted)) ?? { secret: '' };
  const options = { ca: access?.authority.cert, headers: { authorization: `Bearer ${secret}` } };
  const body = await new Promise<string>((resolve, reject) => {
    get(`https://127.0.0.1:${http?.port}/metrics`, options, (answer) => text(answer).then(resolve, reject)).on(
      'error',
      reject,
    );
  });
  const found = [...body.matchAll(/^batchmill_certificate_left_seconds\{of="(\w+)"\} (\d+)$/gm)];
  return Object.fromEntries(found.map(([, of, seconds]) => [of, Math.round(Number(seconds) / 60)]));
}

const certificates = () => cluster.coordinator.access?.certificates() ?? [];

test('a worker node that stays connected beyond its certificate goes on with a new one', async () => {
  const identity = await openIdentity(cluster.coordinator.joinToken);
  const first = identity.trust.identity?.cert ?? '';
  const trust = (): ClusterTrust => identity.trust;
  const old = identity.trust;
  const { link, session } = await joined(trust, 'first');
  const source = { address: cluster.coordinator.listen, session, creditBytes: 1_000_000 };
  const bulk = new BulkLink({ ...source, trust });
  const staying = new BulkLink({ ...source, trust: () => old });
  try {
    await bulk.locate(wanted);
    await staying.locate(wanted);
    // A quarter of its life is over: it is looked at, and nothing is done.
    shiftMs = lifeMs / 4;
    const before = looks;
    look();
    await vi.waitFor(() => expect(looks).toBe(before + 1), 10_000);
    expect(certificates()).toHaveLength(1);
    await vi.waitFor(async () => expect(await minutesLeft()).toMatchObject({ worker_nodes: 45 }), 10_000);
    expect(await minutesLeft()).toMatchObject({ coordinator: 90 * 24 * 60 - 15 });

    shiftMs = (lifeMs * 3) / 4;
    expect(await minutesLeft()).toMatchObject({ worker_nodes: 15, authority: 10 * 365 * 24 * 60 - 45 });
    look();
    await vi.waitFor(() => expect(identity.trust.identity?.cert).not.toBe(first), 10_000);
    expect(certificates().map(({ node, revokedMs }) => [node, revokedMs])).toEqual([
      ['alpha', null],
      ['alpha', null],
    ]);
    expect(await minutesLeft()).toMatchObject({ worker_nodes: 60 });
    const endsMs = lifeOf(identity.trust.identity?.cert ?? '').endsMs;
    expect(Math.abs(endsMs - (clock.wall() + lifeMs))).toBeLessThan(minuteMs);

    // The first one has ended: its connections are refused, and nothing that the node does goes over them.
    shiftMs = lifeMs + 5 * minuteMs;
    await expect(staying.locate(wanted)).rejects.toThrow(failing('TOKEN_INVALID', 'has ended'));
    await bulk.locate(wanted);
    expect(JSON.parse(readFileSync(join(cluster.dir, 'alpha', 'identity.json'), 'utf8'))).toMatchObject({
      cert: identity.trust.identity?.cert,
    });
    link.close();
    const again = await openIdentity(null);
    (await joined(() => again.trust, 'second')).link.close();
    again.close();

    // Away for too long: what is kept is of no use, and what to do is said.
    shiftMs = 3 * lifeMs;
    await expect(openIdentity(null)).rejects.toThrow(failing('USAGE', '`batchmill node token`'));
  } finally {
    link.close();
    bulk.close();
    staying.close();
    identity.close();
  }
});

test('a door with a new certificate shows it to those who come, and keeps those who are there', async () => {
  const authority = await Authority.of(await Authority.make(systemClock.wall()));
  const issue = async () => ({
    ...(await authority.issueServer(['localhost'], systemClock.wall())),
    authority: authority.cert,
  });
  const [first, second] = [await issue(), await issue()];
  let served = 0;
  const door = await TlsDoor.open({
    ...{ host: '127.0.0.1', port: 0, certificate: first, isGood: () => false },
    onConnection: (socket) => {
      served += 1;
      socket.resume();
    },
  });
  const come = async () => {
    const options = { host: '127.0.0.1', port: door.port, ca: authority.cert, servername: 'batchmill-coordinator' };
    const socket = connect({ ...options, ALPNProtocols: ['h2'] });
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    return {
      socket,
      serial: socket.getPeerCertificate().serialNumber,
    };
  };
  const before = await come();
  door.renew(second);
  const after = await come();
  expect(after.serial).not.toBe(before.serial);
  await vi.waitFor(() => expect(served).toBe(2));
  expect(before.socket.destroyed).toBe(false);
  before.socket.destroy();
  after.socket.destroy();
  door.close();
});
