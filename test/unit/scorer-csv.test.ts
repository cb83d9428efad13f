import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { readRecords } from '../../worker/scorers/csv-records.ts';
import { readJsonBlocks } from '../../worker/scorers/json-blocks.ts';
import type { TablePlan } from '../../worker/scorers/onnx-inputs.ts';
import type { TableFeed } from '../../worker/scorers/table-columns.ts';
import { openTableReader } from '../../worker/scorers/table-reader.ts';
import { failing } from '../helpers/failing.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-csv-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function file(text: string | Uint8Array, name = 'in.csv'): HostFile {
  const path = join(dir, name);
  writeFileSync(path, text);
  return { path, name };
}

async function records(text: string | Uint8Array): Promise<[string[], number][]> {
  const found: [string[], number][] = [];
  const onRecord = (record: string[], line: number): void => void found.push([record, line]);
  for await (const count of readRecords(file(text), ',', onRecord)) expect(count).toBe(found.length);
  return found;
}

describe('records', () => {
  it.each([
    ['plain lines', 'a,b\n1,2\n'],
    ['no end of the last line', 'a,b\n1,2'],
    ['carriage returns', 'a,b\r\n1,2\r\n'],
    ['a byte order mark', '\ufeffa,b\n1,2\n'],
    ['a byte order mark before quotes', '\ufeff"a",b\n1,2\n'],
    ['quotes', 'a,"b"\n"1",2\n'],
    ['old line ends', 'a,b\r1,2\r'],
  ])('with %s', async (_, text) => {
    expect(await records(text)).toEqual([
      [['a', 'b'], 1],
      [['1', '2'], 2],
    ]);
  });

  it('skip empty lines and count them', async () => {
    expect(await records('a\n\n\n1\n')).toEqual([
      [['a'], 1],
      [['1'], 4],
    ]);
    expect(await records('a\n\n\n"1"\n2')).toEqual([
      [['a'], 1],
      [['1'], 4],
      [['2'], 5],
    ]);
  });

  it('hold quoted line breaks and delimiters, and go on counting lines', async () => {
    expect(await records('a,b\nx,y\r\n"1\n2","3,""4"""\n5,6\n')).toEqual([
      [['a', 'b'], 1],
      [['x', 'y'], 2],
      [['1\n2', '3,"4"'], 4],
      [['5', '6'], 5],
    ]);
  });

  it('are the same however the file is cut into pieces', async () => {
    const line = 'é'.repeat(50) + ',1\r\n';
    const plain = 'name,n\r\n' + line.repeat(6_000);
    const found = await records(plain);
    expect(found).toHaveLength(6_001);
    expect(found.slice(1).every(([record]) => record[0] === 'é'.repeat(50) && record[1] === '1')).toBe(true);
    const quoted = await records(`${plain}"z",2\r\n${line.repeat(3_000)}`);
    expect(quoted).toHaveLength(9_002);
    expect(quoted.at(6_001)).toEqual([['z', '2'], 6_002]);
    expect(quoted.at(-1)).toEqual([['é'.repeat(50), '1'], 9_002]);
  });

  it('are refused with the line where a quote is wrong', async () => {
    await expect(records('a,b\n1,2\n3,"4\n5')).rejects.toThrow(
      failing('INPUT_DECODE_FAILED', 'in.csv, line 4: Quote Not Closed'),
    );
    await expect(records('a,b\n1,2\n3,4"5"\n')).rejects.toThrow(failing('INPUT_DECODE_FAILED', 'in.csv, line 3'));
  });

  const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
  const advice = 'is not UTF-8: convert it, e.g. iconv -f latin1 -t utf8';
  const long = 'é,1\n'.repeat(100_000);

  it.each([
    ['in its header', latin1('né,n\n1,2\n'), 1],
    ['in a row', latin1('a,n\nx,1\nMüller,2\ny,3\n'), 3],
    ['in quotes', latin1('a,n\n"Müller",2\n'), 2],
    ['behind quotes that a parser reads', latin1('a,n\n"x\ny",2\nz,1\nMüller,3\n'), 5],
    ['in the last cell, without an end', latin1('a,n\n1,é'), 2],
    ['in the last cell behind quotes', latin1('a,n\n"1\n",é'), 3],
    ['far behind', Buffer.concat([Buffer.from(long), latin1('é,1\n')]), 100_001],
  ])('that are not UTF-8 %s are refused with the line', async (_, bytes, line) => {
    await expect(records(bytes)).rejects.toThrow(failing('INPUT_DECODE_FAILED', `in.csv, line ${line}: ${advice}`));
  });

  it('that are not UTF-8 are counted through where a part begins behind others', async () => {
    const found = file(latin1('a,n\nx,1\nMüller,2\n'));
    const read = readRecords(found, ',', () => undefined, { begin: 4, end: Infinity, line: 2 });
    await expect(read.next()).rejects.toThrow(failing('INPUT_DECODE_FAILED', 'in.csv, line 3: is not UTF-8'));
  });

  it.each(['a,n\nx,1\n', '"a",n\n"x\ny",1\n', 'a'])('of UTF-16 are told as such: %j', async (text) => {
    const little = Buffer.from(`\ufeff${text}`, 'utf16le');
    for (const bytes of [little, Buffer.from(little).swap16()]) {
      const told = failing('INPUT_DECODE_FAILED', 'is UTF-16: convert it, e.g. iconv -f utf16 -t utf8');
      await expect(records(bytes)).rejects.toThrow(told);
      await expect(readJsonBlocks(file(bytes, 'in.jsonl'), { fed: null, carried: [] }).next()).rejects.toThrow(told);
    }
  });

  it.each([
    ['in a row', latin1('{"a":1}\n\n{"a":"Müller"}\n{"a":2}\n'), 3],
    ['at its end', latin1('{"a":1}\né'), 2],
  ])('of JSON Lines that are not UTF-8 %s are refused with the line', async (_, bytes, line) => {
    const walk = async (): Promise<void> => {
      for await (const _ of readJsonBlocks(file(bytes, 'in.jsonl'), { fed: null, carried: [] }));
    };
    await expect(walk()).rejects.toThrow(failing('INPUT_DECODE_FAILED', `in.jsonl, line ${line}: ${advice}`));
  });

  it('have a longest one', async () => {
    const binary = new Uint8Array(17_000_000).fill(65);
    await expect(records(binary)).rejects.toThrow(failing('INPUT_DECODE_FAILED', 'in.csv, line 1: longer than'));
    const quoted = Buffer.concat([Buffer.from('a\n"'), binary]);
    await expect(records(quoted)).rejects.toThrow(failing('INPUT_DECODE_FAILED', 'in.csv, line 2: longer than'));
  });

  it('of a file that is not there are INPUT_UNREADABLE', async () => {
    const walk = async (path: string): Promise<void> => {
      await readRecords({ path, name: 'gone.csv' }, ',', () => undefined).next();
    };
    await expect(walk(join(dir, 'gone.csv'))).rejects.toThrow(failing('INPUT_UNREADABLE', 'gone.csv cannot be read'));
    await expect(walk(dir)).rejects.toThrow(failing('INPUT_UNREADABLE', 'EISDIR'));
  });
});

