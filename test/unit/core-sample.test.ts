import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { chooseSample, estimateTotal, type Population, type SamplePoint } from '../../coordinator/core/sample.ts';

const populationOf = (sizes: readonly number[], types: readonly number[] = sizes.map(() => 0)): Population => ({
  sizesBytes: Float64Array.from(sizes),
  types: Uint16Array.from(types),
});

/** Numbers from 0 to 1, the same for the same seed. @source mulberry32 */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Of mean 0 and deviation 1, near enough. */
function normal(random: () => number): number {
  let sum = -6;
  for (let drawn = 0; drawn < 12; drawn += 1) sum += random();
  return sum;
}

describe('a sample', () => {
  test('has the smallest, the median and the largest file, one of each type, and the rest of all sizes', () => {
    const sizes = Array.from({ length: 1_000 }, (_, i) => 1_000 + ((i * 7_919) % 1_000));
    const types = sizes.map((_, i) => (i % 100 === 7 ? 1 : i % 250 === 9 ? 2 : 0));
    const { ordinals, certain, rest } = chooseSample(populationOf(sizes, types), 12);
    expect(ordinals).toHaveLength(12);
    expect(new Set(ordinals).size).toBe(12);
    expect(ordinals).toEqual([...ordinals].sort((a, b) => a - b));
    const found = ordinals.map((ordinal) => sizes[ordinal] as number);
    expect([Math.min(...found), Math.max(...found), found.includes(1_499)]).toEqual([1_000, 1_999, true]);
    expect(new Set(ordinals.map((ordinal) => types[ordinal]))).toEqual(new Set([0, 1, 2]));
    const spread = ordinals.filter((ordinal) => !certain.has(ordinal)).map((ordinal) => sizes[ordinal] as number);
    const byQuarter = [0, 1, 2, 3].map((q) => spread.filter((size) => Math.floor((size - 1_000) / 250) === q).length);
    expect(Math.min(...byQuarter), String(spread)).toBeGreaterThan(0);
    expect(rest).toEqual({
      files: 1_000 - certain.size,
      bytes: sizes.reduce((sum, one) => sum + one, 0) - [...certain].reduce((sum, one) => sum + (sizes[one] ?? 0), 0),
    });
    expect(chooseSample(populationOf(sizes, types), 12).ordinals).toEqual(ordinals);
  });

  test.each([
    ['all files alike', Array<number>(40).fill(10)],
    ['empty files', Array<number>(40).fill(0)],
    ['one file that outweighs all', [...Array<number>(39).fill(1), 1e9]],
    ['several such files', [...Array<number>(30).fill(0), ...Array.from({ length: 10 }, (_, i) => 10 ** i)]],
  ])('never has a file twice: %s', (_, sizes) => {
    for (let wanted = 1; wanted <= 45; wanted += 1) {
      const { ordinals } = chooseSample(populationOf(sizes), wanted);
      expect([new Set(ordinals).size, ordinals.length]).toEqual([Math.min(wanted, 40), Math.min(wanted, 40)]);
    }
  });

  test('leaves room for files of all sizes where there are more types than places', () => {
    const sizes = Array.from({ length: 500 }, (_, i) => i + 1);
    const { certain, ordinals } = chooseSample(
      populationOf(
        sizes,
        sizes.map((_, i) => i % 50),
      ),
      12,
    );
    expect([certain.size, ordinals.length]).toEqual([8, 12]);
  });

  test('of a million files takes typed arrays and little beside them', () => {
    const random = chance(1);
    const sizesBytes = Float64Array.from({ length: 1_000_000 }, () => Math.exp(8 + 2 * normal(random)));
    const types = Uint16Array.from(sizesBytes, () => Math.floor(random() * 5));
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const grown = (): number => {
      collect();
      const before = process.memoryUsage();
      const { ordinals } = chooseSample({ sizesBytes, types }, 30);
      const after = process.memoryUsage();
      expect(ordinals).toHaveLength(30);
      return after.heapUsed - before.heapUsed + (after.arrayBuffers - before.arrayBuffers);
    };
    // What else this process does meanwhile, such as compiling, is not its own: the least of a few looks is.
    expect(Math.min(grown(), grown(), grown()) / 1e6).toBeLessThan(16);
  });
});

interface Shape {
  readonly files: number;
  readonly size: (random: () => number) => number;
  readonly seconds: (bytes: number, random: () => number) => number;
}

