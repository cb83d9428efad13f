/**
 * Coordinators that take over from each other while a job runs: one is killed, the next stands still and comes back, the third hands
 * over. The output is the one of a calm run, byte for byte. Nothing of it is in the clear: certificates and tokens of the cluster are good at
 * whoever leads, and NATS wants a certificate and a password.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram, until } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';
import { settled } from '../standby/scenarios.ts';
import { StandbyCluster } from '../standby/standby-cluster.ts';

const files = 2_000;

let dir = '';
let cluster: StandbyCluster | null = null;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-standby-'));
});
afterEach(async () => {
  await endPrograms();
  await cluster?.close();
  cluster = null;
  rmSync(dir, { recursive: true, force: true });
});

test('one leader is killed, one stands still and comes back, one hands over: the same rows', async () => {
  const input = writeInputs(join(dir, 'in'), smallFiles(files));
  const fast = join(dir, 'fast');
  const more = ['output:', '  format: csv'];
  const calm = writeDeployment(dir, 'calm', { script: 'hash-rows.mjs', more });
  const slow = writeDeployment(dir, 'slow', {
    script: 'hash-rows.mjs',
    miniBatchSize: 4,
    environment: { PAUSE_MS: '200', FAST_WHEN: fast },
    more,
  });
  const undisturbed = await runProgram(['run', calm, '--input', input, '--output', join(dir, 'calm')], { cwd: dir });
  expect(undisturbed.code, undisturbed.stderr).toBe(0);

  cluster = await StandbyCluster.start({ dir, natsServers: 1, workers: 2, isSecure: true });
  const { program: first } = cluster.coordinator('a');
  const job = await cluster.submit([slow, '--input', input, '--output', join(dir, 'out')]);
  const before = await settled(cluster, job, 10);
  first.signal('SIGKILL');
  await cluster.takeover(job, 'b', before);
  cluster.restart('a');
  await cluster.standsBy('a');

  const { program: second } = cluster.coordinator('b');
  const frozenAt = await settled(cluster, job, before + 5);
  second.signal('SIGSTOP');
  await cluster.takeover(job, 'a', frozenAt);
  second.signal('SIGCONT');
  await second.says(/(JOURNAL_FENCED|NOT_LEADING): [^]*standing by for/, 60_000);

  const handed = await runProgram(['coordinator', 'handover', '--server', cluster.server, '-o', 'json'], { cwd: dir });
  expect([handed.code, handed.stderr]).toEqual([0, '']);
  const { to } = JSON.parse(handed.stdout) as { readonly to: string };
  expect(to).toContain(`process ${second.pid} on `);
  await cluster.takeover(job, 'b', frozenAt);
  // One that was still on its way back is told by nobody.
  const told = timesTold(cluster);
  expect(told).toBeGreaterThan(0);

  const { program: third } = cluster.coordinator('a');
  await third.says(/handed over to [^]*standing by for/, 60_000);
  const stoppedAt = await settled(cluster, job, frozenAt + 5);
  second.signal('SIGTERM');
  await cluster.takeover(job, 'a', stoppedAt);
  expect((await second.endsWithin(60_000)).code, second.report()).toBe(0);
  expect(second.stderr).toContain('hands over before it ends');
  expect(timesTold(cluster)).toBeGreaterThan(told);
  writeFileSync(fast, '');
  const done = await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job');
  expect(done).toMatchObject({ rows: files, files: { total: files, scored: files, failed: 0 } });
  await until(() => existsSync(join(dir, 'out', '_SUCCESS')), 'the end of sealing');
  expect(readOutput(join(dir, 'out')).sha256).toBe(readOutput(join(dir, 'calm')).sha256);
  for (const worker of cluster.workers) expect(worker.end, worker.report()).toBeNull();
});

function timesTold({ workers }: StandbyCluster): number {
  return workers.flatMap(({ stderr }) => stderr.match(/another coordinator is about to lead/g) ?? []).length;
}
