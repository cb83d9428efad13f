import { defaultOutputForm } from '../../common/core/output-form.ts';
import type { ResultSchema } from '../../common/core/result.ts';
import { schemaDifference } from '../../coordinator/core/schema-difference.ts';
import { describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { files, Harness, job } from '../helpers/ledger-harness.ts';

type Three = [Token, Token, Token];
/** Mini-batches of two files, all leased to one node. */
function leased(batches: number): { h: Harness; a: ReturnType<Harness['node']>; tokens: readonly Token[] } {
  const h = new Harness()
    .submit()
    .list(...files(2 * batches))
    .endList();
  const a = h.node('a', batches);
  return { h, a, tokens: h.grants() };
}

describe('a result', () => {
  it('that is next goes straight to the output, behind the header', () => {
    const { h, a, tokens } = leased(2);
    const [t0, t1] = tokens as Three;
    h.result(a, t0, { length: 100 });
    expect(h.take()).toEqual([
      { kind: 'prologue', job, schema: { columns: ['a:int'], prologue: 'a\n' } },
      { kind: 'append', job, token: t0, offset: 2 },
    ]);
    h.result(a, t1, { length: 50 });
    expect(h.take()).toEqual([{ kind: 'append', job, token: t1, offset: 102 }]);
  });

  it('that is ahead is staged, and copied with its neighbours when its turn comes', () => {
    const { h, a, tokens } = leased(3);
    const [t0, t1, t2] = tokens as Three;
    h.result(a, t2, { length: 30 });
    h.result(a, t1, { length: 20 });
    expect(h.take()).toEqual([
      { kind: 'stage', job, token: t2, segment: 1, offset: 0 },
      { kind: 'stage', job, token: t1, segment: 1, offset: 30 },
    ]);
    h.written(t2);
    h.written(t1);
    expect(h.take().map(({ kind }) => kind)).toEqual(['committed', 'committed']);
    h.commit(a, t0, { length: 10 });
    expect(h.take()).toMatchObject([
      { kind: 'prologue' },
      { kind: 'append', offset: 2 },
      {
        kind: 'copy',
        toOffset: 12,
        from: [
          { segment: 1, offset: 30, length: 20, crc32: 7 },
          { segment: 1, offset: 0, length: 30, crc32: 7 },
        ],
      },
      { kind: 'committed', token: t0 },
    ]);
    h.copied();
    expect([h.job.outputCommitted, h.job.state, h.job.segments.size]).toEqual([62, 'Finalizing', 0]);
    expect(h.take().map(({ kind }) => kind)).toEqual(['seal']);
  });

  it('too large for memory has a segment of its own, and is copied from there although it is next', () => {
    const { h, a, tokens } = leased(1);
    const [t0] = tokens as Three;
    const length = limits.directAppendBytesMax + 1;
    h.give({ kind: 'upload-began', node: a, token: t0 });
    h.give({ kind: 'upload-began', node: a, token: t0 });
    expect(h.ledger.leases.get(1)?.uploadSegment).toBe(1);
    h.result(a, t0, { length });
    expect(h.take()).toEqual([{ kind: 'settle', job, token: t0, segment: 1 }]);
    h.written(t0);
    expect(h.takeOf('copy')).toMatchObject([{ toOffset: 2, from: [{ segment: 1, offset: 0, length }] }]);
    h.copied();
    expect(h.take().map(({ kind }) => kind)).toEqual(['drop-segment', 'seal']);
  });

  it('has a segment of a number that no coordinator before can have given away', () => {
    const { h, a, tokens } = leased(1);
    h.give({ kind: 'upload-began', node: a, token: tokens[0] as Token });
    const again = h.restart();
    again.pass(limits.restartGraceMs + 400);
    const node = again.node('a', 1);
    const [token] = again.grants() as [Token];
    again.give({ kind: 'upload-began', node, token });
    expect([h, again].map(({ ledger }) => ledger.leases.get(1)?.uploadSegment)).toEqual([
      1,
      again.ledger.epoch * limits.segmentsPerEpoch + 1,
    ]);
  });

  it('without bytes needs no place and keeps its turn', () => {
    const { h, a, tokens } = leased(2);
    const [t0, t1] = tokens as Three;
    h.result(a, t0, { length: 0, summary: { rows: 0, fileRows: [0, 0], schema: null } });
    expect(h.take()).toEqual([{ kind: 'settle', job, token: t0, segment: -1 }]);
    h.written(t0);
    h.result(a, t1);
    expect(h.takeOf('append')).toEqual([{ kind: 'append', job, token: t1, offset: 2 }]);
  });

  it('that is repeated changes nothing, before its commit and after', () => {
    const { h, a, tokens } = leased(2);
    const [t0] = tokens as Three;
    h.result(a, t0);
    h.take();
    const records = h.journal.length;
    h.result(a, t0);
    expect([h.take(), h.journal.length]).toEqual([[], records]);
    h.written(t0);
    h.written(t0);
    expect(h.take()).toEqual([{ kind: 'committed', node: a, token: t0 }]);
    h.result(a, t0);
    expect(h.take()).toMatchObject([
      { kind: 'discard' },
      { kind: 'refuse', token: t0, failure: { code: 'LEASE_STALE' } },
    ]);
    expect([h.job.rows, h.job.committed, h.job.open]).toEqual([2, 1, 1]);
  });

  it.each([
    ['of an earlier epoch', { epoch: 0, counter: 1 }],
    ['that was never granted', { epoch: 1, counter: 77 }],
  ])('under a token %s is refused by name', (_name, token) => {
    const { h, a } = leased(1);
    h.result(a, token);
    h.give({ kind: 'upload-began', node: a, token });
    h.fail(a, token, 'SCORER_FAILED');
    h.written(token);
    expect(h.take().map(({ kind }) => kind)).toEqual(['discard', 'refuse', 'discard', 'refuse']);
    expect(h.order).toBe('0+2:leased');
  });

  it('of another node is refused, and the lease stays', () => {
    const { h, tokens } = leased(1);
    h.result(h.node('b'), tokens[0] as Token);
    expect(h.takeOf('refuse')).toMatchObject([{ node: 'b', failure: { code: 'LEASE_STALE' } }]);
    expect(h.order).toBe('0+2:leased');
  });

  it.each([
    ['rows of more files than it has', { fileRows: [1, 1, 1] }],
    ['a failed file beyond its end', { failed: [{ index: 2, code: 'INPUT_UNREADABLE', message: 'm' }] }],
    ['rows below zero', { rows: -1 }],
    [
      'one file failed twice',
      { failed: [1, 1].map((index) => ({ index, code: 'INPUT_UNREADABLE', message: 'm' }) as const) },
    ],
  ] as const)('that counts %s is a failed attempt, not a broken ledger', (_name, summary) => {
    const { h, a, tokens } = leased(1);
    h.result(a, tokens[0] as Token, { summary });
    expect(h.takeOf('refuse')).toMatchObject([{ failure: { code: 'SCORER_OUTPUT_INVALID' } }]);
    expect(h.order).toBe('0+1:pending 1+1:pending');
  });
});

describe('what goes out', () => {
  it('waits for the journal, in order: commits do, grants and writes do not', () => {
    const { h, a, tokens } = leased(3);
    const [t0, t1, t2] = tokens as Three;
    h.isSyncing = false;
    h.commit(a, t0);
    h.commit(a, t1);
    const first = h.journal.length;
    h.commit(a, t2);
    expect(h.take().map(({ kind }) => kind)).toEqual(['prologue', 'append', 'append', 'append']);
    expect(first).toBeLessThan(h.journal.length);
    h.sync();
    expect(h.take()).toEqual([
      ...[t0, t1, t2].map((token) => ({ kind: 'committed', node: a, token })),
      { kind: 'seal', job },
    ]);
  });

  it('is told to views only when it is durable, and in order', () => {
    const h = new Harness();
    h.isSyncing = false;
    h.submit().list(1, 1);
    expect(h.published.map(({ kind }) => kind)).toEqual(['EpochBegan']);
    h.sync();
    expect(h.published.map(({ kind }) => kind)).toEqual([
      ...['EpochBegan', 'JobSubmitted', 'JobStateChanged', 'PageListed', 'JobStateChanged'],
    ]);
  });
});

describe('a copy', () => {
  it('moves no more bytes at once than its limit, one copy at a time', () => {
    const { h, a, tokens } = leased(5);
    const length = limits.copyBytesMax / 2;
    for (const token of tokens.slice(1)) h.commit(a, token, { length });
    h.take();
    h.commit(a, tokens[0] as Token);
    const sizes: number[] = [];
    for (let [copy] = h.takeOf('copy'); copy; [copy] = h.takeOf('copy')) {
      sizes.push(copy.from.length);
      h.copied();
    }
    expect(sizes).toEqual([2, 2]);
    expect(h.job.outputCommitted).toBe(2 + 20 + 4 * length);
  });

  it('moves no more results at once than its limit', () => {
    const batches = limits.copyBatchesMax + 10;
    const h = new Harness().submit({ miniBatchSize: { kind: 'files', files: 1 } }).list(...files(batches));
    const a = h.node('a', batches, { slots: batches });
    const [first, ...others] = h.grants() as [Token, ...Token[]];
    h.isSyncing = false;
    for (const token of others) h.commit(a, token, { length: 1 });
    h.take();
    h.commit(a, first);
    expect(h.takeOf('copy').map(({ from }) => from.length)).toEqual([limits.copyBatchesMax]);
    h.copied();
    expect(h.takeOf('copy').map(({ from }) => from.length)).toEqual([9]);
  });

  it('goes on after a restart, although nobody asks for it', () => {
    const { h: before, a, tokens } = leased(2);
    before.commit(a, tokens[1] as Token);
    before.commit(a, tokens[0] as Token);
    const h = before.restart();
    expect(h.take().map(({ kind }) => kind)).toEqual(['copy']);
    h.copied();
    expect(h.job.state).toBe('Finalizing');
  });
});

describe('a job whose work is all done', () => {
  it('ends after a restart, although its last record was lost', () => {
    const { h: before, a, tokens } = leased(1);
    before.commit(a, tokens[0] as Token);
    expect(before.journal.at(-1)).toMatchObject({ kind: 'JobStateChanged', state: 'Finalizing' });
    const h = before.restart(before.journal.length - 1);
    expect(h.take()).toEqual([{ kind: 'seal', job }]);
    h.give({ kind: 'sealed', job, wallMs: 0 });
    h.give({ kind: 'sealed', job, wallMs: 0 });
    expect([h.job.state, h.job.isSealed]).toEqual(['Completed', true]);
  });
});

describe('a staging segment', () => {
  const big = limits.stagingSegmentBytes - 100;

  it('is dropped when the last of it has been copied', () => {
    const { h, a, tokens } = leased(4);
    h.commit(a, tokens[2] as Token, { length: big });
    h.commit(a, tokens[3] as Token, { length: 200 });
    h.commit(a, tokens[1] as Token, { length: 50 });
    h.take();
    h.commit(a, tokens[0] as Token);
    for (let copy = h.job.copy; copy; copy = h.job.copy) h.copied();
    expect(h.takeOf('drop-segment').map(({ segment }) => segment)).toEqual([1]);
    expect(h.job.segments.size).toBe(0);
  });

  it('stays while another result is being written to it', () => {
    const { h, a, tokens } = leased(4);
    const [t0, t1, t2, t3] = tokens as [Token, Token, Token, Token];
    h.commit(a, t1, { length: 50 });
    h.commit(a, t0);
    expect(h.job.copy?.batches).toEqual([1]);
    h.result(a, t3, { length: 60 });
    h.give({ kind: 'upload-began', node: a, token: t2 });
    h.take();
    h.copied();
    expect(h.takeOf('drop-segment')).toEqual([]);
    h.written(t3);
    h.commit(a, t2, { length: limits.directAppendBytesMax + 1 });
    expect(h.takeOf('copy')[0]?.from.map(({ segment, offset }) => [segment, offset])).toEqual([
      [2, 0],
      [1, 50],
    ]);
    h.copied();
    expect(h.takeOf('drop-segment').map(({ segment }) => segment)).toEqual([2, 1]);
  });

  it('that has run empty goes when the next one is begun', () => {
    const { h, a, tokens } = leased(3);
    h.commit(a, tokens[1] as Token);
    h.commit(a, tokens[0] as Token);
    h.take();
    h.copied();
    expect(h.take()).toEqual([]);
    h.give({ kind: 'upload-began', node: a, token: tokens[2] as Token });
    expect(h.take()).toEqual([{ kind: 'drop-segment', job, segment: 1 }]);
  });

  it('of an upload goes with its lease', () => {
    const { h, a, tokens } = leased(1);
    h.give({ kind: 'upload-began', node: a, token: tokens[0] as Token });
    h.take();
    h.give({ kind: 'returned', node: a, tokens });
    expect(h.take()).toEqual([
      { kind: 'discard', token: tokens[0] },
      { kind: 'drop-segment', job, segment: 1 },
    ]);
  });
});

describe('files of a scored mini-batch that have no row', () => {
  const positional = { attribution: 'range', fileRows: null, runSeconds: 2, peakMemoryBytes: 3e8 } as const;
  const circumstances = { runSeconds: 2, peakMemoryBytes: 3e8, hostExit: null };

  it('are counted beside those that are named, with what is known of the attempt, through a restart too', () => {
    const h = new Harness().submit({ miniBatchSize: { kind: 'files', files: 5 } });
    h.list(...files(5)).endList();
    const a = h.node('a', 1);
    const [t0] = h.grants() as Three;
    h.commit(a, t0, { summary: { ...positional, rows: 2, failed: [failed(4)] } });
    for (const job of [h.job, h.restart().job]) {
      expect([job.scoredFiles, job.failedFiles, job.missingFiles]).toEqual([2, 3, 2]);
      expect(job.failures).toMatchObject([
        { first: 4, count: 1, missing: 0, circumstances },
        { first: 0, count: 5, missing: 2, circumstances, failure: { code: 'SCORER_OUTPUT_INVALID' } },
      ]);
    }
    expect(h.job.failures[1]?.failure.message).toMatch(
      /^run\(\) returned 2 rows for a mini-batch of 5 files, of which 1 failed by name, and 2 have no result; return/,
    );
  });

  it('say nothing of an attempt that left none out', () => {
    const { h, a, tokens } = leased(1);
    h.commit(a, tokens[0] as Token, { summary: { runSeconds: 2, peakMemoryBytes: 3e8 } });
    expect(h.journal.find(({ kind }) => kind === 'Committed')).not.toHaveProperty('circumstances');
  });

  it('are not counted any more when their rows are withdrawn', () => {
    const { h, a, tokens } = leased(2);
    const [t0, t1] = tokens as Three;
    h.commit(a, t1, { columns: ['b:text'], summary: { ...positional, rows: 1 } });
    expect([h.job.failedFiles, h.job.missingFiles]).toEqual([1, 1]);
    h.commit(a, t0);
    expect([h.job.failedFiles, h.job.missingFiles, h.job.failures.length]).toEqual([0, 0, 0]);
  });
});

describe('the columns of a job', () => {
  it('are those of the lowest-ordered rows, not of the first to finish', () => {
    const { h, a, tokens } = leased(3);
    const [t0, t1, t2] = tokens as Three;
    h.commit(a, t2, { columns: ['b:text'] });
    expect(h.job.schema).toBe(-1);
    h.commit(a, t0, { length: 0, summary: { rows: 0, fileRows: [0, 0], schema: null } });
    h.commit(a, t1, { columns: ['a:int'] });
    expect(h.job.schemas[h.job.schema]?.columns).toEqual(['a:int']);
  });

  it('refuse a model that was fed other features, or in another order, whoever finishes first', () => {
    const schemaOf = (...features: string[]): { readonly schema: ResultSchema } => ({
      schema: { columns: ['a:int'], prologue: 'a\n', ...(features.length > 0 && { features }) },
    });
    const { h, a, tokens } = leased(3);
    const [t0, t1, t2] = tokens as Three;
    h.commit(a, t1, { summary: schemaOf('y', 'x') });
    h.commit(a, t0, { summary: schemaOf('x', 'y') });
    // Of a worker node that does not tell.
    h.commit(a, t2, { summary: schemaOf() });
    expect(h.order).toBe('0+2:committed 2+1:pending 3+1:pending 4+2:committed');
    expect(h.journal.find(({ kind }) => kind === 'AttemptFailed')).toMatchObject({
      failure: {
        code: 'RESULT_SCHEMA_MISMATCH',
        message: expect.stringMatching(/fed the columns y, x here and x, y before.*settings\.onnx\.columns/) as string,
      },
    });
  });

  it('refuse other ones whether they come in order or ahead: both are bisected', () => {
    const orders: string[] = [];
    for (const isAhead of [false, true]) {
      const { h, a, tokens } = leased(3);
      const [t0, t1, t2] = tokens as Three;
      if (isAhead)
        h.commit(a, t1, { columns: ['b:text'], summary: { fileRows: [1, 0], rows: 1, failed: [failed(1)] } });
      h.commit(a, t0);
      if (!isAhead) h.result(a, t1, { columns: ['b:text'] });
      h.commit(a, t2);
      orders.push(h.order);
      expect([h.job.scoredFiles, h.job.failedFiles, h.job.rows, h.job.failures.length]).toEqual([4, 0, 4, 0]);
      expect(h.job.failedTries).toBe(1);
    }
    expect(orders).toEqual(Array(2).fill('0+2:committed 2+1:pending 3+1:pending 4+2:committed'));
  });

  it('quarantine a file by itself that has other ones, and forget its rows', () => {
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'files', files: 1 } })
      .list(1, 1)
      .endList();
    const a = h.node('a', 2);
    const [t0, t1] = h.grants() as Three;
    h.commit(a, t1, { columns: ['b:text'] });
    h.commit(a, t0);
    expect(h.order).toBe('0+1:committed 1+1:quarantined');
    expect(h.job.failures).toMatchObject([
      { first: 1, count: 1, node: 'a', failure: { code: 'RESULT_SCHEMA_MISMATCH' } },
    ]);
    expect([h.job.rows, h.job.scoredFiles, h.job.failedFiles, h.job.state]).toEqual([1, 1, 1, 'Finalizing']);
  });

  it('are scored again, told the columns, where rows are widened', () => {
    const outputForm = { ...defaultOutputForm, evolves: true };
    const h = new Harness()
      .submit({ miniBatchSize: { kind: 'files', files: 1 }, outputForm })
      .list(1, 1)
      .endList();
    const a = h.node('a', 2);
    const [t0, t1] = h.grants() as Three;
    h.commit(a, t1, { columns: ['b:text'] });
    h.commit(a, t0);
    expect(h.order).toBe('0+1:committed 1+1:waiting');
    expect([h.job.failedFiles, h.job.rows, h.job.schema]).toEqual([0, 1, 1]);
  });

  it.each([
    [['a:int64', 'b:utf8'], ['a:float64', 'b:utf8'], "column a is float64 here and int64 in the job's first rows"],
    [['a:int64'], ['a:int64', 'b:utf8'], "the rows have a column b (utf8), which the job's first rows have not"],
    [['a:int64', 'b:list<x:int8>'], ['a:int64'], 'the rows lack the column b (list<x:int8>)'],
    [['a:int64', 'b:utf8'], ['b:utf8', 'a:int64'], 'the rows have columns b:utf8, a:int64, but'],
    [['a:value', 'a:int64'], ['a:value', 'a:utf8'], "column a is utf8 here and value in the job's first rows"],
  ])('%j and %j differ in words', (wanted, found, words) => {
    expect(schemaDifference(wanted, found)).toContain(words);
  });

  it('do not matter where no bytes are kept', () => {
    const h = new Harness()
      .submit({ outputAction: 'summary_only' })
      .list(...files(4))
      .endList();
    const a = h.node('a', 2);
    const [t0, t1] = h.grants() as Three;
    h.commit(a, t0, { length: 0 });
    h.commit(a, t1, { length: 0, columns: ['b:text'] });
    expect([h.job.state, h.job.rows, h.job.failedFiles]).toEqual(['Finalizing', 4, 0]);
  });
});

