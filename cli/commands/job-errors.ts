/** `job errors`, and how commands that follow a job tell its failure: the user's own words first, then where all is. */
import { isFinal } from '../../common/core/states.ts';
import type { ErrorGroupView, JobErrorsView } from '../../coordinator/api/backend.ts';
import type { CommandContext } from '../command-context.ts';
import { attemptFacts } from '../job-text.ts';
import type { Column } from '../table.ts';

export interface ErrorsFlags {
  readonly all?: boolean;
}

/** Kinds of errors shown unless all are asked for. */
const groupsShown = 10;

export async function errorsCommand(context: CommandContext, name: string, flags: ErrorsFlags): Promise<number> {
  const client = await context.client();
  const limit = flags.all ? 1_000 : groupsShown;
  let errors = await client.errors(name, 0, limit);
  while (flags.all && errors.value.length < errors.groups) {
    const more = await client.errors(name, errors.value.length, limit);
    if (more.value.length === 0) break;
    errors = { ...errors, value: [...errors.value, ...more.value] };
  }
  context.output.page(errors, errorColumns, errorsText(errors));
  return 0;
}

const errorColumns: readonly Column<JobErrorsView>[] = [
  { title: 'name', value: (errors) => errors.name },
  { title: 'status', value: (errors) => errors.status },
  { title: 'failed', value: (errors) => errors.failed_files },
  { title: 'kinds', value: (errors) => errors.groups },
];

/** As people read it, the most frequent first. */
export function errorsText(errors: JobErrorsView): string {
  const { error, value, groups, failed_files: failed, logs_path: logs } = errors;
  const blocks = value.map(groupText);
  // Why the job ended comes first, unless it only counts what is told below.
  if (error) {
    const own = [error.trace, `${error.code}: ${error.message}`].filter((text) => text !== '').join('\n');
    const isCause = error.trace !== '' && !value.some((group) => group.trace === error.trace);
    if (isCause || blocks.length === 0) blocks.unshift(`${own}\n`);
    else blocks.push(`the job failed: ${error.code}: ${error.message}\n`);
  }
  if (blocks.length === 0) return `${errors.name} (${errors.status}) has no errors\n`;
  if (groups > value.length) blocks.push(`${groups - value.length} more kinds of errors: say --all\n`);
  // Written when the job is sealed.
  const when = isFinal(errors.status) ? '' : ' (once the job has ended)';
  if (failed > 0) blocks.push(`more: ${logs.replace(/_logs$/, '_errors.jsonl')}${when}\n`);
  blocks.push(`logs: ${logs}\n`);
  return blocks.join('\n');
}

function groupText({ trace, code, message, files, first_file, last_file, example }: ErrorGroupView): string {
  const facts = [...(example.node === null ? [] : [`on ${example.node}`]), ...attemptFacts(example)];
  const lines = [
    ...(trace === '' ? [] : [trace]),
    `${code}: ${message}`,
    `  ${files} ${files === 1 ? 'file' : 'files'}; for example ${example.file} (${facts.join(', ')})`,
  ];
  if (files > 1) lines.push(`  first ${first_file}, last ${last_file}`);
  return `${lines.join('\n')}\n`;
}
