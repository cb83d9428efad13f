import { describe, expect, it } from 'vitest';
import { emptyNodeMessage } from '../../common/core/cluster-messages.ts';
import { limits } from '../../common/core/limits.ts';
import {
  eventsOf,
  failure,
  grant,
  jobA,
  jobB,
  jobSpec,
  kindsOf,
  reported,
  token,
  WorkerRig,
} from '../helpers/worker-rig.ts';

/** A node with one lease in every state: scored, failed, running, ready, granted ones are unstarted. */
function busyNode(): WorkerRig {
  const rig = new WorkerRig(2).ready();
  rig.turn();
  rig.stage(grant(1), grant(2));
  rig.hostsReady();
  rig.score(0);
  rig.turn();
  rig.stage(grant(3), grant(4));
  rig.turn();
  return rig;
}

describe('joining', () => {
  it('begins with one Join, and says nothing else', () => {
    const rig = new WorkerRig();
    expect(kindsOf(rig.tell({ kind: 'begin' }))).toEqual(['Began', 'JoinStarted']);
    expect(rig.turn()).toBeNull();
    expect(rig.wakeInMs).toBeNull();
  });

  it('says hello and what it wants in the first message when it holds nothing', () => {
    const rig = new WorkerRig(3);
    expect(reported(rig.join())).toEqual([{ ...emptyNodeMessage, hello: [], want: 3 + limits.workAheadMin }]);
    expect(rig.turn()).toBeNull();
  });

  it('tries again with a delay that doubles, jittered by the argument, up to its bound', () => {
    const rig = new WorkerRig();
    rig.join();
    const delays: number[] = [];
    rig.loseLink();
    for (let attempt = 0; attempt < 8; attempt += 1) {
      delays.push(rig.wakeInMs ?? NaN);
      expect(kindsOf(rig.after(rig.wakeInMs ?? NaN))).toEqual(['JoinStarted']);
      rig.tell({ kind: 'join-failed', failure: failure('COORDINATOR_UNREACHABLE'), random: 0 });
    }
    expect(delays).toEqual([100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000]);
    rig.after(rig.wakeInMs ?? NaN);
    rig.tell({ kind: 'join-failed', failure: failure('COORDINATOR_UNREACHABLE'), random: 0.5 });
    expect(rig.wakeInMs).toBe(750);
  });

  it('does not forget its failed tries when Join succeeds, only when the coordinator has spoken', () => {
    const rig = new WorkerRig();
    rig.join();
    for (const expected of [100, 200, 400]) {
      rig.loseLink();
      expect(rig.wakeInMs).toBe(expected);
      rig.after(expected);
      rig.join();
    }
    rig.hear({});
    rig.loseLink();
    expect(rig.wakeInMs).toBe(100);
  });

  it.each(['TOKEN_INVALID', 'PROTOCOL_MISMATCH', 'NAME_TAKEN'] as const)(
    'gives up a first join at once on %s',
    (code) => {
      const rig = new WorkerRig();
      rig.tell({ kind: 'begin' });
      const events = rig.tell({ kind: 'join-failed', failure: failure(code), random: 0 });
      expect(events).toEqual([{ kind: 'GaveUp', failure: failure(code) }]);
      expect(rig.wakeInMs).toBeNull();
      expect(rig.tell({ kind: 'drain' })).toEqual([]);
    },
  );

  it('tries a first join for as long as it may, then gives up with the last failure', () => {
    const rig = new WorkerRig();
    rig.tell({ kind: 'begin' });
    let tries = 1;
    for (;;) {
      const [event] = rig.tell({ kind: 'join-failed', failure: failure('COORDINATOR_UNREACHABLE'), random: 0 });
      if (event?.kind === 'GaveUp') break;
      expect(event?.kind).toBe('LinkLost');
      rig.after(rig.wakeInMs ?? NaN);
      tries += 1;
    }
    // 0.1 + 0.2 + 0.4 + 0.8 s, then 1 s each, and the next wait would end after the tenth second.
    expect(tries).toBe(13);
    expect(rig.state.link).toEqual({ kind: 'closed', failure: failure('COORDINATOR_UNREACHABLE') });
  });

  it('keeps trying a later join when its name is taken by its own lost connection', () => {
    const rig = new WorkerRig();
    rig.join();
    rig.loseLink();
    rig.after(100);
    expect(kindsOf(rig.tell({ kind: 'join-failed', failure: failure('NAME_TAKEN'), random: 0 }))).toEqual(['LinkLost']);
  });

  it.each([
    [limits.protocolVersion + 1, 'upgrade this worker node'],
    [limits.protocolVersionOldest - 1, 'upgrade the coordinator'],
  ])('gives up on a coordinator of protocol %i, killing its hosts', (protocol, toDo) => {
    const rig = busyNode();
    rig.loseLink();
    rig.after(100);
    const reply = {
      protocol,
      release: '9',
      session: 's',
      epoch: 1,
      heartbeatMs: 1,
      leaseMs: 1,
      uploadCreditBytes: 1,
    };
    const events = rig.tell({ kind: 'joined', reply });
    expect(eventsOf(events, 'HostStopping').map(({ how }) => how)).toEqual(['kill', 'kill']);
    expect(eventsOf(events, 'GaveUp')[0]?.failure).toMatchObject({
      code: 'PROTOCOL_MISMATCH',
      message: `the coordinator (release 9) speaks protocol ${protocol}, this worker node 1 to 2; ${toDo}`,
    });
  });

  it('passes over word from a try that is over', () => {
    const rig = new WorkerRig();
    rig.join();
    expect(rig.tell({ kind: 'join-failed', failure: failure('TOKEN_INVALID'), random: 0 })).toEqual([]);
    rig.loseLink();
    expect(rig.loseLink()).toEqual([]);
    expect(rig.hear({ jobs: [jobSpec()] })).toEqual([]);
  });
});

