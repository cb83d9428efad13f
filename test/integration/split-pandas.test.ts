/** CSV cut at every byte, read by pandas as MLflow models are given it: the rows of the whole file, each once, with its number. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import { TextTable } from '../../worker/staging/text-table.ts';
import { testPython } from '../helpers/python.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-split-pandas-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** For each list of files on stdin: the rows of all of them with their numbers, or what is wrong. */
const reading = `
import json, sys
from batchmill_host.carried import Typing, read_carried
from batchmill_host.mini_batch import read_mini_batch
from batchmill_host.model_inputs import Column, Signature, UnreadableFile, first_row, read_inputs
out = []
for files in json.load(sys.stdin):
    rows = []
    for file in read_mini_batch({"sequence": 1, "files": files}).files:
        try:
            row, found = first_row(file), []
            columns = [] if "free" in sys.argv else [Column("a", "string", True)]
            for frame in read_inputs(file, Signature(columns, []), 2 if "few" in sys.argv else None):
                found += [str(cell) for cell in (frame["a"] if columns else frame.astype(str).agg("|".join, axis=1)).tolist()]
            kept = read_carried(file, ["a"], Typing("csv", None, None))[0].values
            rows += [[row + i, cell, len(kept) == len(found)] for i, cell in enumerate(found)]
        except UnreadableFile as error:
            rows.append(error.message)
    out.append(rows)
print(json.dumps(out))
`;

type Answer = readonly (string | readonly [row: number, cell: string, isCarried: boolean])[];

function read(lists: readonly (readonly object[])[], ...how: readonly ('free' | 'few')[]): readonly Answer[] {
  const env = { ...process.env, PYTHONPATH: packageFile('worker', 'python') };
  const end = spawnSync(testPython(), ['-c', reading, ...how], { input: JSON.stringify(lists), encoding: 'utf8', env });
  expect(end.status, end.stderr).toBe(0);
  return JSON.parse(end.stdout) as readonly Answer[];
}

async function filesOf(path: string, bytes: Buffer, cuts: readonly number[]): Promise<readonly object[]> {
  const table = new TextTable({ kind: 'csv', delimiter: 0x2c, isPandas: true });
  const source = {
    fileBytes: bytes.length,
    async *read(begin: number, end: number): AsyncGenerator<Uint8Array, void, void> {
      yield await Promise.resolve(bytes.subarray(begin, end));
    },
  };
  const ends = [...cuts, bytes.length];
  const files: object[] = [];
  for (const [i, end] of ends.entries()) {
    const part = await table.locate({ begin: ends[i - 1] ?? 0, end, fileBytes: bytes.length }, source, null);
    files.push({ path, name: 't.csv', part });
  }
  return files;
}

it.each([
  ['plain', 'a,b\n1,2\n3,4\n5,6\n'],
  ['returns, and no end', 'a,b\r1,2\r\n3,4\n\r\n5,6'],
  ['lines of spaces', 'a,b\n\n  \n1,2\n \t\n3,4\n\t\n 5,6\n   '],
  ['quotes', 'a,b\n"1\n\n\r\n1",2\n"3""",4\n"""",6\n"","7\n"\n'],
  ['quotes that stand oddly', 'a,b\n1"x,2\n"3"x,4\n5 ",6\n "7",8\n'],
  ['a byte order mark', '\ufeffa,b\n1,ä€\n𝒳,4\n'],
  ['rows that are longer than the header', 'a,b\n1,2,3\n4,5,6\n"\n",8,9\n'],
  ['two columns of one name', 'a,a\n1,2\n3,4\n'],
])('%s', async (name, text) => {
  const bytes = Buffer.from(text);
  const path = join(dir, `${name.replaceAll(' ', '-')}.csv`);
  writeFileSync(path, bytes);
  const lists: (readonly object[])[] = [[{ path, name: 't.csv' }]];
  for (let cut = 0; cut <= bytes.length; cut += 1) lists.push(await filesOf(path, bytes, [cut]));
  for (const size of [1, 2, 3, 5, 8]) {
    const count = Math.ceil(bytes.length / size) - 1;
    lists.push(
      await filesOf(
        path,
        bytes,
        Array.from({ length: count }, (_, i) => (i + 1) * size),
      ),
    );
  }
  const [whole, ...parted] = read(lists);
  expect(whole?.length).toBeGreaterThan(1);
  for (const [i, found] of parted.entries()) expect(found, `list ${i + 1}`).toEqual(whole);
});

it('a row with too many cells fails its part, wherever it stands there, as it fails a file', async () => {
  const text = 'a,b\n1,2\n3,4\n5,6,7\n8,9\n';
  const path = join(dir, 'broken.csv');
  writeFileSync(path, text);
  const lists = [
    await filesOf(path, Buffer.from(text), [8, 18]),
    await filesOf(path, Buffer.from(text), [12, 18]),
    [{ path, name: 't.csv' }],
  ];
  const [second = [], first = [], whole = []] = read(lists, 'free');
  expect(whole).toEqual([expect.stringContaining('Expected 2 fields in line 4, saw 3')]);
  expect(second).toEqual([
    [0, '1|2', true],
    expect.stringContaining('Expected 2 fields in row 2, saw 3'),
    [3, '8|9', true],
  ]);
  expect(first).toEqual([
    [0, '1|2', true],
    [1, '3|4', true],
    expect.stringContaining('Expected as many fields as the header has in row 2, saw more'),
    [3, '8|9', true],
  ]);
  // Where the columns of a signature are taken out, pandas does not mind.
  const [named = []] = read(lists);
  expect(named).toEqual([0, 1, 2, 3].map((row, i) => [row, ['1', '3', '5', '8'][i], true]));
});

it('a few rows at a time', async () => {
  const text = 'a,b\n1,2\n3,4\n5,6\n8,9\n10,11\n12,13\n';
  const path = join(dir, 'few.csv');
  writeFileSync(path, text);
  const [rows] = read([await filesOf(path, Buffer.from(text), [9])], 'few', 'free');
  expect(rows?.map((row) => row.slice(0, 2))).toEqual(
    ['1|2', '3|4', '5|6', '8|9', '10|11', '12|13'].map((cells, i) => [i, cells]),
  );
});
