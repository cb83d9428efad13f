/** IEEE 754 half precision as its 16 bits: what a tensor of type float16 holds where there is no Float16Array (Node 20). */

const singles = new Float32Array(1);
const bits = new Uint32Array(singles.buffer);

/**
 * The nearest half of a number, ties to even, as its 16 bits. What is too large becomes infinity, a NaN stays one.
 * Rounds the float32 nearest to `value`: pixels and features are that at most.
 */
export function halfOfFloat(value: number): number {
  singles[0] = value;
  const single = bits[0] as number;
  const sign = (single >>> 16) & 0x8000;
  const size = single & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00;
  // 65520 is half way between the largest half (65504) and the next power: from there on it is infinity.
  if (size >= 0x477ff000) return sign | 0x7c00;
  // Below 2^-14 a half has a fixed step of 2^-24; the float32 sum with 0.5 has the same step and rounds to even.
  if (size < 0x38800000) {
    singles[0] = Math.abs(value) + 0.5;
    return sign | ((bits[0] as number) - 0x3f000000);
  }
  const isOdd = (size >>> 13) & 1;
  return sign | ((size - 0x38000000 + 0xfff + isOdd) >>> 13);
}

/** The number that 16 bits of half precision stand for, exactly. */
export function floatOfHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** All halves of an array as float32, which holds each exactly. */
export function floatsOfHalves(halves: Uint16Array): Float32Array {
  return Float32Array.from(halves, floatOfHalf);
}

/** All numbers of an array as halves. */
export function halvesOfFloats(values: ArrayLike<number>): Uint16Array {
  return Uint16Array.from(values, halfOfFloat);
}
