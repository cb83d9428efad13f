import { describe, expect, it } from 'vitest';
import type { JobName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { DiskWatch } from '../../coordinator/output/disk-watch.ts';
import { MemoryFileSystem } from '../helpers/memory-file-system.ts';

const job = 'job' as JobName;
const gib = 1_073_741_824;

/** Two disks, `/state` and `/out`; what was told of them. */
function rig(totalBytes: number): {
  free: Record<string, number | Error>;
  told: unknown[];
  asked: string[];
  watched: { job: JobName | null; dir: string }[];
  look: () => Promise<void>;
} {
  const free: Record<string, number | Error> = { '/state': totalBytes, '/out': totalBytes };
  const told: unknown[] = [];
  const asked: string[] = [];
  const watched: { job: JobName | null; dir: string }[] = [
    { job: null, dir: '/state' },
    { job, dir: '/out' },
    { job: 'other' as JobName, dir: '/out' },
  ];
  const fileSystem: FileSystem = Object.assign(new MemoryFileSystem(), {
    freeBytes: async (dir: string) => {
      asked.push(dir);
      const bytes = free[dir];
      if (typeof bytes !== 'number') throw bytes as Error;
      return bytes;
    },
    totalBytes: async () => totalBytes,
  });
  const onRoom = (of: JobName | null, failure: { readonly message: string } | null): void =>
    void told.push([of, failure?.message ?? null]);
  const watch = new DiskWatch({ fileSystem, watched: () => watched, onRoom });
  return { free, told, asked, watched, look: () => watch.look() };
}

describe('a disk watch', () => {
  it('tells once that room is short, and once that there is enough again', async () => {
    const { free, told, asked, look } = rig(100 * gib);
    await look();
    expect([told, asked]).toEqual([[], ['/state', '/out']]);
    free['/out'] = limits.diskReserveBytes - 1;
    await look();
    await look();
    const message = `/out has no room for results (${limits.diskReserveBytes - 1} bytes free, ${limits.diskReserveBytes} are kept in reserve); make room, the job goes on by itself`;
    expect(told.splice(0)).toEqual([
      [job, message],
      ['other', message],
    ]);
    free['/out'] = limits.diskReserveBytes;
    await look();
    expect(told).toEqual([]);
    free['/out'] = limits.diskReserveAgain * limits.diskReserveBytes;
    await look();
    expect(told).toEqual([
      [job, null],
      ['other', null],
    ]);
  });

  it('keeps a share of a small disk', async () => {
    const { free, told, look } = rig(1_000_000);
    free['/state'] = 50_000;
    await look();
    expect(told).toEqual([]);
    free['/state'] = 49_999;
    await look();
    expect(told).toHaveLength(1);
  });

  it('forgets jobs that have ended, and leaves disks alone that cannot be asked', async () => {
    const { free, told, watched, look } = rig(gib);
    free['/out'] = new Error('ENOENT');
    free['/state'] = 0;
    await look();
    expect(told).toHaveLength(1);
    watched.shift();
    await look();
    expect(told.splice(1)).toEqual([[null, null]]);
    await look();
    watched.unshift({ job: null, dir: '/state' });
    await look();
    expect(told).toHaveLength(2);
  });
});
