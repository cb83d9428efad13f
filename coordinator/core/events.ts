/**
 * Everything that has happened, as plain data. `isDurable` says which events are journaled; the others describe leases
 * and connections, which end with the process. Stored journals keep these shapes readable: change by addition only.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import type { Circumstances, NodeLabels } from '../../common/core/cluster-messages.ts';
import type { Deployment } from '../../common/core/deployment.ts';
import type { Incarnation, JobName, NodeName } from '../../common/core/ids.ts';
import type { ResultSchema } from '../../common/core/result.ts';
import type { JobShadow, ShadowOutcome } from '../../common/core/shadow.ts';
import type { JobState } from '../../common/core/states.ts';
import type { JobLabels, JobOrigin } from '../../common/core/job-origin.ts';
import type { InputSelection } from '../../common/core/input-selection.ts';
import type { SkippedNames } from '../../common/core/skipped-names.ts';
import type { SplitCount } from '../../common/core/split.ts';
import type { Token } from '../../common/core/token.ts';
import type { Copy, Placed } from './ledger.ts';
import type { LifeEvent } from './life-events.ts';
import type { Resource } from './resources.ts';
import type { Since, Stretch } from './since.ts';
import type { Stillness } from './stillness.ts';
import type { Place } from './batch-table.ts';

/** How an attempt ended without a result. `lost`: the node vanished with it. `memory`: there was not enough of it. */
export type FailureKind = 'error' | 'timeout' | 'crash' | 'memory' | 'lost';

/**
 * What older releases are told of the records. They refuse a kind that they do not know, but pass over a field of one that they know:
 * this grows when such a field must not be passed over.
 */
export const recordFormat = 1;

