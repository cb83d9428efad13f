/**
 * What a job of a higher priority takes over: leases of lower ones that no slot has begun are asked back from the nodes that it has
 * something for, as many as it can use. What runs goes on to its end and is committed; nothing is killed, no try is used up. Looked
 * at with every tick.
 */
import { wantOfNodes } from './computes.ts';
import type { Event } from './events.ts';
import { mayGrant } from './granting.ts';
import { isAtWork, jobOf, type Job, type Ledger, type Lease, type Node } from './ledger.ts';
import { hasOffer, turnOf } from './schedule.ts';

/** `at`: attended milliseconds. */
export function preemptionEvents(ledger: Ledger, at: number): readonly Event[] {
  const { runnable, leases } = ledger;
  if (runnable.size === 0 || leases.size === 0 || !mayGrant(ledger, at)) return [];
  const lowest = lowestPriority(ledger);
  if (runnable.priorityMax <= lowest) return [];
  const takers = takersOf(ledger, lowest);
  const events: Event[] = [];
  for (const node of ledger.nodes.values()) {
    if (!isAtWork(node)) continue;
    for (const lease of queuedOn(ledger, node)) {
      const { priority } = jobOf(ledger, lease.job).origin;
      const taker = takers.find((one) => one.job.origin.priority > priority && canUse(ledger, one, node, at));
      if (!taker) continue;
      taker.wanted -= 1;
      events.push({
        ...{ kind: 'LeaseRecalled', job: lease.job, node: lease.node, token: lease.token, at },
        isPreempted: true,
      });
    }
  }
  return events;
}

interface Taker {
  readonly job: Job;
  /** Mini-batches of it that nothing is on its way for. */
  wanted: number;
}

/** In the order in which they are granted. What was asked back already is on its way to the first of them. */
function takersOf(ledger: Ledger, above: number): readonly Taker[] {
  let onTheirWay = 0;
  for (const { isPreempted, startedAt } of ledger.leases.values())
    if (isPreempted && startedAt === null) onTheirWay += 1;
  const takers: Taker[] = [];
  // A node that is not hungry may be asked for what its compute serves.
  for (const job of ledger.runnable.inTurn(
    { ...turnOf(ledger), isServed: (nodes) => wantOfNodes(ledger, nodes) === null },
    above,
  )) {
    const pending = pendingOf(job);
    takers.push({ job, wanted: Math.max(0, pending - onTheirWay) });
    onTheirWay = Math.max(0, onTheirWay - pending);
    if (takers.length === takersMax) break;
  }
  return takers;
}

/** More jobs than that have not room for all they want at once. */
const takersMax = 100;

/** What is not cut yet may become as many mini-batches as it has files. */
function pendingOf({ batches, pending }: Job): number {
  const { unleased } = batches;
  return pending.hasRuns ? unleased.files : unleased.batches;
}

function canUse(ledger: Ledger, { job, wanted }: Taker, node: Node, at: number): boolean {
  if (wanted <= 0) return false;
  const cap = job.deployment.settings.concurrencyPerInstanceMax;
  if (cap !== null && leasesOn(ledger, job, node) >= cap) return false;
  return hasOffer(ledger, job, node, at);
}

function leasesOn(ledger: Ledger, job: Job, node: Node): number {
  let count = 0;
  for (const counter of node.leases) if (ledger.leases.get(counter)?.job === job.name) count += 1;
  return count;
}

function lowestPriority(ledger: Ledger): number {
  let lowest = Number.POSITIVE_INFINITY;
  for (const lease of ledger.leases.values()) {
    if (isQueued(lease)) lowest = Math.min(lowest, jobOf(ledger, lease.job).origin.priority);
  }
  return lowest;
}

/** The least of priority first, of these the last granted, so that the node goes on in order. */
function queuedOn(ledger: Ledger, { leases }: Node): readonly Lease[] {
  const queued = [...leases].map((counter) => ledger.leases.get(counter) as Lease).filter(isQueued);
  const priority = (lease: Lease): number => jobOf(ledger, lease.job).origin.priority;
  return queued.sort((a, b) => priority(a) - priority(b) || b.token.counter - a.token.counter);
}

function isQueued({ startedAt, recalledAt, placed }: Lease): boolean {
  return startedAt === null && recalledAt === null && placed === null;
}
