/**
 * Results: a place for their bytes, and their commit once the bytes are on disk.
 *
 * A small result that is next in order gets the end of the output. Any other gets a place in a staging segment and is
 * copied when its turn comes, so that a slow head never stalls those behind it. The shell writes strictly in the order
 * in which places were given, so that the journal's order of commits is the output's order of bytes.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import type { Circumstances } from '../../common/core/cluster-messages.ts';
import { limits } from '../../common/core/limits.ts';
import {
  failedFiles,
  featuresDifference,
  isSameSchema,
  prologueLength,
  type ResultSchema,
  type ResultSummary,
} from '../../common/core/result.ts';
import { isFinal } from '../../common/core/states.ts';
import { formatToken } from '../../common/core/token.ts';
import { noBatch, noPlace, outputSegment } from './batch-table.ts';
import type { Command } from './commands.ts';
import { failureEvents, withdrawalEvents } from './decide-failure.ts';
import type { Event } from './events.ts';
import { findLease, jobOf, type Copy, type Job, type Ledger, type Lease, type Placed } from './ledger.ts';
import { mismatchAdvice, schemaDifference } from './schema-difference.ts';
import { isInUse } from './staging-window.ts';

type CommandOf<K extends Command['kind']> = Extract<Command, { kind: K }>;

export function uploadBegan(ledger: Ledger, command: CommandOf<'upload-began'>): readonly Event[] {
  const lease = findLease(ledger, command.node, command.token);
  if (!lease) return [refusal(command)];
  if (lease.uploadSegment !== null) return [];
  const job = jobOf(ledger, lease.job);
  return [{ kind: 'UploadSegmentGiven', job: job.name, token: lease.token, segment: nextSegment(job) }];
}

/** `at`: attended milliseconds. */
export function result(ledger: Ledger, command: CommandOf<'result'>, at: number): readonly Event[] {
  const lease = findLease(ledger, command.node, command.token);
  if (!lease) return [refusal(command)];
  const job = jobOf(ledger, lease.job);
  // A twin whose result is on its way to the disk wins: this one is told so when that is committed.
  if (lease.placed || job.batches.state(lease.batch) === 'placed') return [];
  const defect = defectOf(command.summary, job.batches.files(lease.batch));
  if (defect) return refusedResult(ledger, lease, defect, at);
  const events: Event[] = [];
  // Rows without bytes (summary_only) have no columns to agree on.
  const { schema, isNew } = schemaIndex(job, command.length > 0 ? command.summary.schema : null);
  if (isNew) events.push({ kind: 'SchemaSeen', job: job.name, schema: command.summary.schema as ResultSchema });
  // Custom files are kept until the job is sealed, so that their result never goes straight to the output.
  const isNext = job.cursor === lease.batch && lease.uploadSegment === null && command.customLength === 0;
  let outputEnd = job.outputEnd;
  if (isNext && schema >= 0) {
    if (job.schema < 0) {
      events.push({ kind: 'SchemaFixed', job: job.name, schema });
      outputEnd += prologueLength(command.summary.schema as ResultSchema);
    } else if (job.schema !== schema) {
      const failure = schemaMismatch(job.schemas[job.schema] as ResultSchema, command.summary.schema as ResultSchema);
      return [...events, ...refusedResult(ledger, lease, failure, at)];
    }
  }
  const placed = choosePlace(job, lease, command, isNext, outputEnd);
  events.push({
    kind: 'ResultPlaced',
    job: job.name,
    token: lease.token,
    placed: { ...placed, summary: command.summary, ...besideOf(job, command), schema },
  });
  return events;
}

/** What came of the shadow of a job that has one. Names of columns are journaled once: a table may have hundreds. */
function besideOf({ shadowed }: Job, { shadow }: Pick<Placed, 'shadow'>): Pick<Placed, 'shadow'> {
  if (!shadowed || !shadow) return {};
  const isTold = shadow.columns !== null && shadowed.columns !== null;
  return { shadow: isTold ? { ...shadow, columns: { default: [], shadow: [] } } : shadow };
}