/** What really comes of a sample drawn from such a population, and the truth. */
function tried({ files, size, seconds }: Shape, wanted: number, seed: number) {
  const random = chance(seed);
  const sizes = Array.from({ length: files }, () => Math.round(size(random)));
  const values = sizes.map((bytes) => seconds(bytes, random));
  const truth = values.reduce((sum, one) => sum + one, 0);
  const { ordinals, certain, rest } = chooseSample(populationOf(sizes), wanted);
  const points = ordinals.map((ordinal, at): SamplePoint => {
    const isFirst = at < 2;
    const bytes = sizes[ordinal] as number;
    const value = (values[ordinal] as number) + (isFirst ? 0.7 : 0);
    return { bytes, value, isCertain: certain.has(ordinal), isFirst };
  });
  return { truth, estimate: estimateTotal(points, rest) };
}

const logNormal =
  (middle: number, spread: number) =>
  (random: () => number): number =>
    Math.exp(Math.log(middle) + spread * normal(random));
const noisy = (random: () => number, share: number): number => Math.max(0.05, 1 + share * normal(random));

const shapes: Readonly<Record<string, Shape>> = {
  'time by bytes': {
    files: 2_000,
    size: logNormal(50_000, 1.2),
    seconds: (bytes, random) => 2e-6 * bytes * noisy(random, 0.3),
  },
  'time by file and bytes': {
    files: 2_000,
    size: logNormal(5_000, 2),
    seconds: (bytes, random) => (0.05 + 1e-6 * bytes) * noisy(random, 0.3),
  },
  'time by file alone': { files: 500, size: logNormal(5_000, 1), seconds: (_, random) => 0.2 * noisy(random, 0.2) },
  'files of about one size': {
    files: 5_000,
    size: (random) => 90_000 + 20_000 * random(),
    seconds: (bytes, random) => 1e-6 * bytes * noisy(random, 0.5),
  },
  'time that grows faster than bytes': {
    files: 2_000,
    size: logNormal(50_000, 0.8),
    seconds: (bytes, random) => 1e-9 * bytes ** 1.3 * noisy(random, 0.2),
  },
};

describe('an estimate', () => {
  test.each(
    Object.entries(shapes).flatMap(([name, shape]) => [12, 30].map((wanted) => [name, wanted, shape] as const)),
  )('holds the truth in its interval, and is close: %s, %i files', (name, wanted, shape) => {
    const all = Array.from({ length: 200 }, (_, seed) => tried(shape, wanted, seed + 1));
    const inside = all.filter(({ truth, estimate: { interval } }) => {
      expect(interval).not.toBeNull();
      const [low, high] = interval as readonly [number, number];
      return low <= truth && truth <= high;
    });
    const ratios = all.map(({ truth, estimate }) => estimate.total / truth);
    const mean = ratios.reduce((sum, one) => sum + one, 0) / ratios.length;
    const width = all.map(({ truth, estimate: { interval } }) => ((interval?.[1] ?? 0) - (interval?.[0] ?? 0)) / truth);
    const median = width.sort((a, b) => a - b)[100] as number;
    console.log(`${name}, ${wanted}: ${inside.length}/200 inside, mean ${mean.toFixed(3)}, width ${median.toFixed(2)}`);
    expect(inside.length).toBeGreaterThanOrEqual(160);
    expect(Math.abs(mean - 1)).toBeLessThan(0.05);
    expect(median).toBeLessThan(1);
  });

  test('is exact where all files are in the sample', () => {
    const points = [1, 2, 3].map((bytes) => ({ bytes, value: bytes / 2, isCertain: true, isFirst: false }));
    expect(estimateTotal(points, { files: 0, bytes: 0 })).toMatchObject({ total: 3, interval: [3, 3] });
  });

  test('has no interval where two files stand for all, and no first file that counts for others', () => {
    const point = { bytes: 10, value: 1, isCertain: false, isFirst: false };
    expect(estimateTotal([point], { files: 9, bytes: 90 })).toMatchObject({ interval: null, total: 9 });
    const points = [...Array<typeof point>(5).fill(point), { ...point, value: 6, isFirst: true }];
    const found = estimateTotal(points, { files: 60, bytes: 600 });
    expect(found.total).toBeCloseTo(60, 6);
    expect(found.perFirst).toBeCloseTo(5, 6);
  });
});
