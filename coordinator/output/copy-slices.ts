/** Moves staged bytes to their place in the output, checking them on the way. */
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';
import type { OpenFile } from '../../common/ports/file-system.ts';
import type { StagedSlice } from './operations.ts';

const blockBytes = 1_048_576;
/** Kept from one copy to the next: a new one for each megabyte makes the collector run more often than anything else here. */
let spare: Buffer | null = null;

/**
 * Writes the slices one behind the other from `toOffset` on.
 * @throws OUTPUT_CORRUPT when a slice is not what was committed; what stands behind `toOffset` is of no worth then
 */
export async function copySlices(
  slices: readonly StagedSlice[],
  open: (segment: number) => Promise<OpenFile>,
  output: OpenFile,
  toOffset: number,
): Promise<void> {
  let at = toOffset;
  const largest = slices.reduce((bytes, { length }) => Math.max(bytes, length), 0);
  const block = largest < blockBytes ? Buffer.allocUnsafe(largest) : (spare ?? Buffer.allocUnsafe(blockBytes));
  // Another copy meanwhile has one of its own.
  spare = null;
  for (const slice of slices) {
    const found = await copySlice(slice, await open(slice.segment), output, at, block);
    if (found !== slice.crc32) {
      throw new BatchError(
        'OUTPUT_CORRUPT',
        `staging segment ${slice.segment}, bytes ${slice.offset} to ${slice.offset + slice.length}, have checksum ` +
          `${found ?? 'none (the file is shorter)'}, committed was ${slice.crc32}; the disk has changed them, run the job again`,
      );
    }
    at += slice.length;
  }
  if (block.length === blockBytes) spare = block;
}

/** The checksum of what was copied; null when the file ends before the slice does. */
async function copySlice(
  slice: StagedSlice,
  from: OpenFile,
  to: OpenFile,
  toOffset: number,
  block: Buffer,
): Promise<number | null> {
  let crc = 0;
  for (let done = 0; done < slice.length;) {
    const part = block.subarray(0, Math.min(block.length, slice.length - done));
    if ((await from.read(part, slice.offset + done)) < part.length) return null;
    crc = crc32(part, crc);
    await to.write([part], toOffset + done);
    done += part.length;
  }
  return crc;
}
