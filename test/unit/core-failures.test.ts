import { defaultOutputForm } from '../../common/core/output-form.ts';
import { describe, expect, it } from 'vitest';
import { noCircumstances } from '../../common/core/cluster-messages.ts';
import type { DeploymentSettings } from '../../common/core/deployment.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { splitSizes } from '../../coordinator/core/decide-failure.ts';
import { files, Harness, job } from '../helpers/ledger-harness.ts';
import { ledgerDigest } from '../helpers/ledger-digest.ts';

function one(count: number, given: Partial<DeploymentSettings> = {}): { h: Harness; a: ReturnType<Harness['node']> } {
  const h = new Harness().submit({ miniBatchSize: { kind: 'files', files: count }, ...given });
  h.list(...files(count)).endList();
  return { h, a: h.node('a', 1) };
}

describe('a mini-batch that failed', () => {
  const cases: readonly [string, number, Partial<DeploymentSettings>, readonly [ErrorCode, number][], string][] = [
    ['with an error is halved', 5, {}, [['SCORER_FAILED', -1]], '0+3:pending 3+2:pending'],
    [
      'with an error in a known file is cut around it',
      5,
      {},
      [['SCORER_FAILED', 2]],
      '0+2:pending 2+1:pending 3+2:pending',
    ],
    ['with an error in its first file', 3, {}, [['SCORER_FAILED', 0]], '0+1:pending 1+2:pending'],
    ['by timeout is halved', 4, {}, [['SCORER_TIMEOUT', -1]], '0+2:pending 2+2:pending'],
    ['by a crash is tried once more as it is', 4, {}, [['SCORER_CRASHED', -1]], '0+4:waiting'],
    ['by a crash in a known file, too', 4, {}, [['SCORER_CRASHED', 1]], '0+4:waiting'],
    [
      'by two crashes is cut',
      4,
      {},
      [
        ['SCORER_CRASHED', 1],
        ['SCORER_CRASHED', 1],
      ],
      '0+1:pending 1+1:pending 2+2:pending',
    ],
    ['by its node is tried again as it is', 4, {}, [['DISK_FULL', -1]], '0+4:waiting'],
    [
      'by its nodes too often is cut',
      4,
      {},
      Array.from({ length: limits.lostLeasesMax }, (): [ErrorCode, number] => ['DISK_FULL', -1]),
      '0+2:pending 2+2:pending',
    ],
    ['as a file alone waits', 1, {}, [['SCORER_FAILED', 0]], '0+1:waiting'],
    [
      'as a file alone is quarantined after its tries',
      1,
      { triesMax: 2 },
      [
        ['SCORER_FAILED', 0],
        ['SCORER_CRASHED', 0],
      ],
      '0+1:quarantined',
    ],
    ['with one try is quarantined at once', 1, { triesMax: 1 }, [['SCORER_TIMEOUT', 0]], '0+1:quarantined'],
    [
      'as a whole waits under mini_batch isolation',
      3,
      { isolation: 'mini_batch' },
      [['SCORER_FAILED', 1]],
      '0+3:waiting',
    ],
    [
      'as a whole is quarantined under mini_batch isolation',
      3,
      { isolation: 'mini_batch', triesMax: 1 },
      [['SCORER_FAILED', 1]],
      '0+3:quarantined',
    ],
  ];
  it.each(cases)('%s', (_name, count, given, failures, wanted) => {
    const { h, a } = one(count, given);
    for (const [code, fileIndex] of failures) {
      h.give({ kind: 'want', node: a, leases: 1 });
      h.heartbeat(a, []);
      h.pass(limits.retryBackoffMsMax / 10);
      const [token] = [...h.ledger.leases.values()].map((lease) => lease.token) as [Token];
      h.give({ kind: 'stall', job, failure: { code: 'DISK_FULL', message: '', detail: '' } });
      h.fail(a, token, code, fileIndex);
      h.give({ kind: 'want', node: a, leases: 0 });
      expect(h.ledger.leases.size).toBe(0);
      if (h.order !== wanted) h.give({ kind: 'stall', job, failure: null });
    }
    expect(h.order).toBe(wanted);
    expect(h.job.failedTries).toBe(failures.length);
  });

  it('passes on that it has crashed, so that its parts are cut further at once', () => {
    const { h, a } = one(4);
    for (let crash = 0; crash < 3; crash += 1) {
      const [lease] = [...h.ledger.leases.values()];
      h.fail(a, lease?.token as Token, 'SCORER_CRASHED', -1);
      h.pass(limits.retryBackoffMsMax / 10);
      h.give({ kind: 'want', node: a, leases: 1 });
    }
    expect(h.order).toBe('0+1:leased 1+1:pending 2+2:pending');
  });

  it('alone counts the tries of the ranges that it was in, and is tried alone at least once', () => {
    const { h, a } = one(2, { triesMax: 2 });
    h.fail(a, h.grants()[0] as Token, 'SCORER_FAILED', 1);
    h.give({ kind: 'want', node: a, leases: 2 });
    const [good, bad] = h.grants() as [Token, Token];
    h.commit(a, good);
    h.fail(a, bad, 'SCORER_FAILED', 0);
    expect(h.order).toBe('0+1:committed 1+1:quarantined');
    expect(h.job.failures).toMatchObject([
      { first: 1, count: 1, tries: 2, node: 'a', failure: { code: 'SCORER_FAILED' } },
    ]);
    expect([h.job.state, h.job.scoredFiles, h.job.failedFiles]).toEqual(['Finalizing', 1, 1]);
  });

  it('waits twice as long each time', () => {
    const { h, a } = one(1, { triesMax: 9 });
    const waits: number[] = [];
    for (let tries = 0; tries < 4; tries += 1) {
      h.give({ kind: 'want', node: a, leases: 1 });
      const lease = [...h.ledger.leases.values()][0];
      h.fail(a, lease?.token as Token, 'SCORER_FAILED', 0);
      const readyAt = h.job.waiting.get(0) as number;
      waits.push(readyAt - h.now);
      h.heartbeat(a, []);
      h.pass(readyAt - h.now);
    }
    expect(waits).toEqual([1, 2, 4, 8].map((times) => times * limits.retryBackoffMs));
  });

  it('for a trouble of its node waits, so that the same node does not use up its tries at once', () => {
    const { h, a } = one(2);
    h.fail(a, h.grants()[0] as Token, 'DISK_FULL');
    expect((h.job.waiting.get(0) as number) - h.now).toBe(limits.retryBackoffMs);
    expect([h.job.batches.failures(0), h.job.batches.lostLeases(0)]).toEqual([0, 1]);
  });

  it('because its node was lost is free at the next tick', () => {
    const { h, a } = one(2);
    h.give({ kind: 'disconnected', node: a });
    h.join('a', 'a/2');
    h.pass(limits.tickMs);
    expect(h.order).toBe('0+2:pending');
  });

  it('is cut into parts that add up', () => {
    for (let count = 2; count < 9; count += 1) {
      for (let suspect = -1; suspect <= count; suspect += 1) {
        const sizes = splitSizes(count, suspect);
        expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(count);
        expect(sizes.every((size) => size > 0) && sizes.length >= 2).toBe(true);
      }
    }
  });

  it('keeps a reason that a person can read', () => {
    const { h, a } = one(1, { triesMax: 1 });
    const message = 'x'.repeat(limits.failureMessageCharsMax + 10);
    h.give({
      kind: 'attempt-failed',
      node: a,
      token: h.grants()[0] as Token,
      failure: { code: 'SCORER_FAILED', message, detail: '' },
      fileIndex: 0,
      circumstances: noCircumstances,
    });
    expect(h.job.failures[0]?.failure.message).toBe(`${'x'.repeat(limits.failureMessageCharsMax)}…`);
  });
});

