/** What is amiss on the machines of the cluster, over HTTP. */
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { verdicts, type DoctorLine } from '../core/doctor-checks.ts';
import { mayDo } from './access-rules.ts';
import { callerOf } from './caller.ts';
import { about, answers, listOf, typed } from './typed-route.ts';

export interface DoctorBackend {
  /** `paths`: absolute. */
  doctor(paths: readonly string[]): Promise<readonly DoctorLine[]>;
}

const text = z.string();
const lineSchema = z
  .object({
    subject: text.describe('`coordinator`, or the name of a worker node'),
    ...{
      check: text,
      verdict: z.enum(verdicts),
      found: text,
      mend: text.describe('what to do; empty where all is well'),
    },
  })
  .meta({ id: 'DoctorLine' });

const pathText = z
  .string()
  .max(limits.diagnosisPathCharsMax)
  .regex(/^\/[^\0]*$/, 'wanted an absolute path');
/** One comes as a text, several as a list. */
const query = z.strictObject({
  path: z
    .preprocess(
      (value) => (typeof value === 'string' ? [value] : value),
      z.array(pathText).max(limits.diagnosisPathsMax).readonly(),
    )
    .optional()
    .meta({
      ...{ type: 'array', items: { type: 'string' }, maxItems: limits.diagnosisPathsMax },
      description: 'absolute path that every machine should see alike; may be given several times',
    }),
});

export function doctorRoutes(server: FastifyInstance, backend: DoctorBackend): void {
  typed(server).get(
    '/v1/doctor',
    {
      schema: {
        ...about('doctor', 'server', 'What is amiss on the machines of the cluster, with the mend', description),
        ...{ querystring: query, response: answers({ 200: listOf(lineSchema) }) },
      },
    },
    async (request) => {
      const { path: paths = [] } = request.query;
      const { role } = callerOf(request);
      if (paths.length > 0 && !mayDo(role, 'invoker')) {
        throw new BatchError('FORBIDDEN', `what stands at a path is told to invokers; this token is a ${role}'s`);
      }
      return { value: await backend.doctor(paths) };
    },
  );
}

const description =
  'Worker nodes are asked and have 5 s to answer. With `path`, which may be given up to 16 times and which readers may not give, ' +
  'every machine looks at what stands there, and each is compared with the coordinator; no file is read.';
