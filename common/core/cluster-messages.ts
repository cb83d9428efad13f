/**
 * What coordinator and worker nodes say to each other, in our own terms: plain data that both cores take and give and
 * that a simulator can pass along as it is. `common/rpc` translates them to and from the wire, and does nothing else.
 * Lists are empty, never absent, when there is nothing to say.
 */
import type { Failure } from './batch-error.ts';
import type { Diagnose, Diagnosis } from './diagnosis.ts';
import type { Artifact, DeploymentSettings, EnvironmentSpec, Scorer } from './deployment.ts';
import type { Incarnation, JobName, NodeName } from './ids.ts';
import type { FileRange, InputFile } from './input.ts';
import type { ResultSummary } from './result.ts';
import type { ShadowOutcome } from './shadow.ts';
import type { Token } from './token.ts';

/** A worker node asks for a certificate. */
export interface EnrollRequest {
  /** The oldest that it speaks, and the newest; 0 or absent: no other. */
  readonly protocol: number;
  readonly protocolNewest?: number;
  readonly release: string;
  /** Empty: the certificate of its connection says who asks. */
  readonly joinToken: string;
  readonly name: NodeName;
  /** PKCS #10, PEM. */
  readonly certificateRequest: string;
}

/** PEM texts. */
export interface EnrollReply {
  readonly certificate: string;
  readonly authority: string;
}

/** By key; both are short texts. */
export type NodeLabels = Readonly<Record<string, string>>;

/** A worker node introduces itself. */
export interface JoinRequest {
  /** The oldest that it speaks. */
  readonly protocol: number;
  /** The newest; absent or 0: no other. */
  readonly protocolNewest?: number;
  readonly release: string;
  readonly joinToken: string;
  readonly name: NodeName;
  readonly incarnation: Incarnation;
  readonly slots: number;
  readonly hostname: string;
  readonly pid: number;
  /** What its operator says of it, by which computes choose their nodes. */
  readonly labels: NodeLabels;
  /** It understands {@link CoordinatorMessage.diagnose}; older releases do not. */
  readonly answersDiagnose: boolean;
  /** How long it stays from now; null or absent: nobody says. */
  readonly leavesInMs?: number | null;
}

export interface JoinReply {
  /** Of the session. */
  readonly protocol: number;
  readonly release: string;
  /** Sent with every other call. */
  readonly session: string;
  readonly epoch: number;
  readonly heartbeatMs: number;
  readonly leaseMs: number;
  /** Bytes that one upload stream may have under way at first. */
  readonly uploadCreditBytes: number;
}

/** A job as a worker node needs it. */
export interface JobSpec {
  readonly name: JobName;
  /** Name of the deployment, for people. */
  readonly deployment: string;
  readonly scorer: Scorer;
  readonly model: Artifact | null;
  readonly code: Artifact | null;
  readonly environment: EnvironmentSpec;
  readonly settings: Pick<
    DeploymentSettings,
    | 'timeoutMs'
    | 'outputFormat'
    | 'outputForm'
    | 'outputAction'
    | 'loggingLevel'
    | 'environmentVariables'
    | 'customOutput'
    | 'memoryBytesMax'
  > & {
    /** Values of the secrets that `environmentVariables` refer to, by name; absent: there are none. */
    readonly secrets?: Readonly<Record<string, string>>;
    /** Name of the file of rows, which user code must not take for its own; null when the job writes none. */
    readonly outputFileName: string | null;
    /** Slots of one node that may score the job at once; null: all. */
    readonly concurrencyMax: number | null;
    /** GPUs of one scoring host: a share of one, or whole ones; absent: one for each host as far as they go. */
    readonly gpu?: number;
    /** Scoring hosts wait for the next job of the same owner that scores with the same; absent: they do not. */
    readonly keepWarm?: boolean;
  };
  /** Who has submitted the job; empty: nobody knows. */
  readonly owner: string;
  /** Absolute path on the coordinator's machine, or the canonical text of a location. */
  readonly inputRoot: string;
  /** The same of the output folder where user code writes there by itself; null otherwise. */
  readonly outputDir: string | null;
  /** Where the node puts parts of the output by itself, a folder for each attempt; null: everything goes to the coordinator. */
  readonly attemptsLocation: string | null;
  /** Scores the same files, and its rows are compared with those of the job; absent: there is none. */
  readonly shadow?: ShadowSpec;
}

/** A job's shadow as a worker node needs it. */
export interface ShadowSpec extends Pick<
  JobSpec,
  'deployment' | 'scorer' | 'model' | 'code' | 'environment' | 'settings'
> {
  /** Numbers that are so close are the same; 0: texts must be equal. */
  readonly tolerance: number;
}

/** A lease and all that a node needs to work on it. */
export interface Grant {
  readonly token: Token;
  readonly job: JobName;
  /** Ordinal of the first file. */
  readonly first: number;
  readonly files: readonly InputFile[];
  /** 1 for the first try. */
  readonly attempt: number;
  /** Nothing else is scored on the node meanwhile: the attempt before ran out of memory. */
  readonly isAlone: boolean;
  /** `name:type` of the columns that the rows are to be widened to; left out: as the scorer gives them. */
  readonly columns?: readonly string[];
}

/** A lease as a node reports it when a stream begins. */
export interface HeldLease extends FileRange {
  readonly token: Token;
  readonly job: JobName;
}

