/**
 * People's and programs' side of the coordinator: submits, shows, hands on what is asked of jobs and nodes, and finds
 * their files. Decides nothing: what follows from what is the ledger's business.
 */
import { join, resolve } from 'node:path';
import { BatchError } from '../common/core/batch-error.ts';
import type { Deployment, LocalDeployment } from '../common/core/deployment.ts';
import { jobName, nodeName, type JobName } from '../common/core/ids.ts';
import { emptyInputText, selectionOf, type InputSelection } from '../common/core/input-selection.ts';
import { limits } from '../common/core/limits.ts';
import { isUri } from '../common/core/location.ts';
import { rowsFileName } from '../common/core/parts-form.ts';
import { splitRule } from '../common/core/split.ts';
import { isFinal } from '../common/core/states.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Log } from '../common/io/log.ts';
import type { Secrets } from './access/secrets.ts';
import type {
  Backend,
  FileQuery,
  JobErrorsView,
  JobPageView,
  JobQuery,
  JobEvent,
  JobRequest,
  LabelRequest,
  JobView,
  NodeView,
  Page,
  PrintedView,
  PrunedView,
  PruneRequest,
  ReopenRequest,
} from './api/backend.ts';
import type { InputCatalog } from './input/input-catalog.ts';
import { identified } from './input/listed-paths.ts';
import { splitListing } from './input/split-listing.ts';
import type { Job } from './core/ledger.ts';
import { sinceBases } from './core/since.ts';
import { newJobName } from './job-name.ts';
import { openListing, type OpenListing } from './list-job.ts';
import { catalogOf, jobErrors, logPathOf, printedOf } from './job-logs.ts';
import { listLogs, type LogStore } from './logs/log-store.ts';
import { jobDirOf, outputPlaceOf, stagingDirOf } from './job-files.ts';
import { JobLife, takenOver } from './job-life.ts';
import { JobOutput } from './job-output.ts';
import { OutputFiles } from './output-files.ts';
import type { JobWork } from './job-work.ts';
import type { Loop } from './loop.ts';
import { placeKey } from './output/output-place.ts';
import { sealedJobName } from './output/custom-listing.ts';
import { partialName } from './output/output-names.ts';
import { takenName } from './output/staging-files.ts';
import type { Outside } from './outside.ts';
import type { ArtifactStore } from './registry/artifact-store.ts';
import { sealed, sealedShadow } from './registry/stored.ts';
import { findSince } from './since/find-since.ts';
import type { SeenPlaces } from './standby/peers.ts';
import type { JobFeeds } from './views/job-feed.ts';
import { jobPage } from './views/job-page.ts';
import type { NodeOrder } from './core/node-orders.ts';
import { nodeViews, type GpusOfNodes } from './views/node-view.ts';

export interface JobDeskOptions {
  readonly loop: Loop;
  readonly feeds: JobFeeds;
  readonly artifacts: ArtifactStore;
  readonly secrets: Pick<Secrets, 'require'>;
  readonly work: JobWork;
  /** See `LogStore`. */
  readonly closeLogs: LogStore['close'];
  /** How full the GPUs of each node are. */
  readonly gpus: GpusOfNodes;
  readonly stateDir: string;
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random: () => number;
  readonly log: Log;
  readonly outside: Outside;
  /** Whoever would go on with the job sees its input and output. @throws STANDBY_STORAGE */
  readonly requireSeen?: (places: SeenPlaces) => Promise<void>;
}

/** Of which it is known where its output goes: an absolute path, or a location. */
type PlacedRequest = JobRequest & { readonly outputPlace: string };
/** Of which it is known which files are meant. */
type ListedRequest = PlacedRequest & { readonly selection: InputSelection };

export class JobDesk implements Backend {
  readonly #options: JobDeskOptions;
  readonly #loop: Loop;
  readonly #work: JobWork;
  readonly #life: JobLife;
  readonly #outputs = new OutputFiles();
  /** Jobs that are being submitted and not in the ledger yet. */
  readonly #submissions = new Set<{ readonly name: string | null; readonly outputPlace: string }>();

