/**
 * How far results may run ahead of their turn: the bytes of them that wait in staging segments, of all jobs together, have
 * a bound. Beyond it only mini-batches are granted that the output waits for, so that the window always empties.
 */
import { noBatch } from './batch-table.ts';
import type { Job, Ledger } from './ledger.ts';

/** Rows of a committed result wait for their turn. Written by `evolve` alone. */
export function noteStaged(ledger: Ledger, job: Job, batch: number, bytes: number): void {
  job.stagedBytes += bytes;
  ledger.stagedBytes += bytes;
  job.stagedTo = Math.max(job.stagedTo, job.batches.first(batch));
}

/** They have come to their place, or are not wanted any more. Written by `evolve` alone. */
export function noteUnstaged(ledger: Ledger, job: Job, bytes: number): void {
  job.stagedBytes -= bytes;
  ledger.stagedBytes -= bytes;
  if (job.stagedBytes === 0) job.stagedTo = -1;
}

export function isWindowFull(ledger: Ledger): boolean {
  return ledger.stagedBytes >= ledger.stagingBytesMax;
}

/** Whether the mini-batch may be granted as far as room for its result goes. */
export function isWithinWindow(ledger: Ledger, job: Job, batch: number): boolean {
  if (!isWindowFull(ledger)) return true;
  const head = job.cursor === noBatch ? -1 : job.batches.first(job.cursor);
  return job.batches.first(batch) <= Math.max(head, job.stagedTo);
}
