/**
 * What a worker node knows. Only `evolve` writes it.
 *
 *   link    down ─► joining ─► up ─► down …                    any ─► closed (left, or gave up)
 *   lease   granted ─► staging ─► ready ─► [queued ─►] running ─► scored | failed ─► forgotten
 *           queued ─► ready (handed back)
 *           staging ─► granted (tried again later)             any ─► forgotten (revoked, returned, not adopted)
 *   upload  wanted ─► underway ─► done                         underway ─► wanted (tried again later)
 *   slot    empty ─► starting ─► idle ⇄ running                any ─► stopping ─► empty
 *   job     artifacts absent ─► fetching ─► present            fetching ─► absent (tried again later)
 *
 * A lease has a number of the node's own, its *work*, which stays when the coordinator gives it a new token; hosts are
 * numbered too, so that word from a host or an upload that was given up is recognised and passed over.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import type { Circumstances, HostFailureReport, JobSpec } from '../../common/core/cluster-messages.ts';
import { monotonicMs, type JobName, type MonotonicMs } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { InputFile } from '../../common/core/input.ts';
import type { FileFailure, ResultSummary } from '../../common/core/result.ts';
import type { ShadowOutcome } from '../../common/core/shadow.ts';
import type { Token } from '../../common/core/token.ts';

export interface WorkerConfig {
  readonly slots: number;
  /** From start: how long the first join may take. */
  readonly joinMsMax: number;
  /** Results that may wait for their commit. */
  readonly spoolBytesMax: number;
  /** Work that may wait on a scoring host; by default as `limits` has it. */
  readonly queuedMs?: number;
  /** When the node must have left; null or absent: it stays. */
  readonly endsAt?: MonotonicMs | null;
}

export interface WorkerState {
  readonly config: WorkerConfig;
  link: Link;
  /** Until when the first join may be tried again; null once the node has been a member. */
  joinDeadline: MonotonicMs | null;
  /** Announced by the coordinator of the present link, or of the last one: another one leads by `until`. */
  handover: { readonly withinMs: number; readonly until: MonotonicMs } | null;
  readonly leases: Map<number, Lease>;
  /** Work by formatted token. */
  readonly byToken: Map<string, number>;
  /** In order of their first announcement. */
  readonly jobs: Map<JobName, Job>;
  readonly slots: Slot[];
  /** What is being prepared for a job, one line for people. */
  readonly preparations: Map<JobName, string>;

  /** Indexes of `leases` by state; `Job.ready` has the ready ones. */
  readonly granted: Set<number>;
  readonly staging: Set<number>;
  readonly running: Set<number>;
  readonly queued: Set<number>;
  readonly scored: Set<number>;
  readonly failed: Set<number>;
  ready: number;
  /** Works that must be scored alone on the node, in any state. */
  readonly alone: Set<number>;
  /** Works whose upload is wanted or underway. */
  readonly uploads: Set<number>;
  heldResultBytes: number;
  /** Of them, those of results that are small enough to wait in memory. */
  heldMemoryBytes: number;

  /** Numbers given so far. */
  works: number;
  hosts: number;
  uploadsBegun: number;

  /** Seconds of one mini-batch on a slot and of one staging, as moving averages; null before the first. */
  runSeconds: number | null;
  stageSeconds: number | null;

  /** `none`; `drain`: finish what is running, take nothing new; `close`: finish nothing. */
  leaving: 'none' | 'drain' | 'close';
  /** When what still runs is killed, so that the node is gone in time; null: it may take as long as it does. */
  killAt: MonotonicMs | null;
  readonly outbox: Outbox;
}

export type Link =
  | { readonly kind: 'down'; readonly attempt: number; readonly retryAt: MonotonicMs }
  | { readonly kind: 'joining'; readonly attempt: number }
  | LinkUp
  | { readonly kind: 'closed'; readonly failure: Failure | null };

export interface LinkUp {
  readonly kind: 'up';
  /** Failed attempts before; back to none when the coordinator has spoken. */
  attempt: number;
  readonly epoch: number;
  readonly heartbeatMs: number;
  readonly leaseMs: number;
  readonly openedAt: MonotonicMs;
  heardAt: MonotonicMs;
  heartbeatAt: MonotonicMs;
  /** Sent on this stream. */
  heartbeats: number;
  isHelloSent: boolean;
  /** Works offered in hello that wait for the coordinator's adoption; null when it has answered or none was offered. */
  offered: ReadonlyMap<number, Token> | null;
  /** Leases asked for on this stream and not granted yet. */
  asked: number;
}

export interface Lease {
  readonly work: number;
  token: Token;
  readonly job: JobName;
  readonly first: number;
  readonly files: readonly InputFile[];
  /** 1 for the first try. */
  readonly attempt: number;
  /** Columns that the rows are to be widened to; null: as the scorer gives them. */
  readonly columns: readonly string[] | null;
  state: LeaseState;
}

