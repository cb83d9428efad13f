/**
 * A job's life beyond its mini-batches: pause, cancel, reopen, prune.
 *
 *   Running ⇄ paused (a flag)
 *   Running ──► CancelRequested ──► Canceled      (when what runs has ended, at the end of the grace, or asked again)
 *   Completed, Failed, Canceled ──► Running       (reopened: resume, retry) ──► …
 *   Completed, Failed, Canceled ──► forgotten     (pruned)
 */
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { Deployment, DeploymentSettings, MiniBatchSize } from '../../common/core/deployment.ts';
import { defaultOutputForm } from '../../common/core/output-form.ts';
import { rowsFileName } from '../../common/core/parts-form.ts';
import { pinnedSplit } from '../../common/core/split.ts';
import { isFinal, type JobState } from '../../common/core/states.ts';
import { hasRoom } from './admission.ts';
import type { BatchTable } from './batch-table.ts';
import type { Command } from './commands.ts';
import type { Event } from './events.ts';
import type { Job, Ledger } from './ledger.ts';
import type { ReopenScope } from './life-events.ts';
import { partsJobOf } from './parts.ts';
import { cutRun, isCutLate } from './plan.ts';
import { reopenPlan } from './reopen-plan.ts';

type CommandOf<K extends Command['kind']> = Extract<Command, { kind: K }>;

/** @throws JOB_NOT_FOUND, JOB_ENDED */
export function pause(ledger: Ledger, command: CommandOf<'pause'>): readonly Event[] {
  const job = knownJob(ledger, command.job);
  if (isFinal(job.state) || job.state === 'CancelRequested') {
    throw new BatchError('JOB_ENDED', `job ${job.name} is ${job.state}; only a job that runs can be paused or go on`);
  }
  const { isPaused } = command;
  return job.isPaused === isPaused ? [] : [{ kind: 'JobPaused', job: job.name, isPaused }];
}

/** What was committed stays in the output's `.partial` file. @throws JOB_NOT_FOUND */
export function cancel(ledger: Ledger, command: CommandOf<'cancel'>): readonly Event[] {
  const job = knownJob(ledger, command.job);
  const { wallMs, graceMs } = command;
  if (isFinal(job.state)) return [];
  if (job.state === 'Finalizing') {
    const inner = partsJobOf(ledger, job);
    // Once all parts are there, the job is as good as done.
    return inner && inner.state !== 'Finalizing' && !isFinal(inner.state) ? [canceled(job, wallMs)] : [];
  }
  if (graceMs <= 0 || job.state === 'CancelRequested') return [canceled(job, wallMs)];
  const untilWallMs = wallMs + graceMs;
  return [{ kind: 'JobStateChanged', job: job.name, state: 'CancelRequested', error: null, wallMs, untilWallMs }];
}

/** @throws JOB_NOT_FOUND */
export function labelJob(ledger: Ledger, command: CommandOf<'label-job'>): readonly Event[] {
  const { name, origin, isArchived } = knownJob(ledger, command.job);
  const { displayName, description, tags, properties } = { ...origin, ...command.labels };
  const labels = { displayName, description, tags, properties };
  return [{ kind: 'JobLabelled', job: name, labels, isArchived: command.isArchived ?? isArchived }];
}

/** Jobs whose grace is over, or which have nothing left that runs. `at`: attended milliseconds. */
export function cancelEnds(ledger: Ledger, at: number, wallMs: number): readonly Event[] {
  const events: Event[] = [];
  for (const job of ledger.jobs.values()) {
    if (job.state !== 'CancelRequested') continue;
    // After a restart, worker nodes come back with what they hold.
    const isStill = job.leased === 0 && job.copy === null && at >= ledger.grantFrom;
    if (isStill || wallMs >= (job.cancelUntilWallMs ?? 0)) events.push(canceled(job, wallMs));
  }
  return events;
}

function canceled(job: Job, wallMs: number): Event {
  const error = { code: 'JOB_CANCELED', message: `job ${job.name} was canceled on request`, detail: '' } as const;
  return { kind: 'JobStateChanged', job: job.name, state: 'Canceled', error, wallMs };
}

