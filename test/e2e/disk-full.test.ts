/** A disk without room pauses a job and says so; when there is room it goes on by itself, and nothing is lost or doubled. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';
import { canMountSmall, fill, mountSmall, unmountSmall } from '../helpers/small-disk.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-full-'));
});
afterEach(async () => {
  await endPrograms();
  unmountSmall();
  rmSync(dir, { recursive: true, force: true });
});

describe.skipIf(!canMountSmall())('a full disk', () => {
  /** 300 files, 10 KB of rows each. */
  async function prepare(): Promise<{ input: string; deployment: string; wanted: string }> {
    const input = writeInputs(join(dir, 'in'), smallFiles(300));
    const deployment = writeDeployment(dir, 'wide', { script: 'hash-rows.mjs', environment: { PAD_CHARS: '10000' } });
    const end = await runProgram(['run', deployment, '--input', input, '--output', 'calm'], { cwd: dir });
    expect(end.code, end.stderr).toBe(0);
    const calm = readOutput(join(dir, 'calm'));
    expect(calm.bytes.length).toBeGreaterThan(3_000_000);
    return { input, deployment, wanted: calm.sha256 };
  }

  test('under the output: paused with the reason, also across a kill -9 of the coordinator, then completed', async () => {
    const { input, deployment, wanted } = await prepare();
    const disk = join(dir, 'disk');
    mountSmall(disk, 16);
    const ballast = fill(disk, 1_000_000);
    const cluster = await ClusterProcesses.start({ dir });
    await cluster.startWorker('node-a');
    const job = await cluster.submit([deployment, '--input', input, '--output', join(disk, 'out')]);
    const isPaused = (view: { readonly waiting: string | null }): boolean =>
      view.waiting?.startsWith('paused: ') ?? false;
    const paused = await cluster.job(job, isPaused, 'paused');
    expect(paused.waiting).toContain(`${join(disk, 'out')} has no room for results`);
    expect(paused.waiting).toContain('make room, the job goes on by itself');
    expect(paused.status).toBe('Running');
    expect((await cluster.cli(['job', 'show', job, '-o', 'table'])).stdout).toContain('has no room for results');
    // Results that are not next in order are committed beside the output, where there is room.
    expect(paused.output_bytes).toBeLessThan(1_000_000);

    await cluster.coordinator.kill();
    await cluster.restartCoordinator();
    const again = await cluster.job(job, isPaused, 'paused again', 60_000);
    expect(again.output_bytes).toBeGreaterThanOrEqual(paused.output_bytes);
    expect(again.mini_batches.committed).toBeGreaterThanOrEqual(paused.mini_batches.committed);

    rmSync(ballast);
    const done = await cluster.job(job, (view) => view.status === 'Completed', 'completed');
    expect(done).toMatchObject({ rows: 300, waiting: null, mini_batches: { total: 30, committed: 30 } });
    expect(readOutput(join(disk, 'out')).sha256).toBe(wanted);
  });

  test('under the state directory: the same', async () => {
    const { input, deployment, wanted } = await prepare();
    const disk = join(dir, 'state');
    mountSmall(disk, 32);
    const cluster = await ClusterProcesses.start({ dir });
    const job = await cluster.submit([deployment, '--input', input, '--output', join(dir, 'out')]);
    await cluster.job(job, (view) => view.files.is_listed, 'listed');
    const ballast = fill(disk, 0);
    await cluster.startWorker('node-a');
    const paused = await cluster.job(job, (view) => view.waiting?.startsWith('paused: ') ?? false, 'paused');
    expect(paused.waiting).toContain(disk);
    expect(paused.mini_batches.committed).toBeLessThan(30);
    rmSync(ballast);
    await cluster.job(job, (view) => view.status === 'Completed', 'completed');
    expect(readOutput(join(dir, 'out')).sha256).toBe(wanted);
  });
});
