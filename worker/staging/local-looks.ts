/** Looks at local files: a few at a time through the thread pool, many that are asked for at once in a thread of their own. */
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { compiledFile } from '../../common/io/package-files.ts';
import { identityOf } from './local-identity.ts';
import { joined, type LookReply, type LookRequest } from './look-message.ts';

/** Where the sources run uncompiled there is no such file, and the thread pool serves. */
const workerFile = compiledFile('worker', 'staging', 'look-worker.js');

/** Fewer in one turn of the event loop are not worth a thread, which takes some megabytes. */
const togetherMin = 8;

type Identities = readonly (string | null)[];

/** Files of one mini-batch. */
interface Asked {
  readonly paths: readonly string[];
  readonly resolve: (identities: Identities) => void;
  readonly reject: (error: unknown) => void;
}

export class LocalLooks {
  #asked: Asked[] = [];
  #thread: Worker | null = null;
  #hasThread = existsSync(workerFile);
  readonly #underWay = new Map<number, readonly Asked[]>();
  /** Messages to the thread. */
  requests = 0;

  /** See {@link identityOf}; in the order of `paths`. */
  identitiesOf(paths: readonly string[]): Promise<Identities> {
    if (!this.#hasThread) return lookEach(paths);
    return new Promise((resolve, reject) => {
      if (this.#asked.length === 0) setImmediate(() => this.#look());
      this.#asked.push({ paths, resolve, reject });
    });
  }

  async close(): Promise<void> {
    this.#hasThread = false;
    await this.#thread?.terminate();
  }

  #look(): void {
    const asked = this.#asked;
    this.#asked = [];
    const [only] = asked;
    const paths = only && asked.length === 1 ? only.paths : asked.flatMap((one) => one.paths);
    // A thread that is there does it for less than the thread pool, however few they are.
    const isEnough = this.#thread !== null || paths.length >= togetherMin;
    if (!this.#hasThread || !isEnough) return answerEach(asked);
    const thread = (this.#thread ??= this.#start());
    this.requests += 1;
    this.#underWay.set(this.requests, asked);
    thread.postMessage({ id: this.requests, paths: joined(paths) } satisfies LookRequest);
  }

  #start(): Worker {
    const thread = new Worker(workerFile);
    thread.on('message', ({ id, identities }: LookReply) => {
      const asked = this.#underWay.get(id) ?? [];
      this.#underWay.delete(id);
      const found = identities.split('\0').map((identity) => (identity === '' ? null : identity));
      let place = 0;
      for (const { paths, resolve } of asked) resolve(found.slice(place, (place += paths.length)));
    });
    // It has no memory left, or has ended: without it things are slower.
    const giveUp = (): void => {
      this.#hasThread = false;
      for (const asked of this.#underWay.values()) answerEach(asked);
      this.#underWay.clear();
    };
    thread.on('error', giveUp);
    thread.on('exit', giveUp);
    thread.unref();
    return thread;
  }
}

function answerEach(asked: readonly Asked[]): void {
  for (const { paths, resolve, reject } of asked) lookEach(paths).then(resolve, reject);
}

function lookEach(paths: readonly string[]): Promise<Identities> {
  return Promise.all(paths.map(identityOf));
}
