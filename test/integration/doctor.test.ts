/** `doctor` from the command line, against a real coordinator with TLS and worker nodes of several kinds. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '../../cli/run-cli.ts';
import { writeContexts, type Context } from '../../common/config/contexts.ts';
import { emptyNodeMessage } from '../../common/core/cluster-messages.ts';
import { incarnation, nodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { packageRelease } from '../../common/io/package-files.ts';
import { connectCluster, sessionMetadata } from '../../common/rpc/cluster-client.ts';
import type { ClusterClient } from '../../common/rpc/generated/batchmill/v1/Cluster.ts';
import { readJoinReply, writeJoinRequest, writeNodeMessage } from '../../common/rpc/translate-node-message.ts';
import type { Access } from '../../coordinator/access/access.ts';
import type { Role } from '../../coordinator/api/caller.ts';
import type { DoctorLine } from '../../coordinator/core/doctor-checks.ts';
import { testHost } from '../helpers/cli-host.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { until } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';

let secure: LocalCluster;
beforeAll(async () => {
  const security = { joinTokenMs: 60_000 };
  secure = await LocalCluster.start({ http: { host: '127.0.0.1', port: 0 }, security });
});
afterAll(() => secure.close());

interface Told {
  readonly code: number;
  readonly lines: readonly DoctorLine[];
  readonly stderr: string;
}

async function doctor(config: string, ...args: readonly string[]): Promise<Told> {
  const host = testHost({ environment: { XDG_CONFIG_HOME: config } });
  Object.assign(host, { clock: systemClock, release: packageRelease() });
  const code = await runCli(['doctor', '-o', 'json', ...args], host);
  return { code, lines: host.out === '' ? [] : (JSON.parse(host.out) as DoctorLine[]), stderr: host.err };
}

function lineOf({ lines }: Told, subject: string, check: string): DoctorLine | undefined {
  return lines.find((line) => line.subject === subject && line.check === check);
}
const verdictOf = (told: Told, subject: string, check: string): string | undefined =>
  lineOf(told, subject, check)?.verdict;

const accessOf = ({ coordinator }: LocalCluster): Access => coordinator.access as Access;

/** A folder of contexts with one for this role. */
async function contextFor(role: Role, more: Partial<Context> = {}): Promise<string> {
  const access = accessOf(secure);
  const wanted = { user: 'ann', ttlMs: 60_000, uses: null, createdBy: 'test' };
  const { secret: token } = await access.makeToken({ ...wanted, role });
  const { cert: ca, fingerprint: caFingerprint } = access.authority;
  const server = secure.coordinator.http as NonNullable<typeof secure.coordinator.http>;
  const context = { server, ca, caFingerprint, token, isInsecure: false, ...more };
  const config = join(secure.dir, `config-${role}-${Object.keys(more).join('-')}`);
  await writeContexts({ current: 'lab', byName: new Map([['lab', context]]) }, { XDG_CONFIG_HOME: config });
  return config;
}

