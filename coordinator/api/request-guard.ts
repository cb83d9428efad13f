/**
 * Keeps web pages away from a coordinator on this machine. A page can make its visitor's browser send requests to
 * loopback: a foreign Host header tells of a name that was re-bound to 127.0.0.1, and a POST that a page may send
 * without asking first is never `application/json`.
 */
import type { FastifyInstance } from 'fastify';
import { isLoopback } from '../../common/config/address.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { problemOf, sendProblem } from './problem.ts';

/** Host names are checked only while nobody but this machine can connect; elsewhere any name may be the right one. */
export function guardRequests(app: FastifyInstance, listenHost: string): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'string', bodyLimit: limits.apiBodyBytesMax },
    (_request, body, done) => {
      try {
        done(null, body === '' ? {} : (JSON.parse(String(body)) as unknown));
      } catch (error) {
        done(new BatchError('REQUEST_INVALID', `the body is not JSON: ${(error as Error).message}`, { cause: error }));
      }
    },
  );
  // Uploads, which their route reads as they come.
  app.addContentTypeParser(streamTypes, (_request, payload, done) => done(null, payload));
  // Without a body no parser runs, so the type is asked for here as well.
  app.addHook('onRequest', async (request, reply) => {
    if (isLoopback(listenHost)) requireLocalHost(request.headers.host ?? '', listenHost);
    const type = request.headers['content-type'] ?? '';
    if (request.method !== 'POST' || /^application\/json\s*(;|$)/i.test(type)) return;
    if (request.routeOptions.url === '/v1/artifacts' && streamTypes.some((one) => type.startsWith(one))) return;
    const found = type === '' ? 'none' : JSON.stringify(type);
    const error = new BatchError('REQUEST_INVALID', `POST takes content-type application/json, found ${found}`);
    return await sendProblem(reply, problemOf(error, 415));
  });
}

/** A web page cannot send them without asking first, either. */
const streamTypes = ['application/octet-stream', 'application/x-tar'];

function requireLocalHost(header: string, listenHost: string): void {
  const host = header
    .replace(/:\d*$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase();
  if (isLoopback(host) || host === listenHost.toLowerCase()) return;
  throw new BatchError(
    'REQUEST_INVALID',
    `the Host header says ${JSON.stringify(header)}, but only this machine is served: use localhost or 127.0.0.1`,
  );
}
