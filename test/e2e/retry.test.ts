/** Poison files that are mended: only they are read again, and the output is the one of a clean run. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { JobView } from '../../coordinator/api/backend.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';
import { readOutput } from '../helpers/sealed-output.ts';

/** The full size, 10,000 files, by `RETRY_FILES=10000`. */
const files = Number(process.env['RETRY_FILES'] ?? 600);

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-retry-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

const words = ['raise', 'none', 'hang', 'segfault', 'exit', 'raise'];
const name = (index: number): string => `f${String(index).padStart(5, '0')}.txt`;

test('job retry --failed-only reads the mended files and nothing else', { timeout: 600_000 }, async () => {
  const step = Math.floor(files / words.length);
  const wordAt = new Map(words.map((word, index) => [index * step + 13 + index, word]));
  const inputs = Array.from({ length: files }, (_, index) => [name(index), wordAt.get(index) ?? 'fine'] as const);
  const input = writeInputs(join(dir, 'in'), inputs);
  const reads = join(dir, 'reads');
  mkdirSync(reads);
  const deployment = writeDeployment(dir, 'retry', {
    script: 'retry.py',
    environment: { READS: reads },
    more: ['retry_settings:', '  max_retries: 2', '  timeout: 2'],
  });
  const out = join(dir, 'out');
  const cluster = await ClusterProcesses.start({ dir });
  for (const node of ['node-a', 'node-b']) await cluster.startWorker(node, { slots: 1, python: testPython() });
  const job = await cluster.submit([deployment, '--input', input, '--output', out]);
  const first = await cluster.cli(['job', 'wait', job], 500_000);
  expect(first.code, first.stderr).toBe(0);
  const before = readOutput(out);
  expect(before.errors.map(({ path }) => path)).toEqual([...wordAt.keys()].map(name));
  expect(before.manifest.generation).toBe(1);

  const takeReads = (): readonly string[] =>
    readdirSync(reads).flatMap((file) => {
      const lines = readFileSync(join(reads, file), 'utf8').trimEnd().split('\n');
      rmSync(join(reads, file));
      return lines;
    });
  takeReads();
  for (const index of wordAt.keys()) writeFileSync(join(input, name(index)), 'mended');
  // A file that the retry has no business with would be told by its change.
  writeFileSync(join(input, name(0)), 'changed since');
  const retried = await cluster.cli(['job', 'retry', job, '--failed-only', '--wait'], 120_000);
  expect(retried.code, retried.stderr).toBe(0);
  expect(JSON.parse(retried.stdout)).toMatchObject({ status: 'Completed', generation: 2, rows: files });
  const read = takeReads();
  console.log(`${files} files, ${wordAt.size} mended: ${read.length} were given to run() by the retry`);
  expect([...read].sort()).toEqual([...wordAt.keys()].map(name));

  const after = readOutput(out);
  expect([after.isComplete, after.manifest.generation, after.errors]).toEqual([true, 2, []]);
  expect(after.files.map(({ status }) => status)).toEqual(Array.from({ length: files }, () => 'scored'));
  expect(readdirSync(out).filter((file) => file.includes('.partial') || file.endsWith('.tmp'))).toEqual([]);
  writeFileSync(join(input, name(0)), 'fine');
  const clean = await cluster.submit([deployment, '--input', input, '--output', join(dir, 'clean')]);
  expect((await cluster.cli(['job', 'wait', clean], 500_000)).code).toBe(0);
  expect(after.sha256).toBe(readOutput(join(dir, 'clean')).sha256);

  // Nothing failed any more, and what is pruned is forgotten by the next process too.
  expect((await cluster.cli(['job', 'retry', job, '--failed-only'])).code).toBe(2);
  const pruned = await cluster.cli(['job', 'prune', job, '--output']);
  expect(pruned.code, pruned.stderr).toBe(0);
  expect([existsSync(join(out, 'predictions.csv')), existsSync(join(cluster.stateDir, 'jobs', job))]).toEqual([
    false,
    false,
  ]);
  cluster.coordinator.signal('SIGTERM');
  await cluster.coordinator.ended;
  await cluster.restartCoordinator();
  expect((await cluster.client.list()).map((one) => one.name)).toEqual([clean]);
});

/** Mini-batches of ten that take `pauseMs` until the file `fast` exists. */
function slowDeployment(pauseMs: number, more: readonly string[] = []): string {
  const environment = { PAUSE_MS: String(pauseMs), FAST_WHEN: join(dir, 'fast'), TRACE: join(dir, 'trace.txt') };
  return writeDeployment(dir, 'slow', { script: 'hash-rows.mjs', environment, more });
}

