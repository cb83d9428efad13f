/** What leases do to the ledger: mini-batches that become pending, leased, waiting or split. Called by `evolve` alone. */
import type { EventOf } from './events.ts';
import { noteSplit } from './broken-scorer.ts';
import { noteHeld, noteLetGo } from './computes.ts';
import { countDown, countUp } from './counts.ts';
import { setCredit } from './evolve-node.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { isGranting } from './granting.ts';
import { findLease, jobOf, leaseOf, nodeOf, type Job, type Ledger } from './ledger.ts';
import { bytesPlace } from './staging-window.ts';

/** A job may be leased from while it has something pending and nothing stands against its being granted. */
export function refreshRunnable(ledger: Ledger, job: Job): void {
  if (isGranting(ledger, job) && !job.pending.isEmpty) ledger.runnable.add(job);
  else ledger.runnable.delete(job);
}

export function makePending(ledger: Ledger, job: Job, batch: number): void {
  job.batches.setState(batch, 'pending');
  job.pending.push(batch);
  refreshRunnable(ledger, job);
}

export function granted(ledger: Ledger, event: EventOf<'LeaseGranted'> | EventOf<'LeaseAdopted'>): void {
  const job = jobOf(ledger, event.job);
  const { token, batch } = event;
  const others = job.holders.get(batch) ?? [];
  job.waiting.delete(batch);
  job.avoided.delete(batch);
  if (others.length === 0) job.leased += 1;
  // A twin may have a result on its way already.
  if (job.batches.state(batch) !== 'placed') job.batches.setState(batch, 'leased');
  job.holders.set(batch, [...others, token.counter]);
  for (const counter of others) markTwin(ledger, counter);
  ledger.grants = Math.max(ledger.grants, token.counter);
  ledger.leases.set(token.counter, {
    token,
    job: event.job,
    batch,
    node: event.node,
    grantedAt: event.at,
    // A node that comes back may have begun it among others, before anything was known of its memory.
    isAlone: event.kind === 'LeaseGranted' && job.batches.memoryFailures(batch) > 0,
    startedAt: null,
    recalledAt: null,
    isPreempted: false,
    hasTwin: others.length > 0,
    placed: null,
    uploadSegment: null,
  });
  countUp(job.nodes, event.node);
  noteHeld(ledger, job, event.node);
  const node = ledger.nodes.get(event.node);
  node?.leases.add(token.counter);
  if (event.kind === 'LeaseGranted') setCredit(ledger, event.node, nodeOf(ledger, event.node).credit - 1);
  refreshRunnable(ledger, job);
}

/** Takes the lease away, whatever becomes of its mini-batch. Absent on replay, where leases do not exist. */
export function endLease(ledger: Ledger, job: Job, counter: number, epoch: number): void {
  const lease = epoch === ledger.epoch ? ledger.leases.get(counter) : undefined;
  if (!lease) return;
  ledger.leases.delete(counter);
  if (lease.placed) {
    const { segment, length } = bytesPlace(lease.placed);
    countDown(job.placing, segment);
    if (lease.uploadSegment === null) ledger.placingBytes -= length;
  }
  ledger.nodes.get(lease.node)?.leases.delete(counter);
  countDown(job.nodes, lease.node);
  noteLetGo(ledger, job, lease.node);
  const others = (job.holders.get(lease.batch) ?? []).filter((other) => other !== counter);
  if (others.length > 0) {
    job.holders.set(lease.batch, others);
  } else {
    job.holders.delete(lease.batch);
    job.leased -= 1;
  }
}

function markTwin(ledger: Ledger, counter: number): void {
  const lease = ledger.leases.get(counter);
  if (lease) lease.hasTwin = true;
}

export function started(ledger: Ledger, event: EventOf<'AttemptsStarted'>): void {
  for (const token of event.tokens) {
    const lease = findLease(ledger, event.node, token);
    if (lease) lease.startedAt ??= event.at;
  }
}

export function released(ledger: Ledger, event: EventOf<'LeaseReleased'>): void {
  const job = jobOf(ledger, event.job);
  const lease = findLease(ledger, event.node, event.token);
  endLease(ledger, job, event.token.counter, event.token.epoch);
  // Its twin goes on with it, or has committed it.
  if (job.holders.has(event.batch) || job.batches.state(event.batch) !== 'leased') return;
  // For another job the node has less time, not for this mini-batch.
  if (lease && lease.recalledAt !== null && !lease.isPreempted) {
    avoid(job, event.batch, event.node, lease.recalledAt);
  }
  makePending(ledger, job, event.batch);
}

/** `at`: attended milliseconds from which on the mini-batch is for other nodes, if there are any. */
export function avoid(job: Job, batch: number, node: NodeName, at: number): void {
  job.avoided.set(batch, { node, until: at + limits.avoidNodeMs });
}

export function recalled(ledger: Ledger, event: EventOf<'LeaseRecalled'>): void {
  const lease = leaseOf(ledger, event.token.counter);
  lease.recalledAt = event.at;
  lease.isPreempted = event.isPreempted === true;
}

export function batchReady(ledger: Ledger, event: EventOf<'BatchReady'>): void {
  const job = jobOf(ledger, event.job);
  job.waiting.delete(event.batch);
  makePending(ledger, job, event.batch);
}

/** Undefined where the sizes of single files are not kept. */
function bytesOfParts(
  { batches, fileSizes }: Job,
  batch: number,
  sizes: readonly number[],
): readonly number[] | undefined {
  let first = batches.first(batch);
  if (!fileSizes.has(first + batches.files(batch))) return undefined;
  return sizes.map((count) => fileSizes.sum((first += count) - count, count));
}

export function split(ledger: Ledger, event: EventOf<'Split'>): void {
  const job = jobOf(ledger, event.job);
  job.waiting.delete(event.batch);
  const isWhole = !job.batches.isPart(event.batch);
  const children = job.batches.split(event.batch, event.sizes, bytesOfParts(job, event.batch, event.sizes));
  if (isWhole && !job.isInitialised) noteSplit(job.suspicion, event.batch, children);
  if (job.cursor === event.batch) job.cursor = children[0] as number;
  job.open += children.length - 1;
  job.total += children.length - 1;
  const avoided = job.avoided.get(event.batch);
  job.avoided.delete(event.batch);
  for (const child of children) {
    job.pending.push(child);
    if (avoided) job.avoided.set(child, avoided);
  }
  refreshRunnable(ledger, job);
}
