/**
 * The coordinator's process: opens the state directory, replays, serves worker nodes and callers, and carries out what
 * the core has decided. The way of a command: service or API → loop → `core/` → journal and effects → here.
 */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatAddress, parseAddress, type Address } from '../common/config/address.ts';
import type { CoordinatorSettings } from '../common/config/process-settings.ts';
import { BatchError, toBatchError } from '../common/core/batch-error.ts';
import type { Token } from '../common/core/token.ts';
import { systemClock, type Clock } from '../common/io/clock.ts';
import { errnoOf, reasonOf } from '../common/io/errno.ts';
import { stderrLog, type Log } from '../common/io/log.ts';
import { makeFolder } from '../common/io/make-folder.ts';
import { nodeFileSystem } from '../common/io/node-file-system.ts';
import { packageRelease } from '../common/io/package-files.ts';
import { systemRandom } from '../common/io/random.ts';
import { startApi } from './api/server.ts';
import type { Effect } from './core/effects.ts';
import { isDurable, type Event } from './core/events.ts';
import { evolve } from './core/evolve.ts';
import { newLedger } from './core/ledger.ts';
import { columnBytes, imageOf, restoreImage } from './core/ledger-image.ts';
import { JobDesk } from './job-desk.ts';
import { decodeImage, encodeImage } from './journal/image-bytes.ts';
import { Journal } from './journal/journal.ts';
import { JobStory } from './logs/job-story.ts';
import { LogStore } from './logs/log-store.ts';
import { Loop } from './loop.ts';
import { NodeDesk } from './node-desk.ts';
import { DiskWatch } from './output/disk-watch.ts';
import type { ManifestSigner } from './output/seal.ts';
import type { SegmentSink } from './output/segment-sink.ts';
import { ArtifactStore } from './registry/artifact-store.ts';
import { ResultStore } from './result-store.ts';
import { openSigningKey } from './signing-key.ts';
import { startClusterServer } from './service/cluster-server.ts';
import { startTimers } from './timers.ts';
import { JobFeeds } from './views/job-feed.ts';

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
  readonly log: Log;
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random: () => number;
  /** Signs manifests; without one they are not signed. */
  readonly signer?: ManifestSigner | null;
}

export interface Coordinator {
  /** As bound. */
  readonly listen: string;
  readonly http: Address | null;
  readonly joinToken: string;
  readonly jobs: JobDesk;
  /** Resolves when nothing of it is left; rejects when it cannot go on. */
  readonly closed: Promise<void>;
  /** Ends in order; a restart goes on with its jobs. Resolves with `closed`. */
  close(): Promise<void>;
}

/** As the command line starts it. @throws LISTEN_FAILED, STATE_LOCKED, STATE_UNWRITABLE, JOURNAL_CORRUPT, JOURNAL_VERSION */
export async function startCoordinator(
  settings: CoordinatorSettings,
): Promise<Omit<Coordinator, 'listen' | 'http'> & { readonly listen: Address; readonly http: Address }> {
  const coordinator = await openCoordinator({
    ...settings,
    listen: formatAddress(settings.listen),
    log: stderrLog('info'),
    clock: systemClock,
    random: systemRandom,
    signer: await openSigningKey(settings.stateDir),
  });
  return {
    ...coordinator,
    listen: parseAddress(coordinator.listen, 'the address for worker nodes'),
    http: coordinator.http ?? settings.http,
  };
}

