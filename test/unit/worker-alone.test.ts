import { describe, expect, it } from 'vitest';
import { eventsOf, grant, jobA, jobB, jobSpec, kindsOf, WorkerRig } from '../helpers/worker-rig.ts';

describe('a mini-batch that must be alone', () => {
  it('begins when what runs has ended, and nothing begins beside it', () => {
    const rig = new WorkerRig(2).ready();
    rig.stage(grant(1), grant(2));
    rig.hostsReady();
    rig.stage(grant(3, { isAlone: true }), grant(4));
    expect(rig.slotKinds()).toEqual(['running', 'running']);
    expect(kindsOf(rig.score(0))).toEqual(['Scored']);
    expect(rig.slotKinds()).toEqual(['idle', 'running']);
    expect(eventsOf(rig.score(1), 'AttemptStarted').map(({ work }) => work)).toEqual([3]);
    expect([...rig.slotKinds()].sort()).toEqual(['idle', 'running']);
    const slot = rig.slotKinds().indexOf('running');
    expect(eventsOf(rig.score(slot), 'AttemptStarted').map(({ work }) => work)).toEqual([4]);
  });

  it('goes after another one, not beside it', () => {
    const rig = new WorkerRig(2).ready();
    rig.stage(grant(1, { isAlone: true }), grant(2, { isAlone: true }));
    rig.hostsReady();
    expect(rig.slotKinds().filter((kind) => kind === 'running')).toHaveLength(1);
    const slot = rig.slotKinds().indexOf('running');
    expect(eventsOf(rig.fail(slot, 'SCORER_OUT_OF_MEMORY', true), 'AttemptStarted').map(({ work }) => work)).toEqual([
      2,
    ]);
  });

  it('holds nobody up while its job has no host on the node', () => {
    const rig = new WorkerRig(1).ready(jobSpec(jobA), jobSpec(jobB));
    rig.stage(grant(1), grant(2));
    rig.hostsReady();
    rig.stage(grant(3, { job: jobB, isAlone: true }));
    expect(eventsOf(rig.score(), 'AttemptStarted').map(({ work }) => work)).toEqual([2]);
  });

  it('is forgotten with its lease, and the others go on', () => {
    const rig = new WorkerRig(2).ready();
    rig.stage(grant(1), grant(2));
    rig.hostsReady();
    rig.stage(grant(3, { isAlone: true }), grant(4));
    expect(kindsOf(rig.score(0))).toEqual(['Scored']);
    const events = rig.hear({ revoked: [{ epoch: 1, counter: 3 }] });
    expect(eventsOf(events, 'AttemptStarted').map(({ work }) => work)).toEqual([4]);
    expect(rig.state.alone.size).toBe(0);
  });

  it('is given back by a node that leaves', () => {
    const rig = new WorkerRig(2).ready();
    rig.stage(grant(1));
    rig.hostsReady();
    rig.stage(grant(2, { isAlone: true }));
    rig.turn();
    rig.tell({ kind: 'drain' });
    expect(rig.turn()?.returned).toEqual([{ epoch: 1, counter: 2 }]);
    expect(rig.state.alone.size).toBe(0);
  });
});
