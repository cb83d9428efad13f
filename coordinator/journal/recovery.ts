/** Loads the newest snapshot that is whole, replays the segments behind it and leaves the last one ready to be appended to. */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import { isTornTail } from './damage.ts';
import { decodeSegmentHeader, segmentHeaderBytes, type ChainState } from './frame-format.ts';
import { listSegments, segmentName, type CurrentSegment, type SegmentPlace } from './segment-files.ts';
import { readSegment, type SegmentEnd } from './segment-reader.ts';
import { findSnapshots, readSnapshot, snapshotName, type Snapshot } from './snapshot-file.ts';

export interface Recovery {
  /** Replayed, behind the snapshot if there was one. */
  readonly records: number;
  /** Of a write that a crash had cut short; none of it was ever acknowledged. */
  readonly bytesCut: number;
  /** Sequence of the snapshot that was loaded; 0 without one. */
  readonly snapshot: number;
  /** Names of snapshots that are damaged and were passed over. */
  readonly damaged: readonly string[];
  /** Names of what was damaged and put aside, since the stream has all of it. */
  readonly aside: readonly string[];
}

export interface Recovered {
  readonly recovery: Recovery;
  readonly state: ChainState;
  /** Null when the next record begins a segment. */
  readonly current: CurrentSegment | null;
  readonly segments: readonly SegmentPlace[];
  /** Sequences of snapshots that are there and not known to be damaged, the newest first. */
  readonly snapshots: readonly number[];
  /** Bytes of the segments that were replayed. */
  readonly replayedBytes: number;
}

export interface ReplayOptions {
  readonly fileSystem: FileSystem;
  readonly dir: string;
  readonly onRecord: (record: unknown, sequence: number) => void;
  /** Takes a snapshot's content; null: snapshots are not used. */
  readonly onImage: ((content: Buffer) => void) | null;
}

export const emptyState: ChainState = { sequence: 0, epoch: 0, chain: 0 };

/** @throws JOURNAL_CORRUPT, JOURNAL_VERSION; nothing is changed then. */
export async function replay(options: ReplayOptions): Promise<Recovered> {
  const { fileSystem, dir } = options;
  const start = await findStart(options);
  if (start.snapshot) options.onImage?.(start.snapshot.content);
  let state = start.snapshot?.state ?? emptyState;
  let records = 0;
  let replayedBytes = 0;
  const onRecord = (record: unknown, sequence: number): void => {
    records += 1;
    options.onRecord(record, sequence);
  };
  const found = {
    segments: start.segments,
    snapshots: start.snapshots,
  };
  const recovery = { snapshot: start.snapshot?.state.sequence ?? 0, damaged: start.damaged, aside: [] };
  for (const [index, number] of start.numbers.entries()) {
    const path = join(dir, segmentName(number));
    const isLast = index === start.numbers.length - 1;
    const file = await fileSystem.open(path, isLast ? 'update' : 'read');
    const end = await replaySegment(file, path, state, isLast, onRecord).catch(async (error: unknown) => {
      await file.close();
      throw error;
    });
    replayedBytes += end.goodBytes;
    if (isLast) {
      const finished = await finish(options, { number, file, path }, state, end, start);
      const bytesCut = end.sizeBytes - end.goodBytes;
      await tidy(options, start.damaged);
      return { ...found, ...finished, recovery: { ...recovery, records, bytesCut }, replayedBytes };
    }
    await file.close();
    state = end.state;
  }
  await tidy(options, start.damaged);
  return { ...found, recovery: { ...recovery, records, bytesCut: 0 }, state, current: null, replayedBytes };
}

interface Start {
  readonly snapshot: Snapshot | null;
  /** Segments to be replayed, ascending. */
  readonly numbers: readonly number[];
  readonly segments: readonly SegmentPlace[];
  readonly snapshots: readonly number[];
  readonly damaged: readonly string[];
}

/** The newest snapshot that is whole and behind which no segment is missing; without one, the first segment of all. */
async function findStart(options: ReplayOptions): Promise<Start> {
  const { fileSystem, dir } = options;
  const segments = await readHeaders(fileSystem, dir);
  const { sequences } = findSnapshots(await fileSystem.list(dir));
  const damaged: string[] = [];
  for (const sequence of options.onImage === null ? [] : sequences) {
    const numbers = numbersBehind(segments, sequence);
    if (numbers === null) continue;
    const snapshot = await readSnapshot({ fileSystem, dir }, sequence);
    const snapshots = sequences.filter((other) => !damaged.includes(snapshotName(other)));
    if (snapshot) return { snapshot, numbers, segments, snapshots, damaged };
    damaged.push(snapshotName(sequence));
  }
  const gap = segments.findIndex(({ number }, index) => number !== index + 1);
  if (gap >= 0) throw missing(dir, gap + 1, sequences, damaged);
  if (segments.length === 0 && sequences.length > 0) throw missing(dir, 1, sequences, damaged);
  const numbers = segments.map(({ number }) => number);
  return { snapshot: null, numbers, segments, snapshots: [], damaged };
}

/**
 * The segments that follow record `sequence`, which are none when nothing was appended since; null when one is missing, or
 * when the snapshot is not where a segment begins.
 */