export type LeaseState =
  | { readonly kind: 'granted'; readonly tries: number; readonly retryAt: MonotonicMs | null }
  | { readonly kind: 'staging'; readonly tries: number; readonly since: MonotonicMs }
  /** `failed`: files that could not be staged, by place in the mini-batch; the others are scored. */
  | { readonly kind: 'ready'; readonly since: MonotonicMs; readonly failed: readonly FileFailure[] }
  | {
      readonly kind: 'running';
      readonly since: MonotonicMs;
      readonly failed: readonly FileFailure[];
      readonly slot: number;
    }
  /** The host has it already and is at another one. */
  | {
      readonly kind: 'queued';
      readonly since: MonotonicMs;
      readonly failed: readonly FileFailure[];
      readonly slot: number;
    }
  | { readonly kind: 'scored'; readonly result: HeldResult; readonly upload: Upload }
  | {
      readonly kind: 'failed';
      readonly failure: Failure;
      readonly fileIndex: number;
      readonly circumstances: Circumstances;
    };

/** What a scored mini-batch gave; the shell keeps its bytes until the lease is forgotten. */
export interface HeldResult {
  readonly summary: ResultSummary;
  /** Of the rows. */
  readonly bytes: number;
  readonly crc32: number;
  /** Of the files that user code wrote; they follow the rows' bytes. */
  readonly customBytes: number;
  readonly customCrc32: number;
  /** What came of the job's shadow; absent: it has none. */
  readonly shadow?: ShadowOutcome;
}

export type Upload =
  /** Small enough to travel with its report. */
  | { readonly kind: 'inline' }
  | { readonly kind: 'wanted'; readonly tries: number; readonly retryAt: MonotonicMs | null }
  | { readonly kind: 'underway'; readonly tries: number; readonly upload: number }
  | { readonly kind: 'done' };

export interface Job {
  readonly spec: JobSpec;
  artifacts: Artifacts;
  /** Leases of the job in any state. */
  readonly leases: Set<number>;
  /** Ready works, lowest first ordinal first. */
  readonly ready: number[];
  /** Leases that no host has been given. */
  unstarted: number;
  /** Failures of init() since it last went well, and when a host may be started again. */
  initFailures: number;
  hostRetryAt: MonotonicMs | null;
  /** When one of its mini-batches last began or ended on a slot; null before the first. */
  servedAt: MonotonicMs | null;
  /** Named by the coordinator on this stream. */
  isAnnounced: boolean;
}

export type Artifacts =
  | { readonly kind: 'absent'; readonly tries: number; readonly retryAt: MonotonicMs | null }
  | { readonly kind: 'fetching'; readonly tries: number }
  | { readonly kind: 'present' };

export type Slot =
  | { readonly kind: 'empty' }
  | { readonly kind: 'starting'; readonly host: number; readonly job: JobName }
  /** `ahead`: how many mini-batches may wait on the host behind the one that it is at. */
  | { readonly kind: 'idle'; readonly host: number; readonly job: JobName; readonly ahead: number }
  /** `queue`: what waits there, in order. */
  | {
      readonly kind: 'running';
      readonly host: number;
      readonly job: JobName;
      readonly ahead: number;
      readonly work: number;
      readonly queue: number[];
    }
  | { readonly kind: 'stopping'; readonly host: number };

/** What the next report says. */
export interface Outbox {
  readonly started: Set<number>;
  readonly results: Set<number>;
  readonly failures: Set<number>;
  readonly hostFailures: HostFailureReport[];
  /** Jobs whose line in `preparations` has changed. */
  readonly preparations: Set<JobName>;
  readonly returned: Token[];
  isLeaving: boolean;
}

/** When the node begins to leave, so that what it was granted has time to end; null: not by itself, or it does so already. */
export function leaveAt({ config: { endsAt = null }, leaving }: WorkerState): MonotonicMs | null {
  return endsAt === null || leaving !== 'none' ? null : monotonicMs(endsAt - limits.leaveReserveMs);
}

export function newWorkerState(config: WorkerConfig): WorkerState {
  return {
    config,
    link: { kind: 'down', attempt: 0, retryAt: 0 as MonotonicMs },
    joinDeadline: null,
    handover: null,
    leases: new Map(),
    byToken: new Map(),
    jobs: new Map(),
    slots: Array.from({ length: config.slots }, () => ({ kind: 'empty' }) as const),
    preparations: new Map(),
    granted: new Set(),
    staging: new Set(),
    running: new Set(),
    queued: new Set(),
    scored: new Set(),
    failed: new Set(),
    ready: 0,
    alone: new Set(),
    uploads: new Set(),
    heldResultBytes: 0,
    heldMemoryBytes: 0,
    works: 0,
    hosts: 0,
    uploadsBegun: 0,
    runSeconds: null,
    stageSeconds: null,
    leaving: 'none',
    killAt: config.endsAt ? monotonicMs(config.endsAt - limits.leaveKillMs) : null,
    outbox: {
      started: new Set(),
      results: new Set(),
      failures: new Set(),
      hostFailures: [],
      preparations: new Set(),
      returned: [],
      isLeaving: false,
    },
  };
}
