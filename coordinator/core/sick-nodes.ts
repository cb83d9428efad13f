/**
 * Nodes on which mini-batches fail that others score: a broken card, a full disk, a driver that hangs. Such a node fails
 * fast, asks for more and would use up the tries of one file after the other.
 *
 *   healthy ──► suspect (what fails there uses up no try) ──► quarantined, for one job (nothing is granted)
 *      ▲           │ mini-batches succeed there, or fail elsewhere too         │ it joins anew, an operator releases it
 *      └───────────┴───────────────────────────────────────────────────────────┘
 *
 * What is noted follows from journaled events alone, so that a replay suspects whom the process before did.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import type { Incarnation, NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { noBatch } from './batch-table.ts';
import { isHeld } from './decide-known.ts';
import type { Event, EventOf, FailureKind } from './events.ts';
import { isOfNode } from './failure-kind.ts';
import { isAtWork, type Job, type Ledger, type Lease, type Node } from './ledger.ts';

export interface NodeHealth {
  /** Mini-batches that failed there, with how, for as long as they have failed on no other node. */
  readonly blamed: Map<number, readonly FailureKind[]>;
  /** Whole mini-batches among them, less those that were scored there since. */
  score: number;
  /** Mini-batches that other nodes have scored meanwhile. */
  elsewhere: number;
}

export interface SickNode {
  readonly incarnation: Incarnation | null;
  readonly reason: Failure;
}

/** Written by `evolve` alone. */
export function noteNodeFailure(job: Job, { node, batch, failureKind, failure }: EventOf<'AttemptFailed'>): void {
  exonerate(job, node, batch);
  if (!isOfNode(failureKind, failure.code) || job.sick.has(node)) return;
  const health = job.health.get(node) ?? { blamed: new Map(), score: 0, elsewhere: 0 };
  const before = health.blamed.get(batch) ?? [];
  if (health.blamed.size >= limits.sickNodeBlamedMax && before.length === 0) return;
  if (isNew(job, health, batch)) health.score += 1;
  health.blamed.set(batch, [...before, failureKind]);
  job.health.set(node, health);
}

/** Written by `evolve` alone. */
export function noteNodeSuccess(job: Job, node: NodeName): void {
  for (const [name, health] of job.health) {
    if (name !== node) health.elsewhere += 1;
    else if ((health.score -= 1) <= 0) job.health.delete(name);
  }
}

/** Takes the node's failures off the files that it failed. Written by `evolve` alone. */
export function quarantineNode(job: Job, { node, incarnation, reason }: EventOf<'NodeQuarantined'>): void {
  for (const [batch, kinds] of job.health.get(node)?.blamed ?? []) for (const kind of kinds) forgive(job, batch, kind);
  job.health.delete(node);
  job.sick.set(node, { incarnation, reason });
}

/** A mini-batch that fails on another node as well is to blame itself; so is one whose part does. */
function exonerate({ batches, health }: Job, node: NodeName, batch: number): void {
  const first = batches.first(batch);
  for (const [name, { blamed }] of health) {
    if (name === node) continue;
    const own = health.get(name) as NodeHealth;
    for (const other of [...blamed.keys()]) {
      const from = batches.first(other);
      if (first < from || first >= from + batches.files(other)) continue;
      blamed.delete(other);
      if (!batches.isPart(other)) own.score -= 1;
    }
    if (own.score <= 0) health.delete(name);
  }
}

/** Parts of a mini-batch that failed tell nothing new. */
function isNew({ batches }: Job, { blamed }: NodeHealth, batch: number): boolean {
  return !blamed.has(batch) && !batches.isPart(batch);
}

/** Of a mini-batch that was split meanwhile, its parts have inherited the failure. */
function forgive({ batches }: Job, batch: number, kind: FailureKind): void {
  const end = batches.first(batch) + batches.files(batch);
  for (let part = batch; part !== noBatch && batches.first(part) < end; part = batches.next(part)) {
    if (part === batch || kind !== 'lost') batches.removeFailure(part, kind);
  }
}

/**
 * Whether what fails there now is taken to be its own fault, as long as another node can say: it has scored nothing of the
 * job while others have, or another mini-batch has just failed there alone. `at`: attended milliseconds.
 */
export function isSuspect(ledger: Ledger, job: Job, node: NodeName, batch: number, at: number): boolean {
  const hasScored = (name: NodeName): boolean => job.nodeNames.includes(name);
  // After a restart the others are about to come back.
  if (!hasScored(node) && isHeld(ledger, at)) return job.nodeNames.length > 0;
  if (!hasScored(node)) return others(ledger, job, node).some(({ name }) => hasScored(name));
  const health = job.health.get(node);
  if (!health || health.elsewhere === 0) return false;
  const own = health.blamed.has(batch) && !job.batches.isPart(batch) ? 1 : 0;
  const score = health.score - own;
  return score > 0 && others(ledger, job, node).some(({ name }) => scoreOf(job, name) < score);
}

/** The node's quarantine when this failure is one too many, with the end of all that it holds of the job; else nothing. */
export function sickNodeEvents(ledger: Ledger, job: Job, lease: Lease, failure: Failure): readonly Event[] {
  const health = job.health.get(lease.node);
  if (!health || job.sick.has(lease.node)) return [];
  const score = health.score + (isNew(job, health, lease.batch) ? 1 : 0);
  const isSick = score >= limits.sickNodeMiniBatchesMin && health.elsewhere >= limits.sickNodeMiniBatchesMin;
  // Where all nodes fail much, the files are to blame.
  if (!isSick || !others(ledger, job, lease.node).some(({ name }) => 2 * scoreOf(job, name) <= score)) return [];
  const message =
    `${score} different mini-batches failed on worker node ${lease.node} while other nodes scored ${health.elsewhere}; ` +
    `the last one: ${failure.message}`;
  return quarantineEvents(ledger, job, lease.node, { code: failure.code, message, detail: '' }, lease.token.counter);
}

/** `ended`: counter of a lease that ends by itself. */
export function quarantineEvents(
  ledger: Ledger,
  job: Job,
  name: NodeName,
  reason: Failure,
  ended: number | null,
): readonly Event[] {
  const node = ledger.nodes.get(name);
  const events: Event[] = [
    { kind: 'NodeQuarantined', job: job.name, node: name, incarnation: node?.incarnation ?? null, reason },
  ];
  for (const counter of node?.leases ?? []) {
    const lease = ledger.leases.get(counter) as Lease;
    if (lease.job !== job.name || lease.placed || counter === ended) continue;
    const { batch, token } = lease;
    events.push({ kind: 'LeaseReleased', job: job.name, batch, node: name, token, isRevoked: true });
  }
  return events;
}

/** Nodes beside it that may score the job now. */
function others(ledger: Ledger, job: Job, node: NodeName): readonly Node[] {
  const isThere = (other: Node): boolean => other.name !== node && isAtWork(other);
  return [...ledger.nodes.values()].filter((other) => isThere(other) && !job.sick.has(other.name));
}

function scoreOf(job: Job, node: NodeName): number {
  return job.health.get(node)?.score ?? 0;
}

/** Jobs for which the node is quarantined, as another process than `incarnation` or as any. */
export function releaseEvents(ledger: Ledger, node: NodeName, incarnation: Incarnation | null): readonly Event[] {
  const events: Event[] = [];
  for (const job of ledger.jobs.values()) {
    const sick = job.sick.get(node);
    if (sick && (incarnation === null || sick.incarnation !== incarnation))
      events.push({ kind: 'NodeReleased', job: job.name, node });
  }
  return events;
}
