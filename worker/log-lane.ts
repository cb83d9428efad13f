/** One UploadLog stream: pieces of log files, each confirmed with what the coordinator has of the file. */
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { BatchError } from '../common/core/batch-error.ts';
import { sessionMetadata } from '../common/rpc/cluster-client.ts';
import type { ClusterClient } from '../common/rpc/generated/batchmill/v1/Cluster.ts';
import type { LogPiece } from '../common/rpc/generated/batchmill/v1/LogPiece.ts';
import type { LogReply__Output } from '../common/rpc/generated/batchmill/v1/LogReply.ts';
import { fromGrpcError } from '../common/rpc/grpc-error.ts';

/** Bytes of one file of a job's logs on this node. Without data it asks what the coordinator has. */
export interface ShippedPiece {
  readonly job: string;
  /** Relative to the job's logs on the node. */
  readonly name: string;
  /** 0 with data: the file begins, whatever the coordinator had of one of that name. */
  readonly offset: number;
  readonly data: Uint8Array;
}

export interface LogLaneOptions {
  /** For a stream that is opened now; its owner closes it. */
  readonly client: () => ClusterClient;
  readonly address: string;
  readonly session: string;
}

interface Waiting {
  readonly resolve: (received: number) => void;
  readonly reject: (error: BatchError) => void;
}

export class LogLane {
  readonly #options: LogLaneOptions;
  #stream: ClientDuplexStream<LogPiece, LogReply__Output> | null = null;
  #waiting: Waiting | null = null;
  #isClosed = false;

  constructor(options: LogLaneOptions) {
    this.#options = options;
  }

  /**
   * Resolves with the bytes that the coordinator has of the file. One at a time: what is under way is one piece.
   * Throws COORDINATOR_UNREACHABLE, or what the piece is refused with (REQUEST_INVALID, JOB_NOT_FOUND).
   */
  send(piece: ShippedPiece): Promise<number> {
    if (this.#isClosed) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      (this.#stream ??= this.#open()).write(piece);
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#break(closed());
  }

  #open(): ClientDuplexStream<LogPiece, LogReply__Output> {
    const { client, address, session } = this.#options;
    const stream = client().uploadLog(sessionMetadata(session));
    stream.on('data', (reply: LogReply__Output) => {
      const waiting = this.#waiting;
      this.#waiting = null;
      waiting?.resolve(reply.received);
    });
    stream.on('error', (error) => {
      if (this.#stream === stream) this.#break(fromGrpcError(error, address));
    });
    stream.on('end', () => {
      if (this.#stream === stream)
        this.#break(new BatchError('COORDINATOR_UNREACHABLE', `${address} takes no logs now`));
    });
    return stream;
  }

  #break(error: BatchError): void {
    const stream = this.#stream;
    const waiting = this.#waiting;
    this.#stream = null;
    this.#waiting = null;
    stream?.cancel();
    waiting?.reject(error);
  }
}

function closed(): BatchError {
  return new BatchError('COORDINATOR_UNREACHABLE', 'the connection was closed');
}
