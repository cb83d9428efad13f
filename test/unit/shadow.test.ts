/** What a shadow comes to: two results laid beside each other, and their sum over a job, whatever is taken back or restarted. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { HostFile } from '../../common/core/host-protocol.ts';
import type { ResultSummary } from '../../common/core/result.ts';
import { noShadowCounts, type ShadowCounts, type ShadowOutcome } from '../../common/core/shadow.ts';
import { imageOf, restoreImage } from '../../coordinator/core/ledger-image.ts';
import { newLedger, type Job } from '../../coordinator/core/ledger.ts';
import { decodeImage, encodeImage } from '../../coordinator/journal/image-bytes.ts';
import { shadowView } from '../../coordinator/views/shadow-view.ts';
import { compareResults, type CompareResults } from '../../worker/pool/compare-results.ts';
import { ResultBody } from '../../worker/pool/result-body.ts';
import { failing } from '../helpers/failing.ts';
import { files, Harness, job } from '../helpers/ledger-harness.ts';

let dir = '';
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'batchmill-shadow-'))));
afterEach(() => rmSync(dir, { recursive: true }));

interface Given {
  /** Of each file; null: it failed. */
  readonly rows: readonly (readonly string[] | null)[];
  /** Nobody knows which rows are whose. */
  readonly isTogether?: boolean;
}

function resultOf({ rows, isTogether = false }: Given): { readonly summary: ResultSummary; readonly body: ResultBody } {
  const body = new ResultBody(dir);
  for (const row of rows.flatMap((of) => of ?? [])) body.append(Buffer.from(`${row}\n`));
  const failed = rows.flatMap((of, index) =>
    of ? [] : [{ index, code: 'INPUT_DECODE_FAILED', message: 'no' } as const],
  );
  const summary: ResultSummary = {
    ...{ rows: rows.flatMap((of) => of ?? []).length, attribution: isTogether ? 'range' : 'file', failed },
    fileRows: isTogether ? null : rows.map((of) => of?.length ?? 0),
    ...{ schema: null, runSeconds: 0, peakMemoryBytes: null },
  };
  return { summary, body };
}

async function compared(
  a: Given,
  b: Given,
  more: Partial<CompareResults> = {},
): Promise<{ readonly counts: ShadowCounts; readonly differences: unknown[] }> {
  const differences: unknown[] = [];
  const [own, shadow] = [resultOf(a), resultOf(b)];
  const { counts } = await compareResults(own, shadow, {
    files: a.rows.map((_, index): HostFile => ({ path: `/x/f${index}`, name: `f${index}` })),
    ...{ format: 'csv', delimiter: ',', tolerance: 0 },
    write: (line) => Promise.resolve(void differences.push(JSON.parse(line))),
    ...more,
  });
  await Promise.all([own.body.discard(), shadow.body.discard()]);
  return { counts, differences };
}

/** The same by arrays, of files whose rows are known. */
function counted(a: Given['rows'], b: Given['rows']): ShadowCounts {
  const counts: { -readonly [K in keyof ShadowCounts]: number } = { ...noShadowCounts };
  a.forEach((own, index) => {
    const other = b[index] ?? null;
    if (own === null || other === null) {
      counts[own ? 'filesFailedShadow' : other ? 'filesFailedDefault' : 'filesFailedBoth'] += 1;
    } else if (own.length !== other.length) counts.filesOtherRows += 1;
    else {
      const same = own.filter((row, place) => row === other[place]).length;
      counts.rowsSame += same;
      counts.rowsDifferent += own.length - same;
      counts[same === own.length ? 'filesSame' : 'filesDifferent'] += 1;
    }
  });
  return counts;
}

const rowsOfFiles = fc.array(
  fc.option(fc.array(fc.constantFrom('a,1', 'b,2', '"c\nd",3', 'e,""""'), { maxLength: 3 })),
  {
    minLength: 1,
    maxLength: 6,
  },
);

