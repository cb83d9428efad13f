/** Rows put together anew, held against what apache-arrow reads of the same columns. */
import * as arrow from 'apache-arrow';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gather, runsOf, runOf, ungatherable } from '../../common/format/arrow-gather.ts';
import {
  batchMessage,
  decodeBatches,
  emptyBatchMessage,
  messageHead,
  metadataBytesOf,
  schemaMessage,
} from '../../common/format/arrow-message.ts';
import { failing } from '../helpers/failing.ts';

const item = (type: arrow.DataType): arrow.Field => new arrow.Field('item', type, true);
const text = fc.string({ unit: 'grapheme', maxLength: 40 });

/** A type, and values of it as apache-arrow's own builders take them. */
const columns: readonly { readonly type: arrow.DataType; readonly value: fc.Arbitrary<unknown> }[] = [
  { type: new arrow.Bool(), value: fc.boolean() },
  { type: new arrow.Int8(), value: fc.integer({ min: -128, max: 127 }) },
  { type: new arrow.Uint16(), value: fc.integer({ min: 0, max: 65_535 }) },
  { type: new arrow.Int32(), value: fc.integer() },
  { type: new arrow.Int64(), value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) },
  { type: new arrow.Uint64(), value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) },
  { type: new arrow.Float32(), value: fc.float() },
  { type: new arrow.Float64(), value: fc.double() },
  { type: new arrow.Utf8(), value: text },
  { type: new arrow.LargeUtf8(), value: text },
  { type: new arrow.Binary(), value: fc.uint8Array({ maxLength: 50 }) },
  { type: new arrow.FixedSizeBinary(3), value: fc.uint8Array({ minLength: 3, maxLength: 3 }) },
  { type: new arrow.List(item(new arrow.Float32())), value: fc.array(fc.option(fc.float()), { maxLength: 40 }) },
  { type: new arrow.List(item(new arrow.Utf8())), value: fc.array(fc.option(text), { maxLength: 5 }) },
  {
    type: new arrow.List(item(new arrow.List(item(new arrow.Bool())))),
    value: fc.array(fc.option(fc.array(fc.option(fc.boolean()), { maxLength: 4 })), { maxLength: 4 }),
  },
  {
    type: new arrow.FixedSizeList(2, item(new arrow.Int32())),
    value: fc.array(fc.option(fc.integer()), { minLength: 2, maxLength: 2 }),
  },
  {
    type: new arrow.Struct([
      new arrow.Field('a', new arrow.Int64(), true),
      new arrow.Field('b', new arrow.List(item(new arrow.Utf8())), true),
    ]),
    value: fc.record({
      a: fc.option(fc.bigInt({ min: -9n, max: 2n ** 60n })),
      b: fc.option(fc.array(text, { maxLength: 3 })),
    }),
  },
];

const plain = (value: unknown): unknown => {
  if (value instanceof arrow.Vector) return Array.from(value, plain);
  if (value instanceof arrow.StructRow) return Object.fromEntries([...value].map(([key, one]) => [key, plain(one)]));
  if (value instanceof Uint8Array) return [...value];
  return value;
};
const valuesOf = (data: arrow.Data): unknown[] => Array.from(new arrow.Vector([data]), plain);

/** As a record batch in a stream has it. */
function read(schema: arrow.Schema, data: arrow.Data): arrow.Data {
  const message = batchMessage(schema, [data], data.length);
  const [batch] = decodeBatches(schemaMessage(schema), [message]);
  return batch?.data.children[0] as arrow.Data;
}

/** Record batches of one column, and ascending rows of each. */
const cases = fc.constantFrom(...columns).chain(({ type, value }) =>
  fc.record({
    type: fc.constant(type),
    batches: fc.array(
      fc.array(fc.option(value, { freq: 4 }), { minLength: 1, maxLength: 150 }).chain((values) =>
        fc.record({
          values: fc.constant(values),
          rows: fc.subarray(Array.from(values.keys())),
        }),
      ),
      { minLength: 1, maxLength: 4 },
    ),
  }),
);