/** @throws JOB_NOT_FOUND, JOB_NOT_FINISHED, JOB_ENDED, NOTHING_FAILED */
export function checkReopen(ledger: Ledger, name: Job['name'], scope: ReopenScope): Job {
  const job = knownJob(ledger, name);
  if (!isFinal(job.state) || !job.isSealed) {
    const state = isFinal(job.state) ? `${job.state} and its output is being sealed` : job.state;
    throw new BatchError('JOB_NOT_FINISHED', `job ${name} is ${state}; wait for its end with \`job wait ${name}\``);
  }
  if (job.state !== 'Completed') return job;
  if (scope === 'rest') {
    const hint = job.failedFiles > 0 ? `; \`job retry ${name} --failed-only\` scores its failed files again` : '';
    throw new BatchError('JOB_ENDED', `job ${name} is Completed and has nothing left to score${hint}`);
  }
  if (job.failedFiles === 0) throw new BatchError('NOTHING_FAILED', `no file of job ${name} has failed`);
  return job;
}

/** @throws what {@link checkReopen} throws; JOB_NOT_FINISHED when the job was reopened and ended since it was looked at */
export function reopen(ledger: Ledger, command: CommandOf<'reopen'>): readonly Event[] {
  const job = checkReopen(ledger, command.job, command.scope);
  if (job.reopenings !== command.reopenings) {
    throw new BatchError('JOB_NOT_FINISHED', `job ${job.name} went on meanwhile; ask again`);
  }
  const { scope, deployment } = command;
  const { generation, base, again } = reopenPlan(job, scope);
  const after = { epoch: ledger.epoch, counter: ledger.grants };
  const waits = hasRoom(ledger, job) ? {} : { waits: true as const };
  const events: Event[] = [
    { kind: 'JobReopened', job: job.name, scope, deployment, generation, base, after, ...waits },
  ];
  const rows = { count: job.batches.count };
  for (const { first, sizesBytes } of command.recut ?? []) {
    const run = runAt(job.batches, again, first, sizesBytes.length);
    events.push(...recutEvents(job, run, sizesBytes, deployment.settings.miniBatchSize, rows));
  }
  return events;
}

export type ReopenSettings = {
  readonly [
    K in
      'miniBatchSize' | 'timeoutMs' | 'triesMax' | 'errorThreshold' | 'instanceCountMax' | 'concurrencyPerInstanceMax'
  ]: DeploymentSettings[K] | null;
};

/**
 * What a reopened job goes on with: `base` is its deployment or the one that is to take over, null keeps a setting.
 * @throws REQUEST_INVALID when the rows would not fit those that are there
 */
export function reopenedDeployment(before: Deployment, base: Deployment, given: ReopenSettings): Deployment {
  for (const key of ['outputAction', 'outputFileName', 'outputFormat', 'customOutput'] as const) {
    // Parts are made anew, from the same file of rows.
    const valueOf = ({ settings }: Deployment): string | null =>
      key === 'outputFileName' ? rowsFileName(settings) : settings[key];
    const [wanted, found] = [valueOf(before), valueOf(base)];
    if (wanted === found) continue;
    const message = `the new deployment has ${key} ${found}, the job's output is made with ${wanted}; give it the same`;
    throw new BatchError('REQUEST_INVALID', message);
  }
  const [wanted, found] = [before, base].map(({ settings }) =>
    JSON.stringify(settings.outputForm ?? defaultOutputForm),
  );
  if (wanted !== found) {
    const message = `the new deployment has output ${found}, the job's output is made with ${wanted}; give it the same`;
    throw new BatchError('REQUEST_INVALID', message);
  }
  const { settings } = base;
  return {
    ...base,
    settings: {
      ...settings,
      splitFiles: pinnedSplit(before),
      miniBatchSize: given.miniBatchSize ?? settings.miniBatchSize,
      timeoutMs: given.timeoutMs ?? settings.timeoutMs,
      triesMax: given.triesMax ?? settings.triesMax,
      errorThreshold: given.errorThreshold ?? settings.errorThreshold,
      instanceCountMax: given.instanceCountMax ?? settings.instanceCountMax,
      concurrencyPerInstanceMax: given.concurrencyPerInstanceMax ?? settings.concurrencyPerInstanceMax,
    },
  };
}

export interface PruneQuery {
  /** Null: all that have ended. */
  readonly asked: readonly Job[] | null;
  /** Since their end; null: any. */
  readonly olderThanMs: number | null;
  readonly states: readonly JobState[] | null;
}

/** `isBusy`: something is being done to it already. @throws JOB_NOT_FINISHED when one that was asked for has not ended */
export function jobsToPrune(
  ledger: Ledger,
  { asked, olderThanMs, states }: PruneQuery,
  wallMs: number,
  isBusy: (job: Job) => boolean,
): readonly Job[] {
  const isMeant = ({ endedWallMs, state }: Job): boolean =>
    (olderThanMs === null || (endedWallMs !== null && wallMs - endedWallMs >= olderThanMs)) &&
    (states === null || states.includes(state));
  const hasEnded = (job: Job): boolean => isFinal(job.state) && job.isSealed && !isBusy(job);
  const meant = (asked ?? [...ledger.jobs.values()].filter(hasEnded)).filter(isMeant);
  const running = meant.find((job) => !hasEnded(job));
  if (!running) return meant;
  const message = `job ${running.name} is ${running.state}; only jobs that have ended and are sealed are pruned`;
  throw new BatchError('JOB_NOT_FINISHED', message);
}

