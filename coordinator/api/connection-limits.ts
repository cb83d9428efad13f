/**
 * What slow or greedy peers may have of the HTTP port: headers of a size, whole within seconds, bodies that move, and so
 * many connections. Everybody else is served meanwhile. Of a body that is refused half way so much is read that its sender hears why.
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
  // Before the answer is sent: after it, Node would read what is left without a bound.
  app.addHook('onSend', async (request) => dropRest(request));
}

/** A body of JSON is small and soon here; of any other, something moves. Once it is here, the answer takes its time. */
function watchBody({ raw, headers }: FastifyRequest): void {
  if (isWithoutBody(headers)) return;
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

/**
 * What still comes of a body that has its answer: were it left unread, the system would end the connection before the answer is read.
 * It is bounded by its bytes, and by {@link watchBody} where nothing moves.
 */
function dropRest({ raw, headers }: FastifyRequest): void {
  if (isWithoutBody(headers) || raw.readableEnded || raw.destroyed) return;
  let bytes = 0;
  raw.on('data', (piece: Buffer) => {
    bytes += piece.length;
    if (bytes > limits.apiDroppedBytesMax) raw.socket.destroy();
  });
  raw.resume();
}

function isWithoutBody(headers: FastifyRequest['headers']): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
}
