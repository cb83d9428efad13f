/**
 * Looks at the room on the disks that results go to, so that a job pauses before a write is refused. What is on its way
 * still finds its place in the reserve.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import type { JobName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';

/** A folder on a disk; job null: what all jobs need. */
export interface Watched {
  readonly job: JobName | null;
  readonly dir: string;
}

export interface DiskWatchOptions {
  readonly fileSystem: FileSystem;
  readonly watched: () => readonly Watched[];
  /** Called when it changes only; of a folder that is watched no more, nothing is short. */
  readonly onRoom: (job: JobName | null, failure: Failure | null) => void;
}

export class DiskWatch {
  readonly #options: DiskWatchOptions;
  /** Who was told that room is short. */
  readonly #short = new Set<JobName | null>();

  constructor(options: DiskWatchOptions) {
    this.#options = options;
  }

  /** One look. A disk that cannot be asked is told by the write that fails. */
  async look(): Promise<void> {
    const watched = this.#options.watched();
    const rooms = new Map<string, Promise<Room | null>>();
    const roomOf = (dir: string): Promise<Room | null> => {
      const room = rooms.get(dir) ?? this.#room(dir);
      rooms.set(dir, room);
      return room;
    };
    for (const { job, dir } of watched) {
      const room = await roomOf(dir);
      if (room) this.#judge(job, dir, room);
    }
    const names = new Set(watched.map(({ job }) => job));
    for (const job of [...this.#short]) {
      if (names.has(job)) continue;
      this.#short.delete(job);
      this.#options.onRoom(job, null);
    }
  }

  async #room(dir: string): Promise<Room | null> {
    const { fileSystem } = this.#options;
    try {
      const [freeBytes, totalBytes] = await Promise.all([fileSystem.freeBytes(dir), fileSystem.totalBytes(dir)]);
      return { freeBytes, reserveBytes: Math.min(limits.diskReserveBytes, limits.diskReserveShare * totalBytes) };
    } catch {
      return null;
    }
  }

  #judge(job: JobName | null, dir: string, { freeBytes, reserveBytes }: Room): void {
    const isShort = this.#short.has(job);
    if (!isShort && freeBytes < reserveBytes) {
      this.#short.add(job);
      const room = `${freeBytes} bytes free, ${Math.round(reserveBytes)} are kept in reserve`;
      const message = `${dir} has no room for results (${room}); make room, the job goes on by itself`;
      this.#options.onRoom(job, { code: 'DISK_FULL', message, detail: '' });
    } else if (isShort && freeBytes >= limits.diskReserveAgain * reserveBytes) {
      this.#short.delete(job);
      this.#options.onRoom(job, null);
    }
  }
}

interface Room {
  readonly freeBytes: number;
  readonly reserveBytes: number;
}
