import { describe, expect, it } from 'vitest';
import { cellsOf, cellTypes, joinCells, sliceCells } from '../../worker/scorers/tensor-cells.ts';

const parse = (type: string, text: string): unknown => cellTypes[type]?.parse(text);

describe('a cell', () => {
  it.each([
    ['float32', '1.5', 1.5],
    ['float32', ' -2e3 ', -2000],
    ['float64', '.5', 0.5],
    ['float64', '5.', 5],
    ['float64', '+1', 1],
    ['float64', '', null],
    ['float64', 'NaN', null],
    ['float64', 'NA', null],
    ['float64', 'inf', Infinity],
    ['float64', '-Infinity', -Infinity],
    ['float64', '0x10', null],
    ['float64', '1,5', null],
    ['float64', 'abc', null],
    ['float64', '1e', null],
    ['float16', '1', 0x3c00],
    ['float16', 'x', null],
    ['int32', '7', 7],
    ['int32', '7.0', 7],
    ['int32', '1e3', 1000],
    ['int32', '7.5', null],
    ['int32', '', null],
    ['int32', '2147483648', null],
    ['uint8', '255', 255],
    ['uint8', '256', null],
    ['uint8', '-1', null],
    ['int8', '-128', -128],
    ['int64', '7', 7],
    ['int64', '-3.0', -3],
    ['int64', '-9007199254740991', -9007199254740991],
    ['int64', '9223372036854775807', 9223372036854775807n],
    ['int64', '+9007199254740993', 9007199254740993n],
    ['int64', '9223372036854775808', null],
    ['int64', '1e30', null],
    ['int64', '', null],
    ['int64', '1.5', null],
    ['uint64', '18446744073709551615', 18446744073709551615n],
    ['uint64', '-1', null],
    ['bool', 'True', 1],
    ['bool', '0', 0],
    ['bool', 'maybe', null],
    ['string', ' as it is ', ' as it is '],
  ])('of type %s written %j is %s', (type, text, value) => {
    expect(parse(type, text)).toBe(value);
  });
});

it('cells of 64 bits are those that were parsed, as numbers or not', () => {
  const values = [
    7,
    -3,
    0,
    2 ** 32,
    -(2 ** 32),
    4_294_967_295,
    -4_294_967_297,
    9007199254740991,
    -9007199254740991,
    2n ** 62n,
  ];
  expect(cellsOf('int64', values)).toEqual(BigInt64Array.from(values, BigInt));
  expect(cellsOf('uint64', [5, 2 ** 40, 2n ** 64n - 1n])).toEqual(BigUint64Array.of(5n, 2n ** 40n, 2n ** 64n - 1n));
});

describe('joinCells', () => {
  it('hands a whole part on as it is', () => {
    const only = Float32Array.of(1, 2);
    expect(joinCells('float32', [only], 2, 1)).toBe(only);
  });

  it('repeats the last row until there are enough', () => {
    expect(joinCells('int32', [Int32Array.of(1, 2), Int32Array.of(3, 4)], 8, 2)).toEqual(
      Int32Array.of(1, 2, 3, 4, 3, 4, 3, 4),
    );
    expect(joinCells('string', [['a'], ['b']], 4, 1)).toEqual(['a', 'b', 'b', 'b']);
  });
});

it('slices by rows', () => {
  expect(sliceCells(Int32Array.of(1, 2, 3, 4, 5, 6), 1, 2, 2)).toEqual(Int32Array.of(3, 4, 5, 6));
  expect(sliceCells(['a', 'b', 'c'], 1, 1, 1)).toEqual(['b']);
});
