/** Clusters in which one thing is wrong: what must come of it is known exactly. */
import './small-limits.ts';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { play, type Outcome, type PlayOptions } from './cluster.ts';
import { planOf, type Plan } from './plan.ts';
import { hangPlan, hangs, lostRetryPlan, partsPlan, sickPlan, slowPlan, stallPlan } from './special-plans.ts';

const minutes = 60_000;

async function playAll(plans: readonly Plan[], options: Partial<PlayOptions> = {}): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const plan of plans) outcomes.push(await play(plan, { isJudged: true, ...options }));
  return outcomes;
}

const seeds = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index + 1);
const faultsOf = (outcomes: readonly Outcome[]): readonly string[] => outcomes.flatMap(({ faults }) => faults);
const sum = (outcomes: readonly Outcome[], what: string): number =>
  outcomes.reduce((total, { met }) => total + (met.get(what) ?? 0), 0);

describe('plans that once went wrong', () => {
  const folder = new URL('./regressions/', import.meta.url);
  const names = readdirSync(folder);
  it('are kept', () => expect(names.length).toBeGreaterThan(0));
  it.each(names)(
    '%s',
    async (name) => {
      const plan = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Plan;
      expect(faultsOf(await playAll([plan]))).toEqual([]);
    },
    minutes,
  );
});

describe('a seed', () => {
  it(
    'plays the same game twice, to the last message',
    async () => {
      for (const seed of [3, 17, 42]) {
        const [a, b] = await playAll([planOf(seed), planOf(seed)]);
        expect(b).toEqual(a);
        expect(a?.trace.length).toBeGreaterThan(1);
      }
    },
    minutes,
  );
});

describe('a coordinator that stands still for longer than a lease', () => {
  it(
    'loses no node for it',
    async () => {
      const outcomes = await playAll(seeds(20).map(stallPlan));
      expect(faultsOf(outcomes)).toEqual([]);
      expect(sum(outcomes, 'nodes lost')).toBe(0);
    },
    3 * minutes,
  );
});

describe('a retry that a kill takes back', () => {
  it(
    'leaves the job as it was, whatever is asked of it then',
    async () => {
      const outcomes = await playAll(seeds(48).map(lostRetryPlan));
      expect(faultsOf(outcomes)).toEqual([]);
      expect(outcomes.filter(({ starts }) => starts > 1).length).toBeGreaterThan(24);
    },
    3 * minutes,
  );
});

describe('a job whose parts are made', () => {
  it(
    'can be paused, canceled and resumed meanwhile, and the coordinator be killed',
    async () => {
      const outcomes = await playAll(seeds(40).map(partsPlan));
      expect(faultsOf(outcomes)).toEqual([]);
      expect(sum(outcomes, 'makings of parts broken off')).toBeGreaterThan(12);
      expect(sum(outcomes, 'makings of parts paused')).toBeGreaterThan(2);
    },
    3 * minutes,
  );
});

describe('a node that fails whatever it gets', () => {
  it.each(['crash', 'hang', 'memory', 'disk'] as const)(
    'by %s costs no good file, and is found',
    async (sickness) => {
      const outcomes = await playAll(seeds(30).map((seed) => sickPlan(seed, sickness)));
      expect(faultsOf(outcomes)).toEqual([]);
      expect(sum(outcomes, 'nodes quarantined')).toBeGreaterThan(1);
    },
    3 * minutes,
  );

  it(
    'by numbers that do not fit its results spoils no row of others',
    async () => {
      const plans = seeds(30).map((seed) => sickPlan(seed, 'wrong-count'));
      const outcomes = await playAll(
        plans.filter(({ partRows }) => partRows === null),
        { givingUp: true },
      );
      expect(faultsOf(outcomes)).toEqual([]);
      // Nobody gives a part up: what is told of it again and again fails the job, which keeps its rows.
      const withParts = await playAll(
        plans.filter(({ partRows }) => partRows !== null),
        { givingUp: true, failWith: ['SCORER_OUTPUT_INVALID'] },
      );
      expect(faultsOf(withParts)).toEqual([]);
      expect(withParts.filter(({ state }) => state === 'Completed').length).toBeGreaterThan(withParts.length / 2);
    },
    3 * minutes,
  );
});

describe('a job whose scorers hang for longer than the watchdog waits', () => {
  it(
    'fails with NO_PROGRESS after its time, and nobody holds anything of it any more',
    async () => {
      const outcomes = await playAll(seeds(20).map(hangPlan), { failWith: ['NO_PROGRESS'] });
      expect(faultsOf(outcomes)).toEqual([]);
      expect([...new Set(outcomes.map(({ state, code }) => `${state} ${code}`))]).toEqual(['Failed NO_PROGRESS']);
    },
    3 * minutes,
  );

  it(
    'completes when they are only slow',
    async () => {
      expect(hangs.timeoutMs).toBeGreaterThan(hangs.progressTimeoutMs);
      const outcomes = await playAll(seeds(20).map(slowPlan));
      expect(faultsOf(outcomes)).toEqual([]);
      expect([...new Set(outcomes.map(({ state }) => state))]).toEqual(['Completed']);
    },
    3 * minutes,
  );
});
