/** What was allowed when a request began may not be any more when its body is there, or while its answer goes on. */
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import type { Context } from '../../common/config/contexts.ts';
import { plainOrigin } from '../../common/core/job-origin.ts';
import { limits } from '../../common/core/limits.ts';
import { askAs, openTls } from '../helpers/http-peer.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';

type As = Context & { readonly token: string; readonly id: string };

let cluster: LocalCluster;
let admin: As;
let mallory: As;
beforeAll(async () => {
  cluster = await LocalCluster.start({
    ...{ http: { host: '127.0.0.1', port: 0 }, security: { joinTokenMs: 60_000 } },
  });
  mkdirSync(join(cluster.dir, 'in'));
  mkdirSync(join(cluster.dir, 'code'));
  writeFileSync(join(cluster.dir, 'in', 'a.txt'), 'x');
  writeFileSync(join(cluster.dir, 'code', 'rows.mjs'), 'export const run = (files) => files.map(() => ({}));\n');
  const deployment = 'type: model\ncode_configuration: { code: ./code, scoring_script: rows.mjs }\n';
  writeFileSync(join(cluster.dir, 'd.yml'), deployment);
  admin = await as('root', 'admin');
});
afterAll(() => cluster.close());
beforeEach(async () => {
  mallory = await as('mallory', 'invoker');
});

async function as(user: string, role: 'admin' | 'invoker' | 'reader'): Promise<As> {
  const { access, http } = cluster.coordinator;
  if (!access || !http) throw new Error('the coordinator serves TLS');
  const { secret, token } = await access.makeToken({ user, role, ttlMs: 60_000, uses: null, createdBy: 'test' });
  const { cert: ca, fingerprint: caFingerprint } = access.authority;
  return { server: http, ca, caFingerprint, token: secret, isInsecure: false, id: token.name };
}

const revoke = async ({ id }: As): Promise<void> => {
  expect((await askAs(admin, 'DELETE', `/v1/tokens/${id}`)).status).toBe(204);
};

/** Waits: there is no worker node. */
async function submit(name: string, owner: string): Promise<string> {
  const outputDir = join(cluster.dir, `out-${name}`);
  await cluster.coordinator.jobs.submit({
    ...{ deployment: await loadDeployment(join(cluster.dir, 'd.yml'), {}), inputPath: join(cluster.dir, 'in') },
    ...{ outputDir, isOverwrite: false, name, origin: { ...plainOrigin, owner } },
  });
  return outputDir;
}

async function open(who: As, lines: readonly string[], write = ''): Promise<TLSSocket> {
  const socket = await openTls(who);
  const head = [...lines, 'host: localhost', `authorization: Bearer ${who.token}`];
  socket.write(`${head.join('\r\n')}\r\n\r\n${write}`);
  return socket;
}

const json = (body: string): string[] => ['content-type: application/json', `content-length: ${body.length}`];

/** Resolves when the coordinator has taken the headers, and all other requests before them. */
const looked = async (): Promise<void> => void (await askAs(admin, 'GET', '/healthz'));

interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** The first two answers; `then` is called when the first is here. Fewer when the connection ends. */
async function answersOf(socket: TLSSocket, then: (() => void) | null): Promise<readonly Answer[]> {
  const answers: Answer[] = [];
  let got = '';
  for await (const piece of socket as AsyncIterable<Buffer>) {
    got += piece.toString('latin1');
    const [head = '', body = ''] = got.split('\r\n\r\n', 2);
    const bytes = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? NaN);
    if (Number.isNaN(bytes) || body.length < bytes) continue;
    got = '';
    answers.push({ status: Number(head.split(' ')[1]), body: JSON.parse(body) as Answer['body'] });
    if (then === null || answers.length === 2) break;
    then();
  }
  return answers;
}

async function answerOf(socket: TLSSocket): Promise<Answer> {
  const [answer] = await answersOf(socket, null);
  if (!answer) throw new Error('the connection ended without an answer');
  return answer;
}

