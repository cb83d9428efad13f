/**
 * The gRPC service for worker nodes: sessions, streams and translation, no decisions. What a message means is the
 * coordinator's business, which it hands on through {@link ClusterBackend}.
 */
import type { Server, sendUnaryData, ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import { BatchError } from '../../common/core/batch-error.ts';
import type {
  EnrollReply,
  EnrollRequest,
  JoinReply,
  JoinRequest,
  NodeMessage,
} from '../../common/core/cluster-messages.ts';
import { jobName, type JobName, type NodeName } from '../../common/core/ids.ts';
import type { Token } from '../../common/core/token.ts';
import type { Log } from '../../common/io/log.ts';
import { serverCredentials } from '../../common/rpc/credentials.ts';
import type { ClusterHandlers } from '../../common/rpc/generated/batchmill/v1/Cluster.ts';
import type { CoordinatorMessage as CoordinatorMessageWire } from '../../common/rpc/generated/batchmill/v1/CoordinatorMessage.ts';
import type { EnrollReply as EnrollReplyWire } from '../../common/rpc/generated/batchmill/v1/EnrollReply.ts';
import type { EnrollRequest__Output } from '../../common/rpc/generated/batchmill/v1/EnrollRequest.ts';
import type { JoinReply as JoinReplyWire } from '../../common/rpc/generated/batchmill/v1/JoinReply.ts';
import type { JoinRequest__Output } from '../../common/rpc/generated/batchmill/v1/JoinRequest.ts';
import type { LocateArtifactReply } from '../../common/rpc/generated/batchmill/v1/LocateArtifactReply.ts';
import type { LocateArtifactRequest__Output } from '../../common/rpc/generated/batchmill/v1/LocateArtifactRequest.ts';
import type { OfferArtifactReply } from '../../common/rpc/generated/batchmill/v1/OfferArtifactReply.ts';
import type { OfferArtifactRequest__Output } from '../../common/rpc/generated/batchmill/v1/OfferArtifactRequest.ts';
import type { NodeMessage__Output } from '../../common/rpc/generated/batchmill/v1/NodeMessage.ts';
import type { LogPiece__Output } from '../../common/rpc/generated/batchmill/v1/LogPiece.ts';
import type { LogReply } from '../../common/rpc/generated/batchmill/v1/LogReply.ts';
import type { UploadPiece__Output } from '../../common/rpc/generated/batchmill/v1/UploadPiece.ts';
import type { UploadReply } from '../../common/rpc/generated/batchmill/v1/UploadReply.ts';
import { grpcError, sessionKey } from '../../common/rpc/grpc-error.ts';
import { clusterService } from '../../common/rpc/load-cluster.ts';
import { writeCoordinatorMessage } from '../../common/rpc/translate-coordinator-message.ts';
import {
  readEnrollRequest,
  readJoinRequest,
  readNodeMessage,
  writeJoinReply,
} from '../../common/rpc/translate-node-message.ts';
import { parseAddress } from '../../common/config/address.ts';
import type { LogPieceOf } from '../logs/log-store.ts';
import { sendPieces, serveLogs, serveUpload } from './bulk-streams.ts';
import { NodeLink } from './node-link.ts';
import type { InputRange } from './read-input.ts';
import { TlsDoor, type DoorCertificate } from './tls-door.ts';
import { tolerantService, understood } from './understood.ts';
import { wideServer } from './wide-window.ts';

export interface ClusterBackend {
  /**
   * `certified`: whose certificate the connection has; null where there are none, and the join token counts instead.
   * @throws BatchError TOKEN_INVALID, PROTOCOL_MISMATCH, NAME_TAKEN
   */
  join(request: JoinRequest, certified: NodeName | null): JoinReply;
  /** The node that a session was given to. @throws BatchError SESSION_UNKNOWN */
  nodeOfSession(session: string): NodeName;
  /** `inline`: the bytes of `message.results`, by place. */
  receive(link: NodeLink, message: NodeMessage, inline: readonly Uint8Array[]): void;
  disconnected(link: NodeLink): void;
  /** Resolves when the piece has a place. @throws BatchError LEASE_STALE, REQUEST_INVALID */
  uploadPiece(node: NodeName, piece: UploadedPiece): Promise<UploadProgress>;
  /** Resolves with the bytes that are here of the log. @throws BatchError REQUEST_INVALID, JOB_NOT_FOUND, … */
  logPiece(node: NodeName, piece: LogPieceOf): Promise<number>;
  artifact(digest: string, offset: number): AsyncIterable<Uint8Array>;
  input(job: JobName, ordinal: number, identity: string, range: InputRange): AsyncIterable<Uint8Array>;
}

/** See `ArtifactDesk`. */
export interface ArtifactPlaces {
  /** @throws BatchError REQUEST_INVALID */
  locate(node: NodeName, request: LocateArtifactRequest__Output): LocateArtifactReply;
  /** `peer`: address of the node's connection. @throws BatchError REQUEST_INVALID */
  offer(node: NodeName, request: OfferArtifactRequest__Output, peer: string): void;
}

export interface UploadedPiece {
  readonly token: Token;
  readonly offset: number;
  readonly totalBytes: number;
  readonly data: Uint8Array;
}

export interface UploadProgress {
  readonly isComplete: boolean;
  /** Resolves when as many bytes may be sent again. */
  readonly freed: Promise<void>;
}

/** Who is who by certificates. */
export interface NodeGate {
  /** The worker node that the certificate is good for now; null: it is not known, or revoked. */
  nodeOf(serial: string): NodeName | null;
  /** `certified`: whose good certificate the connection has. @throws BatchError TOKEN_INVALID, REQUEST_INVALID, NAME_TAKEN, … */
  enroll(request: EnrollRequest, certified: NodeName | null): Promise<EnrollReply>;
}

export interface ClusterTls {
  readonly certificate: DoorCertificate;
  readonly gate: NodeGate;
}

export interface ClusterServerOptions {
  /** `host:port`, or `unix:` and a path. */
  readonly address: string;
  readonly backend: ClusterBackend;
  /** Who has which artifact. */
  readonly places: ArtifactPlaces;
  /** Null: in the clear, on a unix socket or where the operator said so. */
  readonly tls: ClusterTls | null;
  readonly log: Log;
}

export interface ClusterServer {
  /** As bound: with the port that was free when 0 was asked for. */
  readonly address: string;
  /** The server's own certificate, for connections to come. */
  renew(certificate: DoorCertificate): void;
  /** Ends the connections of a certificate that has been revoked. */
  cut(serial: string): void;
  close(): Promise<void>;
}

/** @throws BatchError LISTEN_FAILED */
export async function startClusterServer(options: ClusterServerOptions): Promise<ClusterServer> {
  const server = wideServer();
  server.addService(tolerantService(clusterService().service), handlers(options));
  const door = options.tls ? await openDoor(server, options.address, options.tls) : null;
  const port = door ? door.port : await bind(server, options.address);
  const address = options.address.startsWith('unix:') ? options.address : options.address.replace(/:\d+$/, `:${port}`);
  return {
    address,
    renew: (certificate) => door?.renew(certificate),
    cut: (serial) => door?.cut(serial),
    close: () =>
      new Promise((resolve) => {
        door?.close();
        server.forceShutdown();
        resolve();
      }),
  };
}

/** gRPC of this library asks for certificates from all or from none; behind a door of ours it need not. */
function openDoor(server: Server, address: string, { certificate, gate }: ClusterTls): Promise<TlsDoor> {
  const injector = server.createConnectionInjector(serverCredentials());
  return TlsDoor.open({
    ...parseAddress(address, 'the address for worker nodes'),
    certificate,
    onConnection: (socket) => injector.injectConnection(socket),
    isGood: (serial) => gate.nodeOf(serial) !== null,
  });
}

function bind(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, serverCredentials(), (error, port) => {
      if (!error) return resolve(port);
      const message = `worker nodes cannot be served at ${address}: ${error.message}`;
      reject(new BatchError('LISTEN_FAILED', message, { cause: error }));
    });
  });
}

