/**
 * The long work behind jobs: their files, listing, sealing, what is left of them after a restart. Carries out what the
 * ledger says and hands back what came of it; decides nothing.
 */
import { join } from 'node:path';
import { isBatchError, type BatchError, type Failure } from '../common/core/batch-error.ts';
import type { JobName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import { rowsFileName } from '../common/core/parts-form.ts';
import { splitRule } from '../common/core/split.ts';
import { isFinal } from '../common/core/states.ts';
import type { Clock } from '../common/io/clock.ts';
import { errnoOf, outsideError, reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import { jobOf, type Job } from './core/ledger.ts';
import { needsParts, partsJobOf } from './core/parts.ts';
import type { InputListing } from './input/list-input.ts';
import { splitListing } from './input/split-listing.ts';
import {
  jobDirOf,
  JobFiles,
  outputPlaceOf,
  removeJobDir,
  removePublished,
  removeStaging,
  stagingDirOf,
  type JobFilesOptions,
  type JobRecord,
} from './job-files.ts';
import { listRows, readPartsList } from './job-parts.ts';
import { jobErrors } from './job-logs.ts';
import { TakenRows } from './since/taken-rows.ts';
import { listJob, openListing, type OpenListing } from './list-job.ts';
import type { JobStory } from './logs/job-story.ts';
import type { Loop } from './loop.ts';
import { sealedJobName } from './output/custom-listing.ts';
import type { Watched } from './output/disk-watch.ts';
import { OutputLocks } from './output/output-lock.ts';
import { laterGeneration } from './output/output-names.ts';
import { placeKey } from './output/output-place.ts';
import type { ManifestSigner } from './output/seal.ts';
import type { StoreOutput } from './output/store-output.ts';
import type { Outside } from './outside.ts';
import { Turns } from './turns.ts';
import { sealJob, type SealedParts } from './seal-job.ts';

export interface JobWorkOptions {
  readonly loop: Loop;
  readonly story: Pick<JobStory, 'end' | 'report'>;
  readonly stateDir: string;
  readonly release: string;
  /** Signs the manifests of its jobs; null where no key lasts. */
  readonly signer: ManifestSigner | null;
  readonly clock: Clock;
  readonly log: Log;
  /** A defect, or damage on the disk: the process must end. */
  readonly onFatal: (error: unknown) => void;
  readonly outside: Outside;
}

export class JobWork {
  /** Of the output folders of all jobs that are not sealed. */
  readonly locks: OutputLocks;
  readonly #options: JobWorkOptions;
  readonly #loop: Loop;
  readonly #files = new Map<JobName, JobFiles>();
  /** Listings whose first page was looked at when the job was submitted. */
  readonly #listings = new Map<JobName, OpenListing>();
  /** Under way. `isOver`: the job has been reopened since, and is listed by another one behind it. */
  readonly #listers = new Map<JobName, { isOver: boolean; ended: Promise<void> }>();
  /** Jobs that have ended without having got their results to the store. */
  readonly #unpublished = new Set<JobName>();
  readonly #stop = new AbortController();
  /** Of each job one at a time, since they write the same files. */
  readonly #seals = new Turns<JobName>((work) => this.run(work));
  /** Jobs whose report is to be written again, and whether more has come for it since somebody last looked. */
  readonly #reports = new Map<JobName, boolean>();
  /** Listings and seals under way. */
  readonly #running = new Set<Promise<void>>();

  constructor(options: JobWorkOptions) {
    this.#options = options;
    this.#loop = options.loop;
    const { identity, fileSystem, cluster = null } = options.outside;
    this.locks = new OutputLocks(identity, fileSystem, cluster);
  }

  /** The process ends. */
  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  /** Whether the results of a job that has ended are in its own folder alone, where they should have gone to a store. */
  isUnpublished(name: JobName): boolean {
    return this.#unpublished.has(name);
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
    // An inner job tells what failed in the story of the outer one.
    return job && owner === job && job.rowsOf === null ? job.outputDir : null;
  }

  /** False when a later job has written to the same place. */
  ownsOutput(job: Job): boolean {
    const place = placeKey(outputPlaceOf(job));
    const jobs = [...this.#loop.ledger.jobs.values()];
    return jobs.findLast((other) => placeKey(outputPlaceOf(other)) === place) === job;
  }

  /** The job, of whichever coordinator, whose manifest stands where this one's results go; null: none. */
  async writerOf(job: Job): Promise<string | null> {
    const store = this.#storeOf(job);
    return store ? await store.writer() : await sealedJobName(job.outputDir, this.#options.outside.fileSystem);
  }

  /** The job that takes rows from this folder; undefined: none does. */
  readerOf(dir: string): Job | undefined {
    const jobs = [...this.#loop.ledger.jobs.values()];
    return jobs.find(({ isSealed, since }) => !isSealed && since?.reason === null && since.dir === dir);
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
    if (!job?.isSealed || !path.startsWith('sys/mini_batches/')) return;
    const isDue = this.#reports.has(name);
    this.#reports.set(name, true);
    if (isDue) return;
    void this.run(async () => {
      // More will come right behind it, and each writing reads all that is there.
      while (this.#reports.get(name) === true) {
        this.#reports.set(name, false);
        await this.#options.outside.delay(limits.logShipMs, this.#stop.signal);
      }
      this.#reports.delete(name);
      await this.#options.story.report(job);
    });
  }

  /** After a restart: brings the files of every job that is not sealed to what the ledger says. */
  async restore(): Promise<void> {
    for (const job of this.#loop.ledger.jobs.values()) {
      if (job.isSealed) {
        await this.#removeLeft(job);
        await this.#removeLaterOutputs(job);
        continue;
      }
      if (job.rowsOf === null) await this.locks.takeAgain(job.outputDir);
      // Once all parts are made, an earlier try of sealing may have removed what they were made of.
      const hasRows = partsJobOf(this.#loop.ledger, job)?.state !== 'Finalizing';
      const files = await JobFiles.reopen(job, { ...this.#fileOptions(job.name), hasRows });
      this.#files.set(job.name, files);
      // Nothing is damaged: a coordinator that leads no more begins no epoch, and whoever leads next recovers the files.
      if (files.damage?.code === 'NOT_LEADING') throw files.damage;
    }
  }

  /** Jobs whose output was damaged while the coordinator was away fail; the others go on. */
  failDamaged(): void {
    for (const [name, { damage }] of this.#files) if (damage) this.fail(name, damage);
  }

  /** Files of a job that is about to be submitted; its listing goes on from where `open` is. */
  async create(record: JobRecord, open: OpenListing): Promise<void> {
    this.#files.set(record.name, await JobFiles.create(record, this.#fileOptions(record.name)));
    this.#listings.set(record.name, open);
  }

  /** The job that was {@link create}d does not come to be: another one of the name finds nothing of it. */
  async discard(name: JobName): Promise<void> {
    const { log, outside, stateDir } = this.#options;
    await this.#files.get(name)?.close();
    this.#files.delete(name);
    this.#listings.delete(name);
    await removeJobDir(outside.fileSystem, stateDir, name).catch((error: unknown) => {
      log.warn('the folder of a job that was refused cannot be removed', { job: name, reason: reasonOf(error) });
    });
  }

  /** Files of a job that is about to be reopened; {@link keep} makes them its own. */
  async open(record: JobRecord): Promise<JobFiles> {
    // Sealing may still be about to clear the job's folder.
    await this.#seals.of(record.name);
    return await JobFiles.reopen(record, this.#fileOptions(record.name));
  }

  /** From now on these are the job's files; null: it has none open. */
  keep(name: JobName, files: JobFiles | null): void {
    if (files) this.#files.set(name, files);
    else this.#files.delete(name);
  }

  /** Begins or resumes the listing of a job's input. */
  list(name: JobName): void {
    const { clock, outside } = this.#options;
    const before = this.#listers.get(name);
    if (before) before.isOver = true;
    const own = { isOver: false, ended: Promise.resolve() };
    this.#listers.set(name, own);
    own.ended = this.run(async () => {
      if (before) await before.ended;
      const job = this.#loop.ledger.jobs.get(name);
      const files = this.#files.get(name);
      if (!job || !files) return;
      let taken: TakenRows | null = null;
      try {
        const open = this.#listings.get(name) ?? (await openListing(this.#listingOf(job)));
        this.#listings.delete(name);
        taken = await this.#takenBy(job);
        await listJob({
          job: name,
          open,
          taken,
          catalog: files.catalog,
          handle: (command) => this.#loop.handle(command),
          wall: () => clock.wall(),
          delay: outside.delay,
          signal: this.#stop.signal,
          isOver: () => own.isOver || isFinal(job.state) || job.state === 'CancelRequested',
        });
      } catch (error) {
        // A stop is no failure: the next start goes on.
        if (this.#stop.signal.aborted || own.isOver || isFinal(job.state)) return;
        const failure = outsideError(error, `the input ${job.inputPath} cannot be listed`);
        if (!failure) throw error;
        this.fail(name, failure);
      } finally {
        await taken?.close();
      }
    }).finally(() => {
      if (this.#listers.get(name) === own) this.#listers.delete(name);
    });
  }

  /** Null when every file is scored. */
  async #takenBy({ name, since, selection, deployment }: Job): Promise<TakenRows | null> {
    if (since?.reason !== null) return null;
    const { outside, log } = this.#options;
    const { fileSystem } = outside;
    const format = deployment.settings.outputFormat;
    try {
      return await TakenRows.open({ since, format, selection, fileSystem, log: log.with({ job: name }) });
    } catch (error) {
      if (!isBatchError(error, 'SINCE_UNUSABLE')) throw error;
      log.warn('the earlier output is gone; what is not taken yet is scored', { job: name, reason: error.message });
      return null;
    }
  }

  #listingOf(job: Job): InputListing {
    const { outside } = this.#options;
    if (job.rowsOf === null) {
      return splitListing(outside.listInput(job.inputPath, job.selection), splitRule(job.deployment));
    }
    return listRows(jobOf(this.#loop.ledger, job.rowsOf));
  }

  /** Puts output, manifest and markers in place, however long the disk is full. */
  seal(name: JobName): void {
    this.#seals.add(name, () => this.#sealed(name));
  }

  async #sealed(name: JobName): Promise<void> {
    const { clock, log, story } = this.#options;
    const job = this.#loop.ledger.jobs.get(name);
    const files = this.#files.get(name);
    if (!job || !files) return;
    const isComplete = job.state === 'Finalizing' || job.state === 'Completed';
    const inner = isComplete && needsParts(job) ? (partsJobOf(this.#loop.ledger, job) ?? null) : null;
    await files.close();
    if (inner) await this.#files.get(inner.name)?.close();
    if (!(await this.#sealWhenRoom(job, files, inner))) return;
    if (this.#stop.signal.aborted) return;
    await this.locks.release(job.outputDir);
    this.#files.delete(name);
    this.#loop.handle({ kind: 'sealed', job: name, wallMs: clock.wall() });
    if (this.logOwner(name) !== null) {
      const page = { offset: 0, limit: limits.jobErrorGroupsLogged };
      await story.end(job, await jobErrors(job, files.catalog, page));
    }
    log.info('job ended', { job: name, state: job.state, rows: job.rows, failed_files: job.failedFiles });
    // Not before: a restart that seals again needs what lies there.
    await this.#loop.durable();
    if (job.isSealed) await this.#removeLeft(job);
  }

  /** What a sealed job needs no more: its staging, and what has gone to the store of its output. */
  async #removeLeft(job: Job): Promise<void> {
    const { log, stateDir, outside } = this.#options;
    const isElsewhere = job.outputLocation !== null && job.state === 'Completed' && job.failedFiles === 0;
    try {
      if (!job.isStagingKept) await removeStaging(outside.fileSystem, stateDir, job.name);
      if (isElsewhere) await removePublished(outside.fileSystem, job.outputDir);
    } catch (error) {
      log.warn('what an ended job has left cannot be removed', { job: job.name, reason: reasonOf(error) });
    }
  }

  /** Generations of the output that were begun by somebody who wanted the job to go on, and whom a crash has taken the wish from. */
  async #removeLaterOutputs(job: Job): Promise<void> {
    const { log, outside } = this.#options;
    const rowsName = rowsFileName(job.deployment.settings);
    // Nobody else has the folder of a job whose output is in a store.
    const isOwn = job.outputLocation !== null || this.ownsOutput(job);
    if (rowsName === null || !isOwn) return;
    try {
      for (const name of await outside.fileSystem.list(job.outputDir)) {
        if ((laterGeneration(name, rowsName) ?? 0) > job.generation)
          await outside.fileSystem.remove(join(job.outputDir, name));
      }
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return;
      log.warn('what a retry that came to nothing has left cannot be removed', {
        job: job.name,
        reason: reasonOf(error),
      });
    }
  }

  /** False when sealing has failed the job, whose failure is then sealed in turn. */
  async #sealWhenRoom(job: Job, files: JobFiles, inner: Job | null): Promise<boolean> {
    const { clock, log, release, signer, outside } = this.#options;
    const { fileSystem } = outside;
    let refusals = 0;
    while (!this.#stop.signal.aborted) {
      try {
        const { catalog, stagingDir } = files;
        const { ledger } = this.#loop;
        const parts = inner && (await this.#partsOf(job, inner));
        const own = { ledger, job, catalog, stagingDir, parts };
        const sealed = await sealJob({ ...own, release, signer, endedWallMs: clock.wall(), fileSystem });
        const store = this.#storeOf(job);
        const left = sealed && store ? await store.publish(sealed) : null;
        this.#unpublished.delete(job.name);
        if (left !== null) log.warn('what attempts have left cannot be removed; remove it', { job: job.name, left });
        return true;
      } catch (thrown) {
        const error = outsideError(thrown, `the results in ${job.outputDir} cannot be sealed`);
        if (!error) throw thrown;
        // A disk, or a store, that fails now and then is no reason to throw away what is scored: each step may be repeated.
        const mayPass = isBatchError(error, 'STATE_UNWRITABLE', 'STORE_UNREACHABLE', 'STORE_DENIED');
        if (mayPass) refusals += 1;
        const isWorthIt = mayPass && refusals < limits.sealTriesMax;
        if (error.code !== 'DISK_FULL' && !isWorthIt) {
          // Of one that may lead no more nothing is told: whoever leads next seals the job.
          if (isFinal(job.state) && error.code !== 'NOT_LEADING') {
            log.error('the end of the job cannot be written down', {
              job: job.name,
              code: error.code,
              message: error.message,
            });
            if (job.outputLocation !== null) this.#unpublished.add(job.name);
            return true;
          }
          this.fail(job.name, error);
          return false;
        }
        log.warn('the output cannot be sealed; trying again', { job: job.name, message: error.message });
        await outside.delay(limits.diskFullRetryMs, this.#stop.signal);
      }
    }
    return true;
  }

  /** Null when the output stays here. */
  #storeOf({ name, outputDir: dir, outputLocation: location }: Job): StoreOutput | null {
    if (location === null) return null;
    const { fileSystem, storeOutput } = this.#options.outside;
    return storeOutput({ location, job: name, dir, fileSystem, signal: this.#stop.signal });
  }

  async #partsOf(job: Job, inner: Job): Promise<SealedParts> {
    const { outside, stateDir } = this.#options;
    const stagingDir = stagingDirOf(jobDirOf(stateDir, inner.name));
    const files = await readPartsList(inner, outside.fileSystem);
    return { inner, stagingDir, files, place: this.#storeOf(job) };
  }

  /** Aborts {@link stopped}. */
  stop(): void {
    this.#stop.abort();
  }

  async close(): Promise<void> {
    this.stop();
    await Promise.allSettled(this.#running);
    await Promise.all([...this.#files.values()].map((files) => files.close()));
    await this.locks.close();
  }

  /** Work that {@link close} waits for; what it throws ends the process. Never rejects. */
  run(work: () => Promise<void>): Promise<void> {
    const running: Promise<void> = work()
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#options.onFatal(error);
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
    return running;
  }

  /** The job cannot go on; the others do. */
  fail(job: JobName, error: BatchError): void {
    // Whoever leads next goes on with it.
    if (error.code === 'NOT_LEADING') return this.#options.onFatal(error);
    this.#options.log.error('the job cannot go on', { job, code: error.code, message: error.message });
    // One that is still being submitted is told to its caller.
    if (!this.#loop.ledger.jobs.has(job)) return;
    this.#loop.handle({ kind: 'fail-job', job, failure: error.toFailure(), wallMs: this.#options.clock.wall() });
  }

  #fileOptions(job: JobName): JobFilesOptions {
    const { log, stateDir, outside } = this.#options;
    return {
      stateDir,
      outside,
      together: (work) => this.#loop.together(work),
      onStall: (failure) => {
        if (failure) log.warn('the job is paused', { job, code: failure.code, message: failure.message });
        else log.info('the job goes on', { job });
        this.#loop.handle({ kind: 'stall', job, failure });
      },
      // What was written since the last commit is in doubt, but of this job alone.
      onFatal: (error) => this.fail(job, error),
    };
  }
}
