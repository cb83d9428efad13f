/**
 * What the sizes of input files come to under different sizes of mini-batches: how many, how uneven, and how long some slots take
 * for them when work grows with bytes.
 */
import type { MiniBatchSize } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import { longestFirstMakespanOf, makespanOf } from './makespan.ts';
import { cutRun, isCutLate, sumOf } from './plan.ts';

export interface Outlook {
  readonly miniBatches: number;
  readonly meanBytes: number;
  readonly largestBytes: number;
  /** The largest mini-batch over the mean one: 1 when all are alike. */
  readonly skew: number;
  /** Bytes of the slot that ends last, in input order and with the largest mini-batch first. */
  readonly inputOrderBytes: number;
  readonly longestFirstBytes: number;
}

/** `sizesBytes`: of each file, in input order; at least one. */
export function outlookOf(sizesBytes: Float64Array, size: MiniBatchSize, slots: number): Outlook {
  const works = miniBatchBytes(sizesBytes, size, slots);
  let total = 0;
  let largestBytes = 0;
  for (const bytes of works) {
    total += bytes;
    if (bytes > largestBytes) largestBytes = bytes;
  }
  const meanBytes = total / works.length;
  return {
    miniBatches: works.length,
    meanBytes,
    largestBytes,
    skew: total === 0 ? 1 : largestBytes / meanBytes,
    inputOrderBytes: makespanOf(works, slots),
    longestFirstBytes: longestFirstMakespanOf(works, slots),
  };
}

/** Bytes of each mini-batch, in input order. */
export function miniBatchBytes(sizesBytes: Float64Array, size: MiniBatchSize, slots: number): Float64Array {
  if (isCutLate(size)) return lateCuts(sizesBytes, slots);
  const cuts = cutRun(sizesBytes, size);
  return Float64Array.from(cuts.bytes);
}

/** What is cut by time, as long as nobody knows how long anything takes: each has its share of what every slot has still to do. */
function lateCuts(sizesBytes: Float64Array, slots: number): Float64Array {
  let works = new Float64Array(64);
  let count = 0;
  let rest = sumOf(sizesBytes);
  for (let file = 0; file < sizesBytes.length;) {
    const target = Math.min(limits.miniBatchAutoBytesMax, rest / slots / limits.autoTailShare);
    const end = Math.min(sizesBytes.length, file + limits.miniBatchAutoFilesMax);
    let bytes = sizesBytes[file] as number;
    for (file += 1; file < end && bytes + (sizesBytes[file] as number) <= target; file += 1) {
      bytes += sizesBytes[file] as number;
    }
    if (count === works.length) works = grown(works);
    works[count] = bytes;
    count += 1;
    rest -= bytes;
  }
  return works.subarray(0, count);
}

export interface SizeBucket {
  readonly fromBytes: number;
  /** Files of this size are in the next one. */
  readonly toBytes: number;
  readonly files: number;
  readonly bytes: number;
}

export interface SizeSpread {
  readonly smallest: number;
  readonly median: number;
  /** 99 of 100 files are no larger. */
  readonly p99: number;
  readonly largest: number;
  /** Empty files by themselves, then by powers of four, from the smallest to the largest that there are. */
  readonly buckets: readonly SizeBucket[];
}

/** `sizesBytes`: of each file, in any order; at least one. */
export function spreadOf(sizesBytes: Float64Array): SizeSpread {
  const sorted = Float64Array.from(sizesBytes).sort();
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] as number;
  return { smallest: at(0), median: at(0.5), p99: at(0.99), largest: at(1), buckets: bucketsOf(sorted) };
}

function bucketsOf(sorted: Float64Array): readonly SizeBucket[] {
  const buckets: SizeBucket[] = [];
  let [fromBytes, toBytes] = [0, 1];
  for (let file = 0; file < sorted.length;) {
    let [files, bytes] = [0, 0];
    for (; file < sorted.length && (sorted[file] as number) < toBytes; file += 1) {
      files += 1;
      bytes += sorted[file] as number;
    }
    if (files > 0 || buckets.length > 0) buckets.push({ fromBytes, toBytes, files, bytes });
    [fromBytes, toBytes] = [toBytes, toBytes * 4];
  }
  return buckets;
}

export function grown(array: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(array.length * 2);
  larger.set(array);
  return larger;
}
