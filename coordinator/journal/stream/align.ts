/**
 * Holds the journal on this disk against its stream, before it is replayed. The stream is the point of commitment: a record that is
 * not in it was never acknowledged. So records beyond its end are adopted when it has not moved on without them, and cut off
 * when it has. As one group is appended at a time, more than one that is in the disk's journal only says that the stream has lost records.
 */
import { join } from 'node:path';
import { BatchError } from '../../../common/core/batch-error.ts';
import type { FileSystem } from '../../../common/ports/file-system.ts';
import type { JournalStream, StreamSnapshot } from '../../../common/ports/journal-stream.ts';
import type { ChainState } from '../frame-format.ts';
import { decodeSegmentHeader, segmentHeaderBytes } from '../frame-format.ts';
import { emptyState, isTorn, readHeaders } from '../recovery.ts';
import { listSegments, segmentName, synced } from '../segment-files.ts';
import { readSegment } from '../segment-reader.ts';
import { snapshotName } from '../snapshot-file.ts';
import { streamFrames } from './stream-frames.ts';

export interface Alignment {
  /** Message of the first group with a record that only the stream has; of its last group when there is none. */
  readonly place: number;
  /** Of the last message. */
  readonly last: number;
  /** Records that were cut off here. */
  readonly cut: number;
  /** From here on the disk's records are to be published; null: the stream has all of them. */
  readonly unpublished: (DiskPlace & { readonly groups: number }) | null;
  /** Snapshots of records that the stream has lost and this disk has: whoever publishes these makes other messages of them. */
  readonly orphans: readonly StreamSnapshot[];
  /** A segment of the disk cannot be read to its end: there may be records behind the damage of which nothing is known. */
  readonly isDamaged: boolean;
}

export interface DiskPlace {
  /** Number of the segment. */
  readonly segment: number;
  readonly offset: number;
}

export interface AlignOptions {
  readonly stream: JournalStream;
  readonly fileSystem: FileSystem;
  /** Of the segments. */
  readonly dir: string;
  /** Whether this process is about to append: then records that only the disk has go to the stream. One that follows leaves them. */
  readonly isLeading: boolean;
}

/**
 * @throws JOURNAL_STREAM_LOST when they tell different stories, JOURNAL_STREAM_UNREACHABLE, and what reading the segments throws
 */
export async function align(options: AlignOptions): Promise<Alignment> {
  const { stream, fileSystem, dir, isLeading } = options;
  const local = await readLocal(fileSystem, dir);
  let { first, last } = await stream.ends();
  const all = await stream.snapshots();
  const isOrphan = ({ place }: StreamSnapshot): boolean => place > last + 1;
  // One that was made since is behind no end.
  if (all.some(isOrphan)) ({ first, last } = await stream.ends());
  const orphans = all.filter(isOrphan);
  const missed = orphans.find(({ sequence, chain }) => local.crcOf(sequence) !== chain);
  if (missed) throw lostBehind(missed, last);
  const found = { last, orphans, isDamaged: local.isDamaged };
  const snapshots = all.filter((one) => !isOrphan(one));
  const newest = snapshots[0];
  const begin = beginOf(snapshots, first, local);
  if (begin === null) {
    if (newest === undefined || local.acknowledged >= newest.sequence)
      throw different(dir, local, newest?.sequence ?? 1);
    const isInstalled = await install(stream, newest, fileSystem, dir);
    return isInstalled ? { ...found, place: newest.place, cut: 0, unpublished: null } : await align(options);
  }
  let state: ChainState = begin;
  let { place } = begin;
  for await (const frame of streamFrames(stream, { first: begin.place, last }, begin)) {
    const there = local.crcOf(frame.sequence);
    // By a snapshot of this disk: all but the last of these are not here to compare, and that one is chained to them.
    const isCovered = frame.sequence < local.first;
    if (there === null && !isCovered) return { ...found, place: frame.place, cut: 0, unpublished: null };
    if (there !== null && there !== frame.crc) {
      if (isCovered) throw different(dir, local, frame.sequence);
      const cut = await cutOff(fileSystem, dir, local, frame.sequence);
      return { ...found, place: frame.place, cut, unpublished: null };
    }
    state = { sequence: frame.sequence, epoch: frame.epoch, chain: frame.crc };
    ({ place } = frame);
  }
  const isAhead = local.last > state.sequence;
  if (isAhead && !isLeading && last === 0) throw unseeded(dir);
  if (isAhead && local.first > state.sequence + 1) throw different(dir, local, state.sequence + 1);
  if (isAhead && !isLeading) {
    return { ...found, place, cut: await cutOff(fileSystem, dir, local, state.sequence + 1), unpublished: null };
  }
  const behind = state.sequence + 1;
  const unpublished = isAhead ? { ...local.placeOf(behind), groups: local.groupsFrom(behind) } : null;
  return { ...found, place, cut: 0, unpublished };
}

