/**
 * Results that are there and cannot be sent. The coordinator is told, in the line that it has of each job on a node: otherwise a job of which no attempt
 * ends looks like one whose scorer hangs.
 */
import type { JobName } from '../../common/core/ids.ts';
import type { LeaseState, WorkerState } from './state.ts';

/** One that fails once is nothing to speak of. */
const triesMin = 2;

export function isHeldUp(state: LeaseState): boolean {
  return state.kind === 'scored' && 'tries' in state.upload && state.upload.tries >= triesMin;
}

/** Empty: nothing of the job is held up. */
export function heldUpLine(state: WorkerState, job: JobName): string {
  const leases = [...state.uploads].map((work) => state.leases.get(work));
  const count = leases.filter((lease) => lease?.job === job && isHeldUp(lease.state)).length;
  return count === 0 ? '' : `results that cannot be sent yet: ${count}; the node's log says why`;
}
