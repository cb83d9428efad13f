/** What complete outputs tell of their rows, over HTTP: where one comes from, and how two agree. */
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import { limits } from '../../common/core/limits.ts';
import { compareOutputs, type Comparison } from '../compare/compare-outputs.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { isUri } from '../../common/core/location.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { Backend } from './backend.ts';
import { whyRow, type RowOrigin } from '../why/why-row.ts';
import { about, answers, named, typed, wholeNumber } from './typed-route.ts';

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

const originSchema: z.ZodType<RowOrigin> = z
  .object({
    ...{ job: z.string(), deployment: z.string(), endpoint: z.string().nullable(), revision: count.nullable() },
    ...{ model: z.string().nullable(), row: count, text: z.string().nullable() },
    grain: z.enum(['row', 'mini_batch']).describe('mini_batch: only that it is of one of these files'),
    ...{ files: z.array(z.string()).readonly(), row_in_file: count.nullable() },
    ...{ mini_batch: z.tuple([count, count]).readonly().nullable(), attempt: z.string().nullable() },
    ...{ attempts: count.nullable(), node: z.string().nullable(), taken: z.boolean(), since: z.string().nullable() },
    run: z
      .object({
        ...{ process: z.string(), start: z.string(), seconds: z.number(), status: z.string() },
        ...{ stdout: z.string(), stderr: z.string() },
      })
      .meta({ id: 'RowRun' })
      .nullable(),
  })
  .meta({ id: 'RowOrigin' });

type Outputs = Pick<Backend, 'show' | 'outputDir'>;

function whyRoute(server: FastifyInstance, backend: Outputs): void {
  typed(server).get(
    '/v1/jobs/:name/why',
    {
      schema: {
        ...about('explainRow', 'jobs', 'Where a row of the output comes from'),
        ...{ params: named, querystring: z.object({ row: wholeNumber({ max: Number.MAX_SAFE_INTEGER }) }) },
        response: answers({ 200: originSchema }),
      },
    },
    async ({ params, query }) => await whyRow(await outputOf(backend, params.name), query.row),
  );
}

export function compareRoutes(server: FastifyInstance, backend: Outputs): void {
  whyRoute(server, backend);
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
      const [a, b] = [await outputOf(backend, params.name), await outputOf(backend, params.other)];
      const examplesMax = query.examples ?? limits.differencesShown;
      return await compareOutputs({ a, b, examplesMax, tolerance: query.tolerance ?? 0, fileSystem: nodeFileSystem });
    },
  );
}

/** @throws JOB_NOT_FOUND, JOB_NOT_FINISHED, OUTPUT_EXISTS, COMPARE_UNUSABLE */
async function outputOf(backend: Outputs, asked: string): Promise<string> {
  const { name, status, output_path: path } = backend.show(asked);
  if (status !== 'Completed') {
    throw new BatchError(
      'JOB_NOT_FINISHED',
      `job ${name} is ${status}; only the rows of complete jobs are looked into`,
    );
  }
  if (!isUri(path)) return await backend.outputDir(name);
  throw new BatchError(
    'COMPARE_UNUSABLE',
    `the output of job ${name} is in ${path}; download it, and compare the folders`,
  );
}
