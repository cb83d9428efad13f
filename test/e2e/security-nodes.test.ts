/** Worker nodes of a cluster with certificates: how they join, what another one's certificate is good for, and how they are shut out. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { incarnation, nodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { silentLog } from '../../common/io/log.ts';
import { connectCluster, sessionMetadata } from '../../common/rpc/cluster-client.ts';
import type { ClusterTrust } from '../../common/rpc/credentials.ts';
import { fromGrpcError } from '../../common/rpc/grpc-error.ts';
import { writeJoinRequest } from '../../common/rpc/translate-node-message.ts';
import { Authority, requestCertificate } from '../../common/security/authority.ts';
import { CoordinatorAddresses } from '../../worker/coordinator-addresses.ts';
import { NodeIdentity } from '../../worker/node-identity.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { failing } from '../helpers/failing.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
let cluster: ClusterProcesses;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-nodes-'));
  cluster = await ClusterProcesses.start({ dir, isSecure: true });
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

/** Of a node that lives in this process. */
async function identityOf(name: string): Promise<Extract<ClusterTrust, { kind: 'tls' }>> {
  const identity = await NodeIdentity.open({
    addresses: new CoordinatorAddresses([cluster.listen]),
    ...{ name, dir: join(dir, `identity-${name}`), token: cluster.token },
    ...{
      fingerprint: cluster.fingerprint,
      joinMsMax: 1_000,
      busyMsMax: 1_000,
      clock: systemClock,
      delay,
      log: silentLog,
    },
  });
  identity.close();
  return identity.trust;
}

/** Joins by hand; resolves with the session. */
function joinAs(name: string, trust: ClusterTrust): Promise<string> {
  const client = connectCluster(cluster.listen, trust);
  const request = writeJoinRequest({
    ...{ protocol: limits.protocolVersion, release: 'test', joinToken: cluster.token, name: nodeName(name) },
    ...{ incarnation: incarnation(name), slots: 1, labels: {}, answersDiagnose: true, hostname: 'test', pid: 1 },
  });
  return new Promise<string>((resolve, reject) => {
    client.join(request, (error, reply) => {
      client.close();
      if (error || !reply) reject(fromGrpcError(error, cluster.listen));
      else resolve(reply.session);
    });
  });
}

/** What the coordinator says to an upload of a result by a session. */
function uploadAs(trust: ClusterTrust, session: string, counter: number): Promise<unknown> {
  const client = connectCluster(cluster.listen, trust);
  return new Promise((resolve, reject) => {
    const stream = client.upload(sessionMetadata(session));
    stream.on('data', (reply: { readonly refused: { readonly failure: unknown } | null }) => {
      if (reply.refused) resolve(reply.refused);
      stream.cancel();
      client.close();
    });
    stream.on('error', (error) => reject(fromGrpcError(error, cluster.listen)));
    stream.write({ token: { epoch: 1, counter }, offset: 0, totalBytes: 3, data: Buffer.from('a,b') });
  });
}

test('nodes join with the printed line, score, and join again without a token after a crash of both sides', async () => {
  const input = writeInputs(join(dir, 'in'), smallFiles(60));
  const trace = join(dir, 'trace.txt');
  const deployment = writeDeployment(dir, 'hashes', {
    ...{ script: 'hash-rows.mjs', miniBatchSize: 2 },
    environment: { PAUSE_MS: '150', TRACE: trace },
  });
  const worker = await cluster.startWorker('alpha');
  const identity = join(cluster.scratchDir('alpha'), 'nodes', 'alpha', 'identity');
  expect(readdirSync(identity)).toEqual(['identity.json']);
  expect((statSync(join(identity, 'identity.json')).mode & 0o777).toString(8)).toBe('600');
  const name = await cluster.submit([deployment, '--input', input, '--output', join(dir, 'out')]);
  await cluster.job(name, (job) => job.mini_batches.committed > 2, 'some mini-batches');
  await cluster.coordinator.kill();
  await cluster.restartCoordinator();
  await worker.kill();
  // The folder of the node says who it is; neither token nor fingerprint are given.
  await cluster.startWorker('alpha', { token: '', fingerprint: '' });
  const job = await cluster.job(name, ({ status }) => status === 'Completed', 'the end');
  expect(job.files).toMatchObject({ total: 60, scored: 60, failed: 0 });
  expect(readOutput(join(dir, 'out')).text.trimEnd().split('\n')).toHaveLength(60);
  const { code, stderr } = await runProgram(['job', 'verify', join(dir, 'out'), '-o', 'json'], { cwd: dir });
  expect(code, stderr).toBe(0);
});

