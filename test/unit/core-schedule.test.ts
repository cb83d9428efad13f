import { describe, expect, it } from 'vitest';
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { DurableEvent } from '../../coordinator/core/events.ts';
import { files, Harness } from '../helpers/ledger-harness.ts';

const one = { miniBatchSize: { kind: 'files', files: 1 } } as const;

/** First files of the grants since the last look. */
function firsts(h: Harness): readonly number[] {
  return h.takeOf('grant').map(({ range }) => range.first);
}

/** All that is granted, in order, when each is committed before the next is asked for; each takes its bytes' time. */
function orderOf(
  h: Harness,
  node: NodeName,
  seconds = (file: number): number => h.job.batches.bytesOf(file) / 1_000,
): readonly number[] {
  const order: number[] = [];
  h.take();
  for (;;) {
    h.give({ kind: 'want', node, leases: 1 });
    const [grant] = h.takeOf('grant');
    if (!grant) return order;
    const { first } = grant.range;
    order.push(first);
    h.commit(node, grant.token, { summary: { runSeconds: seconds(first) } });
    while (h.job.copy) h.copied();
  }
}

/** Bytes of `count` files, of which some are others. */
function sizes(count: number, bytes: number, others: Readonly<Record<number, number>>): readonly number[] {
  return Array.from({ length: count }, (_, file) => others[file] ?? bytes);
}

describe('mini-batches of equal length', () => {
  it('are granted in input order, to the last', () => {
    const h = new Harness()
      .submit(one)
      .list(...files(200))
      .endList();
    const a = h.node('a');
    expect(orderOf(h, a)).toEqual(Array.from({ length: 200 }, (_, file) => file));
  });

  it('are too when their lengths differ by less than they need to at the end', () => {
    const h = new Harness()
      .submit(one)
      .list(...Array.from({ length: 400 }, (_, file) => 900 + ((file * 37) % 200)))
      .endList();
    // The head is under way all the while, so that none has to be granted for its sake.
    const order = orderOf(h, h.node('a', 1));
    // Of the last ones alone, the longest go first.
    const inTurn = order.findIndex((file, index) => file !== index + 1);
    expect(inTurn).toBeGreaterThan(360);
    expect(inTurn).toBeLessThan(390);
  });
});