describe('two results beside each other', () => {
  it('are counted as they are file by file, and every difference is told once, in order', async () => {
    await fc.assert(
      fc.asyncProperty(rowsOfFiles, rowsOfFiles, async (left, right) => {
        const b = left.map((own, index) => (index < right.length ? (right[index] ?? null) : own));
        const { counts, differences } = await compared({ rows: left }, { rows: b });
        expect(counts).toEqual(counted(left, b));
        const told =
          counts.rowsDifferent + counts.filesOtherRows + counts.filesFailedDefault + counts.filesFailedShadow;
        expect(differences).toHaveLength(told);
        const names = differences.map((one) => (one as { readonly file: string }).file);
        expect(names).toEqual(names.toSorted());
      }),
      { numRuns: 200 },
    );
  });

  it('of unknown owners are compared as one, numbers as closely as is asked', async () => {
    const together = { rows: [['a,1'], ['b,2', 'c,3']], isTogether: true };
    const far = await compared(together, { rows: [['a,1'], ['b,2.5', 'c,3']] });
    expect(far.counts).toEqual({ ...noShadowCounts, rowsSame: 2, rowsDifferent: 1, filesDifferent: 2 });
    expect(far.differences).toEqual([{ file: 'f0', to: 'f1', row: 1, default: 'b,2', shadow: 'b,2.5' }]);
    const near = await compared(together, { rows: [['a,1'], ['b,2.5', 'c,3']] }, { tolerance: 0.5 });
    expect([near.counts.rowsSame, near.counts.filesSame, near.differences]).toEqual([3, 2, []]);
  });

  it('that lie on the disk are read in pieces', async () => {
    const rows = Array.from({ length: 12_000 }, (_, n) => `${n},${'x'.repeat(1_000)}`);
    const off = rows.map((row, n) => (n % 1_000 === 7 ? `${row}y` : row));
    const one = resultOf({ rows: [rows] });
    expect(one.body.isSpooled).toBe(true);
    await one.body.discard();
    const { counts, differences } = await compared({ rows: [rows] }, { rows: [off] });
    expect(counts).toEqual({ ...noShadowCounts, rowsSame: 11_988, rowsDifferent: 12, filesDifferent: 1 });
    expect(differences.map((one) => (one as { readonly row: number }).row)).toEqual(
      Array.from({ length: 12 }, (_, n) => n * 1_000 + 7),
    );
    // Long rows are cut where they are shown.
    expect(JSON.stringify(differences).length).toBeLessThan(12 * 1_000);
  });

  it('with texts that have lines of their own cannot be told from each other, unless they are the same bytes', async () => {
    const [a, b] = [{ rows: [['one\ntwo']] }, { rows: [['one\nthree']] }];
    const azure = { format: 'azure', delimiter: undefined } as const;
    await expect(compared(a, b, azure)).rejects.toThrow(failing('COMPARE_UNUSABLE', 'line breaks of its own'));
    expect((await compared(a, a, azure)).counts).toEqual({ ...noShadowCounts, rowsSame: 1, filesSame: 1 });
  });
});

const outcome = (counts: Partial<ShadowCounts>, more: Partial<ShadowOutcome> = {}): ShadowOutcome => ({
  ...{ counts: { ...noShadowCounts, ...counts }, failure: null, runSeconds: 0.4, columns: null },
  ...more,
});

/** Four mini-batches of two: the same, a row that differs, other columns, a shadow that failed. */
function scored(): { readonly h: Harness; readonly node: ReturnType<Harness['node']> } {
  const h = new Harness().submitWithShadow({ triesMax: 1 });
  h.list(...files(8)).endList();
  const node = h.node('a', 4, { slots: 4 });
  const columns = { default: ['a'], shadow: ['b'] };
  const failure = { code: 'SCORER_CRASHED', message: 'gone' } as const;
  const failed = [{ index: 0, code: 'INPUT_DECODE_FAILED', message: 'no' } as const];
  const [first, second, third, fourth] = h.grants();
  h.commit(node, first!, { shadow: outcome({ rowsSame: 2, filesSame: 2 }) });
  const half = { rowsDifferent: 1, filesDifferent: 1, filesFailedDefault: 1 };
  h.commit(node, second!, { summary: { rows: 1, fileRows: [0, 1], failed }, shadow: outcome(half) });
  h.commit(node, third!, { shadow: outcome({ rowsSame: 2, filesSame: 2 }, { columns }) });
  h.commit(node, fourth!, { shadow: outcome({}, { failure, runSeconds: 2 }) });
  return { h, node };
}

const viewOf = (of: Job | undefined) => (of ? shadowView(of) : null);

