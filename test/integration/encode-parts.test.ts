/** Parts of an output as pyarrow, DuckDB, pandas, hyparquet and parquetjs-lite read them. */
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { EncodeBench, encodeScorerOf, partsOf } from '../helpers/encode-bench.ts';
import { failing } from '../helpers/failing.ts';
import { openNodeHostBench } from '../helpers/node-host.ts';
import { testPython } from '../helpers/python.ts';

let bench: EncodeBench;
beforeAll(() => {
  bench = new EncodeBench();
});
afterAll(() => bench.close());

describe('Parquet', () => {
  it('has the rows and types of the stream, in row groups of the wanted size', async () => {
    const encoded = await bench.encode(
      'types.arrows',
      'predictions.parquet',
      { rowGroupRows: 250 },
      { 'batchmill.job': 'jö' },
    );
    expect(encoded.parts).toEqual([{ path: 'predictions.parquet', rows: 700, bytes: expect.any(Number) as number }]);
    expect(bench.look('types.arrows', 'parquet', encoded)).toEqual({
      rows: [700],
      groups: [[250, 250, 200]],
      metadata: [{ 'batchmill.job': 'jö' }],
      codec: 'SNAPPY',
      duckdb: 700,
      pandas: 700,
    });
  });

  it.each([
    ['zstd', 'ZSTD'],
    ['none', 'UNCOMPRESSED'],
  ] as const)('is compressed with %s', async (compression, codec) => {
    const encoded = await bench.encode('types.arrows', 'p.parquet', { compression });
    expect(bench.look('types.arrows', 'parquet', encoded)).toMatchObject({ rows: [700], codec, groups: [[700]] });
  });

  it('of no rows has the columns', async () => {
    const encoded = await bench.encode('empty.arrows', 'predictions.parquet', {});
    expect(encoded.parts).toMatchObject([{ path: 'predictions.parquet', rows: 0 }]);
    expect(bench.look('empty.arrows', 'parquet', encoded)).toMatchObject({ rows: [0], duckdb: 0, pandas: 0 });
  });

  it('is cut into files of so many rows, within record batches', async () => {
    const encoded = await bench.encode('types.arrows', 'part-00003.parquet', { fileRows: 130 });
    expect(encoded.parts.map(({ path, rows }) => [path, rows])).toEqual([
      ['part-00003.parquet', 130],
      ...[1, 2, 3, 4].map((i) => [`part-00003_000${i}.parquet`, 130]),
      ['part-00003_0005.parquet', 50],
    ]);
    expect(bench.look('types.arrows', 'parquet', encoded)).toMatchObject({
      rows: [130, 130, 130, 130, 130, 50],
      duckdb: 700,
    });
  });

  it('is read by hyparquet', async () => {
    const { files } = await bench.encode('types.arrows', 'p.parquet', { compression: 'zstd' });
    const columns = ['id', 'truth', 'u64', 'half', 'single', 'double', 'text', 'large', 'list', 'struct'];
    const bytes = readFileSync(files[0] as string);
    const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
    const rows = await parquetReadObjects({ file, compressors, columns: columns.filter((name) => name !== 'large') });
    expect(rows).toHaveLength(700);
    expect(rows[1]).toMatchObject({
      id: 2n ** 53n + 1n,
      truth: null,
      u64: 2n ** 63n,
      half: Infinity,
      text: 'ä — 漢字 🙂',
      list: [],
    });
    expect(rows[0]).toMatchObject({ u64: 2n ** 64n - 1n, text: '', list: [1.5, null], struct: { a: 1n, b: ['x'] } });
    expect([rows[2]?.['half'], rows[4]?.['double']]).toEqual([NaN, NaN]);
  });

  it('has a footer and plain pages that parquetjs-lite reads, which knows no dictionaries', async () => {
    const { files } = await bench.encode('odd.arrows', 'p.parquet', {}, { job: 'a' });
    const { ParquetReader } = createRequire(import.meta.url)('parquetjs-lite') as {
      readonly ParquetReader: { openFile(path: string): Promise<LiteReader> };
    };
    const reader = await ParquetReader.openFile(files[0] as string);
    const cursor = reader.getCursor([['flag']]);
    const rows: unknown[] = [];
    for (let row = await cursor.next(); row !== null; row = await cursor.next()) rows.push(row['flag']);
    expect([Number(reader.getRowCount()), reader.getMetadata()]).toMatchObject([4_000, { job: 'a' }]);
    expect(Object.keys(reader.getSchema().schema)).toEqual(['id', 'odd', 'text', 'day', 'flag', 'small']);
    await reader.close();
    expect(rows).toEqual(Array.from({ length: 4_000 }, (_, i) => i % 2 === 0));
  });
});

