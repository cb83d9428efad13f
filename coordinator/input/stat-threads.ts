/**
 * Looks at the files of large inputs in threads of their own: one, which a local disk keeps busy, and more where a mount is what is
 * waited for. A listing has them to itself, so that a mount that does not answer holds up no other; those of the last one that ended are
 * kept for the next, as starting one takes what looking at twenty thousand files does.
 */
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { InputFile } from '../../common/core/input.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { compiledFile } from '../../common/io/package-files.ts';
import { joined, taken, type StatReply, type StatRequest } from './stat-message.ts';

/** As many as pages are looked up at a time. */
const threadsMax = 3;
const workerFile = compiledFile('coordinator', 'input', 'stat-worker.js');

let kept: { readonly threads: StatThreads; readonly timer: NodeJS.Timeout } | null = null;

interface Waiting {
  readonly thread: Worker;
  readonly paths: readonly string[];
  readonly resolve: (files: readonly InputFile[]) => void;
  readonly reject: (error: Error) => void;
}

export class StatThreads {
  readonly #threads: Worker[] = [];
  readonly #lookMs: number;
  readonly #waiting = new Map<number, Waiting>();
  #requests = 0;
  #failure: Error | null = null;

  private constructor(lookMs: number) {
    this.#lookMs = lookMs;
    this.#add();
  }

  /** Null where the sources run uncompiled; the thread pool serves there. `lookMs`: a file that takes longer wants more threads. */
  static start(lookMs: number = limits.listingLookMs): StatThreads | null {
    return StatThreads.takeKept() ?? StatThreads.started(lookMs);
  }

  /** Those that wait for a listing, which has them from now on; null when none do. */
  static takeKept(): StatThreads | null {
    if (kept === null) return null;
    const { threads, timer } = kept;
    clearTimeout(timer);
    kept = null;
    return threads.#failure === null ? threads : null;
  }

  private static started(lookMs: number): StatThreads | null {
    if (!existsSync(workerFile)) return null;
    return new StatThreads(lookMs);
  }

  get count(): number {
    return this.#threads.length;
  }

  look(base: string, paths: readonly string[]): Promise<readonly InputFile[]> {
    const id = this.#requests;
    this.#requests += 1;
    if (this.#failure) return Promise.reject(this.#failure);
    if (paths.length === 0) return Promise.resolve([]);
    const thread = this.#leastBusy();
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { thread, paths, resolve, reject });
      thread.ref();
      thread.postMessage({ id, base, paths: joined(paths) } satisfies StatRequest);
    });
  }

  /** The listing is over. They end when they are of no use, or when no other comes for a while; they keep no process alive. */
  async release(): Promise<void> {
    if (kept !== null || this.#failure !== null || this.#waiting.size > 0) return await this.close();
    const end = (): void => void StatThreads.takeKept()?.close();
    kept = { threads: this, timer: setTimeout(end, limits.listingThreadsIdleMs).unref() };
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  #add(): void {
    const thread = new Worker(workerFile);
    thread.on('message', (reply: StatReply) => this.#answer(reply));
    thread.on('error', (error) => this.#fail(error));
    thread.on('exit', (code) => this.#fail(new Error(`a listing thread ended with code ${code}`)));
    // Only what waits for an answer keeps the process alive.
    thread.unref();
    this.#threads.push(thread);
  }

  #leastBusy(): Worker {
    const requests = new Map(this.#threads.map((thread) => [thread, 0]));
    for (const { thread } of this.#waiting.values()) requests.set(thread, (requests.get(thread) ?? 0) + 1);
    const [least] = [...requests].reduce((one, other) => (other[1] < one[1] ? other : one));
    return least;
  }

  #answer(reply: StatReply): void {
    const waiting = this.#waiting.get(reply.id);
    invariant(waiting !== undefined, `an answer to request ${reply.id}, which nobody made`);
    this.#waiting.delete(reply.id);
    if (this.#waiting.size === 0) for (const thread of this.#threads) thread.unref();
    const isSlow = reply.ms > this.#lookMs * waiting.paths.length;
    if (isSlow && this.#waiting.size > 0 && this.#threads.length < threadsMax) this.#add();
    const identities = taken(reply.identities);
    waiting.resolve(
      waiting.paths.map((path, index) => ({
        path,
        sizeBytes: reply.sizes[index] as number,
        identity: identities[index] as string,
      })),
    );
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
