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
  // Until the next generation is complete, the folder has the files of the one before.
  const isOlder = job.state !== 'Completed' && job.sealedGeneration > 0;
  const custom = isOlder ? [] : judgeCustom(coordinator, job, customBytes);
  return [...faults, ...state, ...judgeOutput(coordinator, job, expected), ...custom, ...end];
}

/** Rows of all files, or, of a job that was broken off, of the first ones without a gap. */
function judgeOutput({ disk }: SimCoordinator, job: Job, { scored }: Expected): readonly string[] {
  const complete = judgeFolder(disk, job);
  if (complete.length > 0) return complete;
  const isComplete = job.state === 'Completed';
  const file = isComplete ? disk.final?.file : disk.output(job.generation);
  const found = file?.read(0, job.outputCommitted) ?? 'there is no output';
  if (typeof found === 'string') return [found];
  const got = found.map(({ file }) => file);
  if (job.schema >= 0 && got.shift() !== headerRow) return ['the header is not at the start'];
  if (!isComplete && job.reopenings > 0) return judgeFirstRows(job, got);
  const wanted = isComplete ? scored : scored.slice(0, got.length);
  return got.join(',') === wanted.join(',') ? [] : [`rows of files ${got.join(',')} instead of ${wanted.join(',')}`];
}

/** What stands under the final name is what the manifest says, whatever became of the generation after it. */
function judgeFolder({ final, isSuccess, manifest }: SimCoordinator['disk'], job: Job): readonly string[] {
  if (job.sealedGeneration === 0) return isSuccess ? ['_SUCCESS stands beside no complete output'] : [];
  if (!isSuccess || !final || !manifest) return ['a complete output is gone'];
  const generations = [final.generation, manifest.generation, job.sealedGeneration];
  if (new Set(generations).size > 1)
    return [`generations ${generations.join(', ')} of output, manifest and job differ`];
  const end = manifest.bytes;
  const found = final.file.read(0, end);
  const rows = typeof found === 'string' ? found : found.map(({ file }) => file).join(',');
  return rows === manifest.rows.join(',')
    ? []
    : [`the output has ${rows}, its manifest says ${manifest.rows.join(',')}`];
}

/** Of a job that went on and was broken off again: nothing twice, and only files without a verdict or given up are missing. */
function judgeFirstRows(job: Job, got: readonly number[]): readonly string[] {
  const has = new Set(got);
  const isSorted = got.every((file, index) => index === 0 || file > (got[index - 1] as number));
  if (!isSorted) return [`rows of files ${got.join(',')} are out of order`];
  const failed = new Set(
    job.failures.flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at)),
  );
  const last = got.at(-1) ?? -1;
  const missing = Array.from({ length: last }, (_, file) => file).filter((file) => !has.has(file) && !failed.has(file));
  return missing.length === 0 ? [] : [`rows of files ${missing.join(',')} are missing before ${last}`];
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
  const ofCustom = new Set([...job.custom.values()].map(({ segment }) => segment)).size;
  equal('custom files that are kept', job.custom.size > 0, job.isStagingKept);
  equal('staging segments that the ledger knows', job.segments.size, ofCustom);
  equal('results on their way', job.placing.size, 0);
  equal('mini-batches that are open', job.open, 0);
  equal('cursor', job.cursor, noBatch);
  // All but the one that was being filled, and those that custom files were read from, have gone by themselves.
  const left = [...disk.segments.keys()].filter(
    (segment) => !disk.read.has(segment) && !job.segments.has(segment),
  ).length;
  if (left > 1) faults.push(`${left} staging segments are left on the disk`);
  return faults;
}
