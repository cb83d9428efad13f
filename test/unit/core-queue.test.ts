/** Who is granted next when many jobs of many people are queued: priorities, fair shares, limits of endpoints, preemption, computes. */
import { beforeEach, describe, expect, it } from 'vitest';
import { noCircumstances } from '../../common/core/cluster-messages.ts';
import type { DeploymentSettings } from '../../common/core/deployment.ts';
import { jobName, nodeName, type NodeName } from '../../common/core/ids.ts';
import { plainOrigin, type JobOrigin } from '../../common/core/job-origin.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { demandOf } from '../../coordinator/core/demand.ts';
import { attemptsNow, fateOf, hindrances } from '../../coordinator/core/explain.ts';
import type { Job } from '../../coordinator/core/ledger.ts';
import type { Resource } from '../../coordinator/core/resources.ts';
import { waitingReason } from '../../coordinator/views/job-view.ts';
import { files, Harness } from '../helpers/ledger-harness.ts';

const one = { miniBatchSize: { kind: 'files', files: 1 } } as const;
let h: Harness;
beforeEach(() => {
  h = new Harness();
});

interface Given extends Partial<Pick<JobOrigin, 'owner' | 'priority' | 'endpoint' | 'compute' | 'require'>> {
  readonly files?: number;
  readonly settings?: Partial<DeploymentSettings>;
}

/** A job that is listed to its end. */
function submit(name: string, { files: count = 10, settings = {}, ...origin }: Given = {}): void {
  h.submitAs(name, { ...one, ...settings }, { ...plainOrigin, ...origin });
  const job = jobName(name);
  h.give({ kind: 'page-listed', job, chunk: 0, sizesBytes: files(count), wallMs: 0 });
  h.give({ kind: 'listing-ended', job, skipped: 0, wallMs: 0 });
}

function want(node: NodeName, leases: number): void {
  h.give({ kind: 'want', node, leases });
}

/** Jobs of the grants since the last look, in order. */
function granted(): readonly string[] {
  return h.takeOf('grant').map(({ job }) => job);
}

function leasesOf(name: string): readonly Token[] {
  return [...h.ledger.leases.values()].filter(({ job }) => job === name).map(({ token }) => token);
}

function commit(token: Token): void {
  const lease = h.ledger.leases.get(token.counter);
  if (!lease) throw new Error('there is no such lease');
  const { job, node } = lease;
  const schema = { columns: ['a:int'], prologue: 'a\n' };
  const summary = { rows: 1, attribution: 'file', fileRows: [1], failed: [], schema, runSeconds: 0.1 } as const;
  const result = {
    summary: { ...summary, peakMemoryBytes: null },
    length: 10,
    crc32: 7,
    customLength: 0,
    customCrc32: 0,
  };
  h.give({ kind: 'result', node, token, ...result });
  h.give({ kind: 'written', job, token });
  h.give({ kind: 'copied', job });
}

function stateOf(name: string): string | undefined {
  return h.ledger.jobs.get(jobName(name))?.state;
}

function waiting(name: string): string | null {
  const job = h.ledger.jobs.get(jobName(name));
  if (!job) throw new Error(`there is no job ${name}`);
  return waitingReason(h.ledger, job);
}

function put(resource: Resource): void {
  h.give({ kind: 'put-resource', resource, ifMatch: null });
}

const made = { createdMs: 0, createdBy: 'local', description: null, tags: {}, properties: {} };

function endpoint(name: string, concurrencyMax: number | null): void {
  put({ ...made, kind: 'endpoint', name, defaultDeployment: null, concurrencyMax, changedMs: 0 });
}

function compute(
  name: string,
  labels: Record<string, string>,
  minInstances = 0,
  maxInstances: number | null = null,
): void {
  const plain = { type: 'local', idleSeconds: 0, size: null, tier: null };
  put({ ...made, ...plain, kind: 'compute', name, labels, minInstances, maxInstances });
}

/** All that is left, one mini-batch after the other on one node, by job. */
function drain(node: NodeName): readonly string[] {
  const order: string[] = [];
  for (;;) {
    want(node, 1);
    const [grant] = h.takeOf('grant');
    if (!grant) return order;
    order.push(grant.job);
    commit(grant.token);
  }
}

