/** Two jobs of one input beside each other, over HTTP. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { limits } from '../../common/core/limits.ts';
import { compareOutputs, type Comparison } from '../compare/compare-outputs.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { isUri } from '../../common/core/location.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { Backend } from './backend.ts';
import { about, answers, typed, wholeNumber } from './typed-route.ts';

const count = z.int().min(0);
const side = z
  .object({
    ...{ job: z.string(), deployment: z.string(), output_path: z.string() },
    ...{ files: count, failed_files: count, rows: count, seconds: z.number().nullable() },
  })
  .meta({ id: 'ComparedOutput' });

export const comparisonSchema: z.ZodType<Comparison> = z
  .object({
    ...{ a: side, b: side, tolerance: z.number() },
    files: z
      .object({
        ...{ same: count, different: count, other_row_counts: count, only_a: count, only_b: count },
        ...{ failed_only_a: count, failed_only_b: count, failed_both: count, grouped: count },
      })
      .meta({ id: 'ComparedFiles' }),
    rows: z.object({ compared: count, same: count, different: count }).meta({ id: 'ComparedRows' }),
    agreement: z.number().nullable().describe('rows that are the same of those that were compared'),
    differences: z
      .array(
        z
          .object({ file: z.string(), row: count.nullable(), a: z.string().nullable(), b: z.string().nullable() })
          .meta({ id: 'Difference' }),
      )
      .readonly(),
  })
  .meta({ id: 'Comparison' });

const toleranceText = z
  .string()
  .regex(/^\d+(\.\d+)?([eE]-?\d+)?$/, 'wanted a number from 0 on, such as 1e-6')
  .transform(Number);

const asked = z.object({
  tolerance: toleranceText.optional().describe('numbers that are so close are the same; default: 0'),
  examples: wholeNumber({ max: limits.apiPageMax }).optional().describe('differences that are shown; default: 20'),
});

export function compareRoutes(server: FastifyInstance, backend: Pick<Backend, 'show'>): void {
  typed(server).get(
    '/v1/jobs/:name/compare/:other',
    {
      schema: {
        ...about('compareJobs', 'jobs', 'Two complete jobs of one input, row by row'),
        ...{ params: z.object({ name: z.string(), other: z.string() }), querystring: asked },
        response: answers({ 200: comparisonSchema }),
      },
    },
    async ({ params, query }) => {
      const [a, b] = [outputOf(backend, params.name), outputOf(backend, params.other)];
      const examplesMax = query.examples ?? limits.differencesShown;
      return await compareOutputs({ a, b, examplesMax, tolerance: query.tolerance ?? 0, fileSystem: nodeFileSystem });
    },
  );
}

/** @throws JOB_NOT_FOUND, JOB_NOT_FINISHED, COMPARE_UNUSABLE */
function outputOf(backend: Pick<Backend, 'show'>, asked: string): string {
  const { name, status, output_path: path } = backend.show(asked);
  if (status !== 'Completed') {
    throw new BatchError('JOB_NOT_FINISHED', `job ${name} is ${status}; only complete jobs are compared`);
  }
  if (!isUri(path)) return path;
  throw new BatchError(
    'COMPARE_UNUSABLE',
    `the output of job ${name} is in ${path}; download it, and compare the folders`,
  );
}