type Session = Pick<ServerUnaryCall<unknown, unknown>, 'metadata' | 'getAuthContext'>;

/** Whose certificate the call comes with; null: none that is good. */
function certifiedBy(gate: NodeGate, call: Session): NodeName | null {
  const serial = call.getAuthContext().sslPeerCertificate?.serialNumber;
  return serial ? gate.nodeOf(serial) : null;
}

/** Null where there are no certificates. @throws TOKEN_INVALID */
function requireCertified(tls: ClusterTls | null, call: Session): NodeName | null {
  if (!tls) return null;
  const node = certifiedBy(tls.gate, call);
  if (node) return node;
  const message = 'the connection has no certificate of this cluster, or one that has ended or is revoked';
  throw new BatchError('TOKEN_INVALID', `${message}; join with a token: \`batchmill node token\` makes one`);
}

function handlers({ backend, places, log, tls }: ClusterServerOptions): ClusterHandlers {
  const nodeOf = (call: Session): NodeName => {
    const certified = requireCertified(tls, call);
    const node = backend.nodeOfSession(String(call.metadata.get(sessionKey)[0] ?? ''));
    if (certified === null || certified === node) return node;
    throw new BatchError('TOKEN_INVALID', `the session is not that of worker node ${certified}`);
  };
  return {
    Enroll: (call: ServerUnaryCall<EnrollRequest__Output, EnrollReplyWire>, reply: sendUnaryData<EnrollReplyWire>) => {
      void enroll(call, tls).then(
        (enrolled) => reply(null, enrolled),
        (error: unknown) => reply(grpcError(error)),
      );
    },
    Join: (call: ServerUnaryCall<JoinRequest__Output, JoinReplyWire>, reply: sendUnaryData<JoinReplyWire>) => {
      answer(reply, () => {
        const certified = requireCertified(tls, call);
        return writeJoinReply(backend.join(readJoinRequest(understood(call.request)), certified));
      });
    },
    Work: (call: ServerDuplexStream<NodeMessage__Output, CoordinatorMessageWire>) => {
      try {
        serveWork(call, nodeOf(call), backend, log);
      } catch (error) {
        call.emit('error', grpcError(error));
      }
    },
    Upload: (call: ServerDuplexStream<UploadPiece__Output, UploadReply>) => {
      try {
        serveUpload(call, nodeOf(call), backend);
      } catch (error) {
        call.emit('error', grpcError(error));
      }
    },
    UploadLog: (call: ServerDuplexStream<LogPiece__Output, LogReply>) => {
      try {
        serveLogs(call, nodeOf(call), backend);
      } catch (error) {
        call.emit('error', grpcError(error));
      }
    },
    FetchArtifact: (call) => {
      void sendPieces(call, () => {
        nodeOf(call);
        const { digest, offset } = understood(call.request);
        return backend.artifact(digest, offset);
      });
    },
    LocateArtifact: (call: ServerUnaryCall<LocateArtifactRequest__Output, LocateArtifactReply>, reply) => {
      answer(reply, () => places.locate(nodeOf(call), understood(call.request)));
    },
    OfferArtifact: (call: ServerUnaryCall<OfferArtifactRequest__Output, OfferArtifactReply>, reply) => {
      answer(reply, () => {
        places.offer(nodeOf(call), understood(call.request), call.getPeer());
        return {};
      });
    },
    FetchInput: (call) => {
      void sendPieces(call, () => {
        nodeOf(call);
        const { job, ordinal, identity, offset, end } = understood(call.request);
        return backend.input(jobName(job), ordinal, identity, { offset, end: end === 0 ? null : end });
      });
    },
  };
}

