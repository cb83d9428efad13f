/** Parts of an output that are text, and what becomes of rows that were broken on their way. */
import { readFileSync, writeFileSync } from 'node:fs';
import * as arrow from 'apache-arrow';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PartsForm } from '../../common/core/parts-form.ts';
import { EncodeBench } from '../helpers/encode-bench.ts';
import { failing } from '../helpers/failing.ts';

let bench: EncodeBench;
beforeAll(() => {
  bench = new EncodeBench();
});
afterAll(() => bench.close());

describe('text', () => {
  const csv = 'name,text\n1,"a\nb"\n2,"say ""x"""\n3,\n';

  it('is copied as it is', async () => {
    bench.folder.put({ 'rows.csv': csv, 'rows.jsonl': '{"a":1}\n{"a":2}\n', 'rows.txt': 'a "b\nc\n' });
    const cases = [
      ['rows.csv', { format: 'csv', header: true }, 3],
      ['rows.csv', { format: 'csv', header: false }, 4],
      ['rows.jsonl', { format: 'jsonl' }, 2],
      ['rows.txt', { format: 'azure' }, 2],
    ] as const;
    for (const [input, changes, rows] of cases) {
      const { parts, files } = await bench.encode(input, 'part-00000.txt', changes);
      expect(parts.map((part) => part.rows)).toEqual([rows]);
      expect(readFileSync(files[0] as string)).toEqual(readFileSync(bench.path(input)));
    }
  });

  it('is cut between rows, each file with the header', async () => {
    bench.folder.put({ 'rows.csv': csv });
    const { parts, files } = await bench.encode('rows.csv', 'part-00002.csv', {
      format: 'csv',
      header: true,
      fileRows: 2,
    });
    expect(parts.map(({ path, rows }) => [path, rows])).toEqual([
      ['part-00002.csv', 2],
      ['part-00002_0001.csv', 1],
    ]);
    expect(files.map((path) => readFileSync(path, 'utf8'))).toEqual([
      'name,text\n1,"a\nb"\n2,"say ""x"""\n',
      'name,text\n3,\n',
    ]);
  });

  it('larger than a block is cut where it is wanted', async () => {
    const lines = Array.from({ length: 60_000 }, (_, i) => `${i},"line\n${'x'.repeat(i % 97)}"\n`);
    bench.folder.put({ 'long.csv': `a,b\n${lines.join('')}` });
    const { files } = await bench.encode('long.csv', 'p.csv', { format: 'csv', header: true, fileRows: 25_000 });
    expect(files).toHaveLength(3);
    const bodies = files.map((path) => readFileSync(path, 'utf8'));
    expect(bodies.every((body) => body.startsWith('a,b\n'))).toBe(true);
    expect(bodies.map((body) => body.slice(4)).join('')).toBe(lines.join(''));
    expect(bodies[1]?.slice(4)).toBe(lines.slice(25_000, 50_000).join(''));
  });

  it('of no rows is one file', async () => {
    bench.folder.put({ 'none.jsonl': '', 'none.csv': 'a,b\n' });
    expect((await bench.encode('none.jsonl', 'p.jsonl', { format: 'jsonl' })).parts).toEqual([
      { path: 'p.jsonl', rows: 0, bytes: 0 },
    ]);
    expect((await bench.encode('none.csv', 'p.csv', { format: 'csv', header: true })).parts).toEqual([
      { path: 'p.csv', rows: 0, bytes: 4 },
    ]);
  });

  it('that ends within a row is refused', async () => {
    bench.folder.put({ 'cut.csv': 'a,b\n1,"x\n' });
    await expect(bench.encode('cut.csv', 'p.csv', { format: 'csv', header: true })).rejects.toThrow(
      failing('OUTPUT_CORRUPT', 'p.csv ends within a row'),
    );
  });
});

it('a type that Parquet does not have is refused, and Arrow files have it', async () => {
  await expect(bench.encode('spans.arrows', 'p.parquet', {})).rejects.toThrow(
    failing(
      'SCORER_OUTPUT_INVALID',
      'p.parquet: the rows cannot be written as Parquet: NYI: Attempting to write an Arrow interval type',
    ),
  );
  const encoded = await bench.encode('spans.arrows', 'p.arrow', { format: 'arrow_file' });
  expect(bench.look('spans.arrows', 'arrow_file', encoded)).toMatchObject({ rows: [2] });
  expect((await bench.encode('odd.arrows', 'p.parquet', {})).parts).toMatchObject([{ rows: 4_000 }]);
});

describe('broken streams', () => {
  beforeAll(() => {
    const columns = {
      id: arrow.vectorFromArray([1n, null, 3n]),
      label: arrow.vectorFromArray(['ä', null, ''], new arrow.Utf8()),
    };
    writeFileSync(bench.path('plain.arrows'), arrow.tableToIPC(new arrow.Table(columns), 'stream'));
  });
  const whole = (): Buffer => readFileSync(bench.path('odd.arrows'));
  const spoiled = async (bytes: Buffer, changes: Partial<PartsForm> = {}): Promise<unknown> => {
    writeFileSync(bench.path('broken.arrows'), bytes);
    return bench.encode('broken.arrows', 'p.parquet', changes);
  };

  it.each([0, 4, 100, 30_000, -1, -8, -9])('cut off at byte %i are refused, with the place', async (at) => {
    const bytes = whole();
    const cut = bytes.subarray(0, at < 0 ? bytes.length + at : at);
    for (const changes of [{}, { partitionBy: ['odd'] }, { format: 'arrow_file' as const }]) {
      await expect(spoiled(cut, changes)).rejects.toThrow(failing('OUTPUT_CORRUPT', 'p.parquet, byte '));
    }
  });

  it('with more behind the end are refused', async () => {
    await expect(spoiled(Buffer.concat([whole(), Buffer.alloc(8)]))).rejects.toThrow(
      failing('OUTPUT_CORRUPT', 'more follows behind the end of the stream'),
    );
  });

  it('whose texts lie elsewhere are refused by whatever reads them, and the next file is whole', async () => {
    const bytes = whole();
    // Offsets of the texts of the first record batch.
    const at = bytes.indexOf(Buffer.from(new Int32Array([0, 3, 5, 8]).buffer));
    expect(at).toBeGreaterThan(0);
    bytes.writeInt32LE(2 ** 30, at + 8);
    for (const changes of [{}, { partitionBy: ['day'] }, { partitionBy: ['odd'] }]) {
      await expect(spoiled(bytes, changes)).rejects.toThrow(failing('OUTPUT_CORRUPT', ''));
    }
    expect((await bench.encode('odd.arrows', 'p.parquet', {})).parts).toMatchObject([{ rows: 4_000 }]);
  });

  it('end with a code whichever byte of the first two messages is wrong', async () => {
    const bytes = readFileSync(bench.path('plain.arrows'));
    let refused = 0;
    for (let at = 0; at < bytes.length; at += 3) {
      const wrong = Buffer.from(bytes);
      wrong[at] = (wrong[at] ?? 0) ^ 255;
      const outcome = await spoiled(wrong).then(
        () => 'written',
        (error: unknown) => error,
      );
      if (outcome === 'written') continue;
      expect(outcome).toMatchObject({ code: 'OUTPUT_CORRUPT' });
      refused += 1;
    }
    expect(refused).toBeGreaterThan(50);
    expect((await bench.encode('plain.arrows', 'p.parquet', {})).parts).toMatchObject([{ rows: 3 }]);
  });
});