export type DurableEvent =
  | LifeEvent
  /**
   * `tellsNodes`: from here on the journal says which nodes are there; absent in the records of older releases. `format`: of the records
   * from here on, see {@link recordFormat}; absent: 1.
   */
  | {
      readonly kind: 'EpochBegan';
      readonly epoch: number;
      readonly tellsNodes?: boolean;
      readonly format?: number;
    }
  /** The node may hold leases: a restart waits for it a while. */
  | { readonly kind: 'NodeKnown'; readonly node: NodeName }
  /** It left, was lost, or did not come back after a restart. */
  | { readonly kind: 'NodeUnknown'; readonly node: NodeName }
  | {
      readonly kind: 'JobSubmitted';
      readonly job: JobName;
      readonly deployment: Deployment;
      readonly inputPath: string;
      /** Which of its files; absent in the records of older releases: as the deployment says. */
      readonly selection?: InputSelection;
      readonly outputDir: string;
      /** Where the sealed output goes; absent: it stays there. */
      readonly outputLocation?: string | null;
      /** From which rows are taken for files that are the same; absent: every file is scored. */
      readonly since?: Since | null;
      /** It makes the parts of this job's output; absent: it is a job of its own. */
      readonly rowsOf?: JobName | null;
      /** Absent: nothing was said of it, as in the records of older releases. */
      readonly origin?: JobOrigin;
      /** Scores the same files beside it; absent: there is none. */
      readonly shadow?: JobShadow | null;
      /** Leases up to this one are of a job that had the name before; absent in the records of older releases. */
      readonly after?: Token;
      readonly wallMs: number;
    }
  /**
   * `sizes`: files of each mini-batch that this page completes, `sizesBytes` their bytes. With `fileBytes`, the size of
   * each file of the page, its files stay uncut. Both are absent in the records of older releases. `stretches`: the page
   * has files whose rows are there already, and all of it stands there, in input order.
   */
  | {
      readonly kind: 'PageListed';
      readonly job: JobName;
      readonly chunk: number;
      readonly files: number;
      readonly bytes: number;
      readonly sizes: readonly number[];
      readonly sizesBytes?: readonly number[];
      readonly fileBytes?: readonly number[];
      readonly stretches?: readonly Stretch[];
      readonly open: { readonly files: number; readonly bytes: number };
    }
  | {
      readonly kind: 'ListingEnded';
      readonly job: JobName;
      readonly skipped: number;
      /** The same by reason; absent in the records of older releases. */
      readonly skippedBy?: SkippedNames;
      /** Large files that stand in the input order as their parts; absent: none does. */
      readonly split?: SplitCount;
      readonly sizes: readonly number[];
      readonly sizesBytes?: readonly number[];
    }
  /** Behind the first `skipped` files of the uncut run `batch`, so many are a mini-batch now. */
  | {
      readonly kind: 'Cut';
      readonly job: JobName;
      readonly batch: number;
      readonly skipped: number;
      readonly files: number;
    }
  | {
      readonly kind: 'JobStateChanged';
      readonly job: JobName;
      readonly state: JobState;
      readonly error: Failure | null;
      readonly wallMs: number;
      /** Of CancelRequested: when what still runs is killed. */
      readonly untilWallMs?: number;
    }
  /** Output, manifest and markers are in place; nothing is to be done for the job any more. */
  | {
      readonly kind: 'JobSealed';
      readonly job: JobName;
      /** Results and files of user code that are staged stay for the job's next life; absent: they went. */
      readonly keepsStaging?: true;
    }
  | { readonly kind: 'SchemaSeen'; readonly job: JobName; readonly schema: ResultSchema }
  /** The lowest-ordered mini-batch that has rows fixes the job's schema, before its bytes get their place. */
  | { readonly kind: 'SchemaFixed'; readonly job: JobName; readonly schema: number }
  | {
      readonly kind: 'Committed';
      readonly job: JobName;
      readonly batch: number;
      readonly token: Token;
      readonly node: NodeName;
      readonly place: Place;
      readonly schema: number;
      readonly rows: number;
      readonly fileRows: readonly number[] | null;
      readonly failed: readonly { readonly index: number; readonly failure: Failure }[];
      /** Files for which rows are missing without a reason of their own. */
      readonly missing: number;
      /** Inside run(); absent in the records of older releases. */
      readonly runSeconds?: number;
      /** Of the attempt; absent when no file failed, and in the records of older releases. */
      readonly circumstances?: Circumstances;
      /** Where the files that user code wrote are staged; absent when there are none. */
      readonly custom?: Place | undefined;
      /** What came of the job's shadow; absent: it has none, or the node is of an older release. */
      readonly shadow?: ShadowOutcome;
    }
  /** Staged results have been copied to the output; `dropped` segments are empty now. */
  | {
      readonly kind: 'Appended';
      readonly job: JobName;
      readonly batches: readonly number[];
      readonly offset: number;
      readonly dropped: readonly number[];
    }
  | {
      readonly kind: 'LeaseAdopted';
      readonly job: JobName;
      readonly batch: number;
      readonly node: NodeName;
      readonly oldToken: Token;
      readonly token: Token;
      readonly at: number;
    }
  /** `readyAt`: when it may be leased again, unless it is split or quarantined, which then follows. */
  | {
      readonly kind: 'AttemptFailed';
      readonly job: JobName;
      readonly batch: number;
      readonly token: Token;
      readonly node: NodeName;
      readonly failureKind: FailureKind;
      readonly failure: Failure;
      readonly fileIndex: number;
      readonly readyAt: number;
      /** Absent in the records of older releases. */
      readonly circumstances?: Circumstances;
    }
  | { readonly kind: 'Split'; readonly job: JobName; readonly batch: number; readonly sizes: readonly number[] }
  | {
      readonly kind: 'Quarantined';
      readonly job: JobName;
      readonly batch: number;
      readonly failure: Failure;
      readonly node: NodeName | null;
      /** Of the last try; absent in the records of older releases. */
      readonly circumstances?: Circumstances;
    }
  /** The node gets no more leases of the job, and what failed there is not held against the files. */
  | {
      readonly kind: 'NodeQuarantined';
      readonly job: JobName;
      readonly node: NodeName;
      readonly incarnation: Incarnation | null;
      readonly reason: Failure;
    }
  | { readonly kind: 'NodeReleased'; readonly job: JobName; readonly node: NodeName }
  | {
      readonly kind: 'JobLabelled';
      readonly job: JobName;
      readonly labels: JobLabels;
      /** Lists leave it out. */
      readonly isArchived: boolean;
    }
  /** Made or changed: all of it as it is now. */
  | { readonly kind: 'ResourcePut'; readonly resource: Resource }
  | { readonly kind: 'ResourceRemoved'; readonly key: string };

