import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errnoOf } from '../../common/io/errno.ts';
import { makeFolder } from '../../common/io/make-folder.ts';
import { prepareOutputDir } from '../../coordinator/output/output-dir.ts';
import { matching } from '../helpers/matching.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

let folder: TempFolder;
beforeEach(() => (folder = new TempFolder()));
afterEach(() => folder.remove());

const failureOf = async (path: string): Promise<string> => await makeFolder(path).then(() => 'none', errnoOf);

test('makes what is missing above it, with the mode that is asked for, and is content with what is there', async () => {
  const path = join(folder.path, 'a', 'b', 'c');
  await makeFolder(path, 0o700);
  expect(['a', 'a/b', 'a/b/c'].map((name) => statSync(join(folder.path, name)).mode & 0o777)).toEqual([
    0o700, 0o700, 0o700,
  ]);
  await makeFolder(path);
  expect(statSync(path).mode & 0o777).toBe(0o700);
  await makeFolder('/');
});

test('many at once make the same folders', async () => {
  const path = join(folder.path, 'x', 'y', 'z');
  await Promise.all(Array.from({ length: 20 }, (_, index) => makeFolder(join(path, String(index % 3)))));
  expect(statSync(join(path, '2')).isDirectory()).toBe(true);
});

test('a file in the way is said, and stays', async () => {
  writeFileSync(join(folder.path, 'file'), 'x');
  mkdirSync(join(folder.path, 'dir'));
  expect(await failureOf(join(folder.path, 'file'))).toBe('EEXIST');
  expect(await failureOf(join(folder.path, 'file', 'below'))).toBe('ENOTDIR');
});

test('where no folder can be made although the one above is there, it ends', async () => {
  expect(await failureOf('/proc/batchmill/out')).toBe('ENOENT');
  const prepared = prepareOutputDir({ dir: '/proc/batchmill/out', isOverwrite: false, outputFileName: null });
  await expect(prepared).rejects.toMatchObject({
    code: 'STATE_UNWRITABLE',
    message: matching(/^the output folder \/proc\/batchmill\/out cannot be used: ENOENT/),
  });
});
