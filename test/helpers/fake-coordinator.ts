/**
 * A coordinator that does what a test tells it, over real gRPC: it keeps what it hears and answers heartbeats; everything
 * else is said by the test.
 */
import { createHash } from 'node:crypto';
import { Server, status, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import { BatchError } from '../../common/core/batch-error.ts';
import {
  emptyCoordinatorMessage,
  type CoordinatorMessage,
  type JoinRequest,
  type NodeMessage,
  type ResultReport,
} from '../../common/core/cluster-messages.ts';
import { digest, type Digest } from '../../common/core/ids.ts';
import { formatToken } from '../../common/core/token.ts';
import { serverOptions } from '../../common/rpc/channel-options.ts';
import { serverCredentials } from '../../common/rpc/credentials.ts';
import type { ClusterHandlers } from '../../common/rpc/generated/batchmill/v1/Cluster.ts';
import type { CoordinatorMessage as CoordinatorMessageWire } from '../../common/rpc/generated/batchmill/v1/CoordinatorMessage.ts';
import type { NodeMessage__Output } from '../../common/rpc/generated/batchmill/v1/NodeMessage.ts';
import type { Piece } from '../../common/rpc/generated/batchmill/v1/Piece.ts';
import type { UploadPiece__Output } from '../../common/rpc/generated/batchmill/v1/UploadPiece.ts';
import type { UploadReply } from '../../common/rpc/generated/batchmill/v1/UploadReply.ts';
import { grpcError, sessionKey } from '../../common/rpc/grpc-error.ts';
import { clusterService } from '../../common/rpc/load-cluster.ts';
import { readToken, writeToken } from '../../common/rpc/translate.ts';
import { writeCoordinatorMessage } from '../../common/rpc/translate-coordinator-message.ts';
import { readJoinRequest, readNodeMessage, writeJoinReply } from '../../common/rpc/translate-node-message.ts';

export interface FakeCoordinatorOptions {
  readonly epoch?: number;
  readonly heartbeatMs?: number;
  readonly uploadCreditBytes?: number;
  /** What Join answers with instead of a session. */
  readonly refusal?: BatchError;
}

export interface HeardResult {
  readonly report: ResultReport;
  /** As they came: inline, or uploaded before. */
  readonly bytes: Buffer;
}

type WorkStream = ServerDuplexStream<NodeMessage__Output, CoordinatorMessageWire>;

const deadlineMs = 30_000;

export class FakeCoordinator {
  readonly joins: JoinRequest[] = [];
  readonly messages: NodeMessage[] = [];
  readonly results: HeardResult[] = [];
  /** When heartbeats came, milliseconds. */
  readonly heartbeatsAt: number[] = [];
  /** Most bytes that were ever under way on an upload stream, and bytes of its largest piece. */
  underWayBytesMax = 0;
  pieceBytesMax = 0;
  /** Bytes sent per fetch, in order: `artifact <digest> <offset>` or `input <ordinal> <offset>`. */
  readonly fetches: string[] = [];
  readonly artifacts = new Map<string, Uint8Array>();
  readonly inputs = new Map<number, Uint8Array | BatchError>();
  /** The next fetch of an artifact breaks off after so many bytes. */
  breakAfterBytes: number | null = null;
  /** Answers to uploaded pieces are kept until it is false again. */
  isCreditHeld = false;
  readonly #options: FakeCoordinatorOptions;
  readonly #server = new Server(serverOptions);
  readonly #uploaded = new Map<string, Buffer[]>();
  readonly #waiting = new Set<() => void>();
  #heldCredit: (() => void)[] = [];
  #stream: WorkStream | null = null;
  address = '';

  private constructor(options: FakeCoordinatorOptions) {
    this.#options = options;
  }

  /** `address`: one that an earlier one had, to come back there. */
  static async start(options: FakeCoordinatorOptions = {}, address = '127.0.0.1:0'): Promise<FakeCoordinator> {
    const fake = new FakeCoordinator(options);
    fake.#server.addService(clusterService().service, fake.#handlers());
    const port = await new Promise<number>((resolve, reject) => {
      fake.#server.bindAsync(address, serverCredentials(), (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    fake.address = address.startsWith('unix:') ? address : `127.0.0.1:${port}`;
    return fake;
  }

  /** As if it were killed: all connections break. */
  kill(): void {
    this.#server.forceShutdown();
  }

  send(message: Partial<CoordinatorMessage>): void {
    if (!this.#stream) throw new Error('no worker node is connected');
    this.#stream.write(writeCoordinatorMessage({ ...emptyCoordinatorMessage, ...message }));
  }

  /** Serves `bytes` as an artifact. */
  addArtifact(bytes: Uint8Array): Digest {
    const name = digest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
    this.artifacts.set(name, bytes);
    return name;
  }

  /** Waits until `find` gives something; fails with what was heard when it never does. */
  async until<T>(what: string, find: () => T | undefined | false | null): Promise<T> {
    const endAt = performance.now() + deadlineMs;
    for (;;) {
      const found = find();
      if (found !== undefined && found !== false && found !== null) return found;
      const leftMs = endAt - performance.now();
      if (leftMs <= 0)
        throw new Error(`waited ${deadlineMs} ms for ${what}; heard ${JSON.stringify(this.messages.slice(-5))}`);
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          this.#waiting.delete(done);
          resolve();
        };
        const timer = setTimeout(done, leftMs);
        this.#waiting.add(done);
      });
    }
  }

  /** Gives all credit back that was held. */
  releaseCredit(): void {
    this.isCreditHeld = false;
    for (const give of this.#heldCredit.splice(0)) give();
  }

  #changed(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #handlers(): ClusterHandlers {
    return {
      UploadLog: (call) => call.end(),
      Enroll: (_call, reply) => reply(grpcError(new BatchError('REQUEST_INVALID', 'no certificates here'))),
      Join: (call, reply) => {
        const { epoch = 1, heartbeatMs = 5_000, uploadCreditBytes = 8_388_608, refusal } = this.#options;
        this.joins.push(readJoinRequest(call.request));
        const session = `session-${epoch}`;
        const leaseMs = heartbeatMs * 6;
        const answer = { protocol: 1, release: 'fake', session, epoch, heartbeatMs, leaseMs, uploadCreditBytes };
        if (refusal) reply(grpcError(refusal));
        else reply(null, writeJoinReply(answer));
        this.#changed();
      },
      Work: (call: WorkStream) => {
        if (!this.#isKnown(call)) return;
        this.#stream = call;
        call.on('data', (wire: NodeMessage__Output) => this.#hear(wire));
        call.on('end', () => call.end());
        call.on('error', () => undefined);
      },
      Upload: (call: ServerDuplexStream<UploadPiece__Output, UploadReply>) => {
        if (this.#isKnown(call)) this.#takeUploads(call);
      },
      // As one of an earlier release, which knows neither.
      LocateArtifact: (_call, reply) => reply({ code: status.UNIMPLEMENTED, details: '' }),
      OfferArtifact: (_call, reply) => reply({ code: status.UNIMPLEMENTED, details: '' }),
      FetchArtifact: (call) => {
        const { digest: name, offset } = call.request;
        this.fetches.push(`artifact ${name} ${offset}`);
        const bytes = this.artifacts.get(name);
        if (!this.#isKnown(call)) return;
        if (!bytes) return void call.emit('error', grpcError(new BatchError('ARTIFACT_NOT_FOUND', `no ${name}`)));
        const breakAt = this.breakAfterBytes;
        this.breakAfterBytes = null;
        this.#sendPieces(
          call,
          bytes.subarray(offset, breakAt === null ? undefined : offset + breakAt),
          breakAt !== null,
        );
      },
      FetchInput: (call) => {
        const { ordinal, offset } = call.request;
        this.fetches.push(`input ${ordinal} ${offset}`);
        const bytes = this.inputs.get(ordinal) ?? new BatchError('INPUT_UNREADABLE', `no file ${ordinal}`);
        if (!this.#isKnown(call)) return;
        if (bytes instanceof BatchError) return void call.emit('error', grpcError(bytes));
        this.#sendPieces(call, bytes.subarray(offset), false);
      },
    };
  }

  #isKnown(call: {
    metadata: { get(key: string): unknown[] };
    emit(event: 'error', error: unknown): unknown;
  }): boolean {
    const wanted = `session-${this.#options.epoch ?? 1}`;
    if (call.metadata.get(sessionKey)[0] === wanted) return true;
    call.emit('error', grpcError(new BatchError('SESSION_UNKNOWN', `the session is ${wanted}`)));
    return false;
  }

  #sendPieces<Request>(call: ServerWritableStream<Request, Piece>, bytes: Uint8Array, isBroken: boolean): void {
    for (let at = 0; at < bytes.length; at += 65_536) call.write({ data: bytes.subarray(at, at + 65_536) });
    if (isBroken) call.emit('error', { code: 14, details: 'broken by the test' });
    else call.end();
  }

  #hear(wire: NodeMessage__Output): void {
    const { message, inline } = readNodeMessage(wire);
    this.messages.push(message);
    message.results.forEach((report, place) => {
      const uploaded = this.#uploaded.get(formatToken(report.token)) ?? [];
      const bytes = report.isUploaded ? Buffer.concat(uploaded) : Buffer.from(inline[place] ?? []);
      this.results.push({ report, bytes });
    });
    if (message.heartbeat) {
      this.heartbeatsAt.push(performance.now());
      this.send({ heartbeatAck: message.heartbeat.sequence });
    }
    this.#changed();
  }

  #takeUploads(call: ServerDuplexStream<UploadPiece__Output, UploadReply>): void {
    let underWayBytes = 0;
    call.on('error', () => undefined);
    call.on('end', () => call.end());
    call.on('data', (piece: UploadPiece__Output) => {
      underWayBytes += piece.data.length;
      this.underWayBytesMax = Math.max(this.underWayBytesMax, underWayBytes);
      this.pieceBytesMax = Math.max(this.pieceBytesMax, piece.data.length);
      const token = readToken(piece.token);
      const pieces = piece.offset === 0 ? [] : (this.#uploaded.get(formatToken(token)) ?? []);
      this.#uploaded.set(formatToken(token), [...pieces, Buffer.from(piece.data)]);
      const arrived = piece.offset + piece.data.length;
      const answer = (): void => {
        underWayBytes -= piece.data.length;
        call.write({ creditBytes: piece.data.length });
        if (arrived === piece.totalBytes) call.write({ received: writeToken(token) });
      };
      if (this.isCreditHeld) this.#heldCredit.push(answer);
      else setImmediate(answer);
      this.#changed();
    });
  }
}