async function read(plan: TablePlan, input: HostFile, missing: TableFeed['missing'] = 'refuse'): Promise<unknown[]> {
  const cells: Record<string, unknown[]> = {};
  for await (const part of openTableReader({ plan, missing }).read(input, () => undefined)) {
    for (const { name, cells: values } of part.inputs) (cells[name] ??= []).push(...Array.from(values as unknown[]));
  }
  return Object.entries(cells).map(([name, values]) => [name, ...values]);
}

const columns: TablePlan = {
  kind: 'table',
  inputs: [
    { name: 'age', type: 'int64', rank: 2, width: 1, columns: ['age'] },
    { name: 'thal', type: 'string', rank: 2, width: 1, columns: ['thal'] },
    { name: 'oldpeak', type: 'float64', rank: 1, width: 1, columns: ['oldpeak'] },
  ],
  batch: null,
};

describe('columns by name', () => {
  it('are found in any order, and others are left out', async () => {
    const text = 'id,oldpeak, thal ,age\nx,0.5,"a, b",63\ny,,normal,67.0\n';
    expect(await read(columns, file(text), { fill: 'nan' })).toEqual([
      ['age', 63n, 67n],
      ['thal', 'a, b', 'normal'],
      ['oldpeak', 0.5, NaN],
    ]);
  });

  it('of a .tsv file are separated by tabs', async () => {
    expect(await read(columns, file('age\tthal\toldpeak\n1\ta,b\t2\n', 'IN.TSV'))).toEqual([
      ['age', 1n],
      ['thal', 'a,b'],
      ['oldpeak', 2],
    ]);
  });

  it('of a file with a header alone give no row', async () => {
    expect(await read(columns, file('age,thal,oldpeak\n'))).toEqual([]);
  });

  it.each([
    [
      'age,thall\n1,2\n',
      'INPUT_COLUMNS_MISSING',
      'lacks the columns thal (did you mean thall?), oldpeak that the model takes; it has age, thall',
    ],
    ['age,thal,oldpeak\n1,a,0\nx,a,0\n', 'INPUT_DECODE_FAILED', 'in.csv, line 3, column age: "x" is not an int64'],
    ['age,thal,oldpeak\n1,a,0\n,a,0\n', 'INPUT_DECODE_FAILED', 'in.csv, line 3, column age is empty'],
    ['age,thal,oldpeak\n1,a,zero\n', 'INPUT_DECODE_FAILED', 'column oldpeak: "zero" is not a float64'],
    ['age,thal,oldpeak\n1,a\n', 'INPUT_DECODE_FAILED', 'in.csv, line 2: 2 cells, but the header has 3'],
    ['age,thal,oldpeak\n"1",a\n', 'INPUT_DECODE_FAILED', 'in.csv, line 2: 2 cells, but the header has 3'],
    ['age,thal,oldpeak,age\n1,a,0,2\n', 'INPUT_DECODE_FAILED', 'two columns named "age"'],
    ['', 'INPUT_DECODE_FAILED', 'in.csv is empty'],
  ] as const)('are refused in %j', async (text, code, words) => {
    await expect(read(columns, file(text))).rejects.toThrow(failing(code, words));
  });
});

