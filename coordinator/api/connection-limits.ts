/**
 * What slow or greedy peers may have of the HTTP port: headers of a size, whole within seconds, bodies that move, and so
 * many connections. Everybody else is served meanwhile.
 */
import type { ServerOptions } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { limits } from '../../common/core/limits.ts';

/** Of the server beneath; the handshake's are of TLS only. */
export const serverLimits: ServerOptions & { readonly handshakeTimeout: number } = {
  maxHeaderSize: limits.apiHeaderBytesMax,
  headersTimeout: limits.apiHeadersMsMax,
  // A large upload takes as long as it takes; what does not move is ended by `limitConnections`.
  requestTimeout: 0,
  connectionsCheckingInterval: limits.apiLookMs,
  handshakeTimeout: limits.handshakeMsMax,
};

/** `onCrowd` is told, once in a while, that an address has as many connections as one may and no other is taken. */
export function limitConnections(app: FastifyInstance, onCrowd: (address: string) => void): void {
  const { server } = app;
  let isTold = false;
  const tell = (address: string): void => {
    if (isTold) return;
    isTold = true;
    setTimeout(() => (isTold = false), limits.apiCrowdToldMs).unref();
    onCrowd(address);
  };
  server.maxConnections = limits.apiConnectionsMax;
  server.maxHeadersCount = limits.apiHeadersMax;
  const open = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const from = socket.remoteAddress ?? '';
    const count = (open.get(from) ?? 0) + 1;
    open.set(from, count);
    socket.once('close', () => {
      const left = (open.get(from) ?? 1) - 1;
      if (left === 0) open.delete(from);
      else open.set(from, left);
    });
    if (count <= limits.apiConnectionsPerAddressMax) return;
    socket.destroy();
    tell(from);
  });
  app.addHook('onRequest', async (request) => watchBody(request));
}

/** A body of JSON is small and soon here; of any other, something moves. Once it is here, the answer takes its time. */
function watchBody({ raw, headers }: FastifyRequest): void {
  const isEmpty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
  if (isEmpty) return;
  const { socket } = raw;
  const isJson = /^application\/json\b/i.test(headers['content-type'] ?? '');
  const timer = isJson ? setTimeout(() => socket.destroy(), limits.apiBodyMsMax) : null;
  const stalled = (): void => void socket.destroy();
  socket.setTimeout(limits.apiIdleMsMax, stalled);
  const done = (): void => {
    if (timer) clearTimeout(timer);
    socket.setTimeout(0);
    socket.off('timeout', stalled);
    raw.off('end', done);
    raw.off('close', done);
  };
  raw.once('end', done);
  raw.once('close', done);
}
