/** Large inputs are looked at in threads: compiled files, hence here and not with the unit tests. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InputFile } from '../../common/core/input.ts';
import { listInput } from '../../coordinator/input/list-input.ts';
import { statFiles } from '../../coordinator/input/stat-files.ts';
import { StatThreads } from '../../coordinator/input/stat-threads.ts';

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
});
