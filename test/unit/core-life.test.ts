import { describe, expect, it } from 'vitest';
import type { Failure } from '../../common/core/batch-error.ts';
import type { Token } from '../../common/core/token.ts';
import type { ReopenScope } from '../../coordinator/core/life-events.ts';
import { failing } from '../helpers/failing.ts';
import { ledgerDigest } from '../helpers/ledger-digest.ts';
import { files, Harness, job } from '../helpers/ledger-harness.ts';

const failure = (code: Failure['code']): Failure => ({ code, message: code, detail: '' });

/** Ten files in mini-batches of two, listed; a node that wants all of them. */
function five(): {
  readonly h: Harness;
  readonly node: ReturnType<Harness['node']>;
  readonly tokens: readonly Token[];
} {
  const h = new Harness().submit({ triesMax: 1 });
  h.list(...files(10)).endList();
  const node = h.node('a', 5, { slots: 5 });
  return { h, node, tokens: h.grants() };
}

function reopen(h: Harness, scope: ReopenScope, miniBatchFiles?: number): void {
  const { deployment, reopenings, batches } = h.job;
  const settings = miniBatchFiles
    ? { ...deployment.settings, miniBatchSize: { kind: 'files', files: miniBatchFiles } as const }
    : deployment.settings;
  const runs: { first: number; sizesBytes: number[] }[] = [];
  for (let batch = batches.head; batch >= 0 && miniBatchFiles; batch = batches.next(batch)) {
    if (['split', 'committed'].includes(batches.state(batch))) continue;
    const last = runs.at(-1);
    const sizes = files(batches.files(batch));
    if (last && last.first + last.sizesBytes.length === batches.first(batch)) last.sizesBytes.push(...sizes);
    else runs.push({ first: batches.first(batch), sizesBytes: [...sizes] });
  }
  const recut = miniBatchFiles ? runs : null;
  h.give({ kind: 'reopen', job, scope, deployment: { ...deployment, settings }, reopenings, recut });
}

function sealed(h: Harness): void {
  h.give({ kind: 'sealed', job, wallMs: 0 });
}

/** What a restart replays is what was lived through. */
function expectReplay(h: Harness): void {
  const digest = (one: Harness): unknown => (ledgerDigest(one.ledger, { withCursor: false }) as { jobs: unknown }).jobs;
  expect(digest(h.restart())).toEqual(digest(h));
}

/** Both halves of what has failed. */
function giveUp(h: Harness, node: ReturnType<Harness['node']>): void {
  for (const half of [0, 1]) {
    h.give({ kind: 'want', node, leases: 1 });
    const [token] = h.grants();
    expect(token, `half ${half}`).toBeDefined();
    h.fail(node, token as Token, 'SCORER_FAILED');
  }
}

/** Completed; the second mini-batch was given up, the fourth committed with a file that could not be decoded. */
function completed(): ReturnType<typeof five> {
  const all = five();
  const { h, node, tokens } = all;
  tokens.forEach((token, index) => {
    if (index === 1) h.fail(node, token, 'SCORER_FAILED');
    else if (index !== 3) h.commit(node, token);
    else {
      const failed = [{ index: 1, code: 'INPUT_DECODE_FAILED', message: 'no image' } as const];
      h.commit(node, token, { length: 10, summary: { rows: 1, fileRows: [1, 0], failed } });
    }
  });
  giveUp(h, node);
  h.copied();
  expect([h.job.state, h.job.failedFiles, h.job.rows]).toEqual(['Finalizing', 3, 7]);
  sealed(h);
  h.take();
  return all;
}

describe('a paused job', () => {
  it('is granted nothing while what runs is committed, across restarts, until it goes on', () => {
    const h = new Harness().submit();
    h.list(...files(10)).endList();
    const node = h.node('a', 1);
    const [token] = h.grants() as [Token];
    h.give({ kind: 'pause', job, isPaused: true });
    h.give({ kind: 'want', node, leases: 2 });
    h.commit(node, token);
    expect([h.grants(), h.job.committed]).toEqual([[], 1]);
    const next = h.restart();
    next.pass(5_000);
    next.node('a', 2);
    expect([next.grants(), next.job.isPaused]).toEqual([[], true]);
    next.give({ kind: 'pause', job, isPaused: false });
    expect(next.grants()).toHaveLength(2);
    expectReplay(next);
  });

  it('can be canceled, and is told when it has ended already', () => {
    const { h } = five();
    h.give({ kind: 'pause', job, isPaused: true });
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    expect(h.job.state).toBe('Canceled');
    expect(() => h.give({ kind: 'pause', job, isPaused: false })).toThrow(failing('JOB_ENDED', 'Canceled'));
  });
});

