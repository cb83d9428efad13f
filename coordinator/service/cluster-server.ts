/**
 * The gRPC service for worker nodes: sessions, streams and translation, no decisions. What a message means is the
 * coordinator's business, which it hands on through {@link ClusterBackend}.
 */
import {
  Server,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { BatchError } from '../../common/core/batch-error.ts';
import type { JoinReply, JoinRequest, NodeMessage } from '../../common/core/cluster-messages.ts';
import { jobName, type JobName, type NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import type { Log } from '../../common/io/log.ts';
import { serverOptions } from '../../common/rpc/channel-options.ts';
import { serverCredentials } from '../../common/rpc/credentials.ts';
import type { ClusterHandlers } from '../../common/rpc/generated/batchmill/v1/Cluster.ts';
import type { CoordinatorMessage as CoordinatorMessageWire } from '../../common/rpc/generated/batchmill/v1/CoordinatorMessage.ts';
import type { JoinReply as JoinReplyWire } from '../../common/rpc/generated/batchmill/v1/JoinReply.ts';
import type { JoinRequest__Output } from '../../common/rpc/generated/batchmill/v1/JoinRequest.ts';
import type { NodeMessage__Output } from '../../common/rpc/generated/batchmill/v1/NodeMessage.ts';
import type { LogPiece__Output } from '../../common/rpc/generated/batchmill/v1/LogPiece.ts';
import type { LogReply } from '../../common/rpc/generated/batchmill/v1/LogReply.ts';
import type { Piece } from '../../common/rpc/generated/batchmill/v1/Piece.ts';
import type { UploadPiece__Output } from '../../common/rpc/generated/batchmill/v1/UploadPiece.ts';
import type { UploadReply } from '../../common/rpc/generated/batchmill/v1/UploadReply.ts';
import { grpcError, sessionKey } from '../../common/rpc/grpc-error.ts';
import { clusterService } from '../../common/rpc/load-cluster.ts';
import { readToken } from '../../common/rpc/translate.ts';
import { writeCoordinatorMessage, writeRefusal } from '../../common/rpc/translate-coordinator-message.ts';
import { readJoinRequest, readNodeMessage, writeJoinReply } from '../../common/rpc/translate-node-message.ts';
import type { LogPieceOf } from '../logs/log-store.ts';
import { NodeLink } from './node-link.ts';
import type { InputRange } from './read-input.ts';
import { tolerantService, understood } from './understood.ts';

export interface ClusterBackend {
  /** @throws BatchError TOKEN_INVALID, PROTOCOL_MISMATCH, NAME_TAKEN */
  join(request: JoinRequest): JoinReply;
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

export interface ClusterServerOptions {
  /** `host:port`, or `unix:` and a path. */
  readonly address: string;
  readonly backend: ClusterBackend;
  readonly log: Log;
}

export interface ClusterServer {
  /** As bound: with the port that was free when 0 was asked for. */
  readonly address: string;
  close(): Promise<void>;
}

/** @throws BatchError LISTEN_FAILED */
export async function startClusterServer(options: ClusterServerOptions): Promise<ClusterServer> {
  const server = new Server(serverOptions);
  server.addService(tolerantService(clusterService().service), handlers(options));
  const port = await bind(server, options.address);
  const address = options.address.startsWith('unix:') ? options.address : options.address.replace(/:\d+$/, `:${port}`);
  return {
    address,
    close: () =>
      new Promise((resolve) => {
        server.forceShutdown();
        resolve();
      }),
  };
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

type Session = { readonly metadata: { get(key: string): readonly (string | Buffer)[] } };

function handlers({ backend, log }: ClusterServerOptions): ClusterHandlers {
  const nodeOf = (call: Session): NodeName => backend.nodeOfSession(String(call.metadata.get(sessionKey)[0] ?? ''));
  return {
    Join: (call: ServerUnaryCall<JoinRequest__Output, JoinReplyWire>, reply: sendUnaryData<JoinReplyWire>) => {
      try {
        reply(null, writeJoinReply(backend.join(readJoinRequest(understood(call.request)))));
      } catch (error) {
        reply(grpcError(error));
      }
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
    FetchInput: (call) => {
      void sendPieces(call, () => {
        nodeOf(call);
        const { job, ordinal, identity, offset, end } = understood(call.request);
        return backend.input(jobName(job), ordinal, identity, { offset, end: end === 0 ? null : end });
      });
    },
  };
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

/** Pieces are dealt with one after the other; credit goes back as their bytes find their place. */
function serveUpload(
  call: ServerDuplexStream<UploadPiece__Output, UploadReply>,
  node: NodeName,
  backend: ClusterBackend,
): void {
  let queue = Promise.resolve();
  let underWayBytes = 0;
  let isOpen = true;
  const reply = (message: UploadReply): void => {
    if (isOpen) call.write(message);
  };
  const fail = (error: unknown): void => {
    if (!isOpen) return;
    isOpen = false;
    call.emit('error', grpcError(error));
  };
  const take = async (given: UploadPiece__Output): Promise<void> => {
    const wire = understood(given);
    const piece = { token: readToken(wire.token), offset: wire.offset, totalBytes: wire.totalBytes, data: wire.data };
    const freed = (): void => {
      underWayBytes -= piece.data.length;
      reply({ creditBytes: piece.data.length });
    };
    try {
      const progress = await backend.uploadPiece(node, piece);
      if (progress.isComplete) reply({ received: piece.token });
      void progress.freed.then(freed);
    } catch (error) {
      if (!(error instanceof BatchError) || error.code !== 'LEASE_STALE') throw error;
      reply({ refused: writeRefusal({ token: piece.token, failure: error.toFailure() }) });
      freed();
    }
  };
  call.on('data', (wire: UploadPiece__Output) => {
    // One that cannot be read has none; it is refused in its turn.
    underWayBytes += wire instanceof BatchError ? 0 : wire.data.length;
    if (underWayBytes > limits.uploadCreditBytes) {
      return fail(
        new BatchError(
          'CREDIT_EXCEEDED',
          `${underWayBytes} bytes are under way, ${limits.uploadCreditBytes} are allowed`,
        ),
      );
    }
    queue = queue.then(() => take(wire)).catch(fail);
  });
  call.on('end', () => {
    void queue.then(() => {
      isOpen = false;
      call.end();
    });
  });
  for (const event of ['cancelled', 'error', 'close']) call.on(event, () => (isOpen = false));
}

/** Each piece is answered with what is here of its file; a node sends the next one then. */
function serveLogs(
  call: ServerDuplexStream<LogPiece__Output, LogReply>,
  node: NodeName,
  backend: ClusterBackend,
): void {
  let queue = Promise.resolve();
  let isOpen = true;
  const take = async (wire: LogPiece__Output): Promise<void> => {
    if (!isOpen) return;
    const { job, name, offset, data } = understood(wire);
    const received = await backend.logPiece(node, { job: jobName(job), name, offset, data });
    if (isOpen) call.write({ job, name, received });
  };
  const fail = (error: unknown): void => {
    if (!isOpen) return;
    isOpen = false;
    call.emit('error', grpcError(error));
  };
  call.on('data', (wire: LogPiece__Output) => {
    // A node that does not wait for its answers does not fill our memory.
    call.pause();
    queue = queue
      .then(() => take(wire))
      .catch(fail)
      .finally(() => call.resume());
  });
  call.on('end', () => {
    void queue.then(() => {
      isOpen = false;
      call.end();
    });
  });
  for (const event of ['cancelled', 'error', 'close']) call.on(event, () => (isOpen = false));
}

async function sendPieces<Request>(
  call: ServerWritableStream<Request, Piece>,
  open: () => AsyncIterable<Uint8Array>,
): Promise<void> {
  try {
    for await (const data of open()) {
      if (call.cancelled) return;
      if (!call.write({ data })) await writable(call);
    }
    call.end();
  } catch (error) {
    call.emit('error', grpcError(error));
  }
}

/** Resolves when the stream takes more, or will never again. */
function writable<Request>(call: ServerWritableStream<Request, Piece>): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off('drain', done);
      call.off('cancelled', done);
      call.off('close', done);
      resolve();
    };
    call.on('drain', done);
    call.on('cancelled', done);
    call.on('close', done);
  });
}
