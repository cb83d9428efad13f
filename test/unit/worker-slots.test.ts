import { describe, expect, it } from 'vitest';
import { emptyNodeMessage } from '../../common/core/cluster-messages.ts';
import { jobName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { eventsOf, failure, grant, jobA, jobB, jobSpec, kindsOf, token, WorkerRig } from '../helpers/worker-rig.ts';

describe('slots', () => {
  it('get one host each, no more than there are leases', () => {
    const rig = new WorkerRig(4).ready();
    rig.stage(grant(1), grant(2));
    expect(rig.slotKinds()).toEqual(['starting', 'starting', 'empty', 'empty']);
    rig.hostsReady();
    expect(rig.slotKinds()).toEqual(['running', 'running', 'empty', 'empty']);
    rig.stage(grant(3));
    expect(rig.slotKinds()).toEqual(['running', 'running', 'starting', 'empty']);
  });

  it('keep their host for the next mini-batch of the job: one init() for many', () => {
    const rig = new WorkerRig().ready();
    rig.stage(...Array.from({ length: 10 }, (_, n) => grant(n + 1)));
    rig.hostsReady();
    for (let n = 0; n < 10; n += 1) rig.score();
    expect(eventsOf(rig.events, 'HostStarted')).toHaveLength(1);
    expect(rig.slotKinds()).toEqual(['idle']);
  });

  it('are no more for a job than its cap, in starting and in running', () => {
    const rig = new WorkerRig(4).ready(jobSpec(jobA, 2));
    rig.stage(...Array.from({ length: 5 }, (_, n) => grant(n + 1)));
    expect(rig.slotKinds()).toEqual(['starting', 'starting', 'empty', 'empty']);
    rig.hostsReady();
    rig.score(0);
    expect(rig.slotKinds()).toEqual(['running', 'running', 'empty', 'empty']);
  });

  it('that are free go to the job with the fewest hosts', () => {
    const rig = new WorkerRig(2).ready(jobSpec(jobA), jobSpec(jobB));
    rig.stage(grant(1), grant(2));
    rig.hostsReady();
    rig.stage(grant(3), grant(4, { job: jobB }));
    rig.fail(0, 'SCORER_CRASHED', true);
    expect(eventsOf(rig.events, 'HostStarted').at(-1)?.spec.name).toBe(jobB);
  });

  it('that are idle are emptied for another job, and only then', () => {
    const rig = new WorkerRig().ready(jobSpec(jobA), jobSpec(jobB));
    rig.stage(grant(1), grant(2));
    rig.hostsReady();
    rig.stage(grant(3, { job: jobB }));
    // Its own job comes first while it has work.
    expect(kindsOf(rig.score())).toEqual(['Scored', 'AttemptStarted']);
    expect(kindsOf(rig.score())).toEqual(['Scored', 'HostStopping']);
    expect(rig.slotKinds()).toEqual(['stopping']);
    const [started] = eventsOf(rig.tell({ kind: 'host-ended', slot: 0, host: 1 }), 'HostStarted');
    expect(started).toMatchObject({ slot: 0, host: 2, spec: { name: jobB } });
  });

  it('change jobs when another one has waited too long, even if their own goes on', () => {
    const rig = new WorkerRig().ready(jobSpec(jobA), jobSpec(jobB));
    rig.stage(...Array.from({ length: 5 }, (_, n) => grant(n + 1)));
    rig.hostsReady();
    rig.stage(grant(9, { job: jobB }));
    rig.now = (rig.now + limits.hostAffinityMs) as typeof rig.now;
    expect(kindsOf(rig.score())).toEqual(['Scored', 'AttemptStarted']);
    rig.now = (rig.now + 1) as typeof rig.now;
    expect(kindsOf(rig.score())).toEqual(['Scored', 'HostStopping']);
    const ended = rig.tell({ kind: 'host-ended', slot: 0, host: 1 });
    expect(eventsOf(ended, 'HostStarted')[0]?.spec.name).toBe(jobB);
    // And not back again after one mini-batch, although the other job's have been ready for longer.
    rig.stage(grant(10, { job: jobB }));
    rig.hostsReady();
    expect(kindsOf(rig.score())).toEqual(['Scored', 'AttemptStarted']);
  });

  it('that were given to the job served least recently are not taken back for one that has waited', () => {
    const jobC = jobName('job-c');
    const rig = new WorkerRig().ready(jobSpec(jobA), jobSpec(jobB), jobSpec(jobC));
    rig.stage(grant(1));
    rig.hostsReady();
    rig.now = (rig.now + 1) as typeof rig.now;
    rig.score();
    rig.stage(grant(2, { job: jobC }));
    rig.tell({ kind: 'host-ended', slot: 0, host: 1 });
    rig.hostsReady();
    rig.stage(grant(3), grant(4, { job: jobB }));
    rig.now = (rig.now + limits.hostAffinityMs + 1) as typeof rig.now;
    expect(kindsOf(rig.score())).toEqual(['Scored', 'HostStopping']);
    const started = eventsOf(rig.tell({ kind: 'host-ended', slot: 0, host: 2 }), 'HostStarted');
    expect(started[0]?.spec.name).toBe(jobB);
    rig.hostsReady();
    expect(rig.slotKinds()).toEqual(['running']);
    expect(kindsOf(rig.score())).toEqual(['Scored', 'HostStopping']);
    expect(eventsOf(rig.tell({ kind: 'host-ended', slot: 0, host: 3 }), 'HostStarted')[0]?.spec.name).toBe(jobA);
  });

  it('whose idle host dies start another one when there is work again', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    rig.score();
    expect(kindsOf(rig.tell({ kind: 'host-ended', slot: 0, host: 1 }))).toEqual(['SlotEmptied']);
    rig.stage(grant(2));
    expect(eventsOf(rig.events, 'HostStarted').at(-1)?.host).toBe(2);
  });

  it('pass over word of a host that is not theirs', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    expect(rig.tell({ kind: 'host-ready', slot: 0, host: 7 })).toEqual([]);
    expect(rig.tell({ kind: 'host-ready', slot: 5, host: 1 })).toEqual([]);
    expect(rig.tell({ kind: 'host-failed', slot: 0, host: 7, failure: failure('SCRIPT_INVALID') })).toEqual([]);
    expect(rig.slotKinds()).toEqual(['starting']);
    rig.hostsReady();
    // The end of a host that scores is told with its outcome.
    expect(rig.tell({ kind: 'host-ended', slot: 0, host: 1 })).toEqual([]);
  });
});

