/** What results do to the ledger: places, commits, copies, and the cursor of the output. Called by `evolve` alone. */
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { prologueLength } from '../../common/core/result.ts';
import { clearSuspicion, noteFailure } from './broken-scorer.ts';
import { isOfNode } from './failure-kind.ts';
import { noBatch, noNode, noPlace, noToken, outputSegment } from './batch-table.ts';
import type { EventOf } from './events.ts';
import { countDown, countUp } from './counts.ts';
import { avoid, endLease, refreshRunnable } from './evolve-lease.ts';
import { append, learnFrom, learnFromFailure } from './evolve-plan.ts';
import { bytesPlace, countStaged, isStaged, noteStaged, noteUnstaged } from './staging-window.ts';
import { noteNodeFailure, noteNodeSuccess } from './sick-nodes.ts';
import type { TakenStretch } from './since.ts';
import {
  countFailed,
  findLease,
  jobOf,
  leaseOf,
  unknownRows,
  type FailedFile,
  type Job,
  type Ledger,
} from './ledger.ts';

export function schemaFixed(job: Job, schema: number): void {
  job.schema = schema;
  const length = prologueLength(job.schemas[schema]);
  job.outputEnd += length;
  job.outputCommitted += length;
}

export function placed(ledger: Ledger, event: EventOf<'ResultPlaced'>): void {
  const job = jobOf(ledger, event.job);
  const lease = leaseOf(ledger, event.token.counter);
  const place = bytesPlace(event.placed);
  lease.placed = event.placed;
  if (lease.uploadSegment === null) ledger.placingBytes += place.length;
  job.batches.setState(lease.batch, 'placed');
  if (place.segment === outputSegment) {
    job.outputEnd = place.offset + place.length;
    moveCursorPast(job, lease.batch);
  } else if (place.segment > outputSegment && lease.uploadSegment === null) {
    job.stagingSegment = place.segment;
    job.stagingEnd = place.offset + place.length;
  }
  if (place.segment > outputSegment) countUp(job.placing, place.segment);
}

export function committed(ledger: Ledger, event: EventOf<'Committed'>): void {
  const job = jobOf(ledger, event.job);
  const { batch, place, custom } = event;
  job.waiting.delete(batch);
  job.avoided.delete(batch);
  const placed = findLease(ledger, event.node, event.token)?.placed;
  // An attempt is under way for both.
  if (placed) job.runTimes.add((placed.summary.runSeconds + (placed.shadow?.runSeconds ?? 0)) * 1_000);
  endLease(ledger, job, event.token.counter, event.token.epoch);
  learnFrom(job, event);
  job.batches.setPlace(batch, place);
  job.batches.setCommit(batch, {
    rows: event.rows,
    schema: event.schema,
    token: event.token,
    node: nodeNumber(job, event.node),
  });
  job.batches.setState(batch, 'committed');
  // Files that no host has seen say nothing about the scorer.
  if (event.failed.length < job.batches.files(batch)) {
    job.isInitialised = true;
    clearSuspicion(job.suspicion);
  }
  noteNodeSuccess(job, event.node);
  // Whatever failed before, its hosts start.
  job.initFailuresOf.delete(event.node);
  recordFiles(job, event);
  if (event.shadow) job.shadowed?.add(batch, event.shadow, event.runSeconds ?? 0);
  job.stillness = null;
  job.open -= 1;
  job.committed += 1;
  job.commits += 1;
  job.rows += event.rows;
  if (place.segment === outputSegment) {
    job.outputCommitted = place.offset + place.length;
    job.outputEnd = Math.max(job.outputEnd, job.outputCommitted);
    if (job.cursor === batch) moveCursorPast(job, batch);
  } else if (place.segment > outputSegment) {
    countUp(job.segments, place.segment);
    noteStaged(ledger, job, batch, place.length);
    job.stagingSegment = Math.max(job.stagingSegment, place.segment);
  }
  if (custom) {
    job.custom.set(batch, custom);
    countUp(job.segments, custom.segment);
    job.stagingSegment = Math.max(job.stagingSegment, custom.segment);
  }
  moveCursor(job);
  refreshRunnable(ledger, job);
}