interface LiteReader {
  getCursor(columns: readonly (readonly string[])[]): { next(): Promise<Record<string, unknown> | null> };
  getRowCount(): unknown;
  getMetadata(): unknown;
  getSchema(): { readonly schema: object };
  close(): Promise<void>;
}

describe.each(['arrow', 'arrow_file'] as const)('%s', (format) => {
  it('has the rows and types of the stream, in record batches put together', async () => {
    const encoded = await bench.encode('types.arrows', 'predictions.x', { format, rowGroupRows: 250 }, { job: 'a' });
    expect(bench.look('types.arrows', format, encoded)).toEqual({
      rows: [700],
      groups: [[250, 250, 200]],
      metadata: [{ job: 'a' }],
    });
  });

  it('of no rows has the columns', async () => {
    expect(bench.look('empty.arrows', format, await bench.encode('empty.arrows', 'p.x', { format }))).toMatchObject({
      rows: [0],
    });
  });

  it('is cut into files of so many rows', async () => {
    const encoded = await bench.encode('types.arrows', 'p.x', { format, fileRows: 300, rowGroupRows: 1_000 });
    expect(bench.look('types.arrows', format, encoded)).toMatchObject({
      rows: [300, 300, 100],
      groups: [[300], [300], [100]],
    });
  });
});