describe('the sum of a job', () => {
  it('has each committed mini-batch once, and is the same after a restart and from a snapshot', () => {
    const { h } = scored();
    const view = viewOf(h.job);
    expect(view).toMatchObject({
      ...{ deployment: 's', revision: 3, agreement: 0.8, columns: { default: ['a'], shadow: ['b'] } },
      rows: { compared: 5, same: 4, different: 1, not_compared: 2 },
      files: { same: 4, different: 1, failed_only_default: 1, failed_only_shadow: 0 },
      mini_batches: { compared: 3, failed: 1, other_columns: 1 },
      failures: [{ code: 'SCORER_CRASHED', message: 'gone', mini_batches: 1 }],
    });
    const third = h.published.flatMap((event) => (event.kind === 'Committed' ? [event.shadow?.columns] : []))[2];
    expect(third).toEqual({ default: ['a'], shadow: ['b'] });
    expect(view?.seconds.default.total).toBeCloseTo(0.3);
    expect(view?.seconds.shadow).toMatchObject({ total: expect.closeTo(1.2, 5) as number });
    // To a fifth.
    expect(view?.seconds.shadow.p95).toBeGreaterThan(0.39);
    expect(view?.seconds.shadow.p95).toBeLessThan(0.49);
    expect(viewOf(new Harness(h.journal, 2).job)).toEqual(view);
    const restored = newLedger({ heartbeatMs: 5_000 });
    restoreImage(restored, decodeImage(Buffer.concat([...encodeImage(imageOf(h.ledger))])));
    expect(viewOf(restored.jobs.get(job))).toEqual(view);
    expect(imageOf(restored).jobs[0]?.shadowCounts).toEqual(imageOf(h.ledger).jobs[0]?.shadowCounts);
  });

  it('loses what is taken back, and has it again when that is scored again', () => {
    const { h, node } = scored();
    for (let round = 0; round < 3; round += 1) h.copied();
    h.give({ kind: 'sealed', job, wallMs: 0 });
    expect(h.job.state).toBe('Completed');
    const { deployment, reopenings } = h.job;
    h.give({ kind: 'reopen', job, scope: 'failed', deployment, reopenings, recut: null });
    expect(viewOf(h.job)).toMatchObject({
      ...{ agreement: 1, rows: { compared: 4, same: 4 }, files: { different: 0, failed_only_default: 0 } },
      mini_batches: { compared: 2, failed: 1 },
    });
    h.copied();
    h.give({ kind: 'want', node, leases: 1 });
    const [again] = h.grants();
    const columns = { default: ['x'], shadow: ['y'] };
    const counts = { rowsSame: 1, rowsDifferent: 1, filesSame: 1, filesDifferent: 1 };
    h.commit(node, again!, { shadow: outcome(counts, { columns }) });
    const last = h.published.findLast(({ kind }) => kind === 'Committed');
    // Which names they are is told once.
    expect(last).toMatchObject({ shadow: { columns: { default: [], shadow: [] } } });
    expect(viewOf(h.job)).toMatchObject({ columns: { default: ['a'] }, mini_batches: { other_columns: 2 } });
    expect(viewOf(h.job)).toMatchObject({
      rows: { compared: 6, same: 5, not_compared: 2 },
      mini_batches: { compared: 3 },
    });
    expect(viewOf(new Harness(h.journal, 2).job)).toEqual(viewOf(h.job));
  });

  it('plans by the time that both take, and teaches later jobs nothing of it', () => {
    const { h } = scored();
    const { h: alone } = { h: new Harness().submit() };
    alone.list(...files(2)).endList();
    const node = alone.node('a', 1);
    alone.commit(node, alone.grants()[0]!, { shadow: outcome({ rowsSame: 2 }) });
    expect(alone.job.shadowed).toBe(null);
    expect(alone.published.find(({ kind }) => kind === 'Committed')).not.toHaveProperty('shadow');
    expect([h.job.runTimes.total, (h.job.runTimes.medianMs ?? 0) > 450]).toEqual([4, true]);
    expect((alone.job.runTimes.medianMs ?? 0) < 150).toBe(true);
    for (let round = 0; round < 3; round += 1) h.copied();
    h.give({ kind: 'sealed', job, wallMs: 0 });
    expect([h.job.learned.results > 0, h.ledger.learned.size]).toEqual([true, 0]);
  });
});
