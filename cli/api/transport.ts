/** Requests to the coordinator's HTTP API whose answers are JSON, for the functions of this folder. */
import { jsonOf, type Answer, type Send } from '../connection.ts';

/** An answer and what it is known by. */
export interface Answered {
  readonly value: unknown;
  /** As the next request gives it in `ifMatch`; null: there is none. */
  readonly etag: string | null;
}

export interface Ask {
  /** JSON. */
  readonly body?: unknown;
  readonly ifMatch?: string | null;
  readonly idempotencyKey?: string | null;
}

/** All functions throw COORDINATOR_UNREACHABLE, or the coordinator's own error by its code. Paths begin with `/v1/`. */
export interface Transport {
  /** `http://host:port` */
  readonly origin: string;
  ask(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, ask?: Ask): Promise<Answered>;
  /** Whether there is something at `path`. */
  has(path: string): Promise<boolean>;
  /** Sends bytes, read by each call of `body` from the beginning, and answers as {@link ask}. */
  upload(path: string, type: string, body: () => AsyncIterable<Uint8Array>): Promise<Answered>;
}

export function createTransport(origin: string, send: Send): Transport {
  return {
    origin,
    ask: async (method, path, { body, ifMatch = null, idempotencyKey = null } = {}) =>
      await answered(
        await send(origin + path, {
          method,
          headers: {
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            ...(ifMatch === null ? {} : { 'if-match': ifMatch }),
            ...(idempotencyKey === null ? {} : { 'idempotency-key': idempotencyKey }),
          },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
      ),
    has: async (path) => (await send(origin + path, { method: 'HEAD' })).ok,
    upload: async (path, type, body) =>
      await answered(
        await send(origin + path, {
          method: 'POST',
          headers: { 'content-type': type },
          body,
        }),
      ),
  };
}

async function answered(reply: Answer): Promise<Answered> {
  return { value: await jsonOf(reply), etag: reply.headers.get('etag') };
}

/** A part of a path. */
export function segment(text: string): string {
  return encodeURIComponent(text);
}