describe('a cluster with certificates', () => {
  test('two worker nodes, one whose clock is wrong, and what they see at paths', async () => {
    const { dir } = secure;
    const { fingerprint } = accessOf(secure).authority;
    const folder = join(dir, 'shared');
    mkdirSync(folder);
    writeFileSync(join(folder, 'a.txt'), 'a');
    await secure.join('right', 1, { security: { fingerprint }, python: testPython() });
    const clock = { monotonic: () => systemClock.monotonic(), wall: () => systemClock.wall() + 90_000 };
    await secure.join('late', 2, { security: { fingerprint }, python: '/no/such/python', clock });
    const paths = ['--path', folder, '--path', join(folder, 'a.txt'), '--path', join(dir, 'nowhere')];
    const config = await contextFor('admin');
    // Where a machine has much else to do, an interpreter may take longer to start than doctor waits.
    await until(async () => verdictOf(await doctor(config), 'right', 'python') === 'ok', 'an interpreter that answers');
    const told = await doctor(config, ...paths);
    expect([told.code, told.stderr]).toEqual([1, '']);
    expect(told.lines.filter(({ verdict, check }) => verdict === 'fail' && check !== 'disk')).toMatchObject([
      { subject: 'coordinator', check: `path ${join(dir, 'nowhere')}`, found: 'not there' },
      { subject: 'late', check: 'clock' },
      { subject: 'late', check: 'python' },
    ]);
    expect(lineOf(told, 'late', 'clock')?.found).toMatch(/^(89\.9|90\.[0-3]) s ahead of the coordinator/);
    expect(lineOf(told, 'here', 'tls')?.found).toBe(`authority ${fingerprint}`);
    for (const check of ['release', 'node', 'address', 'tls', 'token', 'clock']) {
      expect([check, verdictOf(told, 'here', check)]).toEqual([check, 'ok']);
    }
    for (const check of ['certificate', 'journal', 'ports', 'release', 'node']) {
      expect([check, verdictOf(told, 'coordinator', check)]).toEqual([check, 'ok']);
    }
    for (const check of ['connection', 'certificate', 'clock', 'python', 'release', `path ${folder}`]) {
      expect([check, verdictOf(told, 'right', check)]).toEqual([check, 'ok']);
    }
    expect(lineOf(told, 'right', `path ${folder}`)?.found).toBe('a folder of 1 entry, the same as on the coordinator');
    expect(lineOf(told, 'right', `path ${join(folder, 'a.txt')}`)?.found).toContain('a file of 1 bytes');
    expect(verdictOf(told, 'right', `path ${join(dir, 'nowhere')}`)).toBe('warn');
    expect(lineOf(told, 'coordinator', 'disk')?.found).toContain(join(dir, 'state'));
    expect(lineOf(told, 'right', 'disk')?.found).toContain(join(dir, 'scratch'));
  });

  test('a reader is told of machines, not of paths', async () => {
    const config = await contextFor('reader');
    expect(verdictOf(await doctor(config), 'coordinator', 'release')).toBe('ok');
    const told = await doctor(config, '--path', '/etc');
    expect([told.code, told.lines.at(-1)]).toMatchObject([1, { check: 'doctor', verdict: 'fail' }]);
    expect(told.lines.at(-1)?.found).toContain('FORBIDDEN');
  });

  test('another authority, a token that is none, an address where nobody is', async () => {
    const bad = await doctor(await contextFor('admin', { token: 'bm_nothing' }));
    expect([bad.code, bad.lines.at(-1)]).toMatchObject([1, { subject: 'here', check: 'token', verdict: 'fail' }]);
    const other = await doctor(await contextFor('admin', { ca: null, caFingerprint: null }));
    expect([other.code, other.lines.at(-1)]).toMatchObject([1, { subject: 'here', check: 'tls', verdict: 'fail' }]);
    const free = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => free.once('listening', resolve));
    const { port } = free.address() as AddressInfo;
    await new Promise((resolve) => free.close(resolve));
    const away = await doctor(secure.dir, '--server', `127.0.0.1:${port}`);
    expect([away.code, away.lines.at(-1)]).toMatchObject([1, { subject: 'here', check: 'address', verdict: 'fail' }]);
  });

  test('paths that are not absolute, or too many, are refused', async () => {
    const one = await doctor(secure.dir, '--path', 'data');
    expect([one.code, one.stderr]).toEqual([2, expect.stringContaining('--path: wanted an absolute path')]);
    const many = await doctor(secure.dir, ...Array.from({ length: 17 }, () => ['--path', '/a']).flat());
    expect([many.code, many.stderr]).toEqual([2, expect.stringContaining('at most 16, found 17')]);
  });
});

describe('worker nodes that do not answer', () => {
  test('a silent one and one of an older release are told apart, and nobody waits for long', async () => {
    const cluster = await LocalCluster.start({ http: { host: '127.0.0.1', port: 0 } });
    const clients: ClusterClient[] = [];
    const joins = async (name: string, answersDiagnose: boolean): Promise<void> => {
      const client = connectCluster(cluster.coordinator.listen);
      clients.push(client);
      const request = writeJoinRequest({
        ...{ protocol: limits.protocolVersion, release: '0.0.1', joinToken: cluster.coordinator.joinToken },
        ...{ name: nodeName(name), incarnation: incarnation(name), slots: 1, hostname: 'h', pid: 1, labels: {} },
        answersDiagnose,
      });
      const session = await new Promise<string>((resolve, reject) => {
        client.Join(request, (error, reply) =>
          reply ? resolve(readJoinReply(reply).session) : reject(error as Error),
        );
      });
      const stream = client.Work(sessionMetadata(session));
      stream.on('error', () => undefined);
      const heard = new Promise((resolve) => stream.once('data', resolve));
      stream.write(writeNodeMessage({ ...emptyNodeMessage, hello: [] }, () => new Uint8Array(0)));
      await heard;
    };
    try {
      await joins('silent', true);
      await joins('old', false);
      const { http } = cluster.coordinator;
      const begun = systemClock.monotonic();
      const told = await doctor(cluster.dir, '--server', `127.0.0.1:${http?.port}`);
      expect(systemClock.monotonic() - begun).toBeLessThan(limits.diagnosisMsMax + 5_000);
      expect(told.code).toBe(1);
      expect(lineOf(told, 'silent', 'connection')).toMatchObject({ verdict: 'fail' });
      expect(lineOf(told, 'silent', 'connection')?.found).toContain('no answer in 5.0 s');
      expect(lineOf(told, 'old', 'connection')).toMatchObject({ verdict: 'warn' });
      expect(lineOf(told, 'old', 'release')?.found).toContain('0.0.1');
    } finally {
      clients.forEach((client) => client.close());
      await cluster.close();
      rmSync(cluster.dir, { recursive: true, force: true });
    }
  }, 30_000);
});
