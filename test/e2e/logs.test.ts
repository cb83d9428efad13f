/** What people read when something went wrong: logs of a cluster's jobs and their errors, through the command line. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram, until } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-logs-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

const texts = (count: number, bad: readonly number[]): readonly [string, string][] =>
  Array.from({ length: count }, (_, index) => [
    `f${String(index).padStart(2, '0')}.txt`,
    bad.includes(index) ? 'raise' : `text ${index}`,
  ]);

/** Resolves when the coordinator has all that the node has of the job's logs. */
async function shipped(nodeLogs: string, tree: string): Promise<string> {
  const path = 'user/stdout/process000.stdout.txt';
  return await until(() => {
    try {
      const [here, there] = [join(nodeLogs, path), join(tree, 'user', 'stdout', 'n1', 'process000.stdout.txt')];
      const text = readFileSync(there, 'utf8');
      return statSync(here).size === Buffer.byteLength(text) && text;
    } catch {
      return null;
    }
  }, 'the logs of the node on the coordinator');
}

describe('logs of a cluster', () => {
  test('come to the coordinator, also across its restart, and are shown by file, by process and by kind of error', async () => {
    writeInputs(join(dir, 'in'), texts(30, [4, 14]));
    const cluster = await ClusterProcesses.start({ dir });
    await cluster.startWorker('n1', { slots: 1, python: testPython() });
    const deployment = writeDeployment(dir, 'talk', { script: 'talk.py' });
    const name = await cluster.submit([deployment, '--input', 'in', '--output', 'out', '--name', 'talker']);
    await cluster.job(name, (job) => job.status === 'Completed', 'its end');
    const tree = join(dir, 'out', '_logs');
    const nodeLogs = join(cluster.scratchDir('n1'), 'nodes', 'n1', 'jobs', name, 'logs');
    const stdout = await shipped(nodeLogs, tree);
    expect(stdout).toContain('init done\nscoring f00.txt\n');

    const logs = await cluster.cli(['job', 'logs', name, '--stream', 'stdout', '--node', 'n1', '--process', '0']);
    expect(logs.stdout).toBe(stdout);
    const printed = await cluster.cli(['job', 'logs', name, '--file', 'f04.txt', '--stream', 'stderr']);
    expect(printed.code, printed.stderr).toBe(0);
    // Whatever was scored beside it in an attempt, nothing of another mini-batch is among it.
    expect(printed.stdout).toContain('warning of f04.txt\n');
    expect(printed.stdout).not.toContain('f14.txt');
    expect(printed.stderr).toContain('RUN_EXCEPTION');
    const list = await cluster.cli(['job', 'logs', name, '--list', '-o', 'tsv']);
    expect(list.stdout).toContain('user/stdout/n1/process000.stdout.txt\t');
    expect(list.stdout).toContain('sys/job_report/processed_mini-batches.csv\t');

    const errors = await cluster.cli(['job', 'errors', name]);
    expect(errors.stdout).toMatch(/^Traceback/);
    expect(errors.stdout).toContain(
      'SCORER_FAILED: ValueError: no score for f04.txt\n  2 files; for example f04.txt (on n1',
    );
    expect(errors.stdout).toContain('first f04.txt, last f14.txt');
    expect(errors.stdout).toContain(`logs: ${tree}`);
    expect(errors.stdout).not.toContain('batchmill_host');

    const download = await cluster.cli(['job', 'download', name, '--output', 'copy', '--logs']);
    expect(download.code, download.stderr).toBe(0);
    const copied = join(dir, 'copy', '_logs', 'user', 'stdout', 'n1', 'process000.stdout.txt');
    expect(readFileSync(copied, 'utf8')).toBe(stdout);
    expect(readFileSync(join(tree, 'job_result.txt'), 'utf8')).toContain(
      'talker Completed: 28 of 30 files scored, 2 failed',
    );

    // The same folder again: the logs of the job before go with its results.
    await cluster.submit([deployment, '--input', 'in', '--output', 'out', '--name', 'again', '--overwrite']);
    await cluster.job('again', (job) => job.files.scored > 0, 'its first rows');
    await cluster.coordinator.kill();
    await cluster.restartCoordinator();
    await cluster.job('again', (job) => job.status === 'Completed', 'its end');
    await shipped(join(cluster.scratchDir('n1'), 'nodes', 'n1', 'jobs', 'again', 'logs'), tree);
    expect(readFileSync(join(tree, 'job_result.txt'), 'utf8')).toContain('again Completed');
    expect(readFileSync(join(tree, 'user_logs', 'std_log_0.txt'), 'utf8')).not.toContain('talker');
  }, 120_000);

  test('a job that fails ends with the user’s traceback and where the log is', async () => {
    writeInputs(join(dir, 'in'), texts(4, [0, 1, 2, 3]));
    const deployment = writeDeployment(dir, 'talk', { script: 'talk.py' });
    const args = ['run', deployment, '--input', 'in', '--output', 'out', '--slots', '1', '--python', testPython()];
    const end = await runProgram(args, { cwd: dir });
    expect(end.code).toBe(1);
    const traceAt = end.stderr.indexOf('Traceback (most recent call last)');
    expect(traceAt).toBeGreaterThan(-1);
    expect(end.stderr).toContain('  4 files; for example f00.txt');
    expect(end.stderr.indexOf(`logs: ${join(dir, 'out', '_logs')}`)).toBeGreaterThan(traceAt);
    expect(readFileSync(join(dir, 'out', '_logs', 'job_error.txt'), 'utf8')).toContain(
      'ValueError: no score for f00.txt',
    );
    expect(readdirSync(join(dir, 'out', '_logs', 'user')).sort()).toEqual(['error', 'error.txt', 'stderr', 'stdout']);
  }, 60_000);

  test('a script that prints 200 MiB is scored, and its log is cut with a note of how much', async () => {
    writeInputs(join(dir, 'in'), [['a.txt', 'flood 200']]);
    const deployment = writeDeployment(dir, 'talk', { script: 'talk.py', more: ['retry_settings:', '  timeout: 60'] });
    const args = ['run', deployment, '--input', 'in', '--output', 'out', '--slots', '1', '--python', testPython()];
    const end = await runProgram(args, { cwd: dir }, 100_000);
    expect(end.code, end.stderr).toBe(0);
    const log = readFileSync(join(dir, 'out', '_logs', 'user', 'stdout', 'node-1', 'process000.stdout.txt'));
    const [, kept = '', dropped = ''] =
      /(\d+) bytes are kept, (\d+) more were dropped/.exec(log.subarray(-200).toString()) ?? [];
    expect(Number(kept)).toBeLessThanOrEqual(limits.hostLogBytesMax);
    expect(Number(kept) + Number(dropped)).toBe('init done\nscoring a.txt\n'.length + 200 * 1_048_576);
    const table = (name: string): readonly (readonly string[])[] =>
      readFileSync(join(dir, 'out', '_logs', 'sys', 'job_report', name), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => line.split(','));
    const [titles, batch] = table('processed_mini-batches.csv');
    const cpu = Number(batch?.[titles?.indexOf('cpu seconds') ?? -1]);
    // 200 MiB take a processor some time to write, and one process no more than it ran.
    expect(cpu).toBeGreaterThan(0.02);
    expect(cpu).toBeLessThanOrEqual(Number(batch?.[titles?.indexOf('run() seconds') ?? -1]) + 0.5);
    expect(Number(table('process_summary.csv')[1]?.at(-1))).toBe(cpu);
  }, 120_000);
});
