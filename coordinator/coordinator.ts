/** The coordinator's process: opens the state directory, replays, and serves worker nodes and callers through the engine. */
import { join } from 'node:path';
import { formatAddress, parseAddress, type Address } from '../common/config/address.ts';
import type { JournalLocation } from '../common/config/journal-location.ts';
import { openNats, type NatsSettings } from '../common/config/nats-settings.ts';
import type { CoordinatorSettings } from '../common/config/process-settings.ts';
import { BatchError, toBatchError } from '../common/core/batch-error.ts';
import { localUser } from '../common/core/job-origin.ts';
import { limits } from '../common/core/limits.ts';
import { systemClock, type Clock } from '../common/io/clock.ts';
import { delay } from '../common/io/delay.ts';
import { stderrLog, type Log } from '../common/io/log.ts';
import { packageRelease } from '../common/io/package-files.ts';
import { systemRandom } from '../common/io/random.ts';
import type { Access } from './access/access.ts';
import { Secrets } from './access/secrets.ts';
import type { Metrics } from './api/metrics.ts';
import type { Event } from './core/events.ts';
import type { LastWrite } from './doctor-desk.ts';
import { openEngine, type Engine, type EngineViews } from './engine.ts';
import type { Front, SecurityOptions } from './front.ts';
import { JobDesk, type JobDeskOptions } from './job-desk.ts';
import { JobStory } from './logs/job-story.ts';
import type { NatsStream } from './journal/stream/nats-stream.ts';
import { LogStore } from './logs/log-store.ts';
import { DiskWatch } from './output/disk-watch.ts';
import type { ManifestSigner } from './output/seal.ts';
import { thisMachine, type Outside } from './outside.ts';
import { ArtifactStore } from './registry/artifact-store.ts';
import { locateWith } from './registry/locate.ts';
import { openSigningKey } from './signing-key.ts';
import { startClusterServer } from './service/cluster-server.ts';
import { HandOver } from './standby/hand-over.ts';
import type { Leadership } from './standby/leadership.ts';
import type { StandbyHooks } from './standby/open-leadership.ts';
import { makeStateDir, randomText, readOwnText } from './state-dir.ts';
import { startTimers } from './timers.ts';
import { JobFeeds } from './views/job-feed.ts';
import { ledgerFigures, type LedgerFigures } from './views/ledger-figures.ts';
import { jobEvent, nodeEvent, type OuterEvent } from './views/outer-events.ts';
import { Tallies } from './views/tallies.ts';

export interface CoordinatorOptions {
  /** Absolute. */
  readonly stateDir: string;
  /** For worker nodes: `host:port`, or `unix:` and a path. */
  readonly listen: string;
  /** For people and programs; null: no HTTP. */
  readonly http: Address | null;
  /** Null: grows with the number of worker nodes. */
  readonly heartbeatMs: number | null;
  /** Jobs that ended longer ago are forgotten; null: none is. */
  readonly keepFinishedMs: number | null;
  /** Results that may wait for their turn; by default as `limits` has it. */
  readonly stagingBytesMax?: number;
  /** Of a second copy of the journal; absent: there is none. */
  readonly journal?: JournalLocation | null;
  /** How NATS is spoken with; by default as anybody. */
  readonly nats?: NatsSettings;
  readonly log: Log;
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random: () => number;
  /** Lock and journal of this process alone, absolute; null: they lie in the state directory. */
  readonly localDir?: string | null;
  /** One of several coordinators, which serves when it leads; absent: it is the only one. */
  readonly standby?: StandbyHooks | null;
  /** Signs manifests; without one they are not signed. */
  readonly signer?: ManifestSigner | null;
  /** TLS, tokens and certificates; absent: everybody who reaches the ports may do everything. */
  readonly security?: SecurityOptions | null;
}

