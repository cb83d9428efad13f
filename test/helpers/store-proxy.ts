/** Stands before a server, counts what is asked of it, and does what servers do on a bad day. */
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly method: string;
  /** With the query. */
  readonly url: string;
  /** A page of a listing, an object’s head, or its bytes; anything else is `other`. */
  readonly kind: 'list' | 'stat' | 'get' | 'other';
  /** Empty for a request that nobody signed. */
  readonly authorization: string;
  readonly ifMatch: string;
  readonly range: string;
}

export type Fault =
  /** Answers so instead of the server. */
  | { readonly kind: 'status'; readonly status: number }
  /** Ends the connection after so many bytes of the body. */
  | { readonly kind: 'cut'; readonly bytes: number }
  | { readonly kind: 'hold'; readonly until: Promise<unknown> };

export interface StoreProxy {
  readonly origin: string;
  readonly asked: Asked[];
  count(kind: Asked['kind']): number;
  /** Looked at before each request; null lets it pass. */
  fault: (asked: Asked) => Fault | null;
  close(): Promise<void>;
}

export async function startStoreProxy(target: string): Promise<StoreProxy> {
  const asked: Asked[] = [];
  const proxy = { fault: (): Fault | null => null } as { fault: StoreProxy['fault'] };
  const server = createServer((incoming, outgoing) => {
    const { method = '', url = '', headers } = incoming;
    const { authorization = '', range = '' } = headers;
    const one: Asked = {
      method,
      url,
      kind: kindOf(incoming),
      authorization,
      ifMatch: headers['if-match'] ?? '',
      range,
    };
    asked.push(one);
    const fault = proxy.fault(one);
    if (fault?.kind === 'status') {
      incoming.resume();
      outgoing.writeHead(fault.status, { 'content-length': 0 }).end();
    } else if (fault?.kind === 'hold') void fault.until.then(() => forward(target, incoming, outgoing, null));
    else forward(target, incoming, outgoing, fault?.kind === 'cut' ? fault.bytes : null);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const count = (kind: Asked['kind']): number => asked.filter((one) => one.kind === kind).length;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  return Object.assign(proxy, { origin, asked, count, close });
}

function kindOf({ method, url = '' }: IncomingMessage): Asked['kind'] {
  if (method === 'HEAD') return 'stat';
  if (method !== 'GET') return 'other';
  const [, google] = /^\/storage\/v1\/b\/[^/]+\/o([/?].*|$)/.exec(url) ?? [];
  if (google !== undefined && !google.startsWith('/')) return 'list';
  if (google !== undefined) return google.includes('alt=media') ? 'get' : 'stat';
  return /[?&](list-type=2|comp=list)/.test(url) || url.endsWith('/') ? 'list' : 'get';
}

function forward(target: string, incoming: IncomingMessage, outgoing: ServerResponse, cutBytes: number | null): void {
  const { hostname, port } = new URL(target);
  const { method, url: path, headers } = incoming;
  // The host stays as it was asked for: it is part of what is signed.
  const onward = request({ hostname, port, method, path, headers, agent: false }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
    if (cutBytes === null) {
      answer.pipe(outgoing);
      return;
    }
    let left = cutBytes;
    answer.on('data', (bytes: Buffer) => {
      outgoing.write(bytes.subarray(0, left), () => left <= 0 && outgoing.destroy());
      left -= bytes.length;
    });
    answer.on('end', () => outgoing.destroy());
  });
  onward.on('error', () => outgoing.destroy());
  incoming.pipe(onward);
}
