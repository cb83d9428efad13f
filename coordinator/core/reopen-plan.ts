/**
 * What becomes of each mini-batch when a job that had ended is reopened, as plain data: which are scored again, where
 * the rows of the others lie, and whether the output can go on where it ended. The same for who decides, who applies
 * and who opens the files.
 */
import { prologueLength } from '../../common/core/result.ts';
import { noBatch, outputSegment } from './batch-table.ts';
import { outputNameOf } from './generation.ts';
import type { FailedFile, Job } from './ledger.ts';
import type { OutputBase, ReopenScope } from './life-events.ts';

export interface ReopenPlan {
  /** Mini-batches that are scored again, in input order. */
  readonly again: readonly number[];
  /** The failures of each that has some. */
  readonly failures: ReadonlyMap<number, readonly FailedFile[]>;
  /** Of the files whose mini-batches stay as they are. */
  readonly failuresKept: readonly FailedFile[];
  readonly generation: number;
  readonly base: OutputBase | null;
  /** Index of the job's schema afterwards; −1 when no row of it is left. */
  readonly schema: number;
  /** Committed end of the output: in a new generation, of its prologue. */
  readonly outputCommitted: number;
  /** What lies in segments other than the output, the base included: results by segment. */
  readonly segments: ReadonlyMap<number, number>;
}

/** `baseSegment`: the first number that is free; a replay may not know all that were given away, and has it from the event. */
export function reopenPlan(job: Job, scope: ReopenScope, baseSegment: number = job.stagingSegment + 1): ReopenPlan {
  const { batches } = job;
  const failures = failuresByBatch(job);
  const again: number[] = [];
  const kept: number[] = [];
  let isGap = false;
  let isSpliced = false;
  for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
    const state = batches.state(batch);
    if (state === 'split') continue;
    const isInOutput = state === 'committed' && batches.place(batch).segment === outputSegment;
    const isKept = state === 'committed' && !isGone(job, batch) && (scope === 'rest' || !failures.has(batch));
    if (isKept) {
      kept.push(batch);
      isSpliced ||= isGap && isInOutput;
    } else {
      again.push(batch);
      isGap = true;
      // Its rows stand in the output and must not.
      isSpliced ||= isInOutput;
    }
  }
  const isNew = isSpliced || job.sealedGeneration === job.generation;
  const hasRows = kept.some((batch) => batches.rows(batch) > 0);
  const schema = isNew && !hasRows ? -1 : job.schema;
  const segments = segmentsOf(job, kept, isNew ? baseSegment : null);
  return {
    again,
    failures,
    failuresKept: kept.flatMap((batch) => failures.get(batch) ?? []),
    generation: job.generation + (isNew ? 1 : 0),
    base: segments.has(baseSegment) ? { segment: baseSegment, file: outputNameOf(job) } : null,
    schema,
    outputCommitted: isNew ? prologueLength(job.schemas[schema]) : job.outputCommitted,
    segments,
  };
}

/** Its rows were staged by a release that dropped the staging of a job with its end. */
function isGone(job: Job, batch: number): boolean {
  const { segment } = job.batches.place(batch);
  return !job.isStagingKept && segment > outputSegment && !job.bases.has(segment);
}

function segmentsOf(job: Job, kept: readonly number[], base: number | null): ReadonlyMap<number, number> {
  const segments = new Map<number, number>();
  const count = (segment: number): void => void segments.set(segment, (segments.get(segment) ?? 0) + 1);
  for (const batch of kept) {
    const { segment } = job.batches.place(batch);
    if (segment > outputSegment) count(segment);
    else if (segment === outputSegment && base !== null) count(base);
    const custom = job.custom.get(batch);
    if (custom) count(custom.segment);
  }
  return segments;
}

/** In input order both, so that one pass tells. */
function failuresByBatch({ batches, failures }: Job): ReadonlyMap<number, FailedFile[]> {
  const sorted = [...failures].sort((a, b) => a.first - b.first);
  const found = new Map<number, FailedFile[]>();
  let batch = batches.head;
  for (const failure of sorted) {
    const isBefore = (at: number): boolean =>
      batches.state(at) === 'split' || batches.first(at) + batches.files(at) <= failure.first;
    while (batch !== noBatch && isBefore(batch)) batch = batches.next(batch);
    if (batch === noBatch) break;
    const own = found.get(batch);
    if (own) own.push(failure);
    else found.set(batch, [failure]);
  }
  return found;
}