describe('a long mini-batch', () => {
  it('begins as soon as it is listed, the head of the order before it', () => {
    const h = new Harness().submit(one).list(...files(100));
    const a = h.node('a', 2);
    expect(firsts(h)).toEqual([0, 1]);
    h.list(...sizes(1_000, 1, { 50: 1_000, 700: 2_000 }));
    h.give({ kind: 'want', node: a, leases: 4 });
    expect(firsts(h)).toEqual([800, 150, 2, 3]);
  });

  it('goes before its turn when it is long for what each slot has still to do', () => {
    const listed = sizes(200, 100, { 190: 300 });
    const few = new Harness().submit(one).list(...listed);
    const a = few.node('a', 3, { slots: 1 });
    expect(firsts(few)).toEqual([0, 1, 2]);
    const place = orderOf(few, a).indexOf(190);
    expect([place > 100, place < 170]).toEqual([true, true]);
    // With ten times the slots it is time at once.
    const many = new Harness().submit(one).list(...listed);
    many.node('a', 3, { slots: 10 });
    expect(firsts(many)).toEqual([0, 190, 1]);
  });

  it('leaves the head of the order a slot, always', () => {
    const h = new Harness()
      .submit(one)
      .list(...sizes(400, 1, Object.fromEntries(Array.from({ length: 40 }, (_, n) => [200 + n, 1_000]))));
    const a = h.node('a', 3, { slots: 2 });
    const [head, long] = h.takeOf('grant');
    expect([head?.range.first, long?.range.first]).toEqual([0, 200]);
    if (!head || !long) throw new Error('there is no grant');
    h.commit(a, head.token);
    h.give({ kind: 'want', node: a, leases: 2 });
    expect(firsts(h)).toEqual([1, 202]);
    expect(h.job.outputCommitted).toBeGreaterThan(0);
  });

  it('waits for its turn once results ahead of theirs have taken half of their room', () => {
    const h = new Harness([], 1, 1_000).submit(one).list(...sizes(100, 1, { 60: 100, 61: 90, 62: 80, 63: 70 }));
    const a = h.node('a', 2);
    const [head, long] = h.takeOf('grant');
    expect([head?.range.first, long?.range.first]).toEqual([0, 60]);
    if (!head || !long) throw new Error('there is no grant');
    h.commit(a, long.token, { length: 499 });
    h.give({ kind: 'want', node: a, leases: 1 });
    const [next] = h.takeOf('grant');
    expect(next?.range.first).toBe(61);
    if (!next) throw new Error('there is no grant');
    h.commit(a, next.token, { length: 2 });
    h.give({ kind: 'want', node: a, leases: 2 });
    expect(firsts(h)).toEqual([1, 2]);
    // With the room, the turn is theirs again.
    h.commit(a, head.token);
    for (const batch of [1, 2]) {
      const lease = [...h.ledger.leases.values()].find((one) => one.batch === batch);
      if (lease) h.commit(a, lease.token);
    }
    expect(h.ledger.stagedBytes).toBe(501);
    h.give({ kind: 'want', node: a, leases: 1 });
    expect(firsts(h)).toEqual([3]);
  });

  it('is still known after a restart, and with what was learned it is told by seconds', () => {
    const h = new Harness()
      .submit(one)
      .list(...Array.from({ length: 300 }, (_, file) => (file === 100 ? 40_000 : 500 + ((file * 37) % 1_000))));
    const a = h.node('a', 1);
    const again = h.restart();
    again.pass(limits.restartGraceMs + 400);
    again.node('a', 2);
    expect(firsts(again)).toEqual([0, 100]);
    // Files take a second each, whatever their bytes: none is long any more.
    h.give({ kind: 'want', node: a, leases: 1 });
    for (let round = 0; round < 80; round += 1) {
      const lease = [...h.ledger.leases.values()].find(({ batch }) => batch > 0);
      if (lease) h.commit(a, lease.token, { summary: { runSeconds: 1 } });
      while (h.job.copy) h.copied();
      h.give({ kind: 'want', node: a, leases: 1 });
    }
    expect(h.job.learned.rates?.perFile ?? 0).toBeGreaterThan(0.9);
    const order = orderOf(h, a, () => 1);
    expect(order).toEqual([...order].sort((x, y) => x - y));
  });

  it('that failed on a node is for others, and does not hold up the rest', () => {
    const h = new Harness().submit(one).list(...sizes(100, 1, { 60: 1_000 }));
    const a = h.node('a', 2);
    const [, long] = h.takeOf('grant');
    h.node('b');
    if (long?.range.first !== 60) throw new Error('the long one does not go first');
    h.fail(a, long.token, 'SCORER_CRASHED');
    h.heartbeat(
      a,
      [...h.ledger.leases.values()].map(({ token }) => token),
    );
    h.pass(1_000);
    h.give({ kind: 'want', node: a, leases: 2 });
    expect(firsts(h)).toEqual([1, 2]);
    h.give({ kind: 'want', node: 'b' as NodeName, leases: 1 });
    expect(firsts(h)).toEqual([60]);
  });
});

describe('a job that an older release has listed', () => {
  it('knows no bytes of its mini-batches and goes in input order', () => {
    const h = new Harness().submit(one).list(...sizes(50, 1, { 30: 1_000 }));
    const old = h.journal.map((event): DurableEvent => {
      if (event.kind !== 'PageListed') return event;
      const { sizesBytes: _, ...rest } = event;
      return rest;
    });
    const again = new Harness(old, 2);
    const a = again.node('a');
    expect(again.job.batches.bytesOf(30)).toBe(0);
    expect(orderOf(again, a)).toEqual(Array.from({ length: 50 }, (_, file) => file));
  });
});
