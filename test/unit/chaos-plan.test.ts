/** The plan of `npm run chaos`: the same for a seed, and nothing left out. */
import { expect, test } from 'vitest';
import { planChaos, planJobs, shapeNames, type ChaosPlan } from '../chaos/chaos-plan.ts';

const plan = (seed: number, minutes: number): ChaosPlan => planChaos({ seed, minutes, nodes: 4, leaseMs: 3_000 });

test('a seed is a plan', () => {
  expect(plan(7, 2)).toEqual(plan(7, 2));
  expect(plan(8, 2).faults).not.toEqual(plan(7, 2).faults);
});

test('ten minutes hold every kind of fault many times, and more than 200 kills and freezes', () => {
  const { faults } = plan(1, 10);
  const counts = new Map<string, number>();
  for (const fault of faults) {
    const kind = fault.kind === 'link' ? `link ${fault.what}` : fault.kind;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  expect([...counts.keys()].sort()).toEqual([
    ...['fill-disk', 'freeze-coordinator', 'freeze-host', 'freeze-node', 'kill-coordinator', 'kill-host', 'kill-node'],
    ...['leave-node', 'link cut', 'link half-open', 'link hold', 'link refuse', 'link reset', 'link slow'],
    'link swallow',
  ]);
  expect(Math.min(...counts.values())).toBeGreaterThanOrEqual(5);
  expect(faults.filter(({ kind }) => /^(kill|freeze)/.test(kind)).length).toBeGreaterThan(250);
  expect(faults.every(({ atMs }, index) => atMs >= (faults[index - 1]?.atMs ?? 0) && atMs < 600_000)).toBe(true);
});

test('freezes are shorter and longer than a lease, directions are all three', () => {
  const { faults } = plan(1, 10);
  const freezes = faults.flatMap((fault) => (fault.kind === 'freeze-node' ? [fault.ms] : []));
  expect(freezes.filter((ms) => ms > 3_000).length).toBeGreaterThan(5);
  expect(freezes.filter((ms) => ms < 3_000).length).toBeGreaterThan(5);
  const directions = new Set(faults.flatMap((fault) => (fault.kind === 'link' ? [fault.direction] : [])));
  expect([...directions].sort()).toEqual(['both', 'down', 'up']);
});

test('jobs go round the shapes, and people do everything to some of them', () => {
  const jobs = planJobs(1);
  const first = Array.from({ length: 10 }, () => jobs.next().value);
  expect([...new Set(first.map(({ shape }) => shape))].sort()).toEqual([...shapeNames].sort());
  const steps = first.flatMap(({ steps }) => steps);
  expect([...new Set(steps.map(({ kind }) => kind))].sort()).toEqual(['cancel', 'pause', 'resume', 'retry']);
  expect(steps.every((step) => !('at' in step) || (step.at >= 0.1 && step.at <= 0.8))).toBe(true);
  const whole = first.filter(({ steps }) => steps.length === 0);
  expect(whole.length).toBeGreaterThanOrEqual(3);
  // What is retried can be poison, and is killed in the middle of it.
  for (const { shape, steps } of first) {
    const retry = steps.find((step) => step.kind === 'retry');
    if (retry) expect([shape, [...retry.kills].sort()]).toEqual(['poison', ['coordinator', 'coordinator', 'node']]);
  }
});

test('a coordinator is killed at every moment', () => {
  const { faults } = plan(1, 10);
  const moments = faults.flatMap((fault) => (fault.kind === 'kill-coordinator' ? [fault.moment] : []));
  expect([...new Set(moments)].sort()).toEqual(['acknowledges', 'drops', 'now', 'writes']);
});