describe('a job', () => {
  it.each([
    [-1, 'Finalizing', null],
    [0, 'Failed', 'ERROR_THRESHOLD_EXCEEDED'],
    [1, 'Failed', 'ERROR_THRESHOLD_EXCEEDED'],
    [2, 'Finalizing', null],
  ])('with error_threshold %i and two failed files ends as %s', (errorThreshold, state, code) => {
    const { h, a } = one(4, { errorThreshold });
    const failed = [0, 2].map((index) => ({ index, code: 'INPUT_DECODE_FAILED', message: 'm' }) as const);
    h.commit(a, h.grants()[0] as Token, { summary: { rows: 2, fileRows: [0, 1, 0, 1], failed } });
    expect([h.job.state, h.job.error?.code ?? null, h.job.failedFiles]).toEqual([state, code, 2]);
    expect(h.takeOf('seal')).toHaveLength(1);
  });

  it('counts rows that are missing as failed files', () => {
    const { h, a } = one(4, { errorThreshold: 0 });
    h.commit(a, h.grants()[0] as Token, { summary: { rows: 3, attribution: 'range', fileRows: null } });
    expect([h.job.state, h.job.failedFiles, h.job.scoredFiles]).toEqual(['Failed', 1, 3]);
    expect(h.job.failures).toMatchObject([{ first: 0, count: 4, failure: { code: 'SCORER_OUTPUT_INVALID' } }]);
  });

  it('without any row fails, unless only a summary is wanted', () => {
    for (const [outputAction, wanted] of [
      ['append_row', ['Failed', 'NO_RESULTS']],
      ['summary_only', ['Finalizing', undefined]],
    ] as const) {
      const { h, a } = one(2, { outputAction });
      h.commit(a, h.grants()[0] as Token, { length: 0, summary: { rows: 0, fileRows: [0, 0], schema: null } });
      expect([h.job.state, h.job.error?.code]).toEqual(wanted);
    }
  });

  it('without any row is complete where its columns are declared and no file has failed', () => {
    const outputForm = { ...defaultOutputForm, schema: ['a:int64'] };
    const { h, a } = one(2, { outputForm });
    h.commit(a, h.grants()[0] as Token, { length: 0, summary: { rows: 0, fileRows: [0, 0], schema: null } });
    expect([h.job.state, h.job.error]).toEqual(['Finalizing', null]);
    const failing = one(2, { outputForm });
    const failed = [{ index: 0, code: 'INPUT_DECODE_FAILED', message: 'no' }] as const;
    const summary = { rows: 0, fileRows: [0, 0], schema: null, failed };
    failing.h.commit(failing.a, failing.h.grants()[0] as Token, { length: 0, summary });
    expect([failing.h.job.state, failing.h.job.error?.code]).toEqual(['Failed', 'NO_RESULTS']);
  });

  it('without any file fails and says what was passed over', () => {
    const h = new Harness().submit().endList(3);
    expect(h.job).toMatchObject({
      state: 'Failed',
      error: { code: 'INPUT_EMPTY', message: expect.stringContaining('3 names were passed over') },
    });
  });

  it('whose listing failed fails', () => {
    const h = new Harness().submit().list(1);
    h.give({ kind: 'fail-job', job, failure: { code: 'INPUT_UNREADABLE', message: 'm', detail: '' }, wallMs: 5 });
    h.list(1).endList();
    expect(h.job).toMatchObject({ state: 'Failed', error: { code: 'INPUT_UNREADABLE' }, files: 1, endedWallMs: 5 });
  });

  it('is not submitted twice', () => {
    const h = new Harness().submit();
    expect(() => h.submit()).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }));
  });
});

