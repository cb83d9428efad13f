/**
 * People's and programs' side of the coordinator: submits, shows, cancels, and the long work behind a job (listing,
 * sealing). Decides nothing: what follows from what is the ledger's business.
 */
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { BatchError, type Failure } from '../common/core/batch-error.ts';
import type { Deployment, LocalDeployment } from '../common/core/deployment.ts';
import { jobName, nodeName, type JobName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import { isFinal } from '../common/core/states.ts';
import type { Clock } from '../common/io/clock.ts';
import { delay } from '../common/io/delay.ts';
import { errnoOf, outsideError, reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import { nodeFileSystem } from '../common/io/node-file-system.ts';
import type {
  Backend,
  FileQuery,
  JobErrorsView,
  JobEvent,
  JobRequest,
  JobView,
  NodeView,
  Page,
  PrintedView,
  PrunedView,
  PruneRequest,
  ReopenRequest,
} from './api/backend.ts';
import type { InputCatalog } from './input/input-catalog.ts';
import type { Job } from './core/ledger.ts';
import { listInput } from './input/list-input.ts';
import { JobFiles, removeStaging, type JobFilesOptions, type JobRecord } from './job-files.ts';
import { newJobName } from './job-name.ts';
import { listJob, openListing, type OpenListing } from './list-job.ts';
import { catalogOf, jobErrors, logPathOf, printedOf } from './job-logs.ts';
import type { JobStory } from './logs/job-story.ts';
import { listLogs } from './logs/log-store.ts';
import { JobLife } from './job-life.ts';
import type { Loop } from './loop.ts';
import type { Watched } from './output/disk-watch.ts';
import { prepareOutputDir } from './output/output-dir.ts';
import { OutputLocks } from './output/output-lock.ts';
import { refuseOutputInInput } from './output/output-place.ts';
import { listCustomFiles } from './output/custom-listing.ts';
import { manifestDirName, partialName } from './output/output-names.ts';
import type { ManifestSigner } from './output/seal.ts';
import { sizeOf } from './output/recover-output.ts';
import type { ArtifactStore } from './registry/artifact-store.ts';
import { sealJob } from './seal-job.ts';
import type { JobFeeds } from './views/job-feed.ts';
import { jobView, nodeView } from './views/job-view.ts';

export interface JobDeskOptions {
  readonly loop: Loop;
  readonly feeds: JobFeeds;
  readonly artifacts: ArtifactStore;
  readonly story: JobStory;
  readonly stateDir: string;
  readonly release: string;
  /** Signs the manifests of its jobs; null where no key lasts. */
  readonly signer: ManifestSigner | null;
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random: () => number;
  readonly log: Log;
  /** A defect, or damage on the disk: the process must end. */
  readonly onFatal: (error: unknown) => void;
}

export class JobDesk implements Backend {
  readonly #options: JobDeskOptions;
  readonly #loop: Loop;
  readonly #life: JobLife;
  readonly #files = new Map<JobName, JobFiles>();
  /** Listings whose first page was looked at when the job was submitted. */
  readonly #listings = new Map<JobName, OpenListing>();
  #custom: { readonly job: JobName; readonly paths: ReadonlySet<string> } | null = null;
  readonly #stop = new AbortController();
  /** Of the output folders of all jobs that are not sealed. */
  readonly #locks = new OutputLocks();
  /** Jobs that are being submitted and not in the ledger yet. */
  readonly #submissions = new Set<{ readonly name: string | null; readonly outputDir: string }>();
  /** The last seal of each job that was begun: one at a time, since they write the same files. */
  readonly #seals = new Map<JobName, Promise<void>>();
  /** Jobs whose report is to be written again. */
  readonly #reports = new Set<JobName>();
  /** Listings and seals under way. */
  readonly #work = new Set<Promise<void>>();

  constructor(options: JobDeskOptions) {
    this.#options = options;
    this.#loop = options.loop;
    this.#life = new JobLife({
      ...options,
      find: (name) => this.#find(name),
      show: (name) => this.show(name),
      seal: (local) => this.#seal(local),
      open: async (record) => this.#open(record),
      keep: (name, files) => {
        if (files) this.#files.set(name, files);
        else this.#files.delete(name);
        this.#custom = null;
      },
      lock: (outputDir) => this.#locks.take(outputDir),
      unlock: (outputDir) => this.#locks.release(outputDir),
      isLogOwner: (name) => this.logOwner(name) !== null,
      refuseOutputDir: (outputDir, by) => this.#refuseOutputDir(outputDir, by),
    });
  }

  /** Files of a job that has not been sealed. */
  filesOf(name: JobName): JobFiles | undefined {
    return this.#files.get(name);
  }

  /** Output folder where the logs of a job go; null when a later job has the folder. */
  logOwner(name: JobName): string | null {
    const jobs = [...this.#loop.ledger.jobs.values()];
    const job = this.#loop.ledger.jobs.get(name);
    const owner = job && jobs.findLast((other) => other.outputDir === job.outputDir);
    return job && owner === job ? job.outputDir : null;
  }

  /** Where jobs that are not sealed write to. */
  outputDirs(): readonly Watched[] {
    const jobs = [...this.#files.keys()].flatMap((name) => this.#loop.ledger.jobs.get(name) ?? []);
    return jobs.filter((job) => !isFinal(job.state)).map((job) => ({ job: job.name, dir: job.outputDir }));
  }

  roomChanged(job: JobName | null, failure: Failure | null): void {
    if (this.#stop.signal.aborted) return;
    const { log } = this.#options;
    if (failure) log.warn('nothing more is granted for want of room', { job, message: failure.message });
    else log.info('nothing is held back for want of room any more', { job });
    this.#loop.handle({ kind: 'room', job, failure });
  }

  /** The report of a job that has ended counts what nodes tell of it afterwards. */
  logGrew(name: JobName, path: string): void {
    const job = this.#loop.ledger.jobs.get(name);
    if (!job?.isSealed || !path.startsWith('sys/mini_batches/') || this.#reports.has(name)) return;
    this.#reports.add(name);
    void this.#run(async () => {
      // More will come right behind it.
      await delay(limits.logShipMs, this.#stop.signal);
      this.#reports.delete(name);
      await this.#options.story.report(job);
    });
  }

  /** After a restart: brings the files of every job that is not sealed to what the ledger says. */
  async reopen(): Promise<void> {
    await this.#life.removeOrphans();
    for (const job of this.#loop.ledger.jobs.values()) {
      if (job.isSealed) {
        if (!job.isStagingKept) await this.#removeStaging(job.name);
        continue;
      }
      await this.#locks.takeAgain(job.outputDir);
      this.#files.set(job.name, await JobFiles.reopen(job, this.#fileOptions(job.name)));
    }
  }

  /** Jobs whose output was damaged while the coordinator was away fail; the others go on. */
  failDamaged(): void {
    for (const [name, { damage }] of this.#files) if (damage) this.fail(name, damage);
  }

  /** While it looks at files, it keeps name and output folder from others who ask at the same time. */
  async submit(given: JobRequest): Promise<JobView> {
    const request = { ...given, outputDir: resolve(given.outputDir) };
    const { name, outputDir } = request;
    this.#refuseTaken(name, outputDir);
    const submission = { name, outputDir };
    this.#submissions.add(submission);
    try {
      return await this.#submit(request);
    } finally {
      this.#submissions.delete(submission);
    }
  }

  async #submit(request: JobRequest): Promise<JobView> {
    const { deployment, inputPath } = request;
    const { recursive } = deployment.settings;
    const open = await openListing(listInput(inputPath, { recursive }));
    if (open.first === null) throw emptyInput(inputPath, open);
    try {
      return await this.#submitListed(request, open);
    } catch (error) {
      // A job that is refused does not list on, and leaves its output folder to others.
      await open.rest.return?.();
      const jobs = [...this.#loop.ledger.jobs.values()];
      const isTaken = jobs.some((job) => job.outputDir === request.outputDir && !job.isSealed);
      if (!isTaken) await this.#locks.release(request.outputDir);
      throw error;
    }
  }

  async #submitListed(request: JobRequest, open: OpenListing): Promise<JobView> {
    const { loop, clock, random } = this.#options;
    const { deployment: local, inputPath, outputDir, isOverwrite } = request;
    const { outputAction, outputFileName } = local.settings;
    const fileName = outputAction === 'append_row' ? outputFileName : null;
    await refuseOutputInInput({ inputPath, outputDir, isRecursive: local.settings.recursive });
    const prepare = () => prepareOutputDir({ dir: outputDir, isOverwrite, outputFileName: fileName });
    // A refusal comes before anything is copied; what --overwrite destroys goes only when nothing else is in the way.
    if (!isOverwrite) await prepare();
    const deployment = await this.#seal(local);
    const guard = (dir: string) => this.#locks.take(dir);
    const prepared = await prepareOutputDir({ dir: outputDir, isOverwrite, outputFileName: fileName, guard });
    const job = request.name === null ? newJobName(local.name, clock.wall(), random) : jobName(request.name);
    if (request.name === null) this.#refuseTakenName(job);
    const record = {
      ...{ name: job, inputPath, outputDir, deployment, chunks: 0, outputCommitted: 0, schema: -1, schemas: [] },
      ...{ generation: 1, segments: new Map<number, number>(), bases: new Map<number, string>() },
    };
    this.#files.set(job, await JobFiles.create(record, this.#fileOptions(job)));
    this.#listings.set(job, open);
    loop.handle({ kind: 'submit', job, deployment, inputPath, outputDir, wallMs: clock.wall() });
    await loop.durable();
    const foreign = prepared.foreign.filter((name) => !name.startsWith('.'));
    this.#options.log.info('job submitted', { job, deployment: deployment.name, input: inputPath, output: outputDir });
    if (foreign.length > 0) {
      this.#options.log.warn('the output folder holds files that are not of this job; they stay', {
        job,
        files: foreign.length,
      });
    }
    return this.show(job);
  }

  list(): readonly JobView[] {
    const { ledger } = this.#loop;
    return [...ledger.jobs.values()].reverse().map((job) => jobView(ledger, job, this.#options.feeds.finalBytes(job)));
  }

  show(name: string): JobView {
    const job = this.#find(name);
    return jobView(this.#loop.ledger, job, this.#options.feeds.finalBytes(job));
  }

  cancel(name: string, graceMs: number): Promise<JobView> {
    return this.#life.cancel(name, graceMs);
  }

  pause(name: string): Promise<JobView> {
    return this.#life.pause(name);
  }

  resume(name: string, request: ReopenRequest): Promise<JobView> {
    return this.#life.resume(name, request);
  }

  retry(name: string, request: ReopenRequest): Promise<JobView> {
    return this.#life.retry(name, request);
  }

  prune(request: PruneRequest): Promise<readonly PrunedView[]> {
    return this.#life.prune(request);
  }

  /** Prunes jobs that ended longer ago, now and from time to time. */
  keepFinishedFor(ms: number): void {
    void this.#run(async () => {
      while (!this.#stop.signal.aborted) {
        const request = { names: [], olderThanMs: ms, states: null, isDryRun: false, withOutput: false };
        await this.#life.prune(request);
        await delay(limits.pruneEveryMs, this.#stop.signal);
      }
    });
  }

  nodes(): readonly NodeView[] {
    const { ledger } = this.#loop;
    return [...ledger.nodes.values()].map((node) => nodeView(ledger, node));
  }

  async releaseNode(name: string): Promise<readonly NodeView[]> {
    this.#loop.handle({ kind: 'release-node', node: nodeName(name) });
    await this.#loop.durable();
    return this.nodes().filter((node) => node.name === name);
  }

  events(name: string, afterSequence: number, signal: AbortSignal): AsyncIterable<JobEvent> {
    return this.#options.feeds.follow(this.#find(name).name, afterSequence, signal);
  }

  async outputFiles(name: string): Promise<readonly { readonly path: string; readonly sizeBytes: number }[]> {
    const job = this.#find(name);
    if (!isFinal(job.state) || !job.isSealed) {
      throw new BatchError(
        'JOB_NOT_FINISHED',
        `the output of job ${job.name} (${job.state}) is not sealed yet; wait for it with \`job wait ${job.name}\``,
      );
    }
    const top = await namesIn(job.outputDir);
    const chunks = (await namesIn(join(job.outputDir, manifestDirName))).map((chunk) => `${manifestDirName}/${chunk}`);
    const sealed: { readonly path: string; readonly sizeBytes: number }[] = [];
    const custom = await this.#customPaths(job);
    const own = [...top, ...chunks].filter((candidate) => isResult(job, candidate));
    for (const path of [...new Set([...own, ...custom])].sort()) {
      const sizeBytes = await sizeOf(nodeFileSystem, join(job.outputDir, path));
      if (sizeBytes !== null) sealed.push({ path, sizeBytes });
    }
    return sealed;
  }

  async outputFile(name: string, path: string): Promise<string> {
    const job = this.#find(name);
    if (!isResult(job, path) && !(job.isSealed && (await this.#customPaths(job)).has(path))) {
      throw new BatchError('INPUT_NOT_FOUND', `job ${job.name} has no output file ${JSON.stringify(path)}`);
    }
    return join(job.outputDir, await nameNow(job, path));
  }

  finalBytes(name: string, path: string): number | null {
    const job = this.#find(name);
    const isGrowing = !job.isSealed && path === partialName(job.deployment.settings.outputFileName, job.generation);
    return isGrowing ? this.#options.feeds.finalBytes(job) : null;
  }

  logFiles(name: string): Promise<readonly { readonly path: string; readonly sizeBytes: number }[]> {
    return listLogs(this.#find(name).outputDir);
  }

  logFile(name: string, path: string): string {
    return logPathOf(this.#find(name), path);
  }

  async printed(name: string, query: FileQuery): Promise<readonly PrintedView[]> {
    const job = this.#find(name);
    return await printedOf(job, await this.#catalogOf(job), query);
  }

  async errors(name: string, page: Page): Promise<JobErrorsView> {
    const job = this.#find(name);
    return await jobErrors(job, await this.#catalogOf(job), page);
  }

  async #catalogOf(job: Job): Promise<InputCatalog> {
    return this.#files.get(job.name)?.catalog ?? (await catalogOf(this.#options.stateDir, job));
  }

  /** Files of user code that a sealed job has published; kept for one job, since a download asks for one after the other. */
  async #customPaths(job: Job): Promise<ReadonlySet<string>> {
    if (this.#custom?.job !== job.name) {
      const files = await listCustomFiles(job.outputDir);
      this.#custom = { job: job.name, paths: new Set(files.map(({ path }) => path)) };
    }
    return this.#custom.paths;
  }

  /** Begins or resumes the listing of a job's input. */
  startListing(name: JobName): void {
    const { clock } = this.#options;
    void this.#run(async () => {
      const job = this.#loop.ledger.jobs.get(name);
      const files = this.#files.get(name);
      if (!job || !files) return;
      const { recursive } = job.deployment.settings;
      try {
        const open = this.#listings.get(name) ?? (await openListing(listInput(job.inputPath, { recursive })));
        this.#listings.delete(name);
        await listJob({
          job: name,
          open,
          catalog: files.catalog,
          handle: (command) => this.#loop.handle(command),
          wall: () => clock.wall(),
          signal: this.#stop.signal,
          isOver: () => isFinal(job.state) || job.state === 'CancelRequested',
        });
      } catch (error) {
        // A stop is no failure: the next start goes on.
        if (this.#stop.signal.aborted || isFinal(job.state)) return;
        const failure = outsideError(error, `the input ${job.inputPath} cannot be listed`);
        if (!failure) throw error;
        this.fail(name, failure);
      }
    });
  }

  /** Puts output, manifest and markers in place, however long the disk is full. */
  startSealing(name: JobName): void {
    const { clock, log, story } = this.#options;
    const before = this.#seals.get(name) ?? Promise.resolve();
    const sealing = this.#run(async () => {
      await before;
      const job = this.#loop.ledger.jobs.get(name);
      const files = this.#files.get(name);
      if (!job || !files) return;
      await files.close();
      if (!(await this.#sealWhenRoom(job, files))) return;
      if (this.#stop.signal.aborted) return;
      await this.#locks.release(job.outputDir);
      this.#files.delete(name);
      this.#loop.handle({ kind: 'sealed', job: name, wallMs: clock.wall() });
      if (this.logOwner(name) !== null) {
        const page = { offset: 0, limit: limits.jobErrorGroupsLogged };
        await story.end(job, await jobErrors(job, files.catalog, page));
      }
      log.info('job ended', { job: name, state: job.state, rows: job.rows, failed_files: job.failedFiles });
      // Not before: a restart that seals again needs what lies there.
      await this.#loop.durable();
      if (job.isSealed && !job.isStagingKept) await this.#removeStaging(name);
    });
    this.#seals.set(name, sealing);
    void sealing.then(() => this.#seals.get(name) === sealing && this.#seals.delete(name));
  }

  async #removeStaging(job: JobName): Promise<void> {
    const { log, stateDir } = this.#options;
    await removeStaging(stateDir, job).catch((error: unknown) => {
      log.warn('staging of an ended job cannot be removed', { job, reason: reasonOf(error) });
    });
  }

  /** False when sealing has failed the job, whose failure is then sealed in turn. */
  async #sealWhenRoom(job: Job, files: JobFiles): Promise<boolean> {
    const { clock, log, release, signer } = this.#options;
    while (!this.#stop.signal.aborted) {
      try {
        const { catalog, stagingDir } = files;
        const { ledger } = this.#loop;
        await sealJob({ ledger, job, catalog, stagingDir, release, signer, endedWallMs: clock.wall() });
        return true;
      } catch (thrown) {
        const error = outsideError(thrown, `the results in ${job.outputDir} cannot be sealed`);
        if (!error) throw thrown;
        if (error.code !== 'DISK_FULL') {
          if (isFinal(job.state)) {
            log.error('the end of the job cannot be written down', {
              job: job.name,
              code: error.code,
              message: error.message,
            });
            return true;
          }
          this.fail(job.name, error);
          return false;
        }
        log.warn('no room to seal the output; trying again', { job: job.name, message: error.message });
        await delay(limits.diskFullRetryMs, this.#stop.signal);
      }
    }
    return true;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#work);
    await Promise.all([...this.#files.values()].map((files) => files.close()));
    await this.#locks.close();
  }

  /** Never rejects. */
  #run(work: () => Promise<void>): Promise<void> {
    const running: Promise<void> = work()
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#options.onFatal(error);
      })
      .finally(() => this.#work.delete(running));
    this.#work.add(running);
    return running;
  }

  #fileOptions(job: JobName): JobFilesOptions {
    const { log, stateDir } = this.#options;
    return {
      stateDir,
      onStall: (failure) => {
        if (failure) log.warn('the job is paused', { job, code: failure.code, message: failure.message });
        else log.info('the job goes on', { job });
        this.#loop.handle({ kind: 'stall', job, failure });
      },
      // What was written since the last commit is in doubt, but of this job alone.
      onFatal: (error) => this.fail(job, error),
    };
  }

  /** Sealing may still be about to clear the job's folder. */
  async #open(record: JobRecord): Promise<JobFiles> {
    await this.#seals.get(record.name);
    return await JobFiles.reopen(record, this.#fileOptions(record.name));
  }

  /** The job cannot go on; the others do. */
  fail(job: JobName, error: BatchError): void {
    this.#options.log.error('the job cannot go on', { job, code: error.code, message: error.message });
    // One that is still being submitted is told to its caller.
    if (!this.#loop.ledger.jobs.has(job)) return;
    this.#loop.handle({ kind: 'fail-job', job, failure: error.toFailure(), wallMs: this.#options.clock.wall() });
  }

  /** Model and code by digest, so that what a job scores with cannot change under it. */
  async #seal(local: LocalDeployment): Promise<Deployment> {
    const { artifacts } = this.#options;
    const { model, code } = local;
    return { ...local, model: model && (await artifacts.add(model)), code: code && (await artifacts.add(code)) };
  }

  #refuseTaken(name: string | null, outputDir: string): void {
    if (name !== null) this.#refuseTakenName(name);
    this.#refuseOutputDir(outputDir, null);
  }

  /** Two jobs that run must not share an output folder, not even with --overwrite. */
  #refuseOutputDir(outputDir: string, by: JobName | null): void {
    const unsealed = [...this.#loop.ledger.jobs.values()].filter((job) => !job.isSealed);
    const reopened = this.#life.busy.filter((job) => job.name !== by);
    const other = [...unsealed, ...reopened, ...this.#submissions].find((job) => job.outputDir === outputDir);
    if (!other) return;
    const who = other.name === null ? 'a job that is being submitted' : `job ${other.name}`;
    throw new BatchError('OUTPUT_EXISTS', `${who} is writing to ${outputDir}; choose another --output`);
  }

  #refuseTakenName(name: string): void {
    const others = [...this.#submissions, ...this.#life.busy];
    const isTaken = this.#loop.ledger.jobs.has(jobName(name)) || others.some((other) => other.name === name);
    if (isTaken) throw new BatchError('REQUEST_INVALID', `a job named ${name} exists; choose another --name`);
  }

  #find(name: string): Job {
    const jobs = [...this.#loop.ledger.jobs.values()];
    if (name === 'last') {
      const last = jobs.at(-1);
      if (last) return last;
      throw new BatchError('JOB_NOT_FOUND', 'no job has been submitted yet');
    }
    const exact = jobs.find((job) => job.name === name);
    if (exact) return exact;
    const found = jobs.filter((job) => job.name.startsWith(name));
    if (found.length === 1) return found[0] as Job;
    if (found.length === 0)
      throw new BatchError('JOB_NOT_FOUND', `there is no job ${name}; \`job list\` shows those there are`);
    throw new BatchError(
      'JOB_NOT_FOUND',
      `${found.length} jobs begin with ${name}: ${found.map((job) => job.name).join(', ')}`,
    );
  }
}

/** Names in a folder; none when it is gone, as a user may have moved it. @throws INPUT_UNREADABLE */
async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    if (errnoOf(error) === '') throw error;
    throw new BatchError('INPUT_UNREADABLE', `the output folder ${dir} cannot be read: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** What of an output folder is the job's: everything under our own names, and nothing that was there before. */
function isResult(job: Job, path: string): boolean {
  const { outputFileName } = job.deployment.settings;
  const own = [
    outputFileName,
    partialName(outputFileName, job.generation),
    '_SUCCESS',
    '_manifest.json',
    '_manifest.jws',
    '_errors.jsonl',
  ];
  return own.includes(path) || /^_manifest\/(files|custom|segments)-\d+\.jsonl$/.test(path);
}

/** One who reads rows while the job runs goes on under the old name when they have got their final one. */
async function nameNow({ outputDir, deployment, generation }: Job, path: string): Promise<string> {
  const { outputFileName } = deployment.settings;
  if (path !== partialName(outputFileName, generation)) return path;
  return (await sizeOf(nodeFileSystem, join(outputDir, path))) === null ? outputFileName : path;
}

function emptyInput(inputPath: string, open: OpenListing): BatchError {
  const { hidden, special, folders } = open.listing.skipped;
  const skipped = hidden + special + folders;
  const hint = skipped > 0 ? `; ${skipped} names were passed over (hidden, not regular files, or sub-folders)` : '';
  return new BatchError('INPUT_EMPTY', `${inputPath} holds no file to score${hint}`);
}
