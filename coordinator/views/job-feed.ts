/**
 * What happens to jobs, as lines for people: a fold of the events that have become durable. Keeps the last lines of each
 * job for those who come late; progress is told at most once per interval.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import { errorSignature } from '../../common/core/error-signature.ts';
import type { JobName, NodeName } from '../../common/core/ids.ts';
import { unreachable } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import type { JobEvent, JobView } from '../api/backend.ts';
import type { Event, EventOf } from '../core/events.ts';
import type { Job, Ledger } from '../core/ledger.ts';
import { partsJobOf } from '../core/parts.ts';
import { isoTime, jobView, preparationOf } from './job-view.ts';
import { Watermarks } from './watermarks.ts';

interface Feed {
  sequence: number;
  readonly past: JobEvent[];
  readonly listeners: Set<() => void>;
  waiting: string | null;
  /** By node: the phase of its preparation that was told last. */
  readonly phases: Map<NodeName, string>;
  /** Signatures of failures that were told in full. */
  readonly told: Set<string>;
  isDirty: boolean;
}

export class JobFeeds {
  readonly #ledger: Ledger;
  readonly #wall: () => number;
  readonly #feeds = new Map<JobName, Feed>();
  readonly #watermarks: Watermarks;

  readonly #onTold: (event: JobEvent) => void;
  /** Jobs that have ended and have a feed, the one that ended first in front. */
  readonly #ended = new Set<JobName>();

  /** `onTold` hears every line, followed or not. */
  constructor(options: {
    readonly ledger: Ledger;
    readonly wall: () => number;
    readonly onTold?: (event: JobEvent) => void;
  }) {
    this.#onTold = options.onTold ?? (() => undefined);
    this.#ledger = options.ledger;
    this.#watermarks = new Watermarks(options.ledger);
    this.#wall = options.wall;
  }

  /** Folds one event in. */
  publish(event: Event): void {
    this.#watermarks.publish(event);
    if (!('job' in event) || event.job === null) return;
    const job = this.#ledger.jobs.get(event.job);
    if (job && job.rowsOf !== null) return this.#publishParts(job, job.rowsOf, event);
    if (!job) return;
    if (event.kind === 'NodePrepares') this.#tellPhase(job, event);
    const line = describe(job, event, (failure) => this.#brief(job, failure));
    if (line) this.#tell(job, line.kind, line.message);
    else this.#feed(event.job).isDirty = true;
    if (event.kind === 'JobSealed') this.#forgetOldest(event.job);
    else if (event.kind === 'JobReopened') this.#ended.delete(event.job);
  }

  /** What an inner job does is told of the outer one. */
  #publishParts(inner: Job, name: JobName, event: Event): void {
    const outer = this.#ledger.jobs.get(name);
    if (!outer) return;
    if (event.kind === 'ListingEnded') {
      return this.#tell(
        outer,
        'state',
        `all ${outer.rows} rows are there; the output is made of them in ${inner.files} parts`,
      );
    }
    const isWork = event.kind !== 'JobStateChanged' && event.kind !== 'JobSealed' && event.kind !== 'JobPaused';
    const line = isWork ? describe(inner, event, (failure) => this.#brief(outer, failure)) : undefined;
    if (line) this.#tell(outer, line.kind, line.message);
    else this.#feed(name).isDirty = true;
  }

