/**
 * The TLS end of the worker nodes' port, in front of gRPC: one port on which a node with a certificate may do everything
 * and a stranger may ask for one. It asks for certificates without insisting, limits handshakes and connections, and
 * ends those of a certificate that is revoked. What a caller may do is decided where calls are served.
 */
import { createServer as createListener, type Server as Listener, type Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { Arrivals } from './arrivals.ts';

/** PEM. */
export interface DoorCertificate {
  readonly key: string;
  /** With the authority's behind it. */
  readonly cert: string;
  readonly authority: string;
}

export interface TlsDoorOptions {
  readonly host: string;
  readonly port: number;
  readonly certificate: DoorCertificate;
  /** Takes over a connection whose handshake is done. */
  readonly onConnection: (socket: TLSSocket) => void;
  /** Whether a certificate of our authority is still good. */
  readonly isGood: (serial: string) => boolean;
}

export class TlsDoor {
  readonly #options: TlsDoorOptions;
  readonly #listener: Listener;
  readonly #arrivals: Arrivals;
  readonly #server: Server;
  /** What lies below the connections that were let in, from their handshake on. */
  readonly #admitted = new Set<Socket>();
  /** By serial of the certificate; those without one under their address. */
  readonly #open = new Map<string, Set<TLSSocket>>();

  private constructor(options: TlsDoorOptions) {
    this.#options = options;
    const { key, cert, authority } = options.certificate;
    this.#server = createServer({
      ...{ key, cert, ca: authority },
      ALPNProtocols: ['h2'],
      minVersion: 'TLSv1.3',
      requestCert: true,
      // A stranger may ask for a certificate; a call with a certificate of another authority is refused by name.
      rejectUnauthorized: false,
      handshakeTimeout: limits.handshakeMsMax,
    });
    this.#server.on('secureConnection', (socket) => this.#take(socket));
    // Of a handshake that failed: the peer has been told by TLS itself.
    this.#server.on('tlsClientError', (_error, socket) => socket.destroy());
    this.#arrivals = new Arrivals({
      onAdmitted: (socket) => this.#admit(socket),
      now: () => systemClock.monotonic(),
      nextTurn: setImmediate,
    });
    this.#listener = createListener({ noDelay: true }, (socket) => this.#arrivals.add(socket));
    this.#listener.maxConnections = limits.nodeConnectionsMax;
  }

  /** @throws BatchError LISTEN_FAILED */
  static async open(options: TlsDoorOptions): Promise<TlsDoor> {
    const door = new TlsDoor(options);
    const { host, port } = options;
    await new Promise<void>((resolve, reject) => {
      door.#listener.once('error', (error) => {
        const message = `worker nodes cannot be served at ${host}:${port}: ${reasonOf(error)}`;
        reject(new BatchError('LISTEN_FAILED', message, { cause: error }));
      });
      // What the kernel's queue does not hold is tried again by the peer's after a second, and after three.
      door.#listener.listen({ host, port, backlog: limits.arrivalsMax }, resolve);
    });
    return door;
  }

  /** As bound. */
  get port(): number {
    const bound = this.#listener.address();
    return typeof bound === 'object' && bound ? bound.port : this.#options.port;
  }

  /** For connections to come. */
  renew({ key, cert, authority }: DoorCertificate): void {
    this.#server.setSecureContext({ key, cert, ca: authority, minVersion: 'TLSv1.3' });
  }

  /** Ends all connections of a certificate, at once. */
  cut(serial: string): void {
    for (const socket of this.#open.get(serial) ?? []) socket.destroy();
  }

  /** Also of those whose handshake is under way: done after the end, they would be connections that nobody ends. */
  close(): void {
    this.#listener.close();
    this.#arrivals.close();
    for (const socket of this.#admitted) socket.destroy();
  }

  #admit(socket: Socket): void {
    this.#admitted.add(socket);
    socket.once('close', () => this.#admitted.delete(socket));
    this.#server.emit('connection', socket);
  }

  #take(socket: TLSSocket): void {
    // The peer may reset it at any time; what was on it is told by the calls.
    socket.on('error', () => socket.destroy());
    const serial = rememberCertificate(socket);
    const isStranger = serial === null || !this.#options.isGood(serial);
    const key = isStranger ? `stranger ${socket.remoteAddress ?? ''}` : serial;
    const sockets = this.#open.get(key) ?? new Set();
    const most = isStranger ? limits.strangersPerAddressMax : limits.connectionsPerNodeMax;
    if (sockets.size >= most || socket.alpnProtocol !== 'h2') return void socket.destroy();
    this.#open.set(key, sockets.add(socket));
    const timer = isStranger ? setTimeout(() => socket.destroy(), limits.enrolMsMax) : null;
    socket.once('close', () => {
      if (timer) clearTimeout(timer);
      sockets.delete(socket);
      if (sockets.size === 0) this.#open.delete(key);
    });
    this.#options.onConnection(socket);
  }
}

/**
 * Serial of the peer's certificate when our authority has issued it; null otherwise. gRPC asks the socket for the
 * certificate at every call, and of all that is in it nobody needs more: taking it apart costs more than a small call.
 */
function rememberCertificate(socket: TLSSocket): string | null {
  const peer = socket.getPeerX509Certificate();
  const serialNumber = peer?.serialNumber ?? '';
  // Without the bytes gRPC takes it for none.
  const certificate = { serialNumber, raw: peer?.raw } as ReturnType<TLSSocket['getPeerCertificate']>;
  socket.getPeerCertificate = (() => certificate) as TLSSocket['getPeerCertificate'];
  return socket.authorized && serialNumber !== '' ? serialNumber : null;
}
