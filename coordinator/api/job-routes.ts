/** Jobs and worker nodes over HTTP. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { BatchError, toBatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { plainOrigin } from '../../common/core/job-origin.ts';
import type { Backend } from './backend.ts';
import { callerOf } from './caller.ts';
import { eventStream } from './event-stream.ts';
import { parseJobRequest } from './job-request.ts';
import { lifeRoutes } from './life-routes.ts';
import { problemOf } from './problem.ts';

interface JobParams {
  readonly name: string;
}

export interface JobRoutesOptions {
  readonly backend: Backend;
  readonly onDefect: (error: unknown) => void;
}

export function jobRoutes(app: FastifyInstance, { backend, onDefect }: JobRoutesOptions): void {
  app.post('/v1/jobs', async (request, reply) => {
    const origin = { ...plainOrigin, owner: callerOf(request).user };
    const view = await backend.submit({ ...(await parseJobRequest(request.body)), origin });
    return reply
      .code(201)
      .header('location', `/v1/jobs/${encodeURIComponent(view.name)}`)
      .send(view);
  });
  app.get('/v1/jobs', async () => ({ value: backend.list() }));
  app.get<{ Params: JobParams }>('/v1/jobs/:name', async (request) => backend.show(request.params.name));
  lifeRoutes(app, backend);
  app.get('/v1/nodes', async () => ({ value: backend.nodes() }));
  app.post<{ Params: JobParams }>('/v1/nodes/:name/release', async (request) => ({
    value: await backend.releaseNode(request.params.name),
  }));
  eventRoute(app, backend, onDefect);
}

/** GET /v1/jobs/:name/events; `Last-Event-ID` or `?after=` is the last sequence that the caller has seen. */
function eventRoute(app: FastifyInstance, backend: Backend, onDefect: (error: unknown) => void): void {
  const open = new Set<AbortController>();
  app.addHook('preClose', async () => open.forEach((controller) => controller.abort()));
  app.get<{ Params: JobParams; Querystring: { after?: string } }>(
    '/v1/jobs/:name/events',
    { exposeHeadRoute: false },
    async (request, reply) => {
      const after = sequenceOf(request.headers['last-event-id'] ?? request.query.after ?? '0');
      // Resolves `last` once, so that a newer job does not change what is watched; and says 404 before the stream begins.
      const { name } = backend.show(request.params.name);
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
      const { signal } = controller;
      return sendEvents(reply, eventStream({ events, signal, keepAliveMs: limits.apiKeepAliveMs, describe }));
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

function sequenceOf(value: unknown): number {
  if (typeof value === 'string' && /^\d{1,15}$/.test(value)) return Number(value);
  throw new BatchError(
    'REQUEST_INVALID',
    `Last-Event-ID: wanted the sequence of an event, found ${JSON.stringify(value)}`,
  );
}