/** The attempt has failed although the node thinks otherwise: it is told, and forgets the result. */
function refusedResult(ledger: Ledger, lease: Lease, failure: Failure, at: number): readonly Event[] {
  const { node, token } = lease;
  return [...failureEvents(ledger, lease, failure, -1, at), { kind: 'ResultRefused', node, token, failure }];
}

/** Counts that do not fit the mini-batch would be written over those of its neighbours. */
function defectOf({ rows, fileRows, failed, attribution }: ResultSummary, files: number): Failure | null {
  const isCount = (count: number): boolean => Number.isInteger(count) && count >= 0;
  const isFile = (index: number): boolean => isCount(index) && index < files;
  // Where each row is of a file, the files' rows are all that there are.
  const isSum = attribution !== 'file' || fileRows === null || fileRows.reduce((sum, count) => sum + count, 0) === rows;
  const isSound =
    isCount(rows) &&
    isSum &&
    (fileRows === null || (fileRows.length === files && fileRows.every(isCount))) &&
    failed.every(({ index }) => isFile(index)) &&
    (failed.length === 0 || new Set(failed.map(({ index }) => index)).size === failed.length);
  if (isSound) return null;
  const message =
    `the result of a mini-batch of ${files} files counts ${rows} rows in ${fileRows?.length ?? 'no'} files and ` +
    `${failed.length} failed files, which does not add up; this is a defect of the scoring host`;
  return { code: 'SCORER_OUTPUT_INVALID', message, detail: '' };
}

function refusal(command: {
  readonly node: CommandOf<'result'>['node'];
  readonly token: CommandOf<'result'>['token'];
}): Event {
  const message = `the mini-batch is not leased to ${command.node} under token ${formatToken(command.token)} any more`;
  return {
    kind: 'ResultRefused',
    node: command.node,
    token: command.token,
    failure: { code: 'LEASE_STALE', message, detail: '' },
  };
}

function schemaIndex(job: Job, schema: ResultSchema | null): { readonly schema: number; readonly isNew: boolean } {
  if (!schema) return { schema: -1, isNew: false };
  const known = job.schemas.findIndex((other) => isSameSchema(other, schema));
  return known >= 0 ? { schema: known, isNew: false } : { schema: job.schemas.length, isNew: true };
}

function schemaMismatch(wanted: ResultSchema, found: ResultSchema): Failure {
  const isAlike = isSameSchema({ ...wanted, features: [] }, { ...found, features: [] });
  const features = isAlike ? featuresDifference(wanted, found) : null;
  const message = features ?? `${schemaDifference(wanted.columns, found.columns)}; ${mismatchAdvice}`;
  return { code: 'RESULT_SCHEMA_MISMATCH', message, detail: '' };
}

type Places = Pick<Placed, 'place' | 'custom'>;

function choosePlace(job: Job, lease: Lease, command: CommandOf<'result'>, isNext: boolean, outputEnd: number): Places {
  const { length, crc32, customLength } = command;
  const total = length + customLength;
  if (total === 0) return { place: noPlace, custom: null };
  if (lease.uploadSegment !== null) return stagedAt(lease.uploadSegment, 0, command);
  if (isNext && length <= limits.directAppendBytesMax)
    return { place: { segment: outputSegment, offset: outputEnd, length, crc32 }, custom: null };
  const isRoom = job.stagingSegment > outputSegment && job.stagingEnd + total <= limits.stagingSegmentBytes;
  return isRoom ? stagedAt(job.stagingSegment, job.stagingEnd, command) : stagedAt(nextSegment(job), 0, command);
}

/** Rows, then custom files. */
function stagedAt(segment: number, offset: number, command: CommandOf<'result'>): Places {
  const { length, crc32, customLength, customCrc32 } = command;
  return {
    place: length === 0 ? noPlace : { segment, offset, length, crc32 },
    custom: customLength === 0 ? null : { segment, offset: offset + length, length: customLength, crc32: customCrc32 },
  };
}

function nextSegment(job: Job): number {
  return job.stagingSegment + 1;
}