describe('a handover', () => {
  /** A node of two slots that has scored one mini-batch, of half a second. */
  function scoringNode(): WorkerRig {
    const rig = new WorkerRig(2).ready();
    rig.turn();
    rig.stage(grant(1), grant(2), grant(3));
    rig.hostsReady();
    rig.after(500);
    rig.score(0);
    rig.turn();
    rig.hear({ committed: [token(1)] });
    return rig;
  }

  it('has the node ask for the work of the time that it takes, once', () => {
    const rig = scoringNode();
    rig.stage(grant(4));
    expect(rig.turn()).toBeNull();
    rig.hear({ handoverMs: 3_000 });
    // Two slots for 3.05 s, half a second each, of which one is held already.
    expect(rig.turn()?.want).toBe(12);
    expect(rig.turn()).toBeNull();
    rig.hear({ handoverMs: 3_000 });
    expect(rig.turn()).toBeNull();
  });

  it('has it score on, look for who leads without a pause, and ask for no more than usual afterwards', () => {
    const rig = scoringNode();
    rig.hear({ handoverMs: 3_000 });
    rig.stage(...Array.from({ length: 13 }, (_, place) => grant(10 + place)));
    rig.loseLink();
    const delays: number[] = [];
    for (let tried = 0; tried < 5; tried += 1) {
      delays.push(rig.wakeInMs ?? NaN);
      rig.after(rig.wakeInMs ?? NaN);
      rig.score(0);
      rig.tell({ kind: 'join-failed', failure: failure('COORDINATOR_UNREACHABLE'), random: 0 });
    }
    expect(delays).toEqual([100, 100, 100, 100, 100]);
    expect(rig.slotKinds()).toEqual(['running', 'running']);
    rig.after(100);
    const offered = reported(rig.join(2))[0]?.hello ?? [];
    rig.hear({ jobs: [jobSpec()], adoption: offered.map((held) => ({ oldToken: held.token, newToken: held.token })) });
    expect(rig.turn()?.want).toBe(0);
  });

  it('is given up when nobody leads for longer', () => {
    const rig = scoringNode();
    rig.hear({ handoverMs: 150 });
    rig.loseLink();
    const delays: number[] = [];
    for (let tried = 0; tried < 4; tried += 1) {
      delays.push(rig.wakeInMs ?? NaN);
      rig.after(rig.wakeInMs ?? NaN);
      rig.tell({ kind: 'join-failed', failure: failure('COORDINATOR_UNREACHABLE'), random: 0 });
    }
    expect(delays).toEqual([100, 100, 400, 800]);
  });
});