/** A mini-batch at the end of the order that nobody has to score. */
export function addTaken(job: Job, { files, bytes, rows, fileRows, place }: TakenStretch): void {
  const batch = append(job, files, bytes);
  const schema = place.length > 0 && job.since?.schema ? 0 : -1;
  job.batches.setPlace(batch, place);
  job.batches.setCommit(batch, { rows, schema, token: noToken, node: noNode });
  job.batches.setState(batch, 'committed');
  if (place.segment > outputSegment) countUp(job.segments, place.segment);
  if (fileRows) {
    const first = job.batches.first(batch);
    growFileRows(job, first + files);
    job.fileRows.set(fileRows, first);
  }
  job.open -= 1;
  job.committed += 1;
  job.commits += 1;
  job.rows += rows;
  job.scoredFiles += files;
  job.takenFiles += files;
}

/** Not looked for among thousands with every mini-batch. */
function nodeNumber({ nodeNames, nodeNumbers }: Job, node: NodeName): number {
  for (let number = nodeNumbers.size; number < nodeNames.length; number += 1)
    nodeNumbers.set(nodeNames[number] as NodeName, number);
  const known = nodeNumbers.get(node);
  if (known !== undefined) return known;
  const number = nodeNames.push(node) - 1;
  nodeNumbers.set(node, number);
  return number;
}

function recordFiles(job: Job, event: EventOf<'Committed'>): void {
  const first = job.batches.first(event.batch);
  const count = job.batches.files(event.batch);
  if (event.fileRows) {
    growFileRows(job, first + count);
    job.fileRows.set(event.fileRows, first);
  }
  const { node, circumstances = null } = event;
  for (const { index, failure } of event.failed) {
    addFailed(job, { first: first + index, count: 1, missing: 0, failure, node, tries: 1, circumstances });
  }
  if (event.missing > 0) {
    const failure = { code: 'SCORER_OUTPUT_INVALID', message: missingMessage(event, count), detail: '' } as const;
    addFailed(job, { first, count, missing: event.missing, failure, node, tries: 1, circumstances });
    job.missingFiles += event.missing;
  }
  const failed = event.failed.length + event.missing;
  job.failedFiles += failed;
  job.scoredFiles += count - failed;
}

/** A million files that fail alike must not keep a million tracebacks. */
function addFailed(job: Job, failed: FailedFile): void {
  const { failure } = failed;
  const isMany = job.failures.length >= limits.failureDetailsKept && failure.detail !== '';
  job.failures.push(isMany ? { ...failed, failure: { ...failure, detail: '' } } : failed);
}

/** Of a mini-batch of `files` files. */
function missingMessage({ rows, failed, missing }: EventOf<'Committed'>, files: number): string {
  const given = failed.length === 0 ? `${files} files` : `${files} files, of which ${failed.length} failed by name,`;
  const which = missing === files - failed.length ? 'none of its files has a result' : `${missing} have no result`;
  return (
    `run() returned ${rows} rows for a mini-batch of ${given} and ${which}; return at least one row for each file, ` +
    `or raise an error for a file that cannot be scored`
  );
}

function growFileRows(job: Job, files: number): void {
  if (files <= job.fileRows.length) return;
  const grown = new Uint32Array(Math.max(files, job.fileRows.length * 2)).fill(unknownRows);
  grown.set(job.fileRows);
  job.fileRows = grown;
}

export function copyStarted(job: Job, event: EventOf<'CopyStarted'>): void {
  job.copy = event.copy;
  job.outputEnd = event.copy.toOffset + event.copy.length;
  const last = event.copy.batches.at(-1);
  invariant(last !== undefined, 'a copy moves at least one mini-batch');
  moveCursorPast(job, last);
}

export function appended(ledger: Ledger, job: Job, event: EventOf<'Appended'>): void {
  let offset = event.offset;
  for (const batch of event.batches) {
    const place = job.batches.place(batch);
    if (place.segment > outputSegment) {
      countDown(job.segments, place.segment);
      if (isStaged(job, place.segment)) noteUnstaged(ledger, job, place.length);
    }
    job.batches.setPlace(batch, { ...place, segment: outputSegment, offset });
    offset += place.length;
    if (job.cursor === batch) moveCursorPast(job, batch);
  }
  job.outputCommitted = offset;
  job.outputEnd = Math.max(job.outputEnd, offset);
  job.copy = null;
}

