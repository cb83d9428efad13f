/** Nodes that leave at a known time are granted only what ends before. */
import { describe, expect, it } from 'vitest';
import { incarnation, nodeName, type NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { hindrances } from '../../coordinator/core/explain.ts';
import { attended } from '../../coordinator/core/ledger.ts';
import { Harness } from '../helpers/ledger-harness.ts';

const reserveMs = limits.leaveReserveMs;

/** Files of 1 byte each, mini-batches of one file. */
function harness(files: number, timeoutMs: number): Harness {
  const settings = { miniBatchSize: { kind: 'files', files: 1 }, timeoutMs, speculation: 'off' } as const;
  return new Harness()
    .submit(settings)
    .list(...Array.from({ length: files }, () => 1))
    .endList();
}

function joins(h: Harness, name: string, leavesInMs: number | null, slots = 1): NodeName {
  const node = nodeName(name);
  const said = { slots, labels: {}, hostname: 'h', pid: 1, wallMs: 0, leavesInMs };
  h.give({ kind: 'join', node, incarnation: incarnation(name), ...said });
  h.give({ kind: 'hello', node, held: [] });
  return node;
}

/** Other nodes have told how long a mini-batch takes. */
function learn(h: Harness, seconds: number, results: number): void {
  const node = joins(h, 'teacher', null);
  for (let result = 0; result < results; result += 1) {
    h.give({ kind: 'want', node, leases: 1 });
    const [token] = h.grants();
    if (!token) throw new Error('nothing was granted');
    h.commit(node, token, { summary: { runSeconds: seconds } });
  }
  h.give({ kind: 'leaving', node });
  h.take();
}

function granted(h: Harness, node: NodeName, leases = 1): number {
  h.take();
  h.give({ kind: 'want', node, leases });
  return h.takeOf('grant').filter((grant) => grant.node === node).length;
}

describe('a mini-batch of unknown length', () => {
  it('goes to a node that stays longer than its timeout', () => {
    const h = harness(4, 30_000);
    const [short, long] = [joins(h, 'short', 100_000), joins(h, 'long', 100_001)];
    h.now += 100_000 - reserveMs - 30_000 + 1;
    expect(granted(h, short)).toBe(0);
    expect(granted(h, long)).toBe(1);
  });

  it('with a long timeout, begins in the first half of the node’s time', () => {
    const h = harness(4, 3_600_000);
    const node = joins(h, 'a', 100_000);
    expect(granted(h, node)).toBe(1);
    const late = joins(h, 'b', 100_000);
    h.now += 50_000 + 1;
    expect(granted(h, late)).toBe(0);
  });
});

describe('a mini-batch of known length', () => {
  it('is not begun when it would not end before the node leaves', () => {
    const h = harness(40, 3_600_000);
    learn(h, 20, 10);
    expect(granted(h, joins(h, 'short', 19_000 + reserveMs))).toBe(0);
    expect(granted(h, joins(h, 'fits', 22_000 + reserveMs))).toBe(1);
  });

  it('begins in the first half of it, when a few results alone say that no node has the time', () => {
    const h = harness(40, 3_600_000);
    learn(h, 120, limits.ratesTrustedResults);
    const node = joins(h, 'a', 100_000);
    expect(granted(h, node)).toBe(1);
    const late = joins(h, 'b', 100_000);
    h.now += 50_000 + 1;
    expect(granted(h, late)).toBe(0);
    learn(h, 120, 1);
    expect(granted(h, joins(h, 'c', 100_000))).toBe(0);
  });

  it('must fit twice in the second half of the node’s time', () => {
    const h = harness(40, 3_600_000);
    learn(h, 20, 10);
    const node = joins(h, 'a', 200_000);
    h.now += 200_000 - reserveMs - 30_000;
    expect(granted(h, node)).toBe(0);
    const other = joins(h, 'b', 200_000);
    h.now += 200_000 - reserveMs - 45_000;
    expect(granted(h, other)).toBe(1);
  });

  it('waits behind what the node holds already', () => {
    const h = harness(40, 3_600_000);
    learn(h, 20, 10);
    expect(granted(h, joins(h, 'a', 70_000 + reserveMs, 1), 8)).toBe(3);
    expect(granted(h, joins(h, 'b', 70_000 + reserveMs, 2), 8)).toBeGreaterThan(3);
  });

  it('is not given to it a second time at the end of a job either, and others get it', () => {
    const h = harness(12, 3_600_000);
    learn(h, 20, 10);
    const ending = joins(h, 'a', 15_000 + reserveMs);
    expect(granted(h, ending)).toBe(0);
    expect(granted(h, joins(h, 'b', null), 2)).toBe(2);
  });

  it('is waited for, and people are told why', () => {
    const h = harness(40, 3_600_000);
    learn(h, 20, 10);
    granted(h, joins(h, 'a', 15_000 + reserveMs));
    const found = hindrances(h.ledger, h.job, attended(h.ledger, h.now));
    expect(found).toContainEqual({ kind: 'leaving', nodes: ['a'], leftMs: 15_000 });
  });
});

describe('a time that is up', () => {
  it('is put off when the node says so as it joins again, and not by a coordinator that stood still', () => {
    const h = harness(40, 30_000);
    const node = joins(h, 'a', 60_000);
    h.now += 55_000;
    h.give({ kind: 'tick', stallMs: 50_000, wallMs: 0 });
    expect(granted(h, node)).toBe(0);
    joins(h, 'a', 60_000);
    expect(granted(h, node)).toBe(1);
  });
});

describe('what is cut as it is granted', () => {
  it('is cut so small that it ends in time', () => {
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'seconds', seconds: 60 }, timeoutMs: 3_600_000, speculation: 'off' })
      .list(...Array.from({ length: 4_000 }, () => 1_000))
      .endList();
    const teacher = joins(h, 'teacher', null);
    for (let result = 0; result < 12; result += 1) {
      h.give({ kind: 'want', node: teacher, leases: 1 });
      const [grant] = h.takeOf('grant');
      if (!grant) throw new Error('nothing was granted');
      h.commit(teacher, grant.token, { summary: { runSeconds: grant.range.count } });
    }
    h.give({ kind: 'want', node: teacher, leases: 1 });
    const [whole] = h.takeOf('grant');
    const node = joins(h, 'a', 20_000 + reserveMs);
    h.take();
    h.give({ kind: 'want', node, leases: 1 });
    const [cut] = h.takeOf('grant');
    expect(whole?.range.count).toBeGreaterThan(30);
    expect(cut?.range.count).toBeGreaterThan(2);
    expect(cut?.range.count).toBeLessThanOrEqual(20);
  });
});