describe('cancel', () => {
  it('stops what runs, tells everybody, and takes nothing in any more', () => {
    const { h, a } = one(2);
    const [token] = h.grants() as [Token];
    h.give({ kind: 'upload-began', node: a, token });
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    expect(h.take()).toEqual([
      { kind: 'discard', token },
      { kind: 'revoke', node: a, token },
      { kind: 'end-job', job },
      { kind: 'seal', job },
    ]);
    h.result(a, token);
    expect(h.take().map(({ kind }) => kind)).toEqual(['discard', 'refuse']);
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    h.give({ kind: 'sealed', job, wallMs: 0 });
    h.pass(1_000);
    expect(h.take()).toEqual([]);
    expect([h.job.state, h.job.isSealed, h.ledger.leases.size]).toEqual(['Canceled', true, 0]);
  });

  it('while bytes are being written leaves them uncommitted', () => {
    const { h, a } = one(2);
    const [token] = h.grants() as [Token];
    h.result(a, token);
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    h.written(token);
    h.copied();
    expect([h.job.state, h.job.committed, h.job.rows]).toEqual(['Canceled', 0, 0]);
  });

  it('comes too late once the output is being sealed, and asks for a job that there is', () => {
    const { h, a } = one(2);
    h.commit(a, h.grants()[0] as Token);
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    expect(h.job.state).toBe('Finalizing');
    const other = 'other' as typeof job;
    expect(() => h.give({ kind: 'cancel', job: other, wallMs: 0, graceMs: 0 })).toThrow(
      expect.objectContaining({ code: 'JOB_NOT_FOUND' }),
    );
  });

  it('of a job that has not begun seals it', () => {
    const h = new Harness().submit();
    h.take();
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    expect(h.take().map(({ kind }) => kind)).toEqual(['end-job', 'seal']);
    const again = h.restart();
    expect(again.take()).toEqual([{ kind: 'seal', job }]);
  });
});