describe('heartbeats', () => {
  it('come when they are due, name every lease, and their lateness does not add up', () => {
    const rig = busyNode();
    expect(rig.wakeInMs).toBe(5_000);
    expect(reported(rig.after(4_999))).toEqual([]);
    const [first] = reported(rig.after(101));
    expect(first?.heartbeat).toMatchObject({ sequence: 1, slotsBusy: 2, rssBytes: 1_000 });
    expect(first?.heartbeat?.held).toEqual([token(1), token(2), token(3), token(4)]);
    expect(rig.wakeInMs).toBe(4_900);
    expect(reported(rig.after(4_900))[0]?.heartbeat?.sequence).toBe(2);
  });

  it('takes what waits to be said along', () => {
    const rig = busyNode();
    rig.score(0);
    const [message] = reported(rig.after(5_000));
    expect(message?.heartbeat).not.toBeNull();
    expect(message?.results).toHaveLength(1);
    expect(rig.turn()).toBeNull();
  });

  it('gives a link up on which nothing was heard for a lease', () => {
    const rig = new WorkerRig().ready();
    for (let beat = 1; beat <= 5; beat += 1) expect(reported(rig.after(5_000))).toHaveLength(1);
    const events = rig.after(5_000);
    expect(kindsOf(events)).toEqual(['LinkLost']);
    expect(eventsOf(events, 'LinkLost')[0]?.failure.message).toContain('silent for 30000 ms');
  });

  it('keeps a link on which only acknowledgements come', () => {
    const rig = new WorkerRig().ready();
    for (let beat = 1; beat <= 20; beat += 1) {
      expect(kindsOf(rig.after(5_000))).toEqual(['Reported']);
      rig.hear({ heartbeatAck: beat });
    }
  });
});

