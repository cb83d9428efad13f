import { describe, expect, it } from 'vitest';
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { mayGrant } from '../../coordinator/core/granting.ts';
import { newLedger } from '../../coordinator/core/ledger.ts';
import { imageOf, restoreImage } from '../../coordinator/core/ledger-image.ts';
import type { ReopenScope } from '../../coordinator/core/life-events.ts';
import { stagedIn } from '../../coordinator/core/staging-window.ts';
import { waitingReason } from '../../coordinator/views/job-view.ts';
import { Harness } from '../helpers/ledger-harness.ts';

const one = { miniBatchSize: { kind: 'files', files: 1 } } as const;

/** Ten mini-batches, 100 bytes of results each; 250 bytes may wait for their turn. The first two are leased to `a`. */
function narrow(stagingBytesMax = 250): { h: Harness; a: NodeName; head: Token; next: Token } {
  const h = new Harness([], 1, stagingBytesMax).submit(one).list(1, 1, 1, 1, 1, 1, 1, 1, 1, 1).endList();
  const a = h.node('a', 2);
  const [head, next] = h.grants() as [Token, Token];
  return { h, a, head, next };
}

/** The job, which has ended, is reopened. */
function goOn(h: Harness, scope: ReopenScope): void {
  const { name, deployment, reopenings } = h.job;
  h.give({ kind: 'reopen', job: name, scope, deployment, reopenings, recut: null });
}

function ranges(h: Harness): readonly number[] {
  return h.takeOf('grant').map(({ range }) => range.first);
}

describe('results that wait for their turn', () => {
  it('have a window, beyond which nothing is granted until the head of the order has come', () => {
    const { h, a, head, next } = narrow();
    h.commit(a, next, { length: 100 });
    for (const first of [2, 3]) {
      h.give({ kind: 'want', node: a, leases: 1 });
      const [grant] = h.takeOf('grant');
      expect(grant?.range.first).toBe(first);
      h.commit(a, grant?.token as Token, { length: 100 });
    }
    expect([h.ledger.stagedBytes, h.job.stagedBytes, h.job.stagedTo]).toEqual([300, 300, 3]);
    h.give({ kind: 'want', node: a, leases: 2 });
    h.pass(1_000);
    expect(ranges(h)).toEqual([]);
    expect(waitingReason(h.ledger, h.job)).toBe(
      '300 bytes of results wait for their turn, 250 may: only what they wait for is scored (`coordinator start --staging-bytes`)',
    );
    // While the staged ones are copied, the order waits for the one behind them.
    h.commit(a, head, { length: 100 });
    expect(ranges(h)).toEqual([4]);
    h.copied();
    expect(ranges(h)).toEqual([5]);
    expect([h.ledger.stagedBytes, h.job.stagedTo, h.job.outputCommitted]).toEqual([0, -1, 402]);
    expect(waitingReason(h.ledger, h.job)).toBeNull();
  });

  it('never keep back the head itself, nor what comes before one of them', () => {
    const { h, a, head, next } = narrow();
    h.give({ kind: 'want', node: a, leases: 3 });
    const [third, fourth, fifth] = h.grants() as [Token, Token, Token];
    h.commit(a, third, { length: 100 });
    h.commit(a, fifth, { length: 200 });
    h.give({ kind: 'want', node: a, leases: 9 });
    h.give({ kind: 'returned', node: a, tokens: [fourth, next, head] });
    expect(ranges(h)).toEqual([0, 1, 3]);
  });

  it('are counted over all jobs, after a restart too, and no more when a job was broken off', () => {
    const { h, a, next } = narrow();
    h.give({ kind: 'want', node: a, leases: 1 });
    const [third] = h.grants() as [Token];
    h.commit(a, next, { length: 150 });
    h.commit(a, third, { length: 150 });
    const again = h.restart();
    expect([again.ledger.stagedBytes, again.job.stagedTo]).toEqual([300, 2]);
    again.pass(limits.restartGraceMs + 400);
    again.node('a', 5);
    expect(ranges(again)).toEqual([0]);
    again.give({ kind: 'cancel', job: again.job.name, wallMs: 0, graceMs: 0 });
    again.give({ kind: 'sealed', job: again.job.name, wallMs: 0 });
    expect([again.ledger.stagedBytes, again.job.stagedBytes, again.restart().ledger.stagedBytes]).toEqual([0, 0, 0]);
  });

  it('take their room again when their job goes on, but not those that lie in an earlier output', () => {
    const { h, a, next } = narrow();
    h.give({ kind: 'want', node: a, leases: 2 });
    const [third, fourth] = h.grants() as [Token, Token];
    h.commit(a, next, { length: 100 });
    h.commit(a, third, { length: 100 });
    h.give({ kind: 'cancel', job: h.job.name, wallMs: 0, graceMs: 0 });
    h.give({ kind: 'sealed', job: h.job.name, wallMs: 0 });
    expect([h.job.isStagingKept, h.ledger.stagedBytes, h.job.stagedTo]).toEqual([true, 0, -1]);
    goOn(h, 'rest');
    expect([h.ledger.stagedBytes, h.job.stagedBytes, h.job.stagedTo]).toEqual([200, 200, 2]);
    expect(stagedIn(h.job)).toEqual({ bytes: 200, to: 2 });
    // What the node still holds is of the job's life before.
    h.result(a, fourth, { length: 100 });
    expect(h.takeOf('refuse').map(({ failure }) => failure.code)).toEqual(['LEASE_STALE']);
    const image = newLedger({ heartbeatMs: 5_000, stagingBytesMax: 250 });
    restoreImage(image, imageOf(h.ledger));
    const again = h.restart();
    for (const ledger of [image, again.ledger]) {
      const job = ledger.jobs.get(h.job.name);
      expect([ledger.stagedBytes, job?.stagedBytes, job?.stagedTo, ledger.stagingBytesMax]).toEqual([200, 200, 2, 250]);
    }
  });

  it('do not take any when they are copied from an earlier output, nor once their job is pruned', () => {
    const h = new Harness([], 1, 250)
      .submit({ ...one, triesMax: 1 })
      .list(1, 1, 1)
      .endList();
    const a = h.node('a', 3, { slots: 3 });
    const [first, second, third] = h.grants() as [Token, Token, Token];
    h.fail(a, first, 'SCORER_FAILED');
    h.commit(a, second, { length: 300 });
    h.commit(a, third, { length: 300 });
    h.give({ kind: 'sealed', job: h.job.name, wallMs: 0 });
    expect([h.job.state, h.ledger.stagedBytes]).toEqual(['Completed', 0]);
    goOn(h, 'failed');
    expect([[...h.job.bases.keys()], h.ledger.stagedBytes, h.job.stagedTo]).toEqual([[1], 0, -1]);
    h.give({ kind: 'want', node: a, leases: 1 });
    const [again] = h.grants() as [Token];
    h.commit(a, again, { length: 100 });
    h.copied();
    expect([h.ledger.stagedBytes, h.job.stagedTo, h.job.outputCommitted]).toEqual([0, -1, 702]);
    h.give({ kind: 'sealed', job: h.job.name, wallMs: 0 });
    h.give({ kind: 'prune', job: h.job.name });
    expect([h.ledger.jobs.size, h.ledger.stagedBytes, h.restart().ledger.stagedBytes]).toEqual([0, 0, 0]);
  });
});

