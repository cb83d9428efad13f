/**
 * Inner jobs, which make the parts of an output from its rows: begun when all rows are there, forgotten when their outer job has ended.
 * What is between is the same as for every job.
 */
import type { JobName } from '../common/core/ids.ts';
import type { InputFile } from '../common/core/input.ts';
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import { outsideError, reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import type { Job } from './core/ledger.ts';
import { partsDeployment, partsJobName } from './core/parts.ts';
import { outputDirOf, removeJobDir } from './job-files.ts';
import { readRows, rowsPath } from './job-parts.ts';
import type { JobWork } from './job-work.ts';
import type { Loop } from './loop.ts';
import { attemptsPlace } from './output/output-place.ts';
import { Turns } from './turns.ts';
import type { Outside } from './outside.ts';

export interface InnerJobsOptions {
  readonly loop: Loop;
  readonly work: JobWork;
  readonly stateDir: string;
  readonly release: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly outside: Outside;
}

export class InnerJobs {
  readonly #options: InnerJobsOptions;
  /** An outer job may go on before all of its last inner one is gone. */
  readonly #turns: Turns<JobName>;

  constructor(options: InnerJobsOptions) {
    this.#options = options;
    this.#turns = new Turns((work) => options.work.run(work));
  }

  /** All rows of the job are there. With the inner job the folder of attempts is made, which only who shares it sees. */
  make(name: JobName): void {
    const { loop, work, clock, release } = this.#options;
    const job = partsJobName(name);
    this.#turns.add(job, async () => {
      const outer = loop.ledger.jobs.get(name);
      if (outer?.state !== 'Finalizing') return;
      const { reopenings } = outer;
      // It may be canceled meanwhile, and even go on.
      const isWanted = (): boolean => outer.state === 'Finalizing' && outer.reopenings === reopenings;
      const deployment = partsDeployment(outer, release);
      const inputPath = rowsPath(name);
      const outputDir = outputDirOf(this.#options.stateDir, job);
      try {
        await this.#whenRoom(name, () => this.#open(outer, { name: job, deployment, inputPath, outputDir }));
      } catch (error) {
        const failure = outsideError(error, `the parts of job ${name} cannot be made`);
        if (!failure) throw error;
        if (isWanted()) work.fail(name, failure);
        return await this.#forget(job);
      }
      if (work.stopped.aborted) return;
      if (!isWanted()) return await this.#forget(job);
      const origin = { ...outer.origin, idempotency: null };
      loop.handle({
        kind: 'submit',
        job,
        deployment,
        inputPath,
        outputDir,
        rowsOf: name,
        origin,
        wallMs: clock.wall(),
      });
    });
  }

  /** It has had its use. */
  forget(name: JobName): void {
    this.#turns.add(name, () => this.#forget(name));
  }

  async #forget(name: JobName): Promise<void> {
    const { work, log, outside, stateDir } = this.#options;
    await work.filesOf(name)?.close();
    work.keep(name, null);
    await removeJobDir(outside.fileSystem, stateDir, name).catch((error: unknown) => {
      log.warn('the folder of an inner job cannot be removed', { job: name, reason: reasonOf(error) });
    });
  }

  /** Rows of a job as its inner one reads them; null when `root` is a place outside. */
  read(root: string, file: InputFile, offset: number): AsyncIterable<Uint8Array> | null {
    const outer = [...this.#options.loop.ledger.jobs.values()].find(({ name }) => rowsPath(name) === root);
    return outer ? readRows(outer, file, offset, this.#options.outside.fileSystem) : null;
  }

  async #open(outer: Job, inner: Pick<Job, 'name' | 'deployment' | 'inputPath' | 'outputDir'>): Promise<void> {
    const { work, outside, stateDir } = this.#options;
    const { fileSystem } = outside;
    // What an earlier try has left.
    await removeJobDir(fileSystem, stateDir, inner.name);
    await fileSystem.makeDir(inner.outputDir);
    if (outer.outputLocation === null) await fileSystem.makeDir(attemptsPlace(outer.outputDir, outer.name));
    const record = {
      ...{ ...inner, rowsOf: outer.name, chunks: 0, outputCommitted: 0, schema: -1, schemas: [], generation: 1 },
      ...{ segments: new Map<number, number>(), bases: new Map<number, string>() },
    };
    const files = await work.open(record);
    if (files.damage) throw files.damage;
    work.keep(inner.name, files);
  }

  /** Tries again while the disk is full, which the job tells meanwhile. */
  async #whenRoom(job: JobName, work: () => Promise<void>): Promise<void> {
    const { outside, loop } = this.#options;
    const { stopped } = this.#options.work;
    for (let isStalled = false; !stopped.aborted; isStalled = true) {
      try {
        await work();
        if (isStalled) loop.handle({ kind: 'stall', job, failure: null });
        return;
      } catch (thrown) {
        const error = outsideError(thrown, `the folder of an inner job of ${job} cannot be made`);
        if (error?.code !== 'DISK_FULL') throw thrown;
        loop.handle({ kind: 'stall', job, failure: error.toFailure() });
        await outside.delay(limits.diskFullRetryMs, stopped);
      }
    }
  }
}
