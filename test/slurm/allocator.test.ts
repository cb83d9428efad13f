/** The allocator on a real Slurm: from nothing to its maximum and back, over a crash of its own, and past jobs of others. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, Program, until } from '../helpers/programs.ts';
import { SlurmCluster, slurmLack } from '../helpers/slurm-cluster.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

const lack = slurmLack();
if (lack !== null) console.warn(`SKIPPED: the allocator is not tried on a real Slurm: ${lack}`);

describe.skipIf(lack !== null)('the allocator on a real Slurm', () => {
  const folders = [new TempFolder(), new TempFolder()] as const;
  const dir = folders[0].path;
  const slurm = new SlurmCluster(folders[1].path, 3);
  let cluster: ClusterProcesses;

  beforeAll(async () => {
    await slurm.start();
    cluster = await ClusterProcesses.start({ dir, isSecure: true, heartbeat: '1s' });
    writeFileSync(join(dir, 'token'), cluster.token, { mode: 0o600 });
  }, 120_000);

  afterAll(async () => {
    await endPrograms();
    await slurm.stop();
    folders.forEach((folder) => folder.remove());
  }, 120_000);

  async function makeCompute(name: string, ...options: readonly string[]): Promise<void> {
    const { code, stderr } = await cluster.cli([
      ...['compute', 'create', '--type', 'slurm', '--name', name, '--max-instances', '3'],
      ...['--idle-time-before-scale-down', '3', '--label', `pool=${name}`],
      ...options.map((option) => `--slurm-option=${option}`),
    ]);
    if (code !== 0) throw new Error(stderr);
  }

  function startAllocator(compute: string, tokenFile = 'token'): Program {
    const args = ['allocator', 'slurm', '--compute', compute, '--coordinator', cluster.listen];
    return new Program([...args, '--server', cluster.http, '--log-dir', join(dir, 'logs')], {
      cwd: dir,
      environment: {
        ...slurm.environment,
        XDG_CONFIG_HOME: join(dir, 'config'),
        BATCHMILL_HOME: packageFile(),
        BATCHMILL_CA_FINGERPRINT: cluster.fingerprint,
        BATCHMILL_TOKEN_FILE: join(dir, tokenFile),
        BATCHMILL_SCRATCH_DIR: join(dir, 'scratch'),
      },
    });
  }

  async function submitJob(name: string, compute: string, pauseMs: number, files: number): Promise<string> {
    const environment = { PAUSE_MS: String(pauseMs) };
    const deployment = writeDeployment(dir, name, { script: 'hash-rows.mjs', miniBatchSize: 1, environment });
    const input = writeInputs(join(dir, `in-${name}`), smallFiles(files));
    const output = join(dir, `out-${name}`);
    return await cluster.submit([deployment, '--input', input, '--output', output, '--compute', compute]);
  }

  const jobsNamed = (name: string): readonly string[] => slurm.queue('%A|%T', `--name=${name}`);
  const allocationOf = async (compute: string): Promise<Record<string, unknown>> => {
    const { stdout } = await cluster.cli(['compute', 'show', '--name', compute, '-o', 'json']);
    return (JSON.parse(stdout) as { allocation: Record<string, unknown> }).allocation;
  };

  test('goes from nothing to the maximum and back; a killed one is followed by one that knows its jobs, and others are left alone', async () => {
    await makeCompute('slow', '--cpus-per-task=1', '--time=10');
    const stranger = slurm.ask('sbatch', ['--parsable', '--job-name=batchmill-slow', '--wrap', 'sleep 600']);
    const first = startAllocator('slow');
    await first.says(/allocating worker nodes for compute slow/);
    const job = await submitJob('first', 'slow', 600, 90);
    const own = (): readonly string[] => jobsNamed('batchmill-slow').filter((line) => !line.startsWith(`${stranger}|`));
    await until(() => own().length === 3, 'three worker jobs', 60_000);
    const ids = own().map((line) => line.split('|')[0]);
    await first.kill();
    const second = startAllocator('slow');
    await second.says(/3 of its Slurm jobs are there already/);
    await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job', 120_000);
    const nodes = await cluster.client.nodes();
    expect(new Set(nodes.map(({ labels }) => labels['slurm-job']))).toEqual(new Set(ids));
    expect(nodes.every(({ labels }) => labels['pool'] === 'slow')).toBe(true);
    await until(() => own().length === 0, 'the end of the worker jobs', 90_000);
    expect(second.stderr).not.toMatch(/is submitted/);
    expect((await cluster.client.nodes()).every(({ state }) => state === 'gone')).toBe(true);
    expect(jobsNamed('batchmill-slow')).toEqual([`${stranger}|RUNNING`]);
    expect(await allocationOf('slow')).toMatchObject({ state: 'active', pending: 0, wanted: 0, reason: null });
    second.signal('SIGTERM');
    expect((await second.endsWithin(30_000)).code).toBe(0);
    slurm.ask('scancel', [stranger]);
  });

  test('pauses when its jobs fail one after the other, and `compute show` says why', async () => {
    await makeCompute('broken', '--cpus-per-task=1', '--time=10');
    const allocator = startAllocator('broken', 'no-token');
    const job = await submitJob('second', 'broken', 0, 4);
    const paused = await until(
      async () => {
        const found = await allocationOf('broken');
        return found?.['state'] === 'paused' ? found : null;
      },
      'a pause',
      120_000,
    );
    expect(paused['reason']).toMatch(/Slurm job \d+ ended FAILED .*before its worker node joined/);
    expect(jobsNamed('batchmill-broken')).toEqual([]);
    expect(allocator.stderr.match(/is submitted/g)).toHaveLength(3);
    await cluster.client.cancel(job, 0);
  });

  test('says at once what sbatch has against its options', async () => {
    await makeCompute('wrong', '--partition=there-is-none');
    const { code, stderr } = await startAllocator('wrong').endsWithin(30_000);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/SLURM_FAILED.*invalid partition/s)]);
  });
});
