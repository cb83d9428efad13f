/** Cancel, pause, resume, retry and prune over HTTP. Every body may be left out. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { limits } from '../../common/core/limits.ts';
import { jobStates } from '../../common/core/states.ts';
import type { Backend, PruneRequest, ReopenRequest } from './backend.ts';
import { miniBatchSize, parse, parseDeployment } from './job-request.ts';
import { miniBatchSize as writtenSize } from '../../common/config/field-types.ts';

interface JobParams {
  readonly name: string;
}

const count = z.int().min(1);
const seconds = z.number().min(0);

const cancelBody = z.strictObject({
  grace_seconds: seconds
    .max(limits.cancelGraceMsMax / 1_000)
    .default(limits.cancelGraceMs / 1_000)
    .describe('how long what runs may go on; 0 kills it'),
});

const reopenBody = z.strictObject({
  deployment: z.unknown().optional(),
  set: z.array(z.string()).optional(),
  /** As in a YAML, or resolved. */
  mini_batch_size: z.union([miniBatchSize, writtenSize]).optional(),
  timeout_seconds: z
    .number()
    .positive()
    .max(limits.timeoutMsMax / 1_000)
    .optional(),
  max_retries: count.optional(),
  error_threshold: z.int().min(-1).optional(),
  instance_count: count.optional(),
  slots_per_node: count.optional(),
});

const retryBody = reopenBody.extend({ failed_only: z.literal(true) });

const pruneBody = z.strictObject({
  names: z.array(z.string().min(1)).default([]),
  older_than_seconds: seconds.optional(),
  states: z.array(z.enum(jobStates)).optional(),
  dry_run: z.boolean().default(false),
  output: z.boolean().default(false),
});

export function lifeRoutes(app: FastifyInstance, backend: Backend): void {
  app.post<{ Params: JobParams }>('/v1/jobs/:name/cancel', async (request, reply) => {
    const { grace_seconds: grace } = parse(cancelBody, request.body ?? {}, '');
    return reply.code(202).send(await backend.cancel(request.params.name, Math.round(grace * 1_000)));
  });
  app.post<{ Params: JobParams }>('/v1/jobs/:name/pause', async (request, reply) =>
    reply.code(202).send(await backend.pause(request.params.name)),
  );
  app.post<{ Params: JobParams }>('/v1/jobs/:name/resume', async (request, reply) => {
    const asked = await reopenRequest(parse(reopenBody, request.body ?? {}, ''));
    return reply.code(202).send(await backend.resume(request.params.name, asked));
  });
  app.post<{ Params: JobParams }>('/v1/jobs/:name/retry', async (request, reply) => {
    const { failed_only: _, ...body } = parse(retryBody, request.body ?? {}, '');
    return reply.code(202).send(await backend.retry(request.params.name, await reopenRequest(body)));
  });
  app.post('/v1/jobs/prune', async (request) => ({
    value: await backend.prune(pruneRequest(parse(pruneBody, request.body ?? {}, ''))),
  }));
}

async function reopenRequest(body: z.infer<typeof reopenBody>): Promise<ReopenRequest> {
  return {
    deployment: body.deployment === undefined ? null : await parseDeployment(body.deployment, body.set ?? []),
    miniBatchSize: body.mini_batch_size ?? null,
    timeoutMs: body.timeout_seconds === undefined ? null : Math.round(body.timeout_seconds * 1_000),
    triesMax: body.max_retries ?? null,
    errorThreshold: body.error_threshold ?? null,
    instanceCountMax: body.instance_count ?? null,
    concurrencyPerInstanceMax: body.slots_per_node ?? null,
  };
}

function pruneRequest(body: z.infer<typeof pruneBody>): PruneRequest {
  return {
    names: body.names,
    olderThanMs: body.older_than_seconds === undefined ? null : body.older_than_seconds * 1_000,
    states: body.states ?? null,
    isDryRun: body.dry_run,
    withOutput: body.output,
  };
}
