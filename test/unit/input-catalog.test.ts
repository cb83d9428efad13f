import { describe, expect, it } from 'vitest';
import type { InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { InputCatalog } from '../../coordinator/input/input-catalog.ts';
import { matching } from '../helpers/matching.ts';
import { Killed, MemoryFileSystem, systemError } from '../helpers/memory-file-system.ts';

const jobDir = '/state/jobs/digits-1';
const chunkPath = (chunk: number): string => `${jobDir}/inputs/chunk-${String(chunk).padStart(6, '0')}.jsonl`;

function page(first: number, count: number): InputFile[] {
  return Array.from({ length: count }, (_, index) => ({
    path: `sub/${first + index}-"é\n".png`,
    sizeBytes: first + index,
    identity: `${first + index}-17`,
  }));
}

async function open(disk: MemoryFileSystem): Promise<InputCatalog> {
  return InputCatalog.open({ jobDir, fileSystem: disk });
}

async function all(catalog: InputCatalog): Promise<readonly InputFile[]> {
  const files: InputFile[] = [];
  for await (const file of catalog.all()) files.push(file);
  return files;
}

describe('a catalog', () => {
  it('gives back any range of what was appended, also after a restart', async () => {
    const disk = new MemoryFileSystem();
    const catalog = await open(disk);
    expect(await catalog.append(page(0, 3))).toEqual({
      chunk: 0,
      first: 0,
      count: 3,
      bytes: 3,
      sizes: Float64Array.of(0, 1, 2),
    });
    expect(await catalog.append(page(3, 1))).toMatchObject({ chunk: 1, first: 3, count: 1, bytes: 3 });
    expect(await catalog.append(page(4, 4))).toMatchObject({ chunk: 2, first: 4, count: 4 });
    for (const each of [catalog, await open(disk)]) {
      expect([each.chunks, each.count]).toEqual([3, 8]);
      for (let first = 0; first < 8; first += 1) {
        for (let count = 1; first + count <= 8; count += 1) {
          expect(await each.files(first, count)).toEqual(page(first, count));
        }
      }
      expect(await all(each)).toEqual(page(0, 8));
    }
    await expect(catalog.append([])).rejects.toThrow(/at least one/);
    await expect(catalog.files(7, 2)).rejects.toThrow(/files 7 to 9 of 8/);
  });

  it('has at once what it has read, and nothing that it has not', async () => {
    const disk = new MemoryFileSystem();
    const appended = await open(disk);
    await appended.append(page(0, 3));
    await appended.append(page(3, 2));
    const before = disk.counts.read;
    expect(appended.known(1, 2)).toEqual(page(1, 2));
    expect(appended.known(3, 2)).toEqual(page(3, 2));
    // Two chunks are put together by who waits.
    expect(appended.known(2, 2)).toBeNull();
    await appended.change(1, [{ ...(page(4, 1)[0] as InputFile), ordinal: 4, identity: 'other' }]);
    expect(appended.known(3, 2)?.map(({ identity }) => identity)).toEqual(['3-17', 'other']);
    expect(disk.counts.read - before).toBe(0);
    const reopened = await open(disk);
    expect(reopened.known(0, 1)).toBeNull();
    expect(await reopened.files(0, 1)).toEqual(page(0, 1));
    expect(reopened.known(0, 3)).toEqual(page(0, 3));
  });

  it('keeps which part of a file an input is, also of one that was looked at again', async () => {
    const disk = new MemoryFileSystem();
    const catalog = await open(disk);
    const part = (begin: number, end: number, fileBytes = 20, identity = '20-1'): InputFile => ({
      ...{ path: 'a.csv', sizeBytes: end - begin, identity, part: { begin, end, fileBytes } },
    });
    await catalog.append([part(0, 10), part(10, 20), ...page(2, 1)]);
    expect(await all(await open(disk))).toEqual([part(0, 10), part(10, 20), ...page(2, 1)]);
    const { path: _, ...now } = part(10, 25, 25, '25-2');
    await catalog.change(1, [
      { ordinal: 1, ...now },
      { ordinal: 2, sizeBytes: 4, identity: '4-4' },
    ]);
    const [{ path = '' } = {}] = page(2, 1);
    for (const each of [catalog, await open(disk)]) {
      expect(await all(each)).toEqual([part(0, 10), part(10, 25, 25, '25-2'), { path, sizeBytes: 4, identity: '4-4' }]);
    }
  });

  it('reads a chunk once while it is in use, keeps few, and passes by the cache when all is read', async () => {
    const disk = new MemoryFileSystem();
    const writing = await open(disk);
    const chunks = limits.manifestChunksCached + 4;
    for (let chunk = 0; chunk < chunks; chunk += 1) await writing.append(page(chunk * 2, 2));
    const catalog = await open(disk);
    const before = disk.counts.open;
    await Promise.all([catalog.files(0, 1), catalog.files(1, 1), catalog.files(0, 2)]);
    await catalog.files(1, 1);
    expect(disk.counts.open - before).toBe(1);
    await all(catalog);
    expect(disk.counts.open - before).toBe(chunks);
    await catalog.files(0, 2);
    expect(disk.counts.open - before).toBe(chunks);
    for (let chunk = 1; chunk < chunks; chunk += 1) await catalog.files(chunk * 2, 1);
    await catalog.files(0, 1);
    expect(disk.counts.open - before).toBe(2 * chunks);
  });

  it('forgets a chunk whose record did not survive a crash', async () => {
    const disk = new MemoryFileSystem();
    const catalog = await open(disk);
    await catalog.append(page(0, 2));
    await catalog.append(page(2, 2));
    disk.put(`${chunkPath(2)}.tmp`, Buffer.from('half'));
    const again = await open(disk);
    await again.truncateTo(1);
    expect([again.chunks, again.count, disk.paths()]).toEqual([1, 2, [chunkPath(0)]]);
    await again.append(page(2, 5));
    expect(await all(again)).toEqual(page(0, 7));
    await expect(again.truncateTo(3)).rejects.toMatchObject({
      code: 'JOURNAL_CORRUPT',
      message: matching(/chunk-000002.*missing/),
    });
  });

  it('has a page on the disk when append resolves, whichever operation the power fails at', async () => {
    for (let changes = 0; ; changes += 1) {
      const disk = new MemoryFileSystem();
      const catalog = await open(disk);
      await catalog.append(page(0, 2));
      disk.changesLeft = changes;
      const outcome = await catalog.append(page(2, 2)).catch((error: unknown) => error);
      disk.powerCut();
      const again = await open(disk);
      const isKilled = outcome instanceof Killed;
      if (!isKilled) expect(again.chunks).toBe(2);
      await again.truncateTo(1);
      await again.append(page(2, 2));
      expect(await all(again)).toEqual(page(0, 4));
      if (isKilled) continue;
      expect(changes).toBeGreaterThan(3);
      return;
    }
  });

  it('can append the same page again after a full disk', async () => {
    const disk = new MemoryFileSystem();
    const catalog = await open(disk);
    disk.capacityBytes = 20;
    await expect(catalog.append(page(0, 2))).rejects.toMatchObject({ code: 'DISK_FULL', message: matching(/inputs/) });
    disk.capacityBytes = 10_000;
    expect(await catalog.append(page(0, 2))).toMatchObject({ chunk: 0, first: 0 });
    disk.fail = (operation, path) => (operation === 'datasync' ? systemError('EIO', path) : null);
    await expect(catalog.append(page(2, 1))).rejects.toMatchObject({ code: 'STATE_UNWRITABLE' });
  });

  it('refuses chunks that are damaged or out of order, naming them', async () => {
    const disk = new MemoryFileSystem();
    const catalog = await open(disk);
    for (const first of [0, 2, 4]) await catalog.append(page(first, 2));
    const good = disk.content(chunkPath(1))?.toString() ?? '';
    const damages: readonly (readonly [string, RegExp])[] = [
      ['rubbish', /chunk-000001.* does not begin/],
      ['["batchmill-inputs",9,2,2]\n', /chunk-000001/],
      [disk.content(chunkPath(2))?.toString() ?? '', /begins at file 4, wanted is 2/],
    ];
    for (const [text, message] of damages) {
      disk.put(chunkPath(1), Buffer.from(text));
      await expect(open(disk), text).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT', message: matching(message) });
    }
    for (const text of [good.slice(0, good.lastIndexOf('[')), good.replace('"2-17"]', '"2-17"')]) {
      disk.put(chunkPath(1), Buffer.from(text));
      const damaged = await open(disk);
      await expect(damaged.files(2, 1)).rejects.toMatchObject({
        code: 'JOURNAL_CORRUPT',
        message: matching(/chunk-000001/),
      });
      disk.put(chunkPath(1), Buffer.from(good));
      expect(await damaged.files(2, 1)).toEqual(page(2, 1));
    }
  });
});
