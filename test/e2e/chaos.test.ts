/**
 * One minute of `npm run chaos` with a fixed seed: processes killed and frozen, links cut, a disk filled up, and jobs whose
 * outputs are those of undisturbed runs. The counts prove that the faults were there; without them nothing is tested.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runChaos } from '../chaos/run-chaos.ts';

const seed = 697;
/** About half of what the plan holds: a busy machine is slow to bring back what a fault would meet. */
const leastCounts = {
  'kill-node': 3,
  'freeze-node': 2,
  'leave-node': 1,
  'kill-host': 4,
  'freeze-host': 4,
  'kill-coordinator': 4,
  'freeze-coordinator': 2,
  link: 6,
};

test('a minute of chaos: every output is the one of the undisturbed run', { timeout: 400_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'batchmill-chaos-'));
  const said: string[] = [];
  const signal = new AbortController().signal;
  const account = await runChaos({ seed, minutes: 1, dir, note: (line) => said.push(line), signal });
  expect(account.defects, `logs are kept in ${account.logs}\n${said.join('\n')}`).toEqual([]);
  expect(account).toMatchObject({ lost: 0, doubled: 0, digestsEqual: account.jobs });
  expect(account.jobs).toBeGreaterThanOrEqual(2);
  expect(account.completed + account.canceled).toBe(account.jobs);
  // The second job has poison in it, which is mended.
  expect(account.steps.retry).toBeGreaterThanOrEqual(1);

  const count = (kind: string): number =>
    Object.entries(account.faults).reduce((sum, [name, times]) => (name.startsWith(kind) ? sum + times : sum), 0);
  const found = Object.fromEntries(Object.keys(leastCounts).map((kind) => [kind, count(kind)]));
  const tooFew = Object.entries(leastCounts).filter(([kind, least]) => count(kind) < least);
  expect(tooFew, JSON.stringify(found)).toEqual([]);
  if (!account.disk.startsWith('an ordinary folder')) expect(count('fill-disk')).toBe(1);
  else console.warn(`no disk was filled up: it is ${account.disk}`);
  expect(account.coordinatorStarts).toBeGreaterThan(leastCounts['kill-coordinator']);
  rmSync(dir, { recursive: true, force: true });
});
