/**
 * Begins the runs of schedules when they are due. Each is invoked under a key that names schedule and due time, and only then noted:
 * whatever crashes between the two, the next look finds the job that is there.
 */
import { limits } from '../../common/core/limits.ts';
import { toBatchError } from '../../common/core/batch-error.ts';
import type { Clock } from '../../common/io/clock.ts';
import type { Log } from '../../common/io/log.ts';
import { invokeBody, type Invocations } from '../api/invocations.ts';
import { dueRuns, type DueTimes } from '../core/due-runs.ts';
import { namedKey, type ScheduleResource } from '../core/resources.ts';
import type { Loop } from '../loop.ts';
import { cronTimes } from './cron.ts';

export interface ScheduleClockOptions {
  readonly loop: Pick<Loop, 'handle' | 'durable' | 'ledger'>;
  readonly invocations: Invocations;
  readonly clock: Clock;
  readonly log: Log;
  /** The process ends: nothing more is begun, and nothing noted of what is under way. The next start finds its job, or begins it. */
  readonly stopped: AbortSignal;
}

export class ScheduleClock {
  readonly #options: ScheduleClockOptions;
  /** By expression and time zone. */
  readonly #times = new Map<string, DueTimes>();
  /** Schedules that are being dealt with, by name: a run whose input does not answer holds up no other schedule. */
  readonly #underWay = new Set<string>();

  constructor(options: ScheduleClockOptions) {
    this.#options = options;
  }

  /** Begins what is due by now: of one schedule one after the other, of several at once. Rejects on a defect only. */
  async look(): Promise<void> {
    const { loop, clock } = this.#options;
    // One time for all: a due time is not missed because another schedule came first.
    const nowMs = clock.wall();
    const found = loop.ledger.registry.ofKind('schedule').map(({ resource }) => resource);
    await Promise.all(found.map((schedule) => this.#dealWith(schedule, nowMs)));
  }

  async #dealWith(schedule: ScheduleResource, nowMs: number): Promise<void> {
    const { loop, log, stopped } = this.#options;
    const { name } = schedule;
    if (stopped.aborted || this.#underWay.has(name)) return;
    const due = dueRuns(schedule, nowMs, this.#timesOf(schedule));
    if (due.dealtWithMs === null) return;
    this.#underWay.add(name);
    try {
      for (const dueMs of due.runs) if (!stopped.aborted) await this.#begin(schedule, dueMs);
      if (stopped.aborted) return;
      if (due.skipped > 0) log.warn('runs of a schedule were missed', { schedule: name, runs: due.skipped });
      this.#note(schedule, { lastDueMs: due.dealtWithMs });
      await loop.durable();
    } finally {
      this.#underWay.delete(name);
    }
  }

  async #begin(schedule: ScheduleResource, dueMs: number): Promise<void> {
    const { invocations, loop, log, stopped } = this.#options;
    const { name, endpoint, body, createdBy } = schedule;
    const job = runName(name, dueMs);
    let error: NonNullable<ScheduleResource['lastRun']>['error'] = null;
    try {
      const asked = invokeBody.parse({ ...body, deployment_name: schedule.deployment, job_name: job });
      await invocations.invoke(endpoint, asked, { user: createdBy, role: 'invoker' }, `schedule/${name}/${dueMs}`);
      log.info('a run of a schedule has begun', { schedule: name, job, due: new Date(dueMs).toISOString() });
    } catch (thrown) {
      if (stopped.aborted) return;
      const failure = toBatchError(thrown);
      // Begun before, and the schedule was changed before that was noted.
      if (failure.code !== 'IDEMPOTENCY_MISMATCH') {
        error = { code: failure.code, message: failure.message };
        log.warn('a run of a schedule could not begin', { schedule: name, job, ...error });
      }
    }
    if (stopped.aborted) return;
    this.#note(schedule, { lastDueMs: dueMs, lastRun: { dueMs, job: error === null ? job : null, error } });
    await loop.durable();
  }

  /** Whatever else of it was changed meanwhile stays so. */
  #note({ name }: ScheduleResource, change: Partial<Pick<ScheduleResource, 'lastDueMs' | 'lastRun'>>): void {
    const { loop } = this.#options;
    const now = loop.ledger.registry.get(namedKey('schedule', name))?.resource;
    if (now?.kind !== 'schedule') return;
    const lastDueMs = Math.max(now.lastDueMs, change.lastDueMs ?? 0);
    loop.handle({ kind: 'put-resource', resource: { ...now, ...change, lastDueMs }, ifMatch: null });
  }

  #timesOf({ cron, timeZone }: ScheduleResource): DueTimes {
    const key = JSON.stringify([cron, timeZone]);
    const times = this.#times.get(key) ?? cronTimes(cron, timeZone);
    if (this.#times.size > limits.scheduleTimesKept) this.#times.clear();
    this.#times.set(key, times);
    return times;
  }
}

/** `nightly-20261122t030000z`: the schedule and when it was due, in UTC, where no hour comes twice. */
export function runName(schedule: string, dueMs: number): string {
  const time = new Date(dueMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').toLowerCase();
  return `${schedule.toLowerCase()}-${time}z`;
}

/** Looks again and again; a run that takes its time is not waited for, neither by the next look nor by the end. */
export function startSchedules(clock: ScheduleClock, onFatal: (error: unknown) => void): { close(): void } {
  const timer = setInterval(() => void clock.look().catch(onFatal), limits.scheduleLookMs);
  return { close: () => clearInterval(timer) };
}
