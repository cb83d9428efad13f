/** The inner job of a job whose output is made of parts, as the coordinator's core knows it. */
import { describe, expect, it } from 'vitest';
import type { HeldLease } from '../../common/core/cluster-messages.ts';
import { jobName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { PartsForm } from '../../common/core/parts-form.ts';
import type { Token } from '../../common/core/token.ts';
import type { Job } from '../../coordinator/core/ledger.ts';
import { partsDeployment } from '../../coordinator/core/parts.ts';
import { files, Harness, job } from '../helpers/ledger-harness.ts';

const inner = jobName('job~parts');
const parts: PartsForm = {
  ...{
    format: 'csv',
    partitionBy: [],
    header: true,
    fileRows: 4,
    fileBytes: null,
    rowGroupRows: 100,
    compression: 'none',
  },
};

/** Ten rows, all committed: the parts are about to be made. `meanwhile` comes before the last result. */
function withRows(meanwhile: (h: Harness) => void = () => undefined): Harness {
  const h = new Harness().submit({ parts, outputFileName: 'part-00000.csv' });
  h.list(...files(10)).endList();
  const node = h.node('a', 5, { slots: 5 });
  const tokens = h.grants();
  meanwhile(h);
  for (const token of tokens) h.commit(node, token);
  expect([h.job.state, h.takeOf('make-parts')]).toEqual(['Finalizing', [{ kind: 'make-parts', job }]]);
  return h;
}

function submitInner(h: Harness): Job {
  const deployment = partsDeployment(h.job, 'release');
  const places = { inputPath: 'rows:job', outputDir: '/state/jobs/job~parts/output' };
  h.give({ kind: 'submit', job: inner, deployment, ...places, rowsOf: job, wallMs: 0 });
  h.give({ kind: 'page-listed', job: inner, chunk: 0, sizesBytes: files(3), wallMs: 0 });
  h.give({ kind: 'listing-ended', job: inner, skipped: 0, wallMs: 0 });
  return h.ledger.jobs.get(inner) as Job;
}

const pause = (h: Harness, isPaused: boolean): void => h.give({ kind: 'pause', job, isPaused });
const want = (h: Harness): number => {
  h.give({ kind: 'want', node: h.node('b'), leases: 3 });
  return h.grants().length;
};

describe('an inner job', () => {
  it('is granted nothing when the outer one was paused before its last rows came', () => {
    const h = withRows((before) => pause(before, true));
    expect([submitInner(h).isPaused, want(h)]).toEqual([true, 0]);
    const again = h.restart();
    expect(again.ledger.jobs.get(inner)?.isPaused).toBe(true);
    pause(h, false);
    expect([h.job.isPaused, h.ledger.jobs.get(inner)?.isPaused, h.grants().length]).toEqual([false, false, 3]);
  });

  it('takes nothing from a node that holds a lease of the one before', () => {
    const h = withRows();
    submitInner(h);
    const node = h.node('b', 1);
    const [token] = h.grants() as [Token];
    h.give({ kind: 'disconnected', node });
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    expect(h.ledger.jobs.has(inner)).toBe(false);
    h.give({ kind: 'sealed', job, wallMs: 0 });
    const { deployment, reopenings } = h.job;
    h.give({ kind: 'reopen', job, scope: 'rest', deployment, reopenings, recut: null });
    expect(h.takeOf('make-parts')).toEqual([{ kind: 'make-parts', job }]);
    submitInner(h);
    const held: HeldLease[] = [{ token, job: inner, first: 0, count: 1 }];
    h.node('b', 0, { held });
    expect(h.takeOf('adopt')).toEqual([]);
    const again = h.restart();
    again.node('b', 0, { held });
    expect(again.takeOf('adopt')).toEqual([]);
  });

  it('has tries enough for a host that is killed, however few the files of the job have', () => {
    const h = new Harness().submit({ parts, outputFileName: 'part-00000.csv', triesMax: 1 });
    expect(partsDeployment(h.job, 'release').settings.triesMax).toBe(limits.partsTriesMin);
    const patient = new Harness().submit({ parts, outputFileName: 'part-00000.csv', triesMax: 9 });
    expect(partsDeployment(patient.job, 'release').settings.triesMax).toBe(9);
  });

  it('may be gone when what it copies has come to the disk', () => {
    const h = withRows();
    const job1 = submitInner(h);
    const node = h.node('b', 3, { slots: 3 });
    const [first, second] = h.grants() as [Token, Token];
    for (const token of [second, first]) h.commit(node, token, { summary: { rows: 1, fileRows: [1] } });
    expect(job1.copy).not.toBeNull();
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    h.give({ kind: 'copied', job: inner });
    expect([h.job.state, h.ledger.jobs.has(inner)]).toEqual(['Canceled', false]);
  });

  it('is paused with the outer one', () => {
    const h = withRows();
    expect(submitInner(h).isPaused).toBe(false);
    pause(h, true);
    expect([h.ledger.jobs.get(inner)?.isPaused, want(h)]).toEqual([true, 0]);
  });
});