  constructor(options: JobDeskOptions) {
    this.#options = options;
    this.#loop = options.loop;
    this.#work = options.work;
    this.#life = new JobLife({
      ...options,
      find: (name) => this.#find(name),
      show: (name) => this.show(name),
      seal: (local) => this.#seal(local),
      refuseOutputPlace: (place, by) => this.#refuseOutputPlace(place, by),
    });
  }

  /** Folders of jobs that are not known. */
  removeOrphans(): Promise<void> {
    return this.#life.removeOrphans();
  }

  /** While it looks at files, it keeps name and output folder from others who ask at the same time. */
  async submit(given: JobRequest): Promise<JobView> {
    const { outside } = this.#options;
    const inputPath = await outside.locateInput(given.inputPath);
    const place = await outside.locateInput(given.outputDir);
    const request = { ...given, inputPath, outputPlace: isUri(place) ? place : resolve(place) };
    const { name, outputPlace } = request;
    this.#refuseTaken(name, outputPlace);
    const submission = { name, outputPlace };
    this.#submissions.add(submission);
    try {
      return await this.#submit(request);
    } finally {
      this.#submissions.delete(submission);
    }
  }

  async #submit(request: PlacedRequest): Promise<JobView> {
    const { deployment, inputPath } = request;
    const selection = await identified(request.selection ?? selectionOf(deployment.settings));
    const listing = this.#options.outside.listInput(inputPath, selection);
    const open = await openListing(splitListing(listing, splitRule(deployment)));
    if (open.first === null) {
      throw new BatchError('INPUT_EMPTY', emptyInputText(inputPath, selection, open.listing.skipped));
    }
    try {
      return await this.#submitListed({ ...request, selection }, open);
    } catch (error) {
      // A job that is refused does not list on, and leaves its output folder to others.
      await open.rest.return?.();
      const jobs = [...this.#loop.ledger.jobs.values()];
      const isTaken = jobs.some((job) => job.outputDir === request.outputPlace && !job.isSealed);
      if (!isTaken) await this.#work.locks.release(request.outputPlace);
      throw error;
    }
  }

  async #submitListed(request: ListedRequest, open: OpenListing): Promise<JobView> {
    const { loop, clock, random, outside } = this.#options;
    const { deployment: local, inputPath, selection, outputPlace, isOverwrite } = request;
    const job = request.name === null ? newJobName(local.name, clock.wall(), random) : jobName(request.name);
    if (request.name === null) this.#refuseTakenName(job);
    const output = new JobOutput({
      ...{ outside, stateDir: this.#options.stateDir, job, place: outputPlace, settings: local.settings, isOverwrite },
      closeLogs: this.#options.closeLogs,
      signal: this.#work.stopped,
    });
    await output.refuseIn(inputPath, selection);
    await output.look();
    const { dir: outputDir, location: outputLocation } = output;
    const deployment = await this.#seal(local);
    const shadow = request.shadow && {
      ...request.shadow,
      deployment: await this.#seal(request.shadow.deployment, sealedShadow),
    };
    const since = await this.#since(request, job, deployment);
    await this.#options.requireSeen?.({
      folders: [outputDir],
      inputs: isUri(inputPath) ? [] : [inputPath],
    });
    const prepared = await output.take((dir) => this.#work.locks.take(dir));
    const record = {
      ...{ name: job, inputPath, outputDir, deployment, chunks: 0, outputCommitted: 0, schema: -1, schemas: [] },
      ...{
        rowsOf: null,
        generation: 1,
        segments: new Map<number, number>(),
        bases: new Map(since?.reason === null ? sinceBases(since) : []),
      },
    };
    try {
      await this.#work.create(record, open);
      await output.clear();
    } catch (error) {
      output.openLogs();
      await this.#work.discard(job);
      await this.#work.locks.release(outputDir);
      throw error;
    }
    const places = { inputPath, selection, outputDir, outputLocation };
    const from = {
      ...(since && { since }),
      ...(request.origin && { origin: request.origin }),
      ...(shadow && { shadow }),
    };
    // Nothing comes between the two: from its record on the folder's logs are the new job's.
    output.openLogs();
    loop.handle({ kind: 'submit', job, deployment, ...places, ...from, wallMs: clock.wall() });
    await loop.durable();
    const foreign = prepared.foreign.filter((name) => !name.startsWith('.'));
    this.#options.log.info('job submitted', {
      job,
      deployment: deployment.name,
      input: inputPath,
      output: outputPlace,
    });
    if (foreign.length > 0) {
      this.#options.log.warn('the output folder holds files that are not of this job; they stay', {
        job,
        files: foreign.length,
      });
    }
    return this.show(job);
  }

  /** @throws SINCE_UNUSABLE, JOB_NOT_FOUND; OUTPUT_EXISTS when its output would be written over */
  async #since({ since: named = null, inputPath, outputPlace }: ListedRequest, job: JobName, deployment: Deployment) {
    const { outside, stateDir, log } = this.#options;
    const since = await findSince({
      ...{ named, deployment, inputPath, jobs: this.#jobs(), fileSystem: outside.fileSystem },
      find: (name) => this.#withFolder(name),
      takenPath: join(stagingDirOf(jobDirOf(stateDir, job)), takenName),
    });
    if (since === null) return null;
    if (placeKey(since.dir) === placeKey(outputPlace)) {
      if (named === null) return null;
      throw new BatchError('OUTPUT_EXISTS', `rows are to be taken from ${since.dir}; choose another --output`);
    }
    const { dir, reason } = since;
    if (reason === null) log.info('rows of files that are the same are taken', { job, from: dir });
    else log.warn('every file is scored: nothing can be taken from the earlier output', { job, from: dir, reason });
    return since;
  }

  /** Folder with what a job has that its store does not; null: none, or no rows. */
  unpublishedDir(name: string): string | null {
    const job = this.#find(name);
    const isBehind = job.outputLocation !== null && (!job.isSealed || this.#work.isUnpublished(job.name));
    return isBehind && job.rows > 0 ? job.outputDir : null;
  }

  list(): readonly JobView[] {
    return this.#jobs()
      .reverse()
      .map((job) => this.#options.feeds.view(job));
  }

  page(query: JobQuery): JobPageView {
    const { jobs, next } = jobPage([...this.#loop.ledger.jobs.values()], query);
    return { value: jobs.map((job) => this.#options.feeds.view(job)), next };
  }

  show(name: string): JobView {
    const job = this.#find(name);
    return this.#options.feeds.view(job);
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

  async label(name: string, { isArchived, ...labels }: LabelRequest): Promise<JobView> {
    const job = this.#find(name).name;
    this.#loop.handle({ kind: 'label-job', job, labels, ...(isArchived === undefined ? {} : { isArchived }) });
    await this.#loop.durable();
    return this.show(job);
  }

  prune(request: PruneRequest): Promise<readonly PrunedView[]> {
    return this.#life.prune(request);
  }

  /** Prunes jobs that ended longer ago, now and from time to time. */
  keepFinishedFor(ms: number): void {
    const { stopped } = this.#work;
    void this.#work.run(async () => {
      while (!stopped.aborted) {
        const request = { names: [], olderThanMs: ms, states: null, isDryRun: false, withOutput: false };
        await this.#life.prune(request);
        await this.#options.outside.delay(limits.pruneEveryMs, stopped);
      }
    });
  }

  nodes(): readonly NodeView[] {
    return nodeViews(this.#loop.ledger, this.#options.gpus);
  }

  node(name: string): NodeView {
    const found = this.nodes().find((node) => node.name === name);
    if (found) return found;
    const message = `no worker node ${name} has joined; \`batchmill node list\` shows those that have`;
    throw new BatchError('RESOURCE_NOT_FOUND', message);
  }

  async orderNode(name: string, order: NodeOrder, by: string): Promise<readonly NodeView[]> {
    this.#loop.handle({ kind: 'order-node', node: nodeName(name), order, by, wallMs: this.wallMs() });
    await this.#loop.durable();
    return this.nodes().filter((node) => node.name === name);
  }

  wallMs(): number {
    return this.#options.clock.wall();
  }

  events(name: string, afterSequence: number, signal: AbortSignal): AsyncIterable<JobEvent> {
    return this.#options.feeds.follow(this.#find(name).name, afterSequence, signal);
  }

  async outputDir(name: string): Promise<string> {
    return (await this.#withFolder(name)).outputDir;
  }

  async outputFiles(name: string): Promise<readonly { readonly path: string; readonly sizeBytes: number }[]> {
    const job = await this.#withFolder(name);
    if (!isFinal(job.state) || !job.isSealed) {
      throw new BatchError(
        'JOB_NOT_FINISHED',
        `the output of job ${job.name} (${job.state}) is not sealed yet; wait for it with \`job wait ${job.name}\``,
      );
    }
    return await this.#outputs.list(job);
  }

  async outputFile(name: string, path: string): Promise<string> {
    const job = await this.#withFolder(name);
    return await this.#outputs.find(job, path);
  }

  finalBytes(name: string, path: string): number | null {
    const job = this.#find(name);
    const rowsName = rowsFileName(job.deployment.settings) ?? '';
    const isGrowing = !job.isSealed && path === partialName(rowsName, job.generation);
    return isGrowing ? this.#options.feeds.finalBytes(job) : null;
  }

  async logFiles(name: string): Promise<readonly { readonly path: string; readonly sizeBytes: number }[]> {
    return await listLogs((await this.#withFolder(name)).outputDir);
  }

  async logFile(name: string, path: string): Promise<string> {
    return logPathOf(await this.#withFolder(name), path);
  }

  async printed(name: string, query: FileQuery): Promise<readonly PrintedView[]> {
    const job = await this.#withFolder(name);
    return await printedOf(job, await this.#catalogOf(job), query);
  }

  async errors(name: string, page: Page): Promise<JobErrorsView> {
    const job = this.#find(name);
    return await jobErrors(job, await this.#catalogOf(job), page);
  }

  async #catalogOf(job: Job): Promise<InputCatalog> {
    return this.#work.filesOf(job.name)?.catalog ?? (await catalogOf(this.#options.stateDir, job));
  }

  /** Model and code by digest, so that what a job scores with cannot change under it. */
  async #seal(local: LocalDeployment, how = sealed): Promise<Deployment> {
    this.#options.secrets.require(local.settings.environmentVariables);
    return await how(this.#options.artifacts, local);
  }

  #refuseTaken(name: string | null, outputPlace: string): void {
    if (name !== null) this.#refuseTakenName(name);
    this.#refuseOutputPlace(outputPlace, null);
  }

  /** Two jobs that run must not share an output folder, not even with --overwrite. */
  #refuseOutputPlace(place: string, by: JobName | null): void {
    const unsealed = [...this.#loop.ledger.jobs.values()].filter((job) => !job.isSealed);
    const reopened = this.#life.busy.filter((job) => job.name !== by);
    const others = [...unsealed, ...reopened].map((job) => ({ name: job.name, outputPlace: outputPlaceOf(job) }));
    const reader = this.#work.readerOf(place);
    if (reader) {
      const text = `job ${reader.name} takes rows from ${place}; choose another --output, or wait for its end`;
      throw new BatchError('OUTPUT_EXISTS', text);
    }
    const key = placeKey(place);
    const other = [...others, ...this.#submissions].find(({ outputPlace }) => placeKey(outputPlace) === key);
    if (!other) return;
    const who = other.name === null ? 'a job that is being submitted' : `job ${other.name}`;
    throw new BatchError('OUTPUT_EXISTS', `${who} is writing to ${place}; choose another --output`);
  }

  #refuseTakenName(name: string): void {
    const others = [...this.#submissions, ...this.#life.busy];
    const isTaken = this.#loop.ledger.jobs.has(jobName(name)) || others.some((other) => other.name === name);
    if (isTaken) throw new BatchError('REQUEST_INVALID', `a job named ${name} exists; choose another --name`);
  }

  /** In order of submission, without those that are a part of another one. */
  #jobs(): Job[] {
    return [...this.#loop.ledger.jobs.values()].filter((job) => job.rowsOf === null);
  }

  /** Whose folder is to be read. @throws JOB_NOT_FOUND, OUTPUT_EXISTS when it holds what a later job has written, known here or not */
  async #withFolder(name: string): Promise<Job> {
    const job = this.#find(name);
    if (this.#work.logOwner(job.name) === null) throw takenOver(job);
    const writer = job.isSealed ? await sealedJobName(job.outputDir) : null;
    if (writer !== null && writer !== job.name) throw takenOver(job);
    return job;
  }

  #find(name: string): Job {
    const exact = this.#loop.ledger.jobs.get(name as JobName);
    if (exact?.rowsOf === null) return exact;
    const jobs = this.#jobs();
    if (name === 'last') {
      const last = jobs.at(-1);
      if (last) return last;
      throw new BatchError('JOB_NOT_FOUND', 'no job has been submitted yet');
    }
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
