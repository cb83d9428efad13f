/**
 * What people do to a job after it was submitted: cancel, pause, resume, retry, prune. Opens the files that a reopened
 * job needs before the ledger hears of it, and removes those of a pruned one after; decides nothing.
 */
import { join } from 'node:path';
import { BatchError } from '../common/core/batch-error.ts';
import type { Deployment, LocalDeployment } from '../common/core/deployment.ts';
import type { JobName } from '../common/core/ids.ts';
import { unreadableIdentity } from '../common/core/input.ts';
import { outputPlaceOf } from './job-files.ts';
import { rowsFileName } from '../common/core/parts-form.ts';
import { splitRule } from '../common/core/split.ts';
import { isFinal } from '../common/core/states.ts';
import type { Clock } from '../common/io/clock.ts';
import { errnoOf, outsideError, reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import type { JobView, PrunedView, PruneRequest, ReopenRequest } from './api/backend.ts';
import { checkReopen, fileRuns, jobsToPrune, reopenedDeployment } from './core/decide-life.ts';
import { partialOutputName } from './core/generation.ts';
import type { Job } from './core/ledger.ts';
import type { ReopenScope } from './core/life-events.ts';
import { reopenPlan, type ReopenPlan } from './core/reopen-plan.ts';
import type { InputCatalog } from './input/input-catalog.ts';
import type { ChangedFile } from './input/input-changes.ts';
import { anew, type ChangedPart } from './input/changed-parts.ts';
import type { StatFiles } from './input/stat-files.ts';
import { removeJobDir, type JobFiles, type JobRecord } from './job-files.ts';
import type { JobWork } from './job-work.ts';
import type { LogStore } from './logs/log-store.ts';
import type { Loop } from './loop.ts';
import { removeOutput } from './output/output-dir.ts';
import type { JobFeeds } from './views/job-feed.ts';
import type { Outside } from './outside.ts';
import { isoTime } from './views/job-view.ts';

export interface JobLifeOptions {
  readonly loop: Loop;
  readonly feeds: JobFeeds;
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Log;
  /** @throws JOB_NOT_FOUND */
  readonly find: (name: string) => Job;
  readonly show: (name: string) => JobView;
  /** Model and code by digest. */
  readonly seal: (local: LocalDeployment) => Promise<Deployment>;
  readonly work: JobWork;
  /** See `LogStore`. */
  readonly closeLogs: LogStore['close'];
  readonly outside: Outside;
  /** @throws OUTPUT_EXISTS when a job other than `by` is writing there */
  readonly refuseOutputPlace: (place: string, by: JobName) => void;
}

/** Files that one look at the catalog or the input is for. */
const lookFiles = 4_096;

export class JobLife {
  readonly #options: JobLifeOptions;
  /** Jobs whose files are being opened or removed, of which the ledger says nothing. */
  readonly #busy = new Map<JobName, Job>();

  constructor(options: JobLifeOptions) {
    this.#options = options;
  }

  get busy(): readonly Pick<Job, 'name' | 'outputDir' | 'outputLocation'>[] {
    return [...this.#busy.values()];
  }

  async cancel(name: string, graceMs: number): Promise<JobView> {
    const { loop, clock, find } = this.#options;
    const job = find(name);
    loop.handle({ kind: 'cancel', job: job.name, wallMs: clock.wall(), graceMs });
    return await this.#shown(job.name);
  }

  async pause(name: string): Promise<JobView> {
    const { loop, find } = this.#options;
    const job = find(name);
    loop.handle({ kind: 'pause', job: job.name, isPaused: true });
    return await this.#shown(job.name);
  }

  /** A paused job goes on; one that failed or was canceled scores what is not committed. */
  async resume(name: string, request: ReopenRequest): Promise<JobView> {
    const { loop, find } = this.#options;
    const job = find(name);
    // While its parts are made a job can be paused, and goes on from there.
    const isSealing = job.state === 'Finalizing' && !job.isPaused;
    if (isFinal(job.state) || isSealing || job.state === 'CancelRequested') {
      return await this.#reopen(job, 'rest', request);
    }
    if (Object.values(request).some((value) => value !== null)) {
      throw new BatchError(
        'JOB_NOT_FINISHED',
        `job ${job.name} is ${job.state}${job.isPaused ? ' and paused' : ''}; settings can be changed once it has ended: ` +
          `\`job cancel ${job.name}\`, then resume it`,
      );
    }
    loop.handle({ kind: 'pause', job: job.name, isPaused: false });
    return await this.#shown(job.name);
  }

  async retry(name: string, request: ReopenRequest): Promise<JobView> {
    return await this.#reopen(this.#options.find(name), 'failed', request);
  }

  async prune(request: PruneRequest): Promise<readonly PrunedView[]> {
    const { loop, clock, find, log } = this.#options;
    const asked = request.names.length > 0 ? [...new Set(request.names.map(find))] : null;
    const { olderThanMs, states } = request;
    const isBusy = (job: Job): boolean => this.#busy.has(job.name);
    const chosen = jobsToPrune(loop.ledger, { asked, olderThanMs, states }, clock.wall(), isBusy);
    const pruned: PrunedView[] = [];
    for (const job of chosen) {
      const { work } = this.#options;
      // What has gone to a store stays there, and what another job still takes rows from stays too.
      const isHere = job.outputLocation === null && work.ownsOutput(job) && !work.readerOf(job.outputDir);
      const isOwn = request.withOutput && isHere;
      const isRemoved = request.isDryRun ? isOwn : await this.#prune(job, isOwn);
      pruned.push(prunedView(job, isRemoved));
    }
    if (pruned.length > 0 && !request.isDryRun) log.info('jobs pruned', { jobs: pruned.length });
    return pruned;
  }

  /** Folders of jobs that were pruned, or never came to be, just before the process ended. */
  async removeOrphans(): Promise<void> {
    const { loop, stateDir, log, outside } = this.#options;
    const names = await outside.fileSystem.list(join(stateDir, 'jobs')).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    for (const name of names as JobName[]) {
      if (loop.ledger.jobs.has(name)) continue;
      await this.#removeDir(name);
      log.info('the folder of a job that is not known any more was removed', { job: name });
    }
  }

  /** Whether results went. They go first: once the job is forgotten, nobody knows that they were its own. */
  async #prune(job: Job, withOutput: boolean): Promise<boolean> {
    const reopenLogs = withOutput ? await this.#options.closeLogs(job.outputDir) : null;
    try {
      const { name, outputDir, deployment } = job;
      const isRemoved = withOutput && (await removeOutput(outputDir, rowsFileName(deployment.settings), name));
      await this.#forget(job);
      return isRemoved;
    } finally {
      reopenLogs?.();
    }
  }

  async #forget(job: Job): Promise<void> {
    const { loop, feeds } = this.#options;
    // Another call may have been quicker while the output was removed.
    if (!loop.ledger.jobs.has(job.name)) return;
    // Nobody may take the name until the folder is gone.
    this.#busy.set(job.name, job);
    try {
      loop.handle({ kind: 'prune', job: job.name });
      feeds.forget(job.name);
      await loop.durable();
      await this.#removeDir(job.name);
    } finally {
      this.#busy.delete(job.name);
    }
  }

  async #removeDir(job: JobName): Promise<void> {
    const { stateDir, log, outside } = this.#options;
    await removeJobDir(outside.fileSystem, stateDir, job).catch((error: unknown) => {
      log.warn('the folder of a pruned job cannot be removed', { job, reason: reasonOf(error) });
    });
  }

  async #reopen(job: Job, scope: ReopenScope, request: ReopenRequest): Promise<JobView> {
    const { loop, work, refuseOutputPlace } = this.#options;
    checkReopen(loop.ledger, job.name, scope);
    if (this.#busy.has(job.name)) {
      throw new BatchError('JOB_NOT_FINISHED', `somebody else has just asked job ${job.name} to go on`);
    }
    refuseOutputPlace(outputPlaceOf(job), job.name);
    if (!work.ownsOutput(job)) throw takenOver(job);
    this.#busy.set(job.name, job);
    try {
      // What it was sealed from is about to be cut: a crash must not find the job before its end.
      await loop.durable();
      await work.locks.take(job.outputDir).catch((error: unknown) => {
        throw outsideError(error, `the output folder ${job.outputDir} cannot be used`) ?? error;
      });
      await this.#open(job, scope, request).catch(async (error: unknown) => {
        await work.locks.release(job.outputDir);
        throw error;
      });
    } finally {
      this.#busy.delete(job.name);
    }
    return await this.#shown(job.name);
  }

  async #open(job: Job, scope: ReopenScope, request: ReopenRequest): Promise<void> {
    const { loop, work, log, outside } = this.#options;
    const owner = await work.writerOf(job);
    if (owner !== null && owner !== job.name) throw takenOver(job);
    const base = request.deployment ? await this.#options.seal(request.deployment) : job.deployment;
    refuseOtherReader(job, base);
    const deployment = reopenedDeployment(job.deployment, base, request);
    const { reopenings } = job;
    const plan = reopenPlan(job, scope);
    const files = await work.open(recordOf(job, plan, deployment));
    try {
      if (files.damage) throw files.damage;
      const changed = await changedFiles(job, plan, files, outside.statFiles);
      if (changed.length > 0) await files.catalog.change(reopenings + 1, changed);
      const { miniBatchSize } = deployment.settings;
      const isRecut = JSON.stringify(miniBatchSize) !== JSON.stringify(job.deployment.settings.miniBatchSize);
      const recut = isRecut ? await runSizes(job, plan, files.catalog) : null;
      const dropped = [...job.segments.keys()].filter((segment) => !plan.segments.has(segment));
      work.keep(job.name, files);
      loop.handle({ kind: 'reopen', job: job.name, scope, deployment, reopenings, recut });
      await loop.durable();
      // Not before: had the record been lost in a crash, the job would still be what it was.
      for (const segment of dropped) files.enqueue({ kind: 'drop', segment }, () => undefined);
      const { generation } = plan;
      log.info('job goes on', { job: job.name, scope, mini_batches: plan.again.length, generation });
    } catch (error) {
      work.keep(job.name, null);
      await files.close();
      if (plan.generation > job.generation) await outside.fileSystem.remove(partialPath(job, plan.generation));
      throw error;
    }
  }

  async #shown(name: JobName): Promise<JobView> {
    await this.#options.loop.durable();
    return this.#options.show(name);
  }
}

