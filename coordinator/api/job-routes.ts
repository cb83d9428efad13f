/** Jobs and worker nodes over HTTP. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import * as z from 'zod';
import { BatchError, toBatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { Backend, LabelRequest } from './backend.ts';
import { callerOf } from './caller.ts';
import { nodeRoutes } from './node-routes.ts';
import { notModified, sendTagged, tagHeaders } from './etag.ts';
import { eventStream } from './event-stream.ts';
import { jobRequestBody, jobRequestOf } from './job-request.ts';
import { lifeRoutes } from './life-routes.ts';
import { problemOf } from './problem.ts';
import { about, answers, bytesAnswer, cursorText, named, pageOf, typed, wholeNumber } from './typed-route.ts';
import { jobSchema, jobStateSchema } from './view-schemas.ts';

export interface JobRoutesOptions {
  readonly backend: Backend;
  readonly onDefect: (error: unknown) => void;
  /** Event streams that may be open at a time; default: as `limits` has it. */
  readonly streamsMax?: number;
}

export function jobRoutes(server: FastifyInstance, options: JobRoutesOptions): void {
  const { backend } = options;
  const app = typed(server);
  app.post(
    '/v1/jobs',
    {
      schema: {
        ...about('submitJob', 'jobs', 'Submits a job', 'Durable when it is answered.'),
        ...{ body: jobRequestBody, response: answers({ 201: jobSchema }) },
      },
    },
    async (request, reply) => {
      const view = await backend.submit(await jobRequestOf(request.body, callerOf(request).user));
      return reply
        .code(201)
        .header('location', `/v1/jobs/${encodeURIComponent(view.name)}`)
        .send(view);
    },
  );
  app.get(
    '/v1/jobs',
    {
      schema: {
        ...about('listJobs', 'jobs', 'Jobs, newest first, a page at a time'),
        ...{ querystring: listQuery, response: answers({ 200: pageOf(jobSchema) }) },
      },
    },
    async ({ query: { status, archived, cursor, ...query } }) => {
      const { value, next } = backend.page({
        ...{ endpoint: query.endpoint ?? null, deployment: query.deployment ?? null, limit: query.limit },
        states: status ?? null,
        archived: archived === 'all' ? null : archived === 'true',
        before: cursor ?? null,
      });
      return { value, next: next === null ? null : String(next) };
    },
  );
  app.get(
    '/v1/jobs/:name',
    {
      schema: {
        ...about('getJob', 'jobs', 'One job', 'By its name, a unique beginning of it, or `last`.'),
        ...{ params: named, headers: tagHeaders, response: answers({ 200: jobSchema, 304: notModified }) },
      },
    },
    async (request, reply) => sendTagged(request, reply, backend.show(request.params.name)),
  );
  app.patch(
    '/v1/jobs/:name',
    {
      schema: {
        ...about('labelJob', 'jobs', 'Changes what is said of a job', 'What is left out stays as it is.'),
        ...{ params: named, body: labelBody, response: answers({ 200: jobSchema }) },
      },
    },
    async ({ params, body }) => await backend.label(params.name, labelRequest(body)),
  );
  lifeRoutes(server, backend);
  nodeRoutes(server, backend);
  eventRoute(server, options);
}

/** Several with commas between them, or the key several times. */
const statusList = z.preprocess(
  (given) => (typeof given === 'string' ? given.split(',') : given),
  z.array(jobStateSchema).readonly(),
);

const listQuery = z.strictObject({
  endpoint: z.string().min(1).optional(),
  deployment: z.string().min(1).optional(),
  status: statusList.optional(),
  archived: z.enum(['false', 'true', 'all']).default('false').describe('`true`: only those that are'),
  limit: wholeNumber({ min: 1, max: limits.apiPageMax }).default(limits.apiPage),
  cursor: cursorText.optional(),
});

const labels = z.record(z.string().max(limits.labelCharsMax), z.string().max(limits.labelCharsMax));
const labelText = z.string().max(limits.labelCharsMax).nullable().optional();
const labelBody = z
  .strictObject({
    display_name: labelText,
    description: labelText,
    tags: labels.optional(),
    properties: labels.optional(),
    archived: z.boolean().optional().describe('lists leave it out'),
  })
  .meta({ id: 'JobLabels' });

function labelRequest(body: z.infer<typeof labelBody>): LabelRequest {
  const { display_name: displayName, description, tags, properties, archived: isArchived } = body;
  return {
    ...(displayName === undefined ? {} : { displayName }),
    ...(description === undefined ? {} : { description }),
    ...(tags === undefined ? {} : { tags }),
    ...(properties === undefined ? {} : { properties }),
    ...(isArchived === undefined ? {} : { isArchived }),
  };
}

const eventsQuery = z.strictObject({ after: sequence('after').optional() });
const eventsHeaders = z.object({ 'last-event-id': sequence('Last-Event-ID').optional() });

/** GET /v1/jobs/:name/events; `Last-Event-ID` or `?after=` is the last sequence that the caller has seen. */
function eventRoute(server: FastifyInstance, options: JobRoutesOptions): void {
  const { backend, onDefect, streamsMax = limits.apiStreamsMax } = options;
  const open = new Set<AbortController>();
  server.addHook('preClose', async () => open.forEach((controller) => controller.abort()));
  typed(server).get(
    '/v1/jobs/:name/events',
    {
      exposeHeadRoute: false,
      schema: {
        ...about('watchJob', 'jobs', 'Server-sent events of a job', eventsText),
        ...{ params: named, querystring: eventsQuery, headers: eventsHeaders },
        response: answers({ 200: bytesAnswer('events whose data is a JobEvent', 'text/event-stream') }),
      },
    },
    async (request, reply) => {
      const after = request.headers['last-event-id'] ?? request.query.after ?? 0;
      // Resolves `last` once, so that a newer job does not change what is watched; and says 404 before the stream begins.
      const { name } = backend.show(request.params.name);
      if (open.size >= streamsMax) {
        const text = `${open.size} event streams are open, which is all there may be; close some, or ask GET /v1/jobs/${name} from time to time`;
        throw new BatchError('STREAMS_EXHAUSTED', text);
      }
      const controller = new AbortController();
      open.add(controller);
      reply.raw.once('close', () => {
        open.delete(controller);
        controller.abort();
      });
      const events = backend.events(name, after, controller.signal);
      const describe = (error: unknown): string => {
        if (!(error instanceof BatchError)) onDefect(error);
        return JSON.stringify(problemOf(toBatchError(error)));
      };
      const check = (): void => request.stillMay?.();
      const { signal } = controller;
      return sendEvents(reply, eventStream({ events, signal, keepAliveMs: limits.apiKeepAliveMs, check, describe }));
    },
  );
}

function sendEvents(reply: FastifyReply, text: AsyncIterable<string>): FastifyReply {
  return (
    reply
      .type('text/event-stream; charset=utf-8')
      .header('cache-control', 'no-store')
      // Asks a proxy in front not to gather events before it passes them on.
      .header('x-accel-buffering', 'no')
      .send(Readable.from(text, { objectMode: false }))
  );
}

const eventsText =
  'Each has its sequence as `id`. `Last-Event-ID`, or `after`, goes on after an event that was seen; `end` says that no more will come, and `error` why none will, as of a token that was revoked.';

/** Of an event. */
function sequence(what: string): z.ZodType<number> {
  const error = ({ input }: { readonly input?: unknown }): string =>
    `${what}: wanted the sequence of an event, found ${JSON.stringify(input)}`;
  return wholeNumber({ max: Number.MAX_SAFE_INTEGER, error });
}
