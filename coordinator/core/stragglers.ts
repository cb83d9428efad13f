/**
 * The end of a job, when some nodes are idle and nothing is left to grant: leases that a busy node has not begun are asked
 * back for them, and an attempt that takes far longer than the others gets a second one beside it. Looked at with every
 * tick, and only as long as a node is idle.
 */
import { limits } from '../../common/core/limits.ts';
import type { NodeName } from '../../common/core/ids.ts';
import type { Event } from './events.ts';
import { isGranting, mayGrant } from './granting.ts';
import type { Job, Ledger, Lease, Node } from './ledger.ts';
import { endsInTime } from './node-end.ts';
import { isAllowed, turnOf } from './schedule.ts';
import { isWithinWindow } from './staging-window.ts';

/** What a node has to do. */
interface Load {
  readonly node: Node;
  /** Leases whose result is not here yet. */
  readonly held: readonly Lease[];
  /** Those among them that it was not asked back, oldest first, and that no slot has begun with. */
  readonly queued: Lease[];
  /** Leases beyond its slots. */
  excess: number;
  /** Slots that have nothing to do. */
  idle: number;
}

/** `at`: attended milliseconds. */
export function tailEvents(ledger: Ledger, at: number): readonly Event[] {
  // What no node that wants work can serve is nothing to grant.
  const isQuiet = ledger.runnable.inTurn(turnOf(ledger)).next().done === true && mayGrant(ledger, at);
  if (!isQuiet || ledger.hungry.size === 0 || ledger.leases.size === 0) return [];
  const idle = [...ledger.hungry].flatMap((name) => {
    const node = ledger.nodes.get(name);
    const load = node && loadOf(ledger, node);
    return load && load.idle > 0 ? [load] : [];
  });
  if (idle.length === 0) return [];
  return [...recalls(ledger, idle, at), ...speculations(ledger, idle, at)];
}

/** The setting is absent in the records of older releases. What two attempts write to one folder would be there twice. */
export function maySpeculate({ deployment: { settings } }: Job): boolean {
  return settings.speculation !== 'off' && settings.customOutput !== 'shared';
}

function loadOf(ledger: Ledger, node: Node): Load {
  const held = [...node.leases].map((counter) => ledger.leases.get(counter) as Lease).filter(({ placed }) => !placed);
  const queued = held.filter(({ startedAt, recalledAt }) => startedAt === null && recalledAt === null);
  const asked = held.filter(({ startedAt, recalledAt }) => startedAt === null && recalledAt !== null).length;
  return { node, held, queued, excess: held.length - asked - node.slots, idle: Math.max(0, node.slots - held.length) };
}

/** One for each idle slot, from whoever has most beyond its slots; what is asked back already is on its way to one. */
function recalls(ledger: Ledger, idle: readonly Load[], at: number): readonly Event[] {
  const donors = [...ledger.nodes.values()]
    .filter((node) => node.leases.size > node.slots)
    .map((node) => loadOf(ledger, node))
    .filter(({ excess }) => excess > 0);
  const events: Event[] = [];
  let onTheirWay = 0;
  for (const { startedAt, recalledAt } of ledger.leases.values()) {
    if (startedAt === null && recalledAt !== null) onTheirWay += 1;
  }
  for (const taker of idle) {
    for (; taker.idle > 0; taker.idle -= 1) {
      if (onTheirWay > 0) {
        onTheirWay -= 1;
        continue;
      }
      const lease = takeFrom(ledger, donors, taker, at);
      if (!lease) break;
      events.push({ kind: 'LeaseRecalled', job: lease.job, node: lease.node, token: lease.token, at });
    }
  }
  return events;
}

/** The lease that would have to wait longest, so that the node goes on in order. */
function takeFrom(ledger: Ledger, donors: readonly Load[], taker: Load, at: number): Lease | undefined {
  for (const donor of [...donors].sort((a, b) => b.excess / b.node.slots - a.excess / a.node.slots)) {
    if (donor.excess <= 0) return undefined;
    const place = donor.queued.findLastIndex(
      (lease) => at - lease.grantedAt > limits.recallAfterMs && isFor(ledger, lease, taker, at),
    );
    if (place < 0) continue;
    donor.excess -= 1;
    return donor.queued.splice(place, 1)[0];
  }
  return undefined;
}

function speculations(ledger: Ledger, idle: readonly Load[], at: number): readonly Event[] {
  const events: Event[] = [];
  const credits = new Map<NodeName, number>(idle.map(({ node }) => [node.name, node.credit]));
  for (const lease of ledger.leases.values()) {
    if (!isStraggler(ledger, lease, at)) continue;
    const taker = idle.find(
      (load) => load.idle > 0 && (credits.get(load.node.name) ?? 0) > 0 && isFor(ledger, lease, load, at),
    );
    if (!taker) continue;
    const { name } = taker.node;
    taker.idle -= 1;
    credits.set(name, (credits.get(name) ?? 0) - 1);
    const token = { epoch: ledger.epoch, counter: ledger.grants + events.length + 1 };
    events.push({ kind: 'LeaseGranted', job: lease.job, batch: lease.batch, node: name, token, at });
  }
  return events;
}

/** A mini-batch that ran out of memory before needs its node for itself, which is more than an idle slot. */
function isStraggler(ledger: Ledger, { job: name, batch, startedAt, placed, hasTwin }: Lease, at: number): boolean {
  const job = ledger.jobs.get(name);
  if (!job || startedAt === null || placed || hasTwin || !isAtTail(job)) return false;
  const medianMs = job.runTimes.medianMs;
  if (medianMs === null || job.batches.memoryFailures(batch) > 0) return false;
  return at - startedAt > Math.max(limits.speculationRunMsMin, limits.speculationMedians * medianMs);
}

function isAtTail(job: Job): boolean {
  const isDoneEnough = job.total - job.open >= limits.speculationDoneMin * job.total;
  return job.isListed && isDoneEnough && maySpeculate(job);
}

/** Whether the node of an idle slot may be granted it too. */
function isFor(ledger: Ledger, lease: Lease, { node, held }: Load, at: number): boolean {
  const job = ledger.jobs.get(lease.job);
  if (!job || node.name === lease.node || !isGranting(ledger, job) || !isAllowed(ledger, job, node)) return false;
  const { batches } = job;
  const work = { files: batches.files(lease.batch), bytes: batches.bytesOf(lease.batch) };
  if (!endsInTime(ledger, job, node, work, at)) return false;
  // What comes back and may not be granted again would stand in the way of all else.
  if (!isWithinWindow(ledger, job, lease.batch)) return false;
  const cap = job.deployment.settings.concurrencyPerInstanceMax;
  return cap === null || held.filter((other) => other.job === lease.job).length < cap;
}