describe('a cancel with a grace', () => {
  it('takes back what has not begun, lets the rest end, and ends when nothing runs', () => {
    const { h, node, tokens } = five();
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 60_000 });
    expect(h.take()).toEqual([{ kind: 'drain-job', job, node: null }]);
    h.give({ kind: 'returned', node, tokens: tokens.slice(1) });
    h.give({ kind: 'want', node, leases: 4 });
    h.pass(1_000);
    expect([h.job.state, h.grants()]).toEqual(['CancelRequested', []]);
    h.commit(node, tokens[0] as Token);
    h.pass(400);
    expect([h.job.state, h.job.committed, h.job.rows]).toEqual(['Canceled', 1, 2]);
  });

  it('kills at the end of the grace, or when asked again', () => {
    const { h } = five();
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 60_000 });
    h.give({ kind: 'tick', stallMs: 0, wallMs: 59_999 });
    expect(h.job.state).toBe('CancelRequested');
    h.give({ kind: 'tick', stallMs: 0, wallMs: 60_000 });
    expect(h.job.state).toBe('Canceled');
    const again = five().h;
    for (const _ of [1, 2]) again.give({ kind: 'cancel', job, wallMs: 0, graceMs: 60_000 });
    expect([again.job.state, again.takeOf('revoke').length]).toEqual(['Canceled', 5]);
  });

  it('waits after a restart for nodes that come back with what they score, and tells them again', () => {
    const { h, tokens } = five();
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 60_000 });
    const next = h.restart();
    next.pass(400);
    expect(next.job.state).toBe('CancelRequested');
    const held = [{ token: tokens[0] as Token, job, first: 0, count: 2 }];
    const node = next.node('a', 0, { held });
    const [adopted] = next.takeOf('adopt');
    expect(adopted?.oldToken).toEqual(tokens[0]);
    next.pass(3_000);
    expect(next.job.state).toBe('CancelRequested');
    next.commit(node, adopted?.token as Token);
    next.pass(400);
    expect([next.job.state, next.job.committed]).toEqual(['Canceled', 1]);
  });
});

describe('retry of failed files', () => {
  it('scores them alone, the whole mini-batch where it was committed without one, and copies the rest', () => {
    const { h, node } = completed();
    const before = h.job.outputCommitted;
    reopen(h, 'failed');
    expect(h.order).toBe('0+2:committed 2+1:pending 3+1:pending 4+2:committed 6+2:pending 8+2:committed');
    expect([h.job.state, h.job.generation, h.job.open, h.job.failedFiles, h.job.rows]).toEqual(['Running', 2, 3, 0, 6]);
    const [copy] = h.takeOf('copy');
    expect(copy?.from.map(({ offset, length }) => [offset, length])).toEqual([[2, 20]]);
    expect([...h.job.bases.values()]).toEqual(['predictions.csv']);
    h.copied();
    h.give({ kind: 'want', node, leases: 3 });
    const tokens = h.grants();
    expect(tokens).toHaveLength(3);
    for (const token of tokens) h.commit(node, token);
    for (let round = 0; round < 4; round += 1) h.copied();
    expect([h.job.state, h.job.rows, h.job.failures, h.job.outputCommitted]).toEqual(['Finalizing', 10, [], 102]);
    expect(h.takeOf('drop-segment')).not.toEqual([]);
    sealed(h);
    expect([h.job.sealedGeneration, before]).toEqual([2, 72]);
    expectReplay(h);
  });

  it('goes on after a restart in the middle, and leaves the old generation when it is canceled', () => {
    const { h } = completed();
    reopen(h, 'failed');
    h.copied();
    const next = h.restart();
    expectReplay(next);
    expect([next.job.generation, next.job.outputCommitted, next.job.segments.size]).toEqual([2, 22, 1]);
    next.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    sealed(next);
    expect([next.job.state, next.job.sealedGeneration, next.job.isStagingKept]).toEqual(['Canceled', 1, true]);
    reopen(next, 'rest');
    expect([next.job.state, next.job.generation]).toEqual(['Running', 2]);
  });

  it('is refused when nothing failed, while the job runs, and of a job that went on meanwhile', () => {
    const { h, node, tokens } = five();
    expect(() => reopen(h, 'failed')).toThrow(failing('JOB_NOT_FINISHED', 'Running'));
    for (const token of tokens) h.commit(node, token);
    sealed(h);
    expect(() => reopen(h, 'failed')).toThrow(failing('NOTHING_FAILED', 'no file'));
    expect(() => reopen(h, 'rest')).toThrow(failing('JOB_ENDED', 'nothing left to score'));
    const other = completed().h;
    const { deployment } = other.job;
    expect(() => other.give({ kind: 'reopen', job, scope: 'failed', deployment, reopenings: 1, recut: null })).toThrow(
      failing('JOB_NOT_FINISHED', 'meanwhile'),
    );
  });

  it('holds to the columns of the rows that stay', () => {
    const { h, node } = completed();
    reopen(h, 'failed');
    h.copied();
    h.give({ kind: 'want', node, leases: 1 });
    h.commit(node, h.grants()[0] as Token, { columns: ['other:int'] });
    expect(h.job.failures.map(({ failure: { code } }) => code)).toEqual(['RESULT_SCHEMA_MISMATCH']);
  });
});

