/**
 * Reads one segment frame by frame in bounded memory and says where its good part ends. What a bad end means is decided in
 * `damage.ts`.
 */
import type { OpenFile } from '../../common/ports/file-system.ts';
import { limits } from '../../common/core/limits.ts';
import {
  decodeFrameHeader,
  frameHeaderBytes,
  isNextFrame,
  segmentHeaderBytes,
  type ChainState,
  type FrameHeader,
} from './frame-format.ts';

const readBytes = 1_048_576;

export interface SegmentEnd {
  /** Offset behind the last good frame. */
  readonly goodBytes: number;
  /** Offset of the last group, as far as it is good; behind the header when there is none. */
  readonly groupOffset: number;
  /** Of the file; more than `goodBytes` when what follows is no frame. */
  readonly sizeBytes: number;
  readonly state: ChainState;
}

type Take = { readonly kind: 'frame'; readonly end: number } | { readonly kind: 'short' } | { readonly kind: 'bad' };

/** Where a frame stands: its header, and its offset in the segment. */
export type FramePlace = Pick<FrameHeader, 'crc' | 'startsGroup'> & { readonly offset: number };

/** Calls `onFrame` with each good payload, in order, until the end or the first frame that is not good. */
export async function readSegment(
  file: OpenFile,
  start: ChainState,
  onFrame: (record: unknown, sequence: number, epoch: number, place: FramePlace) => void,
): Promise<SegmentEnd> {
  const sizeBytes = await file.sizeBytes();
  let state = start;
  let offset = segmentHeaderBytes;
  let groupOffset = segmentHeaderBytes;
  let wanted = readBytes;
  for (;;) {
    const bytes = await readAt(file, offset, Math.min(wanted, sizeBytes - offset));
    let at = 0;
    let take = takeFrame(bytes, at, state);
    for (; take.kind === 'frame'; take = takeFrame(bytes, at, state)) {
      const header = decodeFrameHeader(bytes, at);
      const place = { crc: header.crc, startsGroup: header.startsGroup, offset: offset + at };
      const record: unknown = JSON.parse(bytes.toString('utf8', at + frameHeaderBytes, take.end));
      onFrame(record, header.sequence, header.epoch, place);
      if (header.startsGroup) groupOffset = offset + at;
      state = { sequence: header.sequence, epoch: header.epoch, chain: header.crc };
      at = take.end;
    }
    offset += at;
    if (take.kind === 'bad' || offset + (bytes.length - at) >= sizeBytes)
      return { goodBytes: offset, groupOffset, sizeBytes, state };
    wanted = at === 0 ? bytes.length * 2 : readBytes;
  }
}

function takeFrame(bytes: Buffer, at: number, before: ChainState): Take {
  if (bytes.length - at < frameHeaderBytes) return { kind: 'short' };
  const header = decodeFrameHeader(bytes, at);
  if (header.bytes > limits.journalRecordBytesMax) return { kind: 'bad' };
  const end = at + frameHeaderBytes + header.bytes;
  if (end > bytes.length) return { kind: 'short' };
  return isNextFrame(bytes, at, header, before) ? { kind: 'frame', end } : { kind: 'bad' };
}

async function readAt(file: OpenFile, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(Math.max(0, length));
  const count = await file.read(bytes, offset);
  return bytes.subarray(0, count);
}
