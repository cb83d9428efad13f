/** What of a ledger must be the same whether it was lived through or replayed from the journal, as plain data. */
import { noBatch } from '../../coordinator/core/batch-table.ts';
import { isFinal } from '../../common/core/states.ts';
import { unknownRows, type Job, type Ledger } from '../../coordinator/core/ledger.ts';

/**
 * Leases, places of results on their way and all that follows from them end with the process, and are left out.
 * `withCursor` of {@link isQuiet}: while bytes are on their way, the cursor of a live ledger stands beyond them already.
 */
export function ledgerDigest(ledger: Ledger, options: { readonly withCursor: boolean }): unknown {
  return { epoch: ledger.epoch, jobs: [...ledger.jobs.values()].map((job) => jobDigest(job, options.withCursor)) };
}

/** Whether no result and no copy is on its way to the disk. */
export function isQuiet(ledger: Ledger): boolean {
  const isStill = ({ batches, copy }: Job): boolean => {
    for (let batch = 0; batch < batches.count; batch += 1) if (batches.state(batch) === 'placed') return false;
    return copy === null;
  };
  return [...ledger.jobs.values()].every(isStill);
}

function jobDigest(job: Job, withCursor: boolean): unknown {
  const { batches, files } = job;
  const { name, state, error, isSealed, isListed, chunks, inputBytes, skipped, skippedBy, planned, openCut } = job;
  const { isPaused, cancelUntilWallMs, generation, sealedGeneration, reopenings, reopenedAfter } = job;
  const { open, total, outputCommitted, schemas, schema, committed, rows, scoredFiles, failedFiles, missingFiles } =
    job;
  const order: unknown[] = [];
  const bytes: number[] = [];
  for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
    const [first, count] = [batches.first(batch), batches.files(batch)];
    const tries = [
      batches.failures(batch),
      batches.crashes(batch),
      batches.lostLeases(batch),
      batches.memoryFailures(batch),
    ];
    const durable = durableState(job, batch);
    const commit = durable === 'committed' ? commitDigest(job, batch) : null;
    order.push([batch, first, count, durable, tries, commit]);
    bytes.push(batches.bytesOf(batch));
  }
  return {
    ...{ name, state, error, isSealed, isListed, chunks, files, inputBytes, skipped, skippedBy, planned, openCut },
    ...{
      open,
      total,
      outputCommitted,
      schemas,
      schema,
      committed,
      rows,
      scoredFiles,
      failedFiles,
      missingFiles,
      order,
    },
    ...{ isPaused, cancelUntilWallMs, generation, sealedGeneration, reopenings, reopenedAfter },
    staging: [job.isStagingKept, job.isCustomWhole, ...job.bases],
    deployment: job.deployment,
    selection: job.selection,
    failedTries: job.failedTries,
    staged: [job.stagedBytes, job.stagedTo],
    sick: [...job.sick],
    health: [...job.health].map(([node, { blamed, score, elsewhere }]) => [node, [...blamed], score, elsewhere]),
    failures: job.failures,
    bytes,
    learned: job.learned,
    fileBytes: [...job.fileSizes.image()],
    fileRows: [...job.fileRows.subarray(0, knownFiles(job.fileRows))],
    custom: [...job.custom].sort(([a], [b]) => a - b),
    segments: [...job.segments].sort(([a], [b]) => a - b),
    cursor: withCursor && !isFinal(state) ? job.cursor : null,
  };
}

/** The array grows ahead of what is known, in steps of its own. */
function knownFiles(fileRows: Uint32Array): number {
  return fileRows.findLastIndex((rows) => rows !== unknownRows) + 1;
}

function durableState({ batches }: Job, batch: number): string {
  const state = batches.state(batch);
  return state === 'leased' || state === 'placed' || state === 'waiting' ? 'pending' : state;
}

function commitDigest({ batches, nodeNames }: Job, batch: number): unknown {
  const node = nodeNames[batches.node(batch)];
  return [batches.place(batch), batches.token(batch), node, batches.rows(batch), batches.schema(batch)];
}
