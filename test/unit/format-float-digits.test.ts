import { describe, expect, it } from 'vitest';
import { putSingle, singleBytesMax } from '../../common/format/float-digits.ts';
import { Random } from '../sim/world.ts';

const bytes = Buffer.alloc(2 * singleBytesMax);

/** What is written for the float32 next to `value`; null: nothing. */
function written(value: number): string | null {
  const end = putSingle(bytes, 3, Math.fround(value));
  return end < 0 ? null : bytes.toString('latin1', 3, end);
}

/** How many of them are written; all that are must be as JavaScript has them. */
function countWritten(values: Iterable<number>): number {
  let count = 0;
  for (const value of values) {
    const text = written(value);
    if (text === null) continue;
    if (text !== String(Math.fround(value))) expect(text).toBe(String(Math.fround(value)));
    count += 1;
  }
  return count;
}

const single = new Float32Array(1);
const word = new Uint32Array(single.buffer);
function ofBits(bits: number): number {
  word[0] = bits;
  return single[0] as number;
}

describe('a float32 in digits', () => {
  it.each([
    [0.1234, '0.1234000027179718'],
    [-0.12345679, '-0.12345679104328156'],
    [0.001, '0.0010000000474974513'],
    [123.456, '123.45600128173828'],
    [999999.3, '999999.3125'],
    [0.5, null],
    [7, null],
    [1e-5, null],
    [1e6 + 0.5, null],
    [NaN, null],
    [Infinity, null],
  ])('%d is %s', (value, text) => {
    expect(written(value) ?? text).toBe(text);
  });

  it('is as JavaScript has it, whatever it is', () => {
    const random = new Random(24);
    const scores = Array.from({ length: 50_000 }, () => (random.next() - 0.5) * 5);
    // Scores of models are seldom left to the slower way.
    expect(countWritten(scores)).toBeGreaterThan(48_000);
    const sizes = Array.from({ length: 50_000 }, () => Math.exp((random.next() - 0.4) * 22));
    expect(countWritten(sizes)).toBeGreaterThan(25_000);
    expect(countWritten(Array.from({ length: 50_000 }, () => ofBits(random.between(0, 0x7fffffff))))).toBeGreaterThan(
      0,
    );
  });

  it('is so beside powers of two and of ten', () => {
    const near = (bits: number): number[] => Array.from({ length: 41 }, (_, i) => ofBits(bits + i - 20));
    const twos = Array.from({ length: 253 }, (_, i) => near((i + 1) << 23)).flat();
    const tens = Array.from({ length: 13 }, (_, i) => {
      single[0] = 10 ** (i - 5);
      return near(word[0] as number);
    }).flat();
    expect(countWritten([...twos, ...tens, ...tens.map((value) => -value)])).toBeGreaterThan(500);
  });

  it('is so for decimals of few digits', () => {
    expect(countWritten(Array.from({ length: 20_000 }, (_, i) => i / 1_000))).toBeGreaterThan(10_000);
  });
});
