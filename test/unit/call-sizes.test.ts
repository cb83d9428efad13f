/** Sizes of calls that outlive the process, in a file that may be damaged. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { CallSizes } from '../../worker/devices/call-sizes.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

const one = { model: 'm', code: null, device: 'a100' };
const other = { ...one, device: 'h100' };

let folder: TempFolder;
let warned: string[];
beforeEach(() => {
  folder = new TempFolder();
  warned = [];
});
afterEach(() => folder.remove());

function open(path = join(folder.path, 'call-sizes.json')): CallSizes {
  return new CallSizes(path, { warn: (message) => void warned.push(message) });
}

it('are found again by the next process, each by model, code and device', async () => {
  const sizes = open();
  await Promise.all([sizes.learn(one, 8), sizes.learn(other, 32), sizes.learn(one, 4)]);
  expect(await Promise.all([open().find(one), open().find(other), open().find({ ...one, model: null })])).toEqual([
    4,
    32,
    null,
  ]);
  expect(warned).toEqual([]);
});

it.each(['{', '{"version":2,"sizes":{}}', '{"version":1,"sizes":{"m - a100":-1}}'])(
  'are found anew where the file is damaged: %s',
  async (text) => {
    const path = join(folder.path, 'call-sizes.json');
    writeFileSync(path, text);
    expect(await open().find(one)).toBeNull();
    expect(warned).toEqual(['sizes of calls cannot be read, and are found anew']);
    await open().learn(one, 2);
    expect([await open().find(one), readFileSync(path, 'utf8')]).toEqual([2, '{"version":1,"sizes":{"m - a100":2}}\n']);
  },
);

it('are not kept where nobody can write, and nothing fails', async () => {
  writeFileSync(join(folder.path, 'file'), '');
  await open(join(folder.path, 'file', 'call-sizes.json')).learn(one, 2);
  expect(warned.at(-1)).toBe('the size of calls cannot be kept');
});
