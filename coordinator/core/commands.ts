/** Everything that can happen to the coordinator, as plain data. */
import type { Failure } from '../../common/core/batch-error.ts';
import type { Circumstances, HeldLease, NodeLabels } from '../../common/core/cluster-messages.ts';
import type { Deployment } from '../../common/core/deployment.ts';
import type { Incarnation, JobName, NodeName } from '../../common/core/ids.ts';
import type { ResultSummary } from '../../common/core/result.ts';
import type { JobShadow, ShadowOutcome } from '../../common/core/shadow.ts';
import type { JobLabels, JobOrigin } from '../../common/core/job-origin.ts';
import type { InputSelection } from '../../common/core/input-selection.ts';
import type { SkippedNames } from '../../common/core/skipped-names.ts';
import type { SplitCount } from '../../common/core/split.ts';
import type { Token } from '../../common/core/token.ts';
import type { ReopenScope } from './life-events.ts';
import type { NodeOrder } from './node-orders.ts';
import type { Resource } from './resources.ts';
import type { Since, TakenRun } from './since.ts';

export type Command =
  /** The process has replayed its journal and starts to serve. */
  | { readonly kind: 'begin'; readonly epoch: number }
  | {
      readonly kind: 'submit';
      readonly job: JobName;
      readonly deployment: Deployment;
      readonly inputPath: string;
      /** Absent: as the deployment says. */
      readonly selection?: InputSelection;
      readonly outputDir: string;
      /** Where the sealed output goes; null or absent: it stays there. */
      readonly outputLocation?: string | null;
      /** From which rows are taken. */
      readonly since?: Since;
      /** It makes the parts of this job's output. */
      readonly rowsOf?: JobName;
      /** Absent: nothing is said of it. */
      readonly origin?: JobOrigin;
      /** Scores the same files beside it. */
      readonly shadow?: JobShadow;
      readonly wallMs: number;
    }
  /** A page of the listing is sealed in chunk `chunk`. `sizesBytes` has one entry per file. */
  | {
      readonly kind: 'page-listed';
      readonly job: JobName;
      readonly chunk: number;
      readonly sizesBytes: ArrayLike<number>;
      /** Files of it whose rows are there already, durably; absent: none. */
      readonly taken?: readonly TakenRun[];
      readonly wallMs: number;
    }
  | {
      readonly kind: 'listing-ended';
      readonly job: JobName;
      readonly skipped: number;
      /** Absent: nobody has counted by reason. */
      readonly skippedBy?: SkippedNames;
      /** Absent: no file was shared out. */
      readonly split?: SplitCount;
      readonly wallMs: number;
    }
  /** The job cannot go on, whatever its mini-batches do. */
  | { readonly kind: 'fail-job'; readonly job: JobName; readonly failure: Failure; readonly wallMs: number }
  /** `graceMs`: what runs may take so much longer; 0: it is killed. */
  | { readonly kind: 'cancel'; readonly job: JobName; readonly wallMs: number; readonly graceMs: number }
  | { readonly kind: 'pause'; readonly job: JobName; readonly isPaused: boolean }
  | {
      readonly kind: 'reopen';
      readonly job: JobName;
      readonly scope: ReopenScope;
      readonly deployment: Deployment;
      /** Of the job when the caller looked at it. */
      readonly reopenings: number;
      /** Sizes of the files of each run that is cut anew; null: mini-batches stay as they are. */
      readonly recut: readonly { readonly first: number; readonly sizesBytes: ArrayLike<number> }[] | null;
    }
  | { readonly kind: 'prune'; readonly job: JobName }
  /** What people say of a job; what is absent stays. */
  | {
      readonly kind: 'label-job';
      readonly job: JobName;
      readonly labels: Partial<JobLabels>;
      readonly isArchived?: boolean;
    }
  /** `ifMatch`: only while its tag is this one; null: whatever is there. `isDefault`: a deployment becomes its endpoint's default. */
  | {
      readonly kind: 'put-resource';
      readonly resource: Resource;
      readonly ifMatch: number | null;
      readonly isDefault?: boolean;
    }
  /** `isForced`: also while jobs of it have not ended. */
  | {
      readonly kind: 'remove-resource';
      readonly key: string;
      readonly ifMatch: number | null;
      readonly isForced: boolean;
    }
  | { readonly kind: 'sealed'; readonly job: JobName; readonly wallMs: number }
  | {
      readonly kind: 'join';
      readonly node: NodeName;
      readonly incarnation: Incarnation;
      readonly slots: number;
      readonly labels: NodeLabels;
      readonly hostname: string;
      readonly pid: number;
      /** How long it stays; null or absent: nobody says. */
      readonly leavesInMs?: number | null;
      readonly wallMs: number;
    }
  /** First message of a stream: all that the node holds. */
  | { readonly kind: 'hello'; readonly node: NodeName; readonly held: readonly HeldLease[] }
  | { readonly kind: 'disconnected'; readonly node: NodeName }
  | { readonly kind: 'heartbeat'; readonly node: NodeName; readonly held: readonly Token[] }
  | { readonly kind: 'want'; readonly node: NodeName; readonly leases: number }
  /** On an operator's word, whose name is `by`. */
  | {
      readonly kind: 'order-node';
      readonly node: NodeName;
      readonly order: NodeOrder;
      readonly by: string;
      readonly wallMs: number;
    }
  | { readonly kind: 'leaving'; readonly node: NodeName }
  /** run() has begun on these mini-batches. */
  | { readonly kind: 'started'; readonly node: NodeName; readonly tokens: readonly Token[] }
  | { readonly kind: 'returned'; readonly node: NodeName; readonly tokens: readonly Token[] }
  | {
      readonly kind: 'host-failed';
      readonly node: NodeName;
      readonly job: JobName;
      readonly failure: Failure;
      readonly wallMs: number;
    }
  /** How far a node is with an environment of the job; empty: it is done or given up. */
  | { readonly kind: 'preparing'; readonly node: NodeName; readonly job: JobName; readonly text: string }
  | {
      readonly kind: 'attempt-failed';
      readonly node: NodeName;
      readonly token: Token;
      readonly failure: Failure;
      /** Place within the mini-batch of the file that was open last; −1 when unknown. */
      readonly fileIndex: number;
      readonly circumstances: Circumstances;
    }
  /** The first piece of a result that is too large to be held in memory. */
  | { readonly kind: 'upload-began'; readonly node: NodeName; readonly token: Token }
  /** A result's summary; its bytes are in the shell's hands, or in the segment that `upload-began` was given. */
  | {
      readonly kind: 'result';
      readonly node: NodeName;
      readonly token: Token;
      readonly summary: ResultSummary;
      /** Of the rows. */
      readonly length: number;
      readonly crc32: number;
      /** Of the files that user code wrote, right behind the rows; 0 when there are none. */
      readonly customLength: number;
      readonly customCrc32: number;
      /** What came of the job's shadow. */
      readonly shadow?: ShadowOutcome;
    }
  /** Bytes are on disk: of these leases, or of the copy that is under way. */
  | { readonly kind: 'written'; readonly job: JobName; readonly token: Token }
  | { readonly kind: 'copied'; readonly job: JobName }
  /** Output or journal cannot be written to for want of space, or (null) can again. */
  | { readonly kind: 'stall'; readonly job: JobName | null; readonly failure: Failure | null }
  /** Little room is left on the disk of the output or (job null) of the state directory, or (failure null) enough again. */
  | { readonly kind: 'room'; readonly job: JobName | null; readonly failure: Failure | null }
  /** Time passes. `stallMs`: how much later than due this tick came. */
  | { readonly kind: 'tick'; readonly stallMs: number; readonly wallMs: number };
