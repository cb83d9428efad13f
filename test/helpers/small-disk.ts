/** Disks of a few megabytes, which get full as real ones do. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let mounts: string[] = [];

/** A small disk of its own; false where this user may not mount one. */
export function mountSmall(path: string, megabytes: number): boolean {
  mkdirSync(path, { recursive: true });
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path]);
  if (status === 0) mounts.push(path);
  return status === 0;
}

/** All that this process has mounted. */
export function unmountSmall(): void {
  for (const path of mounts) spawnSync('umount', [path]);
  mounts = [];
}

/** Leaves `freeBytes` of the disk; returns the file to be removed. */
export function fill(disk: string, freeBytes: number): string {
  const { bavail, bsize } = statfsSync(disk);
  const path = join(disk, 'ballast');
  writeFileSync(path, Buffer.alloc(Math.max(0, bavail * bsize - freeBytes)));
  return path;
}

/** Whether there can be any; says so when there cannot. */
export function canMountSmall(): boolean {
  const probe = mkdtempSync(join(tmpdir(), 'batchmill-probe-'));
  const canMount = mountSmall(probe, 1);
  unmountSmall();
  rmSync(probe, { recursive: true });
  if (!canMount) console.warn('SKIPPED: tests of a full disk mount a small one, which needs root');
  return canMount;
}
