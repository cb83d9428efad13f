/**
 * What the HTTP API asks of the coordinator: the whole of the surface between them. All values are JSON as callers see
 * them, with Azure's names where Azure has one.
 */
import type { NodeOrder } from '../core/node-orders.ts';
import type { BatchRecord } from '../../common/core/batch-record.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import type { JobLabels, JobOrigin } from '../../common/core/job-origin.ts';
import type { InputSelection } from '../../common/core/input-selection.ts';
import type { SkippedNames } from '../../common/core/skipped-names.ts';
import type { JobShadow, OtherColumns } from '../../common/core/shadow.ts';
import type { SplitCount } from '../../common/core/split.ts';
import type { JobState } from '../../common/core/states.ts';
import type { LocalDeployment, MiniBatchSize } from '../../common/core/deployment.ts';
import type { CircumstancesView } from '../views/circumstances.ts';

export interface JobRequest {
  readonly deployment: LocalDeployment;
  /** Absolute path of a folder, or of one file, on the coordinator's machine. */
  readonly inputPath: string;
  /** Which of its files; absent: as the deployment says. */
  readonly selection?: InputSelection;
  /** Absolute path of a folder on the coordinator's machine. */
  readonly outputDir: string;
  readonly isOverwrite: boolean;
  /** Earlier job, or absolute path of its output folder, from which rows of files that are the same are taken. */
  readonly since?: string | null;
  /** A wish; null: one is made from the deployment's name and the time. */
  readonly name: string | null;
  /** Absent: nobody said anything of it. */
  readonly origin?: JobOrigin;
  /** Scores the same files beside it. */
  readonly shadow?: JobShadow;
}

/** Seconds inside run(), a mini-batch at a time; null before the first. */
export interface LatencyView {
  readonly total: number;
  readonly p50: number | null;
  readonly p95: number | null;
}

/** What another deployment would have said of the same files, as far as the job is. */
export interface ShadowView {
  readonly deployment: string;
  readonly revision: number;
  readonly tolerance: number;
  /** Rows that are the same of those that were compared; null: none was. */
  readonly agreement: number | null;
  /** `not_compared`: rows of the job that the shadow has no counterpart of, those that were taken included. */
  readonly rows: {
    readonly compared: number;
    readonly same: number;
    readonly different: number;
    readonly not_compared: number;
  };
  readonly files: {
    readonly same: number;
    readonly different: number;
    readonly other_row_counts: number;
    readonly failed_only_default: number;
    readonly failed_only_shadow: number;
    readonly failed_both: number;
    /** Whose rows were taken from an earlier output. */
    readonly taken: number;
  };
  /** `failed`: the shadow has no result. `other_columns`: compared, though the names of the columns are not the same. */
  readonly mini_batches: { readonly compared: number; readonly failed: number; readonly other_columns: number };
  readonly columns: OtherColumns | null;
  /** Of the mini-batches of which both have a result. */
  readonly seconds: { readonly default: LatencyView; readonly shadow: LatencyView };
  /** Why the shadow had no result, once for each code. */
  readonly failures: readonly { readonly code: ErrorCode; readonly message: string; readonly mini_batches: number }[];
}

/** Where a job comes from, with the names that Azure's `job show` has for it. */
export interface JobOriginView {
  /** Path of this API. */
  readonly id: string;
  readonly type: 'pipeline';
  readonly display_name: string;
  readonly experiment_name: string;
  readonly endpoint: string | null;
  readonly revision: number | null;
  readonly owner: string;
  readonly priority: number;
  readonly compute: string | null;
  /** Labels that its worker nodes must have, all of them. */
  readonly require: Readonly<Record<string, string>>;
  readonly description: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly properties: Readonly<Record<string, string>>;
  readonly archived: boolean;
  readonly creation_context: { readonly created_at: string; readonly created_by: string };
  /** Addresses, or paths of this API. */
  readonly services: Readonly<Record<'Studio' | 'Tracking', { readonly endpoint: string }>>;
  readonly inputs: Readonly<Record<string, { readonly type: string; readonly path: string }>>;
  readonly outputs: Readonly<Record<string, { readonly type: string; readonly path: string }>>;
}

/** Which jobs a list is of; null: any. */
export interface JobQuery {
  /** Names are matched whatever their case. */
  readonly endpoint: string | null;
  readonly deployment: string | null;
  readonly states: readonly JobState[] | null;
  readonly archived: boolean | null;
  readonly limit: number;
  /** Where an earlier page ended. */
  readonly before: number | null;
}

/** Newest first. */
export interface JobPageView {
  readonly value: readonly JobView[];
  /** Where the next page begins; null after the last one. */
  readonly next: number | null;
}

/** What is absent stays as it is. */
export type LabelRequest = Partial<JobLabels> & { readonly isArchived?: boolean };

