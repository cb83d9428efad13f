/** The journal's files: found at start, appended to, followed by a new one when full. */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import { encodeSegmentHeader, segmentHeaderBytes } from './frame-format.ts';
import type { Group } from './group-queue.ts';

/** `segment-000001`; numbers have no gap. */
export function segmentName(number: number): string {
  return `segment-${String(number).padStart(6, '0')}`;
}

/** Numbers of the segments in `dir`, ascending; other files are left alone. */
export async function listSegments(fileSystem: FileSystem, dir: string): Promise<readonly number[]> {
  const names = await fileSystem.list(dir);
  const numbers = names
    .map((name) => /^segment-(\d{6,})$/.exec(name))
    .flatMap((match) => (match ? [Number(match[1])] : []));
  return numbers.sort((a, b) => a - b);
}

/** A sync that failed leaves it unknown what is on the disk; only a new start, which reads it, can tell. */
export class SyncFailure extends Error {
  override readonly name = 'SyncFailure';
}

export interface CurrentSegment {
  readonly number: number;
  readonly file: OpenFile;
  /** All of it synced. */
  readonly bytes: number;
}

/** A segment on the disk. */
export interface SegmentPlace {
  readonly number: number;
  readonly firstSequence: number;
}

export class SegmentFiles {
  readonly #fileSystem: FileSystem;
  readonly #dir: string;
  readonly #segmentBytes: number;
  #current: CurrentSegment | null;
  /** All that are there, ascending. */
  #places: readonly SegmentPlace[];
  /** Of the newest segment that was ever there. */
  #lastNumber: number;

  constructor(
    fileSystem: FileSystem,
    dir: string,
    segmentBytes: number,
    found: { readonly current: CurrentSegment | null; readonly segments: readonly SegmentPlace[] },
  ) {
    this.#fileSystem = fileSystem;
    this.#dir = dir;
    this.#segmentBytes = segmentBytes;
    this.#current = found.current;
    this.#places = found.segments;
    this.#lastNumber = found.segments.at(-1)?.number ?? 0;
  }

  /**
   * Removes the segments all of whose records are at or before `sequence`, the oldest first, so that what stays has no gap.
   * Returns how many.
   */
  async removeUpTo(sequence: number): Promise<number> {
    let removed = 0;
    for (const { number } of this.#places) {
      const next = this.#places[removed + 1];
      if (!next || next.firstSequence > sequence + 1) break;
      await this.#fileSystem.remove(join(this.#dir, segmentName(number)));
      removed += 1;
    }
    this.#places = this.#places.slice(removed);
    return removed;
  }

  /**
   * Returns when the group is on the disk. When a write is refused, what it left is cut off again, so that the same group may be
   * tried anew; a failed sync is a {@link SyncFailure} and final.
   */
  async append(group: Group): Promise<void> {
    const current = await this.#roomFor(group);
    try {
      await current.file.write([group.buffer.subarray(0, group.usedBytes)], current.bytes);
    } catch (error) {
      await synced(() => current.file.truncate(current.bytes));
      throw error;
    }
    await synced(() => current.file.datasync());
    this.#current = { ...current, bytes: current.bytes + group.usedBytes };
  }

  async close(): Promise<void> {
    await this.#current?.file.close();
    this.#current = null;
  }

  async #roomFor(group: Group): Promise<CurrentSegment> {
    const current = this.#current;
    const isFresh = current?.bytes === segmentHeaderBytes;
    const hasRoom = current !== null && current.bytes + group.usedBytes <= this.#segmentBytes && !group.startsSegment;
    if (current && (isFresh || hasRoom)) return current;
    const next = await this.#create(this.#lastNumber + 1, group);
    await current?.file.close();
    this.#current = next;
    this.#lastNumber = next.number;
    this.#places = [...this.#places, { number: next.number, firstSequence: group.firstSequence }];
    return next;
  }

  /** Durable before the first frame is written, so that only the very last segment can ever lack a whole header. */
  async #create(number: number, group: Group): Promise<CurrentSegment> {
    const path = join(this.#dir, segmentName(number));
    const file = await this.#fileSystem.open(path, 'replace');
    try {
      await file.write([encodeSegmentHeader({ firstSequence: group.firstSequence, chainStart: group.chainBefore })], 0);
    } catch (error) {
      await file.close();
      await this.#fileSystem.remove(path);
      throw error;
    }
    await synced(() => file.datasync());
    await synced(() => this.#fileSystem.syncDir(this.#dir));
    return { number, file, bytes: segmentHeaderBytes };
  }
}

/** What `work` syncs is on the disk when it resolves. @throws SyncFailure */
export async function synced(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new SyncFailure(reasonOf(error), { cause: error });
  }
}

/** For people: which file, what for, what the system said. */
export function journalFailure(dir: string, error: unknown): BatchError {
  if (error instanceof BatchError) return error;
  return new BatchError('STATE_UNWRITABLE', `the journal in ${dir} cannot be written: ${reasonOf(error)}`, {
    cause: error,
  });
}
