/** A simulated worker node's FetchInput calls of one session, each on a connection of its own. */
import { BatchError } from '../../common/core/batch-error.ts';
import { callFetchInput, type FetchRequest } from './cluster-service.ts';
import type { Connection, NodeEnd } from './connection.ts';
import type { SimNetwork } from './network.ts';

export interface FetchChannelOptions {
  readonly network: SimNetwork;
  readonly node: NodeEnd;
  readonly session: string;
}

/** Hears nothing more once the call has ended, or was given up. */
export interface FetchListener {
  readonly onPiece: (piece: Uint8Array) => void;
  /** Null: that was all. */
  readonly onEnd: (error: BatchError | null) => void;
}

export class FetchChannel {
  readonly #options: FetchChannelOptions;
  readonly #calls = new Set<(error: BatchError) => void>();

  constructor(options: FetchChannelOptions) {
    this.#options = options;
  }

  /** Gives what gives the call up. */
  open(request: FetchRequest, { onPiece, onEnd }: FetchListener): () => void {
    const { network, node, session } = this.#options;
    let isOver = false;
    const end = (): boolean => {
      if (isOver) return false;
      isOver = true;
      this.#calls.delete(fail);
      connection.closeByNode();
      return true;
    };
    const fail = (error: BatchError): void => {
      if (end()) onEnd(error);
    };
    const connection: Connection = network.connect(node, 'bulk', fail);
    this.#calls.add(fail);
    callFetchInput(connection, session, request, (piece) => {
      if (isOver) return;
      if (piece) onPiece(piece);
      else if (end()) onEnd(null);
    });
    return () => void end();
  }

  close(): void {
    const error = new BatchError('COORDINATOR_UNREACHABLE', 'the connection was closed');
    for (const fail of [...this.#calls]) fail(error);
  }
}