describe('coming back', () => {
  it('offers everything it holds and reports nothing until the coordinator has answered', () => {
    const rig = busyNode();
    expect(rig.leaseKinds()).toEqual(['scored', 'running', 'running', 'ready']);
    rig.loseLink();
    rig.after(100);
    const [hello] = reported(rig.join(2));
    expect(hello?.hello).toEqual([1, 2, 3, 4].map((n) => ({ token: token(n), job: jobA, first: n * 10, count: 2 })));
    expect({ ...hello, hello: null }).toEqual(emptyNodeMessage);
    rig.score(0);
    expect(rig.turn()).toBeNull();
    // Their tokens mean nothing to the coordinator yet, so that no heartbeat names them.
    expect(reported(rig.after(5_000))[0]?.heartbeat?.held).toEqual([]);
  });

  it('goes on under new tokens, drops what was not adopted, and says again what was said', () => {
    const rig = busyNode();
    rig.loseLink();
    rig.after(100);
    rig.join(2);
    const adoption = [1, 2, 4].map((n) => ({ oldToken: token(n), newToken: token(n + 100, 2) }));
    const events = rig.hear({ adoption });
    expect(eventsOf(events, 'Forgotten')).toMatchObject([{ token: token(3), reason: 'not-adopted' }]);
    expect(eventsOf(events, 'HostStopping')).toMatchObject([{ slot: 0, how: 'kill' }]);
    const message = rig.turn();
    expect(message?.results.map((result) => result.token)).toEqual([token(101, 2)]);
    expect(message?.started).toEqual([token(102, 2)]);
    expect(message?.returned).toEqual([]);
    expect(rig.turn()).toBeNull();
    rig.hear({ committed: [token(101, 2)] });
    expect(rig.state.scored.size).toBe(0);
  });

  it('keeps what it holds under the same tokens when the coordinator was only unreachable', () => {
    const rig = busyNode();
    rig.loseLink();
    rig.after(100);
    rig.join(1);
    const events = rig.hear({ adoption: [1, 2, 3, 4].map((n) => ({ oldToken: token(n), newToken: token(n) })) });
    expect(eventsOf(events, 'Adopted')).toEqual([]);
    expect(rig.leaseKinds()).toEqual(['scored', 'running', 'running', 'ready']);
  });

  it('forgets what was committed while it was away', () => {
    const rig = busyNode();
    rig.loseLink();
    rig.after(100);
    rig.join(2);
    const events = rig.hear({ committed: [token(1)], adoption: [] });
    expect(rig.leaseKinds()).toEqual([]);
    expect(eventsOf(events, 'Forgotten').map(({ reason }) => reason)).toEqual(Array(4).fill('not-adopted'));
  });

  it('gives back an adopted lease that it dropped in between', () => {
    const rig = busyNode();
    rig.loseLink();
    rig.after(100);
    rig.join(2);
    rig.hear({ revoked: [token(4)] });
    rig.hear({ adoption: [1, 2, 3, 4].map((n) => ({ oldToken: token(n), newToken: token(n, 2) })) });
    expect(rig.turn()?.returned).toEqual([token(4, 2)]);
  });

  it('goes on scoring while it is away, and reports failures afterwards under the new token', () => {
    const rig = busyNode();
    rig.loseLink();
    rig.fail(1, 'SCORER_FAILED', false);
    rig.score(0);
    expect(rig.leaseKinds()).toEqual(['scored', 'failed', 'scored', 'running']);
    rig.after(100);
    rig.join(2);
    rig.hear({ adoption: [1, 2, 3, 4].map((n) => ({ oldToken: token(n), newToken: token(n, 2) })) });
    const message = rig.turn();
    expect(message?.failures.map((report) => report.token)).toEqual([token(2, 2)]);
    expect(new Set(message?.results.map((report) => report.token.counter))).toEqual(new Set([1, 3]));
    expect(message?.started).toEqual([token(4, 2)]);
    expect(rig.leaseKinds()).toEqual(['scored', 'scored', 'running']);
  });

  it('asks anew for what it needs: what was asked on the old stream is void', () => {
    const rig = new WorkerRig(2).ready();
    rig.loseLink();
    rig.after(100);
    expect(reported(rig.join(2))[0]?.want).toBe(2 + limits.workAheadMin);
  });

  it('uploads again what had been uploaded: a restarted coordinator does not have it', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    const [upload] = eventsOf(rig.score(0, limits.inlineResultBytesMax + 1), 'UploadStarted');
    rig.tell({ kind: 'uploaded', work: 1, upload: upload?.upload ?? 0 });
    expect(rig.turn()?.results).toMatchObject([{ token: token(1), isUploaded: true }]);
    rig.loseLink();
    rig.after(100);
    expect(eventsOf(rig.join(2), 'UploadStarted')).toEqual([]);
    const events = rig.hear({ adoption: [{ oldToken: token(1), newToken: token(9, 2) }] });
    expect(eventsOf(events, 'UploadStarted')).toMatchObject([{ work: 1, token: token(9, 2) }]);
    // Word of the first upload means nothing any more.
    expect(rig.tell({ kind: 'uploaded', work: 1, upload: upload?.upload ?? 0 })).toEqual([]);
    expect(rig.turn()?.results).toEqual([]);
  });

  it('ends a job that the coordinator does not name any more, after a while and not while a lease is left', () => {
    const rig = new WorkerRig(1).ready(jobSpec(jobA), jobSpec(jobB));
    rig.stage(grant(1));
    rig.hostsReady();
    rig.score();
    rig.hear({ committed: [token(1)] });
    rig.loseLink();
    rig.after(100);
    rig.join(2);
    rig.hear({ jobs: [jobSpec(jobB)] });
    for (let beat = 1; beat < 12; beat += 1) {
      expect(eventsOf(rig.after(5_000), 'JobEnded')).toEqual([]);
      rig.hear({ heartbeatAck: beat });
    }
    const events = rig.after(5_000);
    expect(eventsOf(events, 'JobEnded')).toEqual([{ kind: 'JobEnded', job: jobA }]);
    expect(eventsOf(events, 'HostStopping')).toMatchObject([{ how: 'stop' }]);
    expect([...rig.state.jobs.keys()]).toEqual([jobB]);
  });
});
