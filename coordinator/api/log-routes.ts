/** Logs of a job (the list, each one whole, in part or from an offset on) and its errors, counted by kind. */
import { open } from 'node:fs/promises';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import type { Backend, FileQuery } from './backend.ts';

interface JobParams {
  readonly name: string;
}
interface LogParams extends JobParams {
  readonly '*': string;
}
type Query = Readonly<Record<string, string | undefined>>;

export function logRoutes(app: FastifyInstance, backend: Backend): void {
  app.get<{ Params: JobParams }>('/v1/jobs/:name/logs', async (request) => {
    const files = await backend.logFiles(request.params.name);
    return { value: files.map((file) => ({ path: file.path, size_bytes: file.sizeBytes })) };
  });
  app.get<{ Params: LogParams; Querystring: Query }>('/v1/jobs/:name/logs/*', async (request, reply) => {
    const offset = wholeNumber(request.query['offset'], 'offset', 0, Number.MAX_SAFE_INTEGER);
    const length = wholeNumber(request.query['length'], 'length', Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    const path = request.params['*'];
    return await sendLog(backend.logFile(request.params.name, path), { path, offset, length }, reply);
  });
  app.get<{ Params: JobParams; Querystring: Query }>('/v1/jobs/:name/printed', async (request) => ({
    value: await backend.printed(request.params.name, fileQuery(request.query)),
  }));
  app.get<{ Params: JobParams; Querystring: Query }>('/v1/jobs/:name/errors', async (request) => {
    const offset = wholeNumber(request.query['offset'], 'offset', 0, Number.MAX_SAFE_INTEGER);
    const limit = wholeNumber(request.query['limit'], 'limit', limits.jobErrorGroupsLogged, limits.apiErrorGroupsMax);
    return await backend.errors(request.params.name, { offset, limit });
  });
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
  if (bytes > 0) return reply.send(handle.createReadStream({ start: offset, end: offset + bytes - 1 }));
  await handle.close();
  return reply.send('');
}

function fileQuery(query: Query): FileQuery {
  if (query['file'] !== undefined) return { file: query['file'] };
  if (query['first'] !== undefined) return { first: wholeNumber(query['first'], 'first', 0, Number.MAX_SAFE_INTEGER) };
  throw new BatchError('REQUEST_INVALID', 'wanted ?file=PATH of an input file or ?first=ORDINAL of one, found neither');
}

function wholeNumber(text: string | undefined, what: string, fallback: number, max: number): number {
  if (text === undefined) return fallback;
  if (/^\d{1,15}$/.test(text) && Number(text) <= max) return Number(text);
  throw new BatchError('REQUEST_INVALID', `${what}: wanted a whole number up to ${max}, found ${JSON.stringify(text)}`);
}
