/**
 * Who tries to lead: a key that expires unless its holder renews it. It only spares the others the trying; that two who both think they
 * lead do no harm is the stream's doing, which takes the records of one of them alone.
 */
import { JetStreamApiError } from '@nats-io/jetstream';
import { Kvm, type KV, type KvEntry } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/transport-node';
import { limits } from '../../../common/core/limits.ts';
import type { Clock } from '../../../common/io/clock.ts';
import type { Delay } from '../../../common/io/delay.ts';
import type { Election } from '../../../common/ports/election.ts';

export interface ElectionOptions {
  readonly connection: NatsConnection;
  /** Of the cluster. */
  readonly name: string;
  readonly replicas: number;
  /** Who this process is, for people; different for each. */
  readonly self: string;
  readonly delay: Delay;
  readonly clock: Pick<Clock, 'monotonic'>;
}

const key = 'leader';

export class NatsElection implements Election {
  readonly #bucket: KV;
  readonly #self: string;
  readonly #delay: Delay;
  readonly #clock: Pick<Clock, 'monotonic'>;
  /** Of the entry that is ours; null: it is not. */
  #revision: number | null = null;
  /** Of the last entry that was ours: each entry of whoever else leads is one more. */
  #last = 0;
  /** When the last renewal that succeeded was asked for. */
  #heldAt = 0;

  private constructor(bucket: KV, { self, delay, clock }: ElectionOptions) {
    this.#bucket = bucket;
    this.#self = self;
    this.#delay = delay;
    this.#clock = clock;
  }

  static async open(options: ElectionOptions): Promise<NatsElection> {
    const { connection, name, replicas } = options;
    const settings = { ttl: limits.leaderLeaseMs, history: 1, replicas };
    return new NatsElection(await new Kvm(connection).create(`BATCHMILL_${name}_LEADER`, settings), options);
  }

  /** Who leads now; null: nobody, or nobody knows. */
  async leader(): Promise<string | null> {
    return (await this.#entry())?.string() ?? null;
  }

  async #entry(): Promise<KvEntry | null> {
    const entry = await this.#bucket.get(key).catch(() => null);
    return entry?.operation === 'PUT' ? entry : null;
  }

  /** Resolves when this process holds the lease; false when the signal came first. An expired key is no event, so that it is looked for. */
  async won(signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      if (await this.#take()) return true;
      await this.#delay(limits.leaderTryMs, signal);
    }
    return false;
  }

  async held(signal: AbortSignal): Promise<string | null> {
    for (;;) {
      await this.#delay(limits.leaderRenewMs, signal);
      if (signal.aborted) return null;
      const before = this.#last;
      if (await this.#renew()) {
        if (this.#last === before + 1) continue;
        await this.resign();
        return '';
      }
      const leader = await this.#entry();
      if (leader === null) continue;
      const text = leader.string();
      if (text !== this.#self) return text;
      // Stored, though nobody heard of it.
      [this.#revision, this.#last] = [leader.revision, leader.revision];
    }
  }

  silentMs(): number {
    return this.#clock.monotonic() - this.#heldAt;
  }

  /** The next one need not wait until it expires. */
  async resign(): Promise<void> {
    const revision = this.#revision;
    this.#revision = null;
    if (revision !== null) await this.#bucket.delete(key, { previousSeq: revision }).catch(() => undefined);
  }

  /** Also when it has expired and nobody took it: a server that was away for a moment is no reason to step down. */
  async #renew(): Promise<boolean> {
    if (this.#revision === null) return await this.#take();
    const askedAt = this.#clock.monotonic();
    try {
      this.#holds(await this.#bucket.update(key, this.#self, this.#revision), askedAt);
      return true;
    } catch (error) {
      if (error instanceof JetStreamApiError) this.#revision = null;
      return false;
    }
  }

  async #take(): Promise<boolean> {
    const askedAt = this.#clock.monotonic();
    try {
      this.#holds(await this.#bucket.create(key, this.#self), askedAt);
      return true;
    } catch {
      // Somebody has it, or no server answers: either way it is tried again.
      return false;
    }
  }

  #holds(revision: number, askedAt: number): void {
    [this.#revision, this.#last, this.#heldAt] = [revision, revision, askedAt];
  }
}
