import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runScenario } from './scenario.ts';

const seeds = Array.from({ length: Number(process.env['SIM_SEEDS'] ?? 150) }, (_, index) => index + 1);
const regressions = new URL('./regressions.txt', import.meta.url);

describe('a simulated cluster under crashes, freezes, stalls and cut links', () => {
  it('scores every file exactly once and in order', () => {
    const bad = seeds.map((seed) => runScenario(seed)).filter((outcome) => outcome.faults.length > 0);
    expect(bad.map(({ seed, faults }) => `seed ${seed}: ${faults.join('; ')}`)).toEqual([]);
  });

  it('does so for the seeds that once found a defect', () => {
    const lines = existsSync(regressions) ? readFileSync(regressions, 'utf8').split('\n') : [];
    const known = lines.map((line) => Number(line.split('#')[0])).filter((seed) => seed > 0);
    const bad = known.map((seed) => runScenario(seed)).filter((outcome) => outcome.faults.length > 0);
    expect(bad.map(({ seed, faults }) => `seed ${seed}: ${faults.join('; ')}`)).toEqual([]);
  });

  it('does the same thing twice for the same seed', () => {
    for (const seed of [3, 17, 42]) {
      const [a, b] = [runScenario(seed), runScenario(seed)];
      expect(b).toEqual(a);
      expect(a.trace.length).toBeGreaterThan(1);
    }
  });

  it('meets the faults that it is meant to meet', () => {
    const outcomes = seeds.map((seed) => runScenario(seed));
    expect(outcomes.some((outcome) => outcome.starts > 2)).toBe(true);
    expect(outcomes.some((outcome) => outcome.quarantined > 5)).toBe(true);
    for (const what of ['killed', 'freezes', 'stalls']) {
      expect(outcomes.some((outcome) => outcome.trace.some((line) => line.includes(what)))).toBe(true);
    }
  });
});

describe('the simulator finds', () => {
  const isFound = (mutation: Parameters<typeof runScenario>[1]): boolean =>
    seeds.some((seed) => {
      try {
        return runScenario(seed, mutation).faults.length > 0;
      } catch {
        // A reactor that trips over its own ledger has been found out as well.
        return true;
      }
    });

  it('a coordinator that acknowledges before the journal is synced', () => {
    expect(isFound({ noSync: true })).toBe(true);
  });
});
