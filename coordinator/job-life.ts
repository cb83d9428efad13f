/**
 * What people do to a job after it was submitted: cancel, pause, resume, retry, prune. Opens the files that a reopened
 * job needs before the ledger hears of it, and removes those of a pruned one after; decides nothing.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../common/core/batch-error.ts';
import type { Deployment, LocalDeployment } from '../common/core/deployment.ts';
import type { JobName } from '../common/core/ids.ts';
import { isFinal } from '../common/core/states.ts';
import type { Clock } from '../common/io/clock.ts';
import { errnoOf, outsideError, reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import type { JobView, PrunedView, PruneRequest, ReopenRequest } from './api/backend.ts';
import { checkReopen, fileRuns } from './core/decide-life.ts';
import { partialOutputName } from './core/generation.ts';
import type { Job } from './core/ledger.ts';
import type { ReopenScope } from './core/life-events.ts';
import { reopenPlan, type ReopenPlan } from './core/reopen-plan.ts';
import type { InputCatalog } from './input/input-catalog.ts';
import type { ChangedFile } from './input/input-changes.ts';
import { statFiles, unreadableIdentity } from './input/stat-files.ts';
import { removeJobDir, type JobFiles, type JobRecord } from './job-files.ts';
import type { Loop } from './loop.ts';
import { sealedJobName } from './output/custom-listing.ts';
import { removeOutput } from './output/output-dir.ts';
import type { JobFeeds } from './views/job-feed.ts';
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
  readonly open: (record: JobRecord) => Promise<JobFiles>;
  /** Keeps jobs of other processes from the folder. @throws OUTPUT_EXISTS */
  readonly lock: (outputDir: string) => Promise<void>;
  readonly unlock: (outputDir: string) => Promise<void>;
  /** From now on these are the job's files; null: it has none open. */
  readonly keep: (name: JobName, files: JobFiles | null) => void;
  /** Whether no later job has the output folder. */
  readonly isLogOwner: (name: JobName) => boolean;
  /** @throws OUTPUT_EXISTS when a job other than `by` is writing there */
  readonly refuseOutputDir: (outputDir: string, by: JobName) => void;
}

/** Files that one look at the catalog or the input is for. */
const lookFiles = 4_096;

export class JobLife {
  readonly #options: JobLifeOptions;
  /** Jobs whose files are being opened or removed, of which the ledger says nothing. */
  readonly #busy = new Map<JobName, { readonly name: JobName; readonly outputDir: string }>();

  constructor(options: JobLifeOptions) {
    this.#options = options;
  }

