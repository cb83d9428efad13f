import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetMetadata, type AsyncBuffer, type FileMetaData } from 'hyparquet';
import { parquetWriteFile } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { readParquetBlocks } from '../../worker/scorers/parquet-blocks.ts';
import { ParquetNumbers } from '../../worker/scorers/parquet-numbers.ts';

let dir = '';
let path = '';
const rows = limits.parquetNumbersMin / 2;
const few = 1_000;
const numbers = {
  single: Float32Array.from({ length: rows + few }, (_, i) => i / 7),
  double: Float64Array.from({ length: rows + few }, (_, i) => -i / 3),
  whole: Int32Array.from({ length: rows + few }, (_, i) => i - 5),
  gaps: Array.from({ length: rows + few }, (_, i) => (i % 3 === 0 ? null : i / 2)),
  wide: BigInt64Array.from({ length: rows + few }, (_, i) => BigInt(i) << 20n),
};
const names = Object.keys(numbers) as (keyof typeof numbers)[];

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-parquet-'));
  path = join(dir, 'in.parquet');
  const types = { single: 'FLOAT', double: 'DOUBLE', whole: 'INT32', gaps: 'DOUBLE', wide: 'INT64' } as const;
  const columnData = names.map((name) => ({ name, data: numbers[name], type: types[name] }));
  parquetWriteFile({ filename: path, columnData, rowGroupSize: rows });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Where two columns differ first; the matchers of the tests take seconds for so many values. */
function firstOther(found: ArrayLike<unknown>, wanted: ArrayLike<unknown>): number | null {
  if (found.length !== wanted.length) return Math.min(found.length, wanted.length);
  for (let i = 0; i < wanted.length; i += 1) if (!Object.is(found[i], wanted[i])) return i;
  return null;
}

interface Opened {
  readonly buffer: AsyncBuffer;
  readonly metadata: FileMetaData;
  readonly reads: (readonly [number, number | undefined])[];
}

function opened(change: (bytes: Uint8Array) => void = () => undefined): Opened {
  const file = readFileSync(path);
  const bytes = new Uint8Array(file);
  const metadata = parquetMetadata(bytes.buffer);
  change(bytes);
  const reads: [number, number | undefined][] = [];
  const slice = async (begin: number, end?: number): Promise<ArrayBuffer> => {
    reads.push([begin, end]);
    return await Promise.resolve(bytes.buffer.slice(begin, end));
  };
  return { buffer: { byteLength: bytes.length, slice }, metadata, reads };
}

describe('columns of plain numbers', () => {
  it('are typed arrays, or values where some are missing', async () => {
    const { buffer, metadata, reads } = opened();
    const file = new ParquetNumbers(buffer, metadata);
    const found = await file.columns(0, names);
    expect(firstOther(found?.get('single') ?? [], numbers.single.slice(0, rows))).toBeNull();
    expect(firstOther(found?.get('double') ?? [], numbers.double.slice(0, rows))).toBeNull();
    expect(firstOther(found?.get('whole') ?? [], numbers.whole.slice(0, rows))).toBeNull();
    expect(firstOther(found?.get('wide') ?? [], numbers.wide.slice(0, rows))).toBeNull();
    expect(firstOther(found?.get('gaps') ?? [], numbers.gaps.slice(0, rows))).toBeNull();
    // Each column once, and nothing beside them.
    expect(reads).toHaveLength(names.length);
    const bytes = reads.reduce((sum, [begin, end = Infinity]) => sum + end - begin, 0);
    expect(bytes).toBeLessThan(buffer.byteLength);
  });

  it('of a small group are left to the other reader, and nothing is read for it', async () => {
    const { buffer, metadata, reads } = opened();
    const file = new ParquetNumbers(buffer, metadata);
    expect(await file.columns(1, names)).toBeNull();
    expect(await file.columns(0, ['single'])).toBeNull();
    expect(reads).toEqual([]);
  });

  it('that are broken are left to the other reader, and so is the rest of the file', async () => {
    const broken = opened((bytes) => bytes.fill(0xff, 4, bytes.length - 5_000));
    const file = new ParquetNumbers(broken.buffer, broken.metadata);
    expect(await file.columns(0, names)).toBeNull();
    const { length } = broken.reads;
    expect(await file.columns(0, names)).toBeNull();
    expect(broken.reads).toHaveLength(length);
    const other = opened();
    expect(await new ParquetNumbers(other.buffer, other.metadata).columns(0, names)).not.toBeNull();
  });

  it('are left to it where the file cannot be read', async () => {
    const { buffer, metadata } = opened();
    const slice = (): Promise<ArrayBuffer> => Promise.reject(new Error('the disk is gone'));
    expect(await new ParquetNumbers({ ...buffer, slice }, metadata).columns(0, names)).toBeNull();
  });
});

describe('a file', () => {
  it('has the same rows whichever reader has them', async () => {
    const found = Object.fromEntries(names.map((name) => [name, [] as unknown[]]));
    const begins: string[] = [];
    for await (const block of readParquetBlocks({ path, name: 'in.parquet' }, { fed: names, carried: [] })) {
      begins.push(block.place(0));
      for (const name of names) found[name]?.push(...Array.from(block.column(name)));
    }
    expect(begins).toEqual(['row 0', `row ${rows}`]);
    for (const name of names) expect(firstOther(found[name] ?? [], numbers[name])).toBeNull();
  });

  it('that is broken fails with the words of the other reader', async () => {
    const bytes = readFileSync(path);
    const broken = join(dir, 'broken.parquet');
    writeFileSync(broken, bytes.fill(0xff, 4, 100_000));
    const walk = async (): Promise<void> => {
      for await (const _ of readParquetBlocks({ path: broken, name: 'b.parquet' }, { fed: names, carried: [] }));
    };
    await expect(walk()).rejects.toThrow(/b\.parquet is no Parquet file that can be decoded/);
  });
});
