import { describe, expect, it } from 'vitest';
import type { Circumstances } from '../../common/core/cluster-messages.ts';
import { errorSignature } from '../../common/core/error-signature.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { files, Harness, job } from '../helpers/ledger-harness.ts';

describe('a mini-batch that ran out of memory', () => {
  it('is tried once more alone, then cut, its parts alone too, and given up after its tries', () => {
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'files', files: 4 } })
      .list(...files(4))
      .endList();
    const a = h.node('a', 1);
    const seen: string[] = [];
    for (let round = 0; round < 20 && h.job.open > 0; round += 1) {
      for (const { token, isAlone, range } of h.takeOf('grant')) {
        seen.push(`${range.first}+${range.count}${isAlone ? ' alone' : ''}`);
        // The second file takes all memory, and the scorer opens its files in C.
        const isPoison = range.first <= 1 && range.first + range.count > 1;
        if (isPoison) h.fail(a, token, 'SCORER_OUT_OF_MEMORY');
        else h.commit(a, token);
      }
      h.heartbeat(a, []);
      h.pass(limits.retryBackoffMsMax);
      h.give({ kind: 'want', node: a, leases: 1 });
    }
    expect(seen).toEqual(['0+4', '0+4 alone', '0+2 alone', '0+1 alone', '1+1 alone', '2+2 alone']);
    expect(h.job.failures).toMatchObject([{ first: 1, count: 1, failure: { code: 'SCORER_OUT_OF_MEMORY' } }]);
    expect([h.job.scoredFiles, h.job.failedFiles]).toEqual([3, 1]);
  });

  it('is not taken for having been alone when its node had begun it before anybody knew', () => {
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'files', files: 1 }, triesMax: 2 })
      .list(1)
      .endList();
    const [a, b] = [h.node('a', 1), h.node('b', 1)];
    const [token] = h.grants();
    if (!token) throw new Error('nothing was granted');
    h.fail(a, token, 'SCORER_OUT_OF_MEMORY');
    const next = h.restart();
    next.node(b, 0, { held: [{ token: { epoch: 1, counter: 7 }, job: h.job.name, first: 0, count: 1 }] });
    const [adopted] = next.takeOf('adopt');
    if (!adopted) throw new Error('nothing was adopted');
    next.fail(b, adopted.token, 'SCORER_OUT_OF_MEMORY');
    expect([next.job.failures, next.job.open]).toEqual([[], 1]);
  });

  it('keeps what is known of its last try, through a restart too', () => {
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'files', files: 1 }, triesMax: 1 })
      .list(1)
      .endList();
    const a = h.node('a', 1);
    const circumstances: Circumstances = { runSeconds: 2, peakMemoryBytes: 3e8, hostExit: 'signal SIGKILL' };
    const failure = { code: 'SCORER_CRASHED', message: 'm', detail: '' } as const;
    const [token] = h.grants();
    if (!token) throw new Error('nothing was granted');
    h.give({ kind: 'attempt-failed', node: a, token, failure, fileIndex: -1, circumstances });
    expect(h.job.failures[0]?.circumstances).toEqual(circumstances);
    expect(h.restart().job.failures[0]?.circumstances).toEqual(circumstances);
    const old = h.journal.map((record) =>
      record.kind === 'Quarantined' ? { ...record, circumstances: undefined } : record,
    );
    const read = new Harness(JSON.parse(JSON.stringify(old)) as typeof h.journal, 9);
    expect(read.job.failures[0]?.circumstances).toBe(null);
  });
});

