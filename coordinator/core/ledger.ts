/**
 * What is owed and done: everything that the coordinator knows, rebuilt from the journal by replaying it.
 * Only `evolve` writes it. Times are milliseconds of the attended clock: the monotonic clock less the coordinator's own
 * stalls, so that a stalled coordinator never expires a lease that its holder could not renew.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import type { Circumstances, NodeLabels } from '../../common/core/cluster-messages.ts';
import type { Deployment } from '../../common/core/deployment.ts';
import type { Incarnation, JobName, NodeName } from '../../common/core/ids.ts';
import { invariant } from '../../common/core/invariant.ts';
import { heartbeatMs, limits } from '../../common/core/limits.ts';
import type { ResultSchema, ResultSummary } from '../../common/core/result.ts';
import type { JobShadow, ShadowOutcome } from '../../common/core/shadow.ts';
import type { JobState } from '../../common/core/states.ts';
import type { JobOrigin } from '../../common/core/job-origin.ts';
import type { InputSelection } from '../../common/core/input-selection.ts';
import type { SkippedNames } from '../../common/core/skipped-names.ts';
import type { SplitCount } from '../../common/core/split.ts';
import type { Token } from '../../common/core/token.ts';
import { EndpointLoads } from './admission.ts';
import type { BatchTable, Place } from './batch-table.ts';
import type { BrokenSuspicion } from './broken-scorer.ts';
import type { FileSizes } from './file-sizes.ts';
import { JobQueue } from './job-queue.ts';
import type { Pending } from './pending.ts';
import type { OpenCut } from './plan.ts';
import type { Learned } from './rates.ts';
import { Registry } from './registry.ts';
import type { RunTimes } from './run-times.ts';
import type { ShadowTally } from './shadow-tally.ts';
import type { NodeHealth, SickNode } from './sick-nodes.ts';
import type { Since } from './since.ts';
import type { Stillness } from './stillness.ts';

export interface Ledger {
  epoch: number;
  /** Counter of the last grant in this epoch. */
  grants: number;
  /** In order of submission. */
  readonly jobs: Map<JobName, Job>;
  /** Jobs ever submitted. Durable. */
  submissions: number;
  readonly nodes: Map<NodeName, Node>;
  /** Assets, endpoints, and what operators set up. Durable. */
  readonly registry: Registry;
  /** Live leases of this epoch by grant counter. */
  readonly leases: Map<number, Lease>;
  /** Nodes that want work, the one that waited longest first. */
  readonly hungry: Set<NodeName>;
  /** Jobs with something to lease. */
  readonly runnable: JobQueue;
  /** Jobs of endpoints, for those that may run only so many at once. */
  readonly loads: EndpointLoads;
  /** Leases by the owner of their job. */
  readonly heldBy: Map<string, number>;
  /** Nodes that hold leases of jobs that name a compute, and how many, by its name in small letters. */
  readonly computeNodes: Map<string, Map<NodeName, number>>;
  /** Of committed results that wait for their turn, of all jobs; and from where on only what they wait for is granted. */
  stagedBytes: number;
  readonly stagingBytesMax: number;
  /** Of results in memory on their way to the disk. Not durable. */
  placingBytes: number;
  /** There is little room left on the disk of the state directory; nothing is granted meanwhile. Not durable. */
  shortage: Failure | null;
  /** The journal cannot be written to for want of space; nothing is granted meanwhile. Not durable. */
  stall: Failure | null;
  /** Sum of the stalls so far. */
  stallMs: number;
  /** After a restart nothing is granted before this time, so that nodes come back to what they hold; unless nobody is awaited. */
  grantFrom: number;
  /** Nodes that were there before a restart and have not come back; null: the journal does not say who was. */
  awaited: Set<NodeName> | null;
  /** Nodes that may hold leases. Durable. */
  readonly known: Set<NodeName>;
  /** Of nodes that may be granted leases: how many there are, and their slots. */
  ready: { readonly nodes: number; readonly slots: number };
  /** How long mini-batches of earlier jobs took, by what they were scored with, the latest last. Durable. */
  readonly learned: Map<string, Learned>;
  /** Whether the journal says which nodes those are. Durable. */
  tellsNodes: boolean;
  readonly heartbeatMs: number | null;
}

