/**
 * Limits of bytes a thousandth of what they are, so that kilobytes do in the simulator what megabytes do elsewhere: results
 * that are uploaded, held, staged, copied in parts and refused for want of credit. To be imported before all that reads
 * limits while it is loaded; everything named here is read when it is used, but for `sealedSegmentBytes`.
 */
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';

const small = {
  inlineResultBytesMax: 256,
  reportInlineBytesMax: 1_024,
  uploadChunkBytes: 1_024,
  fetchChunkBytes: 1_024,
  uploadCreditBytes: 8_192,
  directAppendBytesMax: 4_096,
  spoolMemoryBytesMax: 8_192,
  heldResultBytesMax: 524_288,
  spoolBytesMax: 2_097_152,
  stagingSegmentBytes: 65_536,
  stagingBytesMax: 67_108_864,
  placingBytesMax: 262_144,
  copyBytesMax: 8_192,
  outputGroupBytesMax: 8_192,
  sealedSegmentBytes: 4_096,
  journalMessageBytesMax: 2_048,
  diskReserveBytes: 65_536,
  // Not bytes, but nothing that a simulated second would be too long for.
  diskLookMs: 4_000,
} as const satisfies Partial<Record<keyof typeof limits, number>>;

// What the limits themselves keep to, and what their numbers are chosen for.
invariant(small.inlineResultBytesMax <= small.directAppendBytesMax, 'an inline result must fit the direct path');
invariant(small.inlineResultBytesMax <= small.reportInlineBytesMax, 'an inline result must fit a report');
invariant(small.directAppendBytesMax <= small.uploadCreditBytes, 'a result held in memory must fit the credit');
invariant(small.uploadChunkBytes <= small.uploadCreditBytes / 2, 'two pieces must fit the credit');
invariant(small.directAppendBytesMax <= small.stagingSegmentBytes, 'a result held in memory must fit a segment');
invariant(
  limits.uploadStreamsMax * small.uploadCreditBytes <= small.placingBytesMax,
  'what one node may have under way must fit what may wait for the disk',
);

// They are constants for whoever reads them; here, once, before anybody does, they are made others.
Object.assign(limits as { -readonly [K in keyof typeof limits]: number }, small);
