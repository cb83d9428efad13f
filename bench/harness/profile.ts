/** Profiles as V8 writes them: which source file a place is of, and how long it was at work. */

/** A function, as V8 names it. */
export interface CallFrame {
  readonly functionName: string;
  /** `0` for what is no script. */
  readonly scriptId: string;
  readonly url: string;
  /** From 0. */
  readonly lineNumber: number;
}

/** A function with those that called it. */
export interface ProfileNode {
  readonly id: number;
  readonly callFrame: CallFrame;
  readonly children?: readonly number[];
}

export interface Profile {
  readonly nodes: readonly ProfileNode[];
  /** Microseconds of the clock that {@link now} reads. */
  readonly startTime: number;
  /** Ids of the nodes that were at work. */
  readonly samples: readonly number[];
  /** Microseconds since the sample before, or since `startTime`. */
  readonly timeDeltas: readonly number[];
}

/** Microseconds of the profiles' clock. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** The clock of the profiles, which is the same in all processes. */
export const now = (): number => Number(process.hrtime.bigint() / 1_000n);

/** For each line of a bundle that names its modules, from 0, the file that it is of. */
export function filesOfLines(bundle: string): readonly string[] {
  let file = '';
  return bundle.split('\n').map((line) => (file = /^\/\/ ([a-z_]+\/\S+)$/.exec(line)?.[1] ?? file));
}

/** Whether a source is a file of the program. */
export function isOwn(source: string): boolean {
  return /^(cli|common|coordinator|worker)\//.test(source);
}

/** A file of the program, a package, `node:…`, `(native)`, `(generated)` or `(elsewhere)`; `files` are those of the lines of the program's bundle. */
export function sourceOf({ scriptId, url, lineNumber }: CallFrame, files: readonly string[]): string {
  if (url === '') return scriptId === '0' ? '(native)' : '(generated)';
  if (url.startsWith('node:')) return url;
  if (url.endsWith('/bundles/cli/main.mjs')) return files[lineNumber] || '(elsewhere)';
  return /^.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? '(elsewhere)';
}

/** The node that all others are below. */
export function rootOf({ nodes }: Profile): ProfileNode | undefined {
  return nodes.find(({ callFrame }) => callFrame.functionName === '(root)');
}

/**
 * Microseconds of each node itself, by id, in each of the spans, which do not overlap. A sample counts for the time since the one before,
 * `mostUs` at most.
 */
export function timesOf(
  profile: Profile,
  spans: readonly Span[],
  mostUs = Infinity,
): readonly ReadonlyMap<number, number>[] {
  const times = spans.map(() => new Map<number, number>());
  let at = profile.startTime;
  profile.samples.forEach((id, index) => {
    const delta = profile.timeDeltas[index] ?? 0;
    at += delta;
    const span = times[spans.findIndex(({ from, to }) => from <= at && at < to)];
    span?.set(id, (span.get(id) ?? 0) + Math.min(delta, mostUs));
  });
  return times;
}

/** Of the profiles that one process left, the main thread's: `CPU.DAY.TIME.PROCESS.THREAD.NUMBER.cpuprofile`. */
export function mainThreadFile(names: readonly string[]): string | undefined {
  return names.find((name) => /\.0\.\d+\.cpuprofile$/.test(name));
}
