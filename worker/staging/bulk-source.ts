/** Where staging gets bytes from: the coordinator, over the bulk connection. */
import type { Digest, JobName } from '../../common/core/ids.ts';

export interface InputRequest {
  readonly job: JobName;
  readonly ordinal: number;
  /** What the file was when it was listed; another one is refused with INPUT_CHANGED. */
  readonly identity: string;
  /** Bytes behind this one are not wanted; absent: all are. */
  readonly end?: number;
}

/**
 * Streams end with the last byte; they throw the coordinator's error, or COORDINATOR_UNREACHABLE when the connection
 * breaks, after which the rest can be had from the offset reached.
 */
export interface BulkSource {
  artifact(digest: Digest, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
  input(request: InputRequest, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}
