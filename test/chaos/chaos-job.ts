/** One job under faults, from its submission to its last byte. */
import { cpSync, existsSync, rmSync, type Dirent } from 'node:fs';
import { basename, join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import type { ChaosCluster } from './chaos-cluster.ts';
import type { JobPlan } from './chaos-plan.ts';
import { comparePartial, compareResults, leftovers, readResult, type Difference } from './check-output.ts';
import type { JobShape } from './job-shapes.ts';

export interface ChaosJob {
  readonly cluster: ChaosCluster;
  readonly shape: JobShape;
  readonly plan: JobPlan;
  /** Does not exist. */
  readonly outputDir: string;
  /** Where what is wrong is kept. */
  readonly logDir: string;
}

export interface JobOutcome {
  readonly name: string;
  readonly status: string;
  readonly rows: number;
  readonly lost: number;
  readonly doubled: number;
  readonly isEqual: boolean;
  /** What is wrong; empty when nothing is. */
  readonly defects: readonly string[];
}

const lookMs = 150;
/** An answer of a coordinator that may be frozen or away. */
const answerMs = 2_000;
const submitMs = 120_000;
/** What runs may end before it is killed. */
const cancelGraceMs = 1_000;
/** No mini-batch committed for this long is a job that is stuck: no fault lasts a tenth of it. */
const stillMs = 120_000;
/** Sealing goes on behind the job's last state. */
const sealMs = 60_000;

export async function playJob(job: ChaosJob): Promise<JobOutcome> {
  const defects: string[] = [];
  let name = '';
  let status = 'never accepted';
  let difference: Difference = { lost: 0, doubled: 0, words: [] };
  let rows = 0;
  try {
    name = await submit(job);
    status = await follow(job, name, defects);
    const isEnded = await settles(() => existsSync(join(job.outputDir, '_manifest.json')), sealMs);
    if (!isEnded) defects.push(`no _manifest.json ${sealMs} ms after the end`);
    else ({ rows, difference } = await look(job, name, status));
  } catch (error) {
    defects.push(String(error instanceof Error ? error.stack : error));
  }
  defects.push(...difference.words);
  if (defects.length > 0 && existsSync(job.outputDir)) {
    cpSync(job.outputDir, join(job.logDir, `${name}-${basename(job.outputDir)}`), { recursive: true });
  }
  rmSync(job.outputDir, { recursive: true, force: true });
  const { lost, doubled } = difference;
  return { name, status, rows, lost, doubled, isEqual: difference.words.length === 0, defects };
}

/** An answer that never came is no reason to send the job twice: the list says whether it was accepted. */
async function submit({ cluster, shape, outputDir }: ChaosJob): Promise<string> {
  const deadline = systemClock.monotonic() + submitMs;
  for (;;) {
    const args = ['job', 'submit', shape.deployment, '--input', shape.input, '--output', outputDir, '-o', 'json'];
    const { code, stdout, stderr } = await cluster.processes.cli(args);
    if (code === 0) return (JSON.parse(stdout) as JobView).name;
    const jobs = await answer(async () => await cluster.processes.client.list(), deadline);
    const found = jobs?.find((job) => job.output_path === outputDir);
    if (found) return found.name;
    if (systemClock.monotonic() > deadline) throw new Error(`could not be submitted for ${submitMs} ms: ${stderr}`);
    await delay(lookMs, new AbortController().signal);
  }
}

/** @returns the state that it has ended in */
async function follow(job: ChaosJob, name: string, defects: string[]): Promise<string> {
  const { cluster, plan, outputDir } = job;
  let last: JobView | null = null;
  let committedMax = 0;
  let isCanceled = false;
  let movedAt = systemClock.monotonic();
  for (;;) {
    cluster.weigh();
    const wasSuccess = existsSync(join(outputDir, '_SUCCESS'));
    const view = await show(cluster, name);
    if (view === 'gone') throw new Error(`the coordinator accepted ${name} and does not know it any more`);
    if (view) {
      const { committed, total } = view.mini_batches;
      if (wasSuccess && !['Finalizing', 'Completed'].includes(view.status)) {
        defects.push(`_SUCCESS while it is ${view.status}`);
      }
      if (committed < committedMax) defects.push(`${committedMax} mini-batches were committed, now ${committed}`);
      if (committed > committedMax || view.status !== last?.status) movedAt = systemClock.monotonic();
      committedMax = Math.max(committed, committedMax);
      last = view;
      if (view.status === 'Failed') defects.push(`it failed: ${JSON.stringify(view.error)}`);
      if (['Completed', 'Failed', 'Canceled'].includes(view.status)) return view.status;
      if (plan.canceledAt !== null && view.files.is_listed && committed > plan.canceledAt * total && !isCanceled) {
        isCanceled = (await answer(async () => await cluster.processes.client.cancel(name, cancelGraceMs), 0)) !== null;
      }
    }
    if (systemClock.monotonic() - movedAt > stillMs) {
      throw new Error(`it is stuck for ${stillMs} ms: ${JSON.stringify(last, null, 1)}`);
    }
    await delay(lookMs, new AbortController().signal);
  }
}

async function look(
  { cluster, shape, outputDir, plan }: ChaosJob,
  name: string,
  status: string,
): Promise<{ rows: number; difference: Difference }> {
  if (status === 'Completed') await settles(() => existsSync(join(outputDir, '_SUCCESS')), sealMs);
  const found = readResult(outputDir, shape.outputFile);
  const isCompleted = status === 'Completed';
  const difference = isCompleted ? compareResults(found, shape.wanted) : comparePartial(found, shape.wanted);
  const words = [...difference.words];
  if (status === 'Canceled' && plan.canceledAt === null) words.push('nobody has canceled it');
  const isLeft = (path: string): boolean =>
    /\.tmp$|_custom\.partial|_attempts/.test(path) || (isCompleted && path.endsWith('.partial'));
  const inState = join(cluster.processes.stateDir, 'jobs', name);
  // A canceled job may be resumed, and keeps what it has staged.
  const isStaged = (entry: Dirent): boolean => isCompleted && entry.isFile() && /^segment-/.test(entry.name);
  const staged = (): readonly string[] => [
    ...leftovers(outputDir, ({ name }) => isLeft(name)),
    ...leftovers(inState, isStaged),
  ];
  if (!(await settles(() => staged().length === 0, sealMs))) words.push(`left behind: ${staged().join(', ')}`);
  return { rows: found.rows.length, difference: { ...difference, words } };
}

/** Null when nobody answers for now. */
async function show(cluster: ChaosCluster, name: string): Promise<JobView | 'gone' | null> {
  const asked = cluster.processes.client.show(name).catch((error: unknown) => {
    if (error instanceof BatchError && error.code === 'JOB_NOT_FOUND') return 'gone' as const;
    return null;
  });
  return await Promise.race([asked, delay(answerMs, new AbortController().signal).then(() => null)]);
}

/** Asks until there is an answer, once at least; null at the deadline. */
async function answer<T>(ask: () => Promise<T>, deadline: number): Promise<T | null> {
  for (;;) {
    const given = await ask().catch(() => null);
    if (given !== null || systemClock.monotonic() > deadline) return given;
    await delay(lookMs, new AbortController().signal);
  }
}

async function settles(isSo: () => boolean, withinMs: number): Promise<boolean> {
  const deadline = systemClock.monotonic() + withinMs;
  while (!isSo()) {
    if (systemClock.monotonic() > deadline) return false;
    await delay(lookMs, new AbortController().signal);
  }
  return true;
}
