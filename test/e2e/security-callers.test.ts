/** Who may do what over HTTP, with a coordinator as it starts by default: TLS, tokens, roles, an audit log, and limits. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { connect as connectPlain } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createClient } from '../../cli/client.ts';
import { parseAddress } from '../../common/config/address.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { Authority } from '../../common/security/authority.ts';
import { cli } from '../helpers/cli-host.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { failing } from '../helpers/failing.ts';
import { askAs, openTls } from '../helpers/http-peer.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, until } from '../helpers/programs.ts';

let dir = '';
let cluster: ClusterProcesses;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-callers-'));
  cluster = await ClusterProcesses.start({ dir, isSecure: true });
});
afterAll(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

async function tokenOf(
  user: string,
  role: string,
  ttl = '1h',
): Promise<{ readonly id: string; readonly token: string }> {
  const { code, stdout, stderr } = await cluster.cli(['token', 'create', '--user', user, '--role', role, '--ttl', ttl]);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as { id: string; token: string };
}

const isServed = async (): Promise<boolean> => (await askAs(cluster.context, 'GET', '/v1/jobs')).status === 200;

describe('tokens', () => {
  test('whoever started the coordinator has one, which is in no answer and in no file of the state directory', async () => {
    expect(await isServed()).toBe(true);
    const { token, caFingerprint } = cluster.context;
    expect(token).toMatch(/^bm_[0-9a-f]{12}_/);
    expect(caFingerprint).toBe(cluster.fingerprint);
    const secret = token?.split('_').slice(2).join('_') ?? '';
    await tokenOf('first', 'reader');
    for (const name of ['journal/segment-000001', 'audit.jsonl']) {
      expect(readFileSync(join(cluster.stateDir, name), 'latin1').includes(secret), name).toBe(false);
    }
    const listed = await cluster.cli(['token', 'list', '-o', 'json']);
    expect(listed.stdout).toContain('"role": "admin"');
    expect(listed.stdout).not.toContain(secret);
    for (const name of ['tls/ca.key', 'tls/ca.crt', 'audit.jsonl']) {
      expect([name, (statSync(join(cluster.stateDir, name)).mode & 0o777).toString(8)]).toEqual([name, '600']);
    }
    expect((statSync(join(dir, 'config', 'batchmill', 'contexts.yml')).mode & 0o777).toString(8)).toBe('600');
  });

  test('no token, one that was made up, another one’s id, a join token and a changed one are refused', async () => {
    const good = cluster.context.token ?? '';
    const changed = good.slice(0, -2) + (good.endsWith('AA') ? 'BB' : 'AA');
    for (const token of [null, 'secret', `bm_${'0'.repeat(12)}_${'A'.repeat(43)}`, changed, cluster.token]) {
      const { status, code } = await askAs(cluster.context, 'GET', '/v1/jobs', { token });
      expect([token, status, code]).toEqual([token, 401, 'TOKEN_INVALID']);
    }
    expect((await askAs(cluster.context, 'GET', '/v1/nowhere', { token: null })).status).toBe(401);
    expect((await askAs(cluster.context, 'GET', '/healthz', { token: null })).status).toBe(200);
    expect((await askAs(cluster.context, 'GET', '/readyz', { token: null })).status).toBe(200);
    const client = createClient({ ...cluster.context, token: null });
    await expect(client.list()).rejects.toThrow(failing('TOKEN_INVALID', 'no token was sent'));
  });

  test('one that has expired, and one that was revoked, is refused', async () => {
    const { token: short } = await tokenOf('eve', 'reader', '1s');
    const expired = await until(async () => {
      const reply = await askAs(cluster.context, 'GET', '/v1/jobs', { token: short });
      return reply.status === 401 ? reply : null;
    }, 'the end of a token');
    expect(JSON.stringify(expired.body)).toContain('has expired at');
    const { id, token } = await tokenOf('eve', 'reader');
    expect((await askAs(cluster.context, 'GET', '/v1/jobs', { token })).status).toBe(200);
    expect((await cluster.cli(['token', 'revoke', id])).code).toBe(0);
    expect((await askAs(cluster.context, 'GET', '/v1/jobs', { token })).code).toBe('TOKEN_INVALID');
    expect((await cluster.cli(['token', 'revoke', id])).code).toBe(3);
  });

  test('a reader looks and nothing else, an invoker ends his own jobs only, an admin ends all', async () => {
    const [reader, ann, bob] = await Promise.all([
      tokenOf('rita', 'reader'),
      tokenOf('ann', 'invoker'),
      tokenOf('bob', 'invoker'),
    ]);
    const deployment = writeDeployment(dir, 'waits', { script: 'hash-rows.mjs' });
    const body = {
      deployment,
      input_path: writeInputs(join(dir, 'in'), [['a.txt', 'a']]),
      output_path: join(dir, 'out-waits'),
      name: 'anns',
    };
    const as = (token: string, method: string, path: string, sent?: unknown) =>
      askAs(cluster.context, method, path, { token, ...(sent === undefined ? {} : { body: sent }) });
    expect(await as(reader.token, 'POST', '/v1/jobs', body)).toMatchObject({ status: 403, code: 'FORBIDDEN' });
    expect(await as(ann.token, 'POST', '/v1/jobs', body)).toMatchObject({ status: 201, body: { owner: 'ann' } });
    expect((await as(reader.token, 'GET', '/v1/jobs/anns')).status).toBe(200);
    for (const path of [
      '/v1/jobs/anns/cancel',
      '/v1/jobs/anns/pause',
      '/v1/jobs/last/cancel',
      '/v1/jobs/%61nns/cancel',
    ]) {
      expect([path, (await as(bob.token, 'POST', path, {})).code]).toEqual([path, 'FORBIDDEN']);
      expect([path, (await as(reader.token, 'POST', path, {})).code]).toEqual([path, 'FORBIDDEN']);
    }
    for (const [method, path] of [
      ['GET', '/v1/tokens'],
      ['POST', '/v1/tokens'],
      ['GET', '/v1/audit'],
      ['GET', '/v1/secrets'],
      ['PUT', '/v1/secrets/a'],
      ['POST', '/v1/nodes/tokens'],
      ['POST', '/v1/nodes/x/revoke'],
      ['POST', '/v1/jobs/prune'],
    ] as const) {
      const sent = method === 'GET' ? undefined : {};
      expect([path, (await as(bob.token, method, path, sent)).code]).toEqual([path, 'FORBIDDEN']);
    }
    expect((await askAs(cluster.context, 'PUT', '/v1/endpoints/none', { body: {} })).status).toBe(201);
    const daily = { cron: '@daily', endpoint_name: 'none', body: { input: '/in' } };
    expect((await as(ann.token, 'PUT', '/v1/schedules/anns', daily)).status).toBe(201);
    for (const [method, path, sent] of [
      ['PUT', '/v1/schedules/anns', daily],
      ['POST', '/v1/schedules/ANNS/pause', {}],
      ['DELETE', '/v1/schedules/anns', undefined],
    ] as const) {
      expect([path, (await as(bob.token, method, path, sent)).code]).toEqual([path, 'FORBIDDEN']);
    }
    expect((await as(ann.token, 'POST', '/v1/schedules/anns/pause', {})).status).toBe(200);
    expect((await as(ann.token, 'POST', '/v1/jobs/anns/pause', {})).status).toBe(202);
    expect((await askAs(cluster.context, 'POST', '/v1/jobs/anns/cancel', { body: {} })).status).toBe(202);
  });

  test('who did what is in the audit log, and neither tokens nor bodies are', async () => {
    const { token, id } = await tokenOf('maja', 'reader');
    await askAs(cluster.context, 'POST', '/v1/jobs', { token, body: { name: 'a-body' } });
    const entries = await until(async () => {
      const { code, stdout, stderr } = await cluster.cli(['audit', '-o', 'json']);
      expect(code, stderr).toBe(0);
      const all = JSON.parse(stdout) as readonly Readonly<Record<string, unknown>>[];
      return all.some((one) => one['user'] === 'maja') ? all : null;
    }, 'an entry');
    expect(entries.find((one) => one['user'] === 'maja')).toMatchObject({
      ...{ token_id: id, method: 'POST', path: '/v1/jobs', status: 403, remote: '127.0.0.1', resource: null },
    });
    expect(entries).toContainEqual(expect.objectContaining({ method: 'POST', path: '/v1/tokens', status: 201 }));
    const text = readFileSync(join(cluster.stateDir, 'audit.jsonl'), 'utf8');
    expect(text).not.toContain('a-body');
    expect(text).not.toContain(token.slice(16));
  });
});

describe('who is whom', () => {
  test('a coordinator of another authority is not believed, and gets no token', async () => {
    const other = await Authority.of(await Authority.make(systemClock.wall()));
    const client = createClient({ ...cluster.context, ca: other.cert });
    await expect(client.list()).rejects.toThrow(failing('SERVER_UNTRUSTED', 'its authority is another one'));
  });

  test('without TLS there is no answer', async () => {
    const client = createClient({ ...cluster.context, isInsecure: true });
    await expect(client.list()).rejects.toThrow(failing('COORDINATOR_UNREACHABLE', ''));
  });
});

describe('slow and greedy callers are cut while others are served', () => {
  test('a header of 100 MB', async () => {
    const socket = await openTls(cluster.context);
    const ended = new Promise<string>((resolve) => {
      let heard = '';
      socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
      socket.on('error', () => undefined).on('close', () => resolve(heard));
    });
    socket.write('GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nx-large: ');
    const piece = Buffer.alloc(1_048_576, 'x');
    let sent = 0;
    while (sent < 100 && !socket.destroyed) {
      sent += 1;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1_000);
        socket.write(piece, () => (clearTimeout(timer), resolve()));
      });
    }
    expect(await ended).toMatch(/^(HTTP\/1\.1 431 |$)/);
    expect(sent).toBeLessThan(100);
    expect(await isServed()).toBe(true);
  });

  test('headers by the letter, a body that never comes, a handshake that never begins', async () => {
    const began = systemClock.monotonic();
    const lasted = (socket: { on(event: string, listener: () => void): unknown }): Promise<number> =>
      new Promise((resolve) => {
        socket.on('error', () => undefined);
        socket.on('close', () => resolve(systemClock.monotonic() - began));
      });
    const [letters, body] = [await openTls(cluster.context), await openTls(cluster.context)];
    const { host, port } = cluster.context.server;
    const [silent, silentNode] = [connectPlain({ host, port }), connectPlain(parseAddress(cluster.listen, 'listen'))];
    const ends = Promise.all([letters, body, silent, silentNode].map(lasted));
    // Silence is no end; a socket of ours closes only when the other side closes it.
    letters.resume();
    body.resume();
    letters.write('GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\n');
    const timer = setInterval(() => letters.destroyed || letters.write('a'), 500);
    const head = `authorization: Bearer ${cluster.context.token ?? ''}\r\ncontent-type: application/json`;
    body.write(`POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n${head}\r\ncontent-length: 1000\r\n\r\n{`);
    const over = new AbortController();
    let served = 0;
    const serving = (async () => {
      while (!over.signal.aborted) {
        if (await isServed()) served += 1;
        await delay(200, over.signal);
      }
    })();
    const [lettersMs, bodyMs, silentMs, silentNodeMs] = await ends;
    over.abort();
    clearInterval(timer);
    await serving;
    const slackMs = 8_000;
    expect(lettersMs).toBeLessThan(limits.apiHeadersMsMax + slackMs);
    expect(bodyMs).toBeLessThan(limits.apiBodyMsMax + slackMs);
    expect(silentMs).toBeLessThan(limits.handshakeMsMax + slackMs);
    expect(silentNodeMs).toBeLessThan(limits.handshakeMsMax + slackMs);
    expect(served).toBeGreaterThan(10);
  });
});

test('names and paths that climb reach nothing', async () => {
  writeFileSync(join(dir, 'outside.txt'), 'outside');
  const climbing = ['..%2foutside.txt', '%2e%2e%2f%2e%2e%2fstate%2ftls%2fca.key', '..%5coutside.txt', 'a%00b'];
  for (const name of climbing) {
    for (const path of [`/v1/jobs/anns/output/${name}`, `/v1/jobs/anns/logs/${name}`, `/v1/jobs/${name}`]) {
      const { status, body } = await askAs(cluster.context, 'GET', path);
      expect([path, status >= 400 && status < 500]).toEqual([path, true]);
      expect(JSON.stringify(body)).not.toContain('PRIVATE KEY');
    }
    const put = await askAs(cluster.context, 'PUT', `/v1/secrets/${name}`, { body: { value: 'planted' } });
    expect([name, put.status, put.code]).toEqual([name, 400, 'REQUEST_INVALID']);
    const secret = await askAs(cluster.context, 'DELETE', `/v1/secrets/${name}`, {});
    expect([name, secret.code]).toEqual([name, 'SECRET_NOT_FOUND']);
  }
  for (const name of ['../planted', 'a/b', '..', '.hidden', 'a\\b', 'x'.repeat(500)]) {
    const body = {
      ...{ name, deployment: writeDeployment(dir, 'climbs', { script: 'hash-rows.mjs' }) },
      ...{ input_path: join(dir, 'in'), output_path: join(dir, 'out-climbs') },
    };
    const { status, code } = await askAs(cluster.context, 'POST', '/v1/jobs', { body });
    expect([name, status, code]).toEqual([name, 400, 'REQUEST_INVALID']);
  }
});

test('a command asks all that it asks over one connection', async () => {
  await cluster.startWorker('node-one');
  const deployment = writeDeployment(dir, 'one-connection', { script: 'hash-rows.mjs' });
  const input = writeInputs(join(dir, 'in-one'), [['a.txt', 'a']]);
  const connections = vi.spyOn(Agent.prototype as Agent & { createConnection: () => unknown }, 'createConnection');
  const args = ['job', 'submit', deployment, '--input', input, '--output', join(dir, 'out-one'), '--wait'];
  const run = await cli(args, { cwd: dir, environment: { XDG_CONFIG_HOME: join(dir, 'config') }, delay });
  expect(run.code, run.stderr).toBe(0);
  expect(connections.mock.calls).toHaveLength(1);
});