describe('a scorer that does not start', () => {
  const initFailed = (h: Harness, a: ReturnType<Harness['node']>, code: ErrorCode): void =>
    h.give({ kind: 'host-failed', node: a, job, failure: { code, message: code, detail: '' }, wallMs: 0 });

  it.each(['MODEL_INVALID', 'MODEL_UNSUPPORTED', 'SCRIPT_INVALID'] as const)('for %s fails the job at once', (code) => {
    const { h, a } = one(2);
    initFailed(h, a, code);
    expect([h.job.state, h.job.error?.code]).toEqual(['Failed', code]);
  });

  it('fails the job after three tries per slot', () => {
    const { h, a } = one(2);
    for (let tries = 1; tries < 6; tries += 1) initFailed(h, a, 'SCORER_INIT_FAILED');
    expect(h.job.state).toBe('Running');
    initFailed(h, a, 'SCORER_INIT_FAILED');
    expect([h.job.state, h.job.error?.code]).toEqual(['Failed', 'SCORER_INIT_FAILED']);
  });

  it('on one node is no matter once it has started on another', () => {
    const h = new Harness()
      .submit()
      .list(...files(4))
      .endList();
    const a = h.node('a', 1);
    h.commit(a, h.grants()[0] as Token);
    for (let tries = 0; tries < 20; tries += 1) initFailed(h, a, 'MODEL_INVALID');
    expect(h.job.state).toBe('Running');
  });

  it('fails the job although files that nobody could read have been dealt with', () => {
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'files', files: 1 } })
      .list(1, 1)
      .endList();
    const a = h.node('a', 1);
    const failed = [{ index: 0, code: 'INPUT_UNREADABLE', message: 'EACCES' } as const];
    h.commit(a, h.grants()[0] as Token, { length: 0, summary: { rows: 0, fileRows: [0], schema: null, failed } });
    initFailed(h, a, 'MODEL_INVALID');
    expect(h.job.state).toBe('Failed');
  });
});

describe('a replay', () => {
  it('gives the ledger that was lived through', () => {
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'files', files: 3 } })
      .list(...files(20))
      .endList();
    const a = h.node('a', 9);
    const tokens = h.grants();
    const check = (): void => {
      const replayed = new Harness(h.journal, h.ledger.epoch).ledger;
      expect(ledgerDigest(replayed, { withCursor: false })).toEqual(ledgerDigest(h.ledger, { withCursor: false }));
    };
    h.commit(a, tokens[2] as Token);
    check();
    h.fail(a, tokens[1] as Token, 'SCORER_FAILED', 1);
    check();
    h.commit(a, tokens[4] as Token, { columns: ['b:text'] });
    h.commit(a, tokens[0] as Token);
    check();
    h.give({ kind: 'want', node: a, leases: 9 });
    for (const { token } of [...h.ledger.leases.values()]) h.commit(a, token);
    for (let copy = h.job.copy; copy; copy = h.job.copy) h.copied();
    check();
    expect(h.journal.length).toBeGreaterThan(12);
  });
});
