/** Moves staged bytes to their place in the output, checking them on the way. */
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';
import type { OpenFile } from '../../common/ports/file-system.ts';
import type { StagedSlice } from './operations.ts';

const blockBytes = 1_048_576;
/** As many bytes are read sooner than they are passed over by another call. */
const gapBytesMax = 65_536;
/** Kept from one copy to the next: a new one for each megabyte makes the collector run more often than anything else here. */
let spare: Buffer | null = null;

/**
 * Writes the slices one behind the other from `toOffset` on. Slices are small where mini-batches are: what lies together in a
 * segment is read at once, and as much as fits a block is written at once.
 * @throws OUTPUT_CORRUPT when a slice is not what was committed; what stands behind `toOffset` is of no worth then
 */
export async function copySlices(
  slices: readonly StagedSlice[],
  open: (segment: number) => Promise<OpenFile>,
  output: OpenFile,
  toOffset: number,
): Promise<void> {
  let at = toOffset;
  const total = slices.reduce((bytes, { length }) => bytes + length, 0);
  const block = total < blockBytes ? Buffer.allocUnsafe(total) : (spare ?? Buffer.allocUnsafe(blockBytes));
  // Another copy meanwhile has one of its own.
  spare = null;
  for (const run of runsOf(slices)) {
    const [first] = run;
    if (run.length === 1 && first && first.length > blockBytes) {
      await copyLarge(first, await open(first.segment), output, at, block);
      at += first.length;
    } else if (first) {
      const part = block.subarray(
        0,
        run.reduce((sum, slice) => sum + slice.length, 0),
      );
      await readRun(run, open, part);
      await output.write([part], at);
      at += part.length;
    }
  }
  if (block.length === blockBytes) spare = block;
}

/** Slices that go in one write: up to a block of them, or one that is larger. */
function* runsOf(slices: readonly StagedSlice[]): Generator<readonly StagedSlice[]> {
  let run: StagedSlice[] = [];
  let bytes = 0;
  for (const slice of slices) {
    if (run.length > 0 && bytes + slice.length > blockBytes) {
      yield run;
      run = [];
      bytes = 0;
    }
    run.push(slice);
    bytes += slice.length;
  }
  if (run.length > 0) yield run;
}

/** One read for what lies close together in a segment: two hosts that take turns leave every second result there. */
async function readRun(
  run: readonly StagedSlice[],
  open: (segment: number) => Promise<OpenFile>,
  block: Buffer,
): Promise<void> {
  let at = 0;
  for (let place = 0; place < run.length;) {
    const { segment, begin, end, bytes, slices } = stretchFrom(run, place);
    const part = block.subarray(at, at + bytes);
    const isWithoutGaps = end - begin === bytes && slices.every((slice, index) => isBehind(slices[index - 1], slice));
    const read = isWithoutGaps ? part : Buffer.allocUnsafe(end - begin);
    const found = begin + (await (await open(segment)).read(read, begin));
    for (const slice of slices) {
      const from = slice.offset - begin;
      const isWhole = slice.offset + slice.length <= found;
      check(slice, isWhole ? crc32(read.subarray(from, from + slice.length)) : null);
      if (!isWithoutGaps) read.copy(block, at, from, from + slice.length);
      at += slice.length;
    }
    place += slices.length;
  }
}

function isBehind(before: StagedSlice | undefined, slice: StagedSlice): boolean {
  return before === undefined || slice.offset === before.offset + before.length;
}

interface Stretch {
  readonly segment: number;
  readonly begin: number;
  readonly end: number;
  /** Of the slices, without what is between them. */
  readonly bytes: number;
  readonly slices: readonly StagedSlice[];
}

/** The slices from `place` on whose segment is read at once: at most about as much that nobody wants as somebody does. */
function stretchFrom(run: readonly StagedSlice[], place: number): Stretch {
  const { segment, offset, length } = run[place] as StagedSlice;
  let [begin, end, bytes, next] = [offset, offset + length, length, place + 1];
  for (let slice = run[next]; slice?.segment === segment; slice = run[next]) {
    const [from, to] = [Math.min(begin, slice.offset), Math.max(end, slice.offset + slice.length)];
    if (to - from > 2 * (bytes + slice.length) + gapBytesMax) break;
    [begin, end, bytes, next] = [from, to, bytes + slice.length, next + 1];
  }
  return { segment, begin, end, bytes, slices: run.slice(place, next) };
}

async function copyLarge(
  slice: StagedSlice,
  from: OpenFile,
  to: OpenFile,
  toOffset: number,
  block: Buffer,
): Promise<void> {
  let crc = 0;
  for (let done = 0; done < slice.length;) {
    const part = block.subarray(0, Math.min(block.length, slice.length - done));
    if ((await from.read(part, slice.offset + done)) < part.length) return check(slice, null);
    crc = crc32(part, crc);
    await to.write([part], toOffset + done);
    done += part.length;
  }
  check(slice, crc);
}

/** `found`: the checksum of what was read; null when the file ends before the slice does. */
function check(slice: StagedSlice, found: number | null): void {
  if (found === slice.crc32) return;
  throw new BatchError(
    'OUTPUT_CORRUPT',
    `staging segment ${slice.segment}, bytes ${slice.offset} to ${slice.offset + slice.length}, have checksum ` +
      `${found ?? 'none (the file is shorter)'}, committed was ${slice.crc32}; the disk has changed them, run the job again`,
  );
}
