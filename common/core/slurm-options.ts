/** Options of sbatch that operators give a compute: each is one word, and none is what the allocator says itself. */

/** Said by the allocator, or by the script that it submits. */
const owned: ReadonlySet<string> = new Set([
  ...[
    'array',
    'job-name',
    'comment',
    'test-only',
    'parsable',
    'wrap',
    'export',
    'export-file',
    'nodes',
    'ntasks',
    'output',
  ],
  ...['error', 'requeue', 'no-requeue', 'wait', 'help', 'usage', 'version'],
]);

/** What is wrong with one of them; null: nothing. */
export function slurmOptionFault(option: string): string | null {
  const [, name] = /^--([a-z][a-z0-9-]*)(?:=.+)?$/s.exec(option) ?? [];
  if (name === undefined) {
    return `wanted an option of sbatch in one word such as --partition=gpu, found ${JSON.stringify(option)}`;
  }
  // sbatch takes the beginning of a name for the name.
  const own = [...owned].find((one) => one === name || (name.length >= 3 && one.startsWith(name)));
  return own === undefined ? null : `--${own} is said by the allocator; leave it out`;
}
