/**
 * Results: a place for their bytes, and their commit once the bytes are on disk.
 *
 * A small result that is next in order gets the end of the output. Any other gets a place in a staging segment and is
 * copied when its turn comes, so that a slow head never stalls those behind it. The shell writes strictly in the order
 * in which places were given, so that the journal's order of commits is the output's order of bytes.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { failedFiles, type ResultSchema } from '../../common/core/result.ts';
import { isFinal } from '../../common/core/states.ts';
import { formatToken } from '../../common/core/token.ts';
import { noBatch, noPlace, outputSegment, type Place } from './batch-table.ts';
import type { Command } from './commands.ts';
import { failureEvents } from './decide-failure.ts';
import type { Event } from './events.ts';
import { jobOf, utf8Length } from './evolve.ts';
import { findLease, type Copy, type Job, type Ledger, type Lease } from './ledger.ts';

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
  if (lease.placed) return [];
  const job = jobOf(ledger, lease.job);
  const events: Event[] = [];
  const { schema, isNew } = schemaIndex(job, command.summary.rows > 0 ? command.summary.schema : null);
  if (isNew) events.push({ kind: 'SchemaSeen', job: job.name, schema: command.summary.schema as ResultSchema });
  const isNext = job.cursor === lease.batch && lease.uploadSegment === null;
  let outputEnd = job.outputEnd;
  if (isNext && schema >= 0) {
    if (job.schema < 0) {
      events.push({ kind: 'SchemaFixed', job: job.name, schema });
      outputEnd += utf8Length((command.summary.schema as ResultSchema).prologue);
    } else if (job.schema !== schema) {
      const failure = schemaMismatch(job.schemas[job.schema] as ResultSchema, command.summary.schema as ResultSchema);
      return [...events, ...failureEvents(ledger, lease, failure, -1, at)];
    }
  }
  const place = choosePlace(job, lease, command, isNext, outputEnd);
  events.push({
    kind: 'ResultPlaced',
    job: job.name,
    token: lease.token,
    placed: { place, summary: command.summary, schema },
  });
  return events;
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
  const text = JSON.stringify(schema.columns);
  const known = job.schemas.findIndex((other) => JSON.stringify(other.columns) === text);
  return known >= 0 ? { schema: known, isNew: false } : { schema: job.schemas.length, isNew: true };
}

function schemaMismatch(wanted: ResultSchema, found: ResultSchema): Failure {
  const message =
    `the rows have columns ${found.columns.join(', ')}, but the job's first rows have ${wanted.columns.join(', ')}; ` +
    `return the same columns with the same types from every mini-batch`;
  return { code: 'RESULT_SCHEMA_MISMATCH', message, detail: '' };
}

function choosePlace(job: Job, lease: Lease, command: CommandOf<'result'>, isNext: boolean, outputEnd: number): Place {
  const { length, crc32 } = command;
  if (length === 0) return noPlace;
  if (lease.uploadSegment !== null) return { segment: lease.uploadSegment, offset: 0, length, crc32 };
  if (isNext && length <= limits.directAppendBytesMax)
    return { segment: outputSegment, offset: outputEnd, length, crc32 };
  const isRoom = job.stagingSegment > outputSegment && job.stagingEnd + length <= limits.stagingSegmentBytes;
  return isRoom
    ? { segment: job.stagingSegment, offset: job.stagingEnd, length, crc32 }
    : { segment: nextSegment(job), offset: 0, length, crc32 };
}

function nextSegment(job: Job): number {
  return job.stagingSegment + 1;
}

export function written(ledger: Ledger, command: CommandOf<'written'>): readonly Event[] {
  const lease = command.token.epoch === ledger.epoch ? ledger.leases.get(command.token.counter) : undefined;
  if (!lease?.placed) return [];
  const job = jobOf(ledger, lease.job);
  if (isFinal(job.state)) return [];
  const { place, summary, schema } = lease.placed;
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
    },
  ];
}

export function copied(ledger: Ledger, command: CommandOf<'copied'>): readonly Event[] {
  const job = jobOf(ledger, command.job);
  if (!job.copy || isFinal(job.state)) return [];
  const { batches, toOffset } = job.copy;
  return [{ kind: 'Appended', job: job.name, batches, offset: toOffset, dropped: emptied(job, batches) }];
}

/** Segments in which nothing is left once `batches` have gone; the one that is being filled stays. */
function emptied(job: Job, batches: readonly number[]): readonly number[] {
  const taken = new Map<number, number>();
  for (const batch of batches) {
    const { segment } = job.batches.place(batch);
    taken.set(segment, (taken.get(segment) ?? 0) + 1);
  }
  const isFilling = (segment: number): boolean =>
    segment === job.stagingSegment && job.stagingEnd < limits.stagingSegmentBytes;
  return [...taken]
    .filter(([segment, count]) => job.segments.get(segment) === count && !isFilling(segment))
    .map(([segment]) => segment);
}

/**
 * Staged results whose turn has come: a copy to the end of the output, or the end of one whose columns differ.
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
      const node = job.nodeNames[job.batches.node(batch)] ?? null;
      const failure = schemaMismatch(job.schemas[schema] as ResultSchema, job.schemas[own] as ResultSchema);
      if (batches.length === 0) return [...events, { kind: 'Quarantined', job: job.name, batch, failure, node }];
      break;
    }
    if (batches.length > 0 && length + place.length > limits.copyBytesMax) break;
    if (own >= 0 && schema < 0) {
      schema = own;
      events.push({ kind: 'SchemaFixed', job: job.name, schema });
      toOffset += utf8Length(job.schemas[own]?.prologue ?? '');
    }
    batches.push(batch);
    length += place.length;
  }
  if (batches.length === 0) return [];
  const copy: Copy = { batches, toOffset, length };
  return [...events, { kind: 'CopyStarted', job: job.name, copy }];
}