test(
  'pause, cancel with a grace, resume under another mini-batch size: nothing is scored twice',
  { timeout: 120_000 },
  async () => {
    const input = writeInputs(join(dir, 'in'), smallFiles(800));
    const out = join(dir, 'out');
    const cluster = await ClusterProcesses.start({ dir });
    await cluster.startWorker('node-a');
    const job = await cluster.submit([slowDeployment(300), '--input', input, '--output', out]);
    await cluster.job(job, (view) => view.mini_batches.committed >= 3, 'some mini-batches');
    const paused = JSON.parse((await cluster.cli(['job', 'pause', job])).stdout) as JobView;
    expect([paused.status, paused.paused]).toEqual(['Running', true]);
    const idle = await cluster.job(job, (view) => view.mini_batches.leased === 0, 'nothing runs');
    expect(idle.waiting).toContain(`batchmill job resume ${job}`);
    cluster.coordinator.signal('SIGKILL');
    await cluster.coordinator.ended;
    await cluster.restartCoordinator();
    const still = await cluster.job(job, (view) => view.paused, 'still paused');
    // Its last record may have been on its way to the disk when it was looked at.
    expect(still.mini_batches.committed).toBeGreaterThanOrEqual(idle.mini_batches.committed);
    expect((await cluster.cli(['job', 'resume', job])).code).toBe(0);
    await cluster.job(job, (view) => view.mini_batches.committed > still.mini_batches.committed, 'goes on');

    expect((await cluster.cli(['job', 'cancel', job, '--grace', '60'])).code).toBe(0);
    const canceled = await cluster.job(job, (view) => view.status === 'Canceled', 'canceled');
    const begun = (): number => (readFileSync(join(dir, 'trace.txt'), 'utf8').match(/^begin /gm) ?? []).length;
    // What ran has ended and counts: nothing that was begun is lost.
    expect(canceled.mini_batches.committed).toBe(begun());
    const refused = await cluster.cli(['job', 'pause', job]);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('JOB_ENDED')]);

    writeFileSync(join(dir, 'fast'), '');
    const resumed = await cluster.cli(['job', 'resume', job, '--mini-batch-size', '4', '--wait']);
    expect(resumed.code, resumed.stderr).toBe(0);
    const left = 800 - canceled.files.scored;
    expect(JSON.parse(resumed.stdout)).toMatchObject({ status: 'Completed', generation: 1, rows: 800 });
    // One more where the first page of the listing ended: what a job is reopened with is cut page by page.
    const again = begun() - canceled.mini_batches.committed;
    expect([0, 1]).toContain(again - Math.ceil(left / 4));
    const sealed = readOutput(out);
    expect([sealed.isComplete, sealed.files.length]).toEqual([true, 800]);
    const clean = await cluster.submit([slowDeployment(0), '--input', input, '--output', join(dir, 'clean')]);
    await cluster.job(clean, (view) => view.status === 'Completed', 'completed');
    expect(sealed.sha256).toBe(readOutput(join(dir, 'clean')).sha256);
  },
);

test('files of user code: a resume and a retry leave those of a clean run', { timeout: 120_000 }, async () => {
  const poison = new Set([3, 14]);
  const inputs = Array.from(
    { length: 30 },
    (_, index) => [name(index), poison.has(index) ? 'poison' : `text ${index}`] as const,
  );
  const input = writeInputs(join(dir, 'in'), inputs);
  const deployment = writeDeployment(dir, 'custom', {
    script: 'custom-rows.mjs',
    miniBatchSize: 5,
    more: ['error_threshold: 1', 'retry_settings:', '  max_retries: 1'],
  });
  const out = join(dir, 'out');
  const cluster = await ClusterProcesses.start({ dir });
  await cluster.startWorker('node-a', { slots: 1 });
  const job = await cluster.submit([deployment, '--input', input, '--output', out]);
  const failed = await cluster.cli(['job', 'wait', job]);
  expect([failed.code, failed.stderr]).toEqual([1, expect.stringContaining('ERROR_THRESHOLD_EXCEEDED')]);
  expect(existsSync(join(out, 'f00000.txt.out'))).toBe(true);
  const resumed = await cluster.cli(['job', 'resume', job, '--error-threshold', '2', '--wait']);
  expect(resumed.code, resumed.stderr).toBe(0);
  // Whether it needed another generation hangs on how far the output had come when the job failed.
  expect(JSON.parse(resumed.stdout)).toMatchObject({ status: 'Completed', rows: 28 });
  for (const index of poison) writeFileSync(join(input, name(index)), `text ${index}`);
  const retried = await cluster.cli(['job', 'retry', job, '--failed-only', '--wait']);
  expect(retried.code, retried.stderr).toBe(0);
  const clean = await cluster.submit([deployment, '--input', input, '--output', join(dir, 'clean')]);
  await cluster.job(clean, (view) => view.status === 'Completed', 'completed');
  const folder = (path: string): readonly (readonly [string, string])[] =>
    readdirSync(path)
      .filter((file) => !file.startsWith('_'))
      .sort()
      .map((file) => [file, readFileSync(join(path, file), 'utf8')]);
  expect(folder(out)).toEqual(folder(join(dir, 'clean')));
  expect(folder(out)).toHaveLength(32);
  // What user code wrote belongs to the job, and goes with its output.
  expect((await cluster.cli(['job', 'prune', job, '--output'])).code).toBe(0);
  expect(readdirSync(out)).toEqual([]);
});
