/**
 * What the shell must do because of an event, as plain data. Derived from the ledger as it was before the event.
 * `needsSync`: leaves only when all that was journaled before it is durable.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import type { JobName, NodeName } from '../../common/core/ids.ts';
import type { FileRange } from '../../common/core/input.ts';
import type { ResultSchema } from '../../common/core/result.ts';
import { fixedBy } from './since.ts';
import { isFinal } from '../../common/core/states.ts';
import type { Token } from '../../common/core/token.ts';
import { outputSegment } from './batch-table.ts';
import type { Event } from './events.ts';
import { jobOf, type Job, type Ledger, type Lease } from './ledger.ts';
import { noteOf } from './node-notes.ts';
import { needsParts, partsJobOf } from './parts.ts';
import type { NodeResource } from './resources.ts';
import { bytesPlace, isInUse } from './staging-window.ts';

/** Bytes of a staged result. */
export interface StagedBytes {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
  readonly crc32: number;
}

export type Effect =
  // To worker nodes
  | {
      readonly kind: 'grant';
      readonly node: NodeName;
      readonly token: Token;
      readonly job: JobName;
      readonly range: FileRange;
      readonly attempt: number;
      readonly isAlone: boolean;
    }
  | { readonly kind: 'adopt'; readonly node: NodeName; readonly oldToken: Token; readonly token: Token }
  /** Everything that the node may keep has been said: the answer to its hello is complete. */
  | { readonly kind: 'welcome'; readonly node: NodeName; readonly kept: readonly Token[] }
  | { readonly kind: 'committed'; readonly node: NodeName; readonly token: Token }
  | { readonly kind: 'refuse'; readonly node: NodeName; readonly token: Token; readonly failure: Failure }
  | { readonly kind: 'revoke'; readonly node: NodeName; readonly token: Token }
  /** Like `revoke`, but what has begun goes on. */
  | { readonly kind: 'recall'; readonly node: NodeName; readonly token: Token }
  | { readonly kind: 'end-job'; readonly job: JobName }
  /** It is to leave once what runs is scored; `untilWallMs`: at the latest then. */
  | { readonly kind: 'drain-node'; readonly node: NodeName; readonly untilWallMs: number | null }
  /** What no slot has begun of the job is to be given back; `node` null: by all. */
  | { readonly kind: 'drain-job'; readonly job: JobName; readonly node: NodeName | null }
  // To the output, strictly in this order within a job
  | { readonly kind: 'prologue'; readonly job: JobName; readonly schema: ResultSchema }
  | { readonly kind: 'append'; readonly job: JobName; readonly token: Token; readonly offset: number }
  | {
      readonly kind: 'stage';
      readonly job: JobName;
      readonly token: Token;
      readonly segment: number;
      readonly offset: number;
    }
  /** The bytes are in an upload's own segment already, or there are none. */
  | { readonly kind: 'settle'; readonly job: JobName; readonly token: Token; readonly segment: number }
  | { readonly kind: 'copy'; readonly job: JobName; readonly from: readonly StagedBytes[]; readonly toOffset: number }
  | { readonly kind: 'drop-segment'; readonly job: JobName; readonly segment: number }
  /** The bytes of this result are not wanted any more. */
  | { readonly kind: 'discard'; readonly token: Token }
  // Long work of the shell
  | { readonly kind: 'list'; readonly job: JobName }
  /** Rows are all there: an inner job is to make the parts of the output from them. */
  | { readonly kind: 'make-parts'; readonly job: JobName }
  | { readonly kind: 'seal'; readonly job: JobName }
  /** Nothing of an inner job is needed any more. */
  | { readonly kind: 'forget'; readonly job: JobName };

/**
 * True when the effect must wait for the journal. Grants need no sync: the epoch is durable, and a token says the rest.
 * A refusal does: the lease may have ended by a commit that is not durable yet, and until it is the node keeps the result.
 */
export function needsSync(effect: Effect): boolean {
  switch (effect.kind) {
    case 'committed':
    case 'seal':
    case 'make-parts':
    case 'forget':
    case 'end-job':
    case 'drain-job':
    case 'drain-node':
    case 'drop-segment':
    case 'adopt':
    case 'welcome':
    case 'list':
    case 'refuse':
    case 'revoke':
      return true;
    case 'grant':
    case 'prologue':
    case 'append':
    case 'stage':
    case 'settle':
    case 'copy':
    case 'discard':
    case 'recall':
      return false;
  }
}

