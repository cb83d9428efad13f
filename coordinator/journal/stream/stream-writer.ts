/**
 * Appends groups to the journal's stream, each exactly once and only behind the one before. That condition is the fence between
 * two coordinators: whoever appended last has all others refused.
 */
import { BatchError, type Failure } from '../../../common/core/batch-error.ts';
import { limits } from '../../../common/core/limits.ts';
import type { Clock } from '../../../common/io/clock.ts';
import type { Delay } from '../../../common/io/delay.ts';
import { fenceMessage, messagesOf } from './stream-message.ts';
import type { JournalStream } from '../../../common/ports/journal-stream.ts';

export interface StreamWriterOptions {
  readonly stream: JournalStream;
  /** Where the stream ends, by what this process has read of it. */
  readonly place: number;
  readonly clock: Clock;
  readonly delay: Delay;
  /** An append does not progress (JOURNAL_STREAM_STALLED), or (null) does again. */
  readonly onStall: (failure: Failure | null) => void;
}

export class StreamWriter {
  readonly #options: StreamWriterOptions;
  #place: number;
  #isStalled = false;

  constructor(options: StreamWriterOptions) {
    this.#options = options;
    this.#place = options.place;
  }

  /** Of the last group that is known to be in the stream. */
  get place(): number {
    return this.#place;
  }

  /**
   * Resolves when the group is in the stream, however long that takes; false when the signal came first, and nobody knows then.
   * One at a time. @throws JOURNAL_FENCED, JOURNAL_STREAM_LOST
   */
  async append(group: Uint8Array, signal: AbortSignal): Promise<boolean> {
    for (const message of messagesOf(group)) {
      if (!(await this.#append(message, signal))) return false;
    }
    return true;
  }

  /** Resolves when nobody who has read the stream before can append to it any more. `id`: of this process alone. @throws as `append` */
  async fence(id: Uint8Array, signal: AbortSignal): Promise<boolean> {
    return await this.#append(fenceMessage(id), signal);
  }

  async #append(bytes: Uint8Array, signal: AbortSignal): Promise<boolean> {
    const { stream } = this.#options;
    const begin = this.#options.clock.monotonic();
    for (;;) {
      const published = await stream.publish(bytes, this.#place);
      if (published.kind === 'stored') return this.#stored(published.place);
      const settled = published.kind === 'unknown' ? published.reason : await this.#settled(bytes, begin);
      if (settled === null) return this.#stored(this.#place + 1);
      if (signal.aborted) return false;
      await this.#wait(begin, settled, signal);
    }
  }

  #stored(place: number): true {
    this.#place = place;
    if (this.#isStalled) this.#options.onStall(null);
    this.#isStalled = false;
    return true;
  }

  /** The stream ends elsewhere. Null when that is because this very message came through before; a reason when nobody can tell yet. */
  async #settled(bytes: Uint8Array, begin: number): Promise<string | null> {
    try {
      await this.#requireOwn(bytes);
      return null;
    } catch (error) {
      if (!(error instanceof BatchError)) throw error;
      // A server that was deposed tells of an earlier end for as long as it does not know it.
      const isEarly = this.#options.clock.monotonic() - begin < limits.journalStreamStallMs;
      if (error.code !== 'JOURNAL_STREAM_UNREACHABLE' && !(error.code === 'JOURNAL_STREAM_LOST' && isEarly))
        throw error;
      return error.message;
    }
  }

  async #requireOwn(bytes: Uint8Array): Promise<void> {
    const { stream } = this.#options;
    const { last } = await stream.ends();
    if (last <= this.#place) {
      throw new BatchError(
        'JOURNAL_STREAM_LOST',
        `the stream ends at message ${last}, and message ${this.#place} was acknowledged: its servers have lost what they had taken`,
      );
    }
    const there = await stream.get(this.#place + 1);
    if (there !== null && Buffer.compare(there, bytes) === 0) return;
    throw new BatchError(
      'JOURNAL_FENCED',
      `message ${this.#place + 1} of the stream is another coordinator's: it leads now, and this one must end`,
    );
  }

  async #wait(begin: number, reason: string, signal: AbortSignal): Promise<void> {
    const { clock, delay, onStall } = this.#options;
    if (!this.#isStalled && clock.monotonic() - begin >= limits.journalStreamStallMs) {
      this.#isStalled = true;
      const seconds = Math.round((clock.monotonic() - begin) / 1_000);
      const message =
        `nothing was acknowledged for ${seconds} s: ${reason}. No more mini-batches are handed out; ` +
        'those under way are scored on, and all goes on by itself when the stream does';
      onStall({ code: 'JOURNAL_STREAM_STALLED', message, detail: '' });
    }
    await delay(limits.journalStreamRetryMs, signal);
  }
}
