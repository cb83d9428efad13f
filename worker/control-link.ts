/**
 * The control connection of a worker node: Join, then the Work stream. Each object is one try: when it has failed or is
 * closed it says nothing more, and the next try is a new object with a new connection.
 */
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { BatchError, toBatchError, type Failure } from '../common/core/batch-error.ts';
import type {
  CoordinatorMessage,
  JoinReply,
  JoinRequest,
  NodeMessage,
  ResultReport,
} from '../common/core/cluster-messages.ts';
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import { watchedOptions } from '../common/rpc/channel-options.ts';
import { connectCluster, sessionMetadata } from '../common/rpc/cluster-client.ts';
import type { ClusterTrust } from '../common/rpc/credentials.ts';
import type { ClusterClient } from '../common/rpc/generated/batchmill/v1/Cluster.ts';
import type { CoordinatorMessage__Output } from '../common/rpc/generated/batchmill/v1/CoordinatorMessage.ts';
import type { NodeMessage as NodeMessageWire } from '../common/rpc/generated/batchmill/v1/NodeMessage.ts';
import { fromGrpcError } from '../common/rpc/grpc-error.ts';
import { readCoordinatorMessage } from '../common/rpc/translate-coordinator-message.ts';
import { readJoinReply, writeJoinRequest, writeNodeMessage } from '../common/rpc/translate-node-message.ts';

export interface ControlLinkOptions {
  readonly address: string;
  /** Coordinators that may lead instead: with any, one that is frozen is noticed sooner. */
  readonly others?: number;
  readonly trust: () => ClusterTrust;
  readonly request: JoinRequest;
  readonly clock: Clock;
  readonly onJoined: (reply: JoinReply) => void;
  /** The last word: Join failed, or the stream has ended. */
  readonly onLost: (failure: Failure) => void;
  readonly onMessage: (message: CoordinatorMessage) => void;
  /** {@link ControlLink.isWritable} has become true again. */
  readonly onWritable: () => void;
  readonly inlineOf: (result: ResultReport) => Uint8Array;
}

type Stream = ClientDuplexStream<NodeMessageWire, CoordinatorMessage__Output>;

export class ControlLink {
  readonly #options: ControlLinkOptions;
  readonly #client: ClusterClient;
  #stream: Stream | null = null;
  #isOver = false;
  #isWritable = true;

  constructor(options: ControlLinkOptions) {
    this.#options = options;
    this.#client = connectCluster(options.address, options.trust(), (options.others ?? 0) > 0 ? watchedOptions : {});
  }

  /** False while the transport wants a pause; heartbeats go all the same. */
  get isWritable(): boolean {
    return this.#isWritable;
  }

  join(): void {
    const { address, others = 0, request, onJoined, clock } = this.#options;
    const deadline = new Date(clock.wall() + limits.joinCallMsMax / (others > 0 ? 2 : 1));
    this.#client.join(writeJoinRequest(request), { deadline }, (error, reply) => {
      if (this.#isOver) return;
      if (error || !reply) this.#lose(fromGrpcError(error, address));
      else onJoined(readJoinReply(reply));
    });
  }

  /** Opens the Work stream of the session that Join gave. */
  open(session: string): void {
    const stream = this.#client.work(sessionMetadata(session));
    this.#stream = stream;
    stream.on('data', (wire: CoordinatorMessage__Output) => this.#receive(wire));
    stream.on('drain', () => {
      this.#isWritable = true;
      if (!this.#isOver) this.#options.onWritable();
    });
    const { address } = this.#options;
    stream.on('error', (error) => this.#lose(fromGrpcError(error, address)));
    stream.on('end', () =>
      this.#lose(new BatchError('COORDINATOR_UNREACHABLE', `the coordinator at ${address} has ended the connection`)),
    );
  }

  send(message: NodeMessage): void {
    if (this.#isOver || !this.#stream) return;
    this.#isWritable = this.#stream.write(writeNodeMessage(message, this.#options.inlineOf));
  }

  /** Nothing more is said; resolves when the coordinator has read it all, or after a while. */
  async end(): Promise<void> {
    const stream = this.#stream;
    if (stream && !this.#isOver) {
      this.#isOver = true;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, limits.leaveMsMax);
        const done = (): void => {
          clearTimeout(timer);
          resolve();
        };
        stream.once('end', done);
        stream.once('error', done);
        stream.end();
      });
    }
    this.close();
  }

  close(): void {
    this.#isOver = true;
    this.#stream?.cancel();
    this.#client.close();
  }

  #receive(wire: CoordinatorMessage__Output): void {
    if (this.#isOver) return;
    let message: CoordinatorMessage;
    try {
      message = readCoordinatorMessage(wire);
    } catch (error) {
      this.#lose(toBatchError(error));
      return;
    }
    this.#options.onMessage(message);
  }

  #lose(error: BatchError): void {
    if (this.#isOver) return;
    this.close();
    this.#options.onLost(error.toFailure());
  }
}