describe('gathered rows', () => {
  it('are those that were picked, in their order, also after a way through a stream', () => {
    fc.assert(
      fc.property(cases, ({ type, batches }) => {
        const schema = new arrow.Schema([new arrow.Field('c', type, true)]);
        const sources = batches.map(({ values }) =>
          read(schema, arrow.vectorFromArray(values, type).data[0] as arrow.Data),
        );
        const data = gather(sources.map((source, i) => ({ data: source, runs: runsOf(batches[i]?.rows ?? []) })));
        const wanted = sources.flatMap((source, i) => {
          const all = valuesOf(source);
          return (batches[i]?.rows ?? []).map((row) => all[row]);
        });
        expect(data.length).toBe(wanted.length);
        expect(valuesOf(data)).toEqual(wanted);
        expect(valuesOf(read(schema, data))).toEqual(wanted);
        expect(data.nullCount).toBe(wanted.filter((value) => value === null).length);
      }),
      { numRuns: 400 },
    );
  });

  it('keep every bit of a number', () => {
    // A NaN with a message in it, and integers that would be such.
    const bits = BigUint64Array.of(0x7ff0_0000_0000_0001n, 0xfff8_dead_beef_0001n, 2n ** 64n - 1n);
    for (const type of [new arrow.Float64(), new arrow.Int64()]) {
      const source = arrow.makeData({ type, data: new type.ArrayType(bits.buffer) } as never);
      const found = gather([{ data: source, runs: Uint32Array.of(0, 1, 1, 3) }]);
      expect([...new BigUint64Array((found.values as Float64Array).buffer)]).toEqual([...bits]);
    }
  });

  it('of nothing but nulls are nulls', () => {
    const data = arrow.makeData({ type: new arrow.Null(), length: 5 });
    expect(valuesOf(gather([{ data, runs: runOf(1, 4) }]))).toEqual([null, null, null]);
  });

  it('with a text outside of its column are refused', () => {
    const valueOffsets = Int32Array.of(0, 2, 900);
    const data = arrow.makeData({ type: new arrow.Utf8(), valueOffsets, data: Buffer.from('abc') });
    expect(valuesOf(gather([{ data, runs: runOf(0, 1) }]))).toEqual(['ab']);
    expect(() => gather([{ data, runs: runOf(0, 2) }])).toThrow(failing('OUTPUT_CORRUPT', 'outside of its column'));
    valueOffsets.set([2, 1, 3]);
    expect(() => gather([{ data, runs: runOf(0, 1) }])).toThrow(failing('OUTPUT_CORRUPT', 'outside of its column'));
  });

  it('that a column does not have are refused', () => {
    const short = arrow.makeData({ type: new arrow.Int32(), length: 3, data: Int32Array.of(1, 2) });
    const bits = arrow.makeData({ type: new arrow.Bool(), length: 9, data: Uint8Array.of(1) });
    expect(() => gather([{ data: short, runs: runOf(2, 3) }])).toThrow(failing('OUTPUT_CORRUPT', 'outside of its'));
    expect(() => gather([{ data: short, runs: runOf(3, 4) }])).toThrow(failing('OUTPUT_CORRUPT', 'outside of its'));
    expect(() => gather([{ data: bits, runs: runOf(8, 9) }])).toThrow(failing('OUTPUT_CORRUPT', 'outside of its'));
  });

  it('cannot be of types whose buffers are laid out otherwise, at any depth', () => {
    const words = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32());
    for (const { type } of columns) expect(ungatherable(type)).toBe(null);
    const { data } = arrow.vectorFromArray(['a'], words);
    expect(() => gather([{ data: data[0] as arrow.Data, runs: runOf(0, 1) }])).toThrow(
      failing('SCORER_OUTPUT_INVALID', 'values of the Arrow type Dictionary<'),
    );
    expect(ungatherable(new arrow.Struct([new arrow.Field('a', new arrow.List(item(words)))]))).toBe(words);
  });
});

describe('runs', () => {
  it('are as few as there can be', () => {
    expect([...runsOf([])]).toEqual([]);
    expect([...runsOf([0, 1, 2, 5, 7, 8])]).toEqual([0, 3, 5, 6, 7, 9]);
  });
});

describe('messages', () => {
  const schema = new arrow.Schema([new arrow.Field('n', new arrow.Int32(), true)], new Map([['own', 'a']]));
  const data = arrow.makeData({ type: new arrow.Int32(), data: Int32Array.of(1, 2, 3) });
  const message = Buffer.from(batchMessage(schema, [data], 3).bytes);
  const head = message.subarray(8, 8 + metadataBytesOf(message));

  it('say how many rows and bytes they have', () => {
    expect(messageHead(head)).toEqual({ kind: 'batch', rows: 3, bodyBytes: message.length - head.length - 8 });
  });

  it('of a schema say what is added to it', () => {
    const { message: bytes } = schemaMessage(schema, { added: 'ü' });
    const found = messageHead(bytes.subarray(8, 8 + metadataBytesOf(bytes)));
    if (found.kind !== 'schema') throw new Error(found.kind);
    expect(Object.fromEntries(found.schema.metadata)).toEqual({ own: 'a', added: 'ü' });
  });

  it('may have no rows', () => {
    const empty = emptyBatchMessage(
      new arrow.Schema(columns.map(({ type }, i) => new arrow.Field(`c${i}`, type, true))),
    );
    expect(messageHead(empty.bytes.subarray(8, 8 + metadataBytesOf(empty.bytes)))).toMatchObject({
      kind: 'batch',
      rows: 0,
    });
  });

  it('that are none, or that name bytes they do not have, are refused, whichever byte is wrong', () => {
    expect(() => metadataBytesOf(Buffer.from('no message'))).toThrow(failing('OUTPUT_CORRUPT', 'no message of Arrow'));
    let refused = 0;
    for (let at = 0; at < head.length; at += 1) {
      const wrong = Buffer.from(head);
      wrong[at] = (wrong[at] ?? 0) ^ 255;
      try {
        messageHead(wrong);
      } catch (error) {
        expect(error).toMatchObject({ code: 'OUTPUT_CORRUPT' });
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(head.length / 4);
  });
});
