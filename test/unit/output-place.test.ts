import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { placeKey, refuseOutputInInput } from '../../coordinator/output/output-place.ts';
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

test('a link in the input leads to what it stands for', async () => {
  await mkdir(join(dir, 'elsewhere', 'deep'), { recursive: true });
  await symlink(join(dir, 'elsewhere'), join(dir, 'in', 'linked'));
  await symlink(join(dir, 'nowhere'), join(dir, 'in', 'broken'));
  for (const output of ['elsewhere', 'elsewhere/deep', 'elsewhere/new']) {
    await expect(check('in', output)).rejects.toMatchObject(failing('OUTPUT_IN_INPUT', 'lies in the input folder'));
    await expect(check('in', output, false)).resolves.toBeUndefined();
  }
  await expect(check('in', 'elsewhere-2')).resolves.toBeUndefined();
  await expect(check('in', 'elsewhere/_out')).resolves.toBeUndefined();
});

test('a job that stays in the folder itself may write below it, and not into it', async () => {
  await expect(check('in', 'in/out', false)).resolves.toBeUndefined();
  await expect(check('in', 'in', false)).rejects.toMatchObject(failing('OUTPUT_IN_INPUT', 'itself'));
});

const account = { AZURE_STORAGE_ACCOUNT: 'acc', AZURE_STORAGE_KEY: 'a2V5' };

test.each([
  ['s3://bucket/out', 's3://bucket/out/'],
  ['s3://bucket', 's3://bucket/'],
  ['wasbs://con@acc.blob.core.windows.net/out', 'https://acc.blob.core.windows.net/con/out'],
  ['abfss://con@acc.dfs.core.windows.net/a b', 'https://acc.blob.core.windows.net/con/a%20b/'],
  ['az://con/out', 'https://acc.dfs.core.windows.net/con/out'],
  ['http://acc.blob.core.windows.net/con/out', 'https://acc.blob.core.windows.net/con/out'],
])('%s and %s are one place', (one, other) => {
  expect(placeKey(one, account)).toBe(placeKey(other, account));
});

test.each([
  ['s3://bucket/out', 's3://bucket/out-2'],
  ['s3://bucket/out', 'gs://bucket/out'],
  ['az://con/out', 'https://other.blob.core.windows.net/con/out'],
  ['/out', 's3://bucket/out'],
])('%s and %s are two', (one, other) => {
  expect(placeKey(one, account)).not.toBe(placeKey(other, account));
});

test('an account that nothing names makes no two places one', () => {
  expect(placeKey('az://con/out', {})).toBe(placeKey('az://con/out/', {}));
  expect(placeKey('az://con/out', {})).not.toBe(placeKey('az://con/other', {}));
});

test('a container that is written in two ways is one input', async () => {
  const places = { inputPath: 'wasbs://con@acc.blob.core.windows.net/in', isRecursive: true };
  const out = (outputDir: string): Promise<void> => refuseOutputInInput({ ...places, outputDir });
  for (const scheme of ['https://acc.blob.core.windows.net/con', 'abfss://con@acc.dfs.core.windows.net']) {
    await expect(out(`${scheme}/in/out`)).rejects.toMatchObject(failing('OUTPUT_IN_INPUT', 'lies in the input folder'));
    await expect(out(`${scheme}/in/`)).rejects.toMatchObject(failing('OUTPUT_IN_INPUT', 'itself'));
    await expect(out(`${scheme}/in-2`)).resolves.toBeUndefined();
  }
});
