/** What a coordinator that runs for months keeps of jobs and nodes long gone, as counts. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { jobName, nodeName } from '../../common/core/ids.ts';
import { silentLog } from '../../common/io/log.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { LogStore } from '../../coordinator/logs/log-store.ts';
import { JobFeeds } from '../../coordinator/views/job-feed.ts';
import { Harness, job } from '../helpers/ledger-harness.ts';

const jobs = 3 * limits.endedJobsRemembered;

describe('a coordinator that has seen many jobs', () => {
  it('keeps the lines of the newest ones only, and tells the others where they stand', async () => {
    const h = new Harness().submit();
    const { deployment } = h.job;
    const feeds = new JobFeeds({ ledger: h.ledger, wall: () => 0 });
    for (let index = 0; index < jobs; index += 1) {
      const name = jobName(`job-${index}`);
      const from = h.published.length;
      h.give({ kind: 'submit', job: name, deployment, inputPath: '/in', outputDir: `/out/${index}`, wallMs: 0 });
      h.give({ kind: 'cancel', job: name, wallMs: 0, graceMs: 0 });
      h.give({ kind: 'sealed', job: name, wallMs: 0 });
      for (const event of h.published.slice(from)) feeds.publish(event);
    }
    expect(feeds.jobs).toBe(limits.endedJobsRemembered);
    const lines: string[] = [];
    for await (const { message } of feeds.follow(jobName('job-0'), 0, AbortSignal.timeout(5_000))) lines.push(message);
    expect(lines).toEqual(['Canceled']);
  });

  it('keeps the lines of a job that goes on, however many others have ended since', () => {
    const h = new Harness().submit();
    const { deployment } = h.job;
    const feeds = new JobFeeds({ ledger: h.ledger, wall: () => 0 });
    const end = (of: typeof job): void => {
      h.give({ kind: 'cancel', job: of, wallMs: 0, graceMs: 0 });
      h.give({ kind: 'sealed', job: of, wallMs: 0 });
    };
    end(job);
    h.give({ kind: 'reopen', job, scope: 'rest', deployment, reopenings: 0, recut: null });
    for (let index = 0; index < jobs; index += 1) {
      const name = jobName(`job-${index}`);
      h.give({ kind: 'submit', job: name, deployment, inputPath: '/in', outputDir: `/out/${index}`, wallMs: 0 });
      end(name);
    }
    for (const event of h.published) feeds.publish(event);
    expect(feeds.jobs).toBe(limits.endedJobsRemembered + 1);
  });

  it('keeps the sizes of the logs of the newest ones only, and goes on with the others all the same', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'batchmill-flat-'));
    try {
      const store = new LogStore({ outputDirOf: (of) => join(dir, of), log: silentLog });
      const take = async (index: number, offset: number): Promise<number> => {
        const name = 'user/stdout/process000.stdout.txt';
        return await store.take('node', { job: jobName(`job-${index}`), name, offset, data: Buffer.from('abc') });
      };
      for (let index = 0; index < jobs; index += 1) {
        mkdirSync(join(dir, `job-${index}`));
        expect(await take(index, 0)).toBe(3);
      }
      await store.settled();
      expect(store.jobs).toBe(limits.endedJobsRemembered);
      expect(await take(0, 3)).toBe(6);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('keeps nothing of mini-batches that are done, however many there were', () => {
    const h = new Harness().submit({ miniBatchSize: { kind: 'files', files: 1 } });
    const a = h.node('a', 0);
    h.list(...Array.from({ length: 1_000 }, () => 1)).endList();
    for (let index = 0; index < 1_000; index += 1) {
      h.give({ kind: 'want', node: a, leases: 1 });
      const [token] = h.grants() as [Token];
      h.give({ kind: 'started', node: a, tokens: [token] });
      h.commit(a, token);
    }
    const { holders, avoided, waiting, placing, segments, health, custom } = h.job;
    const counts = [holders, avoided, waiting, placing, segments, health, custom].map(({ size }) => size);
    expect([h.job.committed, ...counts]).toEqual([1_000, 0, 0, 0, 0, 0, 0, 0]);
    const { leases, nodes, hungry, runnable, placingBytes, stagedBytes } = h.ledger;
    expect([leases.size, nodes.size, hungry.size, runnable.size, placingBytes, stagedBytes]).toEqual([
      0, 1, 0, 0, 0, 0,
    ]);
  });

  it('keeps a traceback of the first files that failed, and code and message of all', () => {
    const files = limits.failureDetailsKept + 10;
    const h = new Harness().submit({ miniBatchSize: { kind: 'files', files: 1 }, triesMax: 1 });
    const a = h.node('a', 0);
    h.list(...Array.from({ length: files }, () => 1)).endList();
    for (let index = 0; index < files; index += 1) {
      h.give({ kind: 'want', node: a, leases: 1 });
      const [token] = h.grants() as [Token];
      const failure = { code: 'SCORER_FAILED', message: `file ${index}`, detail: 'Traceback' } as const;
      const circumstances = { runSeconds: 0, peakMemoryBytes: null, hostExit: null };
      h.give({ kind: 'attempt-failed', node: a, token, failure, fileIndex: -1, circumstances });
    }
    const { failures } = h.job;
    expect(failures.filter(({ failure }) => failure.detail !== '')).toHaveLength(limits.failureDetailsKept);
    expect(failures.at(-1)?.failure).toEqual({ code: 'SCORER_FAILED', message: `file ${files - 1}`, detail: '' });
    expect(h.job.name).toBe(job);
    expect(h.ledger.nodes.has(nodeName('a'))).toBe(true);
  });
});
