/**
 * The coordinator without its doors: journal and ledger, the side of the worker nodes and the work behind jobs, wired to each other.
 * The way of a command: caller → loop → `core/` → journal and effects → {@link carryOut}. Whoever opens it (the process with gRPC
 * and HTTP, a simulation) gives it its disk, clock and views.
 */
import { BatchError, type Failure } from '../common/core/batch-error.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Log } from '../common/io/log.ts';
import type { JournalStream } from '../common/ports/journal-stream.ts';
import { carryOut, openUpload } from './carry-out.ts';
import { isDurable, recordFormat, type Event } from './core/events.ts';
import { evolve } from './core/evolve.ts';
import { newLedger, type Ledger } from './core/ledger.ts';
import { columnBytes, imageOf, restoreImage } from './core/ledger-image.ts';
import type { Secrets } from './access/secrets.ts';
import { InnerJobs } from './inner-jobs.ts';
import { JobWork } from './job-work.ts';
import { decodeImage, encodeImage } from './journal/image-bytes.ts';
import { Journal, type JournalSizes, type JournalWrite } from './journal/journal.ts';
import type { JobStory } from './logs/job-story.ts';
import type { LogStore } from './logs/log-store.ts';
import { Loop } from './loop.ts';
import { NodeDesk } from './node-desk.ts';
import type { ManifestSigner } from './output/seal.ts';
import type { Outside } from './outside.ts';
import type { ArtifactStore } from './registry/artifact-store.ts';
import { ResultStore } from './result-store.ts';

/** What is made of the events for those who look on. */
export interface EngineViews {
  readonly story: Pick<JobStory, 'end' | 'report'>;
  readonly logs: Pick<LogStore, 'take'>;
  /** Every event, once what it says is durable. */
  readonly publish: (event: Event) => void;
}

export interface EngineOptions<Views extends EngineViews> {
  /** Absolute; exists. */
  readonly stateDir: string;
  /** Where lock and journal lie; absolute, exists. By default the state directory. */
  readonly journalDir?: string | null;
  readonly joinToken: string;
  readonly release: string;
  /** Null: grows with the number of worker nodes. */
  readonly heartbeatMs: number | null;
  /** Results that may wait for their turn; by default as `limits` has it. */
  readonly stagingBytesMax?: number;
  readonly signer: ManifestSigner | null;
  /** A second copy of the journal; absent: there is none. */
  readonly stream?: JournalStream | null;
  /** With a stream: resolves when this process is to lead; until then it follows. Absent: it is. */
  readonly untilLeading?: (() => Promise<void>) | null;
  /** @throws NOT_LEADING once another process may lead: whoever slept while it started begins no epoch. */
  readonly requireLeading?: (() => void) | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly outside: Outside;
  readonly artifacts: Pick<ArtifactStore, 'open'>;
  /** What deployments refer to; absent: nothing is. */
  readonly secrets?: Pick<Secrets, 'valuesFor'>;
  /** Called once. */
  readonly views: (ledger: Ledger) => Views;
  /** A defect, or damage on the disk: the process must end. */
  readonly onFatal: (error: unknown) => void;
  readonly journalSizes?: JournalSizes;
  readonly onJournalWritten?: (written: JournalWrite) => void;
}

export interface Engine<Views extends EngineViews> {
  readonly views: Views;
  readonly journal: Journal;
  readonly loop: Loop;
  readonly work: JobWork;
  readonly nodes: NodeDesk;
  /** Brings files to what the ledger says and begins an epoch; when it resolves, that is durable, and all may come. */
  begin(): Promise<void>;
}

