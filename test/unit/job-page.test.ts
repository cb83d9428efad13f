/** Pages of jobs while jobs come and go. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jobName } from '../../common/core/ids.ts';
import { plainOrigin } from '../../common/core/job-origin.ts';
import type { JobQuery } from '../../coordinator/api/backend.ts';
import { evolve } from '../../coordinator/core/evolve.ts';
import { imageOf, restoreImage } from '../../coordinator/core/ledger-image.ts';
import { newLedger, type Job, type Ledger } from '../../coordinator/core/ledger.ts';
import { jobView } from '../../coordinator/views/job-view.ts';
import { jobPage } from '../../coordinator/views/job-page.ts';
import { Harness } from '../helpers/ledger-harness.ts';

const { deployment } = new Harness().submit().job;
const all: JobQuery = { endpoint: null, deployment: null, states: null, archived: null, limit: 3, before: null };

function ledgerOf(count: number): Ledger {
  const ledger = newLedger({ heartbeatMs: null });
  for (let i = 1; i <= count; i += 1) submit(ledger, `job-${i}`);
  return ledger;
}

function submit(ledger: Ledger, name: string, endpoint: string | null = null): Job {
  const origin = { ...plainOrigin, endpoint };
  const job = jobName(name);
  evolve(ledger, {
    kind: 'JobSubmitted',
    job,
    deployment,
    inputPath: '/in',
    outputDir: `/out/${name}`,
    wallMs: 0,
    origin,
  });
  return ledger.jobs.get(job) as Job;
}

const jobsOf = (ledger: Ledger): readonly Job[] => [...ledger.jobs.values()];
const names = (jobs: readonly Job[]): readonly string[] => jobs.map(({ name }) => name);

test('a job’s file of rows is named where it lies: in the store, once it went there', () => {
  const ledger = ledgerOf(1);
  const job = jobsOf(ledger)[0] as Job;
  const outputFile = (outputLocation: string | null, state: Job['state']): string | null =>
    jobView(ledger, { ...job, outputLocation, state } as Job).output_file;
  expect(outputFile(null, 'Completed')).toBe('/out/job-1/predictions.csv');
  for (const place of ['s3://bucket/a b', 's3://bucket/a b/', 'gs://bucket/run', 'az://con/run']) {
    expect(outputFile(place, 'Completed')).toBe(`${place.replace(/\/$/, '')}/predictions.csv`);
    expect(outputFile(place, 'Running')).toBe('/out/job-1/predictions.csv.partial');
  }
});

test('newest first, and the last page says that it is the last', () => {
  const jobs = jobsOf(ledgerOf(6));
  const first = jobPage(jobs, all);
  expect(names(first.jobs)).toEqual(['job-6', 'job-5', 'job-4']);
  const second = jobPage(jobs, { ...all, before: first.next });
  expect([names(second.jobs), second.next]).toEqual([['job-3', 'job-2', 'job-1'], null]);
  expect(jobPage([], all)).toEqual({ jobs: [], next: null });
});

test('whatever comes and goes in between, a walk tells each job that stays once, in order', () => {
  const change = fc.oneof(fc.constant('submit' as const), fc.nat({ max: 30 }));
  const changes = fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 20 });
  fc.assert(
    fc.property(fc.nat({ max: 20 }), fc.integer({ min: 1, max: 5 }), changes, (count, limit, rounds) => {
      const ledger = ledgerOf(count);
      const stays = new Set(jobsOf(ledger).map(({ number }) => number));
      const told: number[] = [];
      let before: number | null = null;
      for (let round = 0; ; round += 1) {
        const page = jobPage(jobsOf(ledger), { ...all, limit, before });
        told.push(...page.jobs.map(({ number }) => number));
        before = page.next;
        if (before === null) break;
        for (const one of rounds[round] ?? []) {
          // The name of a pruned one is given again.
          if (one === 'submit') submit(ledger, `job-${1 + (told.length % 9)}-again`);
          else {
            const gone = ledger.jobs.get(jobName(`job-${one}`));
            if (!gone) continue;
            ledger.jobs.delete(gone.name);
            if (!told.includes(gone.number)) stays.delete(gone.number);
          }
        }
      }
      expect(told).toEqual([...new Set(told)].sort((a, b) => b - a));
      expect(told.slice().sort((a, b) => a - b)).toEqual([...stays].sort((a, b) => a - b));
    }),
  );
});

test('filters look at endpoint, deployment, state and archive mark, and inner jobs are not told', () => {
  const ledger = newLedger({ heartbeatMs: null });
  submit(ledger, 'alone');
  submit(ledger, 'mine', 'Fraud');
  submit(ledger, 'old', 'fraud').isArchived = true;
  evolve(ledger, {
    ...{ kind: 'JobSubmitted', job: jobName('parts'), deployment, inputPath: '/in', outputDir: '/out', wallMs: 0 },
    rowsOf: jobName('mine'),
  });
  const found = (query: Partial<JobQuery>): readonly string[] =>
    names(jobPage(jobsOf(ledger), { ...all, ...query }).jobs);
  expect(found({})).toEqual(['old', 'mine', 'alone']);
  expect(found({ archived: false })).toEqual(['mine', 'alone']);
  expect(found({ archived: true })).toEqual(['old']);
  expect(found({ endpoint: 'FRAUD' })).toEqual(['old', 'mine']);
  expect(found({ states: ['Queued'], deployment: deployment.name })).toEqual(['old', 'mine', 'alone']);
  expect(found({ states: ['Running'] })).toEqual([]);
  expect(found({ deployment: 'other' })).toEqual([]);
});

test('numbers outlive a snapshot, and one of an older release gets them in order', () => {
  const ledger = ledgerOf(3);
  ledger.jobs.delete(jobName('job-3'));
  const restored = newLedger({ heartbeatMs: null });
  restoreImage(restored, imageOf(ledger));
  expect(submit(restored, 'job-3').number).toBe(4);
  const { header, ...rest } = imageOf(ledger);
  const { submissions: _, ...olderHeader } = header;
  const jobs = rest.jobs.map((job) => {
    const { number: _number, ...olderJob } = job.header;
    return { ...job, header: olderJob as typeof job.header };
  });
  const older = newLedger({ heartbeatMs: null });
  restoreImage(older, { ...rest, header: olderHeader as typeof header, jobs });
  expect(jobsOf(older).map(({ number }) => number)).toEqual([1, 2]);
  expect(submit(older, 'job-3').number).toBe(3);
});