/** Who is given paths would read all of a file for each of its parts. */
function refuseOtherReader({ name, deployment, split, isListed }: Job, { scorer }: Deployment): void {
  const mayHaveParts = splitRule(deployment) !== null && (split !== null || !isListed);
  if (!mayHaveParts || scorer.kind === deployment.scorer.kind) return;
  const message =
    `large files of job ${name} are shared out in parts, which the new deployment would read otherwise ` +
    `(${scorer.kind}, not ${deployment.scorer.kind}); submit a job of its own`;
  throw new BatchError('REQUEST_INVALID', message);
}

export function takenOver(job: Job): BatchError {
  const message = `${outputPlaceOf(job)} holds the results of a later job by now; the output of job ${job.name} is gone`;
  return new BatchError('OUTPUT_EXISTS', message);
}

function partialPath(job: Job, generation: number): string {
  return join(job.outputDir, partialOutputName(rowsFileName(job.deployment.settings) ?? '', generation));
}

/** As the ledger will have it, with the segments that it still has. */
function recordOf(job: Job, plan: ReopenPlan, deployment: Deployment): JobRecord {
  const { name, inputPath, outputDir, chunks, schemas } = job;
  const { generation, base, schema, outputCommitted } = plan;
  const segments = new Map([...job.segments, ...plan.segments]);
  const bases = new Map([...job.bases, ...(base ? [[base.segment, base.file] as const] : [])]);
  return {
    ...{ name, inputPath, outputDir, rowsOf: job.rowsOf, deployment, chunks, schemas },
    ...{ generation, bases, schema, outputCommitted, segments },
  };
}

