/** A file system of its own that can be filled up and freed again; it needs a mount, so root or a user namespace. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../../common/io/errno.ts';

const leftBytes = 16_384;

export interface SmallDisk {
  readonly path: string;
  /** What it is, in words. */
  readonly what: string;
  readonly canFill: boolean;
  /** Leaves next to nothing. */
  fill(): void;
  free(): void;
  close(): void;
}

/** Where no mount is permitted it is an ordinary folder that cannot be filled, and `what` says so. */
export function openSmallDisk(path: string, megabytes: number): SmallDisk {
  mkdirSync(path, { recursive: true });
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path]);
  const isMounted = status === 0;
  const ballast = join(path, 'ballast');
  return {
    path,
    what: isMounted
      ? `a tmpfs of ${megabytes} MB`
      : 'an ordinary folder: no mount is permitted, so it is never filled up',
    canFill: isMounted,
    fill: () => {
      const { bavail, bsize } = statfsSync(path);
      try {
        writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - leftBytes)));
      } catch (error) {
        // Others have written since it was looked at: then it is full all the same.
        if (errnoOf(error) !== 'ENOSPC') throw error;
      }
    },
    free: () => rmSync(ballast, { force: true }),
    close: () => {
      // Lazily: a process that is just ending may have a file open still.
      if (isMounted) spawnSync('umount', ['--lazy', path]);
    },
  };
}