function answer<Reply>(reply: sendUnaryData<Reply>, work: () => Reply): void {
  try {
    reply(null, work());
  } catch (error) {
    reply(grpcError(error));
  }
}

async function enroll(
  call: ServerUnaryCall<EnrollRequest__Output, EnrollReplyWire>,
  tls: ClusterTls | null,
): Promise<EnrollReply> {
  const request = readEnrollRequest(understood(call.request));
  if (tls) return await tls.gate.enroll(request, certifiedBy(tls.gate, call));
  throw new BatchError('REQUEST_INVALID', 'this coordinator gives no certificates: it was started with --insecure');
}

function serveWork(
  call: ServerDuplexStream<NodeMessage__Output, CoordinatorMessageWire>,
  node: NodeName,
  backend: ClusterBackend,
  log: Log,
): void {
  const link = new NodeLink({
    node,
    write: (message) => call.write(writeCoordinatorMessage(message)),
    end: () => call.end(),
  });
  let isOver = false;
  const over = (): void => {
    if (isOver) return;
    isOver = true;
    backend.disconnected(link);
    link.close();
  };
  call.on('drain', () => link.resume());
  call.on('data', (wire: NodeMessage__Output) => {
    if (isOver) return;
    try {
      const { message, inline } = readNodeMessage(understood(wire));
      backend.receive(link, message, inline);
    } catch (error) {
      if (!(error instanceof BatchError)) throw error;
      log.warn('a worker node sent what cannot be understood', { node, code: error.code, message: error.message });
      call.emit('error', grpcError(error));
    }
  });
  call.on('end', over);
  call.on('cancelled', over);
  call.on('error', over);
  call.on('close', over);
}