/**
 * Files that failed and are not what they were when they were listed. Those that are gone stay as they were.
 * @throws INPUT_CHANGED for one that was shared out, of which parts have rows already
 */
async function changedFiles(
  job: Job,
  plan: ReopenPlan,
  files: JobFiles,
  statFiles: StatFiles,
): Promise<readonly ChangedFile[]> {
  const { catalog, inputRoot } = files;
  const failed = plan.again.filter((batch) => plan.failures.has(batch));
  const changed: ChangedFile[] = [];
  const changedParts: ChangedPart[] = [];
  for (const { first, count } of pieces(fileRuns(job.batches, failed))) {
    const known = await catalog.files(first, count);
    const found = await statFiles(
      inputRoot,
      known.map(({ path }) => path),
    );
    found.forEach(({ sizeBytes, identity }, index) => {
      const isChanged = identity !== unreadableIdentity && identity !== known[index]?.identity;
      if (!isChanged) return;
      const { part, path = '' } = known[index] ?? {};
      if (part === undefined) changed.push({ ordinal: first + index, sizeBytes, identity });
      else changedParts.push({ ordinal: first + index, path, part, fileBytes: sizeBytes, identity });
    });
  }
  return [...changed, ...anew(changedParts)];
}

interface RunSizes {
  readonly first: number;
  readonly sizesBytes: Float64Array;
}

async function runSizes(job: Job, plan: ReopenPlan, catalog: InputCatalog): Promise<readonly RunSizes[]> {
  const runs: RunSizes[] = [];
  for (const run of fileRuns(job.batches, plan.again)) {
    const sizesBytes = new Float64Array(run.count);
    for (const { first, count } of pieces([run])) {
      (await catalog.files(first, count)).forEach((file, index) => {
        sizesBytes[first - run.first + index] = file.sizeBytes;
      });
    }
    runs.push({ first: run.first, sizesBytes });
  }
  return runs;
}

function* pieces(runs: readonly { readonly first: number; readonly count: number }[]): Generator<{
  readonly first: number;
  readonly count: number;
}> {
  for (const { first, count } of runs) {
    for (let done = 0; done < count; done += lookFiles) {
      yield { first: first + done, count: Math.min(lookFiles, count - done) };
    }
  }
}

function prunedView(job: Job, isOutputRemoved: boolean): PrunedView {
  return {
    name: job.name,
    status: job.state,
    ended_at: job.endedWallMs === null ? null : isoTime(job.endedWallMs),
    output_path: outputPlaceOf(job),
    output_removed: isOutputRemoved,
  };
}
