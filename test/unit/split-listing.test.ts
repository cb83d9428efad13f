/** Which files are shared out, where they are cut, and how the parts stand in a listing. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DeploymentSettings, MiniBatchSize, Scorer, SplitFiles } from '../../common/core/deployment.ts';
import type { InputFile } from '../../common/core/input.ts';
import { defaultOnnxSettings } from '../../common/core/onnx-settings.ts';
import { noneSkipped } from '../../common/core/skipped-names.ts';
import { partCount, partOf, pinnedSplit, splitRule } from '../../common/core/split.ts';
import { anew } from '../../coordinator/input/changed-parts.ts';
import { splitListing } from '../../coordinator/input/split-listing.ts';
import { failing } from '../helpers/failing.ts';

const [mebi, kibi] = [1_048_576, 1_024];
const onnx: Scorer = { kind: 'onnx', settings: defaultOnnxSettings };
const mlflow: Scorer = { kind: 'mlflow', rowsPerPredict: null };
const python: Scorer = { kind: 'python', script: 'a.py' };

function deployment(scorer: Scorer, splitFiles: SplitFiles | null, miniBatchSize: MiniBatchSize = { kind: 'auto' }) {
  const settings = { miniBatchSize, ...(splitFiles && { splitFiles }) } as DeploymentSettings;
  return { scorer, settings };
}
const file = (path: string, sizeBytes: number): InputFile => ({ path, sizeBytes, identity: `${sizeBytes}-7` });

describe('the rule', () => {
  it.each<[string, Scorer, SplitFiles | null, MiniBatchSize, [number, number] | null]>([
    ['auto', onnx, { kind: 'auto' }, { kind: 'auto' }, [16 * mebi, 32 * mebi]],
    ['auto and a time', onnx, { kind: 'auto' }, { kind: 'seconds', seconds: 30 }, [16 * mebi, 32 * mebi]],
    ['auto and files', onnx, { kind: 'auto' }, { kind: 'files', files: 4 }, [4 * mebi, 8 * mebi]],
    ['auto and many files', onnx, { kind: 'auto' }, { kind: 'files', files: 1_000 }, [mebi, 2 * mebi]],
    ['auto and bytes', onnx, { kind: 'auto' }, { kind: 'bytes', bytes: 2 * mebi }, [2 * mebi, 4 * mebi]],
    ['auto and many bytes', onnx, { kind: 'auto' }, { kind: 'bytes', bytes: 99 * mebi }, [16 * mebi, 32 * mebi]],
    ['auto and few bytes', onnx, { kind: 'auto' }, { kind: 'bytes', bytes: 1 }, [mebi, 2 * mebi]],
    ['a size', onnx, { kind: 'bytes', bytes: 70 * kibi }, { kind: 'auto' }, [70 * kibi, 70 * kibi]],
    ['a size for MLflow', mlflow, { kind: 'bytes', bytes: 70 * kibi }, { kind: 'auto' }, [70 * kibi, 70 * kibi]],
    ['auto for MLflow', mlflow, { kind: 'auto' }, { kind: 'auto' }, null],
    ['a script', python, { kind: 'bytes', bytes: 70 * kibi }, { kind: 'auto' }, null],
    ['off', onnx, { kind: 'off' }, { kind: 'auto' }, null],
    ['an older job', onnx, null, { kind: 'auto' }, null],
  ])('%s', (_, scorer, split, size, wanted) => {
    const rule = splitRule(deployment(scorer, split, size));
    expect(rule && [rule.partBytes, rule.overBytes]).toEqual(wanted);
  });

  it('stays what it was when the settings of a job change', () => {
    const before = deployment(onnx, { kind: 'auto' }, { kind: 'files', files: 4 });
    const after = deployment(onnx, pinnedSplit(before), { kind: 'auto' });
    expect(splitRule(after)).toEqual(splitRule(before));
  });

  it('is for tables that can be cut, whatever the case of their endings', () => {
    const counts = (scorer: Scorer, paths: readonly string[]): number[] => {
      const rule = splitRule(deployment(scorer, { kind: 'bytes', bytes: 10 }));
      return paths.map((path) => (rule ? partCount(file(path, 20), rule) : 0));
    };
    const cut = ['a.csv', 'b/A.CSV', 'a.tsv', 'a.jsonl', 'a.ndjson', 'a.parquet', 'a.arrow', 'a.feather', 'a.ipc'];
    expect(counts(onnx, cut)).toEqual(cut.map(() => 2));
    const whole = ['a.arrows', 'a.csv.gz', 'a.png', '.csv', 'a', 'x.csv/a', 'a.pqt'];
    expect(counts(onnx, whole)).toEqual(whole.map(() => 1));
    expect(counts(mlflow, ['a.csv', 'a.parquet', 'a.pqt', 'a.jsonl', 'a.tsv'])).toEqual([2, 2, 2, 1, 1]);
  });
});

it('parts tile a file, and are equal but for a byte', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 45 }), fc.integer({ min: 2, max: 50 }), (sizeBytes, count) => {
      fc.pre(sizeBytes >= count);
      const whole = file('a.csv', sizeBytes);
      const parts = Array.from({ length: count }, (_, i) => partOf(whole, i, count));
      expect(parts.map(({ part }) => part?.begin)).toEqual([0, ...parts.slice(0, -1).map(({ part }) => part?.end)]);
      expect(parts.at(-1)?.part?.end).toBe(sizeBytes);
      expect(parts.every(({ part }) => part?.fileBytes === sizeBytes)).toBe(true);
      const sizes = parts.map((one) => one.sizeBytes);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    }),
  );
});

describe('a listing', () => {
  const rule = { extensions: ['.csv'], partBytes: 10, overBytes: 10 };
  async function listed(pages: readonly (readonly InputFile[])[], most: number) {
    const source = {
      skipped: noneSkipped(),
      async *[Symbol.asyncIterator]() {
        for (const page of pages) yield await Promise.resolve(page);
      },
    };
    const listing = splitListing(source, rule, most);
    const found: (readonly InputFile[])[] = [];
    for await (const page of listing) found.push(page);
    return { pages: found, split: listing.split };
  }

  it('has the parts in place of their file, in pages that are no longer than they may be', async () => {
    const pages = [[file('a.csv', 3), file('b.csv', 35), file('c.png', 99)], [file('d.csv', 10)], [file('e.csv', 11)]];
    const { pages: found, split } = await listed(pages, 3);
    expect(found.map((page) => page.length)).toEqual([3, 3, 1, 2]);
    const names = found.flat().map(({ path, part }) => (part ? `${path} ${part.begin}-${part.end}` : path));
    expect(names).toEqual([
      ...['a.csv', 'b.csv 0-8', 'b.csv 8-17', 'b.csv 17-26', 'b.csv 26-35', 'c.png'],
      ...['d.csv', 'e.csv 0-5', 'e.csv 5-11'],
    ]);
    expect(split).toEqual({ files: 2, parts: 6 });
  });

  it('without large tables is handed on page by page', async () => {
    const pages = [[file('a.csv', 3)], [file('c.png', 99)]];
    const { pages: found, split } = await listed(pages, 3);
    expect(found).toEqual(pages);
    expect(found[0]).toBe(pages[0]);
    expect(split).toEqual({ files: 0, parts: 0 });
  });
});

describe('parts of a file that has changed', () => {
  const parts = [0, 1, 2].map((i) => ({
    ...{ ordinal: 5 + i, path: 'a.csv', fileBytes: 33, identity: '33-9' },
    part: partOf(file('a.csv', 30), i, 3).part as NonNullable<InputFile['part']>,
  }));

  it('stay cut where they were, to the end that the file has now', () => {
    expect(anew(parts)).toEqual([
      { ordinal: 5, sizeBytes: 10, identity: '33-9', part: { begin: 0, end: 10, fileBytes: 33 } },
      { ordinal: 6, sizeBytes: 10, identity: '33-9', part: { begin: 10, end: 20, fileBytes: 33 } },
      { ordinal: 7, sizeBytes: 13, identity: '33-9', part: { begin: 20, end: 33, fileBytes: 33 } },
    ]);
    const short = anew(parts.map((one) => ({ ...one, fileBytes: 12, identity: '12-9' })));
    expect(short.map(({ part }) => [part?.begin, part?.end])).toEqual([
      [0, 10],
      [10, 12],
      [12, 12],
    ]);
  });

  it.each([[[0]], [[1]], [[2]], [[0, 1]], [[1, 2]], [[0, 2]]])(
    'are refused where only %j of three have failed',
    (places) => {
      const some = places.map((place) => parts[place] as (typeof parts)[number]);
      expect(() => anew(some)).toThrow(failing('INPUT_CHANGED', 'a.csv has changed since it was listed'));
    },
  );
});
