/** One job under faults, from its submission to its last byte, with what people do to it on the way. */
import { cpSync, existsSync, type Dirent } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isFinal } from '../../common/core/states.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import type { JobView, ReopenRequest } from '../../coordinator/api/backend.ts';
import type { ChaosCluster } from './chaos-cluster.ts';
import type { JobPlan, Step } from './chaos-plan.ts';
import { comparePartial, compareResults, leftovers, readResult, type Difference } from './check-output.ts';
import type { JobShape } from './job-shapes.ts';
import { JobWatch, lookMs } from './job-watch.ts';

export interface ChaosJob {
  readonly cluster: ChaosCluster;
  readonly shape: JobShape;
  readonly plan: JobPlan;
  /** Does not exist. */
  readonly outputDir: string;
  /** Where what is wrong is kept. */
  readonly logDir: string;
  /** Breaks it off; what it comes to is of no interest then. */
  readonly signal: AbortSignal;
}

export interface JobOutcome {
  readonly name: string;
  readonly status: string;
  readonly rows: number;
  readonly lost: number;
  readonly doubled: number;
  readonly isEqual: boolean;
  /** Steps of its plan that were done, and not too late. */
  readonly steps: readonly Step['kind'][];
  /** What is wrong; empty when nothing is. */
  readonly defects: readonly string[];
}

const submitMs = 120_000;
/** Sealing goes on behind the job's last state. */
const sealMs = 60_000;
/** For what a step waits for before it kills. */
const killMs = 2_500;
/** A coordinator that was killed is back sooner. */
const awayMs = 2_500;
/** Faults may cost a mended file its tries: so often it is asked for again. */
const retriesMax = 4;

const asBefore: ReopenRequest = {
  ...{ deployment: null, miniBatchSize: null, timeoutMs: null, triesMax: null },
  ...{ errorThreshold: null, instanceCountMax: null, concurrencyPerInstanceMax: null },
};