  /** The job as callers see it: nothing that a crash would take back. */
  view(job: Job): JobView {
    const bytes = this.#watermarks.of(job);
    return jobView(this.#ledger, job, { bytes, committed: this.#watermarks.committedOf(job) });
  }

  /** Bytes of the job's output that are final. */
  finalBytes(job: Job): number {
    return this.#watermarks.of(job);
  }

  /** Tells what has moved since the last call, and why a job does not. */
  progress(): void {
    for (const job of this.#ledger.jobs.values()) {
      if (isFinal(job.state) || job.rowsOf !== null) continue;
      const feed = this.#feed(job.name);
      // Preparations have lines of their own, one for each phase; their seconds move the progress.
      const waiting = preparationOf(this.#ledger, job) === null ? jobView(this.#ledger, job).waiting : null;
      if (waiting !== feed.waiting && waiting !== null) this.#tell(job, 'waiting', waiting);
      feed.waiting = waiting;
      if (!feed.isDirty) continue;
      feed.isDirty = false;
      this.#tell(job, 'progress', progressMessage(job, partsJobOf(this.#ledger, job)));
    }
  }

  /** Past lines after `afterSequence`, then those to come, until the job has ended or `signal` aborts. */
  async *follow(name: JobName, afterSequence: number, signal: AbortSignal): AsyncGenerator<JobEvent> {
    const feed = this.#feed(name);
    const known = this.#ledger.jobs.get(name);
    // After a restart of the coordinator the past is gone: whoever comes is told where the job stands.
    if (known && feed.past.length === 0) this.#tell(known, 'state', known.state);
    let seen = afterSequence > feed.sequence ? 0 : afterSequence;
    while (!signal.aborted) {
      // Taken before looking, so that what is told in between is not slept through.
      const woken = new AbortController();
      const changed = waitFor(feed, signal, woken.signal);
      const fresh = feed.past.filter((event) => event.sequence > seen);
      for (const event of fresh) {
        seen = event.sequence;
        yield event;
      }
      const job = this.#ledger.jobs.get(name);
      const isOver = !job || (isFinal(job.state) && job.isSealed && feed.sequence <= seen);
      if (isOver || fresh.length > 0) woken.abort();
      if (isOver) return;
      await changed;
    }
  }

  /** The job was pruned: its lines go, and whoever follows it comes to the end. */
  forget(name: JobName): void {
    const feed = this.#feeds.get(name);
    this.#feeds.delete(name);
    this.#ended.delete(name);
    for (const wake of [...(feed?.listeners ?? [])]) wake();
  }

  /** Live followers of all jobs. */
  get followers(): number {
    return [...this.#feeds.values()].reduce((sum, feed) => sum + feed.listeners.size, 0);
  }

  /** Jobs whose lines are kept. */
  get jobs(): number {
    return this.#feeds.size;
  }

  /** Whoever asks for a job that ended long ago is told where it stands, as after a restart. */
  #forgetOldest(name: JobName): void {
    this.#ended.add(name);
    for (const oldest of this.#ended) {
      if (this.#ended.size <= limits.endedJobsRemembered) return;
      this.#ended.delete(oldest);
      this.#feeds.delete(oldest);
    }
  }

  #feed(name: JobName): Feed {
    let feed = this.#feeds.get(name);
    if (!feed) {
      // Of each process above all of those before it: one who has seen lines of an earlier one misses none of this one.
      feed = {
        sequence: this.#ledger.epoch * limits.jobEventsPerEpoch,
        past: [],
        listeners: new Set(),
        waiting: null,
        phases: new Map(),
        told: new Set(),
        isDirty: false,
      };
      this.#feeds.set(name, feed);
    }
    return feed;
  }

  /** When it begins, comes to another phase, ends. */
  #tellPhase(job: Job, { node, text }: EventOf<'NodePrepares'>): void {
    const { phases } = this.#feed(job.name);
    const before = phases.get(node) ?? '';
    const phase = phaseOf(text);
    if (phase === before) return;
    if (phase === '') phases.delete(node);
    else phases.set(node, phase);
    this.#tell(job, 'waiting', `${node}: ${phase === '' ? `${before}, ended` : phase}`);
  }

  /** In full the first time; ten files that fail alike are no reason to say it ten times. */
  #brief(job: Job, failure: Failure): string {
    const { told } = this.#feed(job.name);
    const signature = errorSignature(failure);
    if (told.has(signature)) return `${failure.code}, as before`;
    if (told.size < limits.jobErrorGroupsLogged) told.add(signature);
    return `${failure.code}: ${failure.message}`;
  }

  #tell(job: Job, kind: JobEvent['kind'], message: string): void {
    const feed = this.#feed(job.name);
    feed.sequence += 1;
    // A newer line of progress says all that an older one said.
    if (kind === 'progress' && feed.past.at(-1)?.kind === 'progress') feed.past.pop();
    const time = isoTime(this.#wall());
    const event = {
      sequence: feed.sequence,
      time,
      kind,
      message,
      job: this.view(job),
    };
    feed.past.push(event);
    this.#onTold(event);
    if (feed.past.length > limits.jobEventsKept) feed.past.shift();
    for (const wake of [...feed.listeners]) wake();
  }
}

/** Resolves at the next line, or when either signal aborts; leaves no listener behind. */
function waitFor(feed: Feed, ...signals: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      feed.listeners.delete(done);
      for (const signal of signals) signal.removeEventListener('abort', done);
      resolve();
    };
    feed.listeners.add(done);
    for (const signal of signals) {
      if (signal.aborted) return done();
      signal.addEventListener('abort', done);
    }
  });
}

