/**
 * The second stage of a job whose output is made of parts. When its rows are all committed, they stand in one file in input order.
 * An inner job, whose input files are runs of those rows, makes the parts from it: leased, tried again and committed as any other.
 * Its plan follows from what is committed, so that a restart makes the same one.
 *
 *   outer   Running ──► Finalizing ─────────────────────────────────► Completed
 *                           │                                        ▲
 *   inner                   └► Preparing ──► Running ──► Finalizing ─┘  (its files are published: the outer job is sealed with them)
 *                                               └──────► Failed ──────► the outer job fails with it
 *
 * When the outer job has ended, the inner one is forgotten.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import { combineCrc32 } from '../../common/core/crc32-combine.ts';
import type { Deployment, EncodeScorer } from '../../common/core/deployment.ts';
import { jobName, type JobName } from '../../common/core/ids.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { defaultOutputForm } from '../../common/core/output-form.ts';
import { hasParts, isOneFile, type PartsForm } from '../../common/core/parts-form.ts';
import { prologueLength } from '../../common/core/result.ts';
import { isFinal, type JobState } from '../../common/core/states.ts';
import { noBatch, outputSegment } from './batch-table.ts';
import type { Event } from './events.ts';
import { jobOf, type Job, type Ledger } from './ledger.ts';

/** No job that somebody submits has such a name. */
export function partsJobName(outer: JobName): JobName {
  return jobName(`${outer}~parts`);
}

/** The inner job of `job`; undefined when there is none. */
export function partsJobOf(ledger: Ledger, job: Job): Job | undefined {
  return hasParts(job.deployment.settings) ? ledger.jobs.get(partsJobName(job.name)) : undefined;
}

/** Whether parts are to be made of the rows of a job that has all of them. A partitioned output without rows has none. */
export function needsParts({ deployment, rows }: Job): boolean {
  const { settings } = deployment;
  return hasParts(settings) && (rows > 0 || settings.parts?.partitionBy.length === 0);
}

/** Neighbouring rows in the file of rows, whole mini-batches of them. */
export interface RowRange {
  readonly offset: number;
  readonly bytes: number;
  readonly rows: number;
  readonly crc32: number;
}

/** In input order; they tile the rows. One of no bytes when there are none. */
export function* rowRanges(job: Job): Generator<RowRange, void, void> {
  const { batches } = job;
  const { rows: rowsMax, bytes: bytesMax } = rangeSize(job.deployment.settings.parts as PartsForm);
  let open: RowRange = { offset: prologueLength(job.schemas[job.schema]), bytes: 0, rows: 0, crc32: 0 };
  let count = 0;
  for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
    if (batches.state(batch) !== 'committed') continue;
    const place = batches.place(batch);
    if (place.segment !== outputSegment || place.length === 0) continue;
    const rows = batches.rows(batch);
    const isFull = open.rows + rows > rowsMax || open.bytes + place.length > bytesMax;
    if (open.bytes > 0 && isFull) {
      yield open;
      count += 1;
      open = { offset: open.offset + open.bytes, bytes: 0, rows: 0, crc32: 0 };
    }
    invariant(place.offset === open.offset + open.bytes, 'the rows of a job that has all of them have no gaps');
    const crc32 = combineCrc32(open.crc32, place.crc32, place.length);
    open = { offset: open.offset, bytes: open.bytes + place.length, rows: open.rows + rows, crc32 };
  }
  if (open.bytes > 0 || count === 0) yield open;
}

/** Partitions are cut by what reads them: a run of rows has a bit of each. */
function rangeSize({ partitionBy, fileRows, fileBytes }: PartsForm): { readonly rows: number; readonly bytes: number } {
  const none = Number.POSITIVE_INFINITY;
  if (partitionBy.length > 0) return { rows: none, bytes: Math.max(fileBytes ?? 0, limits.partitionRangeBytes) };
  return { rows: fileRows ?? none, bytes: fileBytes ?? none };
}

/** Name of the file that a range becomes, or (partitions) those in each folder that it has rows for. */
export function partName(job: Job, index: number): string {
  const { parts, outputFileName } = job.deployment.settings;
  return isOneFile(parts as PartsForm)
    ? outputFileName
    : outputFileName.replace(/^part-0+/, `part-${String(index).padStart(5, '0')}`);
}

/** Deployment of the inner job. `release`: of this program. */
export function partsDeployment(job: Job, release: string): Deployment {
  const { name, deployment } = job;
  const { settings } = deployment;
  const parts = settings.parts as PartsForm;
  let bytesMax = 0;
  for (const range of rowRanges(job)) bytesMax = Math.max(bytesMax, range.bytes);
  const scorer: EncodeScorer = {
    kind: 'encode',
    parts,
    rows: settings.outputFormat,
    metadata: {
      'batchmill.release': release,
      'batchmill.job': name,
      'batchmill.deployment': deployment.name,
      ...(deployment.model ? { 'batchmill.model': deployment.model.digest } : {}),
      ...(deployment.code ? { 'batchmill.code': deployment.code.digest } : {}),
    },
  };
  return {
    name: deployment.name,
    scorer,
    model: null,
    code: null,
    environment: { kind: 'host', python: null },
    settings: {
      miniBatchSize: { kind: 'files', files: 1 },
      triesMax: Math.max(settings.triesMax, limits.partsTriesMin),
      timeoutMs: limits.partsTimeoutMs + Math.ceil((bytesMax / limits.partsBytesPerSecondMin) * 1_000),
      errorThreshold: 0,
      isolation: 'mini_batch',
      outputAction: 'append_row',
      outputFileName: partsListName,
      outputFormat: 'jsonl',
      outputForm: defaultOutputForm,
      parts: null,
      loggingLevel: settings.loggingLevel,
      environmentVariables: {},
      instanceCountMax: settings.instanceCountMax,
      concurrencyPerInstanceMax: null,
      recursive: true,
      include: [],
      exclude: [],
      customOutput: 'collected',
      memoryBytesMax: null,
      speculation: 'auto',
      progressTimeoutMs: null,
    },
  };
}

/** What an inner job tells of the files that it made: a `PartFile` a line. */
export const partsListName = 'parts.jsonl';

/** What the end of an outer job means for its inner one, and the other way round. */
export function partsEvents(ledger: Ledger, job: Job, wallMs: number): readonly Event[] {
  const inner = job.rowsOf === null ? partsJobOf(ledger, job) : job;
  if (!inner) return [];
  const outer = jobOf(ledger, inner.rowsOf as JobName);
  const stateChanged = (name: JobName, state: JobState, error: Failure | null): readonly Event[] => [
    { kind: 'JobStateChanged', job: name, state, error, wallMs },
  ];
  // Of the two records that end the outer job a crash may have kept the first alone.
  const isAwaited = outer.state === 'Finalizing' || (outer.state === 'Completed' && !outer.isSealed);
  if (isAwaited) return isFinal(inner.state) ? stateChanged(outer.name, inner.state, whyOf(inner)) : [];
  if (isFinal(inner.state)) return [{ kind: 'JobPruned', job: inner.name }];
  return stateChanged(inner.name, outer.state === 'Completed' ? 'Completed' : 'Canceled', outer.error);
}

/** The part that could not be made says more than that one could not. */
function whyOf({ failures, error }: Job): Failure | null {
  const [first] = failures;
  if (!first) return error;
  const { code, message, detail } = first.failure;
  return { code, message: `part ${first.first} of the output cannot be made: ${message}`, detail };
}