/** Neighbouring files that are scored again. */
export interface FileRun {
  readonly first: number;
  readonly count: number;
}

/** In input order. */
export function fileRuns(batches: BatchTable, again: readonly number[]): readonly FileRun[] {
  const runs: { first: number; count: number }[] = [];
  for (const batch of again) {
    const [first, count] = [batches.first(batch), batches.files(batch)];
    const last = runs.at(-1);
    if (last && last.first + last.count === first) last.count += count;
    else runs.push({ first, count });
  }
  return runs;
}

/** By bisection: a job may be made of very many runs. */
function runAt(batches: BatchTable, again: readonly number[], first: number, count: number): readonly number[] {
  let [low, high] = [0, again.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (batches.first(again[middle] as number) < first) low = middle + 1;
    else high = middle;
  }
  let end = low;
  while (end < again.length && batches.first(again[end] as number) < first + count) end += 1;
  return again.slice(low, end);
}

/** Neighbours that are cut anew by one record. */
interface RecutPart {
  readonly batch: number;
  readonly files: number;
}

/**
 * In pieces, so that no record names too many: a piece ends where a mini-batch did. `rows`: that the table will have, which
 * grows with the events. Runs that are uncut stay so when mini-batches are cut late again.
 */
function recutEvents(
  { name, batches }: Job,
  run: readonly number[],
  runBytes: ArrayLike<number>,
  size: MiniBatchSize,
  rows: { count: number },
): readonly Event[] {
  const events: Event[] = [];
  let [done, files] = [0, 0];
  let piece: RecutPart[] = [];
  const flush = (): void => {
    const [first] = piece;
    if (first) {
      const fileBytes = Array.from({ length: files }, (_, index) => runBytes[done + index] as number);
      const { sizes, bytes: sizesBytes } = cutRun(fileBytes, size);
      const uncut = isCutLate(size) ? { fileBytes } : {};
      events.push({ kind: 'Recut', job: name, batch: first.batch, count: piece.length, sizes, sizesBytes, ...uncut });
      rows.count += sizes.length;
    }
    done += files;
    files = 0;
    piece = [];
  };
  for (const batch of run) {
    const isUncut = batches.state(batch) === 'uncut';
    if (isUncut && isCutLate(size)) {
      flush();
      done += batches.files(batch);
      continue;
    }
    const { cuts, parts } = isUncut
      ? smallRuns(name, batches, batch, rows)
      : { cuts: [], parts: [partOf(batches, batch)] };
    events.push(...cuts);
    for (const part of parts) {
      piece.push(part);
      files += part.files;
      if (files >= limits.recutFilesMax) flush();
    }
  }
  flush();
  return events;
}

function partOf(batches: BatchTable, batch: number): RecutPart {
  return { batch, files: batches.files(batch) };
}

/** A long run in parts that a record can name the sizes of. */
function smallRuns(
  job: Job['name'],
  batches: BatchTable,
  run: number,
  rows: { count: number },
): { readonly cuts: readonly Event[]; readonly parts: readonly RecutPart[] } {
  const cuts: Event[] = [];
  const parts: RecutPart[] = [];
  let batch = run;
  let left = batches.files(run);
  for (const files = limits.recutFilesMax; left > files; left -= files) {
    cuts.push({ kind: 'Cut', job, batch, skipped: 0, files });
    parts.push({ batch, files });
    batch = rows.count;
    rows.count += 1;
  }
  return { cuts, parts: [...parts, { batch, files: left }] };
}

/** @throws JOB_NOT_FOUND, JOB_NOT_FINISHED */
export function prune(ledger: Ledger, command: CommandOf<'prune'>): readonly Event[] {
  const job = knownJob(ledger, command.job);
  if (!isFinal(job.state) || !job.isSealed) {
    throw new BatchError('JOB_NOT_FINISHED', `job ${job.name} is ${job.state}; only jobs that have ended are pruned`);
  }
  return [{ kind: 'JobPruned', job: job.name }];
}

function knownJob(ledger: Ledger, name: Job['name']): Job {
  const job = ledger.jobs.get(name);
  if (!job) throw new BatchError('JOB_NOT_FOUND', `there is no job ${name}`);
  return job;
}
