import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MiniBatchSize } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import { longestFirstMakespanOf, makespanOf } from '../../coordinator/core/makespan.ts';
import { miniBatchBytes, outlookOf, spreadOf } from '../../coordinator/core/outlook.ts';

describe('makespan', () => {
  it.each([
    ['nothing', [], 4, 0, 0],
    ['one slot does all', [3, 1, 2], 1, 6, 6],
    ['more slots than work', [3, 1, 2], 8, 3, 3],
    ['the long one at the end', [1, 1, 1, 1, 4], 2, 6, 4],
    // The well-known case in which longest first is not the best order: 9 would be possible.
    ['three slots', [5, 5, 4, 4, 3, 3, 3], 3, 11, 11],
    ['work of nothing', [0, 0, 5, 0], 2, 5, 5],
  ] as const)('%s', (_, works, slots, inOrder, longestFirst) => {
    expect(makespanOf(works, slots)).toBe(inOrder);
    expect(longestFirstMakespanOf(works, slots)).toBe(longestFirst);
  });

  it('is as if each mini-batch went to the slot with the least so far, and stays in known bounds', () => {
    const works = fc.array(fc.integer({ min: 0, max: 1_000 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(works, fc.integer({ min: 1, max: 9 }), (all, slots) => {
        const loads = Array.from({ length: slots }, () => 0);
        for (const work of all) loads[loads.indexOf(Math.min(...loads))]! += work;
        expect(makespanOf(all, slots)).toBe(Math.max(...loads));
        const [longest, share] = [Math.max(...all), all.reduce((sum, work) => sum + work, 0) / slots];
        const longestFirst = longestFirstMakespanOf(all, slots);
        expect(longestFirst).toBeGreaterThanOrEqual(Math.max(longest, share) - 1e-6);
        // Graham: whatever the order, no slot is busy for longer than its share and the longest mini-batch together.
        expect(longestFirst).toBeLessThanOrEqual(share + longest);
      }),
    );
  });

  it('leaves what it is given as it was', () => {
    const works = Float64Array.of(1, 3, 2);
    longestFirstMakespanOf(works, 2);
    expect([...works]).toEqual([1, 3, 2]);
  });
});

describe('the outlook of a plan', () => {
  const of = (sizes: readonly number[], size: MiniBatchSize, slots = 2) =>
    outlookOf(Float64Array.from(sizes), size, slots);

  it('says how many mini-batches there are, how uneven, and how long they take', () => {
    expect(of([1, 1, 1, 1, 1, 7], { kind: 'files', files: 2 })).toEqual({
      miniBatches: 3,
      meanBytes: 4,
      largestBytes: 8,
      skew: 2,
      inputOrderBytes: 10,
      longestFirstBytes: 8,
    });
    expect(of([1, 1, 1, 1, 1, 7], { kind: 'bytes', bytes: 3 })).toMatchObject({ miniBatches: 3, largestBytes: 7 });
    expect(of([0, 0], { kind: 'files', files: 1 })).toMatchObject({ miniBatches: 2, skew: 1, inputOrderBytes: 0 });
  });

  it('cuts as a job does, across the pages of a listing', () => {
    const files = 3 * limits.manifestChunkFiles + 5;
    const sizes = Float64Array.from({ length: files }, (_, index) => index % 11);
    const works = miniBatchBytes(sizes, { kind: 'files', files: 7 }, 2);
    expect(works.length).toBe(Math.ceil(files / 7));
    for (const [index, bytes] of works.entries()) {
      const own = sizes.subarray(index * 7, index * 7 + 7);
      if (bytes !== own.reduce((sum, one) => sum + one, 0)) throw new Error(`mini-batch ${index} has ${bytes} bytes`);
    }
  });
});

describe('what is cut by time', () => {
  it('is guessed as shares of what every slot has still to do: fewer and fewer files, one large one alone', () => {
    const sizes = Float64Array.from({ length: 64 }, (_, index) => (index === 9 ? 500 : 1));
    const works = [...miniBatchBytes(sizes, { kind: 'auto' }, 2)];
    expect(works.reduce((sum, bytes) => sum + bytes, 0)).toBe(563);
    expect(works).toContain(500);
    expect(works.slice(-2)).toEqual([1, 1]);
    expect(works.length).toBeLessThan(40);
  });
});

describe('the spread of sizes', () => {
  it('has empty files by themselves, then powers of four, those between without files as well', () => {
    const { buckets, ...values } = spreadOf(Float64Array.of(5, 0, 1, 300, 3, 0, 4));
    expect(values).toEqual({ smallest: 0, median: 3, p99: 300, largest: 300 });
    expect(buckets).toEqual([
      { fromBytes: 0, toBytes: 1, files: 2, bytes: 0 },
      { fromBytes: 1, toBytes: 4, files: 2, bytes: 4 },
      { fromBytes: 4, toBytes: 16, files: 2, bytes: 9 },
      { fromBytes: 16, toBytes: 64, files: 0, bytes: 0 },
      { fromBytes: 64, toBytes: 256, files: 0, bytes: 0 },
      { fromBytes: 256, toBytes: 1024, files: 1, bytes: 300 },
    ]);
  });

  it('begins with the smallest file that there is, and does not look at the order', () => {
    expect(spreadOf(Float64Array.of(70, 65)).buckets).toEqual([{ fromBytes: 64, toBytes: 256, files: 2, bytes: 135 }]);
    const hundred = Float64Array.from({ length: 200 }, (_, index) => 200 - index);
    expect(spreadOf(hundred)).toMatchObject({ median: 100, p99: 198, largest: 200 });
    expect(spreadOf(Float64Array.of(2 ** 52)).buckets).toHaveLength(1);
  });
});
