/** Replays all segments in order and leaves the last one ready to be appended to. */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import { isTornTail } from './damage.ts';
import { decodeSegmentHeader, segmentHeaderBytes, type ChainState } from './frame-format.ts';
import { listSegments, segmentName, type CurrentSegment } from './segment-files.ts';
import { readSegment, type SegmentEnd } from './segment-reader.ts';

export interface Recovery {
  readonly records: number;
  /** Of a write that a crash had cut short; none of it was ever acknowledged. */
  readonly bytesCut: number;
}

export interface Recovered {
  readonly recovery: Recovery;
  readonly state: ChainState;
  /** Null for a journal without frames. */
  readonly current: CurrentSegment | null;
}

interface ReplayOptions {
  readonly fileSystem: FileSystem;
  readonly dir: string;
  readonly onRecord: (record: unknown, sequence: number) => void;
}

const emptyState: ChainState = { sequence: 0, epoch: 0, chain: 0 };

/** @throws JOURNAL_CORRUPT, JOURNAL_VERSION; nothing is changed then. */
export async function replay(options: ReplayOptions): Promise<Recovered> {
  const numbers = await listSegments(options.fileSystem, options.dir);
  let state = emptyState;
  let records = 0;
  const onRecord = (record: unknown, sequence: number): void => {
    records += 1;
    options.onRecord(record, sequence);
  };
  for (const [index, number] of numbers.entries()) {
    const path = join(options.dir, segmentName(number));
    if (number !== index + 1) throw corrupt(join(options.dir, segmentName(index + 1)), 0, 'the segment is missing');
    const isLast = index === numbers.length - 1;
    const file = await options.fileSystem.open(path, isLast ? 'update' : 'read');
    const end = await replaySegment(file, path, state, isLast, onRecord).catch(async (error: unknown) => {
      await file.close();
      throw error;
    });
    if (isLast) return finish(options, { number, file, path }, state, end, records);
    await file.close();
    state = end.state;
  }
  return { recovery: { records, bytesCut: 0 }, state, current: null };
}

/** Null end state: the segment was being created and holds nothing. */
type ReplayedSegment = SegmentEnd & { readonly isHeaderTorn: boolean };

async function replaySegment(
  file: OpenFile,
  path: string,
  before: ChainState,
  isLast: boolean,
  onRecord: (record: unknown, sequence: number) => void,
): Promise<ReplayedSegment> {
  const headerBytes = Buffer.alloc(segmentHeaderBytes);
  const header = decodeSegmentHeader(headerBytes.subarray(0, await file.read(headerBytes, 0)), path);
  const sizeBytes = await file.sizeBytes();
  if (header === null) {
    // No frame is written before the header is on the disk.
    if (!isLast || sizeBytes > segmentHeaderBytes) throw corrupt(path, 0, 'the header is not one');
    return { goodBytes: 0, sizeBytes, state: before, isHeaderTorn: true };
  }
  if (header.firstSequence !== before.sequence + 1 || header.chainStart !== before.chain) {
    throw corrupt(path, 0, `it begins at record ${header.firstSequence}, wanted is ${before.sequence + 1}`);
  }
  const end = await readSegment(file, before, onRecord);
  if (end.goodBytes < end.sizeBytes && !(isLast && (await isTorn(file, end)))) {
    throw corrupt(path, end.goodBytes, `record ${end.state.sequence + 1} does not match its checksum`);
  }
  return { ...end, isHeaderTorn: false };
}

async function isTorn(file: OpenFile, end: SegmentEnd): Promise<boolean> {
  const rest = Buffer.alloc(end.sizeBytes - end.goodBytes);
  await file.read(rest, end.goodBytes);
  return isTornTail(rest, end.state);
}

async function finish(
  options: ReplayOptions,
  segment: { readonly number: number; readonly file: OpenFile; readonly path: string },
  before: ChainState,
  end: ReplayedSegment,
  records: number,
): Promise<Recovered> {
  const recovery = { records, bytesCut: end.sizeBytes - end.goodBytes };
  if (!end.isHeaderTorn) {
    if (recovery.bytesCut > 0) await segment.file.truncate(end.goodBytes);
    // Also when nothing is cut: what a killed process wrote may be readable and still not be on the disk.
    await segment.file.datasync();
    return {
      recovery,
      state: end.state,
      current: { number: segment.number, file: segment.file, bytes: end.goodBytes },
    };
  }
  await segment.file.close();
  await options.fileSystem.remove(segment.path);
  await options.fileSystem.syncDir(options.dir);
  const current = segment.number === 1 ? null : await reopen(options, segment.number - 1);
  return { recovery, state: before, current };
}

async function reopen(options: ReplayOptions, number: number): Promise<CurrentSegment> {
  const file = await options.fileSystem.open(join(options.dir, segmentName(number)), 'update');
  return { number, file, bytes: await file.sizeBytes() };
}

function corrupt(path: string, offset: number, what: string): BatchError {
  return new BatchError(
    'JOURNAL_CORRUPT',
    `journal ${path} is damaged at byte ${offset}: ${what}, and records follow that were once acknowledged. ` +
      'Nothing was changed. Restore the folder from a copy, or move it away to begin with an empty journal',
  );
}