describe('resume of a job that was broken off', () => {
  it('cuts anew what is not committed, and goes on in the same output', () => {
    const { h, node, tokens } = five();
    h.commit(node, tokens[0] as Token);
    h.commit(node, tokens[2] as Token);
    h.give({ kind: 'fail-job', job, failure: failure('INPUT_CHANGED'), wallMs: 0 });
    sealed(h);
    reopen(h, 'rest', 3);
    expect(h.order).toBe('0+2:committed 2+2:pending 4+2:committed 6+3:pending 9+1:pending');
    expect([h.job.generation, h.job.bases.size, h.job.error, h.job.outputCommitted]).toEqual([1, 0, null, 22]);
    expectReplay(h);
    h.give({ kind: 'want', node, leases: 3 });
    for (const token of h.grants()) {
      h.commit(node, token);
      h.copied();
    }
    expect([h.job.state, h.job.rows, h.job.total, h.job.outputCommitted]).toEqual(['Finalizing', 10, 5, 102]);
  });

  it('writes a new generation when a file that was given up comes before rows that are in place', () => {
    const { h, node, tokens } = five();
    h.commit(node, tokens[0] as Token);
    h.fail(node, tokens[1] as Token, 'SCORER_FAILED');
    giveUp(h, node);
    h.commit(node, tokens[2] as Token);
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    sealed(h);
    expect(h.job.outputCommitted).toBe(42);
    reopen(h, 'rest');
    expect(h.order).toBe('0+2:committed 2+1:pending 3+1:pending 4+2:committed 6+2:pending 8+2:pending');
    expect([h.job.generation, [...h.job.bases.values()]]).toEqual([2, ['predictions.csv.partial']]);
    expectReplay(h);
  });

  it('takes no lease of the time before for its own', () => {
    const { h, tokens } = five();
    h.give({ kind: 'disconnected', node: h.ledger.nodes.keys().next().value as never });
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    sealed(h);
    reopen(h, 'rest');
    h.take();
    h.node('a', 0, { held: [{ token: tokens[0] as Token, job, first: 0, count: 2 }] });
    expect(h.takeOf('adopt')).toEqual([]);
  });

  it('scores again what a release before this one had staged and dropped', () => {
    const { h, node, tokens } = five();
    h.commit(node, tokens[1] as Token);
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    h.job.isSealed = true;
    expect(h.job.isStagingKept).toBe(false);
    reopen(h, 'rest');
    expect([h.job.rows, h.job.open, h.job.segments.size]).toEqual([0, 5, 0]);
  });
});

describe('prune', () => {
  it('forgets a job that has ended, for good, and frees its name', () => {
    const { h } = completed();
    h.give({ kind: 'prune', job });
    expect([h.ledger.jobs.size, h.restart().ledger.jobs.size]).toEqual([0, 0]);
    h.submit();
    expect([h.job.files, h.restart().job.state]).toEqual([0, 'Preparing']);
  });

  it('leaves jobs that run', () => {
    const { h } = five();
    expect(() => h.give({ kind: 'prune', job })).toThrow(failing('JOB_NOT_FINISHED', 'Running'));
  });
});
