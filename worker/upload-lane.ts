/**
 * One Upload stream: results one behind the other, never more bytes under way than the coordinator has given credit for.
 * A stream that breaks fails all that was on it; the next result opens a new one.
 */
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { BatchError } from '../common/core/batch-error.ts';
import { limits } from '../common/core/limits.ts';
import { formatToken, type Token } from '../common/core/token.ts';
import { connectCluster, sessionMetadata } from '../common/rpc/cluster-client.ts';
import type { ClusterTrust } from '../common/rpc/credentials.ts';
import type { ClusterClient } from '../common/rpc/generated/batchmill/v1/Cluster.ts';
import type { UploadPiece } from '../common/rpc/generated/batchmill/v1/UploadPiece.ts';
import type { UploadReply__Output } from '../common/rpc/generated/batchmill/v1/UploadReply.ts';
import { fromGrpcError } from '../common/rpc/grpc-error.ts';
import { readToken } from '../common/rpc/translate.ts';
import { readRefusal } from '../common/rpc/translate-coordinator-message.ts';
import { encodeUploadPiece, uploadHeadBytesMax, type UploadHead } from '../common/rpc/upload-piece.ts';

/** A result's bytes, as long as it takes to send them. */
export interface UploadBody {
  readonly bytes: number;
  /** As `ResultBody.chunks`. */
  readonly chunks: (chunkBytes: number) => AsyncIterable<readonly Uint8Array[]>;
}

export interface UploadLaneOptions {
  readonly address: string;
  readonly trust: () => ClusterTrust;
  readonly session: string;
  /** Of a new stream. */
  readonly creditBytes: number;
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: BatchError) => void;
}

type Stream = ClientDuplexStream<UploadPiece, UploadReply__Output>;

/**
 * Messages that wait for the transport: one on its way while the other is made. More would only lie in
 * memory, which the collector frees the more slowly the longer it is held.
 */
const messagesAhead = 2;
const newSpare = (): null[] => Array.from({ length: messagesAhead }, () => null);

export class UploadLane {
  readonly #options: UploadLaneOptions;
  #client: ClusterClient | null = null;
  #stream: Stream | null = null;
  #creditBytes = 0;
  /** Memory of messages that the transport has not taken; null: not made yet. */
  #spare: (Buffer | null)[] = newSpare();
  /** Results that the coordinator has not confirmed, by token. */
  readonly #waiting = new Map<string, Waiting>();
  /** Ends a pause for credit, for the transport, or for good. */
  #wake: () => void = () => undefined;
  #sending: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: UploadLaneOptions) {
    this.#options = options;
  }

  /** Results on the lane. */
  get load(): number {
    return this.#waiting.size;
  }

  /**
   * Resolves when the coordinator has all bytes. Throws what it refuses them with (LEASE_STALE), or
   * COORDINATOR_UNREACHABLE; when `signal` aborts, its reason.
   */
  upload(token: Token, body: UploadBody, signal: AbortSignal): Promise<void> {
    const key = formatToken(token);
    const confirmed = new Promise<void>((resolve, reject) => this.#waiting.set(key, { resolve, reject }));
    const onAbort = (): void => this.#settle(key, abortError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    // One result after the other: its pieces are in order, and the first to begin is the first to be confirmed.
    this.#sending = this.#sending.then(() => this.#send(token, body, key));
    return confirmed.finally(() => signal.removeEventListener('abort', onAbort));
  }

  close(): void {
    this.#isClosed = true;
    this.#break(new BatchError('COORDINATOR_UNREACHABLE', 'the connection was closed'));
  }

  /** Never rejects: what goes wrong is told to the one who waits. */
  async #send(token: Token, { bytes: totalBytes, chunks }: UploadBody, key: string): Promise<void> {
    // Two at least fit the credit, so that one is on its way while the other is being written.
    const chunkBytes = Math.max(1, Math.min(limits.uploadChunkBytes, Math.floor(this.#options.creditBytes / 2)));
    let offset = 0;
    try {
      for await (const parts of chunks(chunkBytes)) {
        const bytes = parts.reduce((sum, part) => sum + part.length, 0);
        if (!(await this.#roomFor(bytes, key))) return;
        this.#write({ token, offset, totalBytes }, parts, bytes);
        offset += bytes;
      }
    } catch (error) {
      this.#settle(key, fromGrpcError(error, this.#options.address));
    }
  }

  /** The one who waits is told; what is left of the result is not sent. */
  #settle(key: string, error: BatchError | null): void {
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    if (error) waiting?.reject(error);
    else waiting?.resolve();
    this.#wake();
  }

  /** False when the result is not waited for any more. */
  async #roomFor(bytes: number, key: string): Promise<boolean> {
    for (;;) {
      if (this.#isClosed || !this.#waiting.has(key)) return false;
      // A new stream gives its own credit.
      if (!this.#stream) this.#open();
      if (this.#creditBytes >= bytes && this.#spare.length > 0) return true;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #write(head: UploadHead, parts: readonly Uint8Array[], bytes: number): void {
    this.#creditBytes -= bytes;
    const spare = this.#spare;
    const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(limits.uploadChunkBytes + uploadHeadBytesMax);
    this.#stream?.write(encodeUploadPiece(head, parts, buffer), (error?: Error | null) => {
      // One that has failed is broken, and what it was given may be looked at still.
      if (error) return;
      spare.push(buffer);
      this.#wake();
    });
  }

  #open(): void {
    const { address, session, creditBytes } = this.#options;
    this.#client = connectCluster(address, this.#options.trust());
    const stream = this.#client.upload(sessionMetadata(session));
    this.#stream = stream;
    this.#creditBytes = creditBytes;
    this.#spare = newSpare();
    stream.on('data', (reply: UploadReply__Output) => this.#receive(reply));
    stream.on('error', (error) => {
      if (this.#stream === stream) this.#break(fromGrpcError(error, address));
    });
    stream.on('end', () => {
      if (this.#stream === stream)
        this.#break(new BatchError('COORDINATOR_UNREACHABLE', `${address} ended the upload`));
    });
  }

  #receive(reply: UploadReply__Output): void {
    this.#creditBytes += reply.creditBytes;
    if (reply.received) this.#settle(formatToken(readToken(reply.received)), null);
    if (reply.refused) {
      const { token, failure } = readRefusal(reply.refused);
      this.#settle(formatToken(token), BatchError.fromFailure(failure));
    }
    this.#wake();
  }

  #break(error: BatchError): void {
    const stream = this.#stream;
    this.#stream = null;
    stream?.cancel();
    this.#client?.close();
    this.#client = null;
    for (const key of [...this.#waiting.keys()]) this.#settle(key, error);
    this.#wake();
  }
}

function abortError(signal: AbortSignal): BatchError {
  return new BatchError('LEASE_STALE', 'the result is not wanted any more', { cause: signal.reason });
}
