/**
 * Files of one artifact from another worker node. What comes is checked by its digest by whoever asks for it; here the other
 * end is, with TLS, proved to be the node that the coordinator named, before anything is said to it.
 */
import { X509Certificate } from 'node:crypto';
import { Agent, request, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import type { Digest } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import type { ClusterTrust } from '../../common/rpc/credentials.ts';
import { nodeHeader, ticketHeader } from './artifact-server.ts';

export interface PeerPlace {
  readonly node: string;
  readonly host: string;
  readonly port: number;
  readonly ticket: string;
}

export interface PeerSourceOptions {
  /** Name of this node. */
  readonly self: string;
  readonly place: PeerPlace;
  readonly artifact: Digest;
  readonly bytes: number;
  readonly trust: ClusterTrust;
  readonly signal: AbortSignal;
}

export class PeerSource {
  readonly node: string;
  readonly #options: PeerSourceOptions;
  readonly #agent: Agent;
  readonly #signal: AbortSignal;

  constructor(options: PeerSourceOptions) {
    this.#options = options;
    this.node = options.place.node;
    this.#agent = new PeerAgent(options.place, options.trust);
    // One that gives a byte now and then is no better than one that gives none.
    const expectedMs = limits.artifactSpreadMsMin + options.bytes / limits.artifactSpreadBytesPerMs;
    this.#signal = AbortSignal.any([options.signal, AbortSignal.timeout(Math.ceil(10 * expectedMs))]);
  }

  /** From byte `offset` on; throws when it cannot be had, or falls silent. */
  async *open(file: Digest, offset: number): AsyncGenerator<Uint8Array, void, void> {
    const response = await this.#ask(`/${this.#options.artifact}/${file}?from=${offset}`);
    if (response.statusCode !== 200) {
      response.destroy();
      throw new Error(`it answers ${response.statusCode}`);
    }
    yield* response as AsyncIterable<Uint8Array>;
  }

  close(): void {
    this.#agent.destroy();
  }

  #ask(path: string): Promise<IncomingMessage> {
    const { self, place } = this.#options;
    const headers = { [nodeHeader]: self, [ticketHeader]: place.ticket };
    const where = { host: place.host, port: place.port, path, headers };
    return new Promise((resolve, reject) => {
      const asked = request({ ...where, agent: this.#agent, signal: this.#signal });
      asked.setTimeout(limits.artifactPeerSilentMs, () =>
        asked.destroy(new Error(`it has said nothing for ${limits.artifactPeerSilentMs} ms`)),
      );
      asked.once('error', reject);
      asked.once('response', resolve);
      asked.end();
    });
  }
}

type Created = (error: Error | null, socket?: Socket) => void;

/** Connections to one node, given out when it is known who is at the other end. */
class PeerAgent extends Agent {
  readonly #place: PeerPlace;
  readonly #trust: ClusterTrust;

  constructor(place: PeerPlace, trust: ClusterTrust) {
    super({ keepAlive: true, maxSockets: limits.stagingFetchesMax });
    this.#place = place;
    this.#trust = trust;
  }

  /** As the base class calls it. */
  createConnection(_options: unknown, created: Created): undefined {
    const { host, port, node } = this.#place;
    const trust = this.#trust;
    const socket = trust.kind === 'tls' ? connectTls(tlsOptions(trust, this.#place)) : connect({ host, port });
    const fail = (error: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      created(error);
    };
    const timer = setTimeout(
      () => fail(new Error(`${host}:${port} does not answer within ${limits.artifactPeerSilentMs} ms`)),
      limits.artifactPeerSilentMs,
    );
    socket.once('error', fail);
    socket.once(trust.kind === 'tls' ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer);
      socket.off('error', fail);
      if (trust.kind === 'tls' && !isNode(socket as TLSSocket, node, trust.authority)) {
        return fail(new Error(`${host}:${port} has no certificate of worker node ${node}`));
      }
      created(null, socket);
    });
  }
}

function tlsOptions(
  { authority, identity }: Extract<ClusterTrust, { kind: 'tls' }>,
  { host, port }: PeerPlace,
): ConnectionOptions {
  return {
    ...{ host, port, ca: authority, ...identity, minVersion: 'TLSv1.3' as const },
    // A node's certificate is one to call with, which the library takes for no server's: see isNode.
    rejectUnauthorized: false,
  };
}

/** The handshake has proved that the other end has the certificate's key. */
function isNode(socket: TLSSocket, node: string, authority: string): boolean {
  const certificate = socket.getPeerX509Certificate();
  const issuer = new X509Certificate(authority);
  if (!certificate?.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) return false;
  const now = systemClock.wall();
  const isInTime = now >= Date.parse(certificate.validFrom) && now <= Date.parse(certificate.validTo);
  return isInTime && certificate.subject === `CN=${node}`;
}