describe('jobs of one owner', () => {
  it('go by priority, then in order of submission, also when one of them was out of work for a while', () => {
    submit('first', { files: 2 });
    submit('low', { files: 1, priority: -5 });
    submit('second', { files: 1 });
    submit('high', { files: 2, priority: 7 });
    const a = h.node('a', 4, { slots: 4 });
    expect(granted()).toEqual(['high', 'high', 'first', 'first']);
    // What has failed is pending again, before what was submitted later.
    const [failed] = leasesOf('first');
    if (!failed) throw new Error('there is no lease');
    const failure = { code: 'SCORER_FAILED', message: 'no', detail: '' } as const;
    h.give({ kind: 'attempt-failed', node: a, token: failed, failure, fileIndex: -1, circumstances: noCircumstances });
    h.pass(10_000);
    h.take();
    want(a, 3);
    expect(granted()).toEqual(['first', 'second', 'low']);
  });

  it('leave a node to the next when they have nothing for it', () => {
    submit('capped', { settings: { instanceCountMax: 1 } });
    submit('next');
    h.node('a', 1);
    h.node('b', 1);
    expect(granted()).toEqual(['capped', 'next']);
  });

  it('are the same after a restart and from an image', () => {
    submit('first');
    submit('second', { priority: 3 });
    h = h.restart();
    h.node('a', 2);
    expect(granted()).toEqual(['second', 'second']);
    expect([...h.ledger.jobs.values()].map(({ order }) => order)).toEqual([1, 2]);
  });
});

describe('jobs of several owners', () => {
  it('share the slots of a priority evenly, whoever has more jobs', () => {
    for (let index = 0; index < 10; index += 1) submit(`ann-${index}`, { owner: 'ann' });
    submit('bob', { owner: 'bob' });
    submit('cid', { owner: 'cid' });
    h.node('a', 9, { slots: 9 });
    expect(granted()).toEqual(['ann-0', 'bob', 'cid', 'ann-0', 'bob', 'cid', 'ann-0', 'bob', 'cid']);
  });

  it('give one who comes later what ends, until both have as much', () => {
    submit('ann', { owner: 'ann', files: 40 });
    const a = h.node('a', 4, { slots: 4 });
    expect(granted()).toEqual(['ann', 'ann', 'ann', 'ann']);
    submit('bob', { owner: 'bob', files: 40 });
    for (let round = 0; round < 4; round += 1) {
      const [next] = leasesOf(round < 2 ? 'ann' : 'bob');
      if (next) commit(next);
      want(a, 1);
    }
    expect(granted()).toEqual(['bob', 'bob', 'bob', 'bob']);
    expect([h.ledger.heldBy.get('ann'), h.ledger.heldBy.get('bob')]).toEqual([2, 2]);
  });

  it('and a higher priority goes before any share', () => {
    submit('ann', { owner: 'ann', priority: 1 });
    submit('bob', { owner: 'bob' });
    h.node('a', 3, { slots: 3 });
    expect(granted()).toEqual(['ann', 'ann', 'ann']);
  });
});

