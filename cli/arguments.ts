/**
 * `--set a=1 b=2` as `--set a=1 --set b=2`: Azure's command line takes several assignments after one flag. Only what
 * looks like an assignment is taken, so that a file name that follows stays an argument.
 */
export function expandSets(args: readonly string[]): string[] {
  const expanded: string[] = [];
  let isInSet = false;
  for (const arg of args) {
    const isValue = expanded.at(-1) === '--set';
    const isMore: boolean = isInSet && !isValue && /^[\w$.]+=/.test(arg);
    if (isMore) expanded.push('--set');
    expanded.push(arg);
    isInSet = isValue || isMore || arg.startsWith('--set=');
  }
  return expanded;
}