export function numbersBehind(segments: readonly SegmentPlace[], sequence: number): readonly number[] | null {
  const begin = segments.findIndex(({ firstSequence }) => firstSequence === sequence + 1);
  const behind = begin < 0 ? [] : segments.slice(begin).map(({ number }) => number);
  if (behind.length > 0) return isGapless(behind) ? behind : null;
  const last = segments.at(-1);
  if (!last) return [];
  // The segment behind the snapshot was just being created.
  const isTorn = last.firstSequence === 0;
  const before = isTorn ? segments.at(-2) : last;
  if (before && (before.firstSequence === 0 || before.firstSequence > sequence)) return null;
  return isTorn ? [last.number] : [];
}

function isGapless(numbers: readonly number[]): boolean {
  return numbers.every((number, index) => number === (numbers[0] ?? 0) + index);
}

/** First sequence 0: its header is not whole. @throws JOURNAL_VERSION */
export async function readHeaders(fileSystem: FileSystem, dir: string): Promise<readonly SegmentPlace[]> {
  const places: SegmentPlace[] = [];
  for (const number of await listSegments(fileSystem, dir)) {
    const path = join(dir, segmentName(number));
    const file = await fileSystem.open(path, 'read');
    try {
      const bytes = Buffer.alloc(segmentHeaderBytes);
      const header = decodeSegmentHeader(bytes.subarray(0, await file.read(bytes, 0)), path);
      places.push({ number, firstSequence: header?.firstSequence ?? 0 });
    } finally {
      await file.close();
    }
  }
  return places;
}

/** Snapshots that were being written when the process was killed go; damaged ones are kept under another name. */
async function tidy({ fileSystem, dir, onImage }: ReplayOptions, damaged: readonly string[]): Promise<void> {
  if (onImage === null) return;
  for (const name of damaged) await fileSystem.rename(join(dir, name), join(dir, `damaged-${name}`));
  for (const name of findSnapshots(await fileSystem.list(dir)).leftovers) await fileSystem.remove(join(dir, name));
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
    return { goodBytes: 0, groupOffset: 0, sizeBytes, state: before, isHeaderTorn: true };
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

/** Of the last segment: what does not match was being written when the process ended. */
export async function isTorn(file: OpenFile, end: SegmentEnd): Promise<boolean> {
  const rest = Buffer.alloc(end.sizeBytes - end.goodBytes);
  await file.read(rest, end.goodBytes);
  return isTornTail(rest, end.state);
}

async function finish(
  options: ReplayOptions,
  segment: { readonly number: number; readonly file: OpenFile; readonly path: string },
  before: ChainState,
  end: ReplayedSegment,
  start: Start,
): Promise<Pick<Recovered, 'state' | 'current' | 'segments'>> {
  const { segments } = start;
  if (!end.isHeaderTorn) {
    if (end.sizeBytes > end.goodBytes) await segment.file.truncate(end.goodBytes);
    await writeAgain(segment.file, 0, segmentHeaderBytes);
    await writeAgain(segment.file, end.groupOffset, end.goodBytes);
    await segment.file.datasync();
    // A process that was killed while it created the segment may not have come to its name.
    await options.fileSystem.syncDir(options.dir);
    return {
      state: end.state,
      current: { number: segment.number, file: segment.file, bytes: end.goodBytes },
      segments,
    };
  }
  await segment.file.close();
  await options.fileSystem.remove(segment.path);
  await options.fileSystem.syncDir(options.dir);
  // What a snapshot covers is not gone on with: the next record begins a segment.
  const isFirst = start.numbers.length === 1;
  const current = isFirst ? null : await reopen(options, segment.number - 1);
  return { state: before, current, segments: segments.slice(0, -1) };
}

/**
 * What a process wrote before it was killed, or before a sync failed, may be readable and still not be on the disk, and after
 * a failed sync no later one would bring it there: the system has dropped it. Written once more, it is the next sync's business.
 * Header and last group are all that can be meant, since a process syncs one group before it writes the next.
 */
async function writeAgain(file: OpenFile, from: number, to: number): Promise<void> {
  const bytes = Buffer.allocUnsafe(to - from);
  const found = await file.read(bytes, from);
  if (found > 0) await file.write([bytes.subarray(0, found)], from);
}

async function reopen(options: ReplayOptions, number: number): Promise<CurrentSegment> {
  const file = await options.fileSystem.open(join(options.dir, segmentName(number)), 'update');
  return { number, file, bytes: await file.sizeBytes() };
}

const wayOut =
  'Nothing was changed. `batchmill journal verify` shows what is lost, `batchmill journal repair` begins again without it; ' +
  'or restore the folder from a copy';

function corrupt(path: string, offset: number, what: string): BatchError {
  return new BatchError(
    'JOURNAL_CORRUPT',
    `journal ${path} is damaged at byte ${offset}: ${what}, and records follow that were once acknowledged. ${wayOut}`,
  );
}

function missing(dir: string, number: number, snapshots: readonly number[], damaged: readonly string[]): BatchError {
  const path = join(dir, segmentName(number));
  const bad = damaged.length > 0 ? `; damaged: ${damaged.join(', ')}` : '';
  const why =
    snapshots.length === 0
      ? 'the segment is missing'
      : `the segment is missing, and no snapshot can stand for it (${snapshots.length} are there${bad})`;
  return new BatchError('JOURNAL_CORRUPT', `journal ${path} is damaged at byte 0: ${why}. ${wayOut}`);
}
