/**
 * Nodes that leave at a known time, such as the end of a Slurm allocation: they are granted only what ends before, by what results have
 * told so far. See docs/decisions/node-end.md.
 */
import { limits } from '../../common/core/limits.ts';
import type { Job, Ledger, Node } from './ledger.ts';
import { lengthOf } from './rates.ts';

/** A mini-batch, or what may become one. */
export interface Work {
  readonly files: number;
  readonly bytes: number;
}

/**
 * Whether the mini-batch ends there before the node leaves: behind what the node has already, and, in the second half of its time,
 * even if all takes longer than expected. `at`: attended milliseconds.
 */
export function endsInTime(ledger: Ledger, job: Job, node: Node, work: Work, at: number): boolean {
  if (node.endsAt === null) return true;
  const leftMs = leftOf(ledger, node, at);
  return leftMs > 0 && needMs(ledger, job, node, work, leftMs) <= leftMs;
}

/** Until the node begins to leave; Infinity: it stays. */
export function leftOf(ledger: Ledger, { endsAt }: Node, at: number): number {
  return endsAt === null ? Number.POSITIVE_INFINITY : endsAt - (at + ledger.stallMs) - limits.leaveReserveMs;
}

/** What the node must have left for it. */
function needMs(ledger: Ledger, job: Job, node: Node, work: Work, leftMs: number): number {
  const { timeoutMs } = job.deployment.settings;
  const isFresh = leftMs >= node.staysMs / 2;
  const expected = expectedMs(job, work);
  if (expected === null || isDoubtful(job, expected, node)) return unknownMs(timeoutMs, node);
  const safety = isFresh ? 1 : limits.endSafety;
  return safety * (Math.min(timeoutMs, expected) + aheadMs(ledger, node) / node.slots);
}

/** Of a length that nobody knows, its timeout is the longest; where the node never has so much, it begins in the first half. */
function unknownMs(timeoutMs: number, { staysMs }: Node): number {
  const longest = Math.min(timeoutMs, limits.unknownLengthMs);
  return longest <= staysMs - limits.leaveReserveMs ? longest : staysMs / 2 - limits.leaveReserveMs;
}

/** A few results that were held up by something else must not say that no such node ever has the time: others would never tell. */
function isDoubtful({ learned }: Job, expected: number, { staysMs }: Node): boolean {
  return learned.results <= limits.ratesTrustedResults && expected > staysMs - limits.leaveReserveMs;
}

/** Null: no result has told yet. */
function expectedMs({ learned }: Job, { files, bytes }: Work): number | null {
  return learned.rates === null ? null : 1_000 * lengthOf(learned, 1, files, bytes);
}

/** All that the node holds and has not sent, as if it had begun with none of it. */
function aheadMs(ledger: Ledger, node: Node): number {
  let ms = 0;
  for (const counter of node.leases) {
    const lease = ledger.leases.get(counter);
    const job = lease && ledger.jobs.get(lease.job);
    if (!lease || !job || lease.placed) continue;
    const { batches } = job;
    const work = { files: batches.files(lease.batch), bytes: batches.bytesOf(lease.batch) };
    ms += expectedMs(job, work) ?? 0;
  }
  return ms;
}
