/** `job submit`, `list`, `show`, and `node list`, `release`. */
import { asCount } from '../../common/config/process-settings.ts';
import { listJobs, showJob, webPage } from '../api/jobs.ts';
import type { CommandContext } from '../command-context.ts';
import { jobColumns, jobSheet, nodeColumns } from '../job-text.ts';
import { resolveInvocation, type InvocationFlags } from './deployment-flags.ts';
import { followCommand } from './job-follow.ts';

export interface SubmitFlags extends InvocationFlags {
  readonly name?: string;
  readonly wait?: boolean;
  readonly stream?: boolean;
}

/** Sends the job and, when asked to, follows it. @returns the exit code */
export async function submitCommand(context: CommandContext, path: string, flags: SubmitFlags): Promise<number> {
  const { output } = context;
  const invocation = await resolveInvocation(context, path, flags);
  const job = await (await context.client()).submit({ ...invocation, name: flags.name ?? null });
  output.note(`job         ${job.name}`);
  if (flags.stream) return await followCommand(context, job.name, 'stream');
  if (flags.wait) return await followCommand(context, job.name, 'wait');
  output.note(`next        batchmill job stream ${job.name}`);
  output.item(job, jobSheet);
  return 0;
}

export interface JobListFlags {
  readonly maxResults?: string;
  readonly allResults?: boolean;
  readonly endpoint?: string;
  readonly deployment?: string;
  readonly status?: string;
  readonly archivedOnly?: boolean;
  readonly includeArchived?: boolean;
  readonly parentJobName?: string;
}

/** @source Azure ML CLI, `job list` */
const resultsDefault = 50;

export async function listCommand({ transport, output }: CommandContext, flags: JobListFlags): Promise<number> {
  const api = await transport();
  if (flags.parentJobName !== undefined) {
    // Scripts look there for the job that has the output.
    output.list([await showJob(api, flags.parentJobName)], jobColumns);
    return 0;
  }
  const asked = flags.maxResults === undefined ? resultsDefault : asCount(flags.maxResults, '--max-results');
  const max = flags.allResults ? Infinity : asked;
  const { endpoint, deployment, status } = flags;
  const archived = flags.archivedOnly ? 'true' : flags.includeArchived ? 'any' : undefined;
  const jobs = await listJobs(api, { endpoint, deployment, status, archived }, max);
  if (jobs.length === 0)
    output.note('no jobs yet; start one with: batchmill job submit DEPLOYMENT --input PATH --output DIR');
  output.list(jobs, jobColumns);
  return 0;
}

export interface ShowFlags {
  readonly web?: boolean;
}

export async function showCommand(context: CommandContext, name: string, flags: ShowFlags): Promise<number> {
  const { transport, output, host } = context;
  const api = await transport();
  const job = await showJob(api, name);
  if (flags.web) {
    const page = webPage(api.origin, job);
    output.note(`web         ${page}`);
    host.openUrl(page);
  }
  output.item(job, jobSheet);
  return 0;
}

export async function nodesCommand({ client, output }: CommandContext): Promise<number> {
  const nodes = await (await client()).nodes();
  if (nodes.length === 0) output.note('no worker nodes; `batchmill coordinator start` says how one joins');
  output.list(nodes, nodeColumns);
  return 0;
}

/** The operator has mended it: it gets work again of the jobs for which it was quarantined. */
export async function releaseNodeCommand({ client, output }: CommandContext, name: string): Promise<number> {
  const nodes = await (await client()).releaseNode(name);
  if (nodes.length === 0) output.note(`${name} is not connected now; it gets work again when it joins`);
  output.list(nodes, nodeColumns);
  return 0;
}
