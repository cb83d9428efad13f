/** Schedules over HTTP: an endpoint that is invoked when a cron expression says so. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import * as z from 'zod';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { requireOwner } from './access-control.ts';
import { callerOf, type Caller } from './caller.ts';
import { invokeBody } from './invocations.ts';
import type { Removal, Tagged } from './registry-backend.ts';
import { errorCodeSchema } from './problem.ts';
import { ifMatchOf, removalOf, tagged } from './registry-routes.ts';
import { about, answers, emptyBody, listOf, named, typed } from './typed-route.ts';

export interface ScheduleRequest {
  readonly cron: string;
  readonly time_zone: string;
  readonly endpoint_name: string;
  readonly deployment_name: string | null;
  /** Of each invocation. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly missed: 'skip' | 'once' | 'all';
  /** Absent: as it is. */
  readonly is_paused?: boolean | undefined;
}

export interface ScheduleView extends Required<Omit<ScheduleRequest, 'is_paused'>> {
  readonly id: string;
  readonly name: string;
  readonly is_paused: boolean;
  /** ISO 8601, UTC; none while it is paused. */
  readonly next_runs: readonly string[];
  readonly last_run: {
    readonly due_at: string;
    readonly job: string | null;
    readonly error: { readonly code: ErrorCode; readonly message: string } | null;
  } | null;
  readonly created_at: string;
  readonly created_by: string;
}

/** All of it throws RESOURCE_NOT_FOUND, and RESOURCE_CHANGED where `ifMatch` is another tag than there is. */
export interface ScheduleBackend {
  schedules(): readonly ScheduleView[];
  schedule(name: string): Tagged<ScheduleView>;
  /** @throws REQUEST_INVALID for what is no cron expression or no time zone */
  putSchedule(
    name: string,
    request: ScheduleRequest,
    caller: Caller,
    ifMatch: number | null,
  ): Promise<Tagged<ScheduleView>>;
  pauseSchedule(name: string, isPaused: boolean): Promise<Tagged<ScheduleView>>;
  removeSchedule(name: string, removal: Removal): Promise<void>;
}

const scheduleName = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9_-]{0,63}$/i,
    'wanted letters, digits, "_" and "-", at most 64; it begins the names of its jobs',
  );
const missed = z.enum(['skip', 'once', 'all']);

const scheduleBody = z
  .strictObject({
    cron: z.string().min(1).max(200).describe('five fields, or @hourly, @daily, …'),
    time_zone: z.string().min(1).max(64).default('UTC').describe('IANA name'),
    endpoint_name: z.string().min(1),
    deployment_name: z.string().min(1).nullable().default(null).describe("null: the endpoint's default"),
    body: z.record(z.string(), z.unknown()).describe('of POST /v1/endpoints/{endpoint}/jobs'),
    missed: missed.default('skip').describe('runs that were due while the coordinator was down'),
    is_paused: z.boolean().optional(),
  })
  .check(({ value, issues }) => {
    for (const key of ['job_name', 'deployment_name']) {
      if (!(key in value.body)) continue;
      issues.push({
        code: 'custom',
        message: `${key} is made by the schedule; leave it out`,
        path: ['body', key],
        input: value,
      });
    }
    const found = invokeBody.safeParse(value.body);
    for (const issue of found.error?.issues ?? [])
      issues.push({ code: 'custom', message: issue.message, path: ['body', ...issue.path], input: value });
  })
  .meta({ id: 'ScheduleRequest' });

const scheduleView = z
  .object({
    id: z.string(),
    name: z.string(),
    cron: z.string(),
    time_zone: z.string(),
    endpoint_name: z.string(),
    deployment_name: z.string().nullable(),
    body: z.record(z.string(), z.unknown()).readonly(),
    missed,
    is_paused: z.boolean(),
    next_runs: z.array(z.string()).readonly(),
    last_run: z
      .object({
        due_at: z.string(),
        job: z.string().nullable(),
        error: z.object({ code: errorCodeSchema, message: z.string() }).nullable(),
      })
      .nullable(),
    created_at: z.string(),
    created_by: z.string(),
  })
  .meta({ id: 'Schedule' });

/** Its jobs are those of whoever made it. @throws FORBIDDEN, RESOURCE_NOT_FOUND */
function requireOwn(request: FastifyRequest, schedules: ScheduleBackend, name: string): void {
  requireOwner(request, schedules.schedule(name).view.created_by, `schedule ${name}`);
}

export function scheduleRoutes(server: FastifyInstance, schedules: ScheduleBackend): void {
  const app = typed(server);
  const one = answers({ 200: scheduleView });
  const params = z.object({ name: scheduleName });
  app.get(
    '/v1/schedules',
    { schema: { ...about('listSchedules', 'admin', 'Schedules'), response: answers({ 200: listOf(scheduleView) }) } },
    async () => ({ value: schedules.schedules() }),
  );
  app.get(
    '/v1/schedules/:name',
    { schema: { ...about('getSchedule', 'admin', 'One schedule, and when it is due'), params: named, response: one } },
    async (request, reply) => tagged(reply, schedules.schedule(request.params.name)),
  );
  app.put(
    '/v1/schedules/:name',
    {
      schema: {
        ...about('putSchedule', 'admin', 'Invokes an endpoint when a cron expression says so'),
        ...{ params, body: scheduleBody, response: answers({ 200: scheduleView, 201: scheduleView }) },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const isThere = schedules.schedules().some((view) => view.name.toLowerCase() === name.toLowerCase());
      if (isThere) requireOwn(request, schedules, name);
      const put = await schedules.putSchedule(name, request.body, callerOf(request), ifMatchOf(request));
      return tagged(reply, put, `/v1/schedules/${name}`);
    },
  );
  for (const [verb, isPaused] of [
    ['pause', true],
    ['resume', false],
  ] as const) {
    const text = isPaused ? 'Begins no more runs' : 'Goes on; what was due meanwhile is not missed';
    app.post(
      `/v1/schedules/:name/${verb}`,
      { schema: { ...about(`${verb}Schedule`, 'admin', text), params: named, body: emptyBody, response: one } },
      async (request, reply) => {
        const { name } = request.params;
        requireOwn(request, schedules, name);
        return tagged(reply, await schedules.pauseSchedule(name, isPaused));
      },
    );
  }
  app.delete(
    '/v1/schedules/:name',
    {
      schema: {
        ...about('deleteSchedule', 'admin', 'Forgets a schedule; its jobs stay'),
        ...{ params: named, response: answers({ 204: z.null() }) },
      },
    },
    async (request, reply) => {
      requireOwn(request, schedules, request.params.name);
      await schedules.removeSchedule(request.params.name, removalOf(request, false));
      return reply.code(204).send(null);
    },
  );
}
