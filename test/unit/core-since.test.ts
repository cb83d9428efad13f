/** Rows taken from an earlier output, in the coordinator's core. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MiniBatchSize } from '../../common/core/deployment.ts';
import { emptyCut } from '../../coordinator/core/plan.ts';
import { isTakenStretch, stretchesOf, type TakenRun } from '../../coordinator/core/since.ts';

const place = { segment: 1, offset: 0, length: 10, crc32: 7 };
const sizes: readonly MiniBatchSize[] = [
  { kind: 'files', files: 3 },
  { kind: 'bytes', bytes: 25 },
  { kind: 'auto' },
  { kind: 'seconds', seconds: 1 },
];

/** Runs of a page of `count` files, as pairs of how many are scored and how many are taken behind them. */
function runsOf(pairs: readonly (readonly [number, number])[]): { readonly runs: TakenRun[]; readonly files: number } {
  const runs: TakenRun[] = [];
  let files = 0;
  for (const [fresh, taken] of pairs) {
    files += fresh;
    if (taken > 0) runs.push({ at: files, files: taken, rows: taken, fileRows: null, place });
    files += taken;
  }
  return { runs, files };
}

describe('a page with files whose rows are there', () => {
  const pairs = fc.array(fc.tuple(fc.nat(7), fc.nat(3)), { maxLength: 8 });

  it.each(sizes)('keeps every file once and in order, and no mini-batch has both ($kind)', (size) => {
    fc.assert(
      fc.property(pairs, fc.nat(2), (drawn, left) => {
        const { runs, files } = runsOf(drawn);
        const before = size.kind === 'files' ? { files: left, bytes: left } : emptyCut;
        const { stretches, open } = stretchesOf(
          before,
          Array.from({ length: files }, (_, at) => at),
          runs,
          size,
        );
        let ordinal = 0 - before.files;
        let bytes = 0;
        for (const stretch of stretches) {
          if (isTakenStretch(stretch)) {
            expect(ordinal).toBe(runs.find(({ at }) => at === ordinal)?.at);
            ordinal += stretch.files;
            bytes += stretch.bytes;
          } else {
            for (const one of stretch.sizes) ordinal += one;
            for (const one of stretch.sizesBytes) bytes += one;
            ordinal += stretch.fileBytes?.length ?? 0;
            bytes += (stretch.fileBytes ?? []).reduce((sum, one) => sum + one, 0);
          }
        }
        expect([ordinal + open.files, bytes + open.bytes]).toEqual([files, (files * (files - 1)) / 2 + before.bytes]);
        expect(stretches.filter(isTakenStretch)).toHaveLength(runs.length);
      }),
    );
  });

  it('closes the mini-batch that is open before rows that are taken', () => {
    const { runs } = runsOf([[2, 1]]);
    const { stretches, open } = stretchesOf({ files: 1, bytes: 5 }, [1, 1, 9, 1], runs, { kind: 'files', files: 10 });
    expect(stretches).toEqual([
      { sizes: [3], sizesBytes: [7] },
      { files: 1, rows: 1, fileRows: null, place, bytes: 9 },
      { sizes: [], sizesBytes: [] },
    ]);
    expect(open).toEqual({ files: 1, bytes: 1 });
  });
});
