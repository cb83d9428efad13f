/** What operators do to worker nodes by name, and that it outlives coordinator and node. */
import { describe, expect, it } from 'vitest';
import { nodeName } from '../../common/core/ids.ts';
import { roleFor } from '../../coordinator/api/access-rules.ts';
import type { NodeOrder } from '../../coordinator/core/node-orders.ts';
import { imageOf, restoreImage } from '../../coordinator/core/ledger-image.ts';
import { newLedger } from '../../coordinator/core/ledger.ts';
import { nodeViews } from '../../coordinator/views/node-view.ts';
import { Harness } from '../helpers/ledger-harness.ts';

const a = nodeName('a');
const b = nodeName('b');

function harness(...sizes: readonly number[]): Harness {
  return new Harness()
    .submit({ miniBatchSize: { kind: 'files', files: 1 } })
    .list(...sizes)
    .endList();
}

function order(h: Harness, what: NodeOrder, node = a): void {
  h.give({ kind: 'order-node', node, order: what, by: 'ada', wallMs: 5_000 });
}

describe('a cordoned node', () => {
  it('is granted nothing more, goes on with what it holds, and gets work again when it is uncordoned', () => {
    const h = harness(1, 1, 1);
    h.node('a', 1);
    const [held] = h.grants();
    order(h, { kind: 'cordon' });
    h.give({ kind: 'want', node: a, leases: 2 });
    expect(h.take()).toEqual([]);
    expect(h.ledger.ready).toEqual({ nodes: 0, slots: 0 });
    expect(h.ledger.leases.size).toBe(1);
    expect(held).toBeDefined();
    order(h, { kind: 'uncordon' });
    expect(h.grants()).toHaveLength(2);
    expect(h.ledger.registry.ofKind('node')).toEqual([]);
  });

  it('stays so for the next process of its name, after a restart, and in a snapshot', () => {
    const h = harness(1);
    h.node('b');
    order(h, { kind: 'cordon' }, b);
    const next = h.restart();
    next.node('b', 1);
    next.now += 60_000;
    next.give({ kind: 'tick', stallMs: 0, wallMs: 0 });
    expect(next.grants()).toEqual([]);
    const restored = newLedger({ heartbeatMs: 5_000 });
    restoreImage(restored, imageOf(next.ledger));
    expect(nodeViews(restored)).toMatchObject([{ name: 'b', state: 'gone', joined_at: null, cordoned: true }]);
  });

  it('is one that has joined: a slip of the pen is told', () => {
    const h = harness(1);
    expect(() => order(h, { kind: 'cordon' })).toThrowError(/no worker node a has joined/);
  });
});

describe('a node that is drained', () => {
  it('is told so, again when it comes back, and its next process is not', () => {
    const h = harness(1);
    h.node('a');
    h.take();
    order(h, { kind: 'drain', untilWallMs: 9_000 });
    expect(h.take()).toEqual([{ kind: 'drain-node', node: a, untilWallMs: 9_000 }]);
    h.give({ kind: 'disconnected', node: a });
    h.node('a');
    expect(h.takeOf('drain-node')).toHaveLength(1);
    h.give({ kind: 'leaving', node: a });
    h.give({ kind: 'disconnected', node: a });
    h.join('a', 'a/2');
    h.give({ kind: 'hello', node: a, held: [] });
    expect(h.takeOf('drain-node')).toEqual([]);
    expect(nodeViews(h.ledger)).toMatchObject([{ name: 'a', state: 'ready', cordoned: true }]);
  });

  it('must be here', () => {
    const h = harness(1);
    h.node('a');
    order(h, { kind: 'cordon' });
    const next = h.restart();
    expect(() => order(next, { kind: 'drain', untilWallMs: null })).toThrowError(/is not here/);
  });
});

describe('a node that is quarantined by hand', () => {
  it('loses what it holds to others, and gets work again when it is released', () => {
    const h = harness(1, 1);
    h.node('a', 2);
    expect(h.grants()).toHaveLength(2);
    h.node('b', 2);
    order(h, { kind: 'quarantine', reason: 'its card is hot' });
    const effects = h.take();
    expect(effects.filter(({ kind }) => kind === 'revoke')).toHaveLength(2);
    expect(effects.flatMap((one) => (one.kind === 'grant' ? [one.node] : []))).toEqual([b, b]);
    expect(nodeViews(h.ledger)[0]).toMatchObject({ state: 'quarantined', quarantine: 'its card is hot' });
    // Nothing is held against the files.
    expect(h.job.batches.failures(0)).toBe(0);
    order(h, { kind: 'release' });
    expect(() => order(h, { kind: 'release' })).toThrowError(/is not quarantined/);
  });

  it('says so where its cordon is what keeps work from it', () => {
    const h = harness(1);
    h.node('a');
    order(h, { kind: 'cordon' });
    expect(() => order(h, { kind: 'release' })).toThrowError(/node uncordon/);
  });
});

describe('labels by hand', () => {
  it('change those that the node joined with, and are forgotten where they say the same', () => {
    const h = harness(1);
    h.join('a', 'a/1', 2, { gpu: 'a100', rack: '1' });
    order(h, { kind: 'label', labels: { gpu: null, pool: 'night' } });
    expect(h.ledger.nodes.get(a)?.labels).toEqual({ rack: '1', pool: 'night' });
    h.join('a', 'a/2', 2, { gpu: 'a100', rack: '2' });
    expect(h.ledger.nodes.get(a)?.labels).toEqual({ rack: '2', pool: 'night' });
    order(h, { kind: 'label', labels: { gpu: 'a100', pool: null } });
    expect(h.ledger.nodes.get(a)?.labels).toEqual({ gpu: 'a100', rack: '2' });
    expect(h.ledger.registry.ofKind('node')).toEqual([]);
  });
});

describe('over HTTP', () => {
  it('everybody with a token may look, and admins alone may change', () => {
    expect(roleFor('GET', '/v1/nodes/:name')).not.toBe('admin');
    for (const verb of ['cordon', 'uncordon', 'drain', 'quarantine', 'release'])
      expect([verb, roleFor('POST', `/v1/nodes/:name/${verb}`)]).toEqual([verb, 'admin']);
    expect(roleFor('PATCH', '/v1/nodes/:name/labels')).toBe('admin');
    expect(roleFor('PUT', '/v1/computes/:name/allocation')).toBe('admin');
  });
});