export interface Coordinator {
  /** As bound. */
  readonly listen: string;
  readonly http: Address | null;
  /** Of this start; without security the one of this state directory. */
  readonly joinToken: string;
  /** Null: without security. */
  readonly access: Access | null;
  readonly jobs: JobDesk;
  /** Resolves when nothing of it is left; rejects when it cannot go on. */
  readonly closed: Promise<void>;
  /** Ends in order, with a standby only once that is told to lead; a restart goes on with its jobs. Resolves with `closed`. */
  close(): Promise<void>;
}

/**
 * As the command line starts it. One of several coordinators has its turn to lead when this resolves.
 * @throws what {@link openCoordinator} throws
 */
export async function startCoordinator(
  settings: CoordinatorSettings,
  hooks: StandbyHooks | null = null,
): Promise<
  Omit<Coordinator, 'listen' | 'http' | 'access'> & {
    readonly listen: Address;
    readonly http: Address;
    readonly access: OperatorAccess | null;
  }
> {
  const coordinator = await openCoordinator({
    ...settings,
    listen: formatAddress(settings.listen),
    log: stderrLog('info'),
    clock: systemClock,
    random: systemRandom,
    signer: await openSigningKey(settings.stateDir),
    standby: settings.isStandby ? hooks : null,
    security: settings.isInsecure ? null : { joinTokenMs: settings.joinTokenMs },
  });
  return {
    ...coordinator,
    listen: parseAddress(coordinator.listen, 'the address for worker nodes'),
    http: coordinator.http ?? settings.http,
    access: coordinator.access && operatorAccess(coordinator.access),
  };
}

/** What the one who starts it is given. */
export interface OperatorAccess {
  /** Certificate of the cluster's authority, PEM. */
  readonly authority: string;
  readonly fingerprint: string;
  makeAdminToken(user: string): Promise<string>;
}

function operatorAccess(access: Access): OperatorAccess {
  const { cert: authority, fingerprint } = access.authority;
  const wanted = { role: 'admin', ttlMs: limits.tokenMsMax, uses: null } as const;
  return {
    authority,
    fingerprint,
    makeAdminToken: async (user) => (await access.makeToken({ ...wanted, user, createdBy: localUser })).secret,
  };
}

/**
 * @throws LISTEN_FAILED, STATE_LOCKED, STATE_UNWRITABLE, JOURNAL_CORRUPT, JOURNAL_VERSION, and with a stream JOURNAL_STREAM_LOST,
 * JOURNAL_STREAM_UNREACHABLE, JOURNAL_STREAM_UNFIT; as one of several STANDBY_STORAGE, NOT_LEADING
 */
