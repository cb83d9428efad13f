/**
 * What follows from a command: the events, in order, none of which has happened yet. One small function per command;
 * nothing here writes the ledger, reads a clock or waits.
 */
import { BatchError, type Failure } from '../../common/core/batch-error.ts';
import { emptyInputText } from '../../common/core/input-selection.ts';
import { unreachable } from '../../common/core/invariant.ts';
import type { JobName } from '../../common/core/ids.ts';
import { isFinal } from '../../common/core/states.ts';
import { runningMax } from './admission.ts';
import { noBatch } from './batch-table.ts';
import type { Command } from './commands.ts';
import { brokenScorer } from './broken-scorer.ts';
import { failureEvents } from './decide-failure.ts';
import { hostFailed } from './decide-init.ts';
import { cancel, labelJob, pause, prune, reopen } from './decide-life.ts';
import { holdEvents } from './decide-known.ts';
import { putResource, removeResource } from './decide-registry.ts';
import {
  disconnected,
  heartbeat,
  hello,
  join,
  leaving,
  preparing,
  returned,
  started,
  tick,
  want,
} from './decide-node.ts';
import { orderNode } from './node-orders.ts';
import { copied, copyEvents, result, uploadBegan, written } from './decide-result.ts';
import { recordFormat, type Event } from './events.ts';
import { attended, findLease, jobOf, type Job, type Ledger } from './ledger.ts';
import { cutEnd, cutListed, sumOf } from './plan.ts';
import { stretchesOf } from './since.ts';

type CommandOf<K extends Command['kind']> = Extract<Command, { kind: K }>;

/**
 * Callers who wait for an answer are refused by an error; everything else that is out of place is answered by an event.
 * @throws BatchError NAME_TAKEN (join), REQUEST_INVALID (submit), and what `decide-life.ts`, `decide-registry.ts` and `node-orders.ts` say of their own
 */
export function decide(ledger: Ledger, command: Command, now: number): readonly Event[] {
  const at = attended(ledger, now);
  switch (command.kind) {
    case 'begin':
      return begin(ledger, command, at);
    case 'submit':
      return submit(ledger, command);
    case 'page-listed':
      return pageListed(ledger, command);
    case 'listing-ended':
      return listingEnded(ledger, command);
    case 'fail-job':
      return failJob(jobOf(ledger, command.job), command);
    case 'cancel':
      return cancel(ledger, command);
    case 'pause':
      return pause(ledger, command);
    case 'reopen':
      return reopen(ledger, command);
    case 'prune':
      return prune(ledger, command);
    case 'label-job':
      return labelJob(ledger, command);
    case 'put-resource':
      return putResource(ledger, command);
    case 'remove-resource':
      return removeResource(ledger, command);
    case 'sealed':
      return sealed(jobOf(ledger, command.job), command.wallMs);
    case 'join':
      return join(ledger, command, at);
    case 'hello':
      return hello(ledger, command, at);
    case 'disconnected':
      return disconnected(ledger, command, at);
    case 'heartbeat':
      return heartbeat(ledger, command, at, now);
    case 'want':
      return want(ledger, command);
    case 'order-node':
      return orderNode(ledger, command);
    case 'leaving':
      return leaving(ledger, command);
    case 'started':
      return started(ledger, command, at);
    case 'returned':
      return returned(ledger, command);
    case 'host-failed':
      return hostFailed(ledger, command);
    case 'preparing':
      return preparing(ledger, command);
    case 'attempt-failed': {
      const lease = findLease(ledger, command.node, command.token);
      return lease && !lease.placed
        ? failureEvents(ledger, lease, command.failure, command.fileIndex, at, command.circumstances)
        : [];
    }
    case 'upload-began':
      return uploadBegan(ledger, command);
    case 'result':
      return result(ledger, command, at);
    case 'written':
      return written(ledger, command);
    case 'copied':
      return copied(ledger, command);
    case 'stall':
      return stall(ledger, command);
    case 'room':
      if (command.job !== null && !ledger.jobs.has(command.job)) return [];
      return [{ kind: 'RoomChanged', job: command.job, failure: command.failure }];
    case 'tick':
      return tick(ledger, command, now);
    default:
      return unreachable(command);
  }
}

function begin(ledger: Ledger, command: CommandOf<'begin'>, at: number): readonly Event[] {
  return [
    { kind: 'EpochBegan', epoch: command.epoch, tellsNodes: true, format: recordFormat },
    ...holdEvents(ledger, at),
    ...[...ledger.jobs.values()].flatMap((job) =>
      job.state === 'Queued' ? [toPreparing(job.name, job.createdWallMs)] : [],
    ),
  ];
}

function submit(ledger: Ledger, command: CommandOf<'submit'>): readonly Event[] {
  const outer = command.rowsOf === undefined ? null : ledger.jobs.get(command.rowsOf);
  // It was canceled, or has failed, while the files of its inner job were made.
  if (outer !== null && outer?.state !== 'Finalizing') return [];
  if (ledger.jobs.has(command.job)) {
    throw new BatchError('REQUEST_INVALID', `a job named ${command.job} exists; choose another --name`);
  }
  const { kind: _, ...submitted } = command;
  const after = { epoch: ledger.epoch, counter: ledger.grants };
  return [{ kind: 'JobSubmitted', ...submitted, after }, toPreparing(command.job, command.wallMs)];
}