/** @throws LISTEN_FAILED, STATE_LOCKED, STATE_UNWRITABLE, JOURNAL_CORRUPT, JOURNAL_VERSION */
export async function openCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { stateDir, log, clock, random } = options;
  const startedAt = clock.monotonic();
  const release = packageRelease();
  const joinToken = await readJoinToken(stateDir);
  const ledger = newLedger(options);
  const ending = new Ending(log);
  const onFatal = (error: unknown): void => ending.fail(error);

  const journal: Journal = await Journal.open({
    dir: stateDir,
    onRecord: (record, sequence) => evolve(ledger, parseRecord(record, sequence)),
    onSynced: (sequence) => loop.synced(sequence),
    onStall: (failure) => {
      if (failure) log.warn('the journal waits for room', { code: failure.code, message: failure.message });
      loop.handle({ kind: 'stall', job: null, failure });
    },
    onFatal,
    image: {
      take: () => {
        const image = imageOf(ledger);
        return { bytes: columnBytes(image), pieces: encodeImage(image) };
      },
      load: (content) => restoreImage(ledger, decodeImage(content)),
    },
    onSnapshot: (taken) => log.info('snapshot of the journal', { ...taken }),
    onSnapshotRefused: (failure) => log.warn('no snapshot of the journal', { ...failure }),
  });
  const wall = (): number => clock.wall();
  const logs = new LogStore({ outputDirOf: (job) => jobs.logOwner(job), log });
  const story = new JobStory({ ledger, store: logs, wall });
  const feeds = new JobFeeds({ ledger, wall, onTold: (event) => story.tell(event) });
  const loop: Loop = new Loop({
    ledger,
    clock,
    append: (event) => journal.append(event),
    carryOut: (effect) => carryOut(effect),
    publish: (event) => {
      story.publish(event);
      feeds.publish(event);
      if (event.kind === 'NodeForgotten') nodes.forget(event.node);
    },
  });
  const artifacts = await ArtifactStore.open(join(stateDir, 'artifacts'));
  const results = new ResultStore({ openSegment: (token) => openSegment(token) });
  const signer = options.signer ?? null;
  const jobs: JobDesk = new JobDesk({
    ...{ loop, feeds, artifacts, story, stateDir, release, signer },
    ...{ clock, random, log, onFatal },
  });
  const nodes = new NodeDesk({
    loop,
    clock,
    joinToken,
    release,
    results,
    artifacts,
    logs,
    onLog: (job, name) => jobs.logGrew(job, name),
    filesOf: (name) => jobs.filesOf(name),
    onJobFailed: (job, error) => jobs.fail(job, error),
    onFatal,
  });

  /** Where a result that is too large for memory goes, piece by piece. */
  function openSegment(token: Token): SegmentSink {
    const lease = ledger.leases.get(token.counter);
    if (!lease) throw new BatchError('LEASE_STALE', 'the lease ended before its upload began');
    loop.handle({ kind: 'upload-began', node: lease.node, token });
    const sink = lease.uploadSegment === null ? null : jobs.filesOf(lease.job)?.openSegment(lease.uploadSegment);
    if (!sink) throw new BatchError('LEASE_STALE', `job ${lease.job} takes no results any more`);
    return sink;
  }

  let hasGranted = false;
  function tellFirstGrant(): void {
    if (hasGranted) return;
    hasGranted = true;
    log.info('first lease granted', { epoch: ledger.epoch, afterMs: Math.round(clock.monotonic() - startedAt) });
  }

  const written = (effect: { readonly job: Parameters<JobDesk['filesOf']>[0]; readonly token: Token }) => (): void => {
    results.release(effect.token);
    loop.handle({ kind: 'written', job: effect.job, token: effect.token });
  };

  function carryOut(effect: Effect): void {
    switch (effect.kind) {
      case 'grant':
        tellFirstGrant();
        return nodes.grant(effect);
      case 'adopt':
        return nodes.adopt(effect);
      case 'welcome':
        return nodes.welcome(effect);
      case 'committed':
        return nodes.tell(effect.node, { committed: [effect.token] });
      case 'refuse':
        return nodes.tell(effect.node, { refused: [{ token: effect.token, failure: effect.failure }] });
      case 'revoke':
        return nodes.tell(effect.node, { revoked: [effect.token] });
      case 'recall':
        return nodes.tell(effect.node, { recalled: [effect.token] });
      case 'end-job':
        return nodes.endJob(effect.job);
      case 'drain-job':
        return nodes.drainJob(effect.job, effect.node);
      case 'discard':
        return results.discard(effect.token);
      case 'list':
        return jobs.startListing(effect.job);
      case 'seal':
        return jobs.startSealing(effect.job);
      case 'prologue': {
        const pieces = [Buffer.from(effect.text)];
        return jobs.filesOf(effect.job)?.enqueue({ kind: 'append', offset: 0, pieces }, () => undefined);
      }
      case 'append': {
        const pieces = results.pieces(effect.token);
        return jobs.filesOf(effect.job)?.enqueue({ kind: 'append', offset: effect.offset, pieces }, written(effect));
      }
      case 'stage': {
        const { segment, offset } = effect;
        const pieces = results.pieces(effect.token);
        return jobs.filesOf(effect.job)?.enqueue({ kind: 'stage', segment, offset, pieces }, written(effect));
      }
      case 'settle':
        // Without bytes there is nothing to make durable, but the order of commits is kept all the same.
        return effect.segment < 0
          ? jobs.filesOf(effect.job)?.enqueue({ kind: 'none' }, written(effect))
          : jobs.filesOf(effect.job)?.enqueue({ kind: 'adopt', segment: effect.segment }, written(effect));
      case 'copy': {
        const { from, toOffset, job } = effect;
        return jobs.filesOf(job)?.enqueue({ kind: 'copy', from, toOffset }, () => loop.handle({ kind: 'copied', job }));
      }
      case 'drop-segment':
        return jobs.filesOf(effect.job)?.enqueue({ kind: 'drop', segment: effect.segment }, () => undefined);
    }
  }

  const { recovery } = journal;
  log.info('journal replayed', { records: recovery.records, snapshot: recovery.snapshot });
  for (const name of recovery.damaged) log.warn('a snapshot is damaged; an older one was used', { snapshot: name });
  if (journal.recovery.bytesCut > 0) {
    log.warn('the end of the journal was torn and has been cut', { bytes: journal.recovery.bytesCut });
  }
  const closers: Close[] = [() => journal.close()];
  // Each gets its turn, whatever became of those before; the first failure is told.
  const closeAll = async (): Promise<void> => {
    const failures: unknown[] = [];
    for (const close of closers.splice(0).reverse()) await close().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  };
  ending.onEnd(closeAll);
  try {
    closers.push(async () => {
      await jobs.close();
      await logs.settled();
    });
    await jobs.reopen();
    loop.handle({ kind: 'begin', epoch: journal.beginEpoch() });
    jobs.failDamaged();
    await Promise.race([loop.durable(), ending.closed]);
    const diskWatch = new DiskWatch({
      fileSystem: nodeFileSystem,
      watched: () => [{ job: null, dir: stateDir }, ...jobs.outputDirs()],
      onRoom: (job, failure) => jobs.roomChanged(job, failure),
    });
    const timers = startTimers(loop, feeds, diskWatch, clock, onFatal);
    closers.push(() => timers.close());
    if (options.keepFinishedMs !== null) jobs.keepFinishedFor(options.keepFinishedMs);
    const server = await startClusterServer({ address: options.listen, backend: nodes, log });
    closers.push(async () => {
      nodes.close();
      await server.close();
    });
    const api = options.http ? await startApi({ backend: jobs, ...options.http, onDefect: onFatal }) : null;
    if (api) closers.push(() => api.close());
    log.info('coordinator serves', {
      nodes: server.address,
      http: api ? formatAddress(api.address) : null,
      state: stateDir,
      epoch: ledger.epoch,
      jobs: ledger.jobs.size,
    });
    return {
      listen: server.address,
      http: api?.address ?? null,
      joinToken,
      jobs,
      closed: ending.closed,
      close: () => ending.end(),
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
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

/** Records are our own; one of a newer release is told by its kind. @throws JOURNAL_VERSION */
function parseRecord(record: unknown, sequence: number): Event {
  const event = record as Event;
  if (typeof record === 'object' && record !== null && 'kind' in record && isDurable(event)) return event;
  const kind = JSON.stringify((record as { kind?: unknown } | null)?.kind);
  throw new BatchError(
    'JOURNAL_VERSION',
    `record ${sequence} is of kind ${kind}, which this release does not know; run the newer one`,
  );
}

/** Made at the first start; readable by its owner only. @throws STATE_UNWRITABLE */
async function readJoinToken(stateDir: string): Promise<string> {
  const path = join(stateDir, 'join-token');
  try {
    await makeFolder(stateDir, 0o700);
    await writeFile(path, randomBytes(24).toString('base64url'), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    if (errnoOf(error) !== 'EEXIST') {
      throw new BatchError('STATE_UNWRITABLE', `the state directory ${stateDir} cannot be used: ${reasonOf(error)}`, {
        cause: error,
      });
    }
  }
  return (await readFile(path, 'utf8')).trim();
}
