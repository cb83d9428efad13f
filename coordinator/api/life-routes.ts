/** Cancel, pause, resume, retry and prune over HTTP. Every body may be left out. */
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import { limits } from '../../common/core/limits.ts';
import { jobStates } from '../../common/core/states.ts';
import type { Backend, PruneRequest, ReopenRequest } from './backend.ts';
import { deploymentBody, miniBatchSize, parseDeployment } from './job-request.ts';
import { miniBatchSize as writtenSize } from '../../common/config/field-types.ts';
import { about, answers, emptyBody, listOf, named, typed } from './typed-route.ts';
import { jobSchema, prunedSchema } from './view-schemas.ts';

const count = z.int().min(1);
const seconds = z.number().min(0);

const cancelBody = z.strictObject({
  grace_seconds: seconds
    .max(limits.cancelGraceMsMax / 1_000)
    .default(limits.cancelGraceMs / 1_000)
    .describe('how long what runs may go on; 0 kills it'),
});

const reopenBody = z.strictObject({
  deployment: deploymentBody.optional(),
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

export function lifeRoutes(server: FastifyInstance, backend: Backend): void {
  const app = typed(server);
  const response = answers({ 202: jobSchema });
  app.post(
    '/v1/jobs/:name/cancel',
    { schema: { ...about('cancelJob', 'jobs', 'Ends a job'), params: named, body: cancelBody, response } },
    async ({ params, body }, reply) =>
      reply.code(202).send(await backend.cancel(params.name, Math.round(body.grace_seconds * 1_000))),
  );
  app.post(
    '/v1/jobs/:name/pause',
    { schema: { ...about('pauseJob', 'jobs', 'Hands out no more of it'), params: named, body: emptyBody, response } },
    async ({ params }, reply) => reply.code(202).send(await backend.pause(params.name)),
  );
  app.post(
    '/v1/jobs/:name/resume',
    {
      schema: {
        ...about('resumeJob', 'jobs', 'Goes on with a job that is paused, failed or was canceled'),
        ...{ params: named, body: reopenBody, response },
      },
    },
    async ({ params, body }, reply) =>
      reply.code(202).send(await backend.resume(params.name, await reopenRequest(body))),
  );
  app.post(
    '/v1/jobs/:name/retry',
    { schema: { ...about('retryJob', 'jobs', 'Scores failed files again'), params: named, body: retryBody, response } },
    async ({ params, body: { failed_only: _, ...body } }, reply) =>
      reply.code(202).send(await backend.retry(params.name, await reopenRequest(body))),
  );
  app.post(
    '/v1/jobs/prune',
    {
      schema: {
        ...about('pruneJobs', 'jobs', 'Forgets jobs that have ended'),
        ...{ body: pruneBody, response: answers({ 200: listOf(prunedSchema) }) },
      },
    },
    async ({ body }) => ({ value: await backend.prune(pruneRequest(body)) }),
  );
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
