/** The simulator as `npm run sim` runs it: many seeds, none of which may go wrong, and damage that it must notice. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Account } from './seeds.ts';
import { mutations } from './mutations.ts';

const script = fileURLToPath(new URL('../../scripts/sim.mjs', import.meta.url));
const seeds = Number(process.env['SIM_SEEDS'] ?? 2_000);
const minutes = 60_000;

function sim(...args: readonly string[]): { readonly status: number | null; readonly stdout: string } {
  return spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', maxBuffer: 2 ** 28 });
}

describe(`${seeds} simulated clusters, each twice`, () => {
  let account: Account;
  beforeAll(() => {
    account = JSON.parse(sim('--seed', '1', '--seeds', String(seeds), '--json').stdout) as Account;
  }, 15 * minutes);

  it('score every file exactly once and in order, do the same twice, and keep what was promised', () => {
    expect(account.violations).toEqual([]);
    expect([account.seeds, account.lost, account.doubled]).toEqual([seeds, 0, 0]);
    expect(account.rowsChecked).toBeGreaterThan(20 * seeds);
  });

  it('meet every fault', () => {
    const { faults } = account;
    for (const kind of [
      ...['kill-coordinator', 'power-cut', 'kill-at-change', 'restart-coordinator', 'stall-coordinator', 'fill-disk'],
      ...['sync-error', 'flip-snapshot', 'clock-jump', 'kill-node', 'freeze-node', 'drain-node', 'join-node'],
      ...['cut', 'near-miss', 'partition', 'half-open', 'slow', 'refuse'],
      ...[
        'stream-partition',
        'stream-stall',
        'stream-leader',
        'freeze-coordinator',
        'freeze-at-change',
        'kill-one',
        'lose-disk',
        'lose-tail',
      ],
      ...['stream: answer lost', 'stream: request late', 'stream: refused', 'stream: trimmed'],
      ...['ENOSPC', 'EIO on sync', 'lost write', 'torn write', 'lost name', 'rename without its folder sync'],
    ]) {
      expect([kind, (faults[kind] ?? 0) > 0]).toEqual([kind, true]);
    }
  });

  it('meet what the rules are for', () => {
    for (const [what, times] of Object.entries(account.met)) {
      if (what !== 'nodes quarantined') expect([what, times > 5]).toEqual([what, true]);
    }
    for (const state of ['Completed', 'Failed', 'Canceled', 'gone']) {
      expect([state, (account.states[state] ?? 0) > 0]).toEqual([state, true]);
    }
  });
});

describe('the simulator notices a coordinator that', () => {
  // The others are played by `npm run sim -- --mutations`: these are found within seconds.
  const quick = [
    ...['journal-fsync', 'output-fsync', 'final-name', 'early-drop', 'lost-commit', 'restart-grace'],
    ...['stream-compare', 'stream-acknowledgement', 'stream-epoch'],
  ];
  it.each(mutations.filter(({ name }) => quick.includes(name)))(
    '$what',
    ({ name }) => {
      const { status, stdout } = sim('--mutations', name);
      expect([status, stdout]).toEqual([0, expect.stringContaining('0 mutations not found')]);
    },
    10 * minutes,
  );

  it(
    'every mutation names text that is there once',
    () => {
      expect(sim('--mutations', '--check')).toMatchObject({ status: 0 });
    },
    5 * minutes,
  );
});
