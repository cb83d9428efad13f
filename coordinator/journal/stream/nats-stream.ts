/** The journal's stream on NATS JetStream: one message after the other, each stored only where the last one is as expected. */
import { Readable } from 'node:stream';
import {
  DiscardPolicy,
  jetstream,
  JetStreamApiCodes,
  JetStreamApiError,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type JetStreamClient,
  type JetStreamManager,
  type StreamConfig,
} from '@nats-io/jetstream';
import { Objm, type ObjectStore } from '@nats-io/obj';
import { errors, type NatsConnection } from '@nats-io/transport-node';
import { openNats, type NatsSettings } from '../../../common/config/nats-settings.ts';
import { BatchError } from '../../../common/core/batch-error.ts';
import { limits } from '../../../common/core/limits.ts';
import { reasonOf } from '../../../common/io/errno.ts';
import type { Clock } from '../../../common/io/clock.ts';
import type { Delay } from '../../../common/io/delay.ts';
import type {
  JournalStream,
  Published,
  StreamEnds,
  StreamMessage,
  StreamSnapshot,
} from '../../../common/ports/journal-stream.ts';
import type { PeerBus } from '../../../common/ports/peer-bus.ts';
import { connectNats, syncProblems, whatToAllow } from './nats-access.ts';
import { NatsElection } from './nats-election.ts';
import { natsPeers } from './nats-peers.ts';

export interface NatsStreamOptions {
  /** `host:port` of the servers; any that answers will do. */
  readonly servers: readonly string[];
  /** Of the cluster: letters, digits, `-` and `_`. Stream and subject are named by it. */
  readonly name: string;
  /** Servers that keep each message. */
  readonly replicas: number;
  /** Default: nobody in particular, and nothing is looked up. */
  readonly nats?: NatsSettings;
  /** Nothing is made: a stream that is not there is refused. */
  readonly isToBeThere?: boolean;
  /** Something is not as it should be, and it is taken all the same. */
  readonly onDoubt?: (what: string) => void;
  /** The servers let this program's user not do something; each is told once. */
  readonly onForbidden?: (what: string) => void;
}

/** Of `Nats-Expected-Last-Sequence`: there are two, the newer one where the server knows the last sequence. */
const wrongLast: ReadonlySet<number> = new Set([
  JetStreamApiCodes.StreamWrongLastSequence,
  JetStreamApiCodes.StreamWrongLastSequenceUnknown,
]);

/** Consumers that heal by themselves, message TTLs and markers came with it. */
const serverVersionOldest = [2, 11] as const;

export class NatsStream implements JournalStream {
  readonly #connection: NatsConnection;
  readonly #client: JetStreamClient;
  readonly #manager: JetStreamManager;
  readonly #name: string;
  readonly #stream: string;
  readonly #subject: string;
  readonly #bucket: ObjectStore;
  readonly #onForbidden: (what: string) => void;
  /** What is told in between would only fill memory. */
  #isConnected = true;

  private constructor(
    connection: NatsConnection,
    manager: JetStreamManager,
    names: StreamNames,
    bucket: ObjectStore,
    { onForbidden = () => undefined }: Pick<NatsStreamOptions, 'onForbidden'>,
  ) {
    this.#connection = connection;
    this.#bucket = bucket;
    this.#client = jetstream(connection, { timeout: limits.journalStreamTryMs });
    this.#manager = manager;
    this.#name = names.name;
    this.#stream = names.stream;
    this.#subject = names.subject;
    this.#onForbidden = onForbidden;
    void this.#watch();
  }

