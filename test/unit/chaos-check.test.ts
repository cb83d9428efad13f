/** What `npm run chaos` compares: it must see each thing that could be wrong with an output. */
import { expect, test } from 'vitest';
import { comparePartial, compareResults, type Result } from '../chaos/check-output.ts';

const fileOf = (ordinal: number, rows: number | null): Result['files'][number] => ({
  ...{ ordinal, path: `f${ordinal}`, size_bytes: 1, identity: 'i', status: rows === null ? 'unscored' : 'scored' },
  ...{ rows, code: null },
});
const custom = { path: 'each/f0.sum', bytes: 1, sha256: 'aa', found: 'aa' };
/** A header and one row a file. */
const wanted: Result = {
  digest: 'd',
  rows: ['file', 'f0', 'f1', 'f2'],
  files: [fileOf(0, 1), fileOf(1, 1), fileOf(2, 1)],
  custom: [custom],
  isComplete: true,
};

test('the same is the same', () => {
  expect(compareResults(wanted, wanted)).toEqual({ lost: 0, doubled: 0, words: [] });
});

test.each([
  ['a row lost', { rows: ['file', 'f0', 'f2'] }, { lost: 1, doubled: 0 }, '1 lost, 0 doubled'],
  ['a row doubled', { rows: ['file', 'f0', 'f0', 'f1', 'f2'] }, { lost: 0, doubled: 1 }, '0 lost, 1 doubled'],
  ['a row changed', { rows: ['file', 'f0', 'f9', 'f2'] }, { lost: 1, doubled: 1 }, '1 lost, 1 doubled'],
  ['a custom file lost', { custom: [] }, { lost: 1, doubled: 0 }, '1 lost, 0 doubled'],
  ['other bytes', { digest: 'e' }, { lost: 0, doubled: 0 }, 'its digest is e, undisturbed d'],
  ['a file told otherwise', { files: [fileOf(0, 2), fileOf(1, 1), fileOf(2, 1)] }, {}, 'a file is told otherwise'],
  ['no _SUCCESS', { isComplete: false }, { lost: 0, doubled: 0 }, 'Completed without _SUCCESS'],
])('%s is seen', (_what, change, counts, words) => {
  const found = compareResults({ ...wanted, ...change }, wanted);
  expect(found).toMatchObject(counts);
  expect(found.words.join('; ')).toContain(words);
});

test('a canceled job: rows in order and as many as told are fine, with holes too', () => {
  const files = [fileOf(0, 1), fileOf(1, null), fileOf(2, 1)];
  const part = { ...wanted, rows: ['file', 'f0', 'f2'], files, isComplete: false };
  expect(comparePartial(part, wanted).words).toEqual([]);
  const none = { ...part, rows: [], files: [fileOf(0, null), fileOf(1, null), fileOf(2, null)] };
  expect(comparePartial(none, wanted).words).toEqual([]);
  for (const [change, words] of [
    [{ isComplete: true }, 'it is canceled and has _SUCCESS'],
    [{ rows: ['file', 'f2', 'f0'] }, 'out of order'],
    [{ rows: ['file', 'f0', 'f0', 'f2'] }, '1 rows doubled'],
    [{ rows: ['file', 'f0'] }, 'the manifest tells of 2 rows, there are 1'],
  ] as const) {
    expect(comparePartial({ ...part, ...change }, wanted).words.join('; ')).toContain(words);
  }
});