function failed(index: number): {
  readonly index: number;
  readonly code: 'INPUT_UNREADABLE';
  readonly message: string;
} {
  return { index, code: 'INPUT_UNREADABLE', message: 'EACCES' };
}

describe('a result with files of user code', () => {
  it('is staged whole even when it is next, and its files keep the segment until the job is sealed', () => {
    const { h, a, tokens } = leased(2);
    const [t0, t1] = tokens as Three;
    h.result(a, t0, { length: 20, customLength: 100 });
    expect(h.take()).toEqual([{ kind: 'stage', job, token: t0, segment: 1, offset: 0 }]);
    h.written(t0);
    expect(h.takeOf('copy')).toMatchObject([{ from: [{ segment: 1, offset: 0, length: 20 }], toOffset: 2 }]);
    h.copied();
    h.commit(a, t1, { length: 0, customLength: 7 });
    expect(h.takeOf('stage')).toEqual([{ kind: 'stage', job, token: t1, segment: 1, offset: 120 }]);
    expect(h.job.state).toBe('Finalizing');
    expect([...h.job.custom.values()]).toEqual([
      { segment: 1, offset: 20, length: 100, crc32: 9 },
      { segment: 1, offset: 120, length: 7, crc32: 9 },
    ]);
    expect([...h.job.segments]).toEqual([[1, 2]]);
    const again = h.restart();
    expect([...again.job.custom]).toEqual([...h.job.custom]);
    h.give({ kind: 'sealed', job, wallMs: 0 });
    expect([h.job.custom.size, h.job.segments.size]).toEqual([0, 0]);
  });

  it('leaves nothing in the ledger when its rows are withdrawn', () => {
    const { h, a, tokens } = leased(2);
    const [t0, t1] = tokens as Three;
    h.commit(a, t1, { columns: ['b:int'], customLength: 50 });
    expect(h.job.custom.size).toBe(1);
    h.commit(a, t0);
    expect([h.job.custom.size, h.job.segments.size]).toEqual([0, 0]);
  });
});
