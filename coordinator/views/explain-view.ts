/** What `explain` answers: hindrances and attempts in words, each with what to do. */
import { seconds } from './seconds-text.ts';
import { noNodesText } from './job-view.ts';
import type { PrintedView } from '../api/backend.ts';
import { attemptsNow, fateOf, hindrances, isComputeKnown, type FileFate, type Hindrance } from '../core/explain.ts';
import type { Job, Ledger } from '../core/ledger.ts';

export interface ReasonView {
  readonly kind: Hindrance['kind'];
  readonly message: string;
}

export interface ExplainView {
  readonly name: string;
  readonly status: Job['state'];
  readonly owner: string;
  readonly priority: number;
  /** Why it does not go on, or not faster; empty when nothing stands against it. */
  readonly reasons: readonly ReasonView[];
  readonly running: readonly {
    readonly files: string;
    readonly node: string;
    readonly state: string;
    readonly seconds: number;
  }[];
  /** Leases beyond those that are told. */
  readonly running_more: number;
  readonly next: string;
  readonly file: FileView | null;
}

export interface FileView {
  readonly path: string;
  readonly state: FileFate['state'];
  readonly files: string;
  readonly happened: string;
  /** As worker nodes noted them, in order of time; those of a node that has died may be missing. */
  readonly attempts: readonly PrintedView[];
}

/** Leases that are told one by one. */
const runningTold = 20;

export function explainView(ledger: Ledger, job: Job, at: number, file: FileView | null): ExplainView {
  const all = attemptsNow(ledger, job, at);
  const told = all.slice(0, runningTold);
  return {
    ...{ name: job.name, status: job.state, owner: job.origin.owner, priority: job.origin.priority },
    reasons: hindrances(ledger, job, at).map((one) => ({ kind: one.kind, message: textOf(ledger, job, one) })),
    running: told.map(({ first, count, node, state, forMs }) => ({
      ...{ files: rangeText(first, count), node, state, seconds: Math.round(forMs) / 1_000 },
    })),
    running_more: all.length - told.length,
    next: nextText(ledger, job),
    file,
  };
}

export function fileView(
  job: Job,
  path: string,
  ordinal: number,
  at: number,
  attempts: readonly PrintedView[],
): FileView {
  const fate = fateOf(job, ordinal, at);
  return { path, state: fate.state, files: rangeText(fate.first, fate.count), happened: fateText(fate), attempts };
}

function textOf(ledger: Ledger, job: Job, one: Hindrance): string {
  switch (one.kind) {
    case 'room':
    case 'compute':
      return one.message;
    case 'paused':
      return `it is paused; \`batchmill job resume ${job.rowsOf ?? job.name}\` goes on`;
    case 'listing':
      return 'the input is being listed; nothing is found yet';
    case 'endpoint-limit':
      return `endpoint ${one.endpoint} may run ${one.max} jobs at once (concurrency_max); it begins by priority and order of submission when one has ended`;
    case 'no-nodes':
      return noNodesText(ledger);
    case 'quarantined':
      return `every worker node for it is quarantined (${one.nodes.join(', ')}); \`batchmill node release NODE\` ends it`;
    case 'restart':
      return `the coordinator was started again and waits for ${one.nodes.join(', ') || 'its worker nodes'}, ${seconds(one.leftMs)} at most`;
    case 'queue':
      return `${one.before === 1 ? '1 job is' : `${one.before} jobs are`} asked before it; the first is ${one.first} (priority ${one.priority}, this one ${job.origin.priority})`;
    case 'window':
      return `${one.stagedBytes} bytes of results wait for their turn, ${one.stagingBytesMax} may: only what they wait for is scored (\`coordinator start --staging-bytes\`)`;
    case 'leaving':
      return `the worker nodes that have a slot free leave too soon for its next mini-batch (${one.nodes.join(', ')}; at most ${seconds(one.leftMs)} of work is left); it waits for one that stays longer (\`batchmill node list\` says until when)`;
    case 'instance-count':
      return `it has as many nodes as instance_count allows (${one.max})`;
    case 'preparing':
      return `${one.node} prepares it: ${one.text}`;
    case 'backoff':
      return `${one.miniBatches === 1 ? '1 mini-batch has' : `${one.miniBatches} mini-batches have`} failed and wait for the next try, the first for ${seconds(one.nextMs)}`;
    case 'busy':
      return `all ${one.slots} slots of ${ledger.ready.nodes} worker nodes are busy`;
  }
}

function nextText(ledger: Ledger, job: Job): string {
  if (job.error) return `it has ended: ${job.error.code}: ${job.error.message}`;
  if (job.state === 'Completed') return 'nothing: it is complete';
  if (job.state === 'CancelRequested') return 'it ends when what runs has ended';
  if (job.state === 'Finalizing') return 'rows are complete; the output is being sealed';
  const next = job.pending.first();
  const note = isComputeKnown(ledger, job)
    ? ''
    : ` (compute ${job.origin.compute} is not registered: every node may score it)`;
  if (next === undefined) return (job.isListed ? 'nothing is left to hand out' : 'more files are being listed') + note;
  const count = job.batches.state(next) === 'uncut' ? 1 : job.batches.files(next);
  return `${rangeText(job.batches.first(next), count)} of ${job.files}${note}`;
}

function fateText(fate: FileFate): string {
  const { state, failures, lostLeases, node, isTaken, againInMs, failed } = fate;
  const tries = [
    ...(failures > 0 ? [`${failures === 1 ? '1 try' : `${failures} tries`} failed`] : []),
    ...(lostLeases > 0 ? [`${lostLeases} ended with their node`] : []),
  ].join(', ');
  const before = tries === '' ? '' : `; ${tries}`;
  const why = failed ? `: ${failed.failure.code}: ${failed.failure.message.split('\n', 1)[0] ?? ''}` : '';
  switch (state) {
    case 'committed':
      if (failed) return `its mini-batch is committed${node === null ? '' : ` from ${node}`}, without this file${why}`;
      return isTaken
        ? 'its rows were taken from an earlier output'
        : `scored and committed${node === null ? '' : ` from ${node}`}${before}`;
    case 'quarantined':
      return `given up${why}${before}; \`batchmill job retry JOB --failed-only\` scores it again`;
    case 'waiting':
      return `it is tried again in ${seconds(againInMs ?? 0)}${before}`;
    case 'leased':
      return `a worker node has it${before}`;
    case 'placed':
      return `scored; the result is being written${before}`;
    case 'pending':
      return `it waits for its turn${before}`;
    case 'not planned':
      return 'it is listed, and waits for its turn';
  }
}

function rangeText(first: number, count: number): string {
  return count === 1 ? `file ${first}` : `files ${first} to ${first + count - 1}`;
}