describe('an endpoint with a limit', () => {
  it('runs as many jobs as it may, the others in their order when one ends, and says so', () => {
    endpoint('Digits', 2);
    submit('a', { endpoint: 'digits', files: 1 });
    submit('b', { endpoint: 'digits', files: 1 });
    submit('c', { endpoint: 'digits', files: 1 });
    submit('d', { endpoint: 'digits', files: 1, priority: 1 });
    submit('other', { endpoint: 'faces', files: 1 });
    expect(['a', 'b', 'c', 'd', 'other'].map(stateOf)).toEqual([
      ...['Running', 'Running', 'Preparing', 'Preparing', 'Running'],
    ]);
    expect(waiting('c')).toBe(
      'endpoint digits runs 2 jobs, as many as it may at once; this one begins when one of them has ended',
    );
    const node = h.node('a', 9, { slots: 9 });
    expect(granted()).toEqual(['a', 'b', 'other']);
    const [first] = leasesOf('a');
    if (first) commit(first);
    // Until it is sealed it has its place.
    expect(stateOf('a')).toBe('Finalizing');
    expect(granted()).toEqual([]);
    h.give({ kind: 'sealed', job: jobName('a'), wallMs: 0 });
    expect([stateOf('c'), stateOf('d')]).toEqual(['Preparing', 'Running']);
    want(node, 1);
    expect(granted()).toEqual(['d']);
  });

  it('begins what waits when the limit goes up, and passes over what is paused', () => {
    endpoint('digits', 1);
    for (const name of ['a', 'b', 'c']) submit(name, { endpoint: 'digits' });
    h.give({ kind: 'pause', job: jobName('b'), isPaused: true });
    endpoint('digits', 2);
    expect(['a', 'b', 'c'].map(stateOf)).toEqual(['Running', 'Preparing', 'Running']);
    endpoint('digits', null);
    expect(stateOf('b')).toBe('Preparing');
    h.give({ kind: 'pause', job: jobName('b'), isPaused: false });
    expect(stateOf('b')).toBe('Running');
  });

  it('keeps to it across a restart, and lets a job that waits be canceled', () => {
    endpoint('digits', 1);
    for (const name of ['a', 'b', 'c']) submit(name, { endpoint: 'digits' });
    h = h.restart();
    expect(['a', 'b', 'c'].map(stateOf)).toEqual(['Running', 'Preparing', 'Preparing']);
    h.give({ kind: 'cancel', job: jobName('b'), wallMs: 0, graceMs: 0 });
    h.give({ kind: 'cancel', job: jobName('a'), wallMs: 0, graceMs: 0 });
    expect(['a', 'b', 'c'].map(stateOf)).toEqual(['Canceled', 'Canceled', 'Running']);
  });

  it('a job that is reopened waits like any other', () => {
    endpoint('digits', 1);
    for (const name of ['a', 'b']) submit(name, { endpoint: 'digits' });
    const job = jobName('a');
    h.give({ kind: 'cancel', job, wallMs: 0, graceMs: 0 });
    h.give({ kind: 'sealed', job, wallMs: 0 });
    expect(['a', 'b'].map(stateOf)).toEqual(['Canceled', 'Running']);
    const { deployment } = h.ledger.jobs.get(job) ?? {};
    if (!deployment) throw new Error('there is no job');
    h.give({ kind: 'reopen', job, scope: 'rest', deployment, reopenings: 0, recut: null });
    expect(['a', 'b'].map(stateOf)).toEqual(['Preparing', 'Running']);
    h = h.restart();
    expect(['a', 'b'].map(stateOf)).toEqual(['Preparing', 'Running']);
    h.give({ kind: 'cancel', job: jobName('b'), wallMs: 0, graceMs: 0 });
    expect(['a', 'b'].map(stateOf)).toEqual(['Running', 'Canceled']);
  });
});

describe('a job of a higher priority', () => {
  /** Four leases of `low` on a node of two slots; two have begun. */
  function busy(): NodeName {
    submit('low');
    const a = h.node('a', 4, { slots: 2 });
    h.give({ kind: 'started', node: a, tokens: leasesOf('low').slice(0, 2) });
    h.take();
    return a;
  }

  it('gets what has not begun asked back, what runs goes on and is committed, no try is used', () => {
    const a = busy();
    submit('high', { priority: 1 });
    expect(h.takeOf('recall')).toEqual([]);
    h.pass(limits.tickMs);
    const recalled = h.takeOf('recall').map(({ token }) => token);
    expect(recalled).toEqual(leasesOf('low').slice(2).reverse());
    expect(waiting('low')).toBe(
      'job high goes first (priority 1, this one 0); what runs of this one goes on to its end',
    );
    // Asked once.
    h.pass(5 * limits.tickMs);
    expect(h.takeOf('recall')).toEqual([]);
    h.give({ kind: 'returned', node: a, tokens: recalled });
    want(a, 2);
    expect(granted()).toEqual(['high', 'high']);
    for (const token of leasesOf('low')) commit(token);
    want(a, 2);
    expect(granted()).toEqual(['high', 'high']);
    expect(waiting('low')).toBe('job high goes first (priority 1, this one 0)');
    for (const token of leasesOf('high')) commit(token);
    // The same node takes them up again, without a pause, each for the first time.
    expect(drain(a)).toEqual([...Array<string>(6).fill('high'), ...Array<string>(8).fill('low')]);
    const low = h.ledger.jobs.get(jobName('low'));
    expect([low?.failedTries, low?.committed]).toEqual([0, 10]);
  });

  it('gets no more asked back than it can use', () => {
    busy();
    submit('high', { priority: 1, files: 1 });
    h.pass(limits.tickMs);
    expect(h.takeOf('recall')).toHaveLength(1);
  });

  it('gets nothing asked back from nodes that it has nothing for', () => {
    busy();
    compute('gpu', { gpu: 'a100' });
    submit('elsewhere', { priority: 1, compute: 'gpu' });
    submit('same', { priority: 0 });
    h.pass(limits.tickMs);
    expect(h.takeOf('recall')).toEqual([]);
    expect(waiting('elsewhere')).toBe(
      'no worker node of compute gpu is connected; start one with `batchmill worker join --label gpu=a100`',
    );
    expect(waiting('low')).toBe(null);
  });

  it('gets nothing asked back on a node where it may not run more at once', () => {
    const a = busy();
    submit('high', { priority: 1, settings: { concurrencyPerInstanceMax: 1 } });
    h.pass(limits.tickMs);
    const [recalled] = h.takeOf('recall');
    if (!recalled) throw new Error('nothing was asked back');
    h.give({ kind: 'returned', node: a, tokens: [recalled.token] });
    want(a, 1);
    expect(granted()).toEqual(['high']);
    h.pass(limits.tickMs);
    expect(h.takeOf('recall')).toEqual([]);
  });
});