function progressMessage(job: Job, inner: Job | undefined): string {
  if (inner)
    return `${inner.committed} of ${inner.isListed ? '' : 'more than '}${inner.files} parts made of ${job.rows} rows`;
  const total = job.isListed ? `${job.files}` : `${job.files}+`;
  const failed = job.failedFiles > 0 ? `, ${job.failedFiles} failed` : '';
  return `${job.scoredFiles} of ${total} files scored${failed}, ${job.rows} rows`;
}

/** Without its seconds, and without what the installer is at. */
function phaseOf(text: string): string {
  return text.replace(/ \d+ s( · .*)?$/, '');
}

/** The line that an event is worth by itself; undefined for those that only move the progress. */
function describe(
  job: Job,
  event: Event,
  textOf: (failure: Failure) => string,
): { readonly kind: JobEvent['kind']; readonly message: string } | undefined {
  switch (event.kind) {
    case 'JobStateChanged': {
      const why = event.error ? `: ${event.error.code}: ${event.error.message}` : '';
      return { kind: 'state', message: `${event.state}${why}` };
    }
    case 'JobSealed':
      return { kind: 'state', message: `output is sealed in ${job.outputDir}` };
    case 'JobPaused':
      return { kind: 'state', message: event.isPaused ? 'paused: what runs goes on' : 'goes on after a pause' };
    case 'JobReopened':
      return { kind: 'state', message: `${job.state} again: ${job.open} mini-batches are to be scored` };
    case 'AttemptFailed':
      return {
        kind: 'attempt-failed',
        message: `${rangeText(job, event.batch)} failed on ${event.node}: ${textOf(event.failure)}`,
      };
    case 'Quarantined':
      return {
        kind: 'file-failed',
        message: `${rangeText(job, event.batch)} given up: ${textOf(event.failure)}`,
      };
    case 'HostFailed':
      return {
        kind: 'attempt-failed',
        message: `the scorer did not start on ${event.node}: ${textOf(event.failure)}`,
      };
    case 'NodeQuarantined':
      return { kind: 'node', message: `worker node ${event.node} is quarantined: ${event.reason.message}` };
    case 'NodeReleased':
      return { kind: 'node', message: `worker node ${event.node} is no longer quarantined` };
    case 'LeaseGranted': {
      const isSecond = (job.holders.get(event.batch)?.length ?? 0) > 1;
      const what = rangeText(job, event.batch);
      const message = `${what}: a second attempt begins on ${event.node}, since the first takes much longer than others`;
      return isSecond ? { kind: 'node', message } : undefined;
    }
    case 'Recut':
    case 'JobPruned':
    case 'JobLabelled':
    case 'ResourcePut':
    case 'ResourceRemoved':
    case 'Committed':
    case 'JobSubmitted':
    case 'PageListed':
    case 'ListingEnded':
    case 'SchemaSeen':
    case 'SchemaFixed':
    case 'Appended':
    case 'Split':
    case 'LeaseAdopted':
    case 'LeaseReleased':
    case 'LeaseRecalled':
    case 'AttemptsStarted':
    case 'StillnessNoted':
    case 'BatchReady':
    case 'UploadSegmentGiven':
    case 'ResultPlaced':
    case 'CopyStarted':
    case 'Stalled':
    case 'RoomChanged':
    case 'EpochBegan':
    case 'NodeJoined':
    case 'NodeConnected':
    case 'NodeDisconnected':
    case 'NodeHeard':
    case 'NodeSuspected':
    case 'NodeLost':
    case 'NodeDraining':
    case 'NodeGone':
    case 'NodeForgotten':
    case 'Wanted':
    case 'ResultRefused':
    case 'CommitRepeated':
    case 'LeaseDisowned':
    case 'TimeStalled':
    case 'GrantsHeld':
    case 'NodeKnown':
    case 'NodeUnknown':
    case 'NodePrepares':
    case 'Cut':
      return undefined;
    default:
      return unreachable(event);
  }
}

function rangeText(job: Job, batch: number): string {
  const first = job.batches.first(batch);
  const count = job.batches.files(batch);
  if (job.rowsOf !== null) return `part ${first}`;
  return count === 1 ? `file ${first}` : `files ${first}–${first + count - 1}`;
}
