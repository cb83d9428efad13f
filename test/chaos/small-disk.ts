/** A file system of its own that can be filled up and freed again; it needs a mount, so root or a user namespace. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

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
      writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - 16_384)));
    },
    free: () => rmSync(ballast, { force: true }),
    close: () => {
      if (isMounted) spawnSync('umount', [path]);
    },
  };
}