/** A record of its own: a coordinator may have ended between the two, so that the next one says it. */
function toPreparing(job: JobName, wallMs: number): Event {
  return { kind: 'JobStateChanged', job, state: 'Preparing', error: null, wallMs };
}

function pageListed(ledger: Ledger, command: CommandOf<'page-listed'>): readonly Event[] {
  const job = jobOf(ledger, command.job);
  if (isFinal(job.state)) return [];
  const { chunk, sizesBytes, taken = [] } = command;
  const { miniBatchSize: size } = job.deployment.settings;
  const page = {
    kind: 'PageListed',
    job: job.name,
    chunk,
    files: sizesBytes.length,
    bytes: sumOf(sizesBytes),
  } as const;
  const events: Event[] = [
    taken.length === 0
      ? { ...page, ...cutListed(job.openCut, Array.from(sizesBytes), size) }
      : { ...page, sizes: [], ...stretchesOf(job.openCut, sizesBytes, taken, size) },
  ];
  return events;
}

function listingEnded(ledger: Ledger, command: CommandOf<'listing-ended'>): readonly Event[] {
  const job = jobOf(ledger, command.job);
  if (isFinal(job.state)) return [];
  const { sizes, bytes: sizesBytes } = cutEnd(job.openCut);
  const { skipped, skippedBy, split } = command;
  const by = { ...(skippedBy && { skippedBy: { ...skippedBy } }), ...(split && { split: { ...split } }) };
  return [{ kind: 'ListingEnded', job: job.name, skipped, ...by, sizes, sizesBytes }];
}

function failJob(job: Job, command: CommandOf<'fail-job'>): readonly Event[] {
  if (isFinal(job.state)) return [];
  return [{ kind: 'JobStateChanged', job: job.name, state: 'Failed', error: command.failure, wallMs: command.wallMs }];
}

/** Output, manifest and markers are in place. */
function sealed(job: Job, wallMs: number): readonly Event[] {
  if (job.isSealed) return [];
  // Whoever goes on with it needs what is staged; for a job that is completed, what user code wrote beside failed files.
  const keepsStaging =
    job.state === 'Failed' || job.state === 'Canceled' || (job.failedFiles > 0 && job.custom.size > 0);
  const events: Event[] = [{ kind: 'JobSealed', job: job.name, ...(keepsStaging ? { keepsStaging } : {}) }];
  if (job.state === 'Finalizing') {
    events.unshift({ kind: 'JobStateChanged', job: job.name, state: 'Completed', error: null, wallMs });
  }
  return events;
}

function stall(ledger: Ledger, command: CommandOf<'stall'>): readonly Event[] {
  if (command.job !== null && !ledger.jobs.has(command.job)) return [];
  return [{ kind: 'Stalled', job: command.job, failure: command.failure }];
}

/**
 * What a job does of itself once a command has been dealt with: copy what has its turn, give up, or finish.
 * Called again until it returns nothing.
 */
export function advance(ledger: Ledger, job: Job, wallMs: number): readonly Event[] {
  if (isFinal(job.state) || job.state === 'Finalizing') return [];
  if (job.state === 'CancelRequested') return copyEvents(job);
  const { errorThreshold, outputAction, outputForm } = job.deployment.settings;
  const stateChanged = (state: 'Running' | 'Failed' | 'Finalizing', error: Failure | null): readonly Event[] => [
    { kind: 'JobStateChanged', job: job.name, state, error, wallMs },
  ];
  if (job.state === 'Queued' || job.state === 'Preparing') {
    if (job.total === 0 && !job.isListed) return [];
    // Without anything to do it takes nobody's place; with a limit it begins in its turn.
    return job.total === 0 || runningMax(ledger, job) === null ? stateChanged('Running', null) : [];
  }
  if (errorThreshold >= 0 && job.failedFiles > errorThreshold) {
    return stateChanged('Failed', {
      code: 'ERROR_THRESHOLD_EXCEEDED',
      message: `${job.failedFiles === 1 ? '1 file has' : `${job.failedFiles} files have`} failed, error_threshold allows ${errorThreshold}; ${firstFailure(job)}`,
      detail: job.failures[0]?.failure.detail ?? '',
    });
  }
  const broken = brokenScorer(job.suspicion);
  if (broken) return stateChanged('Failed', broken);
  const copy = copyEvents(job);
  if (copy.length > 0) return copy;
  const isDone = job.isListed && job.open === 0 && job.cursor === noBatch && job.copy === null;
  if (!isDone) return [];
  if (job.files === 0) {
    const message = emptyInputText(job.inputPath, job.selection, job.skippedBy ?? job.skipped);
    return stateChanged('Failed', { code: 'INPUT_EMPTY', message, detail: '' });
  }
  // Where the columns are declared, an output without rows says something as well, unless files have failed.
  const isEmptyWanted = (outputForm?.schema ?? null) !== null && job.failedFiles === 0;
  if (outputAction === 'append_row' && job.rows === 0 && !isEmptyWanted) {
    const message = `no succeeded mini batch item returned from run(): no mini-batch returned a row; ${firstFailure(job)}`;
    return stateChanged('Failed', { code: 'NO_RESULTS', message, detail: job.failures[0]?.failure.detail ?? '' });
  }
  return stateChanged('Finalizing', null);
}

function firstFailure(job: Job): string {
  const first = job.failures[0];
  return first ? `the first failure was ${first.failure.code}: ${first.failure.message}` : 'nothing failed';
}
