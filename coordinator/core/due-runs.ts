/**
 * Which runs of a schedule are due. A due time that is dealt with later than a short while is missed: the coordinator was down, or
 * its machine slept. What becomes of those is the schedule's own word:
 *
 *   skip   nothing
 *   once   one run for all of them, the latest, unless one that is not missed is due as well
 *   all    each of them, the latest hundred at most
 */
import { limits } from '../../common/core/limits.ts';
import type { ScheduleResource } from './resources.ts';

/** When a schedule is due, in milliseconds of the wall clock. */
export interface DueTimes {
  /** The first one after `ms`; null: there is none. */
  readonly after: (ms: number) => number | null;
  /** Up to so many of the latest ones at or before `ms`, the latest first. */
  readonly upTo: (ms: number, count: number) => readonly number[];
}

export interface DueRuns {
  /** To begin now, the earliest first. */
  readonly runs: readonly number[];
  /** Due times up to here are dealt with once those are begun; null: none was due. */
  readonly dealtWithMs: number | null;
  /** Due times that nothing is begun for, as far as they were counted. */
  readonly skipped: number;
}

const nothingDue: DueRuns = { runs: [], dealtWithMs: null, skipped: 0 };

/** `nowMs`: of the wall clock. */
export function dueRuns(
  { missed, isPaused, lastDueMs }: Pick<ScheduleResource, 'missed' | 'isPaused' | 'lastDueMs'>,
  nowMs: number,
  times: DueTimes,
): DueRuns {
  if (isPaused) return nothingDue;
  const next = times.after(lastDueMs);
  if (next === null || next > nowMs) return nothingDue;
  // One more than are caught up, so that it is known whether there are more.
  const due = times.upTo(nowMs, limits.scheduleCatchUpMax + 1).filter((ms) => ms > lastDueMs);
  const all = [...due].reverse();
  const fresh = all.filter((ms) => nowMs - ms <= limits.scheduleLateMs);
  const late = all.filter((ms) => nowMs - ms > limits.scheduleLateMs);
  const wanted = { skip: fresh, once: fresh.length > 0 ? fresh : late.slice(-1), all }[missed];
  const runs = wanted.slice(-limits.scheduleCatchUpMax);
  return { runs, dealtWithMs: all.at(-1) ?? null, skipped: all.length - runs.length };
}
