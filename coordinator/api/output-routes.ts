/** Final files of a job: the list of them, and each one whole or in part. */
import { open, type FileHandle } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import type { Backend } from './backend.ts';
import { parseRange } from './byte-range.ts';
import { whileAllowed } from './while-allowed.ts';
import { problemOf, sendProblem } from './problem.ts';
import { about, answers, bytesAnswer, listOf, named, namedPath, typed } from './typed-route.ts';
import { fileSchema } from './view-schemas.ts';

const types: Readonly<Record<string, string>> = {
  '.arrows': 'application/vnd.apache.arrow.stream',
  '.csv': 'text/csv; charset=utf-8',
  '.json': 'application/json',
  '.jsonl': 'application/jsonl',
  '.txt': 'text/plain; charset=utf-8',
};

export function outputRoutes(server: FastifyInstance, backend: Backend): void {
  const app = typed(server);
  app.get(
    '/v1/jobs/:name/output',
    {
      schema: {
        ...about('listOutput', 'output', 'Final files of a job'),
        ...{ params: named, response: answers({ 200: listOf(fileSchema) }) },
      },
    },
    async ({ params }) => {
      const files = await backend.outputFiles(params.name);
      return { value: files.map((file) => ({ path: file.path, size_bytes: file.sizeBytes })) };
    },
  );
  const whole = bytesAnswer('the file', 'application/octet-stream');
  const part = bytesAnswer('one range of it', 'application/octet-stream');
  const schema = {
    ...about('readOutput', 'output', 'An output file, or a range of it'),
    ...{ params: namedPath, headers: rangeHeaders, response: answers({ 200: whole, 206: part }) },
  };
  const url = '/v1/jobs/:name/output/*';
  const handler = async (request: FileRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const path = confined(request.params['*']);
    const { name } = backend.show(request.params.name);
    // Asked before the file is opened, so that what is behind it is never read.
    const bytesMax = backend.finalBytes(name, path);
    const handle = await openFile(await backend.outputFile(name, path), path);
    return await sendFile(handle, { path, bytesMax }, request, reply);
  };
  app.route({ method: 'GET', url, exposeHeadRoute: false, schema, handler });
  app.route({ method: 'HEAD', url, schema: { ...schema, hide: true }, handler });
}

interface FileRequest extends Pick<FastifyRequest, 'method' | 'headers' | 'stillMay'> {
  readonly params: z.infer<typeof namedPath>;
}

const rangeHeaders = z.object({
  range: z.string().optional().describe('one range of bytes'),
  'if-range': z.string().optional().describe('the ETag of what is there already'),
});

/** The backend looks for itself as well; nothing that climbs gets that far. @throws INPUT_NOT_FOUND */
function confined(path: string): string {
  const parts = path.split('/');
  const isPlain = !path.includes('\0') && !path.includes('\\');
  if (isPlain && parts.every((part) => part !== '' && part !== '.' && part !== '..')) return path;
  throw new BatchError('INPUT_NOT_FOUND', `${JSON.stringify(path)} is not a file of the output folder`);
}

async function openFile(file: string, path: string): Promise<FileHandle> {
  try {
    return await open(file, 'r');
  } catch (error) {
    const code = errnoOf(error) === 'ENOENT' ? 'INPUT_NOT_FOUND' : 'INPUT_UNREADABLE';
    throw new BatchError(code, `${path} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

async function sendFile(
  handle: FileHandle,
  { path, bytesMax }: { readonly path: string; readonly bytesMax: number | null },
  request: FileRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { size: found, mtimeMs } = await handle.stat();
  const size = Math.min(found, bytesMax ?? found);
  const etag = `"${size}-${Math.floor(mtimeMs)}"`;
  // A range of another version of the file would be joined to the wrong bytes.
  const isSame = request.headers['if-range'] === undefined || request.headers['if-range'] === etag;
  const range = parseRange(isSame ? request.headers.range : undefined, size);
  void reply
    .header('accept-ranges', 'bytes')
    .header('etag', etag)
    .header('x-content-type-options', 'nosniff')
    .header('content-disposition', `attachment; filename*=UTF-8''${encodeURIComponent(basename(path))}`)
    .type(types[extname(path)] ?? 'application/octet-stream');
  if (range === 'unsatisfiable') {
    await handle.close();
    const error = new BatchError('REQUEST_INVALID', `${path} has ${size} bytes; no byte of the range is among them`);
    void reply.header('content-range', `bytes */${size}`).removeHeader('content-disposition');
    return sendProblem(reply, problemOf(error, 416));
  }
  const { start, end } = range === 'whole' ? { start: 0, end: size - 1 } : range;
  if (range !== 'whole') void reply.code(206).header('content-range', `bytes ${start}-${end}/${size}`);
  void reply.header('content-length', end - start + 1);
  if (request.method === 'HEAD' || size === 0) {
    await handle.close();
    return reply.send();
  }
  return reply.send(whileAllowed(request, handle.createReadStream({ start, end })));
}