const beginning: StreamSnapshot = { ...emptyState, place: 1 };

/**
 * From where on the two are held against each other: a snapshot of the stream whose record is here as well, or one from before all
 * segments that are here. A disk takes snapshots, and drops the segments before them, by what it has written itself, so that
 * it may have taken two since the stream's newest. Null: neither, and its first messages are gone.
 */
function beginOf(snapshots: readonly StreamSnapshot[], first: number, local: LocalFrames): StreamSnapshot | null {
  // One that is about to be removed may have lost the messages behind it already.
  const usable = snapshots.filter(({ place }) => place >= first);
  const known = usable.find(({ sequence, chain }) => local.crcOf(sequence) === chain);
  return known ?? usable.find(({ sequence }) => sequence < local.first - 1) ?? (first === 1 ? beginning : null);
}

/**
 * The snapshot on this disk is one of the stream's. What segments are here goes: it is covered, or was never acknowledged. False: whoever
 * leads has replaced it meanwhile.
 */
async function install(
  stream: JournalStream,
  snapshot: StreamSnapshot,
  fileSystem: FileSystem,
  dir: string,
): Promise<boolean> {
  const path = join(dir, snapshotName(snapshot.sequence));
  const file = await fileSystem.open(`${path}.tmp`, 'replace');
  try {
    let at = 0;
    for await (const piece of stream.readSnapshot(snapshot)) {
      await file.write([piece], at);
      at += piece.length;
    }
    await synced(() => file.datasync());
  } catch (error) {
    const isLost = error instanceof BatchError && error.code === 'JOURNAL_STREAM_LOST';
    if (!isLost || (await isThere(stream, snapshot))) throw error;
    await fileSystem.remove(`${path}.tmp`);
    return false;
  } finally {
    await file.close();
  }
  await fileSystem.rename(`${path}.tmp`, path);
  await synced(() => fileSystem.syncDir(dir));
  for (const number of await listSegments(fileSystem, dir)) await fileSystem.remove(join(dir, segmentName(number)));
  await synced(() => fileSystem.syncDir(dir));
  return true;
}

async function isThere(stream: JournalStream, { sequence, place }: StreamSnapshot): Promise<boolean> {
  return (await stream.snapshots()).some((one) => one.sequence === sequence && one.place === place);
}

function lostBehind({ sequence, place }: StreamSnapshot, last: number): BatchError {
  return new BatchError(
    'JOURNAL_STREAM_LOST',
    `the stream ends at message ${last}, and there is a snapshot of record ${sequence}, which stood in message ${place}: its servers have lost ` +
      'what they had taken, and this disk does not have it. Start the coordinator whose disk has it',
  );
}

function unseeded(dir: string): BatchError {
  return new BatchError(
    'JOURNAL_STREAM_LOST',
    `the journal in ${dir} has records, and its stream has none; start once without --standby, which brings them there`,
  );
}

function different(dir: string, local: LocalFrames, sequence: number): BatchError {
  return new BatchError(
    'JOURNAL_STREAM_LOST',
    `from record ${sequence} on the journal in ${dir} and its stream hold different records, and those here up to ${local.last} were ` +
      'acknowledged. Nothing was changed; `batchmill journal verify` with the folder and with nats://… shows each. To go on with the stream move the folder journal ' +
      'away; to go on with the folder remove the stream (`nats stream rm`) and its bucket of snapshots, and start once without --standby',
  );
}