describe('a scorer that fails on everything', () => {
  /** Every mini-batch fails with what `messageOf` gives for its first file; null: it is scored. */
  function play(messageOf: (first: number, count: number) => string | null, errorThreshold = -1): Harness {
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'files', files: 8 }, errorThreshold })
      .list(...files(800))
      .endList();
    const a = h.node('a', 2);
    for (let round = 0; round < 5_000 && h.job.state === 'Running'; round += 1) {
      for (const { token, range } of h.takeOf('grant')) {
        const message = messageOf(range.first, range.count);
        const code: ErrorCode = 'SCORER_FAILED';
        if (message === null) h.commit(a, token);
        else {
          const failure = { code, message, detail: '' };
          const circumstances = { runSeconds: 0, peakMemoryBytes: null, hostExit: null };
          h.give({ kind: 'attempt-failed', node: a, token, failure, fileIndex: -1, circumstances });
        }
      }
      h.now += limits.tickMs;
      h.give({ kind: 'tick', stallMs: 0, wallMs: 0 });
      h.give({ kind: 'want', node: a, leases: 2 });
      h.heartbeat(a, []);
    }
    return h;
  }

  it('fails the job with its own words first, long before every file was tried', () => {
    const h = play((first) => `KeyError: 'label' in /in/f${first}.csv`);
    expect([h.job.state, h.job.error?.code]).toEqual(['Failed', 'SCORER_FAILED']);
    expect(h.job.error?.message).toMatch(
      /^KeyError: 'label' in .*3 mini-batches and all parts of each failed the same/,
    );
    expect(h.job.failedTries).toBeLessThan(150);
    expect(h.job.failedFiles).toBeLessThan(24);
  });

  it('is no matter of files that differ in how they fail', () => {
    const words = ['no header', 'no rows', 'bad date', 'wrong colour', 'too long'];
    const h = play((first, count) => `ValueError: ${words[(first * 7 + count) % words.length]}`);
    expect(h.job.error?.code).toBe('NO_RESULTS');
    expect(h.job.error?.message).toContain('no succeeded mini batch item returned from run()');
  });

  it('is none once a single mini-batch was scored, however many files fail alike after it', () => {
    const h = play((first) => (first < 8 || first >= 400 ? null : 'ValueError: an old format'));
    expect([h.job.state, h.job.failedFiles, h.job.scoredFiles]).toEqual(['Finalizing', 392, 408]);
  });

  it('has the same signature whatever the file', () => {
    const alike = (a: string, b: string): void =>
      expect(errorSignature({ code: 'SCORER_FAILED', message: a })).toBe(
        errorSignature({ code: 'SCORER_FAILED', message: b }),
      );
    alike("KeyError: 'a b.png'", "KeyError: 'c.png'");
    alike('cannot read /in/part-001/f 12', 'cannot read /in/part-002/f 9');
    alike('bad row 12 in x.csv: 1.5e3 at 0xff01', 'bad row 7 in other-name.csv: 2 at 0x7f00');
    const of = (message: string): string => errorSignature({ code: 'SCORER_FAILED', message });
    expect(of('bad row')).not.toBe(of('bad column'));
    expect(of("it can't be read: no header")).not.toBe(of("it can't be read: no rows"));
    expect(errorSignature({ code: 'SCORER_CRASHED', message: 'a' })).toBe('SCORER_CRASHED');
  });
});

describe('init() that fails', () => {
  const failed = (h: Harness, node: NodeName, code: ErrorCode, wallMs = 0): void =>
    h.give({ kind: 'host-failed', node, job, failure: { code, message: code, detail: '' }, wallMs });
  const cluster = (): { h: Harness; a: NodeName; b: NodeName } => {
    const h = new Harness()
      .submit()
      .list(...files(8))
      .endList();
    return { h, a: h.node('a', 1), b: h.node('b', 1) };
  };

  it.each(['ENVIRONMENT_INVALID', 'ENVIRONMENT_BUILD_FAILED'] as const)('for %s fails the job at once', (code) => {
    const { h, a } = cluster();
    failed(h, a, code);
    expect([h.job.state, h.job.error?.code]).toEqual(['Failed', code]);
  });

  it('for want of a tool fails the job only when every node lacks it', () => {
    const { h, a, b } = cluster();
    for (let tries = 0; tries < 20; tries += 1) failed(h, a, 'ENVIRONMENT_UNSUPPORTED');
    expect(h.job.state).toBe('Running');
    failed(h, b, 'ENVIRONMENT_UNSUPPORTED');
    expect([h.job.state, h.job.error?.code]).toEqual(['Failed', 'ENVIRONMENT_UNSUPPORTED']);
  });

  it('is counted by node: three times the slots of one', () => {
    const { h, a, b } = cluster();
    for (let tries = 0; tries < 5; tries += 1) failed(h, a, 'SCORER_INIT_FAILED');
    for (let tries = 0; tries < 5; tries += 1) failed(h, b, 'SCORER_INIT_FAILED');
    expect(h.job.state).toBe('Running');
    failed(h, b, 'SCORER_INIT_FAILED');
    expect(h.job.state).toBe('Failed');
  });

  it('after two minutes is counted over all nodes: twice all slots', () => {
    const { h, a, b } = cluster();
    for (let tries = 0; tries < 4; tries += 1) failed(h, a, 'SCORER_INIT_FAILED');
    for (let tries = 0; tries < 3; tries += 1) failed(h, b, 'SCORER_INIT_FAILED');
    expect(h.job.state).toBe('Running');
    failed(h, b, 'SCORER_INIT_FAILED', limits.initFailuresRunMsMin + 1);
    expect(h.job.state).toBe('Failed');
  });
});