export function effectsOf(ledger: Ledger, event: Event): readonly Effect[] {
  switch (event.kind) {
    case 'EpochBegan':
      return [...ledger.jobs.values()].flatMap((job) => resumeEffects(ledger, job));
    case 'JobSubmitted':
      return [...prologueEffects(event.job, fixedBy(event.since)), { kind: 'list', job: event.job }];
    case 'LeaseGranted': {
      const { batches, holders } = jobOf(ledger, event.job);
      const range = { first: batches.first(event.batch), count: batches.files(event.batch) };
      const others = holders.get(event.batch)?.length ?? 0;
      const attempt = batches.failures(event.batch) + batches.lostLeases(event.batch) + others + 1;
      const isAlone = batches.memoryFailures(event.batch) > 0;
      return [{ kind: 'grant', node: event.node, token: event.token, job: event.job, range, attempt, isAlone }];
    }
    case 'LeaseRecalled':
      return [{ kind: 'recall', node: event.node, token: event.token }];
    case 'LeaseAdopted':
      return [{ kind: 'adopt', node: event.node, oldToken: event.oldToken, token: event.token }];
    case 'NodeConnected':
      return [
        { kind: 'welcome', node: event.node, kept: event.kept },
        ...drainEffects(ledger, event.node),
        ...leaveEffects(ledger, noteOf(ledger, event.node)),
      ];
    case 'ResourcePut':
      return event.resource.kind === 'node' ? leaveEffects(ledger, event.resource) : [];
    case 'LeaseReleased':
      return [...abandon(leaseOf(ledger, event.token)), ...(event.isRevoked ? [revoke(event)] : [])];
    case 'AttemptFailed':
      return [...abandon(leaseOf(ledger, event.token)), ...dropWithdrawn(jobOf(ledger, event.job), event.batch)];
    case 'UploadSegmentGiven':
      return dropLeftBehind(jobOf(ledger, event.job), event.segment);
    case 'ResultRefused':
      return [
        { kind: 'discard', token: event.token },
        { kind: 'refuse', node: event.node, token: event.token, failure: event.failure },
      ];
    case 'LeaseDisowned':
      return [revoke(event)];
    case 'CommitRepeated':
      return [{ kind: 'committed', node: event.node, token: event.token }];
    case 'SchemaFixed':
      return prologueEffects(event.job, jobOf(ledger, event.job).schemas[event.schema]);
    case 'ResultPlaced':
      return [
        placeEffect(event, leaseOf(ledger, event.token)),
        ...dropLeftBehind(jobOf(ledger, event.job), bytesPlace(event.placed).segment),
      ];
    case 'Committed':
      return [{ kind: 'committed', node: event.node, token: event.token }];
    case 'CopyStarted': {
      const { batches } = jobOf(ledger, event.job);
      const from = event.copy.batches.map((batch) => batches.place(batch));
      return [{ kind: 'copy', job: event.job, from, toOffset: event.copy.toOffset }];
    }
    case 'Appended':
      return event.dropped.map((segment) => ({ kind: 'drop-segment', job: event.job, segment }));
    case 'JobReopened':
      return jobOf(ledger, event.job).isListed ? [] : [{ kind: 'list', job: event.job }];
    case 'JobPruned':
      return jobOf(ledger, event.job).rowsOf === null ? [] : [{ kind: 'forget', job: event.job }];
    case 'JobStateChanged':
      return stateEffects(ledger, event);
    default:
      return [];
  }
}

/** What stands before the first row, once it is known. */
function prologueEffects(job: JobName, schema: ResultSchema | null | undefined): readonly Effect[] {
  return schema && schema.prologue !== '' ? [{ kind: 'prologue', job, schema }] : [];
}

function leaseOf(ledger: Ledger, token: Token): Lease | undefined {
  return token.epoch === ledger.epoch ? ledger.leases.get(token.counter) : undefined;
}

/** What a restart takes up again. */
function resumeEffects(ledger: Ledger, job: Job): readonly Effect[] {
  if (job.isSealed) return [];
  if (job.state === 'Finalizing') return endEffects(ledger, job);
  if (isFinal(job.state))
    return job.rowsOf === null && !isSealedByParts(ledger, job) ? [{ kind: 'seal', job: job.name }] : [];
  return job.isListed || job.state === 'CancelRequested' ? [] : [{ kind: 'list', job: job.name }];
}

