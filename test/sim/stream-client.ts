/** The journal's stream as one process of a coordinator reaches it: every call may take its time, or get no answer. */
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type {
  JournalStream,
  Published,
  StreamEnds,
  StreamMessage,
  StreamSnapshot,
} from '../../common/ports/journal-stream.ts';
import type { StreamServers } from './stream-servers.ts';
import type { World } from './world.ts';

export interface StreamClientOptions {
  readonly world: World;
  readonly servers: StreamServers;
  /** Which coordinator. */
  readonly who: number;
  /** In its process. */
  readonly later: (delayMs: number, what: () => void) => void;
  /** Its clock. */
  readonly now: () => number;
  /** Another one has appended behind it. */
  readonly onFenced: () => void;
}

const followedMax = 16;

export class StreamClient implements JournalStream {
  readonly #options: StreamClientOptions;
  #isOver = false;
  /** With the lease; 0: it has had none. */
  #turn = 0;
  /** When the last renewal of the lease that succeeded was asked for. */
  #heldAt = 0;

  constructor(options: StreamClientOptions) {
    this.#options = options;
  }

  /** The process is gone: nothing settles any more. */
  release(): void {
    this.#isOver = true;
  }

  async ends(): Promise<StreamEnds> {
    return await this.#ask((servers, who) => servers.ends(who));
  }

  async publish(bytes: Uint8Array, after: number): Promise<Published> {
    try {
      return await this.#ask((servers) => servers.publish(this.#options, bytes, after));
    } catch {
      return { kind: 'unknown', reason: 'no answer' };
    }
  }

  async get(place: number): Promise<Uint8Array | null> {
    const { found } = await this.#ask((servers, who) => ({ found: servers.get(who, place) }));
    return found;
  }

  async *follow(place: number, signal: AbortSignal): AsyncGenerator<StreamMessage, void, void> {
    let at = place;
    while (!signal.aborted) {
      for (const message of await this.#next(at, signal)) {
        yield message;
        at = message.place + 1;
        if (signal.aborted) return;
      }
    }
  }

  async trim(place: number): Promise<void> {
    await this.#ask((servers) => {
      servers.trim(place);
      return true;
    });
  }

  async snapshots(): Promise<readonly StreamSnapshot[]> {
    return await this.#ask(({ snapshots }) => {
      const all = [...snapshots.values()].map(({ at }) => at);
      return all.sort((a, b) => b.sequence - a.sequence);
    });
  }

  async putSnapshot(at: StreamSnapshot, file: AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array[] = [];
    for await (const piece of file) pieces.push(piece);
    await this.#ask(({ snapshots }) => snapshots.set(at.sequence, { at, file: Buffer.concat(pieces) }));
  }

  async *readSnapshot({ sequence }: StreamSnapshot): AsyncGenerator<Uint8Array, void, void> {
    const { found } = await this.#ask(({ snapshots }) => ({ found: snapshots.get(sequence) }));
    if (!found) throw new BatchError('JOURNAL_STREAM_LOST', `snapshot ${sequence} cannot be read: it is gone`);
    yield found.file;
  }

  async removeSnapshot({ sequence }: StreamSnapshot): Promise<void> {
    await this.#ask(({ snapshots }) => {
      snapshots.delete(sequence);
      return true;
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Resolves when it has the lease, which it renews from then on. `onLost`: another one has taken it since, or may have. */
  async won(onLost: (error: BatchError) => void): Promise<void> {
    for (;;) {
      this.#heldAt = this.#options.now();
      this.#turn = await this.#ask((servers) => servers.lead()).catch(() => 0);
      if (this.#turn > 0) break;
      await this.#sleep(limits.leaderTryMs);
    }
    void this.#renew(onLost);
    void this.#watchSilence(onLost);
  }

  /** @throws NOT_LEADING */
  requireLease(): void {
    if (this.silentMs() > limits.leaderSilentMs) throw new BatchError('NOT_LEADING', 'another one may have the lease');
  }

  /** As an election tells it. */
  silentMs(): number {
    return this.#turn === 0 ? 0 : this.#options.now() - this.#heldAt;
  }

  async #renew(onLost: (error: BatchError) => void): Promise<void> {
    for (;;) {
      await this.#sleep(limits.leaderRenewMs);
      const askedAt = this.#options.now();
      const isHeld = await this.#ask((servers) => servers.renew(this.#turn)).catch(() => null);
      if (isHeld === false) return onLost(new BatchError('JOURNAL_FENCED', 'another one has taken the lease'));
      if (isHeld) this.#heldAt = askedAt;
    }
  }

  /** It cannot know any more whether it leads. */
  async #watchSilence(onLost: (error: BatchError) => void): Promise<void> {
    while (this.silentMs() <= limits.leaderSilentMs)
      await this.#sleep(Math.max(limits.leaderTryMs, limits.leaderSilentMs - this.silentMs()));
    onLost(new BatchError('NOT_LEADING', 'the lease could not be renewed'));
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#options.later(ms, () => {
        if (this.#isOver) return;
        this.#options.world.touch();
        resolve();
      });
    });
  }

  async resign(): Promise<void> {
    await this.#ask((servers) => {
      servers.resign(this.#turn);
      return true;
    }).catch(() => undefined);
  }

  /** Null of `serve`: no answer comes. */
  #ask<T>(serve: (servers: StreamServers, who: number) => T | null): Promise<T> {
    const { servers, who, later, world } = this.#options;
    return new Promise<T>((resolve, reject) => {
      if (this.#isOver) return;
      let isSettled = false;
      const settle = (how: () => void): void => {
        if (isSettled || this.#isOver) return;
        isSettled = true;
        world.touch();
        how();
      };
      later(limits.journalStreamTryMs, () => settle(() => reject(unanswered())));
      servers.request(who, () => {
        const answer = serve(servers, who);
        if (answer !== null) servers.answer(who, () => !this.#isOver && later(0, () => settle(() => resolve(answer))));
      });
    });
  }

  #next(place: number, signal: AbortSignal): Promise<readonly StreamMessage[]> {
    const { servers, who, later, world } = this.#options;
    return new Promise((resolve) => {
      let isOver = false;
      const settle = (messages: readonly StreamMessage[]): void => {
        if (isOver || this.#isOver) return;
        isOver = true;
        forget();
        signal.removeEventListener('abort', stop);
        world.touch();
        resolve(messages);
      };
      const stop = (): void => settle([]);
      const look = (): void => {
        if (isOver || this.#isOver) return forget();
        const messages = servers.isReachable(who) ? servers.from(place, followedMax) : [];
        if (messages.length > 0) servers.answer(who, () => !this.#isOver && later(0, () => settle(messages)));
      };
      const forget = servers.watch(look);
      signal.addEventListener('abort', stop);
      look();
    });
  }
}

function unanswered(): BatchError {
  return new BatchError('JOURNAL_STREAM_UNREACHABLE', 'the stream did not answer');
}
