/** Parts of tables on a worker node: in place nothing is copied; else what a part needs comes, and lies at its own place. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { jobName } from '../../common/core/ids.ts';
import type { InputFile } from '../../common/core/input.ts';
import { partOf } from '../../common/core/split.ts';
import { readRecords } from '../../worker/scorers/csv-records.ts';
import type { BulkSource, InputRequest } from '../../worker/staging/bulk-source.ts';
import { InputStager } from '../../worker/staging/input-stager.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-split-staging-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const rows = 60_000;
const text = `a,b\n${Array.from({ length: rows }, (_, i) => `${i},"${'x\n'.repeat(i % 5)}"\n`).join('')}`;
const parts = 4;

/** What a coordinator has; counts what it sends, and breaks off now and then. */
class Elsewhere implements BulkSource {
  sent = 0;
  readonly asked: (readonly [begin: number, end: number])[] = [];
  breakAfter = Infinity;

  artifact(): AsyncIterable<Uint8Array> {
    throw new BatchError('ARTIFACT_NOT_FOUND', 'none');
  }

  async *input({ end = text.length }: InputRequest, offset: number): AsyncGenerator<Uint8Array, void, void> {
    this.asked.push([offset, end]);
    const bytes = Buffer.from(text);
    for (let at = offset; at < end; at += 10_000) {
      if (at - offset >= this.breakAfter) throw new BatchError('COORDINATOR_UNREACHABLE', 'broken');
      const piece = bytes.subarray(at, Math.min(end, at + 10_000));
      this.sent += piece.length;
      yield await Promise.resolve(piece);
    }
  }
}

const whole = (identity: string): InputFile => ({ path: 'sub/big.csv', sizeBytes: text.length, identity });

async function stage(stager: InputStager, files: readonly InputFile[], name = 'staged') {
  const signal = new AbortController().signal;
  const request = { job: jobName('j'), inputRoot: join(dir, 'in'), reader: 'onnx' as const, first: 0 };
  return await stager.stage({ ...request, files, dir: join(dir, name), signalOf: () => signal });
}

async function firstCells(file: HostFile): Promise<readonly string[]> {
  const found: string[] = [];
  const { part } = file;
  const range = part?.kind === 'text' ? part : undefined;
  for await (const _ of readRecords(file, ',', ([cell = '']) => void found.push(cell), range));
  return found;
}

const all = Array.from({ length: rows }, (_, i) => String(i));

it('in place: the file itself, and where its rows are', async () => {
  const path = join(dir, 'in', 'sub', 'big.csv');
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text);
  const { size, mtimeNs } = statSync(path, { bigint: true });
  const source = new Elsewhere();
  const stager = new InputStager({ source, delay: async () => undefined });
  const file = whole(`${size}-${mtimeNs}`);
  const staged = await stage(
    stager,
    Array.from({ length: parts }, (_, i) => partOf(file, i, parts)),
  );
  expect(staged.files.map((one) => one.path)).toEqual(Array.from({ length: parts }, () => path));
  expect(source.asked).toEqual([]);
  expect(existsSync(join(dir, 'staged'))).toBe(false);
  const found = await Promise.all(staged.files.map(firstCells));
  expect(found.flat()).toEqual(all);
  expect(staged.files.map(({ part }) => part?.row)).toEqual(
    found.map((_, i) => found.slice(0, i).reduce((sum, one) => sum + one.length, 0)),
  );
});

it('elsewhere: what lies before a part comes once, nothing behind it, and only its rows are stored', async () => {
  const source = new Elsewhere();
  const stager = new InputStager({ source, delay: async () => undefined });
  const file = whole('1-1');
  const second = await stage(stager, [partOf(file, 1, parts)], 'second');
  const [one] = second.files;
  expect(source.sent).toBeLessThan(text.length / 2 + 3 * 65_536);
  const copy = readFileSync(one?.path ?? '');
  const part = one?.part;
  if (part?.kind !== 'text') throw new Error('rows of text were asked for');
  expect(copy.length).toBe(text.length);
  expect(copy.subarray(part.begin, part.end).toString()).toBe(text.slice(part.begin, part.end));
  expect(copy.subarray(0, part.head).toString()).toBe(text.slice(0, part.head));
  expect(copy.subarray(part.head, part.begin).every((byte) => byte === 0)).toBe(true);
  expect(copy.subarray(part.end).every((byte) => byte === 0)).toBe(true);

  const before = source.sent;
  const third = await stage(stager, [partOf(file, 2, parts)], 'third');
  expect(source.sent - before).toBeLessThan(text.length / 4 + 2 * 65_536);
  const found = [...(await firstCells(one as HostFile)), ...(await firstCells(third.files[0] as HostFile))];
  const from = part.row;
  expect(found).toEqual(all.slice(from, from + found.length));
  await second.release?.();
  expect(existsSync(join(dir, 'second'))).toBe(false);
});

it('elsewhere: parts of one file in one mini-batch, through connections that break', async () => {
  const source = new Elsewhere();
  source.breakAfter = 70_000;
  const stager = new InputStager({ source, delay: async () => undefined });
  const staged = await stage(
    stager,
    Array.from({ length: parts }, (_, i) => partOf(whole('1-1'), i, parts)),
  );
  expect(staged.failed).toEqual([]);
  expect(new Set(staged.files.map(({ path }) => path)).size).toBe(parts);
  expect((await Promise.all(staged.files.map(firstCells))).flat()).toEqual(all);
});

it('a file that has become shorter is told as changed', async () => {
  const stager = new InputStager({ source: new Elsewhere(), delay: async () => undefined });
  const longer = { ...whole('1-1'), sizeBytes: text.length + 5_000 };
  const staged = await stage(stager, [partOf(longer, 3, parts)]);
  expect(staged.files).toEqual([]);
  expect(staged.failed).toEqual([expect.objectContaining({ index: 0, code: 'INPUT_CHANGED' })]);
});
