/** Asks a store again when what went wrong may pass: a few times, longer apart each time, and counted. */
import { BatchError } from '../core/batch-error.ts';
import { limits } from '../core/limits.ts';
import type { Delay } from '../io/delay.ts';
import { reasonOf } from '../io/errno.ts';

export interface RetryOptions {
  readonly delay: Delay;
  /** From 0 to below 1. */
  readonly random: () => number;
}

/** What was asked of stores since the process began. */
export interface StoreCounts {
  /** Listings begun, of whole prefixes. */
  listings: number;
  stats: number;
  /** Requests for bytes. */
  reads: number;
  bytesRead: number;
  /** Requests made again. */
  retries: number;
}

export class Retries {
  readonly counts: StoreCounts = { listings: 0, stats: 0, reads: 0, bytesRead: 0, retries: 0 };
  readonly #options: RetryOptions;

  constructor(options: RetryOptions) {
    this.#options = options;
  }

  /** `work` throws STORE_UNREACHABLE for what may pass. @throws STORE_UNREACHABLE with the number of tries, and the signal’s reason */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      signal.throwIfAborted();
      try {
        return await work();
      } catch (error) {
        await this.wait(error, tries, signal);
      }
    }
  }

  /** The same for a stream: `open` begins behind what `onItem` has been told of. Tries are counted anew whenever something has come. */
  async *stream<T>(
    signal: AbortSignal,
    open: () => AsyncIterable<T>,
    onItem: (item: T) => void,
  ): AsyncGenerator<T, void, void> {
    for (let tries = 1; ; tries += 1) {
      signal.throwIfAborted();
      try {
        for await (const item of open()) {
          onItem(item);
          tries = 1;
          yield item;
        }
        return;
      } catch (error) {
        await this.wait(error, tries, signal);
      }
    }
  }

  /** Returns when it is time to try again; throws `error` when it is not to be tried again. */
  async wait(error: unknown, tries: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!(error instanceof BatchError) || error.code !== 'STORE_UNREACHABLE') throw error;
    if (tries >= limits.storeTriesMax) {
      throw new BatchError('STORE_UNREACHABLE', `${reasonOf(error)}; asked ${tries} times`, { cause: error });
    }
    this.counts.retries += 1;
    const longest = Math.min(limits.storeBackoffMsMax, limits.storeBackoffMs * 2 ** (tries - 1));
    await this.#options.delay(longest * (0.5 + this.#options.random() / 2), signal);
    signal.throwIfAborted();
  }
}