export function written(ledger: Ledger, command: CommandOf<'written'>): readonly Event[] {
  const lease = command.token.epoch === ledger.epoch ? ledger.leases.get(command.token.counter) : undefined;
  if (!lease?.placed) return [];
  const job = jobOf(ledger, lease.job);
  if (isFinal(job.state)) return [];
  const { place, custom, summary, schema } = lease.placed;
  const failed = summary.failed.map(({ index, code, message }) => ({ index, failure: { code, message, detail: '' } }));
  const missing = failedFiles(summary, job.batches.files(lease.batch)) - failed.length;
  return [
    {
      kind: 'Committed',
      job: job.name,
      batch: lease.batch,
      token: lease.token,
      node: lease.node,
      place,
      schema,
      rows: summary.rows,
      fileRows: summary.fileRows,
      failed,
      missing,
      runSeconds: summary.runSeconds,
      ...(failed.length + missing === 0 ? {} : { circumstances: circumstancesOf(summary) }),
      ...(custom === null ? {} : { custom }),
      ...besideOf(job, lease.placed),
    },
    ...twinReleases(ledger, job, lease),
  ];
}

/** The first commit of a mini-batch wins: whoever else is at it may stop, and what has come of it is dropped. */
function twinReleases(ledger: Ledger, job: Job, winner: Lease): readonly Event[] {
  const others = (job.holders.get(winner.batch) ?? []).filter((counter) => counter !== winner.token.counter);
  return others.map((counter) => {
    const { token, node } = ledger.leases.get(counter) as Lease;
    return { kind: 'LeaseReleased', job: job.name, batch: winner.batch, node, token, isRevoked: true };
  });
}

/** The host lives on, whatever it says of single files. */
function circumstancesOf({ runSeconds, peakMemoryBytes }: ResultSummary): Circumstances {
  return { runSeconds, peakMemoryBytes, hostExit: null };
}

export function copied(ledger: Ledger, command: CommandOf<'copied'>): readonly Event[] {
  // An inner job goes when its outer one has ended, whatever is still on its way to the disk.
  const job = ledger.jobs.get(command.job);
  if (!job?.copy || isFinal(job.state)) return [];
  const { batches, toOffset } = job.copy;
  return [{ kind: 'Appended', job: job.name, batches, offset: toOffset, dropped: emptied(job, batches) }];
}

/** Segments in which nothing is left once `batches` have gone; one in which something is being written stays. */
function emptied(job: Job, batches: readonly number[]): readonly number[] {
  const taken = new Map<number, number>();
  for (const batch of batches) {
    const { segment } = job.batches.place(batch);
    taken.set(segment, (taken.get(segment) ?? 0) + 1);
  }
  const isEmpty = ([segment, count]: readonly [number, number]): boolean =>
    job.segments.get(segment) === count && !isInUse(job, segment);
  return [...taken].filter(isEmpty).map(([segment]) => segment);
}

/**
 * Staged results whose turn has come: a copy to the end of the output, or the withdrawal of one whose columns differ.
 * One copy at a time; `[]` when the head of the order is not there yet.
 */
export function copyEvents(job: Job): readonly Event[] {
  if (job.copy) return [];
  const events: Event[] = [];
  const batches: number[] = [];
  let schema = job.schema;
  let toOffset = job.outputEnd;
  let length = 0;
  for (let batch = job.cursor; batch !== noBatch; batch = job.batches.next(batch)) {
    const state = job.batches.state(batch);
    if (state === 'split' || state === 'quarantined') continue;
    if (state !== 'committed') break;
    const place = job.batches.place(batch);
    if (place.segment <= outputSegment) continue;
    const own = job.batches.schema(batch);
    if (own >= 0 && schema >= 0 && own !== schema) {
      if (batches.length > 0) break;
      const failure = schemaMismatch(job.schemas[schema] as ResultSchema, job.schemas[own] as ResultSchema);
      return withdrawalEvents(job, batch, failure);
    }
    if (batches.length > 0 && length + place.length > limits.copyBytesMax) break;
    if (batches.length === limits.copyBatchesMax) break;
    if (own >= 0 && schema < 0) {
      schema = own;
      events.push({ kind: 'SchemaFixed', job: job.name, schema });
      toOffset += prologueLength(job.schemas[own]);
    }
    batches.push(batch);
    length += place.length;
  }
  if (batches.length === 0) return [];
  const copy: Copy = { batches, toOffset, length };
  return [...events, { kind: 'CopyStarted', job: job.name, copy }];
}
