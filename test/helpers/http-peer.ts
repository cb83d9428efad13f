/** Requests to a coordinator of TLS as bytes and heads, for callers that no client of ours would be. */
import { request } from 'node:https';
import { connect, type TLSSocket } from 'node:tls';
import type { Context } from '../../common/config/contexts.ts';
import { coordinatorName } from '../../common/security/server-identity.ts';

export interface PeerReply {
  readonly status: number;
  /** Of problem details; null: none. */
  readonly code: string | null;
  readonly body: unknown;
}

export interface PeerRequest {
  /** Null: none; absent: the context's. */
  readonly token?: string | null;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export function askAs(context: Context, method: string, path: string, options: PeerRequest = {}): Promise<PeerReply> {
  const token = options.token === undefined ? context.token : options.token;
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        ...{ ...context.server, method, path, ca: context.ca ?? '', servername: coordinatorName, agent: false },
        headers: {
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...options.headers,
        },
      },
      (reply) => {
        let text = '';
        reply.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        reply.on('error', reject).on('end', () => {
          const parsed: unknown = text.startsWith('{') ? JSON.parse(text) : text;
          const { code = null } = (typeof parsed === 'object' ? parsed : {}) as { readonly code?: string };
          resolve({ status: reply.statusCode ?? 0, code, body: parsed });
        });
      },
    );
    asked.on('error', reject);
    asked.end(body);
  });
}

/** A connection whose handshake is done. */
export function openTls({ server, ca }: Context): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...server, ca: ca ?? '', servername: coordinatorName });
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', reject);
  });
}
