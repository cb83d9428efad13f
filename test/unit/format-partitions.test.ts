/** Folders of partitions, and the texts that values have in them. */
import * as arrow from 'apache-arrow';
import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { PartitionColumn } from '../../common/format/partition-column.ts';
import { nullPartition, partitionFolder } from '../../common/format/partition-path.ts';
import { customPathDefect } from '../../common/storage/custom-path.ts';
import { halfOfFloat } from '../../common/format/half-float.ts';
import { failing } from '../helpers/failing.ts';

test.each([
  ['de', 'c=de'],
  [null, `c=${nullPartition}`],
  ['', `c=${nullPartition}`],
  ['a/b', 'c=a%2Fb'],
  ['ä 漢', 'c=ä 漢'],
  ['x=y', 'c=x%3Dy'],
  ['100%', 'c=100%25'],
  ['\u0000\t\n\u007f', 'c=%00%09%0A%7F'],
  ['12:30?*"#\'\\{[]^', 'c=12%3A30%3F%2A%22%23%27%5C%7B%5B%5D%5E'],
  ['..', 'c=..'],
  ['\ufffd', 'c=%EF%BF%BD'],
])('%j stands as %s', (value, folder) => {
  expect(partitionFolder('c', value)).toBe(folder);
});

test.each([
  ['c', 'x.partial'],
  ['_manifest', '1'],
  ['_SUCCESS', 'true'],
  ['_attempts_left', '0'],
])('%s=%s is a folder that can be published', (name, value) => {
  for (const rows of ['predictions.csv', null]) {
    const folder = partitionFolder(name, value);
    expect([folder, `${folder}/part-00000.parquet`].map((path) => customPathDefect(path, rows))).toEqual([null, null]);
  }
});

it('any text is one level of folders that can be published, and is read back', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', minLength: 1 }),
      fc.string({ unit: 'grapheme', minLength: 1 }),
      (name, value) => {
        const folder = partitionFolder(name, value);
        expect(folder).not.toContain('/');
        expect(customPathDefect(`${folder}/part-00000.parquet`, null)).toBe(null);
        expect(folder.split('=').map(decodeURIComponent)).toEqual([name, value]);
      },
    ),
  );
});

function textsOf(type: arrow.DataType, values: readonly unknown[]): (string | null)[] {
  const column = new PartitionColumn('c', type);
  const codes = new Int32Array(values.length);
  column.encode(arrow.vectorFromArray(values, type).data[0] as arrow.Data, codes, 0);
  return Array.from(codes, (code) => column.texts[code] as string | null);
}

const bits = (...values: bigint[]): BigInt64Array => BigInt64Array.from(values);
const made = (type: arrow.DataType, data: unknown): arrow.Data => arrow.makeData({ type, data } as never);

test.each([
  [new arrow.Int8(), [-1, 0, null, -1], ['-1', '0', null, '-1']],
  [new arrow.Int64(), [2n ** 62n, -1n], ['4611686018427387904', '-1']],
  [new arrow.Uint64(), [2n ** 64n - 1n], ['18446744073709551615']],
  [new arrow.Bool(), [true, false, null], ['true', 'false', null]],
  [new arrow.Utf8(), ['a', 'ü', '', null, 'a'], ['a', 'ü', null, null, 'a']],
  [new arrow.LargeUtf8(), ['漢字', ''], ['漢字', null]],
  [new arrow.Float64(), [0.1, 1, -0, 0, NaN, 1e-7, Infinity], ['0.1', '1.0', '0.0', '0.0', 'nan', '1e-07', 'inf']],
  [new arrow.Float32(), [0.1, 16_777_216, 3.4e38, -Infinity], ['0.1', '16777216.0', '3.4e+38', '-inf']],
  [new arrow.DateDay(), [new Date('2024-02-29'), new Date('1969-12-31')], ['2024-02-29', '1969-12-31']],
  [new arrow.DateMillisecond(), [new Date('2024-02-29')], ['2024-02-29']],
])('values of %s', (type, values, texts) => {
  expect(textsOf(type, values)).toEqual(texts);
});

test.each([
  [new arrow.TimestampSecond(), bits(0n, -1n), ['1970-01-01 00:00:00', '1969-12-31 23:59:59']],
  [new arrow.TimestampMillisecond('UTC'), bits(1_500n), ['1970-01-01 00:00:01.5Z']],
  [
    new arrow.TimestampMicrosecond(),
    bits(-1n, 1_709_210_096_123_400n),
    ['1969-12-31 23:59:59.999999', '2024-02-29 12:34:56.1234'],
  ],
  [new arrow.TimestampNanosecond(), bits(1n), ['1970-01-01 00:00:00.000000001']],
  [new arrow.Float16(), Uint16Array.of(halfOfFloat(0.5), halfOfFloat(-2)), ['0.5', '-2.0']],
])('values of %s, by their bits', (type, values, texts) => {
  const column = new PartitionColumn('c', type);
  const codes = new Int32Array(values.length);
  column.encode(made(type, values), codes, 0);
  expect(Array.from(codes, (code) => column.texts[code])).toEqual(texts);
});

it('numbers texts over several batches', () => {
  const column = new PartitionColumn('c', new arrow.Utf8());
  const codes = new Int32Array(5);
  column.encode(arrow.vectorFromArray(['a', 'b'], new arrow.Utf8()).data[0] as arrow.Data, codes, 0);
  column.encode(arrow.vectorFromArray(['b', 'c', 'a'], new arrow.Utf8()).data[0] as arrow.Data, codes, 2);
  expect([[...codes], column.texts]).toEqual([
    [0, 1, 1, 2, 0],
    ['a', 'b', 'c'],
  ]);
});

it('a column of lists, structs or bytes names no folder', () => {
  const list = new arrow.List(new arrow.Field('item', new arrow.Int32()));
  for (const type of [list, new arrow.Struct([]), new arrow.Binary()]) {
    expect(() => new PartitionColumn('x', type)).toThrow(failing('PARTITION_INVALID', 'column "x" is '));
  }
});

it('too many values are refused, and what to do is said', () => {
  const most = Array.from({ length: limits.partitionsMax }, (_, i) => i);
  expect(textsOf(new arrow.Int32(), most)).toHaveLength(limits.partitionsMax);
  expect(() => textsOf(new arrow.Int32(), [...most, -1])).toThrow(
    failing('PARTITION_INVALID', 'column "c" has more than 1,024 values in one part of the output'),
  );
});

it('a date that no calendar has is refused', () => {
  const column = new PartitionColumn('c', new arrow.DateDay());
  const codes = new Int32Array(1);
  expect(() => column.encode(made(new arrow.DateDay(), Int32Array.of(2 ** 31 - 1)), codes, 0)).toThrow(
    failing('PARTITION_INVALID', 'a date is more than 270,000 years away'),
  );
});
