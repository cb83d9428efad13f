/**
 * Looks through a journal that no coordinator uses: every segment, every snapshot, every record, and where the damage is.
 * A segment's header says where it begins, so that those behind damage are read too, if only to say what stands in them.
 */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { framesBehind, isTornTail } from './damage.ts';
import { decodeSegmentHeader, frameHeaderBytes, segmentHeaderBytes, type ChainState } from './frame-format.ts';
import { emptyState } from './recovery.ts';
import { listSegments, segmentName } from './segment-files.ts';
import { readSegment } from './segment-reader.ts';
import { findSnapshots, readSnapshot, snapshotName } from './snapshot-file.ts';

export interface JournalPlace {
  readonly fileSystem: FileSystem;
  /** The folder `journal` of a state directory. */
  readonly dir: string;
}

export interface Damage {
  readonly segment: string;
  readonly byte_offset: number;
  /** The first one that is lost. */
  readonly record: number;
  readonly what: string;
}

export interface SegmentReport {
  readonly name: string;
  readonly number: number;
  readonly bytes: number;
  /** 0 when its header is not one. */
  readonly first_record: number;
  /** Whole ones before any damage in it. */
  readonly records: number;
  /** Where it could be read no further. */
  readonly damage: Damage | null;
  /** It is not what follows the segment before. */
  readonly misplaced: Damage | null;
  /** Of a write that a crash had cut short, at the end of the last segment; no damage. */
  readonly torn_bytes: number;
  /** Where the journal stood before its first record. */
  readonly begin: ChainState;
  /** Where the journal stands behind its last whole record. */
  readonly end: ChainState;
}

export interface SnapshotReport {
  readonly name: string;
  /** It holds everything up to this one. */
  readonly record: number;
  /** Where the journal stood then; null when it is damaged. */
  readonly state: ChainState | null;
  readonly bytes: number;
  readonly is_whole: boolean;
}

export interface JournalReport {
  readonly segments: readonly SegmentReport[];
  /** The newest first. */
  readonly snapshots: readonly SnapshotReport[];
  readonly records: number;
  /** First and last epoch, 0 without any. */
  readonly epochs: readonly [number, number];
  readonly jobs: readonly string[];
  readonly damage: Damage | null;
}

/** `isBehindDamage`: it stands where a start never comes to; its checksum may be unknown. */
export type OnRecord = (record: unknown, sequence: number, epoch: number, isBehindDamage: boolean) => void;

