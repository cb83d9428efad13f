/** What stands against granting: of anything at all, and of one job. */
import type { Failure } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { isHeld } from './decide-known.ts';
import type { Job, Ledger } from './ledger.ts';

/** Not while nodes that may hold leases are awaited; and what comes faster than the disk takes it would fill the memory. */
export function mayGrant(ledger: Ledger, at: number): boolean {
  return !isHeld(ledger, at) && ledger.placingBytes <= limits.placingBytesMax;
}

/** Whether anything of the job may be granted: it runs, is not paused and has a place to put results. */
export function isGranting(ledger: Ledger, job: Job): boolean {
  return job.state === 'Running' && !job.isPaused && wantOfRoom(ledger, job) === null;
}

/** Why nothing of the job is granted for want of room; null when there is some. */
export function wantOfRoom(ledger: Ledger, job: Job): Failure | null {
  return job.stall ?? ledger.stall ?? job.shortage ?? ledger.shortage;
}