export interface JobView extends JobOriginView {
  readonly name: string;
  readonly status: JobState;
  /** Nothing more of it is granted until `job resume`. */
  readonly paused: boolean;
  /** Of the output: grows when a job that had ended went on and rows were put between those in place. */
  readonly generation: number;
  /** Why it does not go on, or null: no worker node, disk full. */
  readonly waiting: string | null;
  readonly deployment: string;
  readonly input_path: string;
  readonly output_path: string;
  readonly output_file: string | null;
  /** ISO 8601, UTC. */
  readonly created_at: string;
  readonly started_at: string | null;
  readonly ended_at: string | null;
  readonly files: JobCounts;
  /** The earlier output from which rows are taken; `reason`: why they are not. */
  readonly since: { readonly job: string; readonly output_path: string; readonly reason: string | null } | null;
  /** Null: nothing scores beside it. */
  readonly shadow: ShadowView | null;
  readonly mini_batches: {
    readonly total: number;
    readonly committed: number;
    readonly leased: number;
    readonly failed_tries: number;
  };
  readonly rows: number;
  /** While the files of the output are made of the rows: how many there are to be, and how many are made. Null at other times. */
  readonly parts: { readonly total: number; readonly is_listed: boolean; readonly made: number } | null;
  /**
   * How much of the output file is final: these bytes are on the disk, whole mini-batches, and stay as they are, whatever
   * crashes. What the file has behind them may change.
   */
  readonly output_bytes: number;
  /** Worker nodes that hold work of the job now. */
  readonly nodes: number;
  /** Worker nodes that get no more work of the job, because too much failed there that others scored. */
  readonly quarantined_nodes: readonly { readonly name: string; readonly reason: string }[];
  readonly error: { readonly code: ErrorCode; readonly message: string; readonly detail: string } | null;
  /** What was given up last; null when nothing was. `errors` has all. */
  readonly last_failure: LastFailureView | null;
}

/** Files `first` to `first + count - 1` of the input order. */
export interface LastFailureView extends CircumstancesView {
  readonly first: number;
  readonly count: number;
  readonly code: ErrorCode;
  /** First line of the message. */
  readonly message: string;
  readonly node: string | null;
  readonly tries: number;
}

/** What a job goes on under; null: as before. */
export interface ReopenRequest {
  readonly deployment: LocalDeployment | null;
  readonly miniBatchSize: MiniBatchSize | null;
  readonly timeoutMs: number | null;
  readonly triesMax: number | null;
  readonly errorThreshold: number | null;
  readonly instanceCountMax: number | null;
  readonly concurrencyPerInstanceMax: number | null;
}

/** Which of the jobs that have ended are forgotten: all that are named, or all that every given condition holds for. */
export interface PruneRequest {
  /** As {@link Backend.show} takes them; empty: all. */
  readonly names: readonly string[];
  readonly olderThanMs: number | null;
  /** Null: any. */
  readonly states: readonly JobState[] | null;
  /** Only says which they are. */
  readonly isDryRun: boolean;
  /** Their results and logs as well. */
  readonly withOutput: boolean;
}

export interface PrunedView {
  readonly name: string;
  readonly status: JobState;
  readonly ended_at: string | null;
  readonly output_path: string;
  /** Whether results and logs went too. */
  readonly output_removed: boolean;
}

export interface JobCounts {
  /** So far listed; final once `is_listed`. */
  readonly total: number;
  readonly is_listed: boolean;
  readonly scored: number;
  /** Of the scored ones, those whose rows were taken from an earlier output. */
  readonly taken: number;
  readonly failed: number;
  /** Of the failed ones, those whose mini-batch returned fewer rows than it had files, without saying why. */
  readonly missing: number;
  /** Names that were passed over: hidden, excluded, no files. */
  readonly skipped: number;
  /** The same by reason; null until the listing has ended, and for jobs of older releases. */
  readonly skipped_by: Readonly<SkippedNames> | null;
  /** Large files that are counted as their parts; null: none is, or the listing has not ended. */
  readonly split: SplitCount | null;
}

export interface NodeView {
  readonly name: string;
  readonly state: 'ready' | 'quarantined' | 'suspect' | 'lost' | 'draining' | 'gone';
  readonly hostname: string;
  readonly pid: number;
  readonly slots: number;
  readonly leases: number;
  /** Longest time between two heartbeats since it joined, milliseconds. */
  readonly heartbeat_gap_ms_max: number;
  /** Null: it is not here, and what is said of it holds when it joins. */
  readonly joined_at: string | null;
  /** Jobs of which it gets no more work, each with the reason. */
  readonly quarantines: readonly { readonly job: string; readonly reason: string }[];
  /** It gets no work at all; what it holds goes on. */
  readonly cordoned: boolean;
  /** Why it was quarantined by hand; null: it was not. */
  readonly quarantine: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** When its time is up; null: it stays. */
  readonly leaves_at: string | null;
  /** How full its GPUs are, whoever uses them; none while no scoring host has one, and where nobody knows. */
  readonly gpus: readonly GpuView[];
}

/** A GPU of a worker node, or an instance of one. */
export interface GpuView {
  /** As scoring hosts are given it: an index, or a UUID. */
  readonly name: string;
  /** Empty: unknown. */
  readonly model: string;
  readonly memory_used_bytes: number;
  /** Null: unknown. */
  readonly memory_bytes: number | null;
  readonly busy_percent: number | null;
}

