/**
 * The servers of a journal's stream in virtual time: a log that the leader of three servers appends to, and a lease on the cluster.
 * What holds:
 * - A message is stored where the log ends as its sender expects, and by nobody else's order. A request may be late by seconds, or come when
 *   its sender has given it up; an answer may be lost with the way back, or with the server that was about to give it.
 * - Servers that sync before they answer lose nothing. Lax ones may lose what they took within the time between two syncs.
 * - A server that was deposed and does not know it yet answers from what it had, and stores nothing.
 */
import { MessageReader } from '../../coordinator/journal/stream/stream-message.ts';
import {
  decodeFrameHeader,
  frameHeaderBytes,
  isNextFrame,
  type ChainState,
} from '../../coordinator/journal/frame-format.ts';
import type { Published, StreamEnds, StreamSnapshot } from '../../common/ports/journal-stream.ts';
import { limits } from '../../common/core/limits.ts';
import type { Random, World } from './world.ts';

export type StreamDirection = 'to-servers' | 'to-coordinator';

interface Stored {
  readonly bytes: Uint8Array;
  readonly at: number;
  /** Its last whole record, or that of those before it. */
  readonly head: ChainState;
}

export interface StreamServersOptions {
  readonly world: World;
  readonly random: Random;
  /** What must not be. */
  readonly fault: (text: string) => void;
}

/** A process that appends. */
export interface StreamWriterProcess {
  /** Which coordinator. */
  readonly who: number;
  /** Another one has appended, so that this one cannot any more. */
  readonly onFenced: () => void;
}

const beginning: ChainState = { sequence: 0, epoch: 0, chain: 0 };

export class StreamServers {
  /** What has happened, by kind. */
  readonly counts = new Map<string, number>();
  readonly snapshots = new Map<number, { readonly at: StreamSnapshot; readonly file: Buffer }>();
  /** Messages that were acknowledged and are lost. */
  lost = 0;
  readonly #options: StreamServersOptions;
  #first = 1;
  #messages: Stored[] = [];
  /** Epoch of each record, from the first of all. */
  #epochs: number[] = [];
  #head = beginning;
  /** Of the messages that were removed. */
  #trimmed = beginning;
  #reader = new MessageReader();
  #writer: StreamWriterProcess | null = null;
  #downUntil = 0;
  #deposed = { until: 0, last: 0, clients: new Set<number>() };
  readonly #blocked = new Map<number, Record<StreamDirection, number>>();
  /** Those who wait for what comes. */
  readonly #waiting = new Set<() => void>();
  /** `turn`: how often it has had another holder. */
  #lease = { turn: 0, until: 0 };

  constructor(options: StreamServersOptions) {
    this.#options = options;
  }