/** Of the two records that end it a crash has kept the first alone: its inner job ends it again. */
function isSealedByParts(ledger: Ledger, job: Job): boolean {
  return job.state === 'Completed' && partsJobOf(ledger, job) !== undefined;
}

/** All its rows are there; of an inner job, all parts of the outer one. */
function endEffects(ledger: Ledger, job: Job): readonly Effect[] {
  if (job.rowsOf !== null) return [{ kind: 'seal', job: job.rowsOf }];
  if (!needsParts(job)) return [{ kind: 'seal', job: job.name }];
  return partsJobOf(ledger, job) ? [] : [{ kind: 'make-parts', job: job.name }];
}

/** A node that comes back may not have heard that a job is to end. */
function drainEffects(ledger: Ledger, node: NodeName): readonly Effect[] {
  const ending = [...ledger.jobs.values()].filter((job) => job.state === 'CancelRequested');
  return ending.map((job) => ({ kind: 'drain-job', job: job.name, node }));
}

/** The process that is to leave is told so, again when it comes back. */
function leaveEffects(ledger: Ledger, note: NodeResource | undefined): readonly Effect[] {
  const node = note?.drain ? ledger.nodes.get(note.name as NodeName) : undefined;
  if (!note?.drain || node?.incarnation !== note.drain.incarnation) return [];
  return [{ kind: 'drain-node', node: node.name, untilWallMs: note.drain.untilWallMs }];
}

function revoke(event: { readonly node: NodeName; readonly token: Token }): Effect {
  return { kind: 'revoke', node: event.node, token: event.token };
}

/** Bytes that a lease may have left behind. */
function abandon(lease: Lease | undefined): readonly Effect[] {
  if (!lease) return [];
  const effects: Effect[] = [{ kind: 'discard', token: lease.token }];
  if (lease.uploadSegment !== null)
    effects.push({ kind: 'drop-segment', job: lease.job, segment: lease.uploadSegment });
  return effects;
}

/** The segment that was being filled, when another one takes its place and nothing is left in it. */
function dropLeftBehind(job: Job, next: number): readonly Effect[] {
  const { stagingSegment, stagingEnd, segments, placing } = job;
  const isFilled = stagingSegment > outputSegment && stagingEnd < Number.POSITIVE_INFINITY;
  if (next <= stagingSegment || !isFilled || segments.has(stagingSegment) || placing.has(stagingSegment)) return [];
  return [{ kind: 'drop-segment', job: job.name, segment: stagingSegment }];
}

/** The segment of a committed result that is taken back, when it was the last one there. */
function dropWithdrawn(job: Job, batch: number): readonly Effect[] {
  if (job.batches.state(batch) !== 'committed') return [];
  const { segment } = job.batches.place(batch);
  const own = job.custom.has(batch) ? 2 : 1;
  if (segment <= outputSegment || job.segments.get(segment) !== own || isInUse(job, segment)) return [];
  return [{ kind: 'drop-segment', job: job.name, segment }];
}

function placeEffect(event: Extract<Event, { kind: 'ResultPlaced' }>, lease: Lease | undefined): Effect {
  const { job, token } = event;
  const { segment, offset } = bytesPlace(event.placed);
  if (segment < outputSegment || lease?.uploadSegment === segment) return { kind: 'settle', job, token, segment };
  return segment === outputSegment
    ? { kind: 'append', job, token, offset }
    : { kind: 'stage', job, token, segment, offset };
}

function stateEffects(ledger: Ledger, event: Extract<Event, { kind: 'JobStateChanged' }>): readonly Effect[] {
  if (event.state === 'Finalizing') return endEffects(ledger, jobOf(ledger, event.job));
  if (event.state === 'CancelRequested') return [{ kind: 'drain-job', job: event.job, node: null }];
  if (!isFinal(event.state)) return [];
  const effects: Effect[] = [];
  for (const lease of ledger.leases.values()) {
    if (lease.job !== event.job) continue;
    effects.push({ kind: 'discard', token: lease.token }, revoke(lease));
  }
  effects.push({ kind: 'end-job', job: event.job });
  // An inner job that did not complete has nothing to end but itself.
  const isOwn = jobOf(ledger, event.job).rowsOf === null;
  if (event.state !== 'Completed' && isOwn) effects.push({ kind: 'seal', job: event.job });
  return effects;
}
