/**
 * Gives artifacts to other worker nodes: `GET /<artifact>/<file>?from=<offset>`, digests in full, to whoever has a ticket for
 * the artifact. With TLS only nodes with a certificate of the cluster come in, each under its own name.
 */
import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { createServer as createPlainServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { TLSSocket } from 'node:tls';
import { digest } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { ClusterTrust } from '../../common/rpc/credentials.ts';
import { isTicket } from '../../common/security/artifact-ticket.ts';
import type { ServedArtifacts, ServedFile } from './served-artifacts.ts';

/** Header in which a node says its name. */
export const nodeHeader = 'batchmill-node';
/** Header that carries the ticket. */
export const ticketHeader = 'batchmill-ticket';

export interface ArtifactServerOptions {
  readonly artifacts: ServedArtifacts;
  /** Of this node now; one in the clear serves in the clear. */
  readonly trust: ClusterTrust;
  /** Address to listen at; null: all. */
  readonly host: string | null;
}

export class ArtifactServer {
  /** Of this process; for the coordinator alone. */
  readonly key: Uint8Array = randomBytes(limits.artifactKeyBytes);
  readonly #server: Server | TlsServer;
  readonly #isTls: boolean;
  readonly #artifacts: ServedArtifacts;
  #certificate: string;

  private constructor({ artifacts, trust }: ArtifactServerOptions) {
    this.#artifacts = artifacts;
    this.#isTls = trust.kind === 'tls';
    this.#certificate = certificateOf(trust);
    const serve = (request: IncomingMessage, response: ServerResponse): void =>
      void this.#serve(request, response).catch(() => response.destroy());
    this.#server = trust.kind === 'tls' ? createTlsServer(tlsOptions(trust), serve) : createPlainServer(serve);
    this.#server.maxConnections = limits.artifactServedMax * limits.stagingFetchesMax * 2;
    // Of a handshake that failed: the peer has been told by TLS itself.
    this.#server.on('tlsClientError', (_error, socket: TLSSocket) => socket.destroy());
    // It lives as long as the node does, and does not keep it alive.
    this.#server.unref();
  }

  /** On a free port. @throws Error when nothing can be listened at */
  static async start(options: ArtifactServerOptions): Promise<ArtifactServer> {
    const started = new ArtifactServer(options);
    await new Promise<void>((resolve, reject) => {
      started.#server.once('error', reject);
      const { host } = options;
      started.#server.listen({ port: 0, ...(host !== null && { host }) }, resolve);
    });
    return started;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** For connections to come, where the node's certificate is another one by now. */
  renew(trust: ClusterTrust): void {
    if (trust.kind !== 'tls' || certificateOf(trust) === this.#certificate) return;
    this.#certificate = certificateOf(trust);
    (this.#server as TlsServer).setSecureContext(tlsOptions(trust));
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = request.url ?? '';
    // `//` is a path that a request may have, and no URL.
    if (!URL.canParse(asked, 'http://node')) return void response.writeHead(400).end();
    const { pathname, searchParams } = new URL(asked, 'http://node');
    const [, artifact = '', file = ''] = pathname.split('/');
    const from = Number(searchParams.get('from') ?? 0);
    const refused = this.#refusal(request, artifact);
    const found = this.#artifacts.find(digest(artifact), digest(file));
    const isSound = request.method === 'GET' && Number.isSafeInteger(from) && from >= 0;
    if (refused || found === undefined || !isSound) {
      response.writeHead(refused ?? (isSound ? 404 : 400)).end();
      return;
    }
    await send(response, found, from).catch(() => response.destroy());
  }

  /** HTTP status; null: it may have the artifact. */
  #refusal(request: IncomingMessage, artifact: string): number | null {
    const node = String(request.headers[nodeHeader] ?? '');
    const ticket = String(request.headers[ticketHeader] ?? '');
    if (this.#isTls && nameOf(request.socket as TLSSocket) !== node) return 403;
    return isTicket(ticket, this.key, artifact, node) ? null : 403;
  }
}

function tlsOptions(trust: Extract<ClusterTrust, { kind: 'tls' }>): ServerOptions {
  const { authority, identity } = trust;
  return {
    ...{ ca: authority, ...identity, minVersion: 'TLSv1.3' as const },
    ...{ requestCert: true, rejectUnauthorized: true, handshakeTimeout: limits.handshakeMsMax },
  };
}

function certificateOf(trust: ClusterTrust): string {
  return trust.kind === 'tls' ? (trust.identity?.cert ?? '') : '';
}

/** Of the certificate; the handshake has found it good. */
function nameOf(socket: TLSSocket): string | null {
  return socket.authorized ? String(socket.getPeerCertificate().subject?.CN ?? '') : null;
}

async function send(response: ServerResponse, found: ServedFile, from: number): Promise<void> {
  if (typeof found !== 'string') {
    response.end(found.subarray(from));
    return;
  }
  const file = await open(found);
  await pipeline(file.createReadStream({ start: from, highWaterMark: limits.fetchChunkBytes }), response);
}