export interface Job {
  readonly name: JobName;
  /** In order of submission, from 1; never given to another one. */
  readonly number: number;
  /** A job that is reopened may go on under another one. */
  deployment: Deployment;
  readonly inputPath: string;
  /** Which of its files; stays as it is when the job goes on under another deployment. */
  readonly selection: InputSelection;
  readonly outputDir: string;
  /** Where the sealed output goes, as the canonical text of a location; null: it stays in `outputDir`. */
  readonly outputLocation: string | null;
  /** From which rows are taken for files that are the same; null: every file is scored. */
  readonly since: Since | null;
  /** It makes the parts of this job's output from its rows; null: it is a job of its own. */
  readonly rowsOf: JobName | null;
  /** Scores the same files beside it; null: nothing does. Stays when the job goes on under another deployment. */
  readonly shadow: JobShadow | null;
  /** What it came to so far; null without one. */
  readonly shadowed: ShadowTally | null;
  /** Where it comes from and what people say of it. */
  origin: JobOrigin;
  /** Lists leave it out. */
  isArchived: boolean;
  /** Grows with submission; what makes the parts of a job has its. Follows from the order of jobs. */
  order: number;
  readonly createdWallMs: number;
  startedWallMs: number | null;
  endedWallMs: number | null;
  state: JobState;
  error: Failure | null;
  isSealed: boolean;
  /** Nothing is granted; what runs goes on. */
  isPaused: boolean;
  /** When a job whose cancel was asked for is ended whatever runs; null otherwise. */
  cancelUntilWallMs: number | null;
  /** Of the output, from 1: it is written anew when rows come before those that are in place. */
  generation: number;
  /** The last one that was sealed as complete; 0: none. */
  sealedGeneration: number;
  /** Files from which rows are copied, by their number as a segment: names in the output folder, or absolute paths. */
  readonly bases: Map<number, string>;
  /** Times that it went on after it had ended. */
  reopenings: number;
  /** Leases up to this one are of the time before the last one of them, or of a job that had the name before. */
  reopenedAfter: Token;
  /** Of a sealed job: whether its staging is still there. */
  isStagingKept: boolean;
  /** Whether all that user code ever wrote for committed mini-batches is staged. */
  isCustomWhole: boolean;
  /** The job's own output cannot be written to for want of space; nothing of it is granted meanwhile. Not durable. */
  stall: Failure | null;
  /** There is little room left on the output's disk; nothing of it is granted meanwhile. Not durable. */
  shortage: Failure | null;

  /** Listing. */
  isListed: boolean;
  chunks: number;
  files: number;
  inputBytes: number;
  skipped: number;
  /** Null in jobs of older releases, and until the listing has ended. */
  skippedBy: SkippedNames | null;
  /** Files that were shared out, and their parts; null: none, or not listed to the end. */
  split: SplitCount | null;
  /** Files in mini-batches so far; the rest is `openCut`. */
  planned: number;
  openCut: OpenCut;

  readonly batches: BatchTable;
  readonly pending: Pending;
  /** Of the files of a job that is cut as it is granted; of others it knows none. */
  readonly fileSizes: FileSizes;
  /** How long mini-batches take, as far as results have told. */
  learned: Learned;
  /** Mini-batches that wait for their next try, with the time when they may be leased. */
  readonly waiting: Map<number, number>;
  /** Live leases of each mini-batch by grant counter: one, or two when a straggler has a second attempt. */
  readonly holders: Map<number, readonly number[]>;
  /** Mini-batches that are better tried on another node than this one, until a time. Not durable. */
  readonly avoided: Map<number, Avoidance>;
  /** Mini-batches that are neither committed nor quarantined (nor split). */
  open: number;
  total: number;

