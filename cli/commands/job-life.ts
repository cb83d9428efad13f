/** `job cancel`, `pause`, `resume`, `retry` and `prune`. */
import { asAgeMs, asCount } from '../../common/config/process-settings.ts';
import { miniBatchSize as miniBatchSizeShape } from '../../common/config/field-types.ts';
import type { LocalDeployment, MiniBatchSize } from '../../common/core/deployment.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { jobStates, type JobState } from '../../common/core/states.ts';
import type { JobView, PrunedView, ReopenRequest } from '../../coordinator/api/backend.ts';
import type { CommandContext } from '../command-context.ts';
import { jobSheet } from '../job-text.ts';
import type { Column } from '../table.ts';
import { loadWithFlags } from './deployment-flags.ts';
import type { PathFlags } from '../program-parts.ts';
import { followCommand } from './job-follow.ts';
import { sentDeployment, uploadsOf } from './thing-parts.ts';

export interface CancelFlags {
  readonly grace?: string;
  readonly force?: boolean;
}

/** Asks for the end and does not wait for it. */
export async function cancelCommand(context: CommandContext, name: string, flags: CancelFlags): Promise<number> {
  const { client, output } = context;
  const graceMs = flags.force
    ? 0
    : flags.grace === undefined
      ? limits.cancelGraceMs
      : asSecondsMs(flags.grace, '--grace');
  const job = await (await client()).cancel(name, graceMs);
  if (job.status === 'CancelRequested' && job.waiting !== null) output.note(job.waiting);
  output.item(job, jobSheet);
  return 0;
}

export async function pauseCommand({ client, output }: CommandContext, name: string): Promise<number> {
  const job = await (await client()).pause(name);
  output.note(`what runs goes on; \`batchmill job resume ${job.name}\` goes on with the rest`);
  output.item(job, jobSheet);
  return 0;
}

export interface ReopenFlags extends PathFlags {
  readonly deployment?: string;
  readonly set?: readonly string[];
  readonly miniBatchSize?: string;
  readonly timeout?: string;
  readonly maxRetries?: string;
  readonly errorThreshold?: string;
  readonly instanceCount?: string;
  readonly slotsPerNode?: string;
  readonly failedOnly?: boolean;
  readonly wait?: boolean;
  readonly stream?: boolean;
}

export async function resumeCommand(context: CommandContext, name: string, flags: ReopenFlags): Promise<number> {
  const request = await reopenRequest(context, flags);
  return await follow(context, await (await context.client()).resume(name, request), flags);
}

/** @throws USAGE without `--failed-only`: nothing else can be asked for yet, and scoring all again is another job */
export async function retryCommand(context: CommandContext, name: string, flags: ReopenFlags): Promise<number> {
  if (!flags.failedOnly) {
    throw new BatchError(
      'USAGE',
      'job retry: say --failed-only to score the failed files again; to score all of them, submit the job once more',
    );
  }
  const request = await reopenRequest(context, flags);
  return await follow(context, await (await context.client()).retry(name, request), flags);
}

async function follow(context: CommandContext, job: JobView, flags: ReopenFlags): Promise<number> {
  if (flags.stream) return await followCommand(context, job, 'stream');
  if (flags.wait) return await followCommand(context, job, 'wait');
  context.output.item(job, jobSheet);
  return 0;
}

async function reopenRequest(context: CommandContext, flags: ReopenFlags): Promise<ReopenRequest> {
  const { deployment, set, miniBatchSize, timeout, maxRetries, errorThreshold, instanceCount, slotsPerNode } = flags;
  if (set !== undefined && deployment === undefined) {
    throw new BatchError('USAGE', '--set changes keys of the YAML that --deployment names; give it too');
  }
  return {
    deployment: deployment === undefined ? null : await sentAnew(context, deployment, flags),
    miniBatchSize: miniBatchSize === undefined ? null : asMiniBatchSize(miniBatchSize),
    timeoutMs: timeout === undefined ? null : asSecondsMs(timeout, '--timeout'),
    triesMax: maxRetries === undefined ? null : asCount(maxRetries, '--max-retries'),
    errorThreshold: errorThreshold === undefined ? null : asThreshold(errorThreshold),
    instanceCountMax: instanceCount === undefined ? null : asCount(instanceCount, '--instance-count'),
    concurrencyPerInstanceMax: slotsPerNode === undefined ? null : asCount(slotsPerNode, '--slots-per-node'),
  };
}

async function sentAnew(context: CommandContext, path: string, flags: ReopenFlags): Promise<LocalDeployment> {
  const deployment = await loadWithFlags(context, path, flags.set ? { set: flags.set } : {});
  return await sentDeployment(await uploadsOf(context, await context.transport(), flags), deployment);
}

export interface PruneFlags {
  readonly olderThan?: string;
  readonly state?: readonly string[];
  readonly all?: boolean;
  readonly dryRun?: boolean;
  readonly output?: boolean;
}

const prunedColumns: readonly Column<PrunedView>[] = [
  { title: 'name', value: (job) => job.name },
  { title: 'status', value: (job) => job.status },
  { title: 'ended', value: (job) => job.ended_at },
  { title: 'output', value: (job) => `${job.output_path}${job.output_removed ? ' (removed)' : ''}` },
];

/** @throws USAGE when nothing says which jobs */
export async function pruneCommand(
  { client, output }: CommandContext,
  names: readonly string[],
  flags: PruneFlags,
): Promise<number> {
  const isChosen = names.length > 0 || flags.olderThan !== undefined || flags.state !== undefined || flags.all === true;
  if (!isChosen) {
    const message = 'job prune: say which jobs: their names, --older-than 30d, --state Failed, or --all';
    throw new BatchError('USAGE', message);
  }
  const isDryRun = flags.dryRun ?? false;
  const pruned = await (
    await client()
  ).prune({
    names,
    olderThanMs: flags.olderThan === undefined ? null : asAgeMs(flags.olderThan, '--older-than'),
    states: flags.state?.map(asState) ?? null,
    isDryRun,
    withOutput: flags.output ?? false,
  });
  output.note(`${pruned.length} jobs ${isDryRun ? 'would be pruned' : 'pruned'}`);
  output.list(pruned, prunedColumns);
  return 0;
}

function asState(text: string): JobState {
  const state = jobStates.find((one) => one.toLowerCase() === text.toLowerCase());
  if (state === 'Completed' || state === 'Failed' || state === 'Canceled') return state;
  throw new BatchError('USAGE', `--state: wanted Completed, Failed or Canceled, found ${JSON.stringify(text)}`);
}

function asSecondsMs(text: string, what: string): number {
  const seconds = Number(text);
  const isSound = text.trim() !== '' && Number.isFinite(seconds) && seconds >= 0;
  if (isSound && seconds * 1_000 <= limits.cancelGraceMsMax) return Math.round(seconds * 1_000);
  throw new BatchError('USAGE', `${what}: wanted seconds, at most a day, found ${JSON.stringify(text)}`);
}

function asMiniBatchSize(text: string): MiniBatchSize {
  const size = miniBatchSizeShape.safeParse(text);
  if (size.success) return size.data;
  throw new BatchError('USAGE', `--mini-batch-size: ${size.error.issues[0]?.message ?? 'wanted files, bytes or auto'}`);
}

function asThreshold(text: string): number {
  if (/^(-1|\d{1,9})$/.test(text.trim())) return Number(text);
  throw new BatchError('USAGE', `--error-threshold: wanted a whole number from -1, found ${JSON.stringify(text)}`);
}