  get busy(): readonly { readonly name: JobName; readonly outputDir: string }[] {
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
    if (isFinal(job.state) || job.state === 'Finalizing' || job.state === 'CancelRequested') {
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
    const asked = request.names.length > 0 ? [...new Set(request.names.map(find))] : [...loop.ledger.jobs.values()];
    const now = clock.wall();
    const isOld = (job: Job): boolean =>
      request.olderThanMs === null || (job.endedWallMs !== null && now - job.endedWallMs >= request.olderThanMs);
    const isMeant = (job: Job): boolean =>
      isOld(job) && (request.states === null || request.states.includes(job.state));
    const ended = (job: Job): boolean => isFinal(job.state) && job.isSealed && !this.#busy.has(job.name);
    const chosen = asked.filter((job) => isMeant(job) && (ended(job) || request.names.length > 0));
    const running = chosen.find((job) => !ended(job));
    if (running) {
      const message = `job ${running.name} is ${running.state}; only jobs that have ended and are sealed are pruned`;
      throw new BatchError('JOB_NOT_FINISHED', message);
    }
    const pruned: PrunedView[] = [];
    for (const job of chosen) {
      const isOwn = request.withOutput && this.#options.isLogOwner(job.name);
      const isRemoved = isOwn && (request.isDryRun || (await this.#removeOutput(job)));
      if (!request.isDryRun) await this.#forget(job);
      pruned.push(prunedView(job, isRemoved));
    }
    if (pruned.length > 0 && !request.isDryRun) log.info('jobs pruned', { jobs: pruned.length });
    return pruned;
  }

  /** Folders of jobs that were pruned, or never came to be, just before the process ended. */
  async removeOrphans(): Promise<void> {
    const { loop, stateDir, log } = this.#options;
    const names = await readdir(join(stateDir, 'jobs')).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    for (const name of names as JobName[]) {
      if (loop.ledger.jobs.has(name)) continue;
      await this.#removeDir(name);
      log.info('the folder of a job that is not known any more was removed', { job: name });
    }
  }

  /** The results go first: once the job is forgotten, nobody knows that they were its own. */
  async #removeOutput(job: Job): Promise<boolean> {
    const { outputAction, outputFileName } = job.deployment.settings;
    return await removeOutput(job.outputDir, outputAction === 'append_row' ? outputFileName : null, job.name);
  }

  async #forget(job: Job): Promise<void> {
    const { loop, feeds } = this.#options;
    // Another call may have been quicker while the output was removed.
    if (!loop.ledger.jobs.has(job.name)) return;
    // Nobody may take the name until the folder is gone.
    this.#busy.set(job.name, { name: job.name, outputDir: job.outputDir });
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
    const { stateDir, log } = this.#options;
    await removeJobDir(stateDir, job).catch((error: unknown) => {
      log.warn('the folder of a pruned job cannot be removed', { job, reason: reasonOf(error) });
    });
  }

  async #reopen(job: Job, scope: ReopenScope, request: ReopenRequest): Promise<JobView> {
    const { loop, isLogOwner, refuseOutputDir, lock, unlock } = this.#options;
    checkReopen(loop.ledger, job.name, scope);
    if (this.#busy.has(job.name)) {
      throw new BatchError('JOB_NOT_FINISHED', `somebody else has just asked job ${job.name} to go on`);
    }
    refuseOutputDir(job.outputDir, job.name);
    if (!isLogOwner(job.name)) throw takenOver(job);
    this.#busy.set(job.name, { name: job.name, outputDir: job.outputDir });
    try {
      // What it was sealed from is about to be cut: a crash must not find the job before its end.
      await loop.durable();
      await lock(job.outputDir).catch((error: unknown) => {
        throw outsideError(error, `the output folder ${job.outputDir} cannot be used`) ?? error;
      });
      await this.#open(job, scope, request).catch(async (error: unknown) => {
        await unlock(job.outputDir);
        throw error;
      });
    } finally {
      this.#busy.delete(job.name);
    }
    return await this.#shown(job.name);
  }

  async #open(job: Job, scope: ReopenScope, request: ReopenRequest): Promise<void> {
    const { loop, open, keep, log } = this.#options;
    const owner = await sealedJobName(job.outputDir);
    if (owner !== null && owner !== job.name) throw takenOver(job);
    const deployment = await this.#deployment(job, request);
    const { reopenings } = job;
    const plan = reopenPlan(job, scope);
    const files = await open(recordOf(job, plan, deployment));
    try {
      if (files.damage) throw files.damage;
      const changed = await changedFiles(job, plan, files);
      if (changed.length > 0) await files.catalog.change(reopenings + 1, changed);
      const { miniBatchSize } = deployment.settings;
      const isRecut = JSON.stringify(miniBatchSize) !== JSON.stringify(job.deployment.settings.miniBatchSize);
      const recut = isRecut ? await runSizes(job, plan, files.catalog) : null;
      keep(job.name, files);
      loop.handle({ kind: 'reopen', job: job.name, scope, deployment, reopenings, recut });
      const { generation } = plan;
      log.info('job goes on', { job: job.name, scope, mini_batches: plan.again.length, generation });
    } catch (error) {
      keep(job.name, null);
      await files.close();
      if (plan.generation > job.generation) await rm(partialPath(job, plan.generation), { force: true });
      throw error;
    }
  }

  /** @throws REQUEST_INVALID when the rows would not fit those that are there */
  async #deployment(job: Job, request: ReopenRequest): Promise<Deployment> {
    const before = job.deployment;
    const base = request.deployment ? await this.#options.seal(request.deployment) : before;
    for (const key of ['outputAction', 'outputFileName', 'outputFormat', 'customOutput'] as const) {
      const [wanted, found] = [before.settings[key], base.settings[key]];
      if (wanted === found) continue;
      const message = `the new deployment has ${key} ${found}, the job's output is made with ${wanted}; give it the same`;
      throw new BatchError('REQUEST_INVALID', message);
    }
    const { miniBatchSize, timeoutMs, triesMax, errorThreshold, instanceCountMax, concurrencyPerInstanceMax } = request;
    const { settings } = base;
    return {
      ...base,
      settings: {
        ...settings,
        miniBatchSize: miniBatchSize ?? settings.miniBatchSize,
        timeoutMs: timeoutMs ?? settings.timeoutMs,
        triesMax: triesMax ?? settings.triesMax,
        errorThreshold: errorThreshold ?? settings.errorThreshold,
        instanceCountMax: instanceCountMax ?? settings.instanceCountMax,
        concurrencyPerInstanceMax: concurrencyPerInstanceMax ?? settings.concurrencyPerInstanceMax,
      },
    };
  }

  async #shown(name: JobName): Promise<JobView> {
    await this.#options.loop.durable();
    return this.#options.show(name);
  }
}

function takenOver(job: Job): BatchError {
  const message = `${job.outputDir} holds the results of a later job by now; the output of job ${job.name} is gone`;
  return new BatchError('OUTPUT_EXISTS', message);
}

function partialPath(job: Job, generation: number): string {
  return join(job.outputDir, partialOutputName(job.deployment.settings.outputFileName, generation));
}

/** As the ledger will have it. */
function recordOf(job: Job, plan: ReopenPlan, deployment: Deployment): JobRecord {
  const { name, inputPath, outputDir, chunks, schemas } = job;
  const { generation, base, schema, outputCommitted, segments } = plan;
  const bases = new Map([...job.bases, ...(base ? [[base.segment, base.file] as const] : [])]);
  return {
    ...{ name, inputPath, outputDir, deployment, chunks, schemas },
    ...{ generation, bases, schema, outputCommitted, segments },
  };
}

/** Files that failed and are not what they were when they were listed. Those that are gone stay as they were. */
async function changedFiles(job: Job, plan: ReopenPlan, files: JobFiles): Promise<readonly ChangedFile[]> {
  const { catalog, inputRoot } = files;
  const failed = plan.again.filter((batch) => plan.failures.has(batch));
  const changed: ChangedFile[] = [];
  for (const { first, count } of pieces(fileRuns(job.batches, failed))) {
    const known = await catalog.files(first, count);
    const found = await statFiles(
      inputRoot,
      known.map(({ path }) => path),
    );
    found.forEach(({ sizeBytes, identity }, index) => {
      const isChanged = identity !== unreadableIdentity && identity !== known[index]?.identity;
      if (isChanged) changed.push({ ordinal: first + index, sizeBytes, identity });
    });
  }
  return changed;
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
    output_path: job.outputDir,
    output_removed: isOutputRemoved,
  };
}
