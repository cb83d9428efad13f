/** `job archive`, `restore`, `update`: what is said of a job, which changes nothing of its rows. */
import { BatchError } from '../../common/core/batch-error.ts';
import { jobOf, showJob } from '../api/jobs.ts';
import { segment } from '../api/transport.ts';
import type { CommandContext } from '../command-context.ts';
import { applyEdits } from '../edit.ts';
import { jobSheet } from '../job-text.ts';

export interface LabelFlags {
  readonly set?: readonly string[];
}

export async function archiveCommand(
  { transport, output }: CommandContext,
  name: string,
  archived: boolean,
): Promise<number> {
  const api = await transport();
  const job = jobOf(api, await api.ask('PATCH', `/v1/jobs/${segment(name)}`, { body: { archived } }));
  output.note(`${job.name} is ${archived ? 'left out of' : 'in'} \`job list\`${archived ? ' from now on' : ' again'}`);
  output.item(job, jobSheet);
  return 0;
}

const editable = ['display_name', 'description', 'tags', 'properties'] as const;

export async function updateJobCommand(context: CommandContext, name: string, flags: LabelFlags): Promise<number> {
  const { set = [] } = flags;
  const strange = set.find((text) => !editable.some((key) => new RegExp(`^${key}[.=]`).test(text)));
  if (strange !== undefined || set.length === 0) {
    const found = strange === undefined ? 'nothing' : strange;
    throw new BatchError('USAGE', `job update: wanted --set with ${editable.join(', ')}, found ${found}`);
  }
  const api = await context.transport();
  const job = await showJob(api, name);
  const { display_name, description, tags, properties } = job;
  const edits = { set, add: [], remove: [], isForcedText: true };
  const body = applyEdits({ display_name, description, tags, properties }, edits);
  const said = Object.fromEntries(
    Object.entries(body as object).filter(([key]) => set.some((text) => text.startsWith(key))),
  );
  const changed = jobOf(api, await api.ask('PATCH', `/v1/jobs/${segment(job.name)}`, { body: said }));
  context.output.item(changed, jobSheet);
  return 0;
}
