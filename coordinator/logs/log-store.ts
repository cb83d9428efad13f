/**
 * Bytes of logs into the log folders of jobs: what nodes send, piece by piece, and what the coordinator says itself. Best
 * effort and never in the way of a result; writes to one job's folder are done one after the other.
 */
import { appendFile, mkdir, open, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { JobName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf, outsideError, reasonOf } from '../../common/io/errno.ts';
import type { Log } from '../../common/io/log.ts';
import { writeAll } from '../../common/io/write-all.ts';
import { logsDirName, nodeLogPath, ownLogs, readmeText } from './log-tree.ts';

export interface LogPieceOf {
  readonly job: JobName;
  readonly name: string;
  readonly offset: number;
  readonly data: Uint8Array;
}

export interface LogFile {
  /** Relative to the log folder. */
  readonly path: string;
  readonly sizeBytes: number;
}

export interface LogStoreOptions {
  /** Output folder of a job that may write logs there; null when there is none, or another job has it now. */
  readonly outputDirOf: (job: JobName) => string | null;
  readonly log: Log;
}

export class LogStore {
  readonly #options: LogStoreOptions;
  readonly #queues = new Map<JobName, Promise<unknown>>();
  /** Log files of the jobs that were written to last, by path, with their bytes; of others the disk is asked. */
  readonly #sizes = new Map<JobName, Map<string, number>>();
  /** What is to be appended, by job and path. */
  readonly #texts = new Map<string, string>();
  readonly #isTold = new Map<JobName, true>();
  /** Output folders that are being cleared, with how many times. */
  readonly #closed = new Map<string, number>();

  constructor(options: LogStoreOptions) {
    this.#options = options;
  }

  /**
   * A piece from a worker node; resolves with the bytes that are here of the file.
   * @throws REQUEST_INVALID for a name that leads elsewhere or a log above its bound, JOB_NOT_FOUND, DISK_FULL, STATE_UNWRITABLE
   */
  take(node: string, piece: LogPieceOf): Promise<number> {
    const path = nodeLogPath(node, piece.name);
    return this.#queued(piece.job, async () => {
      try {
        return await this.#take(path, piece);
      } catch (error) {
        throw outsideError(error, `the log ${path} of job ${piece.job} cannot be written`) ?? error;
      }
    });
  }

  /** Adds to a file of the coordinator's own. Never rejects. */
  append(job: JobName, path: string, text: string): Promise<void> {
    const key = `${job}/${path}`;
    const before = this.#texts.get(key);
    this.#texts.set(key, (before ?? '') + text);
    // What comes while a write is due goes with it.
    if (before !== undefined) return Promise.resolve();
    return this.#own(job, async (dir) => {
      const target = await made(dir, path);
      const due = this.#texts.get(key) ?? '';
      this.#texts.delete(key);
      await appendFile(target, due);
    }).finally(() => this.#texts.delete(key));
  }

  /** Replaces a file of the coordinator's own. Never rejects. */
  replace(job: JobName, path: string, text: string | AsyncIterable<string>): Promise<void> {
    return this.#own(job, async (dir) => {
      const target = await made(dir, path);
      await writeFile(target + unfinished, text);
      await rename(target + unfinished, target);
    });
  }

  /** Jobs of which something is kept in memory. */
  get jobs(): number {
    return new Set([...this.#sizes.keys(), ...this.#isTold.keys(), ...this.#queues.keys()]).size;
  }

  /**
   * Keeps logs out of an output folder that is about to be cleared, until the answer is called. Resolves when all that was asked for
   * is written: a late line of the job that has ended would else be in the way of the removal, or among the lines of the next job.
   */
  async close(outputDir: string): Promise<() => void> {
    const isThere = ([job]: [JobName, unknown]): boolean => this.#options.outputDirOf(job) === outputDir;
    for (let last = [...this.#queues].find(isThere); last; last = [...this.#queues].find(isThere)) await last[1];
    this.#closed.set(outputDir, (this.#closed.get(outputDir) ?? 0) + 1);
    return once(() => {
      const others = (this.#closed.get(outputDir) ?? 1) - 1;
      if (others > 0) this.#closed.set(outputDir, others);
      else this.#closed.delete(outputDir);
    });
  }

  /** Resolves when all that was asked for is written. */
  async settled(): Promise<void> {
    await Promise.all(this.#queues.values());
  }

  async #own(job: JobName, write: (dir: string) => Promise<void>): Promise<void> {
    try {
      await this.#queued(job, async () => write(await this.#dir(job)));
    } catch (error) {
      // Once: a folder that is gone, or a disk that is full, would be told for every line.
      if (this.#isTold.has(job)) return;
      keepNewest(this.#isTold, job, true);
      this.#options.log.warn('logs of the job cannot be written', { job, reason: reasonOf(error) });
    }
  }

  #queued<T>(job: JobName, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(job) ?? Promise.resolve();
    const running = before.then(work);
    const settled = running
      .catch(() => undefined)
      .then(() => {
        if (this.#queues.get(job) === settled) this.#queues.delete(job);
      });
    this.#queues.set(job, settled);
    return running;
  }

  async #take(path: string, { job, offset, data }: LogPieceOf): Promise<number> {
    const dir = this.#dirOf(job);
    const sizes = this.#sizes.get(job) ?? new Map<string, number>();
    keepNewest(this.#sizes, job, sizes);
    const target = join(dir, path);
    const here = sizes.get(path) ?? (await sizeOf(target));
    sizes.set(path, here);
    // A question, or bytes that came before, or a gap after a restart: the node is told where to go on.
    if (data.length === 0 || (offset !== here && offset !== 0)) return here;
    if (offset + data.length > limits.logFileBytesMax || sizes.size > filesMax) {
      throw new BatchError('REQUEST_INVALID', `job ${job} has more logs than are kept; ${path} is not taken`);
    }
    // What was there is of an earlier process of that name, or an older state of a file that is written anew.
    const opened = (): ReturnType<typeof open> => open(target, offset === 0 ? 'w' : 'r+');
    const file = await opened().catch(async (error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await this.#dir(job);
      await mkdir(dirname(target), { recursive: true });
      return await opened();
    });
    try {
      await writeAll(file, data, offset);
    } catch (error) {
      // What is there of it is asked of the disk.
      sizes.delete(path);
      throw error;
    } finally {
      await file.close();
    }
    sizes.set(path, offset + data.length);
    return offset + data.length;
  }

  /** The job's log folder. @throws JOB_NOT_FOUND */
  #dirOf(job: JobName): string {
    const outputDir = this.#options.outputDirOf(job);
    if (outputDir === null || this.#closed.has(outputDir)) {
      throw new BatchError('JOB_NOT_FOUND', `job ${job} has no log folder here`);
    }
    return join(outputDir, logsDirName);
  }

  /** The same, made when it is not there. @throws JOB_NOT_FOUND */
  async #dir(job: JobName): Promise<string> {
    const dir = this.#dirOf(job);
    // Not the output folder: one that a user has removed stays removed.
    const isMade = await mkdir(dir).then(
      () => true,
      (error: unknown) => {
        if (errnoOf(error) === 'EEXIST') return false;
        throw error;
      },
    );
    if (isMade) await writeFile(join(dir, ownLogs.readme), readmeText);
    return dir;
  }
}

/** As the last one of a map that forgets those that were not set for long. */
function keepNewest<V>(map: Map<JobName, V>, job: JobName, value: V): void {
  map.delete(job);
  map.set(job, value);
  const [oldest] = map.keys();
  if (map.size > limits.endedJobsRemembered && oldest !== undefined) map.delete(oldest);
}

/** Of all nodes together: far above what scoring hosts make, a bound to what a broken script may. */
const filesMax = 20 * limits.jobLogFilesMax;

/** Ends the name of what is being written, which nobody is to see. */
const unfinished = '.batchmill-unfinished';

/** Every file of a log folder, by path; none when there is no folder. */
export async function listLogs(outputDir: string): Promise<readonly LogFile[]> {
  const root = join(outputDir, logsDirName);
  const files: LogFile[] = [];
  const walk = async (folder: string): Promise<void> => {
    const entries = await readdir(join(root, folder), { withFileTypes: true }).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw outsideError(error, `the log folder ${root} cannot be read`) ?? error;
    });
    for (const entry of entries) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) await walk(path);
      else if (entry.isFile() && !path.endsWith(unfinished))
        files.push({ path, sizeBytes: await sizeOf(join(root, path)) });
    }
  };
  await walk('');
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) work();
    isDone = true;
  };
}

async function made(dir: string, path: string): Promise<string> {
  const target = join(dir, path);
  await mkdir(dirname(target), { recursive: true });
  return target;
}

async function sizeOf(path: string): Promise<number> {
  return await stat(path).then(
    (found) => found.size,
    (error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return 0;
      throw error;
    },
  );
}
