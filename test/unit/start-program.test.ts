import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startProgram } from '../../common/io/start-program.ts';

/** Programs say here what they do. */
const said = globalThis as { programSaid?: unknown[] };
let dir = '';

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-program-'));
  said.programSaid = [];
  write('main.cjs', "const { word } = require('./word.cjs'); globalThis.programSaid.push(word());");
  write('word.cjs', '"use strict"; exports.word = () => "one";');
});

afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
  delete said.programSaid;
});

function write(name: string, text: string): void {
  writeFileSync(join(dir, name), text);
}

/** From start to end of a process. */
function run(): void {
  const ends: (() => void)[] = [];
  startProgram(pathToFileURL(join(dir, 'start.js')).href, 'main.cjs', (end) => ends.push(end));
  ends.forEach((end) => end());
}

const kept = (): readonly string[] => readdirSync(dir).filter((name) => !name.endsWith('.cjs'));

/** Those that `body` has written. */
function written(body: () => void): readonly string[] {
  for (const name of kept()) utimesSync(join(dir, name), 0, 0);
  body();
  return kept().filter((name) => statSync(join(dir, name)).mtimeMs > 0);
}

test('the code of each module is kept once, and taken then', () => {
  expect(written(run).map((name) => name.replace(/\.[0-9a-f]+\./, '.….'))).toEqual([
    'main.cjs.….code',
    'word.cjs.….code',
  ]);
  expect(written(run)).toEqual([]);
  expect(said.programSaid).toEqual(['one', 'one']);
});

test('code of another text is not taken, though it is as long', () => {
  run();
  write('word.cjs', '"use strict"; exports.word = () => "two";');
  expect(written(run)).toEqual([expect.stringContaining('word.cjs')]);
  expect(said.programSaid).toEqual(['one', 'two']);
});

test('damaged code is not taken, wherever the damage is, and is made anew', () => {
  run();
  const [name = ''] = kept();
  const whole = readFileSync(join(dir, name));
  const lengths = [0, 7, 8, 9, whole.length >> 1, whole.length - 1];
  const damaged = lengths.map((length) => whole.subarray(0, length));
  for (const at of [0, 4, 8, 20, whole.length >> 1, whole.length - 1]) {
    const flipped = Buffer.from(whole);
    flipped.writeUInt8(flipped.readUInt8(at) ^ 0x10, at);
    damaged.push(flipped);
  }
  for (const bytes of damaged) {
    writeFileSync(join(dir, name), bytes);
    expect(written(run)).toEqual([name]);
  }
  expect(said.programSaid).toHaveLength(1 + damaged.length);
});

test('where nothing may be written it runs all the same', () => {
  const ends: (() => void)[] = [];
  startProgram(pathToFileURL(join(dir, 'start.js')).href, 'main.cjs', (end) => ends.push(end));
  // As for somebody who may not write there, also when the test runs as root.
  rmSync(dir, { recursive: true });
  ends.forEach((end) => end());
  expect(said.programSaid).toEqual(['one']);
});

test('what a module throws is thrown, and the stack names its file', () => {
  write('word.cjs', 'throw new Error("no word");');
  let stack = '';
  try {
    run();
  } catch (error) {
    stack = (error as Error).stack ?? '';
  }
  expect(stack).toContain(join(dir, 'word.cjs'));
});
