/** What may stand where the user is typing: commands, flags, choices, and names that the coordinator knows. */
import type { CommandWords, FlagWords } from '../arguments.ts';
import { listThings, deploymentPath } from '../api/registry.ts';
import { shells } from '../completion-scripts.ts';
import type { CommandContext } from '../command-context.ts';
import { BatchError } from '../../common/core/batch-error.ts';

/** A word and what it means. */
export interface Candidate {
  readonly word: string;
  readonly description: string;
}

/** What is asked of the coordinator, when words alone do not tell. */
export type Wanted =
  | { readonly kind: 'words'; readonly words: readonly Candidate[] }
  | { readonly kind: 'names'; readonly of: NameKind; readonly endpoint: string | null }
  /** Files: the shell knows them. */
  | { readonly kind: 'files' };

export type NameKind = 'job' | 'endpoint' | 'deployment' | 'model' | 'data' | 'environment' | 'datastore' | 'compute';

/** `words`: all but the program's name; the last is the one that is typed, and may be empty. */
export function wantedAt(program: CommandWords, words: readonly string[]): Wanted {
  const before = words.slice(0, -1).filter((word, index) => !(index === 0 && word === 'ml'));
  const current = words.at(-1) ?? '';
  const path: CommandWords[] = [program];
  let pending: FlagWords | null = null;
  for (const word of before) {
    const here = path.at(-1) as CommandWords;
    if (pending) {
      pending = null;
      continue;
    }
    const flag = here.flags.find((one) => one.long === word || one.short === word);
    if (flag) pending = flag.takesValue ? flag : null;
    const next = here.commands.find((one) => one.name === word || one.aliases.includes(word));
    if (next) path.push(next);
  }
  const here = path.at(-1) as CommandWords;
  if (pending) return valueOf(path, pending, before);
  if (current.startsWith('-')) return { kind: 'words', words: here.flags.flatMap(flagWord) };
  if (here.commands.length > 0) {
    const shown = here.commands.filter((one) => !one.name.startsWith('_'));
    return { kind: 'words', words: shown.map(({ name, description }) => ({ word: name, description })) };
  }
  if (path[1]?.name === 'completion') {
    return { kind: 'words', words: shells.map((word) => ({ word, description: '' })) };
  }
  return path[1]?.name === 'job' ? { kind: 'names', of: 'job', endpoint: null } : { kind: 'files' };
}

function flagWord({ long, description }: FlagWords): readonly Candidate[] {
  return long === null ? [] : [{ word: long, description }];
}

/** What may follow a flag. */
function valueOf(path: readonly CommandWords[], flag: FlagWords, before: readonly string[]): Wanted {
  if (flag.choices.length > 0) {
    return { kind: 'words', words: flag.choices.map((word) => ({ word, description: '' })) };
  }
  const names = (of: NameKind): Wanted => ({
    kind: 'names',
    of,
    endpoint: valueAfter(before, ['-e', '--endpoint-name']),
  });
  const group = path[1]?.name.replace(/^batch-/, '') ?? '';
  const isInvoke = path[2]?.name === 'invoke';
  switch (flag.long) {
    case '--name':
      return isNamed(group) ? names(group) : { kind: 'words', words: [] };
    case '--endpoint-name':
    case '--endpoint':
      return names('endpoint');
    case '--deployment-name':
      return { kind: 'names', of: 'deployment', endpoint: valueAfter(before, isInvoke ? ['-n', '--name'] : ['-e']) };
    case '--compute':
      return names('compute');
    default:
      return { kind: 'files' };
  }
}

function valueAfter(words: readonly string[], flags: readonly string[]): string | null {
  const index = words.findLastIndex((word) => flags.includes(word));
  return index < 0 ? null : (words[index + 1] ?? null);
}

const paths = {
  job: '/v1/jobs',
  endpoint: '/v1/endpoints',
  model: '/v1/models',
  data: '/v1/data',
  environment: '/v1/environments',
  datastore: '/v1/datastores',
  compute: '/v1/computes',
} as const;

function isNamed(group: string): group is NameKind {
  return Object.hasOwn(paths, group) || group === 'deployment';
}

/** Longer than this nobody waits for a word. */
const patienceMs = 1_000;
const namesMax = 100;

/** One candidate a line, with a tab before what it means. Whoever cannot be asked adds nothing. @returns the exit code */
export async function completeCommand(
  context: CommandContext,
  program: CommandWords,
  words: readonly string[],
): Promise<number> {
  const wanted = wantedAt(program, words);
  if (wanted.kind === 'files') return 0;
  const candidates = wanted.kind === 'words' ? wanted.words : await namesOf(context, wanted);
  const current = words.at(-1) ?? '';
  const fitting = candidates.filter(({ word }) => word.startsWith(current));
  context.output.text(fitting.map(({ word, description }) => `${word}\t${description}\n`).join(''));
  return 0;
}

async function namesOf(
  { transport, host }: CommandContext,
  { of, endpoint }: Extract<Wanted, { kind: 'names' }>,
): Promise<readonly Candidate[]> {
  const path = of === 'deployment' ? (endpoint === null ? null : deploymentPath(endpoint)) : paths[of];
  if (path === null) return [];
  const patience = new AbortController();
  const asked = transport()
    .then(async (api) => await listThings(api, path, namesMax))
    .catch((error: unknown) => {
      if (error instanceof BatchError) return [];
      throw error;
    });
  const late = host.delay(patienceMs, patience.signal).then(
    () => null,
    () => null,
  );
  const found = await Promise.race([asked, late]);
  patience.abort();
  if (found !== null)
    return found.map((one) => ({
      word: one.name,
      description: typeof one['status'] === 'string' ? one['status'] : '',
    }));
  // What was asked would keep the process, and the shell with it.
  host.exit(0);
  return [];
}
