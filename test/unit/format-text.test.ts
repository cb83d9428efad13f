import {
  Bool,
  DateDay,
  Decimal,
  Dictionary,
  Field,
  FixedSizeList,
  Float16,
  Float32,
  Float64,
  Int32,
  Int64,
  LargeUtf8,
  List,
  makeData,
  makeVector,
  Null,
  RecordBatch,
  Schema,
  Struct,
  Table,
  TimestampMicrosecond,
  TimestampMillisecond,
  TimestampNanosecond,
  TimestampSecond,
  Utf8,
  vectorFromArray,
  type Vector,
} from 'apache-arrow';
import { describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import type { TextFormat } from '../../common/core/deployment.ts';
import { encodeTable } from '../../common/format/arrow-text.ts';
import { carriedText } from '../../common/format/carried-columns.ts';
import { Instant } from '../../common/format/instant.ts';
import type { EncodedRows } from '../../common/format/text-encoder.ts';
import { encodeValues } from '../../common/format/value-text.ts';
import { failing } from '../helpers/failing.ts';

function textOf(encoded: EncodedRows): string {
  return Buffer.concat([...encoded.pieces]).toString();
}

function tableOf(columns: Readonly<Record<string, Vector>>): Table {
  return new Table(columns as never);
}

const strings = (values: readonly (string | null)[]): Vector => vectorFromArray(values, new Utf8());

function lines(columns: Readonly<Record<string, Vector>>, format: TextFormat): string {
  return textOf(encodeTable(tableOf(columns), format));
}

const timestamps = { s: TimestampSecond, ms: TimestampMillisecond, us: TimestampMicrosecond, ns: TimestampNanosecond };
const int = makeVector(Int32Array.of(0));

const records = (names: readonly string[], rows: readonly (readonly unknown[])[], format: TextFormat): EncodedRows =>
  encodeValues({ kind: 'records', names, rows: rows.length, cell: (row, column) => rows[row]?.[column] }, format);

describe('azure', () => {
  // The table of the append_row file in the batch contract.
  it.each([
    ['a b.png', '"a b.png"'],
    ['say "hi" twice', '"say ""hi"" twice"'],
    ['"', '""""'],
    ['a"b', '"a""b"'],
    ['two\nlines', '"two\nlines"'],
    ['return\rit', '"return\rit"'],
    ['a,b', 'a,b'],
    ['tab\there', 'tab\there'],
    ['', ''],
    ['é 漢 🙂', '"é 漢 🙂"'],
  ])('writes %j as %j', (text, written) => {
    expect(lines({ a: strings([text]), b: strings(['x']) }, 'azure')).toBe(`${written} x\n`);
  });

  it('has neither header nor schema, and an empty field for what is missing', () => {
    const table = tableOf({ a: strings([null, 'x']), p: makeVector(Float32Array.of(NaN, 0.1234)) });
    const encoded = encodeTable(table, 'azure');
    expect(encoded.schema).toBeNull();
    expect(encoded.rows).toBe(2);
    expect(textOf(encoded)).toBe(' \nx 0.1234000027179718\n');
  });

  it('writes the only field of a row as "" when it is empty', () => {
    expect(lines({ a: strings([null, '', 'b']) }, 'azure')).toBe('""\n""\nb\n');
    expect(textOf(records(['a'], [[null], [NaN], ['b c']], 'azure'))).toBe('""\n""\n"b c"\n');
  });

  it('quotes a datetime, which has a space', () => {
    const at = vectorFromArray([new Date('2024-01-01T02:03:00Z')], new TimestampMillisecond());
    expect(lines({ at, n: makeVector(Int32Array.of(1)) }, 'azure')).toBe('"2024-01-01 02:03:00" 1\n');
    expect(textOf(records(['at'], [[new Date('2024-01-01T02:03:00.5Z')]], 'azure'))).toBe(
      '"2024-01-01 02:03:00.500000"\n',
    );
  });

  it('writes single values as lines of their own, never quoted', () => {
    const values = ['a b', '{"x": "y"}', '', 7, 0.5, 1e-7, true, false, null, NaN, 12n];
    expect(textOf(encodeValues({ kind: 'list', values }, 'azure'))).toBe(
      'a b\n{"x": "y"}\n\n7\n0.5\n1e-07\nTrue\nFalse\nNone\nnan\n12\n',
    );
  });
});

describe('csv', () => {
  it('has a header as prologue, commas, and the same texts', () => {
    const table = tableOf({
      'a,b': strings(['x,y', 'p q']),
      n: makeVector(BigInt64Array.of(-9007199254740993n, 1n)),
      ok: vectorFromArray([true, null], new Bool()),
    });
    const encoded = encodeTable(table, 'csv');
    expect(encoded.schema).toEqual({ columns: ['a,b:utf8', 'n:int64', 'ok:bool'], prologue: '"a,b",n,ok\n' });
    expect(textOf(encoded)).toBe('"x,y",-9007199254740993,True\np q,1,\n');
  });

  it('names the one column of single values', () => {
    const encoded = encodeValues({ kind: 'list', values: ['a,b', null, NaN] }, 'csv');
    expect(encoded.schema).toEqual({ columns: ['result:value'], prologue: 'result\n' });
    expect(textOf(encoded)).toBe('"a,b"\n""\n""\n');
  });

  it('writes floats of a typed array as floats', () => {
    expect(textOf(encodeValues({ kind: 'list', values: Float32Array.of(7, 0.5, NaN) }, 'csv'))).toBe('7.0\n0.5\n""\n');
    expect(textOf(encodeValues({ kind: 'list', values: Int32Array.of(7) }, 'csv'))).toBe('7\n');
    expect(textOf(encodeValues({ kind: 'list', values: BigInt64Array.of(7n) }, 'csv'))).toBe('7\n');
  });

  it('has the same schema whatever values a script returned', () => {
    const first = records(['a', 'b'], [[1, 'x']], 'csv').schema;
    expect(records(['a', 'b'], [[0.5, null]], 'csv').schema).toEqual(first);
    expect(first).toEqual({ columns: ['a:value', 'b:value'], prologue: 'a,b\n' });
  });
});

describe('jsonl', () => {
  it('writes an object a line', () => {
    const table = tableOf({
      'key "q"': strings(['a "b"\n', null]),
      n: makeVector(BigInt64Array.of(9007199254740993n, 1n)),
      p: makeVector(Float64Array.of(NaN, 1)),
      ok: vectorFromArray([true, false], new Bool()),
    });
    const encoded = encodeTable(table, 'jsonl');
    expect(encoded.schema).toEqual({ columns: ['key "q":utf8', 'n:int64', 'p:float64', 'ok:bool'], prologue: '' });
    expect(textOf(encoded)).toBe(
      '{"key \\"q\\"":"a \\"b\\"\\n","n":"9007199254740993","p":null,"ok":true}\n' +
        '{"key \\"q\\"":null,"n":1,"p":1.0,"ok":false}\n',
    );
  });

  it('keeps the structure of what a script returned', () => {
    const rows = [
      [{ x: [1, null, 2n], y: Float32Array.of(0.5) }, undefined, -Infinity, new Map([['k', new Set([1])]])],
    ];
    expect(textOf(records(['a', 'b', 'c', 'd'], rows, 'jsonl'))).toBe(
      '{"a":{"x":[1,null,2],"y":[0.5]},"b":null,"c":null,"d":{"k":[1]}}\n',
    );
  });

  it('is read back as it was by JSON.parse', () => {
    const values = ['\u2028"\\\u0007é🙂', 1e-7, 1e21, 0.1, -5, true, null, 9007199254740991];
    const parsed = textOf(encodeValues({ kind: 'list', values }, 'jsonl'))
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { result: unknown }).result);
    expect(parsed).toEqual(values);
  });
});

