/** Looks at local files: a few at a time through the thread pool, many that are asked for at once in a thread of their own. */
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { compiledFile } from '../../common/io/package-files.ts';
import { identityOf } from './local-identity.ts';
import type { LookReply, LookRequest } from './look-worker.ts';

/** Where the sources run uncompiled there is no such file, and the thread pool serves. */
const workerFile = compiledFile('worker', 'staging', 'look-worker.js');

/** Fewer in one turn of the event loop are not worth a thread, which takes some megabytes. */
const togetherMin = 8;

interface Asked {
  readonly path: string;
  readonly resolve: (identity: string | null) => void;
  readonly reject: (error: unknown) => void;
}

export class LocalLooks {
  #asked: Asked[] = [];
  #thread: Worker | null = null;
  #hasThread = existsSync(workerFile);
  readonly #underWay = new Map<number, readonly Asked[]>();
  #requests = 0;

  /** See {@link identityOf}. */
  identityOf(path: string): Promise<string | null> {
    if (!this.#hasThread) return identityOf(path);
    return new Promise((resolve, reject) => {
      if (this.#asked.length === 0) setImmediate(() => this.#look());
      this.#asked.push({ path, resolve, reject });
    });
  }

  async close(): Promise<void> {
    this.#hasThread = false;
    await this.#thread?.terminate();
  }

  #look(): void {
    const asked = this.#asked;
    this.#asked = [];
    if (!this.#hasThread || asked.length < togetherMin) return lookEach(asked);
    const thread = (this.#thread ??= this.#start());
    this.#requests += 1;
    this.#underWay.set(this.#requests, asked);
    thread.postMessage({ id: this.#requests, paths: asked.map(({ path }) => path) } satisfies LookRequest);
  }

  #start(): Worker {
    const thread = new Worker(workerFile);
    thread.on('message', ({ id, identities }: LookReply) => {
      const asked = this.#underWay.get(id) ?? [];
      this.#underWay.delete(id);
      for (const [place, { resolve }] of asked.entries()) resolve(identities[place] ?? null);
    });
    // It has no memory left, or has ended: without it things are slower.
    const giveUp = (): void => {
      this.#hasThread = false;
      for (const asked of this.#underWay.values()) lookEach(asked);
      this.#underWay.clear();
    };
    thread.on('error', giveUp);
    thread.on('exit', giveUp);
    thread.unref();
    return thread;
  }
}

function lookEach(asked: readonly Asked[]): void {
  for (const { path, resolve, reject } of asked) identityOf(path).then(resolve, reject);
}
