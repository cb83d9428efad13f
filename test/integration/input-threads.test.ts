/** Large inputs are looked at in threads: compiled files, hence here and not with the unit tests. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InputFile } from '../../common/core/input.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { listInput } from '../../coordinator/input/list-input.ts';
import { readInThread } from '../../coordinator/input/list-thread.ts';
import { statFiles } from '../../coordinator/input/stat-files.ts';
import { StatThreads } from '../../coordinator/input/stat-threads.ts';
import { failing } from '../helpers/failing.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-threads-'));
  await mkdir(join(dir, 'sub'));
  await symlink('nowhere', join(dir, 'dangling'));
  for (let index = 0; index < 60; index += 1)
    await writeFile(join(dir, index % 2 === 0 ? '.' : 'sub', `f${index}`), 'x'.repeat(index));
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

async function list(pool?: typeof statFiles): Promise<readonly InputFile[]> {
  const files: InputFile[] = [];
  const options = { recursive: true, pageFilesMax: 5, ...(pool ? { statFiles: pool } : {}) };
  for await (const page of listInput(dir, options)) files.push(...page);
  return files;
}

describe('listing threads', () => {
  it('find what the thread pool finds, in the same order', async () => {
    const files = await list();
    expect(files.length).toBe(61);
    expect(files).toEqual(await list(statFiles));
  });

  it('are kept for the next listing, which has them to itself, unless they are of no use', async () => {
    await list();
    const own = StatThreads.takeKept();
    if (own === null) throw new Error('a listing of 13 pages has left no threads');
    expect(StatThreads.takeKept()).toBe(null);
    await own.release();
    await list();
    expect(StatThreads.takeKept()).toBe(own);
    // What nobody waits for any more ends them, and they are not given to anybody.
    own.look(dir, ['f2']).catch(() => undefined);
    await own.release();
    expect(StatThreads.takeKept()).toBe(null);
    await expect(own.look(dir, ['f2'])).rejects.toThrow(/ended/);
  });

  it('answer each request, and end what waits when they are closed', async () => {
    const threads = StatThreads.start();
    if (threads === null) throw new Error('the package is not built: run `npm run build` first');
    const paths = (await list(statFiles)).map((file) => file.path);
    const answers = await Promise.all([
      threads.look(dir, paths),
      threads.look(dir, ['f2', 'gone']),
      threads.look(dir, []),
    ]);
    expect(answers[0]).toEqual(await statFiles(dir, paths));
    expect(answers[1]?.map((file) => file.sizeBytes)).toEqual([2, 0]);
    expect(answers[2]).toEqual([]);
    const waiting = expect(
      threads.look(dir, paths.concat(...Array.from({ length: 500 }, () => paths))),
    ).rejects.toThrow(/ended/);
    await threads.close();
    await waiting;
    await expect(threads.look(dir, paths)).rejects.toThrow(/ended/);
  });

  it.each([
    { disk: 'a local disk', lookMs: 10_000, threads: 1 },
    { disk: 'a slow mount', lookMs: 0, threads: 3 },
  ])('are $threads for $disk, as long as pages wait', async ({ lookMs, threads: count }) => {
    const threads = StatThreads.start(lookMs);
    if (threads === null) throw new Error('the package is not built: run `npm run build` first');
    const pages = Array.from({ length: 8 }, () => threads.look(dir, ['f2', 'f4']));
    const found = await Promise.all(pages);
    expect(threads.count).toBe(count);
    expect(found.every((page) => page[1]?.sizeBytes === 4)).toBe(true);
    await threads.close();
  });
});

describe('the thread that reads a Parquet list', () => {
  async function read(path: string, blockMsMax?: number): Promise<readonly string[]> {
    const blocks = readInThread({ path, column: 'path', identity: null }, blockMsMax);
    if (blocks === null) throw new Error('the package is not built: run `npm run build` first');
    const paths: string[] = [];
    for await (const block of blocks) paths.push(...block.paths);
    return paths;
  }

  it('gives all blocks, and what is wrong by its code', async () => {
    const path = join(dir, 'list.parquet');
    const data = Array.from({ length: 10 }, (_, index) => `f${index}`);
    const columnData = [{ name: 'path', data, type: 'STRING' as const }];
    await writeFile(path, Buffer.from(parquetWriteBuffer({ columnData, rowGroupSize: 3 })));
    expect(await read(path)).toEqual(data);
    await writeFile(path, 'PAR1, and nothing of it');
    await expect(read(path)).rejects.toThrow(failing('INPUT_LIST_INVALID', 'is no Parquet that can be decoded'));
    await expect(read(join(dir, 'gone.parquet'))).rejects.toThrow(failing('INPUT_UNREADABLE', 'gone.parquet'));
  });

  it('is given up when the decoder does not end', async () => {
    const path = packageFile('test', 'fixtures', 'lists', 'endless.parquet');
    await expect(read(path, 3_000)).rejects.toThrow(
      failing('INPUT_LIST_INVALID', 'endless.parquet: a part of it cannot be decoded in 3 s'),
    );
  });
});