export async function playJob(job: ChaosJob): Promise<JobOutcome> {
  const run: JobRun = {
    ...job,
    name: '',
    defects: [],
    steps: [],
    difference: { lost: 0, doubled: 0, words: [] },
    rows: 0,
  };
  let status = 'never accepted';
  try {
    job.shape.poison?.spoil();
    run.name = await submit(job);
    status = await play(run);
  } catch (error) {
    if (!job.signal.aborted) run.defects.push(String(error instanceof Error ? error.stack : error));
  }
  const { name, difference, rows, steps } = run;
  const defects = [...run.defects, ...difference.words];
  if (defects.length > 0 && existsSync(job.outputDir)) {
    cpSync(job.outputDir, join(job.logDir, `${name}-${basename(job.outputDir)}`), { recursive: true });
  }
  // The last words of the job's logs may still come.
  await rm(job.outputDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  const { lost, doubled, words } = difference;
  return { name, status, rows, lost, doubled, isEqual: words.length === 0, steps, defects };
}

/** What has become of it so far. */
interface JobRun extends ChaosJob {
  name: string;
  readonly defects: string[];
  readonly steps: Step['kind'][];
  difference: Difference;
  rows: number;
}

/** An answer that never came is no reason to send the job twice: the list says whether it was accepted. */
async function submit({ cluster, shape, outputDir, signal }: ChaosJob): Promise<string> {
  const deadline = systemClock.monotonic() + submitMs;
  for (;;) {
    const args = ['job', 'submit', shape.deployment, '--input', shape.input, '--output', outputDir, '-o', 'json'];
    const { code, stdout, stderr } = await cluster.processes.cli(args);
    if (code === 0) return (JSON.parse(stdout) as JobView).name;
    const found = await findJob(cluster, outputDir, deadline, signal);
    if (found) return found.name;
    if (systemClock.monotonic() > deadline) throw new Error(`could not be submitted for ${submitMs} ms: ${stderr}`);
    await delay(lookMs, signal);
  }
}

async function findJob(
  { processes }: ChaosCluster,
  outputDir: string,
  deadline: number,
  signal: AbortSignal,
): Promise<JobView | undefined> {
  for (;;) {
    const jobs = await processes.client.list().catch(() => null);
    if (jobs !== null || systemClock.monotonic() > deadline) {
      return jobs?.find((job) => job.output_path === outputDir);
    }
    signal.throwIfAborted();
    await delay(lookMs, signal);
  }
}

/** @returns the state that it has ended in */
async function play(run: JobRun): Promise<string> {
  const { cluster, name, outputDir, shape, defects, signal } = run;
  const watch = new JobWatch({ cluster, name, outputDir, outputFile: shape.outputFile, defects, signal });
  for (const step of run.plan.steps) if (await take(run, watch, step)) run.steps.push(step.kind);
  let view = await watch.ended();
  for (let tries = 0; shape.poison && view.status === 'Completed' && view.files.failed > 0; tries += 1) {
    if (tries === retriesMax)
      throw new Error(`${view.files.failed} files fail that are mended: ${JSON.stringify(view)}`);
    await watch.goesOn('job retry', async () => await cluster.processes.client.retry(name, asBefore), view);
    view = await watch.ended();
  }
  await look(run, view);
  return view.status;
}

/** False when it came too late, or not at all. */
async function take(run: JobRun, watch: JobWatch, step: Step): Promise<boolean> {
  const { client } = run.cluster.processes;
  const { name, cluster, shape } = run;
  switch (step.kind) {
    case 'pause': {
      if (isFinal((await watch.reaches(step.at)).status)) return false;
      await watch.ask(
        'job pause',
        async () => await client.pause(name),
        (view) => view.paused || isFinal(view.status),
      );
      await delay(step.ms, run.signal);
      const { paused } = await watch.until((view) => view.paused || isFinal(view.status));
      if (paused)
        await watch.ask(
          'job resume',
          async () => await client.resume(name, asBefore),
          (view) => !view.paused,
        );
      return paused;
    }
    case 'cancel': {
      if (isFinal((await watch.reaches(step.at)).status)) return false;
      if (step.isAfterKill) {
        await cluster.killCoordinator('appends', killMs);
        // Nobody offers again what was being written.
        for (const node of cluster.nodes) cluster.killNode(node, awayMs);
      }
      await watch.ask(
        'job cancel',
        async () => await client.cancel(name, step.graceMs),
        (view) => view.status === 'CancelRequested' || isFinal(view.status),
      );
      const view = await watch.ended();
      if (view.status === 'Canceled' && view.generation === 1) await look(run, view);
      return view.status === 'Canceled';
    }
    case 'resume': {
      const view = await watch.ended();
      if (view.status !== 'Canceled') return false;
      const request = { ...asBefore, miniBatchSize: { kind: 'files', files: step.miniBatchFiles } as const };
      await watch.goesOn('job resume', async () => await client.resume(name, request), view);
      return true;
    }
    case 'retry': {
      const view = await watch.ended();
      if (!shape.poison || view.status !== 'Completed') return false;
      await lookAtPoisoned(run, view);
      shape.poison.mend();
      await watch.goesOn('job retry', async () => await client.retry(name, asBefore), view);
      for (const kill of step.kills) await killAfterCommit(run, watch, kill);
      return true;
    }
  }
}

/** In the middle of what was asked for: after one more mini-batch was committed, or nothing was for a while. */
async function killAfterCommit({ cluster }: JobRun, watch: JobWatch, who: 'coordinator' | 'node'): Promise<void> {
  const before = await watch.until(() => true);
  const deadline = systemClock.monotonic() + killMs;
  const { status } = await watch.until(
    ({ status, mini_batches: { committed } }) =>
      isFinal(status) || committed > before.mini_batches.committed || systemClock.monotonic() > deadline,
  );
  if (isFinal(status)) return;
  if (who === 'coordinator') await cluster.killCoordinator('writes', killMs);
  else for (const node of cluster.nodes.slice(0, 2)) cluster.killNode(node, 0);
}

/** Every file that is poison has failed, and what has not is as it must be. */
async function lookAtPoisoned(run: JobRun, view: JobView): Promise<void> {
  const { shape, outputDir, signal } = run;
  if (!(await settles(() => existsSync(join(outputDir, '_SUCCESS')), signal))) throw new Error('no _SUCCESS');
  const found = readResult(outputDir, shape.outputFile);
  const failed = new Set(found.files.flatMap(({ path, status }) => (status === 'failed' ? [path] : [])));
  const spared = shape.poison?.paths.filter((path) => !failed.has(path)) ?? [];
  const { words } = comparePartial({ ...found, isComplete: false }, shape.wanted);
  run.defects.push(...words.map((what) => `with poison: ${what}`));
  if (spared.length > 0) run.defects.push(`${spared.join(', ')} cannot be scored and are not told as failed`);
  if (failed.size !== view.files.failed)
    run.defects.push(`${view.files.failed} failed, the manifest has ${failed.size}`);
}

async function look(run: JobRun, { status }: JobView): Promise<void> {
  const { cluster, shape, outputDir, plan, name, signal } = run;
  const isCompleted = status === 'Completed';
  const end = isCompleted ? '_SUCCESS' : '_manifest.json';
  if (!(await settles(() => existsSync(join(outputDir, end)), signal))) {
    run.defects.push(`no ${end} ${sealMs} ms after the end`);
    return;
  }
  const found = readResult(outputDir, shape.outputFile);
  const difference = isCompleted ? compareResults(found, shape.wanted) : comparePartial(found, shape.wanted);
  const words = [...difference.words];
  if (status === 'Canceled' && !plan.steps.some(({ kind }) => kind === 'cancel')) words.push('nobody has canceled it');
  const isLeft = (path: string): boolean =>
    /\.tmp$|_custom\.partial|_attempts/.test(path) || (isCompleted && path.endsWith('.partial'));
  const inState = join(cluster.processes.stateDir, 'jobs', name);
  // A canceled job may be resumed, and keeps what it has staged.
  const isStaged = (entry: Dirent): boolean => isCompleted && entry.isFile() && /^segment-/.test(entry.name);
  const staged = (): readonly string[] => [
    ...leftovers(outputDir, ({ name }) => isLeft(name)),
    ...leftovers(inState, isStaged),
  ];
  if (!(await settles(() => staged().length === 0, signal))) words.push(`left behind: ${staged().join(', ')}`);
  run.rows = found.rows.length;
  run.difference = { ...difference, words: [...run.difference.words, ...words] };
}

async function settles(isSo: () => boolean, signal: AbortSignal): Promise<boolean> {
  const deadline = systemClock.monotonic() + sealMs;
  while (!isSo()) {
    signal.throwIfAborted();
    if (systemClock.monotonic() > deadline) return false;
    await delay(lookMs, signal);
  }
  return true;
}