test('a wrong token, one that has expired or is used up, and another authority’s fingerprint join nothing', async () => {
  const wrong = cluster.worker('a', { token: `bm_${'0'.repeat(12)}_${'A'.repeat(43)}` });
  const stranger = cluster.worker('b', { fingerprint: `sha256:${'0'.repeat(64)}` });
  const api = cluster.worker('c', { token: cluster.context.token ?? '' });
  const none = cluster.worker('d', { token: '' });
  const made = await cluster.cli(['node', 'token', '--uses', '1', '--ttl', '1h', '-o', 'json']);
  const { token } = JSON.parse(made.stdout) as { token: string };
  await cluster.startWorker('first', { token });
  const second = cluster.worker('second', { token });
  const brief = await cluster.cli(['node', 'token', '--ttl', '1s', '-o', 'json']);
  await pause(1_100);
  const expired = cluster.worker('late', { token: (JSON.parse(brief.stdout) as { token: string }).token });
  for (const [program, code, text] of [
    [wrong, 6, 'error TOKEN_INVALID: the token is not known here'],
    [stranger, 6, 'error SERVER_UNTRUSTED'],
    [api, 6, 'is not one to join with'],
    [none, 2, 'joining needs --token'],
    [second, 6, 'has been used as often as it may be'],
    [expired, 6, 'has expired at'],
  ] as const) {
    const end = await program.endsWithin(40_000);
    expect([end.code, end.stderr]).toEqual([code, expect.stringContaining(text)]);
  }
  // In the clear there is no answer at all.
  await expect(joinAs('e', { kind: 'plain' })).rejects.toThrow(failing('COORDINATOR_UNREACHABLE', ''));
});

test('a forged certificate, none, and another node’s name, session and lease are refused', async () => {
  const alpha = await identityOf('alpha');
  const beta = await identityOf('beta');
  const forger = await Authority.of(await Authority.make(systemClock.wall()));
  const { key, request } = await requestCertificate('alpha');
  const { cert } = await forger.issueNode(request, 'alpha', systemClock.wall(), 60_000);
  const forged = { ...alpha, identity: { key, cert } };
  await expect(joinAs('alpha', forged)).rejects.toThrow(failing('TOKEN_INVALID', 'no certificate of this cluster'));
  const bare = { ...alpha, identity: null };
  await expect(joinAs('alpha', bare)).rejects.toThrow(failing('TOKEN_INVALID', 'no certificate of this cluster'));
  await expect(joinAs('beta', alpha)).rejects.toThrow(failing('TOKEN_INVALID', 'is that of worker node alpha'));
  const session = await joinAs('alpha', alpha);
  const betas = await joinAs('beta', beta);
  await expect(uploadAs(beta, session, 1)).rejects.toThrow(failing('TOKEN_INVALID', 'not that of worker node beta'));
  await expect(uploadAs(bare, session, 1)).rejects.toThrow(failing('TOKEN_INVALID', 'no certificate'));

  // A lease that a real node holds, claimed by beta under its own name.
  await cluster.startWorker('gamma', { slots: 1 });
  const gate = join(dir, 'gate');
  const input = writeInputs(join(dir, 'in'), [['a.txt', 'a']]);
  const environment = { HELD: 'a.txt', GATE: gate, TRACE: join(dir, 'trace.txt') };
  const deployment = writeDeployment(dir, 'held', { script: 'gated-rows.mjs', environment });
  const name = await cluster.submit([deployment, '--input', input, '--output', join(dir, 'out')]);
  await cluster.job(name, (job) => job.mini_batches.leased === 1, 'a lease');
  for (let counter = 1; counter <= 3; counter += 1) {
    expect(await uploadAs(beta, betas, counter)).toMatchObject({ code: 'LEASE_STALE' });
  }
  // The forger's requests have cost nobody anything.
  writeFileSync(gate, '');
  await cluster.job(name, ({ status }) => status === 'Completed', 'the end');
});

test('a node that is revoked is shut out at once, cannot come back, and others finish the job', async () => {
  const input = writeInputs(join(dir, 'in'), smallFiles(60));
  const deployment = writeDeployment(dir, 'hashes', {
    ...{ script: 'hash-rows.mjs', miniBatchSize: 1, environment: { PAUSE_MS: '100' } },
  });
  const [bad] = await Promise.all([cluster.startWorker('bad'), cluster.startWorker('good')]);
  const name = await cluster.submit([deployment, '--input', input, '--output', join(dir, 'out')]);
  await cluster.job(name, (job) => job.mini_batches.committed > 4, 'some mini-batches');
  const revoked = await cluster.cli(['node', 'revoke', 'bad', '-o', 'json']);
  expect(revoked.code, revoked.stderr).toBe(0);
  const end = await bad.endsWithin(30_000);
  expect([end.code, end.stderr]).toEqual([6, expect.stringContaining('error TOKEN_INVALID')]);
  // Neither with its certificate nor with the token that everybody had.
  const again = await cluster.worker('bad').endsWithin(30_000);
  expect([again.code, again.stderr]).toEqual([6, expect.stringContaining('error TOKEN_INVALID')]);
  await cluster.job(name, ({ status }) => status === 'Completed', 'the end', 90_000);
  expect(readOutput(join(dir, 'out')).text.trimEnd().split('\n')).toHaveLength(60);
  const { stdout } = await cluster.cli(['node', 'certificates', '-o', 'json']);
  const certificates = JSON.parse(stdout) as readonly { node: string; revoked_at: string | null }[];
  expect(certificates.map(({ node, revoked_at: at }) => [node, at !== null])).toEqual(
    expect.arrayContaining([
      ['bad', true],
      ['good', false],
    ]),
  );
  expect((await cluster.cli(['node', 'revoke', 'bad'])).code).toBe(3);
  expect(readFileSync(join(cluster.stateDir, 'audit.jsonl'), 'utf8')).toContain('"resource":"nodes/bad"');
});