describe('a window that is full of results of a job', () => {
  it('lets the others go on with what is next of each, and empties once its own next is scored', () => {
    h = new Harness([], 1, 100);
    submit('low', { files: 20 });
    const a = h.node('a', 12, { slots: 12 });
    const [head, ...ahead] = leasesOf('low');
    for (const token of ahead) commit(token);
    expect(h.ledger.stagedBytes).toBeGreaterThanOrEqual(100);
    submit('high', { files: 5, priority: 1 });
    h.take();
    want(a, 4);
    // One of it at a time: nothing of it is staged, and nobody holds what the low one waits for but its own node.
    expect(granted()).toEqual(['high']);
    for (const token of leasesOf('high')) commit(token);
    expect(granted()).toEqual(['high']);
    if (head) commit(head);
    expect(h.ledger.stagedBytes).toBe(0);
    while (h.ledger.leases.size > 0) {
      for (const { token } of [...h.ledger.leases.values()]) commit(token);
      want(a, 4);
    }
    const committed = ['low', 'high'].map((name) => h.ledger.jobs.get(jobName(name))?.committed);
    expect(committed).toEqual([20, 5]);
  });
});

describe('a compute', () => {
  const gpu = { gpu: 'a100' };

  it('takes nodes that have all its labels, at most so many at a time over all its jobs', () => {
    compute('GPU', gpu, 0, 1);
    submit('x', { compute: 'gpu' });
    submit('y', { compute: 'gpu' });
    h.join('plain', 'plain/1', 2, { gpu: 'v100' });
    h.join('g1', 'g1/1', 2, { ...gpu, site: 'bonn' });
    h.join('g2', 'g2/1', 2, gpu);
    for (const name of ['plain', 'g1', 'g2']) {
      h.give({ kind: 'hello', node: nodeName(name), held: [] });
      want(nodeName(name), 2);
    }
    expect(h.takeOf('grant').map(({ node }) => node)).toEqual(['g1', 'g1']);
    for (const token of leasesOf('x')) commit(token);
    expect(h.takeOf('grant').map(({ node }) => node)).toEqual(['g2', 'g2']);
  });

  it('waits for the nodes that it needs at least, and says so', () => {
    compute('gpu', gpu, 2);
    submit('x', { compute: 'gpu' });
    submit('anywhere');
    h.join('g1', 'g1/1', 2, gpu);
    h.give({ kind: 'hello', node: nodeName('g1'), held: [] });
    want(nodeName('g1'), 1);
    expect(granted()).toEqual(['anywhere']);
    expect(waiting('x')).toBe('compute gpu has 1 of the 2 worker nodes that it needs at least (min_instances)');
    h.join('g2', 'g2/1', 2, gpu);
    h.give({ kind: 'hello', node: nodeName('g2'), held: [] });
    want(nodeName('g2'), 1);
    expect(granted()).toEqual(['x']);
  });

  it('that nobody has registered is every node', () => {
    submit('x', { compute: 'azure-cluster' });
    h.node('a', 1);
    expect(granted()).toEqual(['x']);
  });
});

