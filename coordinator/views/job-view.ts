/** A job and a worker node as callers see them. Pure: a picture of the ledger. */
import { join } from 'node:path';
import { below, locationText, parseLocation, type StoreLocation } from '../../common/core/location.ts';
import { isOneFile, rowsFileName } from '../../common/core/parts-form.ts';
import { isFinal } from '../../common/core/states.ts';
import type { JobOriginView, JobView, LastFailureView } from '../api/backend.ts';
import { runningMax } from '../core/admission.ts';
import { wantOfNodes, type ForNodes } from '../core/computes.ts';
import { partialOutputName } from '../core/generation.ts';
import { wantOfRoom } from '../core/granting.ts';
import { isAtWork, type Job, type Ledger } from '../core/ledger.ts';
import { partsJobOf } from '../core/parts.ts';
import { turnOf } from '../core/schedule.ts';
import { isWithinWindow } from '../core/staging-window.ts';
import { circumstancesView } from './circumstances.ts';
import { shadowView } from './shadow-view.ts';

/** What is durable, which the ledger may be ahead of. */
export interface Settled {
  /** Bytes of the output that are final. */
  readonly bytes: number;
  /** Mini-batches. */
  readonly committed: number;
}

/** `settled`: left out where nobody relies on it. */
export function jobView(
  ledger: Ledger,
  job: Job,
  settled: Settled = { bytes: job.outputCommitted, committed: job.committed },
): JobView {
  const inner = partsJobOf(ledger, job);
  return {
    name: job.name,
    status: job.state,
    paused: job.isPaused,
    generation: job.generation,
    waiting: waitingReason(ledger, job),
    deployment: job.deployment.name,
    input_path: job.inputPath,
    output_path: job.outputLocation ?? job.outputDir,
    output_file: outputFile(job),
    created_at: isoTime(job.createdWallMs),
    started_at: job.startedWallMs === null ? null : isoTime(job.startedWallMs),
    ended_at: job.endedWallMs === null ? null : isoTime(job.endedWallMs),
    files: {
      total: job.files,
      is_listed: job.isListed,
      scored: job.scoredFiles,
      taken: job.takenFiles,
      failed: job.failedFiles,
      missing: job.missingFiles,
      skipped: job.skipped,
      skipped_by: job.skippedBy,
      split: job.split,
    },
    since: job.since && { job: job.since.job, output_path: job.since.dir, reason: job.since.reason },
    shadow: shadowView(job),
    mini_batches: {
      total: job.total,
      committed: settled.committed,
      leased: job.leased,
      failed_tries: job.failedTries,
    },
    rows: job.rows,
    parts: inner ? { total: inner.files, is_listed: inner.isListed, made: inner.committed } : null,
    output_bytes: settled.bytes,
    nodes: job.nodes.size,
    quarantined_nodes: [...job.sick].map(([name, { reason }]) => ({ name, reason: reason.message })),
    error: job.error,
    last_failure: lastFailure(job),
    ...originView(job),
  };
}

/** @source Azure ML's `job show`, as far as scripts read it */
function originView(job: Job): JobOriginView {
  const { origin, name } = job;
  const createdAt = isoTime(job.createdWallMs);
  return {
    id: `/v1/jobs/${name}`,
    type: 'pipeline',
    display_name: origin.displayName ?? name,
    experiment_name: origin.experimentName ?? origin.endpoint ?? job.deployment.name,
    endpoint: origin.endpoint,
    revision: origin.revision,
    owner: origin.owner,
    priority: origin.priority,
    compute: origin.compute,
    require: origin.require ?? {},
    description: origin.description,
    tags: origin.tags,
    properties: origin.properties,
    archived: job.isArchived,
    creation_context: { created_at: createdAt, created_by: origin.owner },
    services: { Studio: { endpoint: `/v1/jobs/${name}` }, Tracking: { endpoint: `/v1/jobs/${name}/events` } },
    inputs: { input: { type: 'uri_folder', path: job.inputPath } },
    outputs: { score: { type: 'uri_folder', path: job.outputLocation ?? job.outputDir } },
  };
}

function lastFailure({ failures }: Job): LastFailureView | null {
  const last = failures.at(-1);
  if (!last) return null;
  const { first, count, failure, node, tries, circumstances } = last;
  const message = failure.message.split('\n', 1)[0] ?? '';
  return { first, count, code: failure.code, message, node, tries, ...circumstancesView(circumstances) };
}

/** What is to be said of files without a result; the contract counts them as failed, and nothing else names them. */
export function missingText(missing: number): string {
  const files = missing === 1 ? '1 file has no result' : `${missing} files have no result`;
  return `${files}: run() returned fewer rows than it was given files; return at least one row for each, or raise for one that cannot be scored`;
}

