/** Logs of a job (the list, each one whole, in part or from an offset on) and its errors, counted by kind. */
import { open } from 'node:fs/promises';
import type { FastifyInstance, FastifyReply } from 'fastify';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import type { Backend, FileQuery } from './backend.ts';
import { about, answers, bytesAnswer, listOf, named, namedPath, typed, wholeNumber } from './typed-route.ts';
import { whileAllowed } from './while-allowed.ts';
import { fileSchema, jobErrorsSchema, printedSchema } from './view-schemas.ts';

const offset = wholeNumber({ max: Number.MAX_SAFE_INTEGER });
const partQuery = z.strictObject({ offset: offset.default(0), length: offset.default(Number.MAX_SAFE_INTEGER) });
const printedQuery = z.strictObject({
  file: z.string().optional().describe('path of an input file'),
  first: offset.optional().describe('ordinal of one'),
});
const errorsQuery = z.strictObject({
  offset: offset.default(0),
  limit: wholeNumber({ max: limits.apiErrorGroupsMax }).default(limits.jobErrorGroupsLogged),
});

export function logRoutes(server: FastifyInstance, backend: Backend): void {
  const app = typed(server);
  app.get(
    '/v1/jobs/:name/logs',
    {
      schema: {
        ...about('listLogs', 'logs', 'Logs of a job as they are now'),
        ...{ params: named, response: answers({ 200: listOf(fileSchema) }) },
      },
    },
    async ({ params }) => {
      const files = await backend.logFiles(params.name);
      return { value: files.map((file) => ({ path: file.path, size_bytes: file.sizeBytes })) };
    },
  );
  app.get(
    '/v1/jobs/:name/logs/*',
    {
      schema: {
        ...about(
          'readLog',
          'logs',
          'A log, or a part of it',
          'Nothing comes at its end, so that one who follows asks again.',
        ),
        ...{ params: namedPath, querystring: partQuery },
        response: answers({ 200: bytesAnswer('the bytes from `offset` on', 'text/plain') }),
      },
    },
    async ({ params, query }, reply) => {
      const path = params['*'];
      return await sendLog(await backend.logFile(params.name, path), { path, ...query }, reply);
    },
  );
  app.get(
    '/v1/jobs/:name/printed',
    {
      schema: {
        ...about('listAttempts', 'logs', 'Attempts that had an input file, with what was printed meanwhile'),
        ...{ params: named, querystring: printedQuery, response: answers({ 200: listOf(printedSchema) }) },
      },
    },
    async ({ params, query }) => ({ value: await backend.printed(params.name, fileQuery(query)) }),
  );
  app.get(
    '/v1/jobs/:name/errors',
    {
      schema: {
        ...about('listErrors', 'logs', 'Errors of a job, the same ones counted together'),
        ...{ params: named, querystring: errorsQuery, response: answers({ 200: jobErrorsSchema }) },
      },
    },
    async ({ params, query }) => await backend.errors(params.name, query),
  );
}

interface Part {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** What is there from `offset` on; nothing at its end, so that one who follows asks again. */
async function sendLog(file: string, { path, offset, length }: Part, reply: FastifyReply): Promise<FastifyReply> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    const code = errnoOf(error) === 'ENOENT' ? 'LOG_NOT_FOUND' : 'INPUT_UNREADABLE';
    throw new BatchError(code, `the log ${path} cannot be read: ${reasonOf(error)}`, { cause: error });
  });
  const found = await handle.stat();
  if (!found.isFile()) {
    await handle.close();
    throw new BatchError('LOG_NOT_FOUND', `${path} is a folder of logs; name one of the files in it`);
  }
  const bytes = Math.max(0, Math.min(found.size - offset, length));
  void reply
    .header('x-content-type-options', 'nosniff')
    .header('cache-control', 'no-store')
    .header('content-length', bytes)
    .type('text/plain; charset=utf-8');
  if (bytes > 0) {
    const stream = handle.createReadStream({ start: offset, end: offset + bytes - 1 });
    return reply.send(whileAllowed(reply.request, stream));
  }
  await handle.close();
  return reply.send('');
}

function fileQuery({ file, first }: z.infer<typeof printedQuery>): FileQuery {
  if (file !== undefined) return { file };
  if (first !== undefined) return { first };
  throw new BatchError('REQUEST_INVALID', 'wanted ?file=PATH of an input file or ?first=ORDINAL of one, found neither');
}
