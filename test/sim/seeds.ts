/** Plays seeds one after the other, each twice, and sums up what came of them. */
import { play } from './cluster.ts';
import { planOf, type Plan } from './plan.ts';

/** Sums, which add up over workers. */
export interface Account {
  seeds: number;
  virtualMs: number;
  rowsChecked: number;
  lost: number;
  doubled: number;
  starts: number;
  lives: number;
  /** Faults that have happened. */
  faults: Record<string, number>;
  /** What a good simulation meets. */
  met: Record<string, number>;
  /** Ends of jobs. */
  states: Record<string, number>;
  violations: { readonly seed: number; readonly texts: readonly string[] }[];
}

export function emptyAccount(): Account {
  const sums = { seeds: 0, virtualMs: 0, rowsChecked: 0, lost: 0, doubled: 0, starts: 0, lives: 0 };
  return { ...sums, faults: {}, met: {}, states: {}, violations: [] };
}

export function addAccount(to: Account, from: Account): void {
  for (const key of ['seeds', 'virtualMs', 'rowsChecked', 'lost', 'doubled', 'starts', 'lives'] as const) {
    to[key] += from[key];
  }
  for (const key of ['faults', 'met', 'states'] as const) {
    for (const [what, times] of Object.entries(from[key])) to[key][what] = (to[key][what] ?? 0) + times;
  }
  to.violations.push(...from.violations);
}

/** What escaped from the code under test while a seed was played: in a process of its own it would have ended it. */
const escaped: string[] = [];
let isWatched = false;

function watchEscapes(): void {
  if (isWatched) return;
  isWatched = true;
  const keep = (error: unknown): void => void escaped.push(`escaped: ${textOf(error)}`);
  process.on('unhandledRejection', keep);
  process.on('uncaughtException', keep);
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Plays one plan, twice when it is to be compared with itself, and adds what came of it. */
export async function playPlan(plan: Plan, account: Account, seed: number, isTwice: boolean): Promise<void> {
  watchEscapes();
  escaped.length = 0;
  account.seeds += 1;
  try {
    const first = await play(plan, { isJudged: true });
    const texts = [...first.faults, ...escaped];
    const again = isTwice && texts.length === 0 ? await play(plan, { isJudged: false }) : null;
    if (again && again.fingerprint !== first.fingerprint) texts.push(`a second run differs: ${whereTo(first, again)}`);
    if (texts.length > 0) account.violations.push({ seed, texts });
    const { virtualMs, rowsChecked, lost, doubled, starts, lives } = first;
    addAccount(account, {
      ...{ seeds: 0, virtualMs, rowsChecked, lost, doubled, starts, lives, violations: [] },
      faults: Object.fromEntries(first.counts),
      met: Object.fromEntries(first.met),
      states: { [first.state]: 1 },
    });
  } catch (error) {
    account.violations.push({ seed, texts: [`thrown: ${textOf(error)}`] });
  }
}

function whereTo(a: { readonly trace: readonly string[] }, b: { readonly trace: readonly string[] }): string {
  const at = a.trace.findIndex((line, index) => line !== b.trace[index]);
  return at < 0 ? 'in what is not told' : `${a.trace[at]} | ${b.trace[at]}`;
}

export async function playSeed(seed: number, account: Account, isTwice: boolean): Promise<void> {
  await playPlan(planOf(seed), account, seed, isTwice);
}
