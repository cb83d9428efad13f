import { beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import { outputLockName } from '../../coordinator/output/output-lock.ts';
import { guardedFileSystem } from '../../coordinator/standby/guarded-file-system.ts';
import { MemoryFileSystem, systemError } from '../helpers/memory-file-system.ts';

const over = { code: 'NOT_LEADING' };

describe('the disk of a coordinator that may have been replaced', () => {
  let disk: MemoryFileSystem;
  let silentMs: number;
  /** What happens while somebody waits. */
  let meanwhile: () => void;
  let waits: number;
  let ending: AbortController;
  let guarded: FileSystem;

  beforeEach(async () => {
    disk = new MemoryFileSystem();
    [silentMs, waits, ending] = [0, 0, new AbortController()];
    meanwhile = () => (silentMs += limits.leaderTryMs);
    const delay = (): Promise<void> => {
      waits += 1;
      meanwhile();
      return Promise.resolve();
    };
    guarded = guardedFileSystem(disk, { localDir: '/local', silentMs: () => silentMs, delay, signal: ending.signal });
    for (const dir of ['/out', '/local']) await disk.makeDir(dir);
    await (await disk.open('/out/a', 'create')).close();
    disk.log.length = 0;
  });

  it('is the disk itself while it surely leads', async () => {
    silentMs = limits.leaderSureMs;
    await guarded.rename('/out/a', '/out/b');
    await guarded.link('/out/b', '/out/c');
    await guarded.remove('/out/b');
    await (await guarded.open('/out/d', 'create')).close();
    expect(waits).toBe(0);
    expect(await disk.list('/out')).toEqual(['c', 'd']);
  });

  it('keeps names back from before the lease may have ended, and goes on when it is renewed', async () => {
    expect(limits.leaderSureMs).toBeLessThan(limits.leaderLeaseMs);
    silentMs = limits.leaderSureMs + 1;
    meanwhile = () => {
      expect(disk.log).toEqual([]);
      if (waits === 3) silentMs = 0;
    };
    await guarded.rename('/out/a', '/out/b');
    expect(waits).toBe(3);
    expect(await disk.list('/out')).toEqual(['b']);
  });

  it('gives no file a name once this coordinator stops to lead', async () => {
    silentMs = limits.leaderLeaseMs;
    await expect(guarded.rename('/out/a', '/out/b')).rejects.toMatchObject(over);
    await expect(guarded.remove('/out/a')).rejects.toMatchObject(over);
    await expect(guarded.removeDir('/out')).rejects.toMatchObject(over);
    await expect(guarded.open('/out/c', 'create')).rejects.toMatchObject(over);
    expect(disk.log).toEqual([]);
  });

  it('takes nothing away that is not there, nor what has come while it looked', async () => {
    await guarded.remove('/out/b');
    expect(disk.log.filter((line) => line.includes('remove'))).toEqual([]);
    const open = disk.open.bind(disk);
    disk.open = async (path, mode) => {
      silentMs = limits.leaderSilentMs + 1;
      return await open(path, mode);
    };
    await expect(guarded.remove('/out/a')).rejects.toMatchObject(over);
    expect(await disk.list('/out')).toEqual(['a']);
  });

  it('puts back what it took away asleep, unless the name is given anew', async () => {
    const rename = disk.rename.bind(disk);
    let isGivenAnew = false;
    disk.rename = async (from, to) => {
      silentMs = limits.leaderSilentMs + 1;
      await rename(from, to);
      if (isGivenAnew) await (await disk.open(from, 'create')).write([Buffer.from('anew')], 0);
    };
    await (await disk.open('/out/a', 'update')).write([Buffer.from('before')], 0);
    await expect(guarded.remove('/out/a')).rejects.toMatchObject(over);
    expect([await disk.list('/out'), String(disk.content('/out/a'))]).toEqual([['a'], 'before']);
    [silentMs, isGivenAnew] = [0, true];
    await expect(guarded.remove('/out/a')).rejects.toMatchObject(over);
    expect([await disk.list('/out'), String(disk.content('/out/a'))]).toEqual([['a'], 'anew']);
  });

  it('takes away what one that was killed had begun to, and what can get no other name', async () => {
    await disk.rename('/out/a', '/out/a.gone');
    await guarded.remove('/out/a');
    expect(await disk.list('/out')).toEqual([]);
    await (await disk.open('/out/a', 'create')).close();
    disk.rename = () => Promise.reject(systemError('ENOSPC', '/out/a'));
    await guarded.remove('/out/a');
    expect(await disk.list('/out')).toEqual([]);
  });

  it('does not wait in a process that ends', async () => {
    silentMs = limits.leaderSureMs + 1;
    ending.abort();
    await expect(guarded.remove('/out/a')).rejects.toMatchObject(over);
    expect(waits).toBe(0);
  });

  it('lets go of a file that was opened while another coordinator came', async () => {
    let closed = 0;
    const slow: FileSystem = Object.assign(Object.create(disk) as FileSystem, {
      open: async (path: string, mode: Parameters<FileSystem['open']>[1]): Promise<OpenFile> => {
        const file = await disk.open(path, mode);
        silentMs = limits.leaderSilentMs + 1;
        return Object.assign(Object.create(file) as OpenFile, { close: () => Promise.resolve(void (closed += 1)) });
      },
    });
    const { signal } = ending;
    const own = guardedFileSystem(slow, {
      ...{ localDir: '/local', silentMs: () => silentMs, signal },
      delay: () => Promise.resolve(),
    });
    await expect(own.open('/out/a', 'create')).rejects.toMatchObject(over);
    expect(closed).toBe(1);
  });

  it('keeps back neither readers, nor locks, nor what is its own', async () => {
    silentMs = Number.POSITIVE_INFINITY;
    await (await guarded.open('/out/a', 'read')).close();
    await (await guarded.open(`/out/${outputLockName}`, 'create')).close();
    await guarded.remove(`/out/${outputLockName}`);
    await (await guarded.open('/local/journal', 'create')).close();
    expect(await disk.list('/local')).toEqual(['journal']);
  });
});
