import { expect, it } from 'vitest';
import { floatOfHalf, floatsOfHalves, halfOfFloat, halvesOfFloats } from '../../common/format/half-float.ts';

// Bits are Python's: struct.unpack('<H', struct.pack('<e', x)).
it.each([
  [0, 0x0000],
  [-0, 0x8000],
  [1, 0x3c00],
  [-2, 0xc000],
  [255, 0x5bf8],
  [0.1, 0x2e66],
  [1 / 3, 0x3555],
  [65504, 0x7bff],
  [65519, 0x7bff],
  [65520, 0x7c00],
  [-1e30, 0xfc00],
  [Infinity, 0x7c00],
  [2 ** -14, 0x0400],
  [2 ** -24, 0x0001],
  [2 ** -25, 0x0000],
  [2 ** -25 * 1.001, 0x0001],
  [3 * 2 ** -25, 0x0002],
  [-(2 ** -24), 0x8001],
  [2049, 0x6800],
  [2051, 0x6802],
  [1e-40, 0x0000],
])('%d is the half of bits %d', (value, half) => {
  expect(halfOfFloat(value)).toBe(half);
});

it('keeps a NaN one', () => {
  expect(floatOfHalf(halfOfFloat(NaN))).toBeNaN();
});

it('reads and writes every half exactly', () => {
  const halves = Array.from({ length: 65_536 }, (_, half) => half).filter((half) => !Number.isNaN(floatOfHalf(half)));
  expect(halves).toHaveLength(65_536 - 2 * 1_023);
  expect(halves.filter((half) => halfOfFloat(floatOfHalf(half)) !== half)).toEqual([]);
});

it('rounds what lies between two halves to the nearer one, and the middle to the even one', () => {
  const isRounded = (half: number): boolean => {
    const [low, high] = [floatOfHalf(half), floatOfHalf(half + 1)];
    const even = half % 2 === 0 ? half : half + 1;
    const isNear = halfOfFloat(low + (high - low) * 0.375) === half;
    const isFar = halfOfFloat(-(low + (high - low) * 0.625)) === (0x8000 | (half + 1));
    return isNear && isFar && halfOfFloat((low + high) / 2) === even;
  };
  const wrong = Array.from({ length: 0x7bff }, (_, half) => half).filter((half) => !isRounded(half));
  expect(wrong).toEqual([]);
});

it('converts arrays', () => {
  expect([...halvesOfFloats([1, 0.5])]).toEqual([0x3c00, 0x3800]);
  expect([...floatsOfHalves(Uint16Array.of(0x3c00, 0x3800))]).toEqual([1, 0.5]);
});
