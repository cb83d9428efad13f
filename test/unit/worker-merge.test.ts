import { describe, expect, it } from 'vitest';
import type { FileFailure, ResultSummary } from '../../common/core/result.ts';
import { failedFiles } from '../../common/core/result.ts';
import { mergedIndex, mergeFailures, stagedPlaces, unstagedSummary } from '../../worker/core/merge-failures.ts';

const unreadable = (index: number): FileFailure => ({ index, code: 'INPUT_UNREADABLE', message: `file ${index}` });
const undecodable = (index: number): FileFailure => ({ index, code: 'INPUT_DECODE_FAILED', message: 'no image' });

/** Of a host that got `files` files: row counts 1, 2, 3, …, those in `failed` none. */
function hostSummary(files: number, failed: readonly number[]): ResultSummary {
  const fileRows = Array.from({ length: files }, (_, index) => (failed.includes(index) ? 0 : index + 1));
  return {
    rows: fileRows.reduce((sum, rows) => sum + rows, 0),
    attribution: 'file',
    fileRows,
    failed: failed.map(undecodable),
    schema: null,
    runSeconds: 1,
    peakMemoryBytes: 2_000_000,
  };
}

describe('merging failures of staging', () => {
  it('puts every count and every failure at its place, for all ways in which five files can fail', () => {
    const files = 5;
    for (let staging = 0; staging < 1 << files; staging += 1) {
      const missing = Array.from({ length: files }, (_, index) => index).filter((index) => staging & (1 << index));
      const got = Array.from({ length: files }, (_, index) => index).filter((index) => !missing.includes(index));
      for (let scoring = 0; scoring < 1 << got.length; scoring += 1) {
        const bad = got.map((_, index) => index).filter((index) => scoring & (1 << index));
        const host = hostSummary(got.length, bad);
        // The order in which staging found them is not theirs.
        const merged = mergeFailures(host, [...missing].reverse().map(unreadable), files);
        const expected = Array.from({ length: files }, (_, place) => host.fileRows?.[got.indexOf(place)] ?? 0);
        expect(merged.fileRows).toEqual(expected);
        expect(merged.rows).toBe(host.rows);
        const codes = new Map(merged.failed.map((failure) => [failure.index, failure.code]));
        expect(codes.size).toBe(merged.failed.length);
        for (const place of missing) expect(codes.get(place)).toBe('INPUT_UNREADABLE');
        for (const index of bad) expect(codes.get(got[index] ?? -1)).toBe('INPUT_DECODE_FAILED');
        expect(merged.failed.length).toBe(missing.length + bad.length);
        expect(merged.failed.map((failure) => failure.index)).toEqual([...codes.keys()].sort((a, b) => a - b));
      }
    }
  });

  it('leaves a summary without failures of staging as it is', () => {
    const host = hostSummary(3, [1]);
    expect(mergeFailures(host, [], 3)).toBe(host);
  });

  it('keeps a range a range, and counts each file once', () => {
    const host: ResultSummary = { ...hostSummary(2, []), attribution: 'range', fileRows: null, rows: 1 };
    const merged = mergeFailures(host, [unreadable(0)], 3);
    expect(merged).toMatchObject({ attribution: 'range', fileRows: null, failed: [unreadable(0)] });
    expect(failedFiles(merged, 3)).toBe(2);
  });

  it('keeps positional counts true: the files that were not scored have none', () => {
    const host: ResultSummary = { ...hostSummary(2, []), attribution: 'positional', fileRows: [1, 1], rows: 2 };
    const merged = mergeFailures(host, [unreadable(1)], 3);
    expect(merged).toMatchObject({ attribution: 'positional', fileRows: [1, 0, 1], rows: 2 });
    expect(failedFiles(merged, 3)).toBe(1);
  });

  it('finds the place of the file that was open last', () => {
    const failed = [unreadable(0), unreadable(3)];
    expect(stagedPlaces(failed, 5)).toEqual([1, 2, 4]);
    expect([-1, 0, 1, 2, 3].map((index) => mergedIndex(index, failed, 5))).toEqual([-1, 1, 2, 4, -1]);
    expect(mergedIndex(3, [], 5)).toBe(3);
  });

  it('refuses a host that counts other files than it got', () => {
    expect(() => mergeFailures(hostSummary(4, []), [unreadable(0)], 4)).toThrow('got 3 files counted 4');
    expect(() => mergeFailures({ ...hostSummary(3, []), failed: [undecodable(3)] }, [unreadable(0)], 4)).toThrow(
      'named file 3',
    );
  });

  it('makes a result of a mini-batch of which nothing could be staged', () => {
    const summary = unstagedSummary([unreadable(1), unreadable(0)]);
    expect(summary).toMatchObject({
      rows: 0,
      attribution: 'file',
      fileRows: [0, 0],
      failed: [unreadable(0), unreadable(1)],
    });
    expect(failedFiles(summary, 2)).toBe(2);
  });
});
