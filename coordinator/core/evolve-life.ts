/** What pause, reopening and pruning do to the ledger. Called by `evolve` alone. */
import { noBatch, outputSegment } from './batch-table.ts';
import { clearSuspicion } from './broken-scorer.ts';
import { deploymentKey } from './deployment-key.ts';
import type { EventOf } from './events.ts';
import { refreshRunnable } from './evolve-lease.ts';
import { addRun, recall } from './evolve-plan.ts';
import { moveCursor, takeBack } from './evolve-output.ts';
import { jobOf, type Job, type Ledger } from './ledger.ts';
import { partsJobOf } from './parts.ts';
import { reopenPlan } from './reopen-plan.ts';
import { RunTimes } from './run-times.ts';
import { countStaged, noteUnstaged } from './staging-window.ts';

export function jobPaused(ledger: Ledger, event: EventOf<'JobPaused'>): void {
  const job = jobOf(ledger, event.job);
  // One record for both, so that no crash can part them.
  for (const one of [job, partsJobOf(ledger, job)]) {
    if (!one) continue;
    one.isPaused = event.isPaused;
    refreshRunnable(ledger, one);
  }
}

export function jobPruned(ledger: Ledger, event: EventOf<'JobPruned'>): void {
  const job = jobOf(ledger, event.job);
  noteUnstaged(ledger, job, job.stagedBytes);
  ledger.jobs.delete(event.job);
  ledger.runnable.delete(job);
}

/** What is scored again is as new; everything else keeps its place, in the base when the output begins anew. */
export function jobReopened(ledger: Ledger, event: EventOf<'JobReopened'>): void {
  const job = jobOf(ledger, event.job);
  const plan = reopenPlan(job, event.scope, event.base?.segment);
  const { batches } = job;
  job.pending.clear();
  job.waiting.clear();
  job.copy = null;
  job.placing.clear();
  for (const batch of plan.again) {
    const own = plan.failures.get(batch) ?? [];
    if (batches.state(batch) === 'committed') takeBack(job, batch, own);
    else if (batches.state(batch) === 'quarantined') job.failedFiles -= batches.files(batch);
    // A run stays one.
    if (batches.state(batch) === 'uncut') {
      addRun(job, batch);
      continue;
    }
    batches.renew(batch);
    job.pending.push(batch);
  }
  job.failures.length = 0;
  for (const failure of plan.failuresKept) job.failures.push(failure);
  if (event.base) rebase(job, event.base.segment);
  replaceAll(job.segments, plan.segments);
  if (event.base) job.bases.set(event.base.segment, event.base.file);
  countAgain(job, plan.again.length);
  if (deploymentKey(event.deployment) !== deploymentKey(job.deployment)) job.learned = recall(ledger, event.deployment);
  job.deployment = event.deployment;
  job.generation = event.generation;
  job.reopenings += 1;
  job.reopenedAfter = event.after;
  job.schema = plan.schema;
  job.outputCommitted = plan.outputCommitted;
  job.outputEnd = plan.outputCommitted;
  job.stagingSegment = Math.max(job.stagingSegment, event.base?.segment ?? outputSegment);
  job.stagingEnd = Number.POSITIVE_INFINITY;
  job.cursor = batches.head;
  moveCursor(job);
  begin(job, event.waits === true);
  ledger.loads.note(job);
  countStaged(ledger, job);
  refreshRunnable(ledger, job);
}

/** The rows of committed mini-batches lie in an earlier output now. */
function rebase(job: Job, segment: number): void {
  const { batches } = job;
  for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
    if (batches.state(batch) !== 'committed') continue;
    const place = batches.place(batch);
    if (place.segment === outputSegment) batches.setPlace(batch, { ...place, segment });
  }
}

function countAgain(job: Job, open: number): void {
  const { batches } = job;
  job.open = open;
  job.total = 0;
  for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
    if (batches.state(batch) !== 'split') job.total += 1;
  }
}

/** Whether its scorer works, on which nodes and how fast, is an open question again. */
function begin(job: Job, waits: boolean): void {
  job.state = job.total === 0 || waits ? 'Preparing' : 'Running';
  job.error = null;
  job.endedWallMs = null;
  job.isSealed = false;
  job.isPaused = false;
  job.cancelUntilWallMs = null;
  job.stillness = null;
  job.stall = null;
  job.holders.clear();
  job.avoided.clear();
  job.health.clear();
  job.sick.clear();
  job.runTimes = new RunTimes();
  job.isInitialised = false;
  job.initFailures = 0;
  job.initFailuresOf.clear();
  clearSuspicion(job.suspicion);
}

export function recut(ledger: Ledger, event: EventOf<'Recut'>): void {
  const job = jobOf(ledger, event.job);
  const { old, cut } = job.batches.recut(event.batch, event.count, event.sizes, event.sizesBytes);
  if (old.has(job.cursor)) job.cursor = cut[0] as number;
  job.open += cut.length - old.size;
  job.total += cut.length - old.size;
  for (const batch of old) job.pending.removeRun(batch);
  if (event.fileBytes) uncut(job, cut, event.fileBytes);
  else for (const batch of cut) job.pending.push(batch);
  refreshRunnable(ledger, job);
}

/** One run in the place of the mini-batches that were there. */
function uncut(job: Job, runs: readonly number[], fileBytes: readonly number[]): void {
  for (const run of runs) {
    job.fileSizes.set(job.batches.first(run), fileBytes);
    job.batches.setState(run, 'uncut');
    addRun(job, run);
  }
}

function replaceAll<K, V>(target: Map<K, V>, source: ReadonlyMap<K, V>): void {
  target.clear();
  for (const [key, value] of source) target.set(key, value);
}

export function jobLabelled(ledger: Ledger, { job: name, labels, isArchived }: EventOf<'JobLabelled'>): void {
  const job = jobOf(ledger, name);
  job.origin = { ...job.origin, ...labels };
  job.isArchived = isArchived;
}