/** The rows lie under their final name only once the job is complete. Null where there is no such file, or more than one. */
function outputFile(job: Job): string | null {
  const { settings } = job.deployment;
  const name = rowsFileName(settings);
  if (name === null) return null;
  const isComplete = job.state === 'Completed' || (isFinal(job.state) && job.sealedGeneration > 0);
  if (!isComplete) return join(job.outputDir, partialOutputName(name, job.generation));
  if (!settings.parts) return endedPlace(job, name);
  return isOneFile(settings.parts) ? endedPlace(job, settings.outputFileName) : null;
}

/** What went to a store lies here no more. */
function endedPlace({ outputDir, outputLocation, state }: Job, name: string): string {
  if (outputLocation === null || state !== 'Completed') return join(outputDir, name);
  return locationText(below(parseLocation(outputLocation) as StoreLocation, name));
}

/** Why a job that has not ended does not go on; null when it does. */
export function waitingReason(ledger: Ledger, job: Job): string | null {
  if (isFinal(job.state)) return null;
  const stall = wantOfRoom(ledger, job);
  if (stall) return `paused: ${stall.message}`;
  if (job.state === 'Finalizing') {
    const inner = partsJobOf(ledger, job);
    return inner ? waitingReason(ledger, inner) : null;
  }
  if (job.state === 'CancelRequested')
    return `what runs may end until ${isoTime(job.cancelUntilWallMs ?? 0)}; cancel again to kill it`;
  if (job.isPaused) return `paused on request; \`batchmill job resume ${job.rowsOf ?? job.name}\` goes on`;
  const queued = queuedReason(ledger, job);
  if (queued !== null) return queued;
  const live = [...ledger.nodes.values()].filter(isAtWork);
  if (live.length === 0) return noNodesText(ledger);
  if (live.every((node) => job.sick.has(node.name))) {
    const names = live.map((node) => node.name).join(', ');
    return `every worker node that is connected is quarantined (${names}); \`batchmill node release\` ends it`;
  }
  const preparing = preparationOf(ledger, job);
  if (preparing !== null) return preparing;
  const first = goesFirst(ledger, job);
  if (first !== null) {
    const { priority } = first.origin;
    const rest = job.leased > 0 ? '; what runs of this one goes on to its end' : '';
    return `job ${first.rowsOf ?? first.name} goes first (priority ${priority}, this one ${job.origin.priority})${rest}`;
  }
  if (isHeldBack(ledger, job)) {
    const staged = `${ledger.stagedBytes} bytes of results wait for their turn, ${ledger.stagingBytesMax} may`;
    return `${staged}: only what they wait for is scored (\`coordinator start --staging-bytes\`)`;
  }
  if (job.leased > 0) return null;
  if (job.files === 0 && !job.isListed) return 'the input is being listed';
  if (!job.pending.isEmpty) return 'every slot is busy with other work';
  if (job.waiting.size > 0) return `${job.waiting.size} mini-batches failed and are tried again after a pause`;
  return null;
}

/** What its endpoint or its compute has against it. */
function queuedReason(ledger: Ledger, job: Job): string | null {
  const max = runningMax(ledger, job);
  if (max !== null && job.state === 'Preparing' && job.total > 0) {
    const jobs = max === 1 ? '1 job' : `${max} jobs`;
    return `endpoint ${job.origin.endpoint} runs ${jobs}, as many as it may at once; this one begins when one of them has ended`;
  }
  return wantOfNodes(ledger, job.origin);
}

/** The job of a higher priority that has something to lease before this one; null when there is none. */
export function goesFirst(ledger: Ledger, job: Job): Job | null {
  const { priority } = job.origin;
  if (job.pending.isEmpty || ledger.runnable.priorityMax <= priority) return null;
  const isServed = (nodes: ForNodes): boolean => wantOfNodes(ledger, nodes) === null;
  const next = ledger.runnable.inTurn({ ...turnOf(ledger), isServed }, priority).next();
  return next.done === true ? null : next.value;
}

function isHeldBack(ledger: Ledger, job: Job): boolean {
  const next = job.pending.first();
  return next !== undefined && !isWithinWindow(ledger, job, next);
}

/** Why nothing can be granted to anybody. */
export function noNodesText(ledger: Ledger): string {
  const held = [...ledger.nodes.values()].filter((node) => node.isConnected && node.isHeldBack);
  if (held.length === 0) return 'no worker node is connected; start one with `batchmill worker join`';
  const names = held.map(({ name }) => name).join(', ');
  return `every worker node that is connected is cordoned or quarantined (${names}); \`batchmill node uncordon\` or \`node release\` gives it work again`;
}

/** What all nodes that hold leases of the job are still preparing, in the words of the first; null when one scores. */
export function preparationOf(ledger: Ledger, job: Job): string | null {
  const nodes = [...job.nodes.keys()].flatMap((name) => ledger.nodes.get(name) ?? []);
  const first = nodes[0];
  if (first === undefined || !nodes.every(({ preparations }) => preparations.has(job.name))) return null;
  const more = nodes.length === 1 ? '' : ` (and ${nodes.length - 1} more)`;
  return `${first.name}: ${first.preparations.get(job.name) ?? ''}${more}`;
}

export function isoTime(wallMs: number): string {
  return new Date(wallMs).toISOString();
}