  async #watch(): Promise<void> {
    const told = new Set<string>();
    for await (const status of this.#connection.status()) {
      if (status.type === 'disconnect') this.#isConnected = false;
      if (status.type === 'reconnect') this.#isConnected = true;
      if (status.type !== 'error' || !(status.error instanceof errors.PermissionViolationError)) continue;
      const what = whatToAllow(status.error);
      // Events come by the thousand.
      if (!told.has(what)) this.#onForbidden(what);
      told.add(what);
    }
  }

  /** Connects, and makes the stream unless it is there. @throws JOURNAL_STREAM_UNREACHABLE, JOURNAL_STREAM_UNFIT */
  static async open(options: NatsStreamOptions): Promise<NatsStream> {
    const { nats = openNats, onDoubt = () => undefined } = options;
    const connection = await reached(options.servers, () => connectNats(options.servers, nats));
    // Refused, unless the operator insists.
    const doubt = (what: string): void => {
      if (nats.isLossyAccepted) onDoubt(what);
      else throw new BatchError('JOURNAL_STREAM_UNFIT', `${what}. --accept-lossy-journal takes it all the same`);
    };
    try {
      const tooOld = tooOldVersion(connection);
      if (tooOld !== null) doubt(tooOld);
      const lax = await syncProblems(nats.monitoring);
      if (lax !== null && lax.length > 0) doubt(lax.join('; '));
      if (lax === null) onDoubt(syncUnknown);
      const manager = await reached(options.servers, () =>
        jetstreamManager(connection, { timeout: limits.journalStreamTryMs }),
      );
      const names = {
        name: options.name,
        stream: `BATCHMILL_${options.name}_JOURNAL`,
        subject: `batchmill.${options.name}.journal`,
      };
      const config = await reached(options.servers, () => streamOf(manager, names, options));
      const unfit = unfitness(config, names.stream);
      if (unfit !== null) doubt(unfit);
      const kept = { storage: StorageType.File, replicas: config.num_replicas };
      const bucket = await reached(options.servers, () =>
        new Objm(connection).create(`BATCHMILL_${options.name}_SNAPSHOTS`, kept),
      );
      return new NatsStream(connection, manager, names, bucket, options);
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  async ends(): Promise<StreamEnds> {
    const { state } = await this.#reached(() => this.#manager.streams.info(this.#stream));
    return { first: state.first_seq === 0 ? state.last_seq + 1 : state.first_seq, last: state.last_seq };
  }

  async publish(bytes: Uint8Array, after: number): Promise<Published> {
    try {
      const expect = { streamName: this.#stream, lastSequence: after };
      const { seq } = await this.#client.publish(this.#subject, bytes, { expect });
      return { kind: 'stored', place: seq };
    } catch (error) {
      if (error instanceof JetStreamApiError && wrongLast.has(error.code)) return { kind: 'refused' };
      return { kind: 'unknown', reason: reasonOf(error) };
    }
  }

  async get(place: number): Promise<Uint8Array | null> {
    const stored = await this.#reached(() => this.#manager.streams.getMessage(this.#stream, { seq: place }));
    return stored?.data ?? null;
  }

  async *follow(place: number, signal: AbortSignal): AsyncGenerator<StreamMessage, void, void> {
    const consumer = await this.#reached(() => this.#client.consumers.get(this.#stream, { opt_start_seq: place }));
    const messages = await this.#reached(() => consumer.consume());
    const stop = (): void => messages.stop();
    signal.addEventListener('abort', stop, { once: true });
    // It may have been given while the server was asked.
    if (signal.aborted) stop();
    try {
      for await (const { seq, data } of messages) yield { place: seq, bytes: data };
    } finally {
      signal.removeEventListener('abort', stop);
      messages.stop();
      // Otherwise the server keeps it for minutes.
      await consumer.delete().catch(() => undefined);
    }
  }

  async trim(place: number): Promise<void> {
    await this.#reached(() => this.#manager.streams.purge(this.#stream, { seq: place }));
  }

  async snapshots(): Promise<readonly StreamSnapshot[]> {
    const objects = await this.#reached(() => this.#bucket.list());
    const found = objects.flatMap(({ metadata }) => snapshotFrom(metadata));
    return found.sort((a, b) => b.sequence - a.sequence);
  }

  async putSnapshot(snapshot: StreamSnapshot, file: AsyncIterable<Uint8Array>): Promise<void> {
    const { sequence, epoch, chain, place } = snapshot;
    const metadata = { sequence: `${sequence}`, epoch: `${epoch}`, chain: `${chain}`, place: `${place}` };
    const name = nameOf(snapshot);
    await this.#reached(() => this.#bucket.put({ name, metadata }, Readable.toWeb(Readable.from(file))));
    for await (const _piece of this.readSnapshot(snapshot));
  }

  async *readSnapshot(snapshot: StreamSnapshot): AsyncGenerator<Uint8Array, void, void> {
    const name = nameOf(snapshot);
    const found = await this.#reached(() => this.#bucket.get(name));
    if (found === null) throw lostSnapshot(name, 'it is gone');
    yield* found.data as AsyncIterable<Uint8Array>;
    const error = await found.error;
    if (error) throw lostSnapshot(name, reasonOf(error));
  }

  async removeSnapshot(snapshot: StreamSnapshot): Promise<void> {
    await this.#reached(() => this.#bucket.delete(nameOf(snapshot)));
  }

  /** `self`: who tries. @throws JOURNAL_STREAM_UNREACHABLE */
  async election(self: string, delay: Delay, clock: Pick<Clock, 'monotonic'>): Promise<NatsElection> {
    const { config } = await this.#reached(() => this.#manager.streams.info(this.#stream));
    const cluster = { connection: this.#connection, name: this.#name, replicas: config.num_replicas };
    return await this.#reached(() => NatsElection.open({ ...cluster, self, delay, clock }));
  }

  /** To whoever listens to `batchmill.NAME.` and `subject`; nobody, while there is no connection. */
  tell(subject: string, text: string): void {
    if (this.#isConnected && !this.#connection.isClosed()) {
      this.#connection.publish(`batchmill.${this.#name}.${subject}`, text);
    }
  }

  peers(): PeerBus {
    return natsPeers(this.#connection, this.#name);
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  #reached<T>(ask: () => Promise<T>): Promise<T> {
    return reached([this.#connection.getServer()], ask);
  }
}

function nameOf({ sequence }: StreamSnapshot): string {
  return `snapshot-${String(sequence).padStart(15, '0')}`;
}

function snapshotFrom(metadata: Readonly<Record<string, string>> | undefined): readonly StreamSnapshot[] {
  if (metadata?.['place'] === undefined) return [];
  const number = (key: string): number => Number(metadata[key]);
  return [{ sequence: number('sequence'), epoch: number('epoch'), chain: number('chain'), place: number('place') }];
}

function lostSnapshot(name: string, why: string): BatchError {
  return new BatchError('JOURNAL_STREAM_LOST', `${name} beside the journal’s stream cannot be read: ${why}`);
}

const syncUnknown =
  'whether the NATS servers sync before they acknowledge (sync_interval: always) could not be checked: ' +
  'BATCHMILL_NATS_MONITORING=http://HOST:8222[,…] says where it can be';

interface StreamNames {
  /** Of the cluster. */
  readonly name: string;
  readonly stream: string;
  readonly subject: string;
}

async function streamOf(
  manager: JetStreamManager,
  names: StreamNames,
  options: NatsStreamOptions,
): Promise<StreamConfig> {
  const wanted = {
    ...{ name: names.stream, subjects: [names.subject], storage: StorageType.File, num_replicas: options.replicas },
    // Nothing goes by itself: a full stream refuses what is new.
    ...{ retention: RetentionPolicy.Limits, discard: DiscardPolicy.New, max_age: 0, max_msgs: -1, max_bytes: -1 },
    ...{ deny_delete: true, allow_direct: false, duplicate_window: 0 },
  };
  try {
    return (await manager.streams.info(names.stream)).config;
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || error.code !== JetStreamApiCodes.StreamNotFound) throw error;
  }
  if (options.isToBeThere) {
    throw new BatchError('JOURNAL_STREAM_UNFIT', `there is no stream ${names.stream} on ${options.servers.join(', ')}`);
  }
  return (await manager.streams.add(wanted)).config;
}

/** Null when it is not. */
function tooOldVersion(connection: NatsConnection): string | null {
  const version = connection.info?.version ?? '0';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [oldestMajor, oldestMinor] = serverVersionOldest;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return null;
  const wanted = serverVersionOldest.join('.');
  return `the NATS server ${connection.getServer()} is of version ${version}; the journal needs ${wanted} or later`;
}

/** Of a stream that somebody else has made, or changed; null: it is as it must be. */
function unfitness(config: StreamConfig, name: string): string | null {
  const wrong = [
    config.storage === StorageType.File ? [] : ['its storage is memory'],
    config.retention === RetentionPolicy.Limits ? [] : [`its retention is ${config.retention}`],
    config.discard === DiscardPolicy.New ? [] : ['it discards old messages when it is full'],
    config.max_age === 0 ? [] : ['its messages expire'],
    config.max_msgs_per_subject > 0 ? ['it keeps a number of messages of each subject'] : [],
    config.allow_direct ? ['it allows direct reads, which may be of an older state'] : [],
  ].flat();
  if (wrong.length === 0) return null;
  return `the stream ${name} cannot hold the journal: ${wrong.join(', ')}; change it, or remove it when it is not ours`;
}

/** @throws JOURNAL_STREAM_UNREACHABLE, JOURNAL_STREAM_UNFIT */
async function reached<T>(servers: readonly string[], ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof BatchError) throw error;
    const isRefusal = error instanceof JetStreamApiError;
    const what = isRefusal ? 'refused' : 'did not answer';
    const message = `NATS at ${servers.join(', ')} ${what}: ${reasonOf(error)}`;
    throw new BatchError(isRefusal ? 'JOURNAL_STREAM_UNFIT' : 'JOURNAL_STREAM_UNREACHABLE', message, { cause: error });
  }
}