describe('results that come faster than the disk takes them', () => {
  it('stop the grants until it has caught up', () => {
    const { h, a, head, next } = narrow(limits.stagingBytesMax);
    h.result(a, head, { length: limits.placingBytesMax });
    expect(h.ledger.placingBytes).toBe(limits.placingBytesMax);
    h.result(a, next, { length: 100 });
    h.take();
    h.give({ kind: 'want', node: a, leases: 2 });
    h.pass(1_000);
    expect(ranges(h)).toEqual([]);
    // Not to a straggler's second attempt either.
    expect(mayGrant(h.ledger, h.now)).toBe(false);
    h.written(head);
    expect(ranges(h)).toEqual([2, 3]);
    expect(h.ledger.placingBytes).toBe(100);
    h.written(next);
    expect(h.ledger.placingBytes).toBe(0);
  });
});

describe('a disk with little room left', () => {
  const failure = { code: 'DISK_FULL', message: '/out has no room', detail: '' } as const;

  it.each(['the state directory', 'the output'])('that is %s of, pauses what needs it, and says so', (which) => {
    const { h, a } = narrow();
    const job = which === 'the output' ? h.job.name : null;
    h.give({ kind: 'room', job, failure });
    h.give({ kind: 'want', node: a, leases: 2 });
    expect(ranges(h)).toEqual([]);
    expect(waitingReason(h.ledger, h.job)).toBe('paused: /out has no room');
    // A write that was refused and has gone through meanwhile does not end it.
    h.give({ kind: 'stall', job, failure });
    h.give({ kind: 'stall', job, failure: null });
    expect(ranges(h)).toEqual([]);
    h.give({ kind: 'room', job, failure: null });
    expect(ranges(h)).toEqual([2, 3]);
  });

  it('of a job that is not there is of no interest', () => {
    const h = new Harness();
    h.give({ kind: 'room', job: 'none' as typeof h.job.name, failure });
    expect(h.take()).toEqual([]);
  });
});
