import * as arrow from 'apache-arrow';
import { describe, expect, it } from 'vitest';
import { defaultOutputForm, type OutputForm } from '../../common/core/output-form.ts';
import { columnOf, prologueLength } from '../../common/core/result.ts';
import { emptyStream, endOfStream } from '../../common/format/arrow-stream.ts';
import { parseType, typeText } from '../../common/format/column-type.ts';
import { prologueBytes } from '../../common/format/prologue.ts';
import { openRowEncoder } from '../../common/format/row-encoder.ts';
import type { EncodedRows } from '../../common/format/text-encoder.ts';
import type { ValueRows } from '../../common/format/value-text.ts';
import { failing } from '../helpers/failing.ts';

const encoderOf = (form: Partial<OutputForm> = {}) => openRowEncoder('arrow', { ...defaultOutputForm, ...form });
const plain = await encoderOf();

function records(columns: Readonly<Record<string, readonly unknown[]>>): ValueRows {
  const names = Object.keys(columns);
  const rows = columns[names[0] as string]?.length ?? 0;
  return { kind: 'records', names, rows, cell: (row, column) => columns[names[column] as string]?.[row] };
}

/** The stream that an output of these results is. */
function streamOf(...results: readonly EncodedRows[]): Buffer {
  const parts = results.flatMap((result) => [...result.pieces]);
  return Buffer.concat([prologueBytes(results[0]?.schema ?? undefined), ...parts, endOfStream]);
}

const valuesOf = (...results: readonly EncodedRows[]): unknown[] =>
  arrow
    .tableFromIPC(streamOf(...results))
    .toArray()
    .map((row: { toJSON(): unknown }) => row.toJSON());

describe('values', () => {
  it('have the type that fits all of them', () => {
    const found = plain.values(
      records({
        truth: [true, null, false],
        whole: [1, -(2 ** 40), undefined],
        wide: [2n ** 62n, -1n, 5],
        mixed: [1, 0.5, NaN],
        text: ['a', 'ü — 漢字 🙂', ''],
        time: [new Date('2024-02-29T12:00:00.250Z'), null, new Date(NaN)],
        list: [[1, 2], [], null],
        floats: [Float32Array.of(0.5), Float32Array.of(), null],
        nothing: [null, undefined, null],
        object: [{ a: 1, b: ['x'] }, { c: 2n }, null],
        bytes: [Buffer.from([0, 255]), null, Buffer.alloc(0)],
      }),
    );
    expect(found.schema?.columns).toEqual([
      ...['truth:bool', 'whole:int64', 'wide:int64', 'mixed:float64', 'text:utf8', 'time:timestamp[ms,UTC]'],
      ...['list:list<int64>', 'floats:list<float32>', 'nothing:null', 'object:utf8', 'bytes:binary'],
    ]);
    const rows = valuesOf(found) as Record<string, unknown>[];
    expect(rows.map((row) => row['wide'])).toEqual([2n ** 62n, -1n, 5n]);
    expect(rows.map((row) => row['whole'])).toEqual([1n, -(2n ** 40n), null]);
    expect(rows.map((row) => row['text'])).toEqual(['a', 'ü — 漢字 🙂', '']);
    expect(rows.map((row) => row['time'])).toEqual([Date.UTC(2024, 1, 29, 12, 0, 0, 250), null, null]);
    expect(rows.map((row) => row['object'])).toEqual(['{"a":1,"b":["x"]}', '{"c":2}', null]);
    expect(rows.map((row) => row['truth'])).toEqual([true, null, false]);
    expect(rows[2]?.['mixed']).toBeNaN();
  });

  it('of mini-batches with equal columns follow one another in one stream', () => {
    const [first, second] = [records({ n: [1, 2] }), records({ n: [3] })].map((rows) => plain.values(rows));
    expect(first?.schema).toEqual(second?.schema);
    expect(valuesOf(first as EncodedRows, second as EncodedRows)).toEqual([{ n: 1n }, { n: 2n }, { n: 3n }]);
  });

  it('are cut into record batches of a bounded number of rows', () => {
    const found = plain.values({ kind: 'list', values: Float64Array.from({ length: 40_000 }, (_, i) => i / 3) });
    const table = arrow.tableFromIPC(streamOf(found));
    expect(table.batches.map((batch) => batch.numRows)).toEqual([16_384, 16_384, 7_232]);
    expect(table.get(39_999)?.toJSON()).toEqual({ result: 39_999 / 3 });
  });

  it('of two kinds in one column name it, both types and the row', () => {
    expect(() => plain.values(records({ x: [1, null, 'b'] }))).toThrow(
      failing('SCORER_OUTPUT_INVALID', 'column "x" is utf8 in row 2 and int64 in the rows before'),
    );
  });

  it('have no schema and no bytes when there are none', () => {
    const none = plain.values({ kind: 'list', values: [] });
    expect([none.rows, none.schema, [...none.pieces]]).toEqual([0, null, []]);
  });
});

