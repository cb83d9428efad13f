/**
 * How many leases a worker node asks for: enough that no slot waits for a round trip, no more, so that the end of a job
 * is spread over all nodes.
 */
import { limits } from '../../common/core/limits.ts';
import { isHeldForAlone } from './alone.ts';
import type { WorkerState } from './state.ts';

/**
 * Leases to keep beyond the free slots: as many as the slots use up while others are granted and staged, or until another coordinator
 * grants some.
 */
export function leasesAhead({
  runSeconds,
  stageSeconds,
  slots,
  handover,
}: Pick<WorkerState, 'runSeconds' | 'stageSeconds' | 'slots'> & Partial<Pick<WorkerState, 'handover'>>): number {
  if (runSeconds === null) return limits.workAheadMin;
  const aheadSeconds = (limits.workAheadMs + (handover?.withinMs ?? 0)) / 1_000 + (stageSeconds ?? 0);
  const used = Math.ceil((slots.length * aheadSeconds) / Math.max(runSeconds, 1e-6));
  return Math.min(limits.workAheadMax, Math.max(limits.workAheadMin, used));
}

/** Leases to ask for now, in addition to those asked for before on this stream. */
export function wantedLeases(state: WorkerState): number {
  const { link, leaving, slots } = state;
  if (link.kind !== 'up' || leaving !== 'none' || isFull(state)) return 0;
  // What is asked for now could not begin for long; other nodes may have it.
  if (isHeldForAlone(state)) return 0;
  const free = slots.length - state.running.size;
  const unstarted = state.granted.size + state.staging.size + state.ready + state.queued.size;
  return Math.max(0, free + leasesAhead(state) - unstarted - link.asked);
}

/** Too much waits for its commit: nothing new is begun until some of it is durable. */
export function isFull(state: WorkerState): boolean {
  const { heldMemoryBytes, heldResultBytes, scored, config } = state;
  const isFullDisk = heldResultBytes > config.spoolBytesMax;
  return isFullDisk || heldMemoryBytes > limits.heldResultBytesMax || scored.size > limits.heldResultsMax;
}