describe('a host whose init() fails', () => {
  const broken = { kind: 'host-failed', slot: 0, host: 1, failure: failure('SCRIPT_INVALID', 'no run()') } as const;

  it('is reported with its code, its leases go back, and nothing is tried before the wait is over', () => {
    const rig = new WorkerRig().ready();
    rig.turn();
    rig.stage(grant(1));
    const events = rig.tell(broken);
    expect(kindsOf(events)).toEqual(['SlotEmptied', 'HostFailed', 'Forgotten']);
    const hostFailures = [{ job: jobA, failure: failure('SCRIPT_INVALID', 'no run()') }];
    expect(rig.turn()).toEqual({ ...emptyNodeMessage, want: 1, hostFailures, returned: [token(1)] });
    rig.stage(grant(2));
    expect(rig.slotKinds()).toEqual(['empty']);
    expect(rig.wakeInMs).toBe(limits.retryBackoffMs);
    expect(kindsOf(rig.after(limits.retryBackoffMs))).toEqual(['HostStarted']);
  });

  it('waits longer each time, and not after one that went well', () => {
    const rig = new WorkerRig().ready();
    const waits: number[] = [];
    for (let host = 1; host <= 9; host += 1) {
      rig.stage(grant(host));
      const retryAt = rig.state.jobs.get(jobA)?.hostRetryAt ?? rig.now;
      waits.push(retryAt - rig.now);
      rig.now = retryAt;
      rig.hear({});
      if (host < 9) rig.tell({ ...broken, host });
    }
    expect(waits).toEqual([0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]);
    rig.hostsReady();
    expect(rig.state.jobs.get(jobA)).toMatchObject({ initFailures: 0, hostRetryAt: null });
  });

  it('counts once for all that failed together', () => {
    const rig = new WorkerRig(3).ready();
    rig.stage(grant(1), grant(2), grant(3));
    for (const slot of [0, 1, 2]) rig.tell({ ...broken, slot, host: slot + 1 });
    expect(rig.state.jobs.get(jobA)?.initFailures).toBe(1);
    expect(rig.turn()?.hostFailures).toHaveLength(3);
  });

  it('leaves its leases to the hosts that work', () => {
    const rig = new WorkerRig(2).ready();
    rig.stage(grant(1), grant(2), grant(3));
    rig.tell({ kind: 'host-ready', slot: 1, host: 2 });
    expect(kindsOf(rig.tell(broken))).toEqual(['SlotEmptied', 'HostFailed']);
    expect(rig.leaseKinds()).toEqual(['running', 'ready', 'ready']);
  });

  it('is the same for model and code that cannot be had, but not for a lost connection', () => {
    const rig = new WorkerRig().ready();
    rig.hear({ grants: [grant(1)] });
    const lost = rig.tell({ kind: 'artifacts-failed', job: jobA, failure: failure('COORDINATOR_UNREACHABLE') });
    expect(kindsOf(lost)).toEqual(['ArtifactsPutOff']);
    expect(rig.leaseKinds()).toEqual(['staging']);
    expect(kindsOf(rig.after(limits.retryBackoffMs))).toEqual(['ArtifactsWanted']);
    const full = rig.tell({ kind: 'artifacts-failed', job: jobA, failure: failure('DISK_FULL') });
    expect(kindsOf(full)).toEqual(['ArtifactsPutOff', 'HostFailed', 'Forgotten']);
    expect(rig.turn()).toMatchObject({ returned: [token(1)], hostFailures: [{ failure: { code: 'DISK_FULL' } }] });
  });
});

