/** The worker node's core as its shell, or a simulator, drives it. */
import { invariant } from '../../common/core/invariant.ts';
import { monotonicMs, type MonotonicMs } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { WorkerCommand } from './commands.ts';
import { decide } from './decide.ts';
import type { WorkerEvent } from './events.ts';
import { evolve } from './evolve.ts';
import { settle, stuckFrom } from './settle.ts';
import { leaveAt, type LinkUp, type WorkerState } from './state.ts';

/**
 * Takes one command in and returns what was decided, in order; the orders among it are to be carried out in that order.
 * Afterwards the driver looks at {@link nextWake}, and when `hasReports` it sends `turn-ended` once everything that has
 * come at the same time is told.
 */
export function advance(state: WorkerState, command: WorkerCommand, now: MonotonicMs): readonly WorkerEvent[] {
  const events: WorkerEvent[] = [];
  for (const event of decide(state, command, now)) {
    evolve(state, event);
    events.push(event);
  }
  for (let event = settle(state, now); event; event = settle(state, now)) {
    evolve(state, event);
    events.push(event);
    invariant(events.length < eventsMax, `the rules do not come to rest: ${event.kind}`);
  }
  return events;
}

/** Far above what one command can cause; rules that undo each other end here instead of spinning. */
const eventsMax = 4_000_000;

/** When a `tick` is due, as of `now`; null while only others can make something happen. */
export function nextWake(state: WorkerState, now: MonotonicMs): MonotonicMs | null {
  const { link } = state;
  if (link.kind === 'closed') return null;
  let wakeAt = leaveAt(state) ?? Infinity;
  if (state.leaving !== 'close' && state.killAt !== null) wakeAt = Math.min(wakeAt, state.killAt);
  if (link.kind === 'down') wakeAt = Math.min(wakeAt, link.retryAt);
  if (link.kind === 'up')
    wakeAt = Math.min(wakeAt, link.heartbeatAt, link.heardAt + link.leaseMs, unannouncedAt(state, link));
  // What is due already waits for something else than time.
  for (const retryAt of retryTimes(state)) if (retryAt > now && retryAt < wakeAt) wakeAt = retryAt;
  return wakeAt === Infinity ? null : monotonicMs(wakeAt);
}

function unannouncedAt(state: WorkerState, link: LinkUp): number {
  if (link.offered !== null) return Infinity;
  for (const job of state.jobs.values()) {
    if (!job.isAnnounced && job.leases.size === 0) return link.openedAt + limits.unannouncedJobMs;
  }
  return Infinity;
}

function* retryTimes(state: WorkerState): Generator<number, void, void> {
  for (const job of state.jobs.values()) {
    if (job.unstarted === 0) continue;
    if (job.artifacts.kind === 'absent') yield job.artifacts.retryAt ?? 0;
    yield job.hostRetryAt ?? 0;
  }
  if (state.queued.size > 0) for (const slot of state.slots) yield stuckFrom(state, slot) ?? 0;
  for (const work of state.granted) yield retryOf(state, work);
  for (const work of state.uploads) yield retryOf(state, work);
}

function retryOf(state: WorkerState, work: number): number {
  const lease = state.leases.get(work)?.state;
  if (lease?.kind === 'granted') return lease.retryAt ?? 0;
  return lease?.kind === 'scored' && lease.upload.kind === 'wanted' ? (lease.upload.retryAt ?? 0) : 0;
}
