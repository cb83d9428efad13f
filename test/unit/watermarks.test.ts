/** What is told to be final is durable: a crash right after it takes nothing of it back. */
import { expect, test } from 'vitest';
import type { Token } from '../../common/core/token.ts';
import { Watermarks } from '../../coordinator/views/watermarks.ts';
import { files, Harness } from '../helpers/ledger-harness.ts';

/** The watermark after every event that was published so far. */
function markOf(h: Harness, watermarks: Watermarks): number {
  for (const event of h.published.splice(0)) watermarks.publish(event);
  return watermarks.of(h.job);
}

function leased(): { readonly h: Harness; readonly marks: Watermarks; readonly commit: (batch: number) => void } {
  const h = new Harness();
  const marks = new Watermarks(h.ledger);
  h.submit()
    .list(...files(8))
    .endList();
  const node = h.node('a', 4);
  const tokens = h.grants();
  return { h, marks, commit: (batch) => h.commit(node, tokens[batch] as Token, { length: 100 }) };
}

test('bytes become final with the record of their commit, not with the commit', () => {
  const { h, marks, commit } = leased();
  expect(markOf(h, marks)).toBe(0);
  h.isSyncing = false;
  commit(0);
  expect([h.job.outputCommitted, markOf(h, marks)]).toEqual([102, 0]);
  // What is counted is what a crash leaves.
  expect([h.job.committed, marks.committedOf(h.job)]).toEqual([1, 0]);
  h.sync();
  expect([markOf(h, marks), marks.committedOf(h.job)]).toEqual([102, 1]);
});

test('results that are ahead of their turn become final when they have been copied', () => {
  const { h, marks, commit } = leased();
  commit(2);
  commit(1);
  expect(markOf(h, marks)).toBe(0);
  commit(0);
  expect(markOf(h, marks)).toBe(102);
  h.isSyncing = false;
  h.copied();
  expect([h.job.outputCommitted, markOf(h, marks)]).toEqual([302, 102]);
  h.sync();
  expect(markOf(h, marks)).toBe(302);
});

test('after a crash at any record, nothing that was final is behind the output’s end', () => {
  const { h, marks, commit } = leased();
  const steps: (() => void)[] = [() => commit(1), () => commit(0), () => h.copied(), () => commit(2), () => commit(3)];
  for (const step of steps) {
    step();
    const mark = markOf(h, marks);
    const committed = marks.committedOf(h.job);
    const again = h.restart();
    const after = new Watermarks(again.ledger);
    expect(after.of(again.job)).toBeGreaterThanOrEqual(mark);
    expect([again.job.committed, after.committedOf(again.job)]).toEqual([committed, committed]);
  }
  expect(markOf(h, marks)).toBe(402);
});

test('a watermark never goes back while a job runs', () => {
  const { h, marks, commit } = leased();
  let before = 0;
  for (const batch of [3, 0, 2, 1]) {
    commit(batch);
    const mark = markOf(h, marks);
    expect(mark).toBeGreaterThanOrEqual(before);
    before = mark;
  }
  h.copied();
  expect(markOf(h, marks)).toBe(402);
});