/** One line of `job stream`; `sequence` grows by one within a job. */
export interface JobEvent {
  readonly sequence: number;
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly kind: 'state' | 'progress' | 'attempt-failed' | 'file-failed' | 'node' | 'waiting';
  readonly message: string;
  readonly job: JobView;
}

/** Failures with one cause, counted together. */
export interface ErrorGroupView {
  readonly code: ErrorCode;
  readonly message: string;
  /** Cut to the frames of user code; empty when there is none. */
  readonly trace: string;
  /** Files that failed so. */
  readonly files: number;
  readonly first_file: string;
  readonly last_file: string;
  readonly example: CircumstancesView & {
    readonly file: string;
    readonly node: string | null;
    readonly tries: number;
  };
}

export interface JobErrorsView {
  readonly name: string;
  readonly status: JobState;
  /** Why the job failed; null when it has not. */
  readonly error: { readonly code: ErrorCode; readonly message: string; readonly trace: string } | null;
  readonly failed_files: number;
  /** How many there are; `value` is a page of them, most files first. */
  readonly groups: number;
  readonly value: readonly ErrorGroupView[];
  /** Folder of the job's logs on the coordinator's machine. */
  readonly logs_path: string;
}

/** An attempt at a mini-batch and where its prints lie. */
export interface PrintedView extends BatchRecord {
  readonly node: string;
  /** `process000` */
  readonly process: string;
}

/** A file of the input by its path, or the mini-batch that a file with this ordinal is in. */
export type FileQuery = { readonly file: string } | { readonly first: number };

export interface Page {
  readonly offset: number;
  readonly limit: number;
}

export interface Backend {
  /** Returns once the job is durable. @throws DEPLOYMENT_NOT_FOUND, INPUT_NOT_FOUND, INPUT_EMPTY, OUTPUT_EXISTS, OUTPUT_IN_INPUT, … */
  submit(request: JobRequest): Promise<JobView>;
  /** Newest first: all there are. */
  list(): readonly JobView[];
  page(query: JobQuery): JobPageView;
  /** A name, a unique beginning of one, or `last`. @throws JOB_NOT_FOUND */
  show(name: string): JobView;
  /**
   * Nothing more is granted; what runs may end for `graceMs`, and is killed then, or when asked again. Idempotent on jobs
   * that have ended. @throws JOB_NOT_FOUND
   */
  cancel(name: string, graceMs: number): Promise<JobView>;
  /** @throws JOB_NOT_FOUND, JOB_ENDED */
  pause(name: string): Promise<JobView>;
  /** Of a paused job, or of one that failed or was canceled. @throws JOB_NOT_FOUND, JOB_NOT_FINISHED, JOB_ENDED, … */
  resume(name: string, request: ReopenRequest): Promise<JobView>;
  /** Scores failed files again. @throws JOB_NOT_FOUND, JOB_NOT_FINISHED, NOTHING_FAILED, … */
  retry(name: string, request: ReopenRequest): Promise<JobView>;
  /** @throws JOB_NOT_FOUND */
  label(name: string, request: LabelRequest): Promise<JobView>;
  /** Forgets jobs that have ended. @throws JOB_NOT_FOUND, JOB_NOT_FINISHED */
  prune(request: PruneRequest): Promise<readonly PrunedView[]>;
  nodes(): readonly NodeView[];
  /** @throws RESOURCE_NOT_FOUND */
  node(name: string): NodeView;
  /** On the word of a user; nothing is returned of a node of which nothing is known any more. @throws what `node-orders.ts` says */
  orderNode(name: string, order: NodeOrder, by: string): Promise<readonly NodeView[]>;
  wallMs(): number;
  /** Events after `afterSequence`, first those that are past, then live ones until the job ends or `signal` aborts. */
  events(name: string, afterSequence: number, signal: AbortSignal): AsyncIterable<JobEvent>;
  /** Folder of this machine where the job's rows and logs are. All that reads it @throws JOB_NOT_FOUND, and OUTPUT_EXISTS when a later job has it */
  outputDir(name: string): Promise<string>;
  /** Files under the output folder that are final, relative paths with sizes. @throws JOB_NOT_FINISHED */
  outputFiles(name: string): Promise<readonly { readonly path: string; readonly sizeBytes: number }[]>;
  /** Absolute path of one of {@link outputFiles}. @throws INPUT_NOT_FOUND */
  outputFile(name: string, path: string): Promise<string>;
  /** How much of an output file may be read: of rows while the job runs what is final; null: all of it. @throws JOB_NOT_FOUND */
  finalBytes(name: string, path: string): number | null;
  /** Files of the log folder as they are now. */
  logFiles(name: string): Promise<readonly { readonly path: string; readonly sizeBytes: number }[]>;
  /** Absolute path of a log. @throws LOG_NOT_FOUND */
  logFile(name: string, path: string): Promise<string>;
  /** Attempts that had the file, in order of time. @throws INPUT_NOT_FOUND */
  printed(name: string, query: FileQuery): Promise<readonly PrintedView[]>;
  /** Also while the job runs. @throws JOB_NOT_FOUND */
  errors(name: string, page: Page): Promise<JobErrorsView>;
}