  get #last(): number {
    return this.#first + this.#messages.length - 1;
  }

  /** Whether the stream has the record as it was written in that epoch. */
  holds(sequence: number, epoch: number): boolean {
    return sequence === 0 || this.#epochs[sequence - 1] === epoch;
  }

  /** Whether the client was answered from an older state since then. */
  wasStale(who: number, sinceMs: number): boolean {
    return this.#deposed.clients.has(who) && this.#deposed.until >= sinceMs;
  }

  isReachable(who: number): boolean {
    const { now } = this.#options.world;
    const blocked = this.#blocked.get(who);
    const isFree = !blocked || Math.max(blocked['to-servers'], blocked['to-coordinator']) <= now;
    return isFree && this.#downUntil <= now;
  }

  /** A request is on its way; `serve` does it where it arrives. */
  request(who: number, serve: () => void): void {
    this.#options.world.after(this.#latencyMs(), () => this.#arrive(who, serve));
  }

  #arrive(who: number, serve: () => void): void {
    const { world, random } = this.#options;
    const freeAt = Math.max(this.#downUntil, this.#blocked.get(who)?.['to-servers'] ?? 0);
    if (freeAt <= world.now) return serve();
    if (random.chance(0.5)) return this.#count('request lost');
    this.#count('request late');
    world.at(freeAt + random.between(0, 2_000), () => this.#arrive(who, serve));
  }

  /** An answer is on its way back. */
  answer(who: number, hear: () => void): void {
    this.#options.world.after(this.#latencyMs(), () => {
      const { now } = this.#options.world;
      if (this.#downUntil <= now && (this.#blocked.get(who)?.['to-coordinator'] ?? 0) <= now) hear();
      else this.#count('answer lost');
    });
  }

  ends(who: number): StreamEnds {
    return { first: this.#first, last: this.#isStale(who) ? Math.min(this.#last, this.#deposed.last) : this.#last };
  }

  /** Null: no answer comes of it. */
  publish(by: StreamWriterProcess, bytes: Uint8Array, after: number): Published | null {
    if (this.#isStale(by.who)) {
      this.#count('asked of a deposed server');
      return after === this.#deposed.last ? null : { kind: 'refused' };
    }
    if (after !== this.#last) {
      this.#count('refused');
      return { kind: 'refused' };
    }
    this.#store(by, Uint8Array.from(bytes));
    return { kind: 'stored', place: this.#last };
  }

  get(who: number, place: number): Uint8Array | null {
    return place > this.ends(who).last ? null : (this.#messages[place - this.#first]?.bytes ?? null);
  }

  /** Of the oldest message from `place` on, and those behind it. */
  from(place: number, countMax: number): readonly { readonly place: number; readonly bytes: Uint8Array }[] {
    const begin = Math.max(place, this.#first);
    const found = this.#messages.slice(begin - this.#first, begin - this.#first + countMax);
    return found.map(({ bytes }, index) => ({ place: begin + index, bytes }));
  }

  /** Called at every change until it is taken back. */
  watch(what: () => void): () => void {
    this.#waiting.add(what);
    return () => void this.#waiting.delete(what);
  }

  trim(place: number): void {
    const gone = Math.min(place - this.#first, this.#messages.length);
    if (gone <= 0) return;
    this.#count('trimmed');
    this.#trimmed = this.#messages[gone - 1]?.head ?? this.#trimmed;
    this.#messages.splice(0, gone);
    this.#first += gone;
    // Whatever a snapshot is needed for is in one that is there.
    const covered = [...this.snapshots.values()].some(({ at }) => at.place >= this.#first);
    if (!covered) this.#options.fault(`messages below ${this.#first} are gone, and no snapshot covers them`);
  }

  /** Takes the lease when nobody has it; its turn, or 0. */
  lead(): number {
    const { now } = this.#options.world;
    if (this.#lease.until > now) return 0;
    this.#lease = { turn: this.#lease.turn + 1, until: now + limits.leaderLeaseMs };
    return this.#lease.turn;
  }

  /** False when somebody has taken it since, be it that he has it no longer. */
  renew(turn: number): boolean {
    if (turn === this.#lease.turn) this.#lease.until = this.#options.world.now + limits.leaderLeaseMs;
    return turn === this.#lease.turn;
  }

  resign(turn: number): void {
    if (turn === this.#lease.turn) this.#lease.until = 0;
  }

  /** Faults. */

  block(who: number, direction: 'both' | StreamDirection, ms: number): void {
    const { world } = this.#options;
    world.say(`coordinator ${who} and the stream are cut off from each other for ${ms} ms, ${direction}`);
    const until = this.#blocked.get(who) ?? { 'to-servers': 0, 'to-coordinator': 0 };
    for (const one of direction === 'both' ? (['to-servers', 'to-coordinator'] as const) : [direction])
      until[one] = Math.max(until[one], world.now + ms);
    this.#blocked.set(who, until);
    world.after(ms, () => this.#tell());
  }

  stop(ms: number): void {
    const { world } = this.#options;
    world.say(`the stream stands still for ${ms} ms`);
    this.#downUntil = Math.max(this.#downUntil, world.now + ms);
    world.after(ms, () => this.#tell());
  }

  /** Another server leads from now on; the old one goes on answering these clients as if nothing had happened. */
  depose(clients: readonly number[], staleMs: number): void {
    const { world, random } = this.#options;
    this.#deposed = { until: world.now + staleMs, last: this.#last, clients: new Set(clients) };
    this.stop(random.between(0, 3_000));
  }

  /** Returns how many messages went: none of those that were synced. */
  loseTail(syncEveryMs: number, countMax: number): number {
    const { world } = this.#options;
    const synced = this.#messages.findLastIndex(({ at }) => at <= world.now - syncEveryMs);
    const lost = Math.min(countMax, this.#messages.length - 1 - synced);
    if (lost <= 0) return 0;
    world.say(`the stream loses its last ${lost} messages`);
    this.#messages.splice(this.#messages.length - lost);
    this.#head = this.#messages.at(-1)?.head ?? this.#trimmed;
    this.#epochs.length = this.#head.sequence;
    this.#reader = new MessageReader();
    this.lost += lost;
    return lost;
  }

  #store(by: StreamWriterProcess, bytes: Uint8Array): void {
    const piece = this.#reader.add(bytes);
    let at = 0;
    while (piece.length - at >= frameHeaderBytes) {
      const header = decodeFrameHeader(piece, at);
      const end = at + frameHeaderBytes + header.bytes;
      if (end > piece.length) break;
      if (!isNextFrame(piece, at, header, this.#head)) {
        // Where servers have lost what they took, the place that somebody expects may be that of another message; readers find it.
        if (this.lost > 0) this.#count('chain broken behind what was lost');
        else
          this.#options.fault(`record ${header.sequence} of the stream does not follow record ${this.#head.sequence}`);
        break;
      }
      this.#head = { sequence: header.sequence, epoch: header.epoch, chain: header.crc };
      this.#epochs.push(header.epoch);
      at = end;
    }
    this.#reader.take(at);
    this.#messages.push({ bytes, at: this.#options.world.now, head: this.#head });
    this.#count('stored');
    if (this.#writer !== by) this.#writer?.onFenced();
    this.#writer = by;
    this.#tell();
  }

  #isStale(who: number): boolean {
    return this.#deposed.until > this.#options.world.now && this.#deposed.clients.has(who);
  }

  #tell(): void {
    for (const what of [...this.#waiting]) what();
  }

  #latencyMs(): number {
    const { random } = this.#options;
    return random.chance(0.01) ? random.between(50, 2_000) : random.between(0, 4);
  }

  #count(what: string): void {
    const named = `stream: ${what}`;
    this.counts.set(named, (this.counts.get(named) ?? 0) + 1);
  }
}