describe('partitions', () => {
  it('of odd values are read back by pyarrow, DuckDB and pandas', async () => {
    const encoded = await bench.encode('odd.arrows', 'part-00000.parquet', { partitionBy: ['odd'] });
    expect(bench.lookHive('odd.arrows', encoded, 'odd')).toEqual({ rows: 4_000, files: 15 });
    expect(encoded.parts.slice(0, 3).map(({ path, rows }) => [path, rows])).toEqual([
      ['odd=a%2Fb/part-00000.parquet', 250],
      ['odd=ä/part-00000.parquet', 250],
      ['odd=x%3Dy/part-00000.parquet', 250],
    ]);
    // Null and a text of no characters have one folder.
    expect(encoded.parts.find(({ path }) => path.startsWith('odd=__HIVE'))?.rows).toBe(500);
  });

  it('of several columns lie within one another, in files of so many rows', async () => {
    const partitionBy = ['day', 'flag', 'small', 'odd'];
    const encoded = await bench.encode('odd.arrows', 'part-00001.parquet', { partitionBy, fileRows: 20 });
    expect(bench.lookHive('odd.arrows', encoded, ...partitionBy)).toMatchObject({ rows: 4_000 });
    expect(encoded.parts[0]?.path).toBe('day=2024-02-27/flag=true/small=-1/odd=a%2Fb/part-00001.parquet');
    expect(Math.max(...encoded.parts.map(({ rows }) => rows))).toBe(20);
    expect(encoded.parts.some(({ path }) => path.endsWith('/part-00001_0001.parquet'))).toBe(true);
  });

  it('of Arrow files are read back by pyarrow', async () => {
    const encoded = await bench.encode('odd.arrows', 'part-00000.arrow', {
      format: 'arrow_file',
      partitionBy: ['day', 'odd'],
    });
    expect(bench.lookHive('odd.arrows', encoded, 'day', 'odd')).toMatchObject({ rows: 4_000, files: 45 });
  });

  it('of more rows than stay in memory are put aside, and none is lost', async () => {
    // Wide rows, so that a few make several windows.
    const [rows, batchRows, width] = [1_300, 10, 100_000];
    const path = bench.path('wide.arrows');
    const program =
      `import pyarrow as pa; ` +
      `t = lambda a: pa.table({'id': pa.array(range(a, a + ${batchRows})), 'part': pa.array([i % 1000 for i in range(a, a + ${batchRows})], pa.int32()), 'text': [chr(97 + i % 26) * ${width} for i in range(a, a + ${batchRows})]}); ` +
      `w = pa.ipc.new_stream('${path}', t(0).schema); [w.write_table(t(a)) for a in range(0, ${rows}, ${batchRows})]; w.close()`;
    expect(spawnSync(testPython(), ['-c', program]).status).toBe(0);
    expect(statSync(path).size).toBeGreaterThan(3 * limits.partWindowBytes);
    const encoded = await bench.encode('wide.arrows', 'p.parquet', { partitionBy: ['part'] });
    expect(encoded.parts).toHaveLength(1_000);
    expect(encoded.parts.map(({ rows: count }) => count)).toEqual(
      Array.from({ length: 1_000 }, (_, i) => (i < 300 ? 2 : 1)),
    );
    const check =
      `import pyarrow.dataset as ds; t = ds.dataset('${encoded.dir}', format='parquet', partitioning='hive').to_table().sort_by('id'); ` +
      `assert t['id'].to_pylist() == list(range(${rows})); assert t['part'].to_pylist() == [i % 1000 for i in range(${rows})]; ` +
      `assert all(v == chr(97 + i % 26) * ${width} for i, v in enumerate(t['text'].to_pylist()))`;
    const done = spawnSync(testPython(), ['-c', check]);
    expect([done.status, done.stderr.toString()]).toEqual([0, '']);
  });

  it('of no rows are no files', async () => {
    expect((await bench.encode('empty.arrows', 'p.parquet', { partitionBy: ['id'] })).parts).toEqual([]);
  });

  it.each([
    [['nix'], 'there is no column "nix"; the rows have id, odd, text, day, flag, small'],
    [['id'], 'column "id" has more than 1,024 values in one part of the output'],
    [['odd', 'text'], 'column "text" has more than 1,024 values'],
    [['id', 'odd', 'text', 'day', 'flag', 'small'], 'are all columns of the rows, and the files would have none'],
  ])('by %j are refused', async (partitionBy, text) => {
    await expect(bench.encode('odd.arrows', 'p.parquet', { partitionBy })).rejects.toThrow(
      failing('PARTITION_INVALID', text),
    );
  });

  it.each([
    ['list', 'column "list" is List<Float32>, which names no folder'],
    ['bytes', 'column "bytes" is Binary, which names no folder'],
    ['struct', 'column "struct" is Struct'],
  ])('by a %s are refused', async (column, text) => {
    await expect(bench.encode('types.arrows', 'p.parquet', { partitionBy: [column] })).rejects.toThrow(
      failing('PARTITION_INVALID', text),
    );
  });

  it('by values longer than the name of a folder may be are refused', async () => {
    await expect(bench.encode('types.arrows', 'p.parquet', { partitionBy: ['text'] })).rejects.toThrow(
      failing('PARTITION_INVALID', 'makes a name of 305 bytes for a folder, which may have 255'),
    );
  });
});

it('a scoring host makes parts, and lives on after rows that it could not read', async () => {
  const hosts = openNodeHostBench();
  try {
    const host = await hosts.start(encodeScorerOf({ partitionBy: ['flag'] }), { outputFormat: 'jsonl' });
    expect(host.init).toMatchObject({ kind: 'ready' });
    const path = bench.path('odd.arrows');
    const broken = hosts.file('in/broken.arrows', readFileSync(path).subarray(0, 5_000));
    expect(await host.score([{ ...broken, name: 'part-00000.parquet' }], 1)).toMatchObject({
      kind: 'failed',
      message: { sequence: 1, fileIndex: 0, code: 'OUTPUT_CORRUPT' },
    });
    const answer = await host.score([{ path, name: 'part-00001.parquet' }], 2);
    expect(answer).toMatchObject({ kind: 'done', message: { rows: 2, fileRows: [2], attribution: 'file' } });
    const lines = partsOf(answer.rows);
    expect(lines.map((line) => [line.path, line.rows])).toEqual([
      ['flag=true/part-00001.parquet', 2_000],
      ['flag=false/part-00001.parquet', 2_000],
    ]);
    expect(lines.map((line) => statSync(join(hosts.dir, line.path)).size)).toEqual(lines.map((line) => line.bytes));
  } finally {
    await hosts.close();
  }
});
