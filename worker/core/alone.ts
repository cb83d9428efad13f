/**
 * Mini-batches that ran out of memory are scored with nothing beside them. As soon as one of them has a host of its job
 * on the node, nothing else begins: what runs ends, then it runs, then the others go on. One that has no host yet holds
 * nobody up, so that no job waits for the start of another one's host; two of them go one after the other.
 * Reads the state, changes nothing.
 */
import type { Lease, WorkerState } from './state.ts';

/** Whether nothing new may begin but what {@link nextAlone} gives. */
export function isHeldForAlone(state: WorkerState): boolean {
  for (const work of state.alone) {
    const lease = state.leases.get(work);
    if (lease?.state.kind === 'running' || (lease && isAtGate(state, lease))) return true;
  }
  return false;
}

/** The mini-batch that may have the node for itself now; null while anything is under way. */
export function nextAlone(state: WorkerState): number | null {
  if (state.slots.some(({ kind }) => kind === 'running' || kind === 'starting')) return null;
  for (const work of state.alone) {
    const lease = state.leases.get(work);
    if (lease && isAtGate(state, lease)) return work;
  }
  return null;
}

function isAtGate(state: WorkerState, lease: Lease): boolean {
  if (lease.state.kind !== 'ready') return false;
  return state.slots.some((held) => (held.kind === 'idle' || held.kind === 'running') && held.job === lease.job);
}
