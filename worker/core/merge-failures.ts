/**
 * Files that could not be staged are not given to the scoring host, which counts only those that it gets. Here its
 * counts become those of the whole mini-batch again.
 */
import { invariant } from '../../common/core/invariant.ts';
import type { FileFailure, ResultSummary } from '../../common/core/result.ts';

/** Places in the mini-batch of the files that the host gets. `files`: of the whole mini-batch. */
export function stagedPlaces(failed: readonly FileFailure[], files: number): readonly number[] {
  const missing = new Set(failed.map((failure) => failure.index));
  return Array.from({ length: files }, (_, index) => index).filter((index) => !missing.has(index));
}

/**
 * The summary of the whole mini-batch: `summary` is the host's, of the staged files; `failed` are the others, by place
 * in the mini-batch.
 */
export function mergeFailures(summary: ResultSummary, failed: readonly FileFailure[], files: number): ResultSummary {
  if (failed.length === 0) return summary;
  const places = stagedPlaces(failed, files);
  const scoredHere = summary.failed.map((failure) => ({ ...failure, index: placeOf(places, failure.index) }));
  const all = [...failed, ...scoredHere].sort((a, b) => a.index - b.index);
  return { ...summary, failed: all, fileRows: summary.fileRows && spread(summary.fileRows, places, files) };
}

/** Rows by place in the mini-batch; none for files that the host never saw. */
function spread(fileRows: readonly number[], places: readonly number[], files: number): number[] {
  invariant(fileRows.length === places.length, `a host that got ${places.length} files counted ${fileRows.length}`);
  const rows = new Array<number>(files).fill(0);
  places.forEach((place, index) => (rows[place] = fileRows[index] ?? 0));
  return rows;
}

function placeOf(places: readonly number[], index: number): number {
  const place = places[index];
  invariant(place !== undefined, `a host that got ${places.length} files named file ${index}`);
  return place;
}

/** The place in the mini-batch of the host's file `index`; −1 stays −1. */
export function mergedIndex(index: number, failed: readonly FileFailure[], files: number): number {
  return failed.length === 0 ? index : (stagedPlaces(failed, files)[index] ?? -1);
}

/** A mini-batch of which no file could be staged: a result without rows, made without a host. */
export function unstagedSummary(failed: readonly FileFailure[]): ResultSummary {
  return {
    rows: 0,
    attribution: 'file',
    fileRows: failed.map(() => 0),
    failed: [...failed].sort((a, b) => a.index - b.index),
    schema: null,
    runSeconds: 0,
    peakMemoryBytes: null,
  };
}
