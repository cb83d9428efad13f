/**
 * The bulk connections of one session: uploads, artifacts, inputs. They are apart from the control connection, so that a
 * heartbeat is never behind a megabyte.
 */
import type { CallOptions, ClientReadableStream, Metadata, requestCallback } from '@grpc/grpc-js';
import { BatchError } from '../common/core/batch-error.ts';
import type { Digest } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import type { Token } from '../common/core/token.ts';
import { systemClock } from '../common/io/clock.ts';
import { connectCluster, sessionMetadata } from '../common/rpc/cluster-client.ts';
import type { ClusterTrust } from '../common/rpc/credentials.ts';
import type { ClusterClient } from '../common/rpc/generated/batchmill/v1/Cluster.ts';
import type { LocateArtifactReply__Output } from '../common/rpc/generated/batchmill/v1/LocateArtifactReply.ts';
import type { LocateArtifactRequest } from '../common/rpc/generated/batchmill/v1/LocateArtifactRequest.ts';
import type { OfferArtifactRequest } from '../common/rpc/generated/batchmill/v1/OfferArtifactRequest.ts';
import type { Piece__Output } from '../common/rpc/generated/batchmill/v1/Piece.ts';
import { fromGrpcError } from '../common/rpc/grpc-error.ts';
import { LogLane, type ShippedPiece } from './log-lane.ts';
import type { BulkSource, InputRequest } from './staging/bulk-source.ts';
import { UploadLane, type UploadBody, type UploadLaneOptions } from './upload-lane.ts';

export class BulkLink implements BulkSource {
  readonly #options: UploadLaneOptions;
  #client: ClusterClient;
  #trust: ClusterTrust;
  readonly #lanes: UploadLane[] = [];
  readonly #logs: LogLane;
  /** A client that is closed lets its calls go on. */
  readonly #fetches = new Set<ClientReadableStream<Piece__Output>>();

  constructor(options: UploadLaneOptions) {
    this.#options = options;
    this.#trust = options.trust();
    this.#client = connectCluster(options.address, this.#trust);
    this.#logs = new LogLane({ client: () => this.#current(), address: options.address, session: options.session });
  }

  artifact(digest: Digest, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const metadata = sessionMetadata(this.#options.session);
    return this.#pieces(() => this.#current().fetchArtifact({ digest, offset }, metadata), signal);
  }

  input(request: InputRequest, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const metadata = sessionMetadata(this.#options.session);
    return this.#pieces(() => this.#current().fetchInput({ ...request, offset }, metadata), signal);
  }

  /** Who has an artifact. @throws BatchError COORDINATOR_UNREACHABLE, PROTOCOL_MISMATCH of an older coordinator */
  locate(request: LocateArtifactRequest): Promise<LocateArtifactReply__Output> {
    return this.#unary((metadata, options, done) => this.#current().locateArtifact(request, metadata, options, done));
  }

  /** An artifact is here for others. Throws as {@link locate} does. */
  async offer(request: OfferArtifactRequest): Promise<void> {
    await this.#unary((metadata, options, done) => this.#current().offerArtifact(request, metadata, options, done));
  }

  /** See {@link UploadLane.upload}. Goes over the lane that has least to do. */
  upload(token: Token, body: UploadBody, signal: AbortSignal): Promise<void> {
    let lane = this.#lanes.find((one) => one.load === 0);
    if (!lane && this.#lanes.length < limits.uploadStreamsMax) {
      lane = new UploadLane(this.#options);
      this.#lanes.push(lane);
    }
    lane ??= this.#lanes.reduce((least, one) => (one.load < least.load ? one : least));
    return lane.upload(token, body, signal);
  }

  /** See {@link LogLane.send}. */
  readonly send = (piece: ShippedPiece): Promise<number> => this.#logs.send(piece);

  /** Results are being uploaded. */
  readonly isBusy = (): boolean => this.#lanes.some((lane) => lane.load > 0);

  close(): void {
    this.#logs.close();
    for (const lane of this.#lanes) lane.close();
    for (const fetch of this.#fetches) fetch.cancel();
    this.#client.close();
  }

  /** With the certificate that the node has now: calls of a connection are refused once the certificate that it was made with has ended. */
  #current(): ClusterClient {
    const trust = this.#options.trust();
    if (certificateOf(trust) === certificateOf(this.#trust)) return this.#client;
    // Calls that are under way go on.
    this.#client.close();
    this.#trust = trust;
    this.#client = connectCluster(this.#options.address, trust);
    return this.#client;
  }

  #unary<Reply>(
    call: (metadata: Metadata, options: CallOptions, done: requestCallback<Reply>) => void,
  ): Promise<Reply> {
    const { address, session } = this.#options;
    const deadline = new Date(systemClock.wall() + limits.joinCallMsMax);
    return new Promise((resolve, reject) => {
      call(sessionMetadata(session), { deadline }, (error, reply) => {
        if (error || reply === undefined) reject(fromGrpcError(error, address));
        else resolve(reply);
      });
    });
  }

  async *#pieces(
    open: () => ClientReadableStream<Piece__Output>,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, void> {
    signal.throwIfAborted();
    const stream = open();
    const cancel = (): void => stream.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    this.#fetches.add(stream);
    try {
      for await (const piece of stream as AsyncIterable<Piece__Output>) yield piece.data;
    } catch (error) {
      signal.throwIfAborted();
      throw fromGrpcError(error, this.#options.address);
    } finally {
      signal.removeEventListener('abort', cancel);
      this.#fetches.delete(stream);
      stream.cancel();
    }
  }
}

function certificateOf(trust: ClusterTrust): string | null {
  return trust.kind === 'tls' ? (trust.identity?.cert ?? null) : null;
}

/** Bytes over whichever session is current; without one, COORDINATOR_UNREACHABLE. */
export class CurrentBulkSource implements BulkSource {
  link: BulkLink | null = null;

  artifact(digest: Digest, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#current().artifact(digest, offset, signal);
  }

  input(request: InputRequest, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#current().input(request, offset, signal);
  }

  #current(): BulkLink {
    if (this.link) return this.link;
    throw new BatchError('COORDINATOR_UNREACHABLE', 'there is no connection to the coordinator at present');
  }
}
