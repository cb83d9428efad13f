/**
 * Every limit of the program with its unit in its name and its reason beside it.
 * Settings that a user may change have their defaults here too.
 */
import { invariant } from './invariant.ts';

export const limits = {
  /** N and N−1 are spoken. */
  protocolVersion: 1,
  protocolVersionOldest: 1,

  /** Heartbeats of a small cluster; `heartbeatMs` below grows it with the number of nodes. */
  heartbeatMsMin: 5_000,
  /** A lease outlives this many heartbeats: one lost message or one slow collection is no reason to score twice. */
  heartbeatsPerLease: 6,
  /** Work kept ready on a node beyond its free slots, so that a slot never waits for a round trip. */
  workAheadMs: 50,
  workAheadMin: 1,
  workAheadMax: 512,
  /** Grants in one message to one node; keeps a message below the 1 MiB that gRPC streams well. */
  grantsPerMessageMax: 256,
  grantFilesPerMessageMax: 4_096,

  /** Files of a mini-batch; Azure's queue message had room for about a thousand. */
  miniBatchFilesMax: 100_000,
  /** `mini_batch_size` of an Azure-form YAML that does not say. */
  miniBatchFilesDefault: 10,
  /** `mini_batch_size: auto`: whichever is reached first. */
  miniBatchAutoFiles: 32,
  miniBatchAutoBytes: 8_388_608,

  /** Files per sealed manifest chunk: one chunk is about 400 KiB of JSON, and leases start after the first. */
  manifestChunkFiles: 4_096,
  /** Parsed manifest chunks kept in memory while granting. */
  manifestChunksCached: 16,

  /** Results up to this size travel inline on the control stream; larger ones on the bulk stream. */
  inlineResultBytesMax: 16_384,
  uploadChunkBytes: 262_144,
  /** Bytes that one bulk stream may have under way before the coordinator returns credit. */
  uploadCreditBytes: 8_388_608,
  /** A result up to this size is held in memory and, when next in order, goes straight to the output. */
  directAppendBytesMax: 4_194_304,
  /** A result above this is spooled to disk on the worker node instead of held in memory. */
  spoolMemoryBytesMax: 8_388_608,
  /** A staging segment is deleted when all its results have been copied; small enough to be freed soon. */
  stagingSegmentBytes: 67_108_864,
  /** Bytes that one copy from staging to output moves before others get a turn. */
  copyBytesMax: 8_388_608,
  fetchChunkBytes: 262_144,

  /** A frame between worker node and scoring host. */
  framePayloadBytesMax: 16_777_216,
  /** The host sends rows in pieces of this size. */
  frameRowsBytes: 1_048_576,

  journalSegmentBytes: 67_108_864,
  journalGroupBytesMax: 524_288,
  /** Kept aside so that a full disk can still be recorded. */
  journalReserveBytes: 4_194_304,

  /** A mini-batch whose nodes vanish this often is treated as one that crashes its node. */
  lostLeasesMax: 4,
  /** Failures of init() on one deployment, with no success anywhere, that fail the job; times the slots of a node. */
  initFailuresPerSlot: 3,
  /** Backoff before a failed mini-batch is tried again: doubled each time. */
  retryBackoffMs: 250,
  retryBackoffMsMax: 30_000,

  /** retry_settings of an Azure-form YAML. */
  maxRetriesDefault: 3,
  timeoutMsDefault: 30_000,
  timeoutMsMax: 259_200_000,

  /** The end of stderr that goes with a failure. */
  stderrTailBytes: 4_096,
  failureMessageCharsMax: 4_000,

  /** init() may load gigabytes; a host that says nothing for this long is replaced. */
  hostInitMsMax: 600_000,
  /** Between SIGTERM and SIGKILL. */
  hostStopMs: 2_000,

  reconnectMsMin: 100,
  reconnectMsMax: 5_000,
} as const;

invariant(limits.inlineResultBytesMax <= limits.directAppendBytesMax, 'an inline result must fit the direct path');
invariant(limits.uploadChunkBytes <= 1_048_576, 'gRPC streams messages of at most 1 MiB well');
invariant(limits.directAppendBytesMax <= limits.uploadCreditBytes, 'a result held in memory must fit the credit');
invariant(limits.frameRowsBytes <= limits.framePayloadBytesMax, 'a piece of rows must fit a frame');

/** Heartbeat interval for a cluster of `nodes` worker nodes: the coordinator handles about 200 heartbeats a second. */
export function heartbeatMs(nodes: number): number {
  return Math.max(limits.heartbeatMsMin, Math.ceil((nodes / 200) * 1_000) + 1_000);
}