export function attemptFailed(ledger: Ledger, event: EventOf<'AttemptFailed'>): void {
  const job = jobOf(ledger, event.job);
  endLease(ledger, job, event.token.counter, event.token.epoch);
  if (job.batches.state(event.batch) === 'committed') withdraw(ledger, job, event.batch);
  job.failedTries += 1;
  job.stillness = null;
  if (!job.isInitialised) noteFailure(job.suspicion, event.batch, event.failureKind, event.failure);
  learnFromFailure(job, event);
  job.batches.addFailure(event.batch, event.failureKind);
  noteNodeFailure(job, event);
  // While another attempt at it lives there is nothing to try again.
  if (!job.holders.has(event.batch)) {
    job.batches.setState(event.batch, 'waiting');
    job.waiting.set(event.batch, event.readyAt);
    if (isOfNode(event.failureKind, event.failure.code)) avoid(job, event.batch, event.node, event.readyAt);
  }
  refreshRunnable(ledger, job);
}

export function quarantined(ledger: Ledger, event: EventOf<'Quarantined'>): void {
  const job = jobOf(ledger, event.job);
  const { batch } = event;
  job.waiting.delete(batch);
  job.avoided.delete(batch);
  const count = job.batches.files(batch);
  job.open -= 1;
  job.batches.setState(batch, 'quarantined');
  job.failedFiles += count;
  addFailed(job, {
    first: job.batches.first(batch),
    count,
    missing: 0,
    failure: event.failure,
    node: event.node,
    tries: job.batches.failures(batch),
    circumstances: event.circumstances ?? null,
  });
  moveCursor(job);
  refreshRunnable(ledger, job);
}

/** Of a result whose rows are not in the output. */
function withdraw(ledger: Ledger, job: Job, batch: number): void {
  const { batches, failures } = job;
  const [first, count] = [batches.first(batch), batches.files(batch)];
  const own = failures.filter((failure) => failure.first >= first && failure.first < first + count);
  failures.splice(0, failures.length, ...failures.filter((failure) => !own.includes(failure)));
  const { segment, length } = batches.place(batch);
  if (isStaged(job, segment)) noteUnstaged(ledger, job, length);
  takeBack(job, batch, own);
}

/**
 * Takes back what `committed` has counted; `own`: the failures of the mini-batch, which the caller takes off the list, as
 * it takes the bytes off those that are staged.
 */
export function takeBack(job: Job, batch: number, own: readonly FailedFile[]): void {
  const { batches } = job;
  const [first, count, rows] = [batches.first(batch), batches.files(batch), batches.rows(batch)];
  const failed = own.reduce((sum, failure) => sum + countFailed(failure), 0);
  job.missingFiles -= own.reduce((sum, { missing }) => sum + missing, 0);
  job.fileRows.fill(unknownRows, first, first + count);
  job.failedFiles -= failed;
  job.scoredFiles -= count - failed;
  job.rows -= rows;
  job.committed -= 1;
  job.open += 1;
  countDown(job.segments, batches.place(batch).segment);
  releaseCustom(job, batch);
  job.shadowed?.takeBack(batch);
  batches.setPlace(batch, noPlace);
}

/** What is sealed is in the output folder, and its staged copy goes, unless the job may go on from it. */
export function sealed(ledger: Ledger, job: Job, keepsStaging: boolean): void {
  job.isSealed = true;
  job.isStagingKept = keepsStaging;
  if (job.state === 'Completed') job.sealedGeneration = job.generation;
  countStaged(ledger, job);
  if (keepsStaging) return;
  if (job.custom.size > 0) job.isCustomWhole = false;
  for (const batch of [...job.custom.keys()]) releaseCustom(job, batch);
}

function releaseCustom(job: Job, batch: number): void {
  const custom = job.custom.get(batch);
  if (!custom) return;
  job.custom.delete(batch);
  countDown(job.segments, custom.segment);
}

function moveCursorPast(job: Job, batch: number): void {
  job.cursor = job.batches.next(batch);
  moveCursor(job);
}

/** Skips what needs no place: quarantined, split, and committed without bytes. */
export function moveCursor(job: Job): void {
  while (job.cursor !== noBatch) {
    const state = job.batches.state(job.cursor);
    const isSettled =
      state === 'split' ||
      state === 'quarantined' ||
      (state === 'committed' && job.batches.place(job.cursor).segment <= outputSegment);
    if (!isSettled) return;
    job.cursor = job.batches.next(job.cursor);
  }
}