describe('features', () => {
  const features = (changes: Partial<TablePlan['inputs'][number]> = {}): TablePlan => ({
    kind: 'table',
    inputs: [{ name: 'x', type: 'float32', rank: 2, width: 2, columns: null, ...changes }],
    batch: null,
  });
  const plan = features();

  it('are the columns of numbers in file order', async () => {
    expect(await read(plan, file('id,a,name,b\nr1,1,n,2\nr2,3,,\n'), { fill: 'nan' })).toEqual([['x', 1, 2, 3, NaN]]);
  });

  it('are as many as the model takes', async () => {
    await expect(read(plan, file('id,a\nr1,1\n'))).rejects.toThrow(
      failing('INPUT_COLUMNS_MISSING', 'the model takes 2 columns of numbers for x, in.csv has 1 (a) among 2'),
    );
    expect(await read(features({ width: null }), file('a,b,c\n1,2,3\n'))).toEqual([['x', 1, 2, 3]]);
  });

  it('of a model of texts are all columns', async () => {
    expect(await read(features({ type: 'string' }), file('id,a\nr1,1\n'))).toEqual([['x', 'r1', '1']]);
  });

  it('may be listed, in an order of their own', async () => {
    expect(await read(features({ columns: ['b', 'a'] }), file('a,b,c\n1,2,3\n'))).toEqual([['x', 2, 1]]);
  });

  it('without a value are refused, or filled as told', async () => {
    const gap = file('a,b\n1,2\n3,NA\n');
    await expect(read(plan, gap)).rejects.toThrow(
      failing('INPUT_DECODE_FAILED', 'in.csv, line 3, column b is empty, and the model wants a float32; settings.onnx'),
    );
    expect(await read(plan, gap, { fill: -1 })).toEqual([['x', 1, 2, 3, -1]]);
    await expect(read(features({ type: 'int32' }), gap, { fill: 'nan' })).rejects.toThrow(
      failing('INPUT_DECODE_FAILED', '("nan" is not an int32)'),
    );
  });

  it('are numbers in every row', async () => {
    await expect(read(plan, file('a,b\n1,2\n3,x\n'))).rejects.toThrow(
      failing('INPUT_DECODE_FAILED', 'in.csv, line 3, column b: "x" is not a float32'),
    );
  });
});
