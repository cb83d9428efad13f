/** Mini-batches that wait on a scoring host behind the one that it is at: when they do, and what becomes of them. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { monotonicMs } from '../../common/core/ids.ts';
import type { WorkerEvent } from '../../worker/core/events.ts';
import { eventsOf, grant, jobA, jobB, jobSpec, kindsOf, token, WorkerRig } from '../helpers/worker-rig.ts';

/** A node whose hosts have answered one mini-batch each within `tookMs`, with `leases` in all. */
function quick(leases: number, options: { slots?: number; tookMs?: number; isQuiet?: boolean } = {}): WorkerRig {
  const { slots = 1, tookMs = 0.1, isQuiet = true } = options;
  const rig = new WorkerRig(slots).ready(jobSpec(jobA), jobSpec(jobB));
  rig.stage(...Array.from({ length: leases }, (_, index) => grant(index + 1)));
  for (const work of rig.state.staging) rig.tell({ kind: 'staged', work, failed: [] });
  rig.hostsReady();
  rig.now = monotonicMs(rig.now + tookMs);
  for (let slot = 0; slot < slots; slot += 1) rig.score(slot, 10, isQuiet);
  return rig;
}

function queueOf(rig: WorkerRig, slot = 0): readonly number[] {
  const held = rig.state.slots[slot];
  return held?.kind === 'running' ? held.queue : [];
}

const crash = { kind: 'attempt-failed', slot: 0, host: 1, fileIndex: -1, isHostDead: true } as const;
const circumstances = { peakMemoryBytes: null, hostExit: 'signal SIGSEGV' };
const failure = { code: 'SCORER_CRASHED', message: 'it crashed', detail: '' } as const;

