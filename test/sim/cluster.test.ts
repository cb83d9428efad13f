import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { hangs, runHangs, runScenario, runSick, runSnapshotKills, runStalls, type Outcome } from './scenario.ts';
import type { Mutation } from './sim-coordinator.ts';

const seeds = Array.from({ length: Number(process.env['SIM_SEEDS'] ?? 250) }, (_, index) => index + 1);
const regressions = readFileSync(new URL('./regressions.txt', import.meta.url), 'utf8')
  .split('\n')
  .map((line) => Number.parseInt(line, 10))
  .filter((seed) => seed > 0);

function faultsOf(outcomes: readonly Outcome[]): readonly string[] {
  return outcomes
    .filter(({ faults }) => faults.length > 0)
    .map(({ seed, faults }) => `seed ${seed}: ${faults.join('; ')}`);
}

/** A reactor that trips over its own ledger has been found out as well. */
function isFound(run: () => Outcome): boolean {
  try {
    return run().faults.length > 0;
  } catch {
    return true;
  }
}

describe('a simulated cluster under crashes, freezes, stalls, full disks and cut links', () => {
  const outcomes: Outcome[] = [];
  beforeAll(() => void outcomes.push(...seeds.map((seed) => runScenario(seed))), 600_000);
  const count = (isIt: (outcome: Outcome) => boolean): number => outcomes.filter(isIt).length;
  const meets = (what: string): boolean => outcomes.some(({ trace }) => trace.some((line) => line.includes(what)));

  it('scores every file exactly once and in order, and replays to what it was', () => {
    expect(faultsOf(outcomes)).toEqual([]);
  });

  it('does so for the seeds that once found a defect', () => {
    expect(regressions.length).toBeGreaterThan(0);
    expect(faultsOf(regressions.map((seed) => runScenario(seed)))).toEqual([]);
  });

  it('does the same thing twice for the same seed', () => {
    for (const seed of [3, 17, 42]) {
      const [a, b] = [runScenario(seed), runScenario(seed)];
      expect(b).toEqual(a);
      expect(a.trace.length).toBeGreaterThan(1);
    }
  });

  it('meets the faults and the ends that it is meant to meet', () => {
    for (const what of ['is killed', 'freezes', 'stalls', 'drains', 'disk is full', 'has ended']) {
      expect([what, meets(what)]).toEqual([what, true]);
    }
    for (const state of ['Completed', 'Failed', 'Canceled']) {
      expect([state, count((outcome) => outcome.state === state) > 0]).toEqual([state, true]);
    }
    expect(count(({ starts }) => starts > 2)).toBeGreaterThan(0);
    expect(count(({ quarantined }) => quarantined > 5)).toBeGreaterThan(0);
    expect(count(({ nodesLost }) => nodesLost > 0)).toBeGreaterThan(0);
    expect(count(({ twins }) => twins > 0)).toBeGreaterThan(5);
    expect(count(({ recalls }) => recalls > 0)).toBeGreaterThan(5);
    expect(count(({ heldBack }) => heldBack > 0)).toBeGreaterThan(5);
  });
});

describe('a coordinator that stands still for longer than a lease', () => {
  const stallSeeds = seeds.slice(0, 20);

  it('loses no node for it', () => {
    const outcomes = stallSeeds.map((seed) => runStalls(seed));
    expect(outcomes.map(({ nodesLost }) => nodesLost)).toEqual(stallSeeds.map(() => 0));
    expect(outcomes.filter(({ stalls }) => stalls > 0).length).toBeGreaterThan(10);
  });

  it('would lose some if it did not take the time off', () => {
    expect(stallSeeds.some((seed) => runStalls(seed, { noStallRule: true }).nodesLost > 0)).toBe(true);
  });
});

describe('a coordinator that is killed while it takes snapshots of its journal', () => {
  const killSeeds = seeds.slice(0, 60);

  it('starts with the ledger that the whole journal gives, whatever the disk has kept of them', () => {
    const outcomes = killSeeds.map((seed) => runSnapshotKills(seed));
    expect(faultsOf(outcomes)).toEqual([]);
    const sum = (of: (outcome: Outcome) => number): number => outcomes.reduce((all, one) => all + of(one), 0);
    expect(sum(({ snapshots }) => snapshots.loaded)).toBeGreaterThan(100);
    expect(sum(({ snapshots }) => snapshots.fellBack)).toBeGreaterThan(10);
  });

  const mutations: readonly [string, Mutation][] = [
    ['one that names a snapshot before its records are on the disk', { noSnapshotWait: true }],
    ['one that does not sync the folder of its snapshots', { noSnapshotDirSync: true }],
    ['one that keeps a single snapshot', { noSecondSnapshot: true }],
  ];
  it.each(mutations)('would be found out as %s', (_name, mutation) => {
    expect(seeds.some((seed) => isFound(() => runSnapshotKills(seed, mutation)))).toBe(true);
  });
});

describe('a node that fails whatever it gets', () => {
  it('costs no good file, and is found where there is enough to fail', () => {
    const sickSeeds = seeds.slice(0, 100);
    const outcomes = sickSeeds.map((seed) => ({ seed, ...runSick(seed) }));
    expect(outcomes.filter(({ faults }) => faults.length > 0)).toEqual([]);
    expect(outcomes.filter(({ quarantines }) => quarantines > 0).length).toBeGreaterThan(sickSeeds.length / 10);
  }, 120_000);
});

describe('a job whose scorers hang for longer than the watchdog waits', () => {
  const outcomes = seeds.slice(0, 100).map((seed) => runHangs(seed, 'hang'));

  it('fails with NO_PROGRESS, and nobody holds anything of it any more', () => {
    const fates = new Set(outcomes.map(({ state, code, held }) => `${state} ${code} ${held}`));
    expect([...fates]).toEqual(['Failed NO_PROGRESS 0']);
    expect(outcomes.every(({ message }) => /being scored: files? \d+ .*on node-\d/.test(message))).toBe(true);
  });

  // What a lost node had begun begins anew, and so does the time; the node of a scenario vanishes within the first one.
  it('does so after its time, without the time in which its grants were paused', () => {
    const early = outcomes.filter(({ virtualMs, pausedMs }) => virtualMs < hangs.progressTimeoutMs + pausedMs);
    const late = outcomes.filter(
      ({ virtualMs, pausedMs }) => virtualMs > 2 * hangs.progressTimeoutMs + pausedMs + 5_000,
    );
    expect([early, late]).toEqual([[], []]);
    expect(outcomes.filter(({ pausedMs }) => pausedMs > 0).length).toBeGreaterThan(10);
  });

  it('does the same thing twice for the same seed', () => {
    expect(runHangs(7, 'hang')).toEqual(runHangs(7, 'hang'));
  });

  it('completes when its scorers are only slow', () => {
    const slow = seeds.slice(0, 100).map((seed) => runHangs(seed, 'slow'));
    expect(slow.filter(({ state }) => state !== 'Completed')).toEqual([]);
  });
});

describe('the simulator finds', () => {
  const mutations: readonly [string, Mutation][] = [
    ['a coordinator that acknowledges before the journal is synced', { noSync: true }],
    ['a coordinator that takes results whatever their token says', { noFencing: true }],
    ['a coordinator that grants as if there were no window', { noWindow: true }],
    ['a coordinator that gives a third attempt', { thirdAttempt: true }],
  ];
  it.each(mutations)('%s', (_name, mutation) => {
    expect(seeds.some((seed) => isFound(() => runScenario(seed, mutation)))).toBe(true);
  });
});
