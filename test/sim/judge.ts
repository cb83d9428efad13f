/** The verdict on one simulated job. */
import { noBatch } from '../../coordinator/core/batch-table.ts';
import type { Job } from '../../coordinator/core/ledger.ts';
import { headerRow, type SimCoordinator } from './sim-coordinator.ts';
import type { Expected } from './sim-plan.ts';

export interface JudgeOptions {
  readonly coordinator: SimCoordinator;
  readonly expected: Expected;
  readonly isCanceled: boolean;
}

/** What is wrong: rows that are lost, doubled or out of place, files without a verdict, counts that do not add up. */
export function judge({ coordinator, expected, isCanceled }: JudgeOptions): readonly string[] {
  const { job, faults } = coordinator;
  if (!job) return [...faults, 'the job is gone'];
  const isAsExpected = job.state === expected.state || (isCanceled && job.state === 'Canceled');
  const state = isAsExpected ? [] : [`the job ended as ${job.state}, not ${expected.state}: ${job.error?.message}`];
  const end = job.state === 'Completed' ? judgeCompleted(coordinator, job, expected) : [];
  return [...faults, ...state, ...judgeOutput(coordinator, job, expected), ...end];
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
  // All but the one that was being filled have gone by themselves.
  if (disk.segments.size > 1) faults.push(`${disk.segments.size} staging segments are left on the disk`);
  return faults;
}