describe('the queue of a host', () => {
  it('grows with every quiet answer, up to some milliseconds of work', () => {
    const rig = quick(200);
    expect(queueOf(rig)).toEqual([3]);
    const lengths: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      rig.now = monotonicMs(rig.now + 0.1);
      rig.score(0, 10, true);
      lengths.push(queueOf(rig).length);
    }
    expect(lengths.slice(0, 4)).toEqual([3, 7, 15, 31]);
    // Rounded down, as clocks are.
    expect(Math.abs((lengths[4] ?? 0) - limits.queuedMs / 0.1)).toBeLessThanOrEqual(1);
    expect(rig.state.queued.size).toBe(lengths[4]);
  });

  it('is empty where a mini-batch takes its time, or user code leaves more than rows', () => {
    expect(queueOf(quick(20, { tookMs: 30 }))).toEqual([]);
    expect(queueOf(quick(20, { isQuiet: false }))).toEqual([]);
    const rig = quick(20);
    rig.score(0, 10, false);
    // What is there already stays.
    expect(queueOf(rig)).toEqual([]);
    rig.score(0, 10, true);
    expect(queueOf(rig)).toHaveLength(1);
  });

  it('goes on in order, each begun when the one before has ended', () => {
    const rig = quick(20);
    rig.turn();
    const [next] = queueOf(rig);
    expect(rig.state.leases.get(next ?? 0)?.state.kind).toBe('queued');
    const events = rig.score(0, 10, true);
    expect(kindsOf(events)).toEqual(['Scored', 'AttemptQueued', 'AttemptQueued', 'AttemptQueued']);
    expect(rig.state.slots[0]).toMatchObject({ kind: 'running', work: next });
    expect(rig.turn()?.started).toEqual([token(3)]);
  });

  it('is nobody’s fault when the host dies: all but the one to blame are ready again', () => {
    const rig = quick(20);
    rig.score(0, 10, true);
    const queue = [...queueOf(rig)];
    expect(queue).toHaveLength(3);
    const [lost = 0, blamed = 0, other = 0] = queue;
    const running = rig.state.slots[0]?.kind === 'running' ? rig.state.slots[0].work : 0;
    const events = rig.tell({ ...crash, work: blamed, failure, circumstances });
    expect(eventsOf(events, 'AttemptFailed').map(({ work }) => work)).toEqual([blamed]);
    for (const work of [running, lost, other]) expect(rig.state.leases.get(work)?.state.kind).toBe('ready');
    expect(eventsOf(events, 'HostStarted')).toHaveLength(1);
    expect(rig.turn()?.failures).toHaveLength(1);
  });

  it('is handed back by a host that has to be looked after first, and not filled again at once', () => {
    const rig = quick(20);
    const [queued = 0] = queueOf(rig);
    const events = rig.tell({ kind: 'handed-back', slot: 0, host: 1, work: queued });
    expect(kindsOf(events)).toEqual(['HandedBack']);
    expect(rig.state.leases.get(queued)?.state.kind).toBe('ready');
    expect(queueOf(rig)).toEqual([]);
  });

  it('is given back by a node that leaves when its host hands it back', () => {
    const rig = quick(20);
    const running = rig.state.slots[0]?.kind === 'running' ? rig.state.slots[0].work : 0;
    const returned = (events: readonly WorkerEvent[]): readonly number[] =>
      eventsOf(events, 'Forgotten').flatMap(({ work, reason }) => (reason === 'returned' ? [work] : []));
    rig.tell({ kind: 'drain' });
    // Some milliseconds of work: its host may as well do it.
    expect([...rig.state.leases.values()].map(({ state }) => state.kind).sort()).toEqual([
      'queued',
      'running',
      'scored',
    ]);
    for (const work of [...queueOf(rig), running])
      expect(returned(rig.tell({ kind: 'handed-back', slot: 0, host: 1, work }))).toEqual([work]);
  });

  it('may be revoked or recalled without a word to the host, whose late answer is passed over', () => {
    const rig = quick(20);
    const [queued = 0] = queueOf(rig);
    expect(kindsOf(rig.hear({ recalled: [token(queued)] })).slice(0, 2)).toEqual(['Heard', 'Forgotten']);
    expect(rig.slotKinds()).toEqual(['running']);
    expect(rig.turn()?.returned).toEqual([token(queued)]);
    const running = rig.state.slots[0]?.kind === 'running' ? rig.state.slots[0].work : 0;
    // It has died of what nobody wants any more.
    const events = rig.tell({ ...crash, work: queued, failure, circumstances });
    expect(kindsOf(events).slice(0, 1)).toEqual(['HostLost']);
    expect(rig.state.leases.get(running)?.state.kind).toBe('ready');
    expect(eventsOf(rig.events, 'AttemptFailed')).toEqual([]);
  });

  it('may kill its host after it was revoked and the rest is done: another host is started', () => {
    const rig = quick(3);
    const [queued = 0] = queueOf(rig);
    rig.hear({ recalled: [token(queued)] });
    while (rig.slotKinds()[0] === 'running') rig.score(0, 10, false);
    expect(rig.slotKinds()).toEqual(['idle']);
    const events = rig.tell({ ...crash, work: queued, failure, circumstances });
    expect(kindsOf(events)).toEqual(['SlotEmptied']);
    expect(rig.slotKinds()).toEqual(['empty']);
  });

  it('is taken back for a slot that is free when the host is at something long', () => {
    const rig = quick(4, { slots: 2 });
    const stuck = queueOf(rig, 0).length > 0 ? 0 : 1;
    const free = 1 - stuck;
    const [queued = 0] = queueOf(rig, stuck);
    expect(queued).toBeGreaterThan(0);
    while (rig.state.slots[free]?.kind === 'running') rig.score(free, 10, true);
    expect(rig.wakeInMs).toBeLessThanOrEqual(limits.queuedStuckMs);
    const events = rig.after(limits.queuedStuckMs + 1);
    expect(kindsOf(events)).toEqual(['HandedBack', 'AttemptStarted']);
    expect(eventsOf(events, 'AttemptStarted')[0]).toMatchObject({ slot: free, work: queued });
  });

  it('does not grow while another job has waited too long for the slot', () => {
    const rig = quick(40);
    rig.stage(grant(90, { job: jobB }));
    rig.now = monotonicMs(rig.now + limits.hostAffinityMs + 1);
    const waiting = queueOf(rig).length;
    rig.score(0, 10, true);
    for (let left = waiting; left > 0; left -= 1) rig.score(0, 10, true);
    expect(eventsOf(rig.events, 'HostStopping')).toHaveLength(1);
  });
});
