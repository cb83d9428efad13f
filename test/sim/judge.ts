/** The verdict on one simulated job. */
import { noBatch } from '../../coordinator/core/batch-table.ts';
import type { Job } from '../../coordinator/core/ledger.ts';
import { headerRow, type SimCoordinator } from './sim-coordinator.ts';
import type { Expected } from './sim-plan.ts';

export interface JudgeOptions {
  readonly coordinator: SimCoordinator;
  readonly expected: Expected;
  /** Of what user code writes for a file. */
  readonly customBytes: (file: number) => number;
  readonly isCanceled: boolean;
}

/** What is wrong: rows that are lost, doubled or out of place, files without a verdict, counts that do not add up. */
export function judge({ coordinator, expected, customBytes, isCanceled }: JudgeOptions): readonly string[] {
  const { job } = coordinator;
  const faults = [...coordinator.faults, ...coordinator.snapshots.faults];
  if (!job) return [...faults, 'the job is gone'];
  const isAsExpected = job.state === expected.state || (isCanceled && job.state === 'Canceled');
  const state = isAsExpected ? [] : [`the job ended as ${job.state}, not ${expected.state}: ${job.error?.message}`];
  const end = job.state === 'Completed' ? judgeCompleted(coordinator, job, expected) : [];
  const custom = judgeCustom(coordinator, job, customBytes);
  return [...faults, ...state, ...judgeOutput(coordinator, job, expected), ...custom, ...end];
}

/** Rows of all files, or, of a job that was broken off, of the first ones without a gap. */
function judgeOutput({ disk }: SimCoordinator, job: Job, { scored }: Expected): readonly string[] {
  const found = disk.output.read(0, job.outputCommitted);
  if (typeof found === 'string') return [found];
  const got = found.map(({ file }) => file);
  if (job.schema >= 0 && got.shift() !== headerRow) return ['the header is not at the start'];
  const wanted = job.state === 'Completed' ? scored : scored.slice(0, got.length);
  return got.join(',') === wanted.join(',') ? [] : [`rows of files ${got.join(',')} instead of ${wanted.join(',')}`];
}

/** What user code wrote for the files of every committed mini-batch, once and in input order, and for no other. */
function judgeCustom({ disk }: SimCoordinator, job: Job, customBytes: (file: number) => number): readonly string[] {
  const wanted: number[] = [];
  for (let batch = job.batches.head; batch !== noBatch; batch = job.batches.next(batch)) {
    if (job.batches.state(batch) !== 'committed') continue;
    const first = job.batches.first(batch);
    for (let file = first; file < first + job.batches.files(batch); file += 1)
      if (customBytes(file) > 0) wanted.push(file);
  }
  const unstaged = new Set(
    job.failures.filter(({ failure }) => failure.code === 'INPUT_UNREADABLE').map(({ first }) => first),
  );
  const got = disk.published ?? [];
  const found = wanted.filter((file) => !unstaged.has(file));
  return got.join(',') === found.join(',') ? [] : [`custom files of ${got.join(',')} instead of ${found.join(',')}`];
}

function judgeCompleted({ disk }: SimCoordinator, job: Job, { scored, quarantined }: Expected): readonly string[] {
  const faults: string[] = [];
  const equal = (what: string, found: unknown, wanted: unknown): void => {
    if (String(found) !== String(wanted)) faults.push(`${what}: ${String(found)} instead of ${String(wanted)}`);
  };
  const failed = job.failures.flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index));
  equal(
    'quarantined',
    failed.sort((a, b) => a - b),
    quarantined,
  );
  equal('failed files', job.failedFiles, quarantined.length);
  equal('scored files', job.scoredFiles, scored.length);
  equal('rows', job.rows, scored.length);
  equal('rows by file', [...job.fileRows].filter((rows) => rows === 1).length, scored.length);
  equal('staging segments that the ledger knows', job.segments.size, 0);
  equal('results on their way', job.placing.size, 0);
  equal('mini-batches that are open', job.open, 0);
  equal('cursor', job.cursor, noBatch);
  // All but the one that was being filled, and those that custom files were read from, have gone by themselves.
  const left = [...disk.segments.keys()].filter((segment) => !disk.read.has(segment)).length;
  if (left > 1) faults.push(`${left} staging segments are left on the disk`);
  return faults;
}
