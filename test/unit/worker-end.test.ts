/** A worker node that leaves at a known time, or is told how long it may take. */
import { describe, expect, it } from 'vitest';
import type { NodeMessage } from '../../common/core/cluster-messages.ts';
import { limits } from '../../common/core/limits.ts';
import { monotonicMs } from '../../common/core/ids.ts';
import { eventsOf, grant, jobA, jobSpec, kindsOf, token, WorkerRig } from '../helpers/worker-rig.ts';

/** It has begun one of two mini-batches; `staysMs`: its time from here on. */
function working(staysMs: number | null): WorkerRig {
  const rig = new WorkerRig(1, staysMs).ready(jobSpec(jobA));
  rig.stage(grant(1), grant(2));
  for (const work of rig.state.staging) rig.tell({ kind: 'staged', work, failed: [] });
  rig.hostsReady();
  rig.turn();
  return rig;
}

function saidLast(rig: WorkerRig): NodeMessage | undefined {
  return eventsOf(rig.events, 'Reported').at(-1)?.message;
}

describe('a node whose time is up', () => {
  it('gives back in time what it has not begun, and kills at the very end what still runs', () => {
    const rig = working(20_000);
    expect(rig.slotKinds()).toEqual(['running']);
    rig.after(20_000 - limits.leaveReserveMs - 1);
    expect(rig.state.leaving).toBe('none');
    expect(kindsOf(rig.after(1))).toContain('LeavingBegan');
    rig.turn();
    expect(saidLast(rig)).toMatchObject({ isLeaving: true, returned: [token(2)], want: 0 });
    expect(rig.state.leases.size).toBe(1);
    rig.after(limits.leaveReserveMs - limits.leaveKillMs - 1);
    expect(rig.state.leaving).toBe('drain');
    expect(kindsOf(rig.after(1))).toEqual(expect.arrayContaining(['LeavingBegan', 'HostStopping', 'Forgotten']));
    rig.turn();
    expect(saidLast(rig)?.returned).toEqual([token(1)]);
    rig.tell({ kind: 'host-ended', slot: 0, host: 1 });
    expect(rig.state.link).toMatchObject({ kind: 'closed', failure: null });
  });

  it('wakes for it, also while the coordinator is away', () => {
    const rig = new WorkerRig(1, 20_000).ready();
    const failure = { code: 'COORDINATOR_UNREACHABLE', message: 'gone', detail: '' } as const;
    rig.tell({ kind: 'link-lost', failure, random: 0 });
    rig.tell({ kind: 'tick', rssBytes: 0, random: 0 });
    for (let looks = 0; looks < 60 && rig.state.link.kind !== 'closed'; looks += 1) {
      expect(rig.wakeInMs).not.toBeNull();
      rig.after(Math.max(1, rig.wakeInMs ?? 0));
      if (rig.state.link.kind === 'joining') rig.tell({ kind: 'join-failed', failure, random: 0 });
    }
    expect(rig.state.link).toMatchObject({ kind: 'closed', failure: null });
    expect(rig.now).toBeLessThanOrEqual(monotonicMs(1_000 + 20_000 - limits.leaveKillMs));
  });
});

describe('a node that is told to drain', () => {
  it('takes as long as what runs does', () => {
    const rig = working(null);
    rig.hear({ isDrain: true });
    rig.after(20_000);
    expect(rig.state).toMatchObject({ leaving: 'drain', killAt: null });
    expect(rig.slotKinds()).toEqual(['running']);
  });

  it('kills and gives back at the deadline, which later words may bring forward and not put off', () => {
    const rig = working(null);
    rig.hear({ isDrain: true, drainMs: 30_000 });
    rig.hear({ isDrain: true, drainMs: 8_000 });
    rig.hear({ isDrain: true, drainMs: 60_000 });
    rig.turn();
    rig.after(7_999);
    expect(rig.state.leaving).toBe('drain');
    rig.after(1);
    expect(rig.state.leaving).toBe('close');
    rig.turn();
    expect(saidLast(rig)?.returned).toEqual([token(1)]);
  });
});
