/** Schedules as callers see them: made, changed, paused and shown with when they are due next. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { Clock } from '../../common/io/clock.ts';
import type { Caller } from '../api/caller.ts';
import type { Removal, Tagged } from '../api/registry-backend.ts';
import type { ScheduleBackend, ScheduleRequest, ScheduleView } from '../api/schedule-routes.ts';
import { notFound } from '../core/decide-registry.ts';
import { namedKey, type ScheduleResource } from '../core/resources.ts';
import type { Loop } from '../loop.ts';
import { isoTime } from '../views/job-view.ts';
import { cronTimes } from './cron.ts';

/** Due times that a view tells. */
const nextRunsTold = 5;

export class ScheduleDesk implements ScheduleBackend {
  readonly #loop: Loop;
  readonly #clock: Clock;

  constructor(loop: Loop, clock: Clock) {
    this.#loop = loop;
    this.#clock = clock;
  }

  schedules(): readonly ScheduleView[] {
    return this.#loop.ledger.registry.ofKind('schedule').map(({ resource }) => this.#view(resource));
  }

  schedule(name: string): Tagged<ScheduleView> {
    const { resource, tag } = this.#find(name);
    return { view: this.#view(resource), tag, isNew: false };
  }

  async putSchedule(
    name: string,
    request: ScheduleRequest,
    caller: Caller,
    ifMatch: number | null,
  ): Promise<Tagged<ScheduleView>> {
    const { cron, time_zone: timeZone, endpoint_name: endpoint, deployment_name: deployment, body, missed } = request;
    cronTimes(cron, timeZone);
    const { registry } = this.#loop.ledger;
    if (!registry.endpoint(endpoint)) throw notFound(namedKey('endpoint', endpoint));
    if (deployment !== null && !registry.deployment(endpoint, deployment)) {
      throw new BatchError('RESOURCE_NOT_FOUND', `endpoint ${endpoint} has no deployment ${deployment}`);
    }
    const before = registry.get(namedKey('schedule', name))?.resource as ScheduleResource | undefined;
    const now = this.#clock.wall();
    const goesOn = before?.cron === cron && before.timeZone === timeZone && !before.isPaused;
    return await this.#put(
      {
        kind: 'schedule',
        ...{ name, cron, timeZone, endpoint, deployment, body, missed },
        isPaused: request.is_paused ?? before?.isPaused ?? false,
        // Under another expression the time before it was said is not missed, nor is that of a pause.
        lastDueMs: goesOn ? before.lastDueMs : now,
        lastRun: before?.lastRun ?? null,
        ...{ createdMs: now, createdBy: caller.user },
      },
      ifMatch,
    );
  }

  /** While it is paused nothing is due, and nothing is missed. */
  async pauseSchedule(name: string, isPaused: boolean): Promise<Tagged<ScheduleView>> {
    const { resource } = this.#find(name);
    const lastDueMs = resource.isPaused && !isPaused ? this.#clock.wall() : resource.lastDueMs;
    return await this.#put({ ...resource, isPaused, lastDueMs }, null);
  }

  async removeSchedule(name: string, { ifMatch, isForced }: Removal): Promise<void> {
    this.#loop.handle({ kind: 'remove-resource', key: namedKey('schedule', name), ifMatch, isForced });
    await this.#loop.durable();
  }

  async #put(resource: ScheduleResource, ifMatch: number | null): Promise<Tagged<ScheduleView>> {
    const isNew = !this.#loop.ledger.registry.get(namedKey('schedule', resource.name));
    this.#loop.handle({ kind: 'put-resource', resource, ifMatch });
    const found = this.#find(resource.name);
    await this.#loop.durable();
    return { view: this.#view(found.resource), tag: found.tag, isNew };
  }

  #find(name: string): { readonly resource: ScheduleResource; readonly tag: number } {
    const key = namedKey('schedule', name);
    const found = this.#loop.ledger.registry.get(key);
    if (found?.resource.kind !== 'schedule') throw notFound(key);
    return { resource: found.resource, tag: found.tag };
  }

  #view(schedule: ScheduleResource): ScheduleView {
    const { name, cron, timeZone, endpoint, deployment, body, missed, isPaused, lastDueMs, lastRun } = schedule;
    const times = cronTimes(cron, timeZone);
    const next: number[] = [];
    for (let ms = times.after(Math.max(lastDueMs, this.#clock.wall())); ms !== null; ms = times.after(ms)) {
      next.push(ms);
      if (next.length === nextRunsTold) break;
    }
    return {
      ...{ id: `/v1/schedules/${name}`, name, cron, time_zone: timeZone, endpoint_name: endpoint },
      ...{ deployment_name: deployment, body, missed, is_paused: isPaused },
      next_runs: isPaused ? [] : next.map(isoTime),
      last_run: lastRun && { due_at: isoTime(lastRun.dueMs), job: lastRun.job, error: lastRun.error },
      ...{ created_at: isoTime(schedule.createdMs), created_by: schedule.createdBy },
    };
  }
}