describe('tables', () => {
  const { Field, FixedSizeList, Float16, Float32, Int8, List, RecordBatch, Schema, Struct, Table, Utf8 } = arrow;
  const words = arrow.vectorFromArray(['b', 'a', null, 'b'], new arrow.Dictionary(new Utf8(), new arrow.Int32()));
  const halves = arrow.makeData({ type: new Float16(), data: Uint16Array.of(0x3c00, 0x3555, 0x7e00, 0xc000) });
  const columns = {
    word: words.data[0] as arrow.Data,
    half: halves,
    small: arrow.vectorFromArray([1, null, -3, 4], new Int8()).data[0] as arrow.Data,
    list: arrow.vectorFromArray([['x'], [], null, ['y', 'z']], new List(new Field('of', new Utf8())))
      .data[0] as arrow.Data,
    pair: arrow.makeData({
      type: new FixedSizeList(2, new Field('x', new Float32())),
      length: 4,
      child: arrow.makeData({ type: new Float32(), data: Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7) }),
    }),
    truth: arrow.vectorFromArray([true, false, null, true], new arrow.Bool()).data[0] as arrow.Data,
  };
  const fields = Object.entries(columns).map(([name, data]) => new Field(name, data.type as arrow.DataType, true));
  const struct = arrow.makeData({ type: new Struct(fields), length: 4, children: Object.values(columns) });
  const table = new Table([new RecordBatch(new Schema(fields), struct)]);

  it('keep the types of their columns, without dictionaries', () => {
    const found = plain.table(table);
    expect(found.schema?.columns).toEqual([
      ...['word:utf8', 'half:float16', 'small:int8', 'list:list<utf8>', 'pair:list<float32>[2]', 'truth:bool'],
    ]);
    const rows = JSON.stringify(valuesOf(found));
    expect(JSON.parse(rows)).toEqual([
      { word: 'b', half: 1, small: 1, list: ['x'], pair: [0, 1], truth: true },
      { word: 'a', half: 0.333251953125, small: null, list: [], pair: [2, 3], truth: false },
      { word: null, half: null, small: -3, list: null, pair: [4, 5], truth: null },
      { word: 'b', half: -2, small: 4, list: ['y', 'z'], pair: [6, 7], truth: true },
    ]);
  });

  it('may be slices: the rows of the parts are those of the whole', () => {
    for (let at = 1; at < 4; at += 1) {
      const parts = [table.slice(0, at), table.slice(at)].map((part) => plain.table(part));
      expect(JSON.stringify(valuesOf(...parts))).toBe(JSON.stringify(valuesOf(plain.table(table))));
    }
  });

  it('of a type that no output has are refused', () => {
    const column = arrow.makeVector({ type: new arrow.TimeSecond(), data: Int32Array.of(1) });
    expect(() => plain.table(new Table({ at: column }))).toThrow(failing('SCORER_OUTPUT_INVALID', 'column "at"'));
  });
});

