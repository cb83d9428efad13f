/** Nodes that are not equally fast on one job, in virtual time: each gets as much as it can do, and none of them is waited for. */
import { describe, expect, it } from 'vitest';
import { VirtualSlots, type VirtualJob } from '../helpers/virtual-slots.ts';

const slowness = 5;
const fileSeconds = 0.2;

/** 600 files of one length; the second node takes five times as long for each. */
const job: VirtualJob = {
  sizesBytes: Array.from({ length: 600 }, () => 10_000),
  seconds: (files, node) => files.length * fileSeconds * (node === 1 ? slowness : 1),
  settings: { miniBatchSize: { kind: 'files', files: 1 } },
  ...{ nodes: [1, 1], latencyMs: 1, overheadMs: 1, pageMs: 10, rowBytes: 20 },
};

/** Both nodes busy to the end. */
const leastMs = (600 * fileSeconds * 1_000) / (1 + 1 / slowness);

describe('two nodes, one five times slower', () => {
  it('get mini-batches in proportion to their speed, and end together', () => {
    const { scoredBy, makespanMs } = new VirtualSlots(job).run();
    const [fast = 0, slow = 0] = scoredBy;
    expect(fast + slow).toBeGreaterThanOrEqual(600);
    expect(fast / slow).toBeGreaterThan(0.9 * slowness);
    expect(fast / slow).toBeLessThan(1.1 * slowness);
    // A mini-batch on the slow node is the most that the other may have to wait for.
    expect(makespanMs).toBeLessThan(leastMs + 1_000 * fileSeconds * slowness + 2_000);
  });

  it('do so where mini-batches are cut by what results teach', () => {
    const settings = { miniBatchSize: { kind: 'auto' } } as const;
    const { makespanMs, job: done } = new VirtualSlots({ ...job, settings }).run();
    expect(done.committed).toBe(done.total);
    // One of two seconds is ten on the slow node.
    expect(makespanMs).toBeLessThan(1.15 * leastMs);
  });
});
