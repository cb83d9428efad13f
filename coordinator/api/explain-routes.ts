/** Why a job, or a file of it, is where it is, over HTTP. */
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import { jobStates } from '../../common/core/states.ts';
import type { ExplainView } from '../views/explain-view.ts';
import { about, answers, named, typed } from './typed-route.ts';
import { printedSchema } from './view-schemas.ts';

export interface ExplainBackend {
  /** @throws JOB_NOT_FOUND, INPUT_NOT_FOUND */
  explain(name: string, file: string | null): Promise<ExplainView>;
}

const text = z.string();
const explainSchema = z
  .object({
    ...{ name: text, status: z.enum(jobStates), owner: text, priority: z.int() },
    reasons: z
      .array(z.object({ kind: text, message: text }))
      .readonly()
      .describe('why it does not go on, or not faster'),
    running: z.array(z.object({ files: text, node: text, state: text, seconds: z.number() })).readonly(),
    running_more: z.int().describe('leases beyond those that are told'),
    next: text,
    file: z
      .object({ path: text, state: text, files: text, happened: text, attempts: z.array(printedSchema).readonly() })
      .nullable()
      .describe('what has become of the file that was asked about'),
  })
  .meta({ id: 'Explanation' });

export function explainRoutes(server: FastifyInstance, backend: ExplainBackend): void {
  typed(server).get(
    '/v1/jobs/:name/explain',
    {
      schema: {
        ...about('explainJob', 'jobs', 'Why a job waits, what runs of it, and what has become of a file'),
        ...{ params: named, querystring: z.strictObject({ file: text.optional().describe('path of an input file') }) },
        response: answers({ 200: explainSchema }),
      },
    },
    async ({ params, query }) => await backend.explain(params.name, query.file ?? null),
  );
}
