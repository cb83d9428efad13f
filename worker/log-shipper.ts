/**
 * Sends the logs of jobs to the coordinator: new bytes at intervals while a job runs, the rest when it ends. Best effort,
 * behind everything else; what could not be sent stays on the node and is gone on with after a reconnect, from where the
 * coordinator says it is.
 */
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../common/core/batch-error.ts';
import type { JobName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import type { Delay } from '../common/io/delay.ts';
import { errnoOf, reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import type { ShippedPiece } from './log-lane.ts';

/** The way to the coordinator, as long as a session lasts. */
export interface LogRoute {
  /** See {@link LogLane.send}. */
  readonly send: (piece: ShippedPiece) => Promise<number>;
  /** Results are being uploaded: they come first. */
  readonly isBusy: () => boolean;
}

export interface LogShipperOptions {
  /** Folder of a job's logs on this node. */
  readonly logsDir: (job: JobName) => string;
  /** Null while there is no connection. */
  readonly route: () => LogRoute | null;
  readonly delay: Delay;
  readonly log: Log;
}

interface FileState {
  /** What the coordinator has; null: it must be asked. */
  sent: number | null;
  /** Of the file when it was last sent whole, for files that user code rewrites. */
  mtimeMs: number;
  isRefused: boolean;
  /** It could not be read, which was told. */
  isUnreadable: boolean;
}

interface JobState {
  readonly files: Map<string, FileState>;
  hasTooMany: boolean;
}

export class LogShipper {
  readonly #options: LogShipperOptions;
  readonly #jobs = new Map<JobName, JobState>();
  readonly #over = new AbortController();
  #lastRoute: LogRoute | null = null;
  #passes: Promise<void> = Promise.resolve();
  #isLooping = false;

  constructor(options: LogShipperOptions) {
    this.#options = options;
  }

  /** Logs of the job go out from now on. */
  watch(job: JobName): void {
    if (!this.#jobs.has(job)) this.#jobs.set(job, { files: new Map(), hasTooMany: false });
    if (this.#isLooping) return;
    this.#isLooping = true;
    void this.#run();
  }

  /** The job has ended and nothing is written any more: all the rest goes out, so far as there is a connection. */
  async finish(job: JobName): Promise<void> {
    await this.#pass([job], true);
    this.#jobs.delete(job);
  }

  /** The node leaves: what is left goes out, but nobody waits for it longer than {@link limits.logLeaveMsMax}. */
  async close(): Promise<void> {
    this.#over.abort();
    const late = new AbortController();
    await Promise.race([
      this.#pass([...this.#jobs.keys()], true),
      this.#options.delay(limits.logLeaveMsMax, late.signal),
    ]);
    late.abort();
    this.#jobs.clear();
  }

  async #run(): Promise<void> {
    while (!this.#over.signal.aborted) {
      await this.#options.delay(limits.logShipMs, this.#over.signal);
      if (!this.#over.signal.aborted) await this.#pass([...this.#jobs.keys()], false);
    }
  }

  /** One pass at a time: what the coordinator has of a file is known to one of them only. Never rejects. */
  #pass(jobs: readonly JobName[], isLast: boolean): Promise<void> {
    this.#passes = this.#passes.then(async () => {
      try {
        for (const job of jobs) await this.#shipJob(job, isLast);
      } catch (error) {
        const { log } = this.#options;
        // A connection that has gone comes back by itself.
        if (error instanceof BatchError && error.code === 'COORDINATOR_UNREACHABLE') return;
        log.warn('logs of a job cannot be sent to the coordinator', { reason: reasonOf(error) });
      }
    });
    return this.#passes;
  }

  async #shipJob(job: JobName, isLast: boolean): Promise<void> {
    const state = this.#jobs.get(job);
    const route = this.#options.route();
    if (!state || !route) return;
    this.#noteRoute(route);
    const dir = this.#options.logsDir(job);
    for (const name of await this.#namesIn(dir, job, state)) {
      let file = state.files.get(name);
      if (!file) state.files.set(name, (file = { sent: 0, mtimeMs: 0, isRefused: false, isUnreadable: false }));
      if (file.isRefused) continue;
      try {
        await this.#shipFile(route, { job, name, path: join(dir, name), file, isLast });
      } catch (error) {
        // One that is gone by now, or that only its owner may read, keeps no other back.
        if (!(error instanceof BatchError) && errnoOf(error) !== '') {
          this.#tellUnreadable(job, name, file, error);
          continue;
        }
        if (!(error instanceof BatchError) || !isRefusal(error)) throw error;
        file.isRefused = true;
        this.#options.log.warn('the coordinator refuses a log', {
          job,
          name,
          code: error.code,
          message: error.message,
        });
      }
    }
  }

  #tellUnreadable(job: JobName, name: string, file: FileState, error: unknown): void {
    if (file.isUnreadable) return;
    file.isUnreadable = true;
    this.#options.log.warn('a log cannot be read, and is not sent', { job, name, reason: reasonOf(error) });
  }

  /** What was under way when a connection broke may have arrived or not. */
  #noteRoute(route: LogRoute): void {
    if (route === this.#lastRoute) return;
    const isFirst = this.#lastRoute === null;
    this.#lastRoute = route;
    if (isFirst) return;
    for (const { files } of this.#jobs.values()) for (const file of files.values()) file.sent = null;
  }

  async #shipFile(route: LogRoute, order: ShipOrder): Promise<void> {
    const { job, name, path, file } = order;
    const { size, mtimeMs } = await stat(path);
    file.sent ??= await route.send({ job, name, offset: 0, data: nothing });
    if (isOwn(name)) {
      if (file.sent < size) await this.#sendFrom(route, order, size);
      return;
    }
    // User code may write a small file anew; a large one is taken to grow only.
    const isChanged = file.mtimeMs !== mtimeMs || file.sent !== size;
    if (!isChanged || size === 0) return;
    if (size <= limits.logRewriteBytesMax || file.sent > size) file.sent = 0;
    if (file.sent < size) await this.#sendFrom(route, order, size);
    file.mtimeMs = mtimeMs;
  }

  async #sendFrom(route: LogRoute, { job, name, path, file, isLast }: ShipOrder, size: number): Promise<void> {
    const handle = await open(path, 'r');
    try {
      const buffer = Buffer.allocUnsafe(Math.min(limits.logPieceBytes, size));
      while (file.sent !== null && file.sent < size) {
        const offset = file.sent;
        const wanted = Math.min(buffer.length, size - offset);
        const { bytesRead } = await handle.read(buffer, 0, wanted, offset);
        if (bytesRead === 0) return;
        // Until the answer has come nobody knows what the coordinator has.
        file.sent = null;
        file.sent = await route.send({ job, name, offset, data: buffer.subarray(0, bytesRead) });
        // Results that are on their way have the line to themselves but for one piece of each file.
        if (!isLast && route.isBusy()) return;
      }
    } finally {
      await handle.close();
    }
  }

  async #namesIn(dir: string, job: JobName, state: JobState): Promise<readonly string[]> {
    const names: string[] = [];
    for await (const name of filesBelow(dir, '')) {
      if (names.length < limits.jobLogFilesMax) names.push(name);
      else if (!state.hasTooMany) {
        state.hasTooMany = true;
        this.#options.log.warn('the job keeps too many log files; some are not sent', {
          job,
          max: limits.jobLogFilesMax,
        });
      }
      if (state.hasTooMany) break;
    }
    return names;
  }
}

interface ShipOrder {
  readonly job: JobName;
  readonly name: string;
  readonly path: string;
  readonly file: FileState;
  readonly isLast: boolean;
}

const nothing = new Uint8Array();

function isRefusal(error: BatchError): boolean {
  return error.code === 'REQUEST_INVALID' || error.code === 'JOB_NOT_FOUND';
}

/** Written by the node itself, which only ever appends. */
function isOwn(name: string): boolean {
  return /^(user\/(stdout|stderr|error)|sys)\//.test(name);
}

/** Regular files, by relative path; nothing that is a link. */
async function* filesBelow(root: string, folder: string): AsyncGenerator<string> {
  let entries;
  try {
    entries = await readdir(join(root, folder), { withFileTypes: true });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  for (const entry of entries) {
    const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) yield* filesBelow(root, name);
    else if (entry.isFile()) yield name;
  }
}
