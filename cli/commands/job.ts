/** `job submit`, `list`, `show`, and `node list`, `release`. */
import { isAbsolute } from 'node:path';
import { kindAt } from '../../common/config/deployment-paths.ts';
import { asCount, asLabels } from '../../common/config/process-settings.ts';
import { plainOrigin } from '../../common/core/job-origin.ts';
import { priorityOf } from '../priority.ts';
import { listJobs, showJob, webPage } from '../api/jobs.ts';
import { uploadedPath, type Uploads } from '../api/uploads.ts';
import type { CommandContext } from '../command-context.ts';
import { jobColumns, jobSheet } from '../job-text.ts';
import { resolveInvocation, type Invocation, type InvocationFlags } from './deployment-flags.ts';
import { followCommand } from './job-follow.ts';
import type { PathFlags } from '../program-parts.ts';
import { elsewhereNotes } from './sent-input.ts';
import { sentDeployment, uploadsOf } from './thing-parts.ts';

export interface SubmitFlags extends InvocationFlags, PathFlags {
  readonly name?: string;
  readonly wait?: boolean;
  readonly stream?: boolean;
  readonly priority?: string;
  readonly compute?: string;
  readonly require?: readonly string[];
}

/** Sends the job and, when asked to, follows it. @returns the exit code */
export async function submitCommand(context: CommandContext, path: string, flags: SubmitFlags): Promise<number> {
  const { output } = context;
  const require = flags.require && asLabels(flags.require.join(), '--require');
  const invocation = await resolveInvocation(context, path, flags);
  const uploads = await uploadsOf(context, await context.transport(), flags);
  const left = { ...flags, since: invocation.since ?? undefined };
  for (const note of elsewhereNotes(uploads, left, context.host.cwd)) output.note(note);
  const sent = await sentInvocation(uploads, invocation);
  const priority = flags.priority === undefined ? 0 : priorityOf(flags.priority);
  const origin = { ...plainOrigin, priority, compute: flags.compute ?? null, ...(require && { require }) };
  const job = await (await context.client()).submit({ ...sent, name: flags.name ?? null, origin });
  output.note(`job         ${job.name}`);
  if (flags.stream) return await followCommand(context, job, 'stream');
  if (flags.wait) return await followCommand(context, job, 'wait');
  output.note(`next        batchmill job stream ${job.name}`);
  output.item(job, jobSheet);
  return 0;
}

/** What the coordinator cannot read on its own disk is sent to it. */
async function sentInvocation(uploads: Uploads, invocation: Invocation): Promise<Invocation> {
  if (uploads.isShared) return invocation;
  const { inputPath, selection } = invocation;
  const deployment = await sentDeployment(uploads, invocation.deployment);
  // The folder of a list is named for what lies in it on the coordinator's machine.
  const kind = isAbsolute(inputPath) && !selection.list ? await kindAt(inputPath) : null;
  const input = kind === null ? null : await uploads.send({ kind, path: inputPath });
  const isSent = input !== null && 'digest' in input;
  return {
    ...invocation,
    deployment,
    inputPath: isSent ? uploadedPath(input) : inputPath,
  };
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
  const archived = flags.archivedOnly ? 'true' : flags.includeArchived ? 'all' : undefined;
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
