/**
 * A snapshot's file, little endian: magic (8), format version u32, and where the journal stood: sequence u64, epoch u32,
 * chain u32; then the content, then its length u64 and CRC-32 of all before. `snapshot-000000000001234` holds everything
 * up to record 1,234; the next record begins a segment, so that a start reads nothing that a snapshot covers.
 *
 * It is written under another name, synced, and given its name only when all records up to its sequence are on the disk.
 */
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { ChainState } from './frame-format.ts';

export const snapshotVersion = 1;

const magic = Buffer.from('BMSNAP\r\n', 'latin1');
const headerBytes = 28;
const trailerBytes = 12;
/** Read and written at once: keeps the event loop free in between. */
const pieceBytes = 1_048_576;
/** Written between two syncs: one sync of a large file would hold up the journal's own. */
const syncBytes = 8_388_608;

export function snapshotName(sequence: number): string {
  return `snapshot-${String(sequence).padStart(15, '0')}`;
}

export interface SnapshotNames {
  /** Sequences of those that have their name, the newest first. */
  readonly sequences: readonly number[];
  /** Left behind by a process that was killed. */
  readonly leftovers: readonly string[];
}

export function findSnapshots(names: readonly string[]): SnapshotNames {
  const sequences = names
    .map((name) => /^snapshot-(\d{15,})$/.exec(name))
    .flatMap((match) => (match ? [Number(match[1])] : []));
  const leftovers = names.filter((name) => /^snapshot-\d{15,}\.tmp$/.test(name));
  return { sequences: sequences.sort((a, b) => b - a), leftovers };
}

export interface SnapshotTarget {
  readonly fileSystem: FileSystem;
  readonly dir: string;
}

/** Returns the temporary file's path, synced, and its bytes; null when `signal` ended it. What it rejects with is the disk's. */
export async function writeTemporary(
  { fileSystem, dir }: SnapshotTarget,
  state: ChainState,
  pieces: Iterable<Uint8Array>,
  signal: AbortSignal,
): Promise<{ readonly path: string; readonly bytes: number } | null> {
  const path = join(dir, `${snapshotName(state.sequence)}.tmp`);
  const file = await fileSystem.open(path, 'replace');
  try {
    const header = encodeHeader(state);
    let crc = crc32(header);
    let at = 0;
    let syncedAt = 0;
    const write = async (bytes: Uint8Array): Promise<void> => {
      await file.write([bytes], at);
      at += bytes.length;
      if (at - syncedAt < syncBytes) return;
      await file.datasync();
      syncedAt = at;
    };
    await write(header);
    for (const piece of pieces) {
      for (let from = 0; from < piece.length; from += pieceBytes) {
        if (signal.aborted) return null;
        const part = piece.subarray(from, from + pieceBytes);
        crc = crc32(part, crc);
        await write(part);
      }
    }
    await write(encodeTrailer(at - headerBytes, crc));
    await file.datasync();
    return { path, bytes: at };
  } finally {
    await file.close();
  }
}

export interface Snapshot {
  readonly state: ChainState;
  readonly content: Buffer;
}

/** Null when it is damaged or torn. @throws JOURNAL_VERSION */
export async function readSnapshot({ fileSystem, dir }: SnapshotTarget, sequence: number): Promise<Snapshot | null> {
  const path = join(dir, snapshotName(sequence));
  const file = await fileSystem.open(path, 'read');
  try {
    const sizeBytes = await file.sizeBytes();
    if (sizeBytes < headerBytes + trailerBytes) return null;
    const bytes = Buffer.allocUnsafeSlow(sizeBytes);
    let crc = 0;
    for (let from = 0; from < sizeBytes; from += pieceBytes) {
      const part = bytes.subarray(from, from + pieceBytes);
      if ((await file.read(part, from)) < part.length) return null;
      const end = Math.min(from + part.length, sizeBytes - trailerBytes);
      if (end > from) crc = crc32(bytes.subarray(from, end), crc);
    }
    if (!bytes.subarray(0, 8).equals(magic)) return null;
    const contentBytes = Number(bytes.readBigUInt64LE(sizeBytes - trailerBytes));
    const state = { sequence: readSequence(bytes), epoch: bytes.readUInt32LE(20), chain: bytes.readUInt32LE(24) };
    const isWhole =
      contentBytes === sizeBytes - headerBytes - trailerBytes &&
      crc === bytes.readUInt32LE(sizeBytes - 4) &&
      state.sequence === sequence;
    if (isWhole) checkVersion(bytes.readUInt32LE(8), path);
    return isWhole ? { state, content: bytes.subarray(headerBytes, sizeBytes - trailerBytes) } : null;
  } finally {
    await file.close();
  }
}

/**
 * A snapshot's file as it is, in pieces; the last one comes only when its checksum says that all of them were what was written.
 * @throws JOURNAL_CORRUPT
 */
export async function* wholePieces(
  { fileSystem, dir }: SnapshotTarget,
  sequence: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  const path = join(dir, snapshotName(sequence));
  const file = await fileSystem.open(path, 'read');
  try {
    const summed = (await file.sizeBytes()) - trailerBytes;
    let crc = 0;
    for (let at = 0; at < summed; at += pieceBytes) {
      signal.throwIfAborted();
      const piece = Buffer.allocUnsafe(Math.min(pieceBytes, summed - at));
      await file.read(piece, at);
      crc = crc32(piece, crc);
      yield piece;
    }
    const trailer = Buffer.alloc(trailerBytes);
    await file.read(trailer, summed);
    if (crc !== trailer.readUInt32LE(trailerBytes - 4))
      throw new BatchError('JOURNAL_CORRUPT', `${path} is damaged: it was written with another checksum`);
    yield trailer;
  } finally {
    await file.close();
  }
}

function checkVersion(version: number, path: string): void {
  if (version <= snapshotVersion) return;
  throw new BatchError(
    'JOURNAL_VERSION',
    `${path} has format ${version}, this release reads up to ${snapshotVersion}; start a release at least as new as the one that wrote it`,
  );
}

function encodeHeader(state: ChainState): Buffer {
  const bytes = Buffer.alloc(headerBytes);
  magic.copy(bytes);
  bytes.writeUInt32LE(snapshotVersion, 8);
  bytes.writeBigUInt64LE(BigInt(state.sequence), 12);
  bytes.writeUInt32LE(state.epoch, 20);
  bytes.writeUInt32LE(state.chain, 24);
  return bytes;
}

function readSequence(bytes: Buffer): number {
  return Number(bytes.readBigUInt64LE(12));
}

function encodeTrailer(contentBytes: number, crc: number): Buffer {
  const bytes = Buffer.alloc(trailerBytes);
  bytes.writeBigUInt64LE(BigInt(contentBytes), 0);
  bytes.writeUInt32LE(crc, 8);
  return bytes;
}
