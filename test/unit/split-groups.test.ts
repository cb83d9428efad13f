/** Parquet and Arrow files cut at every so many bytes: each group is in one part, and no other bytes are read than its own. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RecordBatch } from 'apache-arrow';
import { Table, tableFromArrays, tableToIPC } from 'apache-arrow';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { readArrowBlocks } from '../../worker/scorers/arrow-blocks.ts';
import { readParquetBlocks } from '../../worker/scorers/parquet-blocks.ts';
import type { BlockReader } from '../../worker/scorers/column-block.ts';
import { GroupTable, type GroupFormat } from '../../worker/staging/group-table.ts';
import type { PartSource } from '../../worker/staging/part-source.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-split-groups-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const count = 90;
const words = Array.from({ length: count }, (_, i) => `word ${i % 7}`);
const numbers = Float64Array.from({ length: count }, (_, i) => i / 4);

function parquet(): Uint8Array {
  return new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: 'word', data: words, type: 'STRING' },
        { name: 'x', data: numbers, type: 'DOUBLE' },
      ],
      rowGroupSize: 11,
    }),
  );
}

/** Words are a dictionary, which every part needs. */
function arrow(form: 'file' | 'stream'): Uint8Array {
  const table = tableFromArrays({ word: words, x: numbers });
  const batches: RecordBatch[] = [];
  for (let first = 0; first < count; first += 11) batches.push(...table.slice(first, first + 11).batches);
  return tableToIPC(new Table(batches), form);
}

interface Counted extends PartSource {
  readonly ranges: [number, number][];
}

function sourceOf(bytes: Uint8Array): Counted {
  const ranges: [number, number][] = [];
  return {
    fileBytes: bytes.length,
    ranges,
    async *read(begin, end) {
      ranges.push([begin, end]);
      yield await Promise.resolve(bytes.subarray(begin, end));
    },
  };
}

async function rowsOf(read: BlockReader, path: string, part?: Parameters<BlockReader>[0]['part']): Promise<unknown[]> {
  const rows: unknown[] = [];
  const file = { path, name: 't', ...(part && { part }) };
  for await (const block of read(file, { fed: null, carried: [] })) {
    for (let i = 0; i < block.rows; i += 1) {
      rows.push([block.place(i), block.column('word')[i], block.column('x')[i]]);
    }
  }
  return rows;
}

const kinds: readonly (readonly [string, GroupFormat, BlockReader, () => Uint8Array])[] = [
  ['Parquet', 'parquet', readParquetBlocks, parquet],
  ['Arrow', 'arrow', readArrowBlocks, () => arrow('file')],
  ['an Arrow stream', 'arrow', readArrowBlocks, () => arrow('stream')],
];

describe.each(kinds)('%s', (name, format, read, make) => {
  it('has each row once in parts of any size, in place and in a copy of what they need', async () => {
    const bytes = make();
    const path = join(dir, `whole-${format}`);
    writeFileSync(path, bytes);
    const whole = await rowsOf(read, path);
    expect(whole.length).toBe(count);
    const sizes = [17, 64, 100, 257, 333, 500, 750, 1_000, 1_500, bytes.length - 1, bytes.length];
    for (const size of sizes) {
      const table = new GroupTable(format, 't');
      const inPlace: unknown[] = [];
      const copied: unknown[] = [];
      for (let begin = 0; begin < bytes.length; begin += size) {
        const part = { begin, end: Math.min(bytes.length, begin + size), fileBytes: bytes.length };
        const copy = Buffer.alloc(bytes.length, 0xee);
        const keep = (piece: Uint8Array, offset: number): Promise<void> => {
          copy.set(piece, offset);
          return Promise.resolve();
        };
        const place = await table.locate(part, sourceOf(bytes), keep);
        inPlace.push(...(await rowsOf(read, path, place ?? undefined)));
        const copyPath = join(dir, 'copy');
        writeFileSync(copyPath, copy);
        copied.push(...(await rowsOf(read, copyPath, place ?? undefined)));
      }
      expect(inPlace, `${name} in parts of ${size}`).toEqual(whole);
      expect(copied, `${name} in copies of parts of ${size}`).toEqual(whole);
    }
  });
});

it('Parquet: of a part, its groups are read and the footer, and the footer once', async () => {
  const column = Array.from({ length: 40_000 }, (_, i) => i / 3);
  const bytes = new Uint8Array(
    parquetWriteBuffer({
      columnData: [{ name: 'x', data: column, type: 'DOUBLE' }],
      rowGroupSize: 4_000,
      codec: 'UNCOMPRESSED',
    }),
  );
  expect(bytes.length).toBeGreaterThan(300_000);
  const table = new GroupTable('parquet', 't');
  const cut = Math.floor(bytes.length / 2);
  const parts = [
    { begin: 0, end: cut, fileBytes: bytes.length },
    { begin: cut, end: bytes.length, fileBytes: bytes.length },
  ];
  let first = true;
  for (const part of parts) {
    const source = sourceOf(bytes);
    let kept = 0;
    const place = await table.locate(part, source, (piece) => Promise.resolve(void (kept += piece.length)));
    expect(place).toMatchObject({ kind: 'groups' });
    const read = source.ranges.reduce((sum, [begin, end]) => sum + end - begin, 0);
    expect(kept).toBeLessThan(0.62 * bytes.length);
    // 64 KiB of the end are asked for at first, to find the footer in.
    expect(read).toBeLessThan(kept + (first ? 65_536 + 4_096 : 1));
    first = false;
  }
});

it('what is neither is told by name', async () => {
  const junk = new Uint8Array(readFileSync(process.execPath).subarray(0, 4_000));
  const part = { begin: 0, end: 2_000, fileBytes: junk.length };
  const error = await new GroupTable('parquet', 'sub/big.parquet')
    .locate(part, sourceOf(junk), null)
    .catch((e: unknown) => e);
  expect(error).toBeInstanceOf(BatchError);
  expect(error).toMatchObject({ code: 'INPUT_DECODE_FAILED' });
  expect((error as BatchError).message).toMatch(/^sub\/big\.parquet is no Parquet file that can be decoded: /);
});