describe('declared columns', () => {
  it('give values their types, their order and names that nobody gave', async () => {
    const encoder = await encoderOf({
      schema: ['b:float32', 'a:int64', 'n:timestamp[us]', 's:struct<x:int64,y:utf8>'],
    });
    const found = encoder.values(records({ a: [1], b: [2], n: [null], s: [{ x: 1, y: 'z', more: 1 }] }));
    expect(found.schema?.columns).toEqual(['b:float32', 'a:int64', 'n:timestamp[us]', 's:struct<x:int64,y:utf8>']);
    expect(
      JSON.stringify(valuesOf(found), (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value)),
    ).toBe('[{"b":2,"a":1,"n":null,"s":{"x":1,"y":"z"}}]');
    const named = await encoderOf({ schema: ['score:float64'] });
    expect(valuesOf(named.values({ kind: 'list', values: [1, 2.5] }))).toEqual([{ score: 1 }, { score: 2.5 }]);
  });

  it('refuse a value that they cannot hold, and rows with other columns', async () => {
    const encoder = await encoderOf({ schema: ['a:int8'] });
    const walk = (rows: ValueRows) => () => [...encoder.values(rows).pieces];
    expect(walk(records({ a: [1, 128] }))).toThrow(
      failing('SCORER_OUTPUT_INVALID', 'column "a" is int8, and row 1 has "128"'),
    );
    expect(walk(records({ a: ['1'] }))).toThrow(failing('SCORER_OUTPUT_INVALID', 'row 0 has "1"'));
    expect(walk(records({ a: [1], b: [1] }))).toThrow(failing('SCORER_OUTPUT_INVALID', 'a column b, which'));
    expect(walk(records({ b: [1] }))).toThrow(failing('SCORER_OUTPUT_INVALID', 'lack the column a (int8)'));
  });

  it('widen columns of tables, and never lose a value', async () => {
    const encoder = await encoderOf({ schema: ['a:float64', 'b:int64', 'c:utf8'] });
    const table = new arrow.Table({
      file: arrow.vectorFromArray(['x.csv', 'y.csv']),
      c: arrow.vectorFromArray([null, null], new arrow.Null()),
      b: arrow.vectorFromArray([1, null], new arrow.Int32()),
      a: arrow.makeVector(Float32Array.of(0.5, 1)),
    });
    const found = encoder.table(table);
    expect(found.schema?.columns).toEqual(['file:utf8', 'a:float64', 'b:int64', 'c:utf8']);
    expect(valuesOf(found)).toEqual([
      { file: 'x.csv', a: 0.5, b: 1n, c: null },
      { file: 'y.csv', a: 1, b: null, c: null },
    ]);
    const narrow = await encoderOf({ schema: ['a:int64'] });
    expect(() => narrow.table(new arrow.Table({ a: arrow.makeVector(Float32Array.of(0.5)) }))).toThrow(
      failing('SCORER_OUTPUT_INVALID', 'column "a" is float32, and the job\'s output has int64 there'),
    );
  });
});

