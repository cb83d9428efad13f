/** Looks at the files of large inputs in threads of their own; two, as more only wait for the same disk or the same CPU cores. */
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { InputFile } from '../../common/core/input.ts';
import { invariant } from '../../common/core/invariant.ts';
import { compiledFile } from '../../common/io/package-files.ts';
import type { StatReply, StatRequest } from './stat-worker.ts';

const threadsMax = 2;
const workerFile = compiledFile('coordinator', 'input', 'stat-worker.js');

interface Waiting {
  readonly paths: readonly string[];
  readonly resolve: (files: readonly InputFile[]) => void;
  readonly reject: (error: Error) => void;
}

export class StatThreads {
  readonly #threads: readonly Worker[];
  readonly #waiting = new Map<number, Waiting>();
  #requests = 0;
  #failure: Error | null = null;

  private constructor(threads: readonly Worker[]) {
    this.#threads = threads;
    for (const thread of threads) {
      thread.on('message', (reply: StatReply) => this.#answer(reply));
      thread.on('error', (error) => this.#fail(error));
      thread.on('exit', (code) => this.#fail(new Error(`a listing thread ended with code ${code}`)));
      // Only what waits for an answer keeps the process alive.
      thread.unref();
    }
  }

  /** Null where the sources run uncompiled; the thread pool serves there. */
  static start(): StatThreads | null {
    if (!existsSync(workerFile)) return null;
    return new StatThreads(Array.from({ length: threadsMax }, () => new Worker(workerFile)));
  }

  look(base: string, paths: readonly string[]): Promise<readonly InputFile[]> {
    const id = this.#requests;
    this.#requests += 1;
    const thread = this.#threads[id % this.#threads.length] as Worker;
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { paths, resolve, reject });
      thread.ref();
      thread.postMessage({ id, base, paths } satisfies StatRequest);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  #answer(reply: StatReply): void {
    const waiting = this.#waiting.get(reply.id);
    invariant(waiting !== undefined, `an answer to request ${reply.id}, which nobody made`);
    this.#waiting.delete(reply.id);
    if (this.#waiting.size === 0) for (const thread of this.#threads) thread.unref();
    waiting.resolve(
      waiting.paths.map((path, index) => ({
        path,
        sizeBytes: reply.sizes[index] as number,
        identity: reply.identities[index] as string,
      })),
    );
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