describe('Arrow columns', () => {
  it('are read through slices, nulls and several batches', () => {
    const table = tableOf({
      s: strings(['a', 'b', null, 'd', 'e f', 'g']),
      d: vectorFromArray(['x', 'y', 'x', null, 'y', 'z'], new Dictionary(new Utf8(), new Int32())),
      b: vectorFromArray([true, false, null, true, true, false], new Bool()),
      f: vectorFromArray([1, 2, 3, null, 5, 6], new Float64()),
      l: vectorFromArray([[1], [], [2, 3], null, [4, null], [5]], new List(new Field('item', new Int32(), true))),
    });
    const whole = textOf(encodeTable(table, 'csv'));
    expect(whole).toBe(
      'a,x,True,1.0,[1]\nb,y,False,2.0,[]\n,x,,3.0,"[2,3]"\nd,,True,,\ne f,y,True,5.0,"[4,null]"\ng,z,False,6.0,[5]\n',
    );
    for (let cut = 1; cut < 6; cut += 1) {
      const parts = [table.slice(0, cut), table.slice(cut)];
      expect(parts.map((part) => textOf(encodeTable(part, 'csv'))).join('')).toBe(whole);
      const [first, second] = parts as [Table, Table];
      expect(textOf(encodeTable(first.concat(second), 'csv'))).toBe(whole);
    }
  });

  it('have the texts of their types', () => {
    const list = new FixedSizeList(2, new Field('item', new Float32(), true));
    const lists = makeData({
      type: list,
      length: 2,
      child: makeData({ type: new Float32(), data: Float32Array.of(1, NaN, 3, 4) }),
    });
    const columns: [string, Vector, string, string][] = [
      ['null', vectorFromArray([null], new Null()), '', 'null'],
      ['float16', vectorFromArray([0.5], new Float16()), '0.5', '0.5'],
      ['utf8', vectorFromArray(['é'], new LargeUtf8()), 'é', '"é"'],
      [
        'date',
        vectorFromArray([new Date('2024-02-29')], new DateDay()),
        '2024-02-29 00:00:00',
        '"2024-02-29T00:00:00Z"',
      ],
      ['int64', vectorFromArray([5n], new Int64()), '5', '5'],
      ['uint8', makeVector(Uint8Array.of(200)), '200', '200'],
    ];
    for (const [type, vector, cell, json] of columns) {
      const table = tableOf({ c: vector, end: makeVector(Int32Array.of(0)) });
      expect(textOf(encodeTable(table, 'csv'))).toBe(`${cell},0\n`);
      expect(textOf(encodeTable(table, 'jsonl'))).toBe(`{"c":${json},"end":0}\n`);
      expect(encodeTable(table, 'jsonl').schema?.columns[0]).toBe(`c:${type}`);
    }
    const schema = new Schema([new Field('l', list)]);
    const batch = new RecordBatch(schema, makeData({ type: new Struct(schema.fields), length: 2, children: [lists] }));
    expect(textOf(encodeTable(new Table([batch]), 'csv'))).toBe('"[1.0,null]"\n"[3.0,4.0]"\n');
    expect(textOf(encodeTable(new Table([batch]).slice(1), 'jsonl'))).toBe('{"l":[3.0,4.0]}\n');
  });

  it.each([
    ['us', 1_500_001n, '1970-01-01 00:00:01.500001'],
    ['us', -1n, '1969-12-31 23:59:59.999999'],
    ['us', 253_402_300_799_999_999n, '9999-12-31 23:59:59.999999'],
    ['us', 221_845_392_000_123_456n, '9000-01-01 00:00:00.123456'],
    ['us', -62_135_596_800_000_000n, '0001-01-01 00:00:00'],
    ['ns', 1_700_000_000_999_999_700n, '2023-11-14 22:13:20.999999700'],
    ['ns', 1_700_000_000_123_456_789n, '2023-11-14 22:13:20.123456789'],
    ['ns', 1_700_000_000_123_456_000n, '2023-11-14 22:13:20.123456'],
    ['ns', -1n, '1969-12-31 23:59:59.999999999'],
    ['ns', 2n ** 63n - 1n, '2262-04-11 23:47:16.854775807'],
    ['ms', -1n, '1969-12-31 23:59:59.999000'],
    ['s', -1n, '1969-12-31 23:59:59'],
    ['s', 2n ** 62n, ''],
  ] as const)('write %s %s since 1970 to its last digit, of a scorer and of the input', (unit, count, text) => {
    const json = text === '' ? 'null' : `"${text.replace(' ', 'T')}Z"`;
    const at = makeVector({ type: new timestamps[unit](), data: BigInt64Array.of(count) } as never);
    expect(lines({ at, n: int }, 'csv')).toBe(`${text},0\n`);
    expect(lines({ at, n: int }, 'jsonl')).toBe(`{"at":${json},"n":0}\n`);
    const moment = new Instant(count, unit);
    const carried = carriedText({ name: 'at', type: null, cell: () => moment }, 0);
    expect([carried.cell(0), carried.json(0), String(moment)]).toEqual([text, json, text]);
  });

  it('write a struct as a JSON object', () => {
    const type = new Struct([new Field('a', new Int32()), new Field('b', new Utf8())]);
    const vector = vectorFromArray(
      [
        { a: 1, b: 'x' },
        { a: 2, b: 'y' },
      ],
      type,
    );
    const table = tableOf({ s: vector });
    expect(textOf(encodeTable(table, 'jsonl'))).toBe('{"s":{"a":1,"b":"x"}}\n{"s":{"a":2,"b":"y"}}\n');
    expect(textOf(encodeTable(table.slice(1), 'azure'))).toBe('"{""a"":2,""b"":""y""}"\n');
  });

  it('are refused by name when they have no text', () => {
    const column = makeVector({ type: new Decimal(2, 10), data: new Uint32Array(4) });
    expect(() => encodeTable(tableOf({ price: column }), 'csv')).toThrow(
      failing('SCORER_OUTPUT_INVALID', 'column "price" is of Arrow type Decimal'),
    );
  });
});

it('has no schema without rows', () => {
  expect(encodeValues({ kind: 'list', values: [] }, 'csv')).toMatchObject({ rows: 0, schema: null });
  expect(textOf(encodeTable(tableOf({ a: makeVector(new Int32Array(0)) }), 'csv'))).toBe('');
});

it('cuts the text into pieces of about the size of a frame, between rows', () => {
  const values = Array.from({ length: 50_000 }, (_, i) => `${i} `.padEnd(60, 'x'));
  const pieces = [...encodeValues({ kind: 'list', values }, 'azure').pieces];
  expect(pieces.map((piece) => piece.length > limits.frameRowsBytes + 100)).not.toContain(true);
  expect(pieces).toHaveLength(3);
  expect(Buffer.concat(pieces).toString()).toBe(values.join('\n') + '\n');
});

it('refuses what no text can stand for', () => {
  const loop: Record<string, unknown> = {};
  loop['self'] = loop;
  expect(() => textOf(records(['a'], [[loop]], 'csv'))).toThrow(failing('SCORER_OUTPUT_INVALID', 'circular'));
  expect(() => textOf(records(['a'], [[() => 1]], 'csv'))).toThrow(failing('SCORER_OUTPUT_INVALID', 'a function'));
});