async function cutOff(fileSystem: FileSystem, dir: string, local: LocalFrames, sequence: number): Promise<number> {
  const records = local.last - sequence + 1;
  if (local.groupsFrom(sequence) > 1) throw different(dir, local, sequence);
  const { segment, offset } = local.placeOf(sequence);
  const file = await fileSystem.open(join(dir, segmentName(segment)), 'update');
  try {
    await file.truncate(offset);
    await synced(() => file.datasync());
  } finally {
    await file.close();
  }
  return records;
}

/** Of the frames on the disk: checksum, place, and whether they begin a group. */
class LocalFrames {
  /** Sequence of the first one; 0 without any. */
  first = 0;
  /** Checksum of the record before the first one. */
  chainStart: number | null = null;
  isDamaged = false;
  readonly #crcs: number[] = [];
  readonly #offsets: number[] = [];
  readonly #begins: boolean[] = [];
  /** Segments with the index of their first frame. */
  readonly #segments: { readonly number: number; readonly index: number }[] = [];

  get last(): number {
    return this.first + this.#crcs.length - 1;
  }

  /** Up to here they were acknowledged for certain: all but the last group. */
  get acknowledged(): number {
    return this.first + this.#begins.lastIndexOf(true) - 1;
  }

  beginSegment(number: number): void {
    this.#segments.push({ number, index: this.#crcs.length });
  }

  add(sequence: number, crc: number, offset: number, startsGroup: boolean): void {
    if (this.#crcs.length === 0) this.first = sequence;
    this.#crcs.push(crc);
    this.#offsets.push(offset);
    this.#begins.push(startsGroup);
  }

  /** Null: the record is not here. */
  crcOf(sequence: number): number | null {
    if (sequence === this.first - 1) return this.chainStart;
    return this.#crcs[sequence - this.first] ?? null;
  }

  /** Groups that have records from `sequence` on. */
  groupsFrom(sequence: number): number {
    const begun = this.#begins.slice(sequence - this.first + 1).filter((begins) => begins).length;
    return begun + 1;
  }

  placeOf(sequence: number): DiskPlace {
    const index = sequence - this.first;
    const segment = this.#segments.findLast((one) => one.index <= index);
    return { segment: segment?.number ?? 0, offset: this.#offsets[index] ?? segmentHeaderBytes };
  }
}

/** As far as the frames follow each other; damage is told by the replay. */
async function readLocal(fileSystem: FileSystem, dir: string): Promise<LocalFrames> {
  let frames = new LocalFrames();
  let isDamaged = false;
  const headers = await readHeaders(fileSystem, dir);
  for (const [index, { number, firstSequence }] of headers.entries()) {
    if (firstSequence === 0) break;
    // Of those that a snapshot covers a power cut may have brought one back, and not the next.
    if (frames.first > 0 && firstSequence !== frames.last + 1) frames = new LocalFrames();
    const path = join(dir, segmentName(number));
    const file = await fileSystem.open(path, 'read');
    try {
      const bytes = Buffer.alloc(segmentHeaderBytes);
      await file.read(bytes, 0);
      const chain = decodeSegmentHeader(bytes, path)?.chainStart ?? 0;
      if (frames.first === 0) frames.chainStart = chain;
      frames.beginSegment(number);
      const to = frames;
      const before = { sequence: firstSequence - 1, epoch: 0, chain };
      const end = await readSegment(file, before, (_record, sequence, _epoch, place) =>
        to.add(sequence, place.crc, place.offset, place.startsGroup),
      );
      const isLast = index === headers.length - 1;
      isDamaged ||= end.goodBytes < end.sizeBytes && !(isLast && (await isTorn(file, end)));
    } finally {
      await file.close();
    }
  }
  frames.isDamaged = isDamaged;
  return frames;
}