describe('a body that is held back', () => {
  test.each([
    ['POST', 'cancel', '{}', 'last'],
    ['POST', 'pause', '{}', 'last'],
    ['POST', 'cancel', '{}', 'beginning'],
    ['PATCH', '', '{"display_name":"mine now"}', 'last'],
  ])('acts on the job that was its sender’s when he asked: %s %s %s, %s', async (method, verb, body, called) => {
    const stem = `${method}-${verb}-${called}`.toLowerCase();
    const [his, hers] = [`${stem}-1`, called === 'last' ? `${stem}-2` : stem];
    await submit(his, 'mallory');
    const path = `/v1/jobs/${called === 'last' ? 'last' : stem}${verb && `/${verb}`}`;
    const socket = await open(mallory, [`${method} ${path} HTTP/1.1`, ...json(body)]);
    await looked();
    await submit(hers, 'ann');
    socket.write(body);
    const { status, body: view } = await answerOf(socket);
    socket.destroy();
    expect([status, view['name']]).toEqual([method === 'PATCH' ? 200 : 202, his]);
    const { status: state, paused, display_name: displayed } = cluster.coordinator.jobs.show(hers);
    expect([state.startsWith('Cancel'), paused, displayed]).toEqual([false, false, hers]);
  });

  test('does nothing when the token was revoked meanwhile', async () => {
    await submit('kept', 'mallory');
    const socket = await open(mallory, ['POST /v1/jobs/kept/cancel HTTP/1.1', ...json('{}')]);
    await looked();
    await revoke(mallory);
    socket.write('{}');
    const { status, body } = await answerOf(socket);
    socket.destroy();
    expect([status, body['code']]).toEqual([401, 'TOKEN_INVALID']);
    expect(cluster.coordinator.jobs.show('kept').status).not.toMatch(/^Cancel/);
  });
});

describe('an answer that goes on', () => {
  test('of events ends with the next one when the token was revoked, and says why', async () => {
    await submit('watched', 'ann');
    const socket = await open(mallory, ['GET /v1/jobs/watched/events HTTP/1.1', 'connection: close']);
    let got = '';
    let isRevoked = false;
    for await (const piece of socket as AsyncIterable<Buffer>) {
      got += piece.toString();
      if (got.includes('"status":"Canceled"')) break;
      if (isRevoked || !got.includes('event: state')) continue;
      isRevoked = true;
      await revoke(mallory);
      await cluster.coordinator.jobs.cancel('watched', 0);
    }
    socket.destroy();
    expect(got).toMatch(/event: error\ndata: .*"code":"TOKEN_INVALID"/);
    expect(got).not.toContain('"status":"Canceled"');
  });

  test('of a file ends with the piece that is under way', async () => {
    const outputDir = await submit('printed', 'ann');
    mkdirSync(join(outputDir, '_logs', 'user'), { recursive: true });
    const path = join(outputDir, '_logs', 'user', 'large.txt');
    const bytes = 64 * 1_048_576;
    writeFileSync(path, '');
    truncateSync(path, bytes);
    const socket = await open(mallory, ['GET /v1/jobs/printed/logs/user/large.txt HTTP/1.1', 'connection: close']);
    let got = 0;
    for await (const piece of socket as AsyncIterable<Buffer>) {
      // What the system has taken from the coordinator still comes; the rest of the file would be far more.
      if (got === 0) await revoke(mallory);
      got += piece.length;
    }
    expect(got).toBeGreaterThan(0);
    expect(got).toBeLessThan(bytes / 2);
  });
});

describe('an upload that is refused', () => {
  const head = ['POST /v1/artifacts?kind=folder&name=in HTTP/1.1', 'content-type: application/x-tar'];

  test('half way hears why, and the connection serves the next request', async () => {
    const bytes = 8 * 1_048_576;
    const socket = await open(mallory, [...head, `content-length: ${bytes}`], 'x'.repeat(65_536));
    // Nobody who sends a file looks for an answer before he has sent it.
    socket.pause();
    await new Promise((resolve) => socket.write(Buffer.alloc(bytes - 65_536, 'x'), resolve));
    const [refused, next] = await answersOf(socket, () => {
      socket.write(`GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n`);
    });
    socket.destroy();
    expect([refused?.status, refused?.body['code']]).toEqual([400, 'REQUEST_INVALID']);
    expect([next?.status, next?.body]).toEqual([200, { status: 'ok' }]);
  });

  test('for a token that was revoked meanwhile hears that', async () => {
    const upload = [...head.slice(1), 'POST /v1/artifacts?kind=file&name=m HTTP/1.1'].reverse();
    const socket = await open(mallory, [...upload, 'transfer-encoding: chunked'], chunk('x'));
    await looked();
    await revoke(mallory);
    socket.write(`${chunk('x')}0\r\n\r\n`);
    const { status, body } = await answerOf(socket);
    socket.destroy();
    expect([status, body['code']]).toEqual([401, 'TOKEN_INVALID']);
  });

  test.each(['invoker', 'reader'] as const)('of one whose role is %s is not read for ever', async (role) => {
    const who = await as('eve', role);
    const socket = await open(who, [...head, 'transfer-encoding: chunked'], chunk('x'.repeat(65_536)));
    socket.on('error', () => undefined).resume();
    const piece = chunk('x'.repeat(1_048_576));
    let sent = 0;
    while (!socket.destroyed && sent < 4 * limits.apiDroppedBytesMax) {
      sent += 1_048_576;
      await new Promise((resolve) => socket.write(piece, resolve));
    }
    expect(socket.destroyed).toBe(true);
    expect(sent).toBeLessThan(2 * limits.apiDroppedBytesMax);
  });
});

function chunk(content: string): string {
  return `${content.length.toString(16)}\r\n${content}\r\n`;
}
