/**
 * A file system of its own that can be filled up and freed again; it needs a mount, so root or a user namespace. One in a file comes
 * first, because its syncs take time, as those of a disk do: what leaves too early, before a sync is over, shows only then.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

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
  const what = mountImage(path, megabytes) ?? mountMemory(path, megabytes);
  const ballast = join(path, 'ballast');
  return {
    path,
    what: what ?? 'an ordinary folder: no mount is permitted, so it is never filled up',
    canFill: what !== null,
    fill: () => {
      const { bavail, bsize } = statfsSync(path);
      const bytes = Math.max(1, bavail * bsize - leftBytes);
      // Others may have written since it was looked at: then it is full all the same.
      spawnSync('fallocate', ['--length', String(bytes), ballast]);
    },
    free: () => rmSync(ballast, { force: true }),
    close: () => {
      // Lazily: a process that is just ending may have a file open still.
      if (what !== null) spawnSync('umount', ['--lazy', path]);
      rmSync(`${path}.img`, { force: true });
    },
  };
}

/** Null where this user may not, or the tools are missing. */
function mountImage(path: string, megabytes: number): string | null {
  const image = `${path}.img`;
  writeFileSync(image, '');
  truncateSync(image, megabytes * 1_048_576);
  // Nothing in reserve for root, and no journal: no power ever fails here.
  const options = ['-q', '-m', '0', '-O', '^has_journal', image];
  const isMade = spawnSync('mkfs.ext4', options).status === 0;
  const isMounted = isMade && spawnSync('mount', ['-o', 'loop', image, path]).status === 0;
  if (!isMounted) rmSync(image);
  return isMounted ? `ext4 in a file of ${megabytes} MB` : null;
}

function mountMemory(path: string, megabytes: number): string | null {
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path]);
  return status === 0 ? `a tmpfs of ${megabytes} MB` : null;
}
