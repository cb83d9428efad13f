/**
 * A cluster goes from one release to the next while a job runs: coordinators and worker nodes are exchanged one by one. The rows are
 * those of a calm run.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { buildEarlier, earlierRelease } from '../helpers/earlier-program.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram, until } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';
import { StandbyCluster } from '../standby/standby-cluster.ts';
import { upgrade } from '../standby/upgrade.ts';

const files = 2_000;
const [before, now] = [limits.protocolVersion - 1, limits.protocolVersion];

let dir = '';
let cluster: StandbyCluster | null = null;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-upgrade-'));
});
afterEach(async () => {
  await endPrograms();
  await cluster?.close();
  cluster = null;
  rmSync(dir, { recursive: true, force: true });
});

test('every process is exchanged for one of the next release: the same rows, none lost, none twice', async () => {
  const main = await buildEarlier(join(dir, 'earlier'));
  const input = writeInputs(join(dir, 'in'), smallFiles(files));
  const fast = join(dir, 'fast');
  const more = ['output:', '  format: csv'];
  const calm = writeDeployment(dir, 'calm', { script: 'hash-rows.mjs', more });
  const slow = writeDeployment(dir, 'slow', {
    script: 'hash-rows.mjs',
    miniBatchSize: 2,
    environment: { PAUSE_MS: '150', FAST_WHEN: fast },
    more,
  });
  const undisturbed = await runProgram(['run', calm, '--input', input, '--output', join(dir, 'calm')], { cwd: dir });
  expect(undisturbed.code, undisturbed.stderr).toBe(0);

  cluster = await StandbyCluster.start({ dir, natsServers: 1, workers: 2, main });
  expect(cluster.workers[0]?.stderr).toContain(`"release":"${earlierRelease}"`);
  const job = await cluster.submit([slow, '--input', input, '--output', join(dir, 'out')]);
  expect(await upgrade(cluster, job)).toEqual([
    // Of this release, it works for a coordinator of the one before, and then for one of its own.
    [before, before, now, now],
    // Of the release before, it works for a coordinator of this one, until its own turn comes.
    [before, before, before, now],
  ]);
  expect((await cluster.client.show(job)).status).toBe('Running');
  writeFileSync(fast, '');
  const done = await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job');
  expect(done).toMatchObject({ rows: files, files: { total: files, scored: files, failed: 0 } });
  await until(() => existsSync(join(dir, 'out', '_SUCCESS')), 'the end of sealing');
  expect(readOutput(join(dir, 'out')).sha256).toBe(readOutput(join(dir, 'calm')).sha256);
});