export type VolatileEvent =
  | {
      readonly kind: 'NodeJoined';
      readonly node: NodeName;
      readonly incarnation: Incarnation;
      readonly slots: number;
      readonly labels: NodeLabels;
      readonly hostname: string;
      readonly pid: number;
      /** How long it stays; null or absent: nobody says. */
      readonly leavesInMs?: number | null;
      readonly wallMs: number;
      readonly at: number;
    }
  | { readonly kind: 'NodeConnected'; readonly node: NodeName; readonly at: number; readonly kept: readonly Token[] }
  | { readonly kind: 'NodeDisconnected'; readonly node: NodeName; readonly at: number }
  | { readonly kind: 'NodeHeard'; readonly node: NodeName; readonly at: number; readonly clock: number }
  | { readonly kind: 'NodeSuspected'; readonly node: NodeName }
  | { readonly kind: 'NodeLost'; readonly node: NodeName }
  | { readonly kind: 'NodeDraining'; readonly node: NodeName }
  | { readonly kind: 'NodeGone'; readonly node: NodeName }
  | { readonly kind: 'NodeForgotten'; readonly node: NodeName }
  | { readonly kind: 'Wanted'; readonly node: NodeName; readonly leases: number }
  | {
      readonly kind: 'LeaseGranted';
      readonly job: JobName;
      readonly batch: number;
      readonly node: NodeName;
      readonly token: Token;
      readonly at: number;
    }
  /** The mini-batch may be leased again; `isRevoked`: the node must be told. */
  | {
      readonly kind: 'LeaseReleased';
      readonly job: JobName;
      readonly batch: number;
      readonly node: NodeName;
      readonly token: Token;
      readonly isRevoked: boolean;
    }
  | {
      readonly kind: 'AttemptsStarted';
      readonly node: NodeName;
      readonly tokens: readonly Token[];
      readonly at: number;
    }
  | { readonly kind: 'StillnessNoted'; readonly job: JobName; readonly stillness: Stillness | null }
  /**
   * The node is to give the lease back unless it has begun: another one is idle, or (`isPreempted`) a job of a higher priority
   * has something for this one.
   */
  | {
      readonly kind: 'LeaseRecalled';
      readonly job: JobName;
      readonly node: NodeName;
      readonly token: Token;
      readonly isPreempted?: true;
      readonly at: number;
    }
  | { readonly kind: 'BatchReady'; readonly job: JobName; readonly batch: number }
  | { readonly kind: 'UploadSegmentGiven'; readonly job: JobName; readonly token: Token; readonly segment: number }
  | { readonly kind: 'ResultPlaced'; readonly job: JobName; readonly token: Token; readonly placed: Placed }
  | { readonly kind: 'ResultRefused'; readonly node: NodeName; readonly token: Token; readonly failure: Failure }
  /** The node's result was committed before; it did not hear so. */
  | { readonly kind: 'CommitRepeated'; readonly node: NodeName; readonly token: Token }
  /** The node says that it holds a lease that is not its own any more. */
  | { readonly kind: 'LeaseDisowned'; readonly node: NodeName; readonly token: Token }
  | { readonly kind: 'CopyStarted'; readonly job: JobName; readonly copy: Copy }
  | { readonly kind: 'HostFailed'; readonly job: JobName; readonly node: NodeName; readonly failure: Failure }
  | { readonly kind: 'NodePrepares'; readonly job: JobName; readonly node: NodeName; readonly text: string }
  | { readonly kind: 'Stalled'; readonly job: JobName | null; readonly failure: Failure | null }
  /** Little room is left on a disk, or (null) enough again. */
  | { readonly kind: 'RoomChanged'; readonly job: JobName | null; readonly failure: Failure | null }
  | { readonly kind: 'TimeStalled'; readonly byMs: number }
  /** Until then, or until all of `awaited` are back; null: nobody knows who was there. */
  | { readonly kind: 'GrantsHeld'; readonly until: number; readonly awaited: readonly NodeName[] | null };

export type Event = DurableEvent | VolatileEvent;
export type EventOf<K extends Event['kind']> = Extract<Event, { readonly kind: K }>;

const durableKinds = {
  EpochBegan: true,
  NodeKnown: true,
  NodeUnknown: true,
  JobSubmitted: true,
  PageListed: true,
  ListingEnded: true,
  Cut: true,
  JobStateChanged: true,
  JobSealed: true,
  JobPaused: true,
  JobReopened: true,
  Recut: true,
  JobPruned: true,
  SchemaSeen: true,
  SchemaFixed: true,
  Committed: true,
  Appended: true,
  LeaseAdopted: true,
  AttemptFailed: true,
  Split: true,
  Quarantined: true,
  NodeQuarantined: true,
  NodeReleased: true,
  JobLabelled: true,
  ResourcePut: true,
  ResourceRemoved: true,
} as const satisfies Record<DurableEvent['kind'], true>;

export function isDurable(event: Event): event is DurableEvent {
  return Object.hasOwn(durableKinds, event.kind);
}
