/** How many Slurm jobs a compute is to have, and which of them go. */
import { describe, expect, it } from 'vitest';
import {
  allocate,
  failed,
  nothingKnown,
  type Decision,
  type Memory,
  type Seen,
} from '../../cli/allocator/core/allocate.ts';
import { limits } from '../../common/core/limits.ts';
import { slurmOptionFault } from '../../common/core/slurm-options.ts';

const quiet: Seen = { instancesMin: 0, instancesMax: 4, idleMs: 60_000, miniBatches: 0, nodes: [], jobs: [] };

type Job = Seen['jobs'][number];
const jobIn = (state: Job['state'], id: string, word = state.toUpperCase(), reason = 'None'): Job => ({
  id,
  state,
  word,
  reason,
});
const nodeOf = (job: string | null, leases = 0, slots = 2): Seen['nodes'][number] => ({ job, slots, leases });

/** One look after the other, a second apart unless `at` says when. */
class Looks {
  memory: Memory = nothingKnown;
  now = 1_000_000;

  see(seen: Partial<Seen>, passMs = 1_000): Decision {
    this.now += passMs;
    const decision = allocate({ ...quiet, ...seen }, this.memory, this.now);
    this.memory = decision.memory;
    return decision;
  }
}

describe('worker jobs are submitted', () => {
  it('when there is work, as many as it needs by the slots of those that came, and no more than the maximum', () => {
    const looks = new Looks();
    expect(looks.see({})).toMatchObject({ wanted: 0, submit: 0, cancel: [] });
    expect(looks.see({ miniBatches: 3 })).toMatchObject({ wanted: 3, submit: 3 });
    const jobs = [jobIn('running', '1'), jobIn('pending', '2'), jobIn('pending', '3')];
    expect(looks.see({ miniBatches: 3, jobs, nodes: [nodeOf('1', 2, 8)] })).toMatchObject({ wanted: 1, submit: 0 });
    const many = { miniBatches: 900, jobs, nodes: [nodeOf('1', 2, 8)] };
    expect(new Looks().see(many)).toMatchObject({ wanted: 4, submit: 1, cancel: [] });
  });

  it('up to the minimum without work, and not for what nodes that were started by hand take', () => {
    expect(new Looks().see({ instancesMin: 2 })).toMatchObject({ wanted: 2, submit: 2 });
    expect(new Looks().see({ miniBatches: 8, nodes: [nodeOf(null, 8, 8)] })).toMatchObject({ wanted: 0, submit: 0 });
  });

  it('some at a time', () => {
    const { submit } = new Looks().see({ miniBatches: 1_000, instancesMax: 500 });
    expect(submit).toBe(limits.allocatorSubmissionsMax);
  });
});

describe('worker jobs go', () => {
  it('when they wait and nothing is left to do, the latest first', () => {
    const looks = new Looks();
    const jobs = [jobIn('running', '1'), jobIn('pending', '2'), jobIn('pending', '3')];
    const { cancel } = looks.see({ miniBatches: 4, jobs, nodes: [nodeOf('1', 2)] });
    expect(cancel).toEqual([{ id: '3', how: 'drop' }]);
    // Told once.
    expect(looks.see({ miniBatches: 4, jobs, nodes: [nodeOf('1', 2)] }).cancel).toEqual([]);
  });

  it('when their nodes had nothing to do for long enough, but for the minimum', () => {
    const looks = new Looks();
    const jobs = [jobIn('running', '1'), jobIn('running', '2')];
    const seen = { instancesMin: 1, jobs, nodes: [nodeOf('1'), nodeOf('2')] };
    expect(looks.see(seen).cancel).toEqual([]);
    expect(looks.see({ ...seen, nodes: [nodeOf('1', 1), nodeOf('2')] }, 59_000).cancel).toEqual([]);
    expect(looks.see(seen, 1_000).cancel).toEqual([{ id: '2', how: 'drain' }]);
    expect(looks.see(seen, 120_000).cancel).toEqual([]);
  });

  it('never while their node works', () => {
    const looks = new Looks();
    const seen = { jobs: [jobIn('running', '1')], nodes: [nodeOf('1', 1)] };
    looks.see(seen);
    expect(looks.see(seen, 3_600_000).cancel).toEqual([]);
  });
});

