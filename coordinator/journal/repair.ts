/**
 * Makes a damaged journal one that a coordinator starts on: it goes as far as an unbroken row of records goes, from the first
 * segment or from a snapshot, whichever comes further. Nothing is deleted: what is cut off stays beside it under another name.
 */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { ChainState } from './frame-format.ts';
import { inspectJournal, type Damage, type JournalPlace, type JournalReport, type SegmentReport } from './inspect.ts';
import { emptyState } from './recovery.ts';

export interface RepairPlan {
  /** Null: the journal is as it should be, or its damage lies where no start comes to. */
  readonly damage: Damage | null;
  /** The last record that is kept. */
  readonly kept_record: number;
  /** Records that stand behind it, as far as they can be read: the first, the last, and how many. */
  readonly lost: { readonly first: number; readonly last: number; readonly records: number };
  /** Jobs that lose records. */
  readonly lost_jobs: readonly string[];
  /** Cut at this offset; null: none is. */
  readonly cut: { readonly segment: string; readonly byte_offset: number } | null;
  /** Files that get another name, with the name. */
  readonly aside: readonly { readonly from: string; readonly to: string }[];
}

/** Names of what was damaged begin so. */
const asidePrefix = 'damaged-';
const copyBytes = 1_048_576;

/** Looks only. @throws JOURNAL_VERSION, STATE_UNWRITABLE */
export async function planRepair(place: JournalPlace): Promise<RepairPlan> {
  const report = await inspectJournal(place);
  const reach = furthest(report);
  const lost = { first: reach.end + 1, last: 0, records: 0 };
  const jobs = new Set<string>();
  if (reach.damage) {
    await inspectJournal(place, (record, sequence) => {
      if (sequence <= reach.end) return;
      lost.records += 1;
      lost.last = Math.max(lost.last, sequence);
      const { job } = record as { readonly job?: unknown };
      if (typeof job === 'string') jobs.add(job);
    });
  }
  const names = new Set(await place.fileSystem.list(place.dir));
  const aside = reach.damage ? asideOf(report, reach).map((from) => ({ from, to: asideName(names, from) })) : [];
  return { damage: reach.damage, kept_record: reach.end, lost, lost_jobs: [...jobs], cut: reach.cut, aside };
}

/** @throws STATE_UNWRITABLE */
export async function repair(place: JournalPlace, plan: RepairPlan): Promise<void> {
  const { fileSystem, dir } = place;
  try {
    for (const { from, to } of plan.aside) {
      if (from === plan.cut?.segment) await copyFile(fileSystem, join(dir, from), join(dir, to));
    }
    await fileSystem.syncDir(dir);
    // The last ones first: what a crash leaves of this is a journal with the same damage, or none.
    for (const { from, to } of [...plan.aside].reverse()) {
      if (from !== plan.cut?.segment) await fileSystem.rename(join(dir, from), join(dir, to));
    }
    if (plan.cut) await truncate(fileSystem, join(dir, plan.cut.segment), plan.cut.byte_offset);
    await fileSystem.syncDir(dir);
  } catch (error) {
    if (error instanceof BatchError) throw error;
    throw new BatchError('STATE_UNWRITABLE', `the journal in ${dir} cannot be repaired: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

interface Reach {
  readonly end: number;
  readonly damage: Damage | null;
  readonly cut: RepairPlan['cut'];
  /** Segments up to this number stay. */
  readonly lastNumber: number;
}

/** Of the starts that there are (each whole snapshot, and the first segment), the one that gets furthest. */
function furthest(report: JournalReport): Reach {
  const snapshots = report.snapshots.flatMap(({ state }) => (state ? [state] : []));
  const starts =
    report.segments[0]?.first_record === 1 || snapshots.length === 0 ? [...snapshots, emptyState] : snapshots;
  return starts.map((start) => reachFrom(report, start)).reduce((best, next) => (next.end > best.end ? next : best));
}

function reachFrom({ segments }: JournalReport, start: ChainState): Reach {
  const before = segments.filter(({ first_record }) => first_record > 0 && first_record <= start.sequence);
  let state = start;
  let lastNumber = before.at(-1)?.number ?? 0;
  for (const [index, segment] of segments.slice(before.length).entries()) {
    const reach = { end: state.sequence, lastNumber, cut: null };
    // Just created, by a process that was killed.
    if (segment.first_record === 0 && segment.damage === null)
      return { ...reach, lastNumber: segment.number, damage: null };
    if (segment.first_record === 0) return { ...reach, damage: segment.damage };
    const isNext = segment.begin.sequence === state.sequence && segment.begin.chain === state.chain;
    const isGap = index > 0 && segment.number !== lastNumber + 1;
    if (!isNext || isGap) return { ...reach, damage: segment.misplaced ?? misplaced(segment, state.sequence + 1) };
    state = segment.end;
    lastNumber = segment.number;
    if (segment.damage) {
      const cut = { segment: segment.name, byte_offset: segment.damage.byte_offset };
      return { end: state.sequence, lastNumber, damage: segment.damage, cut };
    }
  }
  return { end: state.sequence, lastNumber, cut: null, damage: null };
}

function misplaced(segment: SegmentReport, record: number): Damage {
  const what = `it begins at record ${segment.first_record}, wanted is ${record}`;
  return { segment: segment.name, byte_offset: 0, record, what };
}

/** Segments behind the cut, the one that is cut, and snapshots that are damaged or hold what is lost. */
function asideOf({ segments, snapshots }: JournalReport, { end, lastNumber, cut }: Reach): readonly string[] {
  const behind = segments.filter(({ number, name }) => number > lastNumber || name === cut?.segment);
  const useless = snapshots.filter(({ is_whole, record }) => !is_whole || record > end);
  return [...behind, ...useless].map(({ name }) => name);
}

/** What the file `from` is called when it is put aside: a name that none of `names` is. */
export function asideName(names: ReadonlySet<string>, from: string): string {
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? `${asidePrefix}${from}` : `${asidePrefix}${number}-${from}`;
    if (!names.has(name)) return name;
  }
}

async function copyFile(fileSystem: FileSystem, from: string, to: string): Promise<void> {
  const source = await fileSystem.open(from, 'read');
  const target = await fileSystem.open(to, 'replace');
  try {
    const bytes = Buffer.alloc(copyBytes);
    for (let at = 0, count = 1; count > 0; at += count) {
      count = await source.read(bytes, at);
      if (count > 0) await target.write([Buffer.from(bytes.subarray(0, count))], at);
    }
    await target.datasync();
  } finally {
    await source.close();
    await target.close();
  }
}

async function truncate(fileSystem: FileSystem, path: string, bytes: number): Promise<void> {
  const file = await fileSystem.open(path, 'update');
  try {
    await file.truncate(bytes);
    await file.datasync();
  } finally {
    await file.close();
  }
}
