/**
 * Staging segments, and how far results may run ahead of their turn: the bytes of them that wait in staging segments, of all jobs together, have
 * a bound. Beyond it only mini-batches are granted that the output waits for, so that the window always empties.
 */
import { limits } from '../../common/core/limits.ts';
import { noBatch, outputSegment, type Place } from './batch-table.ts';
import type { Job, Ledger, Placed } from './ledger.ts';

/** What waits for its turn: its bytes, and the highest ordinal among it; −1 without any. */
export interface Staged {
  readonly bytes: number;
  readonly to: number;
}

/** Rows in an earlier output wait for their turn too, but take no room of their own. */
export function isStaged({ bases }: Job, segment: number): boolean {
  return segment > outputSegment && !bases.has(segment);
}

/** Found from the table alone. Of a job that is sealed, nothing waits, or not before it goes on. */
export function stagedIn(job: Job): Staged {
  let [bytes, to] = [0, -1];
  const { batches } = job;
  for (let batch = 0; batch < batches.count && !job.isSealed; batch += 1) {
    if (batches.state(batch) !== 'committed') continue;
    const place = batches.place(batch);
    if (!isStaged(job, place.segment)) continue;
    bytes += place.length;
    to = Math.max(to, batches.first(batch));
  }
  return { bytes, to };
}

/** Counts anew what has changed as a whole. Written by `evolve` alone. */
export function countStaged(ledger: Ledger, job: Job): void {
  const { bytes, to } = stagedIn(job);
  ledger.stagedBytes += bytes - job.stagedBytes;
  job.stagedBytes = bytes;
  job.stagedTo = to;
}

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

/** Nothing goes before its turn any more: what is lowest in the order makes room. */
export function isWindowNarrow(ledger: Ledger): boolean {
  return ledger.stagedBytes >= ledger.stagingBytesMax * limits.stagingNarrowShare;
}

/** Whether the mini-batch may be granted as far as room for its result goes. */
export function isWithinWindow(ledger: Ledger, job: Job, batch: number): boolean {
  if (!isWindowFull(ledger)) return true;
  const head = job.cursor === noBatch ? -1 : job.batches.first(job.cursor);
  return job.batches.first(batch) <= Math.max(head, job.stagedTo);
}

/** Where all bytes of a result go; segment −1 when it has none. */
export function bytesPlace({ place, custom }: Placed): Omit<Place, 'crc32'> {
  if (custom === null) return place;
  const { segment, offset, length } = custom;
  return { segment, offset: offset - place.length, length: place.length + length };
}

/** Whether more bytes may be on their way to a staging segment, so that it must stay although it may hold nothing. */
export function isInUse(job: Job, segment: number): boolean {
  const isFilling = segment === job.stagingSegment && job.stagingEnd < limits.stagingSegmentBytes;
  return isFilling || job.placing.has(segment);
}
