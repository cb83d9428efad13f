/** What is listed, cut and learned of how long it takes, in the ledger. Called by `evolve` alone. */
import type { Deployment } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import { noBatch } from './batch-table.ts';
import { deploymentKey } from './deployment-key.ts';
import type { EventOf } from './events.ts';
import type { Job, Ledger } from './ledger.ts';
import { learn, learnUnfit, nothingLearned, remembered, type Learned } from './rates.ts';

/** Mini-batches at the end of the order. `bytes`: of each, where they are known. */
export function addBatches(job: Job, sizes: readonly number[], bytes: readonly number[] = []): void {
  for (const [index, count] of sizes.entries()) {
    job.pending.push(append(job, count, bytes[index] ?? 0));
  }
}

/** Files at the end of the order of which no mini-batch is cut yet. */
export function addUncut(job: Job, fileBytes: readonly number[]): void {
  const { batches, pending, fileSizes, planned } = job;
  const count = fileBytes.length;
  if (count === 0) return;
  fileSizes.set(planned, fileBytes);
  const bytes = fileSizes.sum(planned, count);
  const { tail } = batches;
  if (tail !== noBatch && batches.state(tail) === 'uncut') {
    batches.extend(tail, count, bytes);
    job.planned += count;
  } else {
    const run = append(job, count, bytes);
    batches.setState(run, 'uncut');
    pending.addRun(run);
  }
  pending.noteFiles(planned, count, job.inputBytes / job.files);
}

/** An uncut row of the table. */
export function addRun({ batches, pending, inputBytes, files }: Job, run: number): void {
  pending.addRun(run);
  pending.noteFiles(batches.first(run), batches.files(run), inputBytes / files);
}

export function append(job: Job, count: number, bytes: number): number {
  const batch = job.batches.append({ first: job.planned, count }, bytes);
  job.planned += count;
  job.open += 1;
  job.total += 1;
  if (job.cursor === noBatch) job.cursor = batch;
  return batch;
}

export function cut(job: Job, { batch: run, skipped, files }: EventOf<'Cut'>): void {
  const { batches, pending, fileSizes } = job;
  const first = batches.first(run);
  const before = batches.count;
  pending.removeRun(run);
  const { batch, rest } = batches.carve(
    run,
    { files: skipped, bytes: fileSizes.sum(first, skipped) },
    { files, bytes: fileSizes.sum(first + skipped, files) },
  );
  pending.push(batch);
  if (batch !== run) pending.addRun(run);
  if (rest !== noBatch) pending.addRun(rest);
  job.open += batches.count - before;
  job.total += batches.count - before;
}

/** A result tells how long its mini-batch took; one with failed files may have given up early. */
export function learnFrom(job: Job, { batch, runSeconds, failed, shadow, ...given }: EventOf<'Committed'>): void {
  if (runSeconds === undefined || failed.length > 0) return;
  // A mini-batch takes the time of both.
  const seconds = runSeconds + (shadow?.runSeconds ?? 0);
  const files = job.batches.files(batch);
  const givenBytes = given.place.length + (given.custom?.length ?? 0);
  const sample = { files, bytes: job.batches.bytesOf(batch), seconds, givenBytes };
  job.learned = learn(job.learned, sample);
}

/** Of an attempt that failed. It is alone on its node from the second time on. */
export function learnFromFailure(job: Job, { batch, failureKind }: EventOf<'AttemptFailed'>): void {
  const { batches } = job;
  if (failureKind !== 'memory' || batches.memoryFailures(batch) === 0 || batches.isPart(batch)) return;
  job.learned = learnUnfit(job.learned, batches.files(batch));
}

/** What earlier jobs with the same scorer have taught. */
export function recall(ledger: Ledger, deployment: Deployment): Learned {
  const learned = ledger.learned.get(deploymentKey(deployment));
  return learned ? remembered(learned) : nothingLearned;
}

/** For the next job; of very many deployments, those are forgotten whose last job is longest ago. */
export function keepLearned(ledger: Ledger, job: Job): void {
  // What a shadow took is not of the deployment.
  if (job.learned.results === 0 || job.shadow) return;
  const key = deploymentKey(job.deployment);
  ledger.learned.delete(key);
  ledger.learned.set(key, job.learned);
  for (const oldest of ledger.learned.keys()) {
    if (ledger.learned.size <= limits.ratesDeploymentsMax) break;
    ledger.learned.delete(oldest);
  }
}