export interface Heartbeat {
  /** Grows by one within a stream, from 1. */
  readonly sequence: number;
  /** Leases to be renewed. */
  readonly held: readonly Token[];
  readonly slotsBusy: number;
  readonly rssBytes: number;
  /** How full its GPUs are, while scoring hosts have any; absent: nobody looks. */
  readonly gpus?: readonly GpuReading[];
}

/** A GPU of a worker node, or an instance of one, whoever uses it. */
export interface GpuReading {
  /** As scoring hosts are given it: an index, or a UUID. */
  readonly name: string;
  /** Such as `NVIDIA A100-SXM4-40GB`, with the profile of an instance; empty: unknown. */
  readonly model: string;
  readonly usedBytes: number;
  /** Null: unknown. */
  readonly totalBytes: number | null;
  /** Of the last seconds; null: unknown, as of instances. */
  readonly busyPercent: number | null;
}

/** A scored mini-batch. Its bytes travel beside it: inline on the wire, or uploaded before. */
export interface ResultReport {
  readonly token: Token;
  readonly summary: ResultSummary;
  /** Of the rows. */
  readonly bytes: number;
  readonly crc32: number;
  /** Of the files that user code wrote, which follow the rows' bytes; 0 when there are none. */
  readonly customBytes: number;
  readonly customCrc32: number;
  /** What came of the job's shadow; absent: it has none. */
  readonly shadow?: ShadowOutcome;
  readonly isUploaded: boolean;
}

export interface AttemptFailureReport {
  readonly token: Token;
  readonly failure: Failure;
  /** Place within the mini-batch of the file that was open last; −1 when unknown. */
  readonly fileIndex: number;
  readonly circumstances: Circumstances;
}

/** What is known of an attempt that failed, for the people who look for the reason. */
export interface Circumstances {
  readonly runSeconds: number;
  /** Of the scoring host with all that it started; null when unknown. */
  readonly peakMemoryBytes: number | null;
  /** How the host ended, such as `signal SIGKILL` or `exit code 3`; null when it lives on. */
  readonly hostExit: string | null;
}

/** Of a failure that no host was part of. */
export const noCircumstances: Circumstances = { runSeconds: 0, peakMemoryBytes: null, hostExit: null };

/** Long work before the first mini-batch of a job on a node: an environment that is being built. */
export interface Preparation {
  readonly job: JobName;
  /** One line for people; empty when it is done. */
  readonly text: string;
}

/** A job's model, code or `init()` failed on the node: no mini-batch is to blame. */
export interface HostFailureReport {
  readonly job: JobName;
  readonly failure: Failure;
}

/** Everything that happened on a node within one turn. */
export interface NodeMessage {
  /** Only in the first message of a stream. */
  readonly hello: readonly HeldLease[] | null;
  readonly heartbeat: Heartbeat | null;
  /** Leases wanted in addition to those wanted before. */
  readonly want: number;
  readonly started: readonly Token[];
  readonly results: readonly ResultReport[];
  readonly failures: readonly AttemptFailureReport[];
  readonly hostFailures: readonly HostFailureReport[];
  readonly preparations: readonly Preparation[];
  readonly diagnoses: readonly Diagnosis[];
  readonly returned: readonly Token[];
  readonly isLeaving: boolean;
}

export interface RefusalReport {
  readonly token: Token;
  readonly failure: Failure;
}

/** A held lease that lives on under a new token. */
export interface AdoptedLease {
  readonly oldToken: Token;
  readonly newToken: Token;
}

export interface CoordinatorMessage {
  readonly jobs: readonly JobSpec[];
  readonly grants: readonly Grant[];
  readonly committed: readonly Token[];
  readonly refused: readonly RefusalReport[];
  readonly revoked: readonly Token[];
  /** To be given back unless a slot has begun with them. */
  readonly recalled: readonly Token[];
  readonly endedJobs: readonly JobName[];
  /** Jobs of which the node gives back what no slot has begun. */
  readonly drainedJobs: readonly JobName[];
  readonly diagnose: readonly Diagnose[];
  /** 0: none. */
  readonly heartbeatAck: number;
  /** It is to score what runs, give the rest back, and leave. */
  readonly isDrain: boolean;
  /** How long that may take; null or absent: as long as it does. */
  readonly drainMs?: number | null;
  /** Another coordinator leads within this time, and nobody grants meanwhile; null or absent: nothing of the kind. */
  readonly handoverMs?: number | null;
  /** Answer to hello; null in every other message. Held leases that it does not name are over. */
  readonly adoption: readonly AdoptedLease[] | null;
}

/** A message that says nothing; spread it and name what is to be said. */
export const emptyNodeMessage: NodeMessage = {
  hello: null,
  heartbeat: null,
  want: 0,
  started: [],
  results: [],
  failures: [],
  hostFailures: [],
  preparations: [],
  diagnoses: [],
  returned: [],
  isLeaving: false,
};

/** A message that says nothing; spread it and name what is to be said. */
export const emptyCoordinatorMessage: CoordinatorMessage = {
  jobs: [],
  grants: [],
  committed: [],
  refused: [],
  revoked: [],
  recalled: [],
  endedJobs: [],
  drainedJobs: [],
  diagnose: [],
  heartbeatAck: 0,
  isDrain: false,
  adoption: null,
};
