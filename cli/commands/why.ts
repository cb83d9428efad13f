/** `why`: where a row of an output comes from; folders here are read here, jobs by the coordinator. */
import { dirname, resolve } from 'node:path';
import * as z from 'zod';
import { kindAt } from '../../common/config/deployment-paths.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { whyRow, type RowOrigin } from '../../coordinator/why/why-row.ts';
import type { CommandContext } from '../command-context.ts';
import { ask } from '../operate-client.ts';
import type { Column } from '../table.ts';

const text = z.string();
const count = z.number();
const reply: z.ZodType<RowOrigin> = z.looseObject({
  ...{ job: text, deployment: text, endpoint: text.nullable(), revision: count.nullable(), model: text.nullable() },
  ...{ row: count, text: text.nullable(), grain: z.enum(['row', 'mini_batch']), files: z.array(text) },
  ...{ row_in_file: count.nullable(), mini_batch: z.tuple([count, count]).nullable(), attempt: text.nullable() },
  ...{ attempts: count.nullable(), node: text.nullable(), taken: z.boolean(), since: text.nullable() },
  run: z
    .looseObject({ process: text, start: text, seconds: count, status: text, stdout: text, stderr: text })
    .nullable(),
});

/** @throws USAGE, COMPARE_UNUSABLE, INPUT_NOT_FOUND, JOB_NOT_FOUND */
export async function whyCommand(context: CommandContext, asked: string): Promise<number> {
  const [, place = '', row = ''] = /^(.+):(\d{1,15})$/.exec(asked) ?? [];
  if (place === '') {
    throw new BatchError('USAGE', `wanted OUTPUT:ROW, such as out/scans:1234 or my-job:0, found ${asked}`);
  }
  const found = await originOf(context, place, Number(row));
  context.output.page(found, columns, originText(found));
  return 0;
}

async function originOf(context: CommandContext, place: string, row: number): Promise<RowOrigin> {
  const path = resolve(context.host.cwd, place);
  const kind = await kindAt(path);
  if (kind !== null) return await whyRow(kind === 'folder' ? path : dirname(path), row);
  return await ask(context, { path: `/v1/jobs/${encodeURIComponent(place)}/why?row=${row}`, reply });
}

const columns: readonly Column<RowOrigin>[] = [
  { title: 'file', value: ({ files }) => files.join(', ') },
  { title: 'row in file', value: (found) => found.row_in_file },
  { title: 'attempt', value: ({ attempt }) => attempt },
  { title: 'node', value: ({ node }) => node },
];

function originText(found: RowOrigin): string {
  const { files, run, mini_batch: batch } = found;
  const under = found.endpoint === null ? '' : ` of ${found.endpoint}, revision ${found.revision ?? 'unknown'}`;
  const file =
    found.grain === 'row'
      ? `${files[0] ?? ''}, row ${found.row_in_file ?? 0} of it`
      : `one of ${files.length}: ${files.slice(0, 10).join(', ')}${files.length > 10 ? ' …' : ''} (rows are known for the mini-batch only)`;
  const lines: readonly (readonly [string, string | null])[] = [
    ['row', found.text],
    ['file', file],
    ['mini-batch', batch && `files ${batch[0]} to ${batch[0] + batch[1] - 1}`],
    [
      'attempt',
      found.attempt &&
        `${found.attempt}${found.attempts === null ? '' : `, of ${found.attempts}`} on ${found.node ?? '?'}`,
    ],
    ['scored', run && `${run.start}, ${run.seconds} s in run(), ${run.process}, ${run.status}`],
    ['deployment', `${found.deployment}${under}`],
    ['model', found.model],
    ['job', found.job],
    ['taken from', found.taken ? (found.since ?? 'an earlier output') : null],
  ];
  const told = lines
    .filter(([, value]) => value !== null)
    .map(([title, value]) => `${title.padEnd(11)} ${value ?? ''}\n`);
  const printed = run === null ? [] : [['stdout', run.stdout] as const, ['stderr', run.stderr] as const];
  const logs = printed
    .filter(([, of]) => of !== '')
    .map(([kind, of]) => `\n${kind} of the attempt:\n${of.replaceAll(/^(?=.)/gm, '    ')}`);
  return told.join('') + logs.join('');
}