describe('labels that a job requires', () => {
  const a100 = { gpu: 'a100' };

  function labelled(name: string, labels: Readonly<Record<string, string>>): NodeName {
    h.join(name, `${name}/1`, 2, labels);
    h.give({ kind: 'hello', node: nodeName(name), held: [] });
    return nodeName(name);
  }

  it('keep it from other nodes, which go on with what comes after it, and it says what is missing', () => {
    submit('picky', { require: a100 });
    submit('any');
    want(labelled('old', { gpu: 'v100' }), 2);
    expect(granted()).toEqual(['any', 'any']);
    const lack = 'no worker node that is connected has the labels that this job requires (gpu=a100)';
    expect(waiting('picky')).toContain(lack);
    expect(hindrances(h.ledger, h.ledger.jobs.get(jobName('picky')) as Job, 0)[0]).toEqual({
      kind: 'compute',
      message: expect.stringContaining(lack) as string,
    });
    want(labelled('new', a100), 2);
    expect(granted()).toEqual(['picky', 'picky']);
    expect(waiting('picky')).toBe(null);
  });

  it('are those of its deployment, and over them its own, within its compute', () => {
    compute('bonn', { site: 'bonn' });
    submit('x', { compute: 'bonn', require: a100, settings: { require: { gpu: 'v100', disk: 'nvme' } } });
    for (const labels of [a100, { ...a100, disk: 'nvme' }, { site: 'bonn', gpu: 'v100', disk: 'nvme' }]) {
      want(labelled(`no-${Object.values(labels).join('-')}`, labels), 1);
    }
    expect(granted()).toEqual([]);
    expect(waiting('x')).toContain('no worker node of compute bonn that is connected has the labels');
    want(labelled('yes', { ...a100, site: 'bonn', disk: 'nvme' }), 1);
    expect(granted()).toEqual(['x']);
  });

  it('that contradict those of its compute are of no node, and call for none', () => {
    compute('old', { gpu: 'v100' });
    submit('x', { compute: 'old', require: a100 });
    want(labelled('v', { gpu: 'v100' }), 1);
    want(labelled('a', a100), 1);
    expect(granted()).toEqual([]);
    expect(waiting('x')).toContain('no worker node of compute old that is connected has the labels');
    const old = h.ledger.registry.ofKind('compute')[0];
    if (!old) throw new Error('there is no compute');
    expect(demandOf(h.ledger, old.resource)).toMatchObject({ jobs: 0, miniBatches: 0 });
  });
});

describe('many jobs', () => {
  it('are passed over together when no node serves them', () => {
    compute('gpu', { gpu: 'a100' });
    const count = 5_000;
    for (let index = 0; index < count; index += 1) submit(`gpu-${index}`, { compute: 'gpu', files: 1 });
    submit('cpu', { files: 300 });
    const a = h.node('a', 1);
    const startedAt = performance.now();
    expect(drain(a)).toHaveLength(299);
    // With a look at each of them it would be 1.5 million.
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(h.ledger.runnable.size).toBe(count);
  });
});

describe('what stands against a job', () => {
  const kinds = (name: string): readonly string[] => {
    const job = h.ledger.jobs.get(jobName(name));
    if (!job) throw new Error(`there is no job ${name}`);
    return hindrances(h.ledger, job, h.now - h.ledger.stallMs).map(({ kind }) => kind);
  };

  it('is told in full, from what must be mended first to what only takes time', () => {
    h.submitAs('empty', one, plainOrigin);
    expect(kinds('empty')).toEqual(['listing']);
    endpoint('digits', 1);
    compute('gpu', { gpu: 'a100' });
    submit('first', { endpoint: 'digits', files: 3 });
    submit('second', { endpoint: 'digits', compute: 'gpu' });
    expect([kinds('first'), kinds('second')]).toEqual([['no-nodes'], ['endpoint-limit', 'compute']]);
    h.give({ kind: 'pause', job: jobName('first'), isPaused: true });
    const room = { code: 'DISK_FULL', message: 'the disk is full', detail: '' } as const;
    h.give({ kind: 'room', job: null, failure: room });
    expect(kinds('first')).toEqual(['room', 'paused', 'no-nodes']);
    h.give({ kind: 'room', job: null, failure: null });
    h.give({ kind: 'pause', job: jobName('first'), isPaused: false });
    const a = h.node('a', 1, { slots: 1 });
    submit('high', { priority: 1, owner: 'ann' });
    expect([kinds('first'), kinds('high')]).toEqual([['queue', 'busy'], ['busy']]);
    h.give({ kind: 'started', node: a, tokens: leasesOf('first') });
    const [lease] = attemptsNow(h.ledger, h.ledger.jobs.get(jobName('first')) as Job, h.now + 500);
    expect(lease).toEqual({ first: 0, count: 1, node: 'a', state: 'running', forMs: 500 });
    const [failed] = leasesOf('first');
    const failure = { code: 'SCORER_FAILED', message: 'no', detail: '' } as const;
    if (!failed) throw new Error('there is no lease');
    h.give({ kind: 'attempt-failed', node: a, token: failed, failure, fileIndex: -1, circumstances: noCircumstances });
    expect(kinds('first')).toEqual(['backoff', 'queue', 'busy']);
    expect(fateOf(h.ledger.jobs.get(jobName('first')) as Job, 0, h.now)).toMatchObject({
      ...{ state: 'waiting', first: 0, count: 1, failures: 1, failed: null },
      againInMs: limits.retryBackoffMs,
    });
    h.give({ kind: 'cancel', job: jobName('first'), wallMs: 0, graceMs: 0 });
    expect(kinds('first')).toEqual([]);
  });
});
