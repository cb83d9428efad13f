/** A journal's stream in memory that loses answers, stands still, and may forget what it had acknowledged. */
import type {
  JournalStream,
  Published,
  StreamEnds,
  StreamMessage,
  StreamSnapshot,
} from '../../common/ports/journal-stream.ts';

export interface MemoryMessages {
  /** Of the first of `messages`. */
  first: number;
  messages: Uint8Array[];
  readonly snapshots: Map<number, { readonly at: StreamSnapshot; readonly file: Buffer }>;
}

export function noMessages(): MemoryMessages {
  return { first: 1, messages: [], snapshots: new Map() };
}

export class MemoryStream implements JournalStream {
  readonly #content: MemoryMessages;
  /** Asked before each message is stored: `lost`: stored, and nobody hears; `away`: neither. */
  fault: () => 'none' | 'lost' | 'away' = () => 'none';

  constructor(content: MemoryMessages = noMessages()) {
    this.#content = content;
  }

  get #last(): number {
    return this.#content.first + this.#content.messages.length - 1;
  }

  ends(): Promise<StreamEnds> {
    return Promise.resolve({ first: this.#content.first, last: this.#last });
  }

  async publish(bytes: Uint8Array, after: number): Promise<Published> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    const fault = this.fault();
    if (fault === 'away') return { kind: 'unknown', reason: 'no answer' };
    if (after !== this.#last) return { kind: 'refused' };
    this.#content.messages.push(Uint8Array.from(bytes));
    return fault === 'lost' ? { kind: 'unknown', reason: 'no answer' } : { kind: 'stored', place: this.#last };
  }

  get(place: number): Promise<Uint8Array | null> {
    return Promise.resolve(this.#content.messages[place - this.#content.first] ?? null);
  }

  async *follow(place: number, signal: AbortSignal): AsyncGenerator<StreamMessage, void, void> {
    for (let at = Math.max(place, this.#content.first); !signal.aborted;) {
      const bytes = await this.get(at);
      if (bytes !== null) yield { place: at++, bytes };
      else await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  trim(place: number): Promise<void> {
    this.#content.messages.splice(0, place - this.#content.first);
    this.#content.first = place;
    return Promise.resolve();
  }

  snapshots(): Promise<readonly StreamSnapshot[]> {
    const all = [...this.#content.snapshots.values()].map(({ at }) => at);
    return Promise.resolve(all.sort((a, b) => b.sequence - a.sequence));
  }

  async putSnapshot(at: StreamSnapshot, file: AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array[] = [];
    for await (const piece of file) pieces.push(piece);
    this.#content.snapshots.set(at.sequence, { at, file: Buffer.concat(pieces) });
  }

  async *readSnapshot({ sequence }: StreamSnapshot): AsyncGenerator<Uint8Array, void, void> {
    yield await Promise.resolve(this.#content.snapshots.get(sequence)?.file ?? Buffer.of());
  }

  removeSnapshot({ sequence }: StreamSnapshot): Promise<void> {
    this.#content.snapshots.delete(sequence);
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
