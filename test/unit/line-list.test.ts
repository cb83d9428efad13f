/** Lists in an output folder, a line of JSON for each entry. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import * as z from 'zod';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { readLineList, replaceLineList } from '../../coordinator/output/line-list.ts';
import { failing } from '../helpers/failing.ts';

const shape = z.object({ path: z.string() });
let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-line-list-'));
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

it('is replaced as a whole, and leaves no temporary file behind', async () => {
  const path = join(dir, 'list.jsonl');
  expect(await readLineList(nodeFileSystem, path, shape)).toEqual([]);
  await replaceLineList(nodeFileSystem, path, [{ path: 'a' }, { path: 'b\nc' }]);
  await replaceLineList(nodeFileSystem, path, [{ path: 'b\nc' }]);
  expect(await readLineList(nodeFileSystem, path, shape)).toEqual([{ path: 'b\nc' }]);
  expect(await readdir(dir)).toEqual(['list.jsonl']);
});

it.each(['{"path":', '{"path": 1}', 'null', 'nonsense'])('says which line has been damaged: %s', async (line) => {
  const path = join(dir, 'list.jsonl');
  await writeFile(path, `{"path":"a"}\n${line}\n`);
  await expect(readLineList(nodeFileSystem, path, shape)).rejects.toThrow(
    failing('OUTPUT_CORRUPT', `line 2 of ${path}`),
  );
});