  /** Output: the next mini-batch in order that has no place in the output yet. */
  cursor: number;
  /** End of the output as far as places in it are given away. */
  outputEnd: number;
  /** End of the output as far as it is committed. */
  outputCommitted: number;
  copy: Copy | null;
  stagingSegment: number;
  stagingEnd: number;
  /** Rows that wait in staging segments for their turn: their bytes, and the highest ordinal among them; −1 without any. */
  stagedBytes: number;
  stagedTo: number;
  /** What still lies in a staging segment: rows that wait for their turn, custom files until the job is sealed. */
  readonly segments: Map<number, number>;
  /** Results that are being written to a staging segment and are not committed yet. Not durable. */
  readonly placing: Map<number, number>;
  /** Where the files are staged that user code wrote, by mini-batch; only of those that have some. */
  readonly custom: Map<number, Place>;
  readonly schemas: ResultSchema[];
  /** Index of the job's schema; −1 until the first rows have their turn. */
  schema: number;

  /** Results committed in this process, those since taken back included. Not durable. */
  commits: number;

  /** Counts for people. */
  committed: number;
  leased: number;
  rows: number;
  scoredFiles: number;
  /** Of the scored ones, those whose rows were taken from an earlier output. */
  takenFiles: number;
  failedFiles: number;
  /** Of these, files whose mini-batch returned fewer rows than it had files, and nobody said why. */
  missingFiles: number;
  failedTries: number;
  /** Rows of each input file where the scorer tells them; see {@link unknownRows}. */
  fileRows: Uint32Array;
  readonly failures: FailedFile[];
  /** Names behind the node numbers of the mini-batch table. */
  readonly nodeNames: NodeName[];
  /** Their places there, as far as somebody has asked. */
  readonly nodeNumbers: Map<NodeName, number>;
  /** Leases by node. */
  readonly nodes: Map<NodeName, number>;
  initFailures: number;
  /** The same by node. */
  readonly initFailuresOf: Map<NodeName, number>;
  isInitialised: boolean;
  /** Whether it is the scorer that fails, and not some of the files. */
  readonly suspicion: BrokenSuspicion;
  /** Nodes on which mini-batches failed that no other node has failed. */
  readonly health: Map<NodeName, NodeHealth>;
  /** Nodes that are quarantined for the job. */
  readonly sick: Map<NodeName, SickNode>;
  /** Of the attempts that this process has seen committed. */
  runTimes: RunTimes;
  /** Since when no attempt has ended although some were under way; null when one has since the last look. Not durable. */
  stillness: Stillness | null;
}

/** A node that failed a mini-batch last, or gave it back because it was busy. */
export interface Avoidance {
  readonly node: NodeName;
  /** On the attended clock. */
  readonly until: number;
}

/** In `fileRows`: not told, or not scored yet. */
export const unknownRows = 0xffff_ffff;

/** A file that was given up, or a mini-batch that returned fewer rows than it had files. */
export interface FailedFile {
  readonly first: number;
  readonly count: number;
  /** Of a mini-batch that returned too few rows: how many of its files have none, whichever they are; 0: all failed. */
  readonly missing: number;
  readonly failure: Failure;
  readonly node: NodeName | null;
  readonly tries: number;
  /** Of the last try; null when unknown. */
  readonly circumstances: Circumstances | null;
}

/** Files of `failed` that count as failed. */
export function countFailed({ count, missing }: Pick<FailedFile, 'count' | 'missing'>): number {
  return missing > 0 ? missing : count;
}

/** Staged results on their way to their place in the output. */
export interface Copy {
  readonly batches: readonly number[];
  readonly toOffset: number;
  readonly length: number;
}

export interface Lease {
  readonly token: Token;
  readonly job: JobName;
  readonly batch: number;
  readonly node: NodeName;
  readonly grantedAt: number;
  /** Nothing else is scored beside it on its node. */
  readonly isAlone: boolean;
  /** When its node said that a slot works on it; null before. */
  startedAt: number | null;
  /** When its node was asked to give it back unless it has begun; null: it was not. */
  recalledAt: number | null;
  /** It was asked back for a job of a higher priority. */
  isPreempted: boolean;
  /** Whether its mini-batch has or had a second attempt beside this one. */
  hasTwin: boolean;
  /** The result whose bytes are being written, and where. */
  placed: Placed | null;
  /** Segment of its own for a result that is uploaded in pieces. */
  uploadSegment: number | null;
}