describe('rows are widened to the columns of the first ones', () => {
  const columns = ['a:float64', 'b:utf8', 'c:int64', 'd:list<float64>'];

  it('where nothing is lost', () => {
    const values = plain.values(records({ a: [1], b: [null], c: [2], d: [[1]] }), { columns });
    const { Float32, Null, Table, Uint8, makeVector, vectorFromArray } = arrow;
    const table = plain.table(
      new Table({
        a: vectorFromArray([1], new Float32()),
        b: vectorFromArray([null], new Null()),
        c: vectorFromArray([2], new Uint8()),
      }),
      { columns: columns.slice(0, 3) },
    );
    expect(values.schema?.columns).toEqual(columns);
    expect(table.schema?.columns).toEqual(columns.slice(0, 3));
    expect(valuesOf(table)).toEqual([{ a: 1, b: null, c: 2n }]);
    expect(JSON.stringify((valuesOf(values) as { d: unknown }[])[0]?.d)).toBe('[1]');
    // Other columns are the coordinator's to refuse.
    expect(plain.values(records({ x: [1] }), { columns }).schema?.columns).toEqual(['x:int64']);
    expect(plain.table(new Table({ x: makeVector(Int8Array.of(1)) }), { columns }).schema?.columns).toEqual(['x:int8']);
  });

  it.each([
    [0.5, 'int64'],
    [1, 'float32'],
    ['a', 'null'],
    [true, 'int64'],
    [[0.5], 'list<int64>'],
    [new Date(0), 'date32'],
  ])('and %j is never made %s', (value, type) => {
    expect(() => plain.values(records({ x: [value] }), { columns: [`x:${type}`] })).toThrow(
      failing('RESULT_SCHEMA_MISMATCH', ` here and ${type} in the job's first rows`),
    );
  });

  it('and an integer that no float64 holds is refused', () => {
    const found = plain.values(records({ x: [2n ** 53n + 1n] }), { columns: ['x:float64'] });
    expect(() => [...found.pieces]).toThrow(failing('SCORER_OUTPUT_INVALID', '9007199254740993'));
  });
});

it('columns of file and row stand before the others, under their names', async () => {
  const encoder = await encoderOf({ fileColumn: 'source', rowColumn: 'line' });
  const origin = { fileOf: (row: number) => `${row >> 1}.txt`, numberOf: (row: number) => row & 1 };
  const found = encoder.values(records({ n: [7, 8, 9] }), { origin });
  expect(found.schema?.columns).toEqual(['source:utf8', 'line:int64', 'n:int64']);
  expect(valuesOf(found).at(-1)).toEqual({ source: '1.txt', line: 0n, n: 9n });
  expect(() => encoder.values(records({ line: [1] }), { origin })).toThrow(failing('SCORER_OUTPUT_INVALID', '"line"'));
});

it('a stream without rows has the declared columns, or none', async () => {
  const bare = arrow.tableFromIPC(await emptyStream(defaultOutputForm));
  expect([bare.numRows, bare.schema.fields.length]).toEqual([0, 0]);
  const form = { ...defaultOutputForm, fileColumn: 'file', schema: ['a:int64', 'b:list<utf8>'] };
  const declared = arrow.tableFromIPC(await emptyStream(form));
  expect(declared.schema.fields.map((field) => `${field.name}:${String(field.type)}`)).toEqual([
    ...['file:Utf8', 'a:Int64', 'b:List<Utf8>'],
  ]);
});

it('the length of a prologue is that of its bytes', () => {
  for (const columns of [{ a: [1] }, { ab: [1] }, { ü: ['x'], bcd: [true] }]) {
    const { schema } = plain.values(records(columns));
    expect(prologueLength(schema ?? undefined)).toBe(prologueBytes(schema ?? undefined).length);
  }
  expect(prologueLength({ columns: [], prologue: 'ü\n' })).toBe(3);
});

it('types and columns are read from their texts', () => {
  for (const text of [
    'null',
    'uint8',
    'float16',
    'timestamp[ns,Europe/Berlin]',
    'list<list<int64>>',
    'struct<a:list<utf8>,b:bool>',
  ]) {
    expect(typeText(parseType(text) ?? { kind: 'null' })).toBe(text);
  }
  expect(['text', 'Double', 'date'].map((text) => typeText(parseType(text) ?? { kind: 'null' }))).toEqual([
    ...['utf8', 'float64', 'date32'],
  ]);
  expect(['int7', 'list<>', 'struct<>', 'timestamp[m]', ''].map(parseType)).toEqual([null, null, null, null, null]);
  expect(columnOf('a:b:struct<x:int64,y:utf8>')).toEqual({ name: 'a:b', type: 'struct<x:int64,y:utf8>' });
  expect(columnOf('n[0]:list<float32>[2]')).toEqual({ name: 'n[0]', type: 'list<float32>[2]' });
});
