/** Looks at one job again and again while it goes on, and holds what it sees against what is promised. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { isFinal } from '../../common/core/states.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import type { ChaosCluster } from './chaos-cluster.ts';

export interface JobWatchOptions {
  readonly cluster: ChaosCluster;
  readonly name: string;
  readonly outputDir: string;
  readonly outputFile: string;
  readonly defects: string[];
  /** Breaks off every wait. */
  readonly signal: AbortSignal;
}

export const lookMs = 150;
/** An answer of a coordinator that may be frozen or away. */
const answerMs = 2_000;
/** Until somebody does what was asked. */
const askMs = 120_000;
/** No mini-batch committed for this long is a job that is stuck: no fault lasts a tenth of it. */
const stillMs = 120_000;

export class JobWatch {
  readonly #options: JobWatchOptions;
  #committedMax = 0;
  #bytesMax = 0;
  #generation = 1;
  /** Mini-batches that were committed when it went on last. */
  #committedBefore = 0;
  /** Digests of an output that is complete and must stay while it goes on. */
  #kept: string | null = null;

  constructor(options: JobWatchOptions) {
    this.#options = options;
  }

  /** The job once `holds` is true of it. @throws when it is stuck, forgotten, or broken off */
  async until(holds: (view: JobView) => boolean): Promise<JobView> {
    const { cluster, name, signal } = this.#options;
    let last: JobView | null = null;
    let movedAt = systemClock.monotonic();
    for (;;) {
      cluster.weigh();
      const folder = this.#folder();
      const view = await this.#show();
      if (view) {
        if (view.mini_batches.committed > this.#committedMax || view.status !== last?.status) {
          movedAt = systemClock.monotonic();
        }
        this.#check(view, folder);
        last = view;
        if (holds(view)) return view;
      }
      signal.throwIfAborted();
      if (systemClock.monotonic() - movedAt > stillMs) {
        throw new Error(`${name} is stuck for ${stillMs} ms: ${JSON.stringify(last, null, 1)}`);
      }
      await delay(lookMs, signal);
    }
  }

  /** The job when it has ended. */
  async ended(): Promise<JobView> {
    return await this.until((view) => isFinal(view.status));
  }

  /** The job when it has ended, or so large a share of what it has still to score is committed. */
  async reaches(share: number): Promise<JobView> {
    const isThere = ({ files, mini_batches: { committed, total } }: JobView): boolean =>
      files.is_listed && committed - this.#committedBefore >= share * (total - this.#committedBefore);
    return await this.until((view) => isFinal(view.status) || isThere(view));
  }

  /** Asks until somebody answers, or until it is as if somebody had: an answer that never came says nothing. */
  async ask(what: string, request: () => Promise<JobView>, isDone: (view: JobView) => boolean): Promise<void> {
    const deadline = systemClock.monotonic() + askMs;
    for (;;) {
      const refusal = await request().then(
        () => null,
        (error: unknown) => error,
      );
      const view = refusal === null ? null : await this.#show();
      if (refusal === null || (view && isDone(view))) return;
      this.#options.signal.throwIfAborted();
      if (systemClock.monotonic() > deadline) throw new Error(`${what}: ${String(refusal)}`);
      await delay(lookMs, this.#options.signal);
    }
  }

  /** A job that had ended goes on: what was committed of the files that it scores again counts no more. */
  async goesOn(what: string, request: () => Promise<JobView>, before: JobView): Promise<void> {
    if (before.status === 'Completed') this.#kept = this.#folder();
    this.#committedMax = 0;
    const isDone = (view: JobView): boolean => view.status !== before.status || view.generation > before.generation;
    await this.ask(what, request, isDone);
    const { mini_batches } = await this.until(() => true);
    this.#committedBefore = mini_batches.committed;
  }

  #check(view: JobView, folder: string): void {
    const { defects } = this.#options;
    const { status, generation, output_bytes: bytes } = view;
    const { committed } = view.mini_batches;
    const isEnding = status === 'Finalizing' || status === 'Completed';
    if (!isEnding && this.#kept === null && folder.startsWith('complete'))
      defects.push(`_SUCCESS while it is ${status}`);
    if (!isEnding && this.#kept !== null && folder !== this.#kept) {
      defects.push(`the complete output was ${this.#kept} and is ${folder} while the job is ${status}`);
    }
    if (committed < this.#committedMax) {
      defects.push(`${this.#committedMax} mini-batches were committed, now ${committed}`);
    }
    this.#committedMax = Math.max(committed, this.#committedMax);
    if (generation !== this.#generation) this.#bytesMax = 0;
    if (bytes < this.#bytesMax) defects.push(`${this.#bytesMax} bytes of the output were final, now ${bytes}`);
    this.#bytesMax = Math.max(bytes, this.#bytesMax);
    this.#generation = generation;
    if (status === 'Failed') defects.push(`it failed: ${JSON.stringify(view.error)}`);
  }

  /** What a reader finds: whether it calls itself complete, and digests of what makes it so. */
  #folder(): string {
    const { outputDir, outputFile } = this.#options;
    if (!existsSync(join(outputDir, '_SUCCESS'))) return 'incomplete';
    return `complete: ${['_manifest.json', outputFile].map((file) => digestOf(join(outputDir, file))).join(' ')}`;
  }

  /** Null when nobody answers for now. */
  async #show(): Promise<JobView | null> {
    const { cluster, name } = this.#options;
    const asked = cluster.processes.client.show(name).catch((error: unknown) => {
      if (error instanceof BatchError && error.code === 'JOB_NOT_FOUND') return 'gone' as const;
      return null;
    });
    const over = new AbortController();
    const view = await Promise.race([asked, delay(answerMs, over.signal).then(() => null)]);
    over.abort();
    if (view === 'gone') throw new Error(`the coordinator accepted ${name} and does not know it any more`);
    return view;
  }
}

function digestOf(path: string): string {
  return existsSync(path) ? createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16) : 'missing';
}