export interface Placed {
  /** Of the rows; {@link noPlace} without any. */
  readonly place: Place;
  /** Of the files that user code wrote, right behind the rows in the same segment; null without any. */
  readonly custom: Place | null;
  readonly summary: ResultSummary;
  /** Absent: the job has no shadow. */
  readonly shadow?: ShadowOutcome;
  readonly schema: number;
}

export type NodeState = 'ready' | 'suspect' | 'lost' | 'draining' | 'gone';

export interface Node {
  readonly name: NodeName;
  readonly incarnation: Incarnation;
  readonly slots: number;
  /** What it joined with. */
  readonly ownLabels: NodeLabels;
  /** The same with what operators have changed since. */
  labels: NodeLabels;
  /** Operators have cordoned or quarantined it: it is granted nothing. */
  isHeldBack: boolean;
  /** When it will have left; null: it stays. Milliseconds of the bare clock, which stalls do not stop. */
  endsAt: number | null;
  /** The same by the wall clock, for people. */
  endsWallMs: number | null;
  /** From its first join until then. */
  staysMs: number;
  readonly hostname: string;
  readonly pid: number;
  readonly joinedWallMs: number;
  state: NodeState;
  isConnected: boolean;
  /** Leases wanted beyond those granted. */
  credit: number;
  heardAt: number;
  /** When it last said what it holds. Attended milliseconds. */
  connectedAt: number;
  heartbeatGapMsMax: number;
  lastHeartbeatAt: number | null;
  readonly leases: Set<number>;
  /** What it prepares before it can score, by job: one line for people. */
  readonly preparations: Map<JobName, string>;
}

export function newLedger(options: { readonly heartbeatMs: number | null; readonly stagingBytesMax?: number }): Ledger {
  return {
    epoch: 0,
    grants: 0,
    jobs: new Map(),
    submissions: 0,
    nodes: new Map(),
    registry: new Registry(),
    leases: new Map(),
    hungry: new Set(),
    runnable: new JobQueue(),
    loads: new EndpointLoads(),
    heldBy: new Map(),
    computeNodes: new Map(),
    stagedBytes: 0,
    stagingBytesMax: options.stagingBytesMax ?? limits.stagingBytesMax,
    placingBytes: 0,
    shortage: null,
    stall: null,
    stallMs: 0,
    grantFrom: 0,
    awaited: new Set(),
    known: new Set(),
    ready: { nodes: 0, slots: 0 },
    learned: new Map(),
    tellsNodes: false,
    heartbeatMs: options.heartbeatMs,
  };
}

/** Interval of heartbeats as nodes are told it: grows with the cluster unless the operator fixed it. */
export function heartbeatIntervalMs(ledger: Ledger): number {
  return ledger.heartbeatMs ?? heartbeatMs(ledger.nodes.size);
}

export function leaseMs(ledger: Ledger): number {
  return heartbeatIntervalMs(ledger) * limits.heartbeatsPerLease;
}

/** Whether it may be granted work at all. */
export function isAtWork({ isConnected, state, isHeldBack }: Node): boolean {
  return isConnected && state === 'ready' && !isHeldBack;
}

/** `now` on the attended clock. */
export function attended(ledger: Ledger, now: number): number {
  return now - ledger.stallMs;
}

/** The lease that `token` names, if it is live and `node`'s. */
export function findLease(ledger: Ledger, node: NodeName, token: Token): Lease | undefined {
  if (token.epoch !== ledger.epoch) return undefined;
  const lease = ledger.leases.get(token.counter);
  return lease?.node === node ? lease : undefined;
}

export function jobOf(ledger: Ledger, name: JobName): Job {
  const job = ledger.jobs.get(name);
  invariant(job !== undefined, `no job ${name} in the ledger`);
  return job;
}

export function nodeOf(ledger: Ledger, name: NodeName): Node {
  const node = ledger.nodes.get(name);
  invariant(node !== undefined, `no worker node ${name} in the ledger`);
  return node;
}

export function leaseOf(ledger: Ledger, counter: number): Lease {
  const lease = ledger.leases.get(counter);
  invariant(lease !== undefined, `no lease ${ledger.epoch}.${counter} in the ledger`);
  return lease;
}