describe('leaving', () => {
  it('in good order finishes what runs, returns the rest, waits for the commit', () => {
    const rig = new WorkerRig(2).ready();
    rig.stage(grant(1), grant(2), grant(3));
    rig.hostsReady();
    rig.score(1);
    rig.turn();
    expect(rig.leaseKinds()).toEqual(['running', 'scored', 'running']);
    rig.stage(grant(4));
    rig.turn();
    rig.tell({ kind: 'drain' });
    expect(rig.turn()).toEqual({ ...emptyNodeMessage, isLeaving: true, returned: [token(4)] });
    expect(kindsOf(rig.score(0))).toEqual(['Scored', 'HostStopping']);
    rig.tell({ kind: 'host-ended', slot: 0, host: 1 });
    rig.fail(1, 'SCORER_FAILED', true);
    expect(rig.turn()).toMatchObject({ results: [{ token: token(1) }], failures: [{ token: token(3) }], want: 0 });
    expect(rig.turn()).toBeNull();
    rig.hear({ committed: [token(1)] });
    expect(kindsOf(rig.hear({ committed: [token(2)] })).at(-1)).toBe('Left');
    expect(rig.wakeInMs).toBeNull();
    expect(rig.hear({ grants: [grant(5)] })).toEqual([]);
  });

  it('when the coordinator says so, it is the same', () => {
    const rig = new WorkerRig().ready();
    expect(kindsOf(rig.hear({ isDrain: true }))).toEqual(['Heard', 'LeavingBegan']);
    expect(rig.turn()).toEqual({ ...emptyNodeMessage, isLeaving: true });
    expect(kindsOf(rig.events).at(-1)).toBe('Left');
  });

  it('returns leases that were already on their way', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    rig.tell({ kind: 'drain' });
    rig.turn();
    rig.hear({ grants: [grant(2)] });
    expect(rig.turn()).toEqual({ ...emptyNodeMessage, returned: [token(2)] });
  });

  it('happens at once when nothing is held and nobody listens', () => {
    const rig = new WorkerRig();
    rig.join();
    rig.loseLink();
    expect(kindsOf(rig.tell({ kind: 'drain' }))).toEqual(['LeavingBegan', 'Left']);
  });

  it('waits for the coordinator to come back when a result is held, and says again that it leaves', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    rig.score();
    rig.tell({ kind: 'drain' });
    rig.tell({ kind: 'host-ended', slot: 0, host: 1 });
    rig.turn();
    rig.loseLink();
    rig.after(100);
    expect(eventsOf(rig.join(2), 'Reported')[0]?.message).toMatchObject({ isLeaving: true, want: 0 });
    rig.hear({ adoption: [{ oldToken: token(1), newToken: token(1, 2) }] });
    expect(rig.turn()?.results).toHaveLength(1);
    expect(kindsOf(rig.hear({ committed: [token(1, 2)] })).at(-1)).toBe('Left');
  });

  it('at once kills what runs and returns it; of results that were sent it says nothing', () => {
    const rig = new WorkerRig(3).ready();
    rig.stage(grant(1), grant(2), grant(3), grant(4));
    rig.hostsReady();
    rig.score(2);
    rig.turn();
    rig.fail(1, 'SCORER_FAILED', false);
    const events = rig.tell({ kind: 'close' });
    expect(eventsOf(events, 'HostStopping').map(({ how }) => how)).toEqual(['kill', 'kill', 'stop']);
    const message = rig.turn();
    expect(message).toMatchObject({ isLeaving: true, results: [], failures: [{ token: token(2) }] });
    expect(message?.returned).toEqual([token(1), token(4)]);
    expect(rig.state.leases.size).toBe(0);
    for (const slot of [0, 1, 2]) rig.tell({ kind: 'host-ended', slot, host: slot + 1 });
    expect(kindsOf(rig.events).at(-1)).toBe('Left');
  });

  it('can be hurried', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    rig.tell({ kind: 'drain' });
    rig.turn();
    expect(kindsOf(rig.tell({ kind: 'close' }))).toEqual(['LeavingBegan', 'HostStopping', 'Forgotten']);
    expect(rig.tell({ kind: 'close' })).toEqual([]);
    expect(rig.turn()).toMatchObject({ returned: [token(1)] });
    expect(kindsOf(rig.tell({ kind: 'host-ended', slot: 0, host: 1 }))).toEqual(['SlotEmptied', 'Left']);
  });
});
