/** `job submit`, `list`, `show`, and `node list`, `release`. */
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

export async function listCommand({ client, output }: CommandContext): Promise<number> {
  const jobs = await (await client()).list();
  if (jobs.length === 0)
    output.note('no jobs yet; start one with: batchmill job submit DEPLOYMENT --input PATH --output DIR');
  output.list(jobs, jobColumns);
  return 0;
}

export async function showCommand({ client, output }: CommandContext, name: string): Promise<number> {
  output.item(await (await client()).show(name), jobSheet);
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