export async function openCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { stateDir, log, clock, random } = options;
  const release = packageRelease();
  // With certificates nobody joins with the token of the state directory.
  await makeStateDir(stateDir);
  if (options.localDir) await makeStateDir(options.localDir);
  const joinToken = options.security ? randomText() : await readOwnText(stateDir, join(stateDir, 'join-token'));
  const ending = new Ending(log);
  const onFatal = (error: unknown): void => ending.fail(error);
  const secrets = Secrets.at(stateDir);
  const artifacts = ArtifactStore.at(join(stateDir, 'artifacts'));
  const locate = locateWith({ registry: () => engine.loop.ledger.registry, artifacts, stateDir, cwd: process.cwd() });
  const wall = (): number => clock.wall();
  const logs: LogStore = new LogStore({ outputDirOf: (job): string | null => work.logOwner(job), log });
  // Only what serves people and programs, or certificates: a `run` has none of it, and does not load it.
  const { http, security } = options;
  const MetricsOf = http ? (await import('./api/metrics.ts')).Metrics : null;
  const FrontOf = http || security ? (await import('./front.ts')).Front : null;
  const stream = options.journal ? await openStream(options.journal, options) : null;
  const leadership = await leadershipOf(options, stream);
  const asking = new AbortController();
  const outside = { ...thisMachine(asking.signal), locateInput: locate, ...diskOf(leadership, options) };
  const tellOutside = (event: OuterEvent | null): void => {
    if (event) stream?.tell(event.subject, JSON.stringify(event.body));
  };
  let lastWrite: LastWrite | null = null;
  const engine: Engine<Views> = await openEngine({
    ...{ ...options, joinToken, release, signer: options.signer ?? null, outside, artifacts, secrets, onFatal },
    stream,
    journalDir: options.localDir ?? null,
    untilLeading: leadership && (() => leadership.won()),
    requireLeading: leadership && (() => leadership.requireLease()),
    views: (ledger) => {
      const story = new JobStory({ ledger, store: logs, wall });
      const feeds = new JobFeeds({
        ...{ ledger, wall },
        onTold: (event) => {
          story.tell(event);
          if (stream) tellOutside(jobEvent(event));
        },
      });
      const tallies = new Tallies(ledger);
      const figures = (): LedgerFigures => ledgerFigures(ledger);
      const metrics = MetricsOf && new MetricsOf({ release, tallies, figures });
      const publish = (event: Event): void => {
        story.publish(event);
        feeds.publish(event);
        tallies.publish(event);
        tellOutside(stream && nodeEvent(event, new Date(wall()).toISOString()));
      };
      return { story, logs, feeds, metrics, publish };
    },
    onJournalWritten: (written): void => {
      metrics?.journalWrote(written);
      lastWrite = { atMs: clock.monotonic(), seconds: written.seconds };
    },
  }).catch(async (error: unknown) => {
    await leadership?.resign();
    await stream?.close();
    throw error;
  });
  const { metrics } = engine.views;
  const { loop, work, nodes } = engine;
  const { ledger } = loop;
  const { feeds } = engine.views;
  const jobs = new JobDesk({
    loop,
    feeds,
    artifacts,
    secrets,
    work,
    gpus: nodes.gpus,
    stateDir,
    clock,
    random,
    log,
    outside,
    closeLogs: (dir) => logs.close(dir),
    ...requireSeenBy(leadership),
  });
  const closers: Close[] = [
    async () => stream?.close(),
    async () => leadership?.resign(),
    () => engine.journal.close(),
  ];
  // Each gets its turn, whatever became of those before; the first failure is told.
  const closeAll = async (): Promise<void> => {
    // In this order: a listing that ends because the process does is no failure of its job.
    work.stop();
    asking.abort(new BatchError('COORDINATOR_UNREACHABLE', 'the coordinator ends'));
    const failures: unknown[] = [];
    for (const close of closers.splice(0).reverse()) await close().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  };
  ending.onEnd(closeAll);
  void leadership?.lost().then((reason) => reason && ending.fail(reason), onFatal);
  try {
    // Others may have had the state directory until now.
    await Promise.all([secrets.read(), artifacts.prepare()]);
    closers.push(async () => {
      await work.close();
      await logs.settled();
    });
    await jobs.removeOrphans();
    await Promise.race([engine.begin(), ending.closed]);
    const diskWatch = new DiskWatch({
      fileSystem: outside.fileSystem,
      watched: () => [{ job: null, dir: options.localDir ?? stateDir }, ...work.outputDirs()],
      onRoom: (job, failure) => work.roomChanged(job, failure),
    });
    const timers = startTimers(loop, feeds, diskWatch, clock, onFatal);
    closers.push(() => timers.close());
    if (options.keepFinishedMs !== null) jobs.keepFinishedFor(options.keepFinishedMs);
    const announce = (withinMs: number): void => nodes.announceHandover(withinMs);
    const handOver = new HandOver({ leadership, announce, leave: (reason) => ending.leave(reason), delay, log });
    const shown = { release, metrics, onFatal, handOver: () => handOver.asked(), lastWrite: () => lastWrite };
    const settings = { ...options, security: security ?? null, ...shown };
    const front: Front | null = FrontOf
      ? await FrontOf.make({ ...settings, engine, jobs, artifacts, secrets, locate })
      : null;
    closers.push(async () => front?.settled());
    const access = front?.access ?? null;
    const tls = access && { certificate: access.certificate, gate: access.gate };
    const server = await startClusterServer({
      address: options.listen,
      backend: nodes,
      places: nodes.places,
      tls,
      log,
    });
    closers.push(async () => {
      nodes.close();
      await server.close();
    });
    closers.push(async () => front?.close());
    const opened = (await front?.open(server)) ?? { http: null, joinToken: null };
    log.info('coordinator serves', {
      nodes: server.address,
      http: opened.http && formatAddress(opened.http),
      state: stateDir,
      epoch: ledger.epoch,
      jobs: ledger.jobs.size,
    });
    return {
      listen: server.address,
      http: opened.http,
      joinToken: opened.joinToken ?? joinToken,
      access,
      jobs,
      closed: ending.closed,
      close: async () => {
        await handOver.beforeEnd();
        await ending.end();
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** @throws JOURNAL_STREAM_UNREACHABLE, JOURNAL_STREAM_UNFIT */
async function openStream(
  location: JournalLocation,
  { nats = openNats, log }: Pick<CoordinatorOptions, 'nats' | 'log'>,
): Promise<NatsStream> {
  const { NatsStream } = await import('./journal/stream/nats-stream.ts');
  const onDoubt = (what: string): void => log.warn('the journal on NATS may not be durable', { reason: what });
  const onForbidden = (what: string): void => log.warn('NATS forbids what a coordinator does', { reason: what });
  return await NatsStream.open({ ...location, nats, onDoubt, onForbidden });
}

/** Null for a coordinator that is the only one. @throws JOURNAL_STREAM_UNREACHABLE, STATE_UNWRITABLE */
async function leadershipOf(options: CoordinatorOptions, stream: NatsStream | null): Promise<Leadership | null> {
  const { standby, stateDir, listen, clock, log } = options;
  if (!standby || !stream) return null;
  const { openLeadership } = await import('./standby/open-leadership.ts');
  try {
    return await openLeadership({ ...standby, stream, stateDir, listen, clock, log });
  } catch (error) {
    await stream.close();
    throw error;
  }
}

function diskOf(
  leadership: Leadership | null,
  { localDir, stateDir }: CoordinatorOptions,
): Partial<Pick<Outside, 'fileSystem' | 'isShared' | 'cluster'>> {
  return leadership ? leadership.disk(thisMachine().fileSystem, localDir ?? stateDir) : {};
}

function requireSeenBy(leadership: Leadership | null): Pick<JobDeskOptions, 'requireSeen'> {
  return leadership ? { requireSeen: (places) => leadership.requireSeen(places) } : {};
}

interface Views extends EngineViews {
  /** Null: nobody can ask for them. */
  readonly metrics: Metrics | null;
  readonly feeds: JobFeeds;
}

type Close = () => Promise<void>;

/** One end for everything, whoever asks for it first. */
class Ending {
  readonly closed: Promise<void>;
  readonly #log: Log;
  #resolve: () => void = () => undefined;
  #reject: (error: BatchError) => void = () => undefined;
  #close: Close = () => Promise.resolve();
  #isOver = false;

  constructor(log: Log) {
    this.#log = log;
    this.closed = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever does not wait for the end has seen it in the log.
    this.closed.catch(() => undefined);
  }

  onEnd(close: Close): void {
    this.#close = close;
  }

  async end(): Promise<void> {
    if (this.#isOver) return this.closed;
    this.#isOver = true;
    try {
      await this.#close();
      this.#resolve();
    } catch (error) {
      this.#reject(toBatchError(error));
    }
    return this.closed;
  }

  /** In order, and for a reason that whoever started it hears. */
  leave(reason: BatchError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#log.info('the coordinator ends', { code: reason.code, reason: reason.message });
    this.#close().then(
      () => this.#reject(reason),
      (error: unknown) => this.#reject(toBatchError(error)),
    );
  }

  /** What cannot be gone on with: the process ends and a restart replays. */
  fail(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const fatal = toBatchError(error);
    this.#log.error('the coordinator cannot go on', { code: fatal.code, message: fatal.message });
    if (fatal.code === 'INTERNAL') this.#log.error(fatal.detail);
    this.#close().then(
      () => this.#reject(fatal),
      () => this.#reject(fatal),
    );
  }
}