/** Replays the journal. @throws STATE_LOCKED, STATE_UNWRITABLE, JOURNAL_CORRUPT, JOURNAL_VERSION */
export async function openEngine<Views extends EngineViews>(options: EngineOptions<Views>): Promise<Engine<Views>> {
  const { clock, log, outside, onFatal, artifacts, joinToken, release, journalSizes } = options;
  const { fileSystem, delay, identity } = outside;
  const startedAt = clock.monotonic();
  const ledger = newLedger(options);
  let isOpen = false;
  const stalls: { disk: Failure | null; stream: Failure | null } = { disk: null, stream: null };
  const stall = (of: keyof typeof stalls, failure: Failure | null): void => {
    const wasStalled = stalls[of] !== null;
    stalls[of] = failure;
    if (failure) log.warn(`the journal waits for its ${of}`, { code: failure.code, message: failure.message });
    else if (wasStalled) log.info(`the ${of} of the journal takes records again`);
    // Before the journal is open there is nobody to tell.
    if (isOpen) loop.handle({ kind: 'stall', job: null, failure: stalls.disk ?? stalls.stream });
  };
  const journal: Journal = await Journal.open({
    ...{ dir: options.journalDir ?? options.stateDir, fileSystem, delay, identity, clock, onFatal },
    ...(journalSizes ? { sizes: journalSizes } : {}),
    ...(options.onJournalWritten ? { onWritten: options.onJournalWritten } : {}),
    onRecord: (record, sequence) => evolve(ledger, parseRecord(record, sequence)),
    onSynced: (sequence) => loop.synced(sequence),
    stream: options.stream ?? null,
    untilLeading: options.untilLeading ?? null,
    requireLeading: options.requireLeading ?? null,
    onStall: (failure) => stall('disk', failure),
    onStreamStall: (failure) => stall('stream', failure),
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
  tellRecovery(log, journal);
  let hasGranted = false;
  const tellFirstGrant = (): void => {
    if (hasGranted) return;
    hasGranted = true;
    log.info('first lease granted', { epoch: ledger.epoch, afterMs: Math.round(clock.monotonic() - startedAt) });
  };
  const views = options.views(ledger);
  const { story, logs } = views;
  const loop: Loop = new Loop({
    ledger,
    clock,
    append: (event) => journal.append(event),
    carryOut: (effect) => {
      if (effect.kind === 'grant') tellFirstGrant();
      carryOut({ loop, nodes, work, results, inner }, effect);
    },
    publish: (event) => {
      views.publish(event);
      if (event.kind === 'NodeForgotten') nodes.forget(event.node);
    },
  });
  isOpen = true;
  const work: JobWork = new JobWork({ ...options, loop, story });
  const inner = new InnerJobs({ ...options, loop, work });
  const results = new ResultStore({ openSegment: (token) => openUpload(loop, work, token) });
  const nodes = new NodeDesk({
    ...{ loop, clock, joinToken, release, results, artifacts, logs, onFatal },
    onLog: (job, name) => work.logGrew(job, name),
    openInput: (root, file, range) => inner.read(root, file, range.offset) ?? outside.openInput(root, file, range),
    filesOf: (name) => work.filesOf(name),
    secretsOf: ({ environmentVariables }) => options.secrets?.valuesFor(environmentVariables) ?? {},
    onJobFailed: (job, error) => work.fail(job, error),
  });
  return {
    ...{ views, journal, loop, work, nodes },
    begin: async () => {
      await work.restore();
      options.requireLeading?.();
      loop.handle({ kind: 'begin', epoch: journal.beginEpoch() });
      work.failDamaged();
      await loop.durable();
    },
  };
}

function tellRecovery(log: Log, { recovery }: Journal): void {
  log.info('journal replayed', { records: recovery.records, snapshot: recovery.snapshot });
  for (const name of recovery.damaged) log.warn('a snapshot is damaged; an older one was used', { snapshot: name });
  if (recovery.aside.length > 0)
    log.warn('the journal here was damaged; it was taken from its stream', { aside: recovery.aside.join(', ') });
  if (recovery.bytesCut === 0) return;
  log.warn('the end of the journal was torn and has been cut', { bytes: recovery.bytesCut });
}

/** Records are our own; one of a newer release is told by its kind, or by the format that its epoch names. @throws JOURNAL_VERSION */
export function parseRecord(record: unknown, sequence: number): Event {
  const event = record as Event;
  if (typeof record === 'object' && record !== null && 'kind' in record && isDurable(event)) {
    const { format = 1 } = event.kind === 'EpochBegan' ? event : {};
    if (format <= recordFormat) return event;
    throw new BatchError(
      'JOURNAL_VERSION',
      `from record ${sequence} on records have format ${format}, this release reads up to ${recordFormat}; ` +
        'start a release at least as new as the one that wrote them',
    );
  }
  const kind = JSON.stringify((record as { kind?: unknown } | null)?.kind);
  throw new BatchError(
    'JOURNAL_VERSION',
    `record ${sequence} is of kind ${kind}, which this release does not know; run the newer one`,
  );
}
