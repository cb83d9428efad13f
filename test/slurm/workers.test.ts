/** Worker nodes that a real Slurm starts: several on a machine, and allocations whose time is up before the job is done. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, until } from '../helpers/programs.ts';
import { SlurmCluster, slurmLack } from '../helpers/slurm-cluster.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

const lack = slurmLack();
if (lack !== null) console.warn(`SKIPPED: no worker node is started by a real Slurm: ${lack}`);

describe.skipIf(lack !== null)('worker nodes of a real Slurm', () => {
  let folders: readonly [TempFolder, TempFolder];
  let dir: string;
  let slurm: SlurmCluster;
  let cluster: ClusterProcesses;
  let tokenFile: string;

  beforeAll(async () => {
    folders = [new TempFolder(), new TempFolder()];
    dir = folders[0].path;
    slurm = await new SlurmCluster(folders[1].path, 3).start();
    cluster = await ClusterProcesses.start({ dir, isSecure: true, heartbeat: '1s' });
    tokenFile = join(dir, 'token');
    writeFileSync(tokenFile, cluster.token, { mode: 0o600 });
  }, 120_000);

  afterAll(async () => {
    await slurm?.stop();
    await endPrograms();
    folders.forEach((folder) => folder.remove());
  }, 120_000);

  function submitWorkers(...options: readonly string[]): string {
    const script = packageFile('deploy', 'slurm', 'batchmill-workers.sbatch');
    return slurm.ask('sbatch', ['--parsable', ...options, script], {
      BATCHMILL_HOME: packageFile(),
      BATCHMILL_COORDINATOR: cluster.listen,
      BATCHMILL_CA_FINGERPRINT: cluster.fingerprint,
      BATCHMILL_TOKEN_FILE: tokenFile,
      BATCHMILL_SCRATCH_DIR: join(dir, 'scratch'),
      BATCHMILL_LOG_DIR: join(dir, 'logs'),
    });
  }

  function deployment(name: string, pauseMs: number): string {
    return writeDeployment(dir, name, {
      ...{ script: 'hash-rows.mjs', miniBatchSize: 1 },
      environment: { PAUSE_MS: String(pauseMs) },
    });
  }

  const digestOf = (output: string): string =>
    createHash('sha256')
      .update(readFileSync(join(output, 'predictions.csv')))
      .digest('hex');

  test('a job array of several worker nodes to a machine scores a job, and leaves when it is told', async () => {
    const array = submitWorkers('--array=1-3', '--nodes=1', '--ntasks-per-node=2', '--cpus-per-task=1', '--time=10');
    await until(async () => (await cluster.client.nodes()).length === 6, 'six worker nodes', 60_000);
    const input = writeInputs(join(dir, 'in'), smallFiles(120));
    const output = join(dir, 'out');
    const job = await cluster.submit([deployment('quick', 20), '--input', input, '--output', output]);
    await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job');
    const nodes = await cluster.client.nodes();
    expect(new Set(nodes.map(({ labels }) => labels['slurm-job']))).toHaveLength(3);
    for (const { name, leaves_at: leaves } of nodes) {
      expect(name).toMatch(/^slurm-\d+-[01]$/);
      const leftMs = Date.parse(leaves ?? '') - Date.now();
      expect(leftMs).toBeGreaterThan(400_000);
      expect(leftMs).toBeLessThan(720_000);
    }
    const logs = readdirSync(join(dir, 'logs'));
    expect(logs).toHaveLength(3);
    for (const folder of logs) {
      expect(readdirSync(join(dir, 'logs', folder)).sort()).toEqual(['worker-0.log', 'worker-1.log']);
    }
    slurm.ask('scancel', ['--batch', '--signal=TERM', array]);
    await until(() => slurm.queue('%i').length === 0, 'the end of the array', 60_000);
    const haveLeft = async (): Promise<boolean> =>
      (await cluster.client.nodes()).every(({ state }) => state === 'gone');
    await until(haveLeft, 'the coordinator hears of it', 10_000);
    // Of the jobs' own scratch folders nothing is left.
    expect(existsSync(join(dir, 'scratch')) ? readdirSync(join(dir, 'scratch')) : []).toEqual([]);
  });

  test('a job that outlives two allocations has the rows of one that nothing disturbed', async () => {
    const input = writeInputs(join(dir, 'in-long'), smallFiles(130));
    const output = join(dir, 'out-long');
    const job = await cluster.submit([deployment('slow', 1_000), '--input', input, '--output', output]);
    submitWorkers('--array=1-6%1', '--nodes=1', '--cpus-per-task=1', '--time=1', '--signal=B:TERM@5');
    const done = await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job', 540_000);
    const gone = (await cluster.client.nodes()).filter(({ leaves_at: leaves }) => leaves !== null);
    expect(done.mini_batches).toMatchObject({ committed: 130, failed_tries: 0 });
    const allocations = new Set(gone.map(({ name }) => name.split('-')[1]));
    expect(allocations.size).toBeGreaterThan(2);
    slurm.ask('scancel', ['--user=root']);
    const alone = join(dir, 'out-alone');
    await cluster.startWorker('alone', { slots: 8 });
    const again = await cluster.submit([deployment('fast', 0), '--input', input, '--output', alone]);
    await cluster.job(again, ({ status }) => status === 'Completed', 'the end of the undisturbed job');
    expect(digestOf(output)).toBe(digestOf(alone));
  });
});
