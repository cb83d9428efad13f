import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { refuseOutputInInput } from '../../coordinator/output/output-place.ts';
import { failing } from '../helpers/failing.ts';

let dir = '';
beforeEach(async () => {
  dir = await realpath(await mkdtemp(join(tmpdir(), 'batchmill-place-')));
  await mkdir(join(dir, 'in', 'sub'), { recursive: true });
  await writeFile(join(dir, 'in', 'one.txt'), '');
  await symlink(join(dir, 'in'), join(dir, 'link'));
});
afterEach(async () => await rm(dir, { recursive: true, force: true }));

const check = (input: string, output: string, isRecursive = true): Promise<void> =>
  refuseOutputInInput({ inputPath: join(dir, input), outputDir: join(dir, output), isRecursive });

test.each([
  ['in', 'in', 'is the input folder itself'],
  ['in', 'link', 'is the input folder itself'],
  ['link', 'in/sub', 'lies in the input folder'],
  ['in', 'in/new/deep', 'lies in the input folder'],
  ['in', 'link/new', 'lies in the input folder'],
  ['.', 'out', 'lies in the input folder'],
])('the input %s does not take its own output %s', async (input, output, text) => {
  await expect(check(input, output)).rejects.toMatchObject(failing('OUTPUT_IN_INPUT', text));
});

test.each([
  ['in', 'out'],
  ['in', 'in-results'],
  ['in', '..'],
  ['in/sub', 'in'],
  ['in/one.txt', 'in'],
  ['in', 'in/_out/today'],
  ['in', 'in/.out'],
])('beside the input %s, or where no listing looks, %s is fine', async (input, output) => {
  await expect(check(input, output)).resolves.toBeUndefined();
});

test('a job that stays in the folder itself may write below it, and not into it', async () => {
  await expect(check('in', 'in/out', false)).resolves.toBeUndefined();
  await expect(check('in', 'in', false)).rejects.toMatchObject(failing('OUTPUT_IN_INPUT', 'itself'));
});