/** @throws JOURNAL_VERSION, STATE_UNWRITABLE */
export async function inspectJournal(
  place: JournalPlace,
  onRecord: OnRecord = () => undefined,
): Promise<JournalReport> {
  try {
    return await inspect(place, onRecord);
  } catch (error) {
    if (error instanceof BatchError) throw error;
    throw new BatchError('STATE_UNWRITABLE', `the journal in ${place.dir} cannot be read: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

async function inspect(place: JournalPlace, onRecord: OnRecord): Promise<JournalReport> {
  const numbers = await listSegments(place.fileSystem, place.dir);
  const snapshots = await inspectSnapshots(place);
  const segments: SegmentReport[] = [];
  const jobs = new Set<string>();
  const epochs: number[] = [];
  let damage: Damage | null = null;
  let state: ChainState | null = numbers[0] === 1 ? emptyState : null;
  const note = (record: unknown, sequence: number, epoch: number, isBehind: boolean): void => {
    const { job } = record as { readonly job?: unknown };
    if (typeof job === 'string') jobs.add(job);
    if (epochs.at(-1) !== epoch) epochs.push(epoch);
    onRecord(record, sequence, epoch, isBehind);
  };
  for (const [index, number] of numbers.entries()) {
    const before = index === 0 ? number : (numbers[index - 1] ?? 0) + 1;
    const gap: Damage | null = number === before ? null : missing(before, state);
    const isLast = index === numbers.length - 1;
    const segment: SegmentReport = await inspectSegment(
      place,
      number,
      gap === null ? state : null,
      isLast,
      (record, sequence, epoch, isBehind) => note(record, sequence, epoch, isBehind || damage !== null),
    );
    damage ??= gap ?? segment.misplaced ?? segment.damage;
    segments.push(segment);
    state = segment.end;
  }
  // What is gone before the first segment must be in a snapshot.
  const first = segments[0]?.first_record ?? 1;
  if (first > 1 && !snapshots.some((snapshot) => snapshot.is_whole && snapshot.record >= first - 1)) {
    damage = missing(1, emptyState);
  }
  return {
    segments,
    snapshots,
    records: segments.reduce((sum, { records }) => sum + records, 0),
    epochs: [Math.min(...epochs, epochs[0] ?? 0), Math.max(...epochs, 0)],
    jobs: [...jobs],
    damage,
  };
}

function missing(number: number, state: ChainState | null): Damage {
  const record = (state?.sequence ?? 0) + 1;
  return { segment: segmentName(number), byte_offset: 0, record, what: 'the segment is missing' };
}

/** `before`: null when it is not known, so that the segment's own header is believed. */
async function inspectSegment(
  { fileSystem, dir }: JournalPlace,
  number: number,
  before: ChainState | null,
  isLast: boolean,
  onRecord: OnRecord,
): Promise<SegmentReport> {
  const name = segmentName(number);
  const file = await fileSystem.open(join(dir, name), 'read');
  try {
    const bytes = await file.sizeBytes();
    const headerBytes = Buffer.alloc(segmentHeaderBytes);
    const header = decodeSegmentHeader(headerBytes.subarray(0, await file.read(headerBytes, 0)), join(dir, name));
    const wanted = (before?.sequence ?? 0) + 1;
    const damageAt = (byte_offset: number, record: number, what: string): Damage => ({
      ...{ segment: name, byte_offset, record, what },
    });
    const common = { name, number, bytes, records: 0, torn_bytes: 0 };
    if (header === null) {
      const isTorn = isLast && bytes <= segmentHeaderBytes;
      const damage = isTorn ? null : damageAt(0, wanted, 'the header is not one');
      const end = before ?? emptyState;
      return { ...common, first_record: 0, torn_bytes: isTorn ? bytes : 0, damage, misplaced: null, begin: end, end };
    }
    const start: ChainState = {
      sequence: header.firstSequence - 1,
      epoch: before?.epoch ?? 0,
      chain: header.chainStart,
    };
    const isNext = before === null || (before.sequence === start.sequence && before.chain === start.chain);
    const { firstSequence } = header;
    let records = 0;
    const end = await readSegment(file, start, (record, sequence, epoch) => {
      records += 1;
      onRecord(record, sequence, epoch, before !== null && !isNext);
    });
    const report = { ...common, first_record: firstSequence, records, begin: start, end: end.state };
    const misplaced = isNext ? null : damageAt(0, wanted, `it begins at record ${firstSequence}, wanted is ${wanted}`);
    if (end.goodBytes === end.sizeBytes) return { ...report, damage: null, misplaced };
    const rest = Buffer.alloc(end.sizeBytes - end.goodBytes);
    await file.read(rest, end.goodBytes);
    if (isLast && isTornTail(rest, end.state)) return { ...report, torn_bytes: rest.length, damage: null, misplaced };
    for (const frame of framesBehind(rest, end.state)) {
      onRecord(
        JSON.parse(rest.toString('utf8', frame.at + frameHeaderBytes, frame.end)),
        frame.sequence,
        end.state.epoch,
        true,
      );
    }
    const record = end.state.sequence + 1;
    return {
      ...report,
      damage: damageAt(end.goodBytes, record, `record ${record} does not match its checksum`),
      misplaced,
    };
  } finally {
    await file.close();
  }
}

async function inspectSnapshots(place: JournalPlace): Promise<readonly SnapshotReport[]> {
  const reports: SnapshotReport[] = [];
  for (const record of findSnapshots(await place.fileSystem.list(place.dir)).sequences) {
    const name = snapshotName(record);
    const file = await place.fileSystem.open(join(place.dir, name), 'read');
    const bytes = await file.sizeBytes();
    await file.close();
    const snapshot = await readSnapshot(place, record);
    reports.push({ name, record, bytes, is_whole: snapshot !== null, state: snapshot?.state ?? null });
  }
  return reports;
}