describe('failures', () => {
  const broken = (id: string): Job => jobIn('ended', id, 'FAILED', 'NonZeroExitCode');

  it('in a row pause it for longer and longer, with the reason, and a node that joins ends that', () => {
    const looks = new Looks();
    looks.see({ miniBatches: 9, jobs: [] });
    const jobs = [broken('1')];
    // One that failed: the next is tried alone.
    expect(looks.see({ miniBatches: 9, jobs })).toMatchObject({
      submit: 1,
      memory: { failures: 1, pausedUntil: null },
    });
    jobs.push(broken('2'));
    expect(looks.see({ miniBatches: 9, jobs })).toMatchObject({ submit: 1, memory: { failures: 2 } });
    jobs.push(broken('3'));
    const third = looks.see({ miniBatches: 9, jobs });
    expect(third).toMatchObject({
      submit: 0,
      memory: { failures: 3, pausedUntil: looks.now + limits.allocatorPauseMsMin },
    });
    expect(third.memory.lastFailure).toMatch(
      /Slurm job 3 ended FAILED \(NonZeroExitCode\) before its worker node joined/,
    );
    expect(looks.see({ miniBatches: 9, jobs }).submit).toBe(0);
    expect(looks.see({ miniBatches: 9, jobs }, limits.allocatorPauseMsMin).submit).toBe(1);
    jobs.push(broken('4'));
    const { memory } = looks.see({ miniBatches: 9, jobs });
    expect(memory.pausedUntil).toBe(looks.now + 2 * limits.allocatorPauseMsMin);
    jobs.push(jobIn('running', '5'));
    const joined = looks.see({ miniBatches: 9, jobs, nodes: [nodeOf('5', 2)] });
    expect(joined.memory).toMatchObject({ failures: 0, pausedUntil: null, lastFailure: null });
    expect(joined.submit).toBe(3);
  });

  it('are not those of nodes that had joined, of jobs that somebody canceled, or of a life before', () => {
    const looks = new Looks();
    expect(looks.see({ jobs: [broken('1')] }).memory.failures).toBe(0);
    looks.see({ jobs: [broken('1'), jobIn('running', '2')], nodes: [nodeOf('2')] });
    const jobs = [jobIn('ended', '2', 'TIMEOUT'), jobIn('ended', '3', 'CANCELLED')];
    expect(looks.see({ jobs }).memory.failures).toBe(0);
  });

  it('are jobs that run and whose node does not come', () => {
    const looks = new Looks();
    const seen = { miniBatches: 2, jobs: [jobIn('running', '1')] };
    expect(looks.see(seen).cancel).toEqual([]);
    const late = looks.see(seen, limits.allocatorJoinMsMax + 1_000);
    // It has begun nothing, and may not listen.
    expect(late.cancel).toEqual([{ id: '1', how: 'drop' }]);
    expect(late.memory).toMatchObject({
      failures: 1,
      lastFailure: expect.stringMatching(/has not joined within 300 s/) as string,
    });
    expect(looks.see(seen, 1_000).memory.failures).toBe(1);
  });

  it('are submissions that Slurm refuses, and the pause has an end', () => {
    let memory: Memory = nothingKnown;
    for (let count = 0; count < 40; count += 1) memory = failed(memory, 'sbatch: invalid partition', 0);
    expect(memory.pausedUntil).toBe(limits.allocatorPauseMsMax);
  });
});

describe('an option of sbatch', () => {
  it('is one word, and none that the allocator says itself', () => {
    expect(['--partition=gpu', '--gres=gpu:1', '--exclusive'].map(slurmOptionFault)).toEqual([null, null, null]);
    for (const option of [
      '-p gpu',
      'evil.sh',
      '--wrap=rm',
      '--wra=rm',
      '--job-name=x',
      '--comment=x',
      '--array=1-3',
      '',
    ]) {
      expect([option, slurmOptionFault(option)]).toEqual([option, expect.stringMatching(/wanted|leave it out/)]);
    }
  });
});
