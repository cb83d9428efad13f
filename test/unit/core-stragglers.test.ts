import { describe, expect, it } from 'vitest';
import { nodeName, type NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { RunTimes } from '../../coordinator/core/run-times.ts';
import { JobFeeds } from '../../coordinator/views/job-feed.ts';
import { Harness } from '../helpers/ledger-harness.ts';

const one = { miniBatchSize: { kind: 'files', files: 1 } } as const;

/** Ten mini-batches of one file; nine are committed, the last one runs on `a` for as long as it takes, `b` is idle. */
function tail(settings: Parameters<Harness['submit']>[0] = {}): {
  h: Harness;
  a: NodeName;
  b: NodeName;
  straggler: Token;
} {
  const h = new Harness()
    .submit({ ...one, ...settings })
    .list(...Array.from({ length: 10 }, () => 1))
    .endList();
  const a = h.node('a', 10, { slots: 10 });
  const tokens = h.grants();
  h.give({ kind: 'started', node: a, tokens });
  for (const token of tokens.slice(0, 9)) h.commit(a, token);
  const b = h.node('b', 2);
  h.take();
  return { h, a, b, straggler: tokens[9] as Token };
}

function beatFor(h: Harness, ms: number, ...nodes: readonly NodeName[]): void {
  for (let passed = 0; passed < ms; passed += 5_000) {
    for (const node of nodes) {
      const held = [...(h.ledger.nodes.get(node)?.leases ?? [])].map((counter) => ({ epoch: h.ledger.epoch, counter }));
      h.heartbeat(node, held);
    }
    h.pass(Math.min(5_000, ms - passed));
  }
}

/** Until the second attempt is granted. */
function twin(h: Harness, a: NodeName, b: NodeName): Token {
  beatFor(h, limits.speculationRunMsMin + 400, a, b);
  const [token] = h.grants();
  expect(token).toBeDefined();
  return token as Token;
}

describe('a second attempt at a straggler', () => {
  it('is granted to an idle node once it has run for more than 30 s and thrice the median, and only once', () => {
    const { h, a, b } = tail();
    beatFor(h, limits.speculationRunMsMin - 400, a, b);
    expect(h.takeOf('grant')).toEqual([]);
    beatFor(h, 800, a, b);
    expect(h.takeOf('grant').map(({ node, range, attempt }) => [node, range, attempt])).toEqual([
      ['b', { first: 9, count: 1 }, 2],
    ]);
    h.node('c', 4);
    beatFor(h, 60_000, a, b, nodeName('c'));
    expect(h.takeOf('grant')).toEqual([]);
    expect([h.job.leased, h.ledger.leases.size, h.job.open]).toEqual([1, 2, 1]);
  });

  it('is told, once', () => {
    const { h, a, b } = tail();
    const told: string[] = [];
    const feeds = new JobFeeds({ ledger: h.ledger, wall: () => 0, onTold: ({ message }) => void told.push(message) });
    h.published.length = 0;
    twin(h, a, b);
    for (const event of h.published) feeds.publish(event);
    expect(told).toEqual([expect.stringMatching(/file 9.*: a second attempt begins on b, since/)]);
  });

  it.each([
    ['waits for thrice the median', { runSeconds: 100 }, {}],
    ['is not for scripts that must not overlap', {}, { speculation: 'off' }],
    ['is not for scripts that write to a shared folder', {}, { customOutput: 'shared' }],
  ] as const)('%s', (_name, summary, settings) => {
    const h = new Harness()
      .submit({ ...one, ...settings })
      .list(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
      .endList();
    const a = h.node('a', 10, { slots: 10 });
    const tokens = h.grants();
    h.give({ kind: 'started', node: a, tokens });
    for (const token of tokens.slice(0, 9)) h.commit(a, token, { summary });
    const b = h.node('b', 2);
    beatFor(h, 120_000, a, b);
    expect(h.takeOf('grant')).toEqual([]);
  });

  it.each([
    ['one that has not begun', (h: Harness) => h.ledger.leases.forEach((lease) => (lease.startedAt = null))],
    ['a job whose listing goes on', (h: Harness) => (h.job.isListed = false)],
    ['a job that is not nearly done', (h: Harness) => (h.job.open = 2)],
    ['a paused job', (h: Harness) => h.give({ kind: 'pause', job: h.job.name, isPaused: true })],
    ['a job that is to end', (h: Harness) => h.give({ kind: 'cancel', job: h.job.name, wallMs: 0, graceMs: 90_000 })],
    ['results that pile up in memory', (h: Harness) => (h.ledger.placingBytes = limits.placingBytesMax + 1)],
    ['a full disk', (h: Harness) => (h.ledger.stall = { code: 'DISK_FULL', message: '', detail: '' })],
  ])('is not for %s', (_name, change) => {
    const { h, a, b } = tail();
    change(h);
    beatFor(h, 60_000, a, b);
    expect(h.takeOf('grant')).toEqual([]);
  });

  it('is not for the node that has it, nor for one whose slots are busy, nor beyond the caps', () => {
    const { h, a } = tail({ instanceCountMax: 1 });
    h.give({ kind: 'want', node: a, leases: 5 });
    beatFor(h, 60_000, a, nodeName('b'));
    expect(h.takeOf('grant')).toEqual([]);
  });

  it('wins by its commit, and the first one is revoked', () => {
    const { h, a, b, straggler } = tail();
    const second = twin(h, a, b);
    h.commit(b, second);
    const effects = h.take();
    expect(effects.map(({ kind }) => kind)).toEqual(['append', 'discard', 'committed', 'revoke', 'seal']);
    expect(effects).toContainEqual({ kind: 'revoke', node: a, token: straggler });
    expect([h.job.state, h.job.leased, h.job.open, h.job.committed, h.job.rows]).toEqual(['Finalizing', 0, 0, 10, 10]);
    expect([h.ledger.leases.size, h.job.holders.size, h.job.placing.size]).toEqual([0, 0, 0]);
    h.result(a, straggler);
    expect(h.takeOf('refuse').map(({ failure }) => failure.code)).toEqual(['LEASE_STALE']);
    expect(h.job.rows).toBe(10);
  });

  it('loses to a result that is on its way to the disk; what it brings itself is dropped with its lease', () => {
    const { h, a, b, straggler } = tail();
    const second = twin(h, a, b);
    h.result(a, straggler);
    expect(h.takeOf('append')).toHaveLength(1);
    h.give({ kind: 'upload-began', node: b, token: second });
    h.result(b, second);
    expect(h.take()).toEqual([]);
    h.written(straggler);
    expect(h.take().map((effect) => [effect.kind, 'token' in effect ? effect.token : null])).toEqual([
      ['discard', second],
      ['committed', straggler],
      ['drop-segment', null],
      ['revoke', second],
      ['seal', null],
    ]);
    expect([h.job.committed, h.job.rows, h.job.outputCommitted]).toEqual([10, 10, 2 + 100]);
  });

  it('fails without a new try, a split or a quarantine as long as the other lives', () => {
    const { h, a, b, straggler } = tail({ triesMax: 2 });
    const second = twin(h, a, b);
    h.fail(b, second, 'SCORER_FAILED');
    expect(h.take().map(({ kind }) => kind)).toEqual(['discard']);
    expect([h.job.waiting.size, h.job.batches.failures(9), h.job.batches.state(9), h.job.leased]).toEqual([
      0,
      1,
      'leased',
      1,
    ]);
    // Two attempts are two tries.
    h.fail(a, straggler, 'SCORER_FAILED');
    expect([h.job.batches.state(9), h.job.failures.map(({ tries }) => tries)]).toEqual(['quarantined', [2]]);
  });

  it('goes on when the node of the first one vanishes', () => {
    const { h, a, b } = tail();
    const second = twin(h, a, b);
    h.give({ kind: 'disconnected', node: a });
    beatFor(h, 40_000, b);
    expect(h.ledger.nodes.get(a)?.state).toBe('lost');
    expect([h.job.batches.state(9), h.job.batches.lostLeases(9), h.job.leased]).toEqual(['leased', 1, 1]);
    expect(h.takeOf('grant')).toEqual([]);
    h.commit(b, second);
    expect(h.job.state).toBe('Finalizing');
  });

  it('leaves the mini-batch to be tried again when both nodes vanish at once', () => {
    const { h, a, b } = tail();
    twin(h, a, b);
    h.pass(31_000);
    expect([h.ledger.nodes.get(a)?.state, h.ledger.nodes.get(b)?.state]).toEqual(['lost', 'lost']);
    h.pass(400);
    expect([h.job.batches.state(9), h.job.leased, h.ledger.leases.size]).toEqual(['pending', 0, 0]);
    h.node('c', 1);
    expect(h.takeOf('grant').map(({ range }) => range.first)).toEqual([9]);
  });

  it('ends with the job', () => {
    const { h, a, b, straggler } = tail();
    const second = twin(h, a, b);
    h.give({ kind: 'cancel', job: h.job.name, wallMs: 0, graceMs: 0 });
    expect(h.takeOf('revoke').map(({ token }) => token)).toEqual([straggler, second]);
    expect([h.ledger.leases.size, h.job.leased, h.job.holders.size]).toEqual([0, 0, 0]);
  });

  it('may end like the first one when its job is to end, by the commit of either', () => {
    const { h, a, b, straggler } = tail();
    const second = twin(h, a, b);
    h.give({ kind: 'cancel', job: h.job.name, wallMs: 0, graceMs: 90_000 });
    h.give({ kind: 'returned', node: b, tokens: [] });
    h.pass(400);
    expect([h.job.state, h.ledger.leases.size]).toEqual(['CancelRequested', 2]);
    h.commit(a, straggler);
    expect(h.takeOf('revoke').map(({ token }) => token)).toEqual([second]);
    h.pass(400);
    expect([h.job.state, h.job.rows, h.ledger.leases.size]).toEqual(['Canceled', 10, 0]);
  });

  it('is of the life of its job in which it was granted', () => {
    const { h, a, b, straggler } = tail();
    const second = twin(h, a, b);
    h.give({ kind: 'cancel', job: h.job.name, wallMs: 0, graceMs: 0 });
    h.give({ kind: 'sealed', job: h.job.name, wallMs: 0 });
    const { name, deployment, reopenings } = h.job;
    h.give({ kind: 'reopen', job: name, scope: 'rest', deployment, reopenings, recut: null });
    expect([h.job.runTimes.total, h.ledger.leases.has(second.counter)]).toEqual([0, false]);
    const next = h.restart();
    for (const [node, token] of [['a', straggler] as const, ['b', second] as const]) {
      next.node(node, 0, { held: [{ token, job: name, first: 9, count: 1 }] });
    }
    expect([next.takeOf('adopt'), next.ledger.leases.size]).toEqual([[], 0]);
  });

  it('may be given back, or not be known to its node any more', () => {
    const { h, a, b } = tail();
    const second = twin(h, a, b);
    h.give({ kind: 'returned', node: b, tokens: [second] });
    expect([h.job.batches.state(9), h.job.pending.isEmpty, h.job.leased]).toEqual(['leased', true, 1]);
  });

  it('lives on beside the first after a restart, as the nodes offer them; a third is told to stop', () => {
    const { h, a, b, straggler } = tail();
    const second = twin(h, a, b);
    const next = h.restart();
    const held = (token: Token): { token: Token; job: typeof h.job.name; first: number; count: number }[] => [
      { token, job: h.job.name, first: 9, count: 1 },
    ];
    next.node('a', 0, { held: held(straggler) });
    next.node('b', 0, { held: held(second) });
    next.node('c', 0, { held: held({ epoch: 1, counter: 1 }) });
    const adopted = next.takeOf('adopt');
    expect(adopted.map(({ node, oldToken }) => [node, oldToken])).toEqual([
      ['a', straggler],
      ['b', second],
    ]);
    expect([next.job.leased, next.ledger.leases.size]).toEqual([1, 2]);
    next.commit(b, adopted[1]?.token as Token);
    expect(next.takeOf('revoke').map(({ node }) => node)).toEqual(['a']);
    expect([next.job.state, next.job.rows, next.job.leased]).toEqual(['Finalizing', 10, 0]);
    expect(next.restart().job.rows).toBe(10);
  });
});

describe('leases that a busy node has not begun', () => {
  /** Six mini-batches, all at a node with two slots; two have begun. */
  function crowded(stagingBytesMax: number = limits.stagingBytesMax): {
    h: Harness;
    a: NodeName;
    tokens: readonly Token[];
  } {
    const h = new Harness([], 1, stagingBytesMax).submit(one).list(1, 1, 1, 1, 1, 1).endList();
    const a = h.node('a', 6);
    const tokens = h.grants();
    h.give({ kind: 'started', node: a, tokens: tokens.slice(0, 2) });
    return { h, a, tokens };
  }

  it('are asked back for the idle slots of others, the last ones first, each once', () => {
    const { h, a, tokens } = crowded();
    h.pass(limits.recallAfterMs + 400);
    h.node('b', 3);
    h.take();
    h.pass(400);
    const recalled = h.takeOf('recall');
    expect(recalled.map(({ node, token }) => [node, token])).toEqual([
      ['a', tokens[5]],
      ['a', tokens[4]],
    ]);
    h.pass(2_000);
    expect(h.take()).toEqual([]);
    // One has begun meanwhile, the other comes back and goes to the idle node, although this one asks for more at once.
    h.give({ kind: 'want', node: a, leases: 4 });
    h.give({ kind: 'started', node: a, tokens: [tokens[4] as Token] });
    h.give({ kind: 'returned', node: a, tokens: [tokens[5] as Token] });
    expect(h.takeOf('grant').map(({ node, range }) => [node, range.first])).toEqual([['b', 5]]);
    h.pass(10_000);
    expect(h.takeOf('grant')).toEqual([]);
  });

  it('stay where they are when their job is paused, for nobody else would get them', () => {
    const { h } = crowded();
    h.give({ kind: 'pause', job: h.job.name, isPaused: true });
    h.pass(limits.recallAfterMs + 400);
    h.node('b', 3);
    h.take();
    h.pass(5_000);
    expect(h.take()).toEqual([]);
  });

  it('stay where they are when nothing is granted but what staged results wait for', () => {
    const { h, a, tokens } = crowded(100);
    h.commit(a, tokens[1] as Token, { length: 200 });
    h.pass(limits.recallAfterMs + 400);
    h.node('b', 3);
    h.take();
    h.pass(5_000);
    expect(h.take()).toEqual([]);
    h.commit(a, tokens[0] as Token);
    h.copied();
    h.pass(400);
    expect(h.takeOf('recall')).not.toEqual([]);
  });

  it('stay where they are while something is pending, or nobody is idle', () => {
    const { h } = crowded();
    h.node('b', 0);
    h.take();
    h.pass(5_000);
    expect(h.take()).toEqual([]);
  });

  it('go back to their node when the idle one is gone', () => {
    const { h, a, tokens } = crowded();
    h.pass(1_400);
    const b = h.node('b', 1);
    h.pass(400);
    h.give({ kind: 'want', node: a, leases: 4 });
    h.give({ kind: 'leaving', node: b });
    h.take();
    h.give({ kind: 'returned', node: a, tokens: [tokens[5] as Token] });
    expect(h.takeOf('grant').map(({ node, range }) => [node, range.first])).toEqual([['a', 5]]);
  });
});

describe('a mini-batch that a node has failed', () => {
  it('is tried on another one next, while the node goes on with others', () => {
    const h = new Harness().submit(one).list(1, 1, 1).endList();
    const a = h.node('a', 1);
    const [first] = h.grants() as [Token];
    h.fail(a, first, 'SCORER_CRASHED');
    const b = h.node('b', 0);
    h.pass(400);
    h.give({ kind: 'want', node: a, leases: 1 });
    expect(h.takeOf('grant').map(({ node, range }) => [node, range.first])).toEqual([['a', 1]]);
    h.give({ kind: 'want', node: b, leases: 1 });
    expect(h.takeOf('grant').map(({ node, range }) => [node, range.first])).toEqual([['b', 0]]);
  });

  it('is tried there again when nobody else comes for it', () => {
    const h = new Harness().submit(one).list(1).endList();
    const a = h.node('a', 1);
    h.fail(a, h.grants()[0] as Token, 'SCORER_CRASHED');
    const b = h.node('b', 0);
    h.give({ kind: 'want', node: a, leases: 1 });
    beatFor(h, limits.avoidNodeMs - 1_000, a, b);
    expect(h.takeOf('grant')).toEqual([]);
    beatFor(h, 3_000, a, b);
    expect(h.takeOf('grant').map(({ node }) => node)).toEqual(['a']);
  });
});

describe('run times', () => {
  it('give a median that is a fifth too high at most, in any order, of any number', () => {
    const times = new RunTimes();
    expect(times.medianMs).toBeNull();
    for (let ms = 1_001; ms > 0; ms -= 1) times.add(ms);
    expect(times.medianMs).toBeGreaterThanOrEqual(501);
    expect(times.medianMs).toBeLessThanOrEqual(501 * 1.2);
    times.add(0);
    times.add(1e15);
    expect(times.total).toBe(1_003);
  });
});
