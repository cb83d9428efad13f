/**
 * Bytes of the journal, little endian.
 *
 * Segment header: magic (8), format version u32, sequence of the first frame u64, chain start u32, CRC-32 of the 24 before.
 * Frame: length u32, sequence u64, epoch u32, crc u32, payload (UTF-8 JSON). The top bit of `length` marks the first frame
 * of a group: whatever stands before it was on the disk before it was written. `crc` is CRC-32 (zlib's) of the frame with
 * this field zero, continued from the previous frame's crc, so that no frame can be lost, doubled or moved unseen.
 */
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';

/** 2: a journal may begin behind a snapshot, and a snapshot ends a segment. Frames are those of format 1. */
export const journalVersion = 2;
export const segmentHeaderBytes = 28;
export const frameHeaderBytes = 20;

const magic = Buffer.from('BMJRNL\r\n', 'latin1');
const groupFlag = 0x8000_0000;
const two32 = 0x1_0000_0000;

export interface SegmentHeader {
  readonly firstSequence: number;
  readonly chainStart: number;
}

/** Where a journal stands after a frame: what the next one is checked against. */
export interface ChainState {
  readonly sequence: number;
  readonly epoch: number;
  readonly chain: number;
}

export interface FrameHeader {
  /** Of the payload. */
  readonly bytes: number;
  readonly startsGroup: boolean;
  readonly sequence: number;
  readonly epoch: number;
  readonly crc: number;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes);
  magic.copy(bytes);
  bytes.writeUInt32LE(journalVersion, 8);
  writeSequence(bytes, header.firstSequence, 12);
  bytes.writeUInt32LE(header.chainStart, 20);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 24)), 24);
  return bytes;
}

/** Null when these are not the whole bytes of a header. @throws JOURNAL_VERSION */
export function decodeSegmentHeader(bytes: Buffer, file: string): SegmentHeader | null {
  if (bytes.length < segmentHeaderBytes || !bytes.subarray(0, 8).equals(magic)) return null;
  const version = bytes.readUInt32LE(8);
  if (version > journalVersion) {
    throw new BatchError(
      'JOURNAL_VERSION',
      `${file} has format ${version}, this release reads up to ${journalVersion}; start a release at least as new as the one that wrote it`,
    );
  }
  if (crc32(bytes.subarray(0, 24)) !== bytes.readUInt32LE(24)) return null;
  return { firstSequence: readSequence(bytes, 12), chainStart: bytes.readUInt32LE(20) };
}

/**
 * Completes a frame whose payload already stands behind its place in `bytes`. Returns its crc.
 */
export function sealFrame(bytes: Buffer, at: number, header: Omit<FrameHeader, 'crc'>, chain: number): number {
  encodeFrameStart(bytes, header, at);
  bytes.writeUInt32LE(header.epoch, at + 12);
  bytes.writeUInt32LE(0, at + 16);
  const crc = crc32(bytes.subarray(at, at + frameHeaderBytes + header.bytes), chain);
  bytes.writeUInt32LE(crc, at + 16);
  return crc;
}

/** What of a header follows from the frame's place alone. */
export function encodeFrameStart(bytes: Buffer, header: Omit<FrameHeader, 'crc' | 'epoch'>, at = 0): void {
  bytes.writeUInt32LE(header.startsGroup ? header.bytes + groupFlag : header.bytes, at);
  writeSequence(bytes, header.sequence, at + 4);
}

export function decodeFrameHeader(bytes: Buffer, at: number): FrameHeader {
  const length = bytes.readUInt32LE(at);
  const startsGroup = length >= groupFlag;
  return {
    bytes: startsGroup ? length - groupFlag : length,
    startsGroup,
    sequence: readSequence(bytes, at + 4),
    epoch: bytes.readUInt32LE(at + 12),
    crc: bytes.readUInt32LE(at + 16),
  };
}

/** Whether the whole frame at `at` is the one that follows `before`. */
export function isNextFrame(bytes: Buffer, at: number, header: FrameHeader, before: ChainState): boolean {
  if (header.sequence !== before.sequence + 1 || header.epoch < before.epoch) return false;
  bytes.writeUInt32LE(0, at + 16);
  const crc = crc32(bytes.subarray(at, at + frameHeaderBytes + header.bytes), before.chain);
  bytes.writeUInt32LE(header.crc, at + 16);
  return crc === header.crc;
}

function writeSequence(bytes: Buffer, sequence: number, at: number): void {
  bytes.writeUInt32LE(sequence % two32, at);
  bytes.writeUInt32LE(Math.floor(sequence / two32), at + 4);
}

function readSequence(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * two32;
}
