/** `schedule`: created, shown, paused and deleted. */
import { isAbsolute } from 'node:path';
import * as z from 'zod';
import { kindAt } from '../../common/config/deployment-paths.ts';
import { inputText } from '../../common/config/input-location.ts';
import { asLabels } from '../../common/config/process-settings.ts';
import type { CommandContext } from '../command-context.ts';
import { uploadedPath, type Uploads } from '../api/uploads.ts';
import { priorityOf } from '../priority.ts';
import { ask, remove } from '../operate-client.ts';
import type { PathFlags } from '../program-parts.ts';
import type { Column } from '../table.ts';
import { elsewhereNotes } from './sent-input.ts';
import { uploadsOf } from './thing-parts.ts';

export interface ScheduleFlags extends PathFlags {
  readonly cron: string;
  readonly timeZone: string;
  readonly endpoint: string;
  readonly deployment?: string;
  readonly input: string;
  readonly outputPath?: string;
  readonly overwrite?: boolean;
  readonly priority: string;
  readonly compute?: string;
  readonly require?: readonly string[];
  readonly missed?: string;
}

const schedule = z.looseObject({
  name: z.string(),
  cron: z.string(),
  time_zone: z.string(),
  endpoint_name: z.string(),
  deployment_name: z.string().nullable(),
  body: z.record(z.string(), z.unknown()),
  missed: z.string(),
  is_paused: z.boolean(),
  next_runs: z.array(z.string()),
  last_run: z
    .object({
      due_at: z.string(),
      job: z.string().nullable(),
      error: z.object({ code: z.string(), message: z.string() }).nullable(),
    })
    .nullable(),
});
type Schedule = z.infer<typeof schedule>;

const columns: readonly Column<Schedule>[] = [
  { title: 'name', value: ({ name }) => name },
  { title: 'cron', value: ({ cron, time_zone: zone }) => `${cron} (${zone})` },
  {
    title: 'endpoint',
    value: ({ endpoint_name: of, deployment_name: name }) => (name === null ? of : `${of}/${name}`),
  },
  { title: 'next', value: ({ is_paused: isPaused, next_runs: next }) => (isPaused ? 'paused' : (next[0] ?? null)) },
  { title: 'last', value: ({ last_run: last }) => last && (last.job ?? `${last.due_at} ${last.error?.code ?? ''}`) },
];

const sheet: readonly Column<Schedule>[] = [
  ...columns.slice(0, 3),
  { title: 'missed', value: ({ missed }) => missed },
  { title: 'input', value: ({ body }) => (typeof body['input'] === 'string' ? body['input'] : null) },
  { title: 'next', value: ({ is_paused: isPaused, next_runs: next }) => (isPaused ? 'paused' : next.join(', ')) },
  ...columns.slice(4),
  { title: 'error', value: ({ last_run: last }) => last?.error?.message ?? null },
];

function pathOf(name: string, rest = ''): string {
  return `/v1/schedules/${encodeURIComponent(name)}${rest}`;
}

/** @throws USAGE, LOCATION_INVALID */
export async function createSchedule(context: CommandContext, name: string, flags: ScheduleFlags): Promise<number> {
  const { host, output } = context;
  const { cron, timeZone, endpoint, deployment, overwrite, compute, require, missed } = flags;
  const uploads = await uploadsOf(context, await context.transport(), flags);
  for (const note of elsewhereNotes(uploads, { output: flags.outputPath }, host.cwd)) output.note(note);
  const body = {
    input: await scheduledInput(context, flags.input, uploads),
    ...(flags.outputPath === undefined ? {} : { output_path: inputText(flags.outputPath, host.cwd) }),
    ...(overwrite ? { overwrite } : {}),
    ...(compute === undefined ? {} : { compute }),
    ...(require === undefined ? {} : { require: asLabels(require.join(), '--require') }),
    priority: priorityOf(flags.priority),
  };
  const request = {
    ...{ cron, time_zone: timeZone, endpoint_name: endpoint, deployment_name: deployment ?? null, body },
    ...(missed === undefined ? {} : { missed }),
  };
  const made = await ask(context, { path: pathOf(name), method: 'PUT', body: request, reply: schedule });
  output.item(made, sheet);
  return 0;
}

/** A folder may be there only when the schedule is due. @throws LOCATION_INVALID and what sending throws */
async function scheduledInput({ host, output }: CommandContext, text: string, uploads: Uploads): Promise<string> {
  const given = inputText(text, host.cwd);
  const kind = isAbsolute(given) ? await kindAt(given) : null;
  if (kind === null) return given;
  const sent = await uploads.send({ kind, path: given });
  if (!('digest' in sent)) return given;
  output.note(
    `note: ${given} is sent as it is now, and each run scores that; give a place that the coordinator sees for one that changes`,
  );
  return uploadedPath(sent);
}

export async function listSchedules(context: CommandContext): Promise<number> {
  const reply = z.object({ value: z.array(schedule) });
  const { value } = await ask(context, { path: '/v1/schedules', reply });
  context.output.list(value, columns);
  return 0;
}

type Act = (context: CommandContext, name: string) => Promise<number>;

const showing =
  (method: 'GET' | 'POST', rest: string): Act =>
  async (context, name) => {
    const body = method === 'POST' ? { body: {} } : {};
    context.output.item(await ask(context, { path: pathOf(name, rest), method, ...body, reply: schedule }), sheet);
    return 0;
  };

export const scheduleCommands: Readonly<Record<'show' | 'pause' | 'resume' | 'delete', Act>> = {
  show: showing('GET', ''),
  pause: showing('POST', '/pause'),
  resume: showing('POST', '/resume'),
  delete: async (context, name) => {
    await remove(context, pathOf(name));
    context.output.note(`schedule ${name} is deleted; its jobs stay`);
    return 0;
  },
};
