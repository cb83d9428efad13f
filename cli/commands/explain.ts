/** `explain`: why a job waits, what runs of it, and what has become of one of its files. */
import * as z from 'zod';
import type { CommandContext } from '../command-context.ts';
import { ask } from '../operate-client.ts';
import type { Column } from '../table.ts';

const reply = z.looseObject({
  name: z.string(),
  status: z.string(),
  owner: z.string(),
  priority: z.number(),
  reasons: z.array(z.looseObject({ kind: z.string(), message: z.string() })),
  running: z.array(z.looseObject({ files: z.string(), node: z.string(), state: z.string(), seconds: z.number() })),
  running_more: z.number(),
  next: z.string(),
  file: z
    .looseObject({
      path: z.string(),
      files: z.string(),
      happened: z.string(),
      attempts: z.array(
        z.looseObject({
          ...{ attempt: z.number(), node: z.string(), process: z.string(), status: z.string(), start: z.string() },
          ...{ run_seconds: z.number(), message: z.string().nullable() },
        }),
      ),
    })
    .nullable(),
});
type Explained = z.infer<typeof reply>;

const columns: readonly Column<Explained>[] = [
  { title: 'name', value: ({ name }) => name },
  { title: 'status', value: ({ status }) => status },
  { title: 'reasons', value: ({ reasons }) => reasons.map(({ message }) => message).join('; ') },
  { title: 'next', value: ({ next }) => next },
];

export async function explainCommand(context: CommandContext, name: string, file: string | undefined): Promise<number> {
  const query = file === undefined ? '' : `?file=${encodeURIComponent(file)}`;
  const found = await ask(context, { path: `/v1/jobs/${encodeURIComponent(name)}/explain${query}`, reply });
  context.output.page(found, columns, textOf(found));
  return 0;
}

function textOf({
  name,
  status,
  owner,
  priority,
  reasons,
  running,
  running_more: more,
  next,
  file,
}: Explained): string {
  const lines = [`${name} is ${status} (owner ${owner}, priority ${priority})`];
  for (const { message } of reasons) lines.push(`waits    ${message}`);
  for (const one of running) lines.push(`attempt  ${one.files} on ${one.node}: ${one.state}, for ${one.seconds} s`);
  if (more > 0) lines.push(`         and ${more} more`);
  lines.push(`next     ${next}`);
  if (file) {
    lines.push(`file     ${file.path} (${file.files}): ${file.happened}`);
    for (const one of file.attempts) {
      const why = one.message === null ? '' : `: ${one.message.split('\n', 1)[0] ?? ''}`;
      lines.push(
        `try ${one.attempt}    ${one.start} on ${one.node}, ${one.process}: ${one.status} after ${one.run_seconds} s${why}`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}
