/**
 * What coordinator and worker nodes say to each other, in our own terms: plain data that both cores take and give and
 * that a simulator can pass along as it is. `common/rpc` translates them to and from the wire, and does nothing else.
 * Lists are empty, never absent, when there is nothing to say.
 */
import type { Failure } from './batch-error.ts';
import type { Artifact, DeploymentSettings, Scorer } from './deployment.ts';
import type { Incarnation, JobName, NodeName } from './ids.ts';
import type { FileRange, InputFile } from './input.ts';
import type { ResultSummary } from './result.ts';
import type { Token } from './token.ts';

/** A worker node introduces itself. */
export interface JoinRequest {
  readonly protocol: number;
  readonly release: string;
  readonly joinToken: string;
  readonly name: NodeName;
  readonly incarnation: Incarnation;
  readonly slots: number;
  readonly hostname: string;
  readonly pid: number;
}

export interface JoinReply {
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
  readonly settings: Pick<
    DeploymentSettings,
    'timeoutMs' | 'outputFormat' | 'outputAction' | 'loggingLevel' | 'environmentVariables'
  > & {
    /** Slots of one node that may score the job at once; null: all. */
    readonly concurrencyMax: number | null;
  };
  /** Absolute path on the coordinator's machine. */
  readonly inputRoot: string;
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
}

/** A scored mini-batch. Its bytes travel beside it: inline on the wire, or uploaded before. */
export interface ResultReport {
  readonly token: Token;
  readonly summary: ResultSummary;
  readonly bytes: number;
  readonly crc32: number;
  readonly isUploaded: boolean;
}

export interface AttemptFailureReport {
  readonly token: Token;
  readonly failure: Failure;
  /** Place within the mini-batch of the file that was open last; −1 when unknown. */
  readonly fileIndex: number;
  readonly runSeconds: number;
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
  readonly endedJobs: readonly JobName[];
  /** 0: none. */
  readonly heartbeatAck: number;
  readonly isDrain: boolean;
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
  endedJobs: [],
  heartbeatAck: 0,
  isDrain: false,
  adoption: null,
};
