import { describe, expect, it } from 'vitest';
import { incarnation, nodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { files, Harness, job } from '../helpers/ledger-harness.ts';

const full = { code: 'DISK_FULL', message: 'no room', detail: '' } as const;

describe('leases are granted', () => {
  it('lowest first, to nodes in turn, as many as were wanted and nothing else', () => {
    const h = new Harness().submit().list(...files(12));
    h.take();
    h.node('a');
    h.node('b');
    h.take();
    h.give({ kind: 'stall', job: null, failure: full });
    h.give({ kind: 'want', node: nodeName('a'), leases: 3 });
    h.give({ kind: 'want', node: nodeName('b'), leases: 2 });
    expect(h.take()).toEqual([]);
    h.give({ kind: 'stall', job: null, failure: null });
    const grants = h.take();
    expect(
      grants.map((effect) => effect.kind === 'grant' && [effect.node, effect.range.first, effect.attempt]),
    ).toEqual([
      ['a', 0, 1],
      ['b', 2, 1],
      ['a', 4, 1],
      ['b', 6, 1],
      ['a', 8, 1],
    ]);
    h.pass(2_000);
    expect(h.take()).toEqual([]);
  });

  it('from the first page on, before the listing has ended', () => {
    const h = new Harness();
    h.node('a', 9);
    h.submit().list(1, 1, 1);
    expect(h.grants()).toHaveLength(1);
    h.list(1);
    expect(h.takeOf('grant').map((grant) => grant.range)).toEqual([{ first: 2, count: 2 }]);
    h.list(1).endList();
    expect(h.takeOf('grant').map((grant) => grant.range)).toEqual([{ first: 4, count: 1 }]);
  });

  it('to no more nodes than the cap, also when a node drops out', () => {
    const h = new Harness()
      .submit({ instanceCountMax: 1 })
      .list(...files(8))
      .endList();
    const a = h.node('a', 1);
    const b = h.node('b', 9);
    const [token] = h.takeOf('grant').map((grant) => grant.token) as [Token];
    expect(h.ledger.leases.size).toBe(1);
    h.commit(a, token);
    expect(h.takeOf('grant').map((grant) => grant.node)).toEqual(['b', 'b', 'b']);
    h.give({ kind: 'want', node: a, leases: 1 });
    expect(h.ledger.nodes.get(b)?.leases.size).toBe(3);
    expect(h.take()).toEqual([]);
  });

  it('of the job that was submitted first', () => {
    const h = new Harness().submit().list(1, 1);
    const other = 'other' as typeof job;
    const { deployment } = h.job;
    h.give({ kind: 'submit', job: other, deployment, inputPath: '/in', outputDir: '/o', wallMs: 0 });
    h.give({ kind: 'page-listed', job: other, chunk: 0, sizesBytes: [1, 1], wallMs: 0 });
    h.take();
    h.node('a', 2);
    expect(h.takeOf('grant').map((grant) => grant.job)).toEqual(['job', 'other']);
  });

  it('never to a node that drains, is silent, or is not connected', () => {
    const h = new Harness().submit();
    const [a, b] = [h.node('a', 5), h.node('b', 5)];
    h.node('c', 5);
    h.give({ kind: 'leaving', node: a });
    h.give({ kind: 'disconnected', node: b });
    h.heartbeat(a, []);
    h.pass(30_001);
    h.take();
    h.list(...files(10));
    expect(h.take()).toEqual([]);
  });

  it('up to what a node of many slots can want', () => {
    const h = new Harness().submit({ miniBatchSize: { kind: 'files', files: 1 } }).list(...files(2_000));
    h.node('a', 600 + limits.workAheadMax, { slots: 600 });
    expect(h.grants()).toHaveLength(600 + limits.workAheadMax);
  });
});

describe('nothing is granted', () => {
  it('while there is no place for results', () => {
    const h = new Harness().submit();
    h.node('a', 4);
    h.give({ kind: 'stall', job, failure: full });
    h.list(1, 1).list(1, 1);
    h.pass(1_000);
    expect(h.takeOf('grant')).toEqual([]);
    h.give({ kind: 'stall', job, failure: null });
    expect(h.takeOf('grant')).toHaveLength(2);
  });

  it('while either the journal or the output has no room, whichever comes back first', () => {
    const h = new Harness().submit();
    h.node('a', 4);
    h.give({ kind: 'stall', job: null, failure: full });
    h.give({ kind: 'stall', job, failure: full });
    h.list(1, 1);
    h.give({ kind: 'stall', job, failure: null });
    h.pass(1_000);
    expect(h.takeOf('grant')).toEqual([]);
    h.give({ kind: 'stall', job: null, failure: null });
    expect(h.takeOf('grant')).toHaveLength(1);
  });

  it('after a restart until nodes had time to come back', () => {
    const before = new Harness().submit().list(1, 1);
    before.node('b');
    const h = before.restart();
    h.node('a', 1);
    h.pass(limits.restartGraceMs - limits.tickMs);
    expect(h.takeOf('grant')).toEqual([]);
    h.pass(2 * limits.tickMs);
    expect(h.takeOf('grant').map((grant) => grant.token)).toEqual([{ epoch: 2, counter: 1 }]);
  });

  it('of a job that has ended', () => {
    const h = new Harness().submit().list(...files(4));
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    h.take();
    h.node('a', 4);
    expect(h.takeOf('grant')).toEqual([]);
  });
});

describe('after a restart, a node', () => {
  const held = (token: Token, first: number, count = 2) => ({ token, job, first, count });

  it('goes on with what it holds, hears of what was committed, and lets go of the rest', () => {
    const before = new Harness()
      .submit()
      .list(...files(8))
      .endList();
    const a = before.node('a', 3);
    const [t0, t1, t2] = before.grants() as [Token, Token, Token];
    before.commit(a, t0);
    before.fail(a, t2, 'SCORER_FAILED', 0);
    const h = before.restart();
    h.isSyncing = false;
    h.take();
    h.node('a', 0, { held: [held(t0, 0), held(t1, 2), held(t2, 4), held({ epoch: 1, counter: 99 }, 60)] });
    expect(h.take()).toEqual([{ kind: 'committed', node: a, token: t0 }]);
    h.sync();
    expect(h.take()).toEqual([
      { kind: 'adopt', node: a, oldToken: t1, token: { epoch: 2, counter: 1 } },
      { kind: 'welcome', node: a, kept: [] },
    ]);
    expect(h.order).toBe('0+2:committed 2+2:leased 4+1:pending 5+1:pending 6+2:pending');
  });

  it('is given each mini-batch once, and to one node beside it, whoever says that he holds it', () => {
    const before = new Harness().submit().list(1, 1);
    before.node('a', 1);
    const [token] = before.grants() as [Token];
    const h = before.restart();
    h.node('a', 0, { held: [held(token, 0), held({ epoch: 1, counter: 7 }, 0)] });
    h.node('b', 0, { held: [held({ epoch: 1, counter: 8 }, 0)] });
    h.node('c', 0, { held: [held({ epoch: 1, counter: 9 }, 0)] });
    expect(h.takeOf('adopt').map(({ node, oldToken }) => [node, oldToken.counter])).toEqual([
      ['a', 1],
      ['b', 8],
    ]);
    expect([h.ledger.leases.size, h.job.leased]).toEqual([2, 1]);
  });

  it('finds its place in a split', () => {
    const before = new Harness().submit({ miniBatchSize: { kind: 'files', files: 4 } }).list(...files(4));
    const a = before.node('a', 3);
    before.fail(a, before.grants()[0] as Token, 'SCORER_FAILED', 1);
    const h = before.restart();
    h.node('a', 0, { held: [held({ epoch: 1, counter: 2 }, 0, 1), held({ epoch: 1, counter: 3 }, 0, 4)] });
    expect(h.takeOf('adopt').map(({ oldToken }) => oldToken.counter)).toEqual([2]);
    expect(h.order).toBe('0+1:leased 1+1:pending 2+2:pending');
  });
});

describe('a stream that begins anew', () => {
  it('keeps leases that both know, frees those whose grants were lost, and asks again for everything', () => {
    const h = new Harness().submit().list(...files(8));
    const a = h.node('a', 3);
    const [t0, t1] = h.grants() as [Token, Token, Token];
    h.give({ kind: 'disconnected', node: a });
    h.join('a', 'a/1');
    h.give({ kind: 'hello', node: a, held: [t0, t1].map((token, at) => ({ token, job, first: 2 * at, count: 2 })) });
    expect(h.take()).toEqual([
      { kind: 'discard', token: { epoch: 1, counter: 3 } },
      { kind: 'welcome', node: a, kept: [t0, t1] },
    ]);
    expect(h.order).toBe('0+2:leased 2+2:leased 4+2:pending 6+2:pending');
  });
});

describe('a node', () => {
  it('that is silent is suspected first and lost with the next tick', () => {
    const h = new Harness().submit().list(1, 1);
    const a = h.node('a', 1);
    h.pass(30_000);
    expect(h.ledger.nodes.get(a)?.state).toBe('ready');
    h.pass(limits.tickMs);
    expect([h.ledger.nodes.get(a)?.state, h.order]).toEqual(['suspect', '0+2:leased']);
    h.pass(limits.tickMs);
    expect([h.ledger.nodes.get(a)?.state, h.order]).toEqual(['lost', '0+2:waiting']);
  });

  it('whose heartbeat comes between the two is not lost', () => {
    const h = new Harness().submit().list(1, 1);
    const a = h.node('a', 1);
    const [token] = h.grants() as [Token];
    h.pass(30_000 + limits.tickMs);
    h.heartbeat(a, [token]);
    h.pass(10_000);
    expect([h.ledger.nodes.get(a)?.state, h.order]).toEqual(['ready', '0+2:leased']);
  });

  it('is not lost for a stall of the coordinator', () => {
    const h = new Harness().submit().list(1, 1);
    const a = h.node('a', 1);
    h.pass(20_000);
    h.now += 3_600_000;
    for (let tick = 0; tick < 5; tick += 1) {
      h.give({ kind: 'tick', stallMs: tick === 0 ? 3_600_000 : 0, wallMs: 0 });
      h.now += limits.tickMs;
    }
    expect([h.ledger.nodes.get(a)?.state, h.order]).toEqual(['ready', '0+2:leased']);
    h.pass(10_000);
    expect(h.ledger.nodes.get(a)?.state).toBe('lost');
  });

  it('whose connection broke has two heartbeats to come back', () => {
    const h = new Harness().submit().list(1, 1);
    const a = h.node('a', 1);
    h.give({ kind: 'disconnected', node: a });
    h.pass(10_000);
    expect(h.order).toBe('0+2:leased');
    h.pass(2 * limits.tickMs);
    expect([h.ledger.nodes.get(a)?.state, h.order]).toEqual(['lost', '0+2:waiting']);
  });

  it('that comes back from the dead is told to let go, and is given work again', () => {
    const h = new Harness().submit().list(1, 1);
    const a = h.node('a', 2);
    const [token] = h.grants() as [Token];
    h.pass(31_000);
    h.take();
    h.heartbeat(a, [token]);
    expect(h.take()).toMatchObject([
      { kind: 'revoke', node: a, token },
      { kind: 'grant', node: a, token: { epoch: 1, counter: 2 }, attempt: 2 },
    ]);
  });

  it('that no longer names a lease loses it after two heartbeats', () => {
    const h = new Harness().submit().list(1, 1);
    const a = h.node('a', 1);
    const [token] = h.grants() as [Token];
    h.pass(10_000);
    h.heartbeat(a, []);
    expect(h.order).toBe('0+2:leased');
    h.pass(limits.tickMs);
    h.heartbeat(a, []);
    expect(h.order).toBe('0+2:pending');
    expect(h.take()).toEqual([
      { kind: 'discard', token },
      { kind: 'revoke', node: a, token },
    ]);
  });

  it('of the same name is refused while the first one is there, not when that is lost', () => {
    const h = new Harness();
    h.node('a');
    expect(() => h.join('a', 'a/2')).toThrow(expect.objectContaining({ code: 'NAME_TAKEN' }));
    h.pass(31_000);
    h.join('a', 'a/2');
    expect(h.ledger.nodes.get(nodeName('a'))).toMatchObject({ incarnation: incarnation('a/2'), state: 'ready' });
  });

  it('in a new process has lost what the old one held', () => {
    const h = new Harness().submit().list(1, 1);
    const a = h.node('a', 1);
    h.give({ kind: 'disconnected', node: a });
    h.join('a', 'a/2');
    h.pass(limits.tickMs);
    expect([h.order, h.ledger.leases.size]).toEqual(['0+2:pending', 0]);
  });

  it('gives back what it has not begun', () => {
    const h = new Harness().submit().list(...files(4));
    const a = h.node('a', 2);
    const [t0, t1] = h.grants() as [Token, Token];
    h.give({ kind: 'leaving', node: a });
    h.give({ kind: 'returned', node: a, tokens: [t1, { epoch: 1, counter: 50 }] });
    expect(h.order).toBe('0+2:leased 2+2:pending');
    h.commit(a, t0);
    h.give({ kind: 'disconnected', node: a });
    expect(h.ledger.nodes.get(a)?.state).toBe('gone');
  });

  it('that vanishes while it drains is lost like any other', () => {
    const h = new Harness().submit().list(1, 1);
    const a = h.node('a', 1);
    h.give({ kind: 'leaving', node: a });
    h.give({ kind: 'disconnected', node: a });
    h.pass(11_000);
    expect([h.ledger.nodes.get(a)?.state, h.ledger.leases.size]).toEqual(['lost', 0]);
    expect(h.order).toMatch(/0\+2:(waiting|pending)/);
  });

  it('that has gone is forgotten in the end', () => {
    const h = new Harness();
    const a = h.node('a');
    h.give({ kind: 'disconnected', node: a });
    h.pass(11_000);
    h.now += limits.nodeForgetMs;
    h.pass(limits.tickMs);
    expect(h.ledger.nodes.size).toBe(0);
    h.heartbeat(a, []);
    h.give({ kind: 'want', node: a, leases: 1 });
    expect(h.ledger.nodes.size).toBe(0);
  });
});
