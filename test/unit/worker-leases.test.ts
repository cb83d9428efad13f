import { noCircumstances } from '../../common/core/cluster-messages.ts';
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
  resultOf,
  summaryOf,
  token,
  WorkerRig,
} from '../helpers/worker-rig.ts';

describe('a lease', () => {
  it('is staged while its host starts, scored, reported in one message, and forgotten when committed', () => {
    const rig = new WorkerRig().ready();
    const granted = rig.hear({ grants: [grant(1)] });
    expect(kindsOf(granted)).toEqual(['Heard', 'LeaseGranted', 'ArtifactsWanted', 'StagingStarted']);
    expect(kindsOf(rig.tell({ kind: 'artifacts-localised', job: jobA }))).toEqual(['ArtifactsPresent', 'HostStarted']);
    expect(kindsOf(rig.tell({ kind: 'staged', work: 1, failed: [] }))).toEqual(['Staged']);
    expect(kindsOf(rig.tell({ kind: 'host-ready', slot: 0, host: 1 }))).toEqual(['HostReady', 'AttemptStarted']);
    expect(rig.turn()).toEqual({ ...emptyNodeMessage, started: [token(1)] });
    rig.now = (rig.now + 100) as typeof rig.now;
    expect(kindsOf(rig.score())).toEqual(['Scored']);
    const summary = summaryOf(2);
    const result = { token: token(1), ...resultOf(summary, 100), isUploaded: false };
    expect(rig.turn()).toEqual({ ...emptyNodeMessage, want: 1, results: [result] });
    expect(rig.turn()).toBeNull();
    expect(rig.hear({ committed: [token(1)] }).at(-1)).toMatchObject({ kind: 'Forgotten', reason: 'committed' });
    expect(rig.state.leases.size).toBe(0);
    expect(rig.state.byToken.size).toBe(0);
    expect(rig.state.heldResultBytes).toBe(0);
    expect(rig.turn()).toBeNull();
  });

  it('never says that it started when it ended within the same turn', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    rig.score();
    const message = rig.turn();
    expect(message?.started).toEqual([]);
    expect(message?.results).toHaveLength(1);
  });

  it('is one lease when it is granted twice', () => {
    const rig = new WorkerRig().ready();
    rig.hear({ grants: [grant(1)] });
    expect(kindsOf(rig.hear({ grants: [grant(1)] }))).toEqual(['Heard']);
  });

  it('goes back when its job was never announced', () => {
    const rig = new WorkerRig().ready();
    rig.turn();
    rig.hear({ grants: [grant(1, { job: jobB })] });
    expect(rig.turn()).toEqual({ ...emptyNodeMessage, returned: [token(1)] });
  });

  it('starts in the order of the input, whatever the order of staging', () => {
    const rig = new WorkerRig().ready();
    rig.hear({ grants: [grant(1, { first: 30 }), grant(2, { first: 10 }), grant(3, { first: 20 })] });
    rig.tell({ kind: 'artifacts-localised', job: jobA });
    for (const work of [3, 1, 2]) rig.tell({ kind: 'staged', work, failed: [] });
    rig.hostsReady();
    const order = [1, 2, 3].map(() => eventsOf(rig.score(), 'Scored')[0]?.work);
    expect(order).toEqual([2, 3, 1]);
  });

  it.each([
    ['granted', (rig: WorkerRig) => rig.hear({ grants: Array.from({ length: 40 }, (_, n) => grant(n + 1)) })],
    ['ready', (rig: WorkerRig) => rig.stage(grant(40))],
  ])('that is %s is dropped when revoked, and nothing is said of it', (kind, bring) => {
    const rig = new WorkerRig().ready();
    bring(rig);
    rig.turn();
    expect(rig.leaseKinds().at(-1)).toBe(kind);
    const events = rig.hear({ revoked: [token(40)] });
    expect(eventsOf(events, 'Forgotten')).toMatchObject([{ token: token(40), reason: 'revoked' }]);
    expect(eventsOf(events, 'HostStopping')).toEqual([]);
    expect(rig.turn()?.returned ?? []).toEqual([]);
  });

  it('that runs costs its host when revoked, and late word of it is passed over', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    const events = rig.hear({ revoked: [token(1)] });
    expect(kindsOf(events)).toEqual(['Heard', 'HostStopping', 'Forgotten']);
    const late = { slot: 0, host: 1, work: 1 };
    expect(rig.tell({ kind: 'scored', ...late, result: resultOf(summaryOf(2), 1), isQuiet: false })).toEqual([]);
    expect(rig.slotKinds()).toEqual(['stopping']);
    expect(kindsOf(rig.tell({ kind: 'host-ended', slot: 0, host: 1 }))).toEqual(['SlotEmptied']);
    expect(rig.tell({ kind: 'host-ended', slot: 0, host: 1 })).toEqual([]);
  });

  it('is forgotten when its result is refused', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    rig.score();
    rig.turn();
    const events = rig.hear({ refused: [{ token: token(1), failure: failure('LEASE_STALE') }] });
    expect(eventsOf(events, 'Forgotten')).toMatchObject([{ reason: 'refused' }]);
  });

  it('is forgotten once its failure is told, and its host serves on', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1), grant(2));
    rig.hostsReady();
    rig.now = (rig.now + 1_500) as typeof rig.now;
    expect(kindsOf(rig.fail(0, 'SCORER_FAILED', false, 1))).toEqual(['AttemptFailed', 'AttemptStarted']);
    const [report] = rig.turn()?.failures ?? [];
    expect(report).toEqual({
      token: token(1),
      failure: failure('SCORER_FAILED'),
      fileIndex: 1,
      circumstances: { ...noCircumstances, runSeconds: 1.5 },
    });
    expect(rig.leaseKinds()).toEqual(['running']);
  });

  it.each(['SCORER_TIMEOUT', 'SCORER_CRASHED'] as const)('that ends with %s has its host replaced', (code) => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1), grant(2));
    rig.hostsReady();
    const events = rig.fail(0, code, true);
    expect(kindsOf(events)).toEqual(['AttemptFailed', 'HostStarted']);
    expect(eventsOf(events, 'HostStarted')[0]?.host).toBe(2);
    expect(rig.turn()?.failures).toMatchObject([{ failure: { code } }]);
  });

  it('whose host was found dead before it began waits for the next host, and nothing is reported', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    const events = rig.tell({ kind: 'attempt-unstarted', slot: 0, host: 1, work: 1 });
    expect(kindsOf(events)).toEqual(['AttemptUndone', 'HostStarted']);
    expect(rig.turn()).toBeNull();
    expect(rig.leaseKinds()).toEqual(['ready']);
  });
});

describe('inputs', () => {
  it('are staged some at a time', () => {
    const rig = new WorkerRig().ready();
    const events = rig.hear({ grants: Array.from({ length: 100 }, (_, n) => grant(n + 1)) });
    expect(eventsOf(events, 'StagingStarted').map(({ work }) => work)).toEqual(
      Array.from({ length: limits.stagingLeasesMax }, (_, n) => n + 1),
    );
    expect(kindsOf(rig.tell({ kind: 'staged', work: 5, failed: [] }))).toEqual(['Staged', 'StagingStarted']);
  });

  it('that cannot be had fail alone: their neighbours are scored and counts are of the whole mini-batch', () => {
    const rig = new WorkerRig().ready();
    rig.hear({ grants: [grant(1, { files: 4 })] });
    rig.tell({ kind: 'artifacts-localised', job: jobA });
    const failed = [{ index: 1, code: 'INPUT_UNREADABLE', message: 'EACCES' }] as const;
    rig.tell({ kind: 'staged', work: 1, failed });
    rig.hostsReady();
    const summary = {
      ...summaryOf(3),
      fileRows: [1, 0, 2],
      failed: [{ index: 1, code: 'INPUT_DECODE_FAILED', message: '' }],
    } as const;
    rig.tell({ kind: 'scored', slot: 0, host: 1, work: 1, result: resultOf(summary, 9), isQuiet: false });
    expect(rig.turn()?.results[0]?.summary).toMatchObject({
      fileRows: [1, 0, 0, 2],
      failed: [failed[0], { index: 2, code: 'INPUT_DECODE_FAILED' }],
    });
  });

  it('of which none can be had make a result without a host', () => {
    const rig = new WorkerRig().ready();
    rig.hear({ grants: [grant(1)] });
    const failed = [1, 0].map((index) => ({ index, code: 'INPUT_CHANGED', message: '' }) as const);
    expect(kindsOf(rig.tell({ kind: 'staged', work: 1, failed }))).toEqual(['Staged', 'Scored']);
    const [result] = rig.turn()?.results ?? [];
    expect(result).toMatchObject({ bytes: 0, crc32: 0, isUploaded: false });
    expect(result?.summary).toMatchObject({ rows: 0, attribution: 'file', fileRows: [0, 0], schema: null });
    expect(result?.summary.failed.map(({ index }) => index)).toEqual([0, 1]);
    expect(rig.slotKinds()).toEqual(['empty']);
  });

  it('wait for the coordinator when it cannot be reached, a little longer each time, and not once it is back', () => {
    const rig = new WorkerRig().ready();
    rig.hear({ grants: [grant(1)] });
    const lost = failure('COORDINATOR_UNREACHABLE');
    for (const expected of [250, 500, 1_000]) {
      expect(kindsOf(rig.tell({ kind: 'staging-failed', work: 1, failure: lost }))).toEqual(['StagingPutOff']);
      expect(rig.wakeInMs).toBe(expected);
      expect(kindsOf(rig.after(expected))).toEqual(['StagingStarted']);
    }
    rig.tell({ kind: 'staging-failed', work: 1, failure: lost });
    rig.loseLink();
    rig.after(100);
    expect(kindsOf(rig.join())).toContain('StagingStarted');
  });

  it('that fail for want of disk are a failed attempt, which the coordinator judges', () => {
    const rig = new WorkerRig().ready();
    rig.hear({ grants: [grant(1)] });
    rig.tell({ kind: 'staging-failed', work: 1, failure: failure('DISK_FULL') });
    expect(rig.turn()?.failures).toMatchObject([{ token: token(1), failure: { code: 'DISK_FULL' }, fileIndex: -1 }]);
    expect(rig.state.leases.size).toBe(0);
  });
});

describe('large results', () => {
  const large = limits.inlineResultBytesMax + 1;

  it('go inline up to the limit and are uploaded above it, before they are reported', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1), grant(2));
    rig.hostsReady();
    expect(eventsOf(rig.score(0, large - 1), 'UploadStarted')).toEqual([]);
    expect(eventsOf(rig.score(0, large), 'UploadStarted')).toMatchObject([{ work: 2, upload: 1, token: token(2) }]);
    expect(rig.turn()?.results.map((result) => result.token)).toEqual([token(1)]);
    rig.tell({ kind: 'uploaded', work: 2, upload: 1 });
    expect(rig.turn()?.results).toMatchObject([{ token: token(2), bytes: large, isUploaded: true }]);
  });

  it('are tried again after a while when their connection breaks', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    rig.score(0, large);
    const lost = failure('COORDINATOR_UNREACHABLE');
    expect(kindsOf(rig.tell({ kind: 'upload-failed', work: 1, upload: 1, failure: lost }))).toEqual(['UploadPutOff']);
    expect(rig.wakeInMs).toBe(250);
    expect(eventsOf(rig.after(250), 'UploadStarted')).toMatchObject([{ upload: 2 }]);
    rig.tell({ kind: 'upload-failed', work: 1, upload: 2, failure: lost });
    expect(rig.wakeInMs).toBe(500);
  });

  it('are told of while they cannot be sent, and when they are', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    rig.score(0, large);
    const lost = failure('COORDINATOR_UNREACHABLE');
    rig.tell({ kind: 'upload-failed', work: 1, upload: 1, failure: lost });
    expect(rig.turn()?.preparations ?? []).toEqual([]);
    rig.after(250);
    rig.tell({ kind: 'upload-failed', work: 1, upload: 2, failure: lost });
    expect(rig.turn()?.preparations).toMatchObject([
      { text: "results that cannot be sent yet: 1; the node's log says why" },
    ]);
    rig.after(500);
    rig.tell({ kind: 'uploaded', work: 1, upload: 3 });
    expect(rig.turn()?.preparations).toMatchObject([{ text: '' }]);
  });

  it('are forgotten when nobody wants them any more', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1));
    rig.hostsReady();
    rig.score(0, large);
    const stale = { kind: 'upload-failed', work: 1, upload: 1, failure: failure('LEASE_STALE') } as const;
    expect(eventsOf(rig.tell(stale), 'Forgotten')).toMatchObject([{ reason: 'refused' }]);
    expect(rig.tell(stale)).toEqual([]);
  });

  it('that wait for their commit hold the slots back when they are too many', () => {
    const rig = new WorkerRig().ready();
    rig.stage(grant(1), grant(2), grant(3));
    rig.hostsReady();
    rig.score(0, limits.spoolBytesMax);
    expect(rig.slotKinds()).toEqual(['running']);
    rig.score(0, 1);
    expect(rig.slotKinds()).toEqual(['idle']);
    expect(rig.turn()?.want ?? 0).toBe(0);
    rig.hear({ committed: [token(1)] });
    expect(rig.slotKinds()).toEqual(['running']);
  });

  it('do so sooner where they wait in memory', () => {
    const rig = new WorkerRig().ready();
    const count = limits.heldResultBytesMax / limits.spoolMemoryBytesMax;
    for (let at = 1; at <= count + 2; at += 16) {
      rig.stage(...Array.from({ length: 16 }, (_, n) => grant(at + n)));
      if (at === 1) rig.hostsReady();
      for (let n = at; n < at + 16 && n <= count; n += 1) rig.score(0, limits.spoolMemoryBytesMax);
    }
    expect(rig.slotKinds()).toEqual(['running']);
    rig.score(0, 1);
    expect([rig.slotKinds(), rig.state.heldMemoryBytes]).toEqual([['idle'], limits.heldResultBytesMax + 1]);
  });
});

describe('one message', () => {
  it('holds everything of a turn, and inline results up to a bound; the rest goes next', () => {
    const rig = new WorkerRig().ready();
    const count = 100;
    rig.stage(...Array.from({ length: 32 }, (_, n) => grant(n + 1)));
    rig.stage(...Array.from({ length: 32 }, (_, n) => grant(n + 33)));
    rig.stage(...Array.from({ length: count - 64 }, (_, n) => grant(n + 65)));
    for (const work of [...rig.state.staging]) rig.tell({ kind: 'staged', work, failed: [] });
    rig.hostsReady();
    for (let n = 0; n < count; n += 1) rig.score(0, limits.inlineResultBytesMax);
    const perMessage = limits.reportInlineBytesMax / limits.inlineResultBytesMax;
    expect(rig.turn()?.results).toHaveLength(perMessage);
    expect(rig.turn()?.results).toHaveLength(count - perMessage);
    expect(rig.turn()).toBeNull();
  });
});

describe('asking for work', () => {
  it('asks for free slots and some ahead, once', () => {
    const rig = new WorkerRig(4);
    rig.join();
    expect(rig.state.link).toMatchObject({ asked: 4 + limits.workAheadMin });
    expect(rig.turn()).toBeNull();
    rig.hear({ jobs: [jobSpec()], grants: [grant(1)] });
    expect(rig.turn()).toBeNull();
    expect(rig.state.link).toMatchObject({ asked: 4 });
  });

  it('asks for more ahead the quicker its mini-batches are, up to the limit', () => {
    const rig = new WorkerRig(2).ready();
    const wanted: number[] = [];
    for (const ms of [1_000, 10, 0.001]) {
      rig.state.runSeconds = ms / 1_000;
      rig.state.stageSeconds = 0;
      wanted.push((rig.turn()?.want ?? 0) + 0);
    }
    // 50 ms of work on two slots: at most one mini-batch of a second, ten of ten milliseconds.
    expect(wanted).toEqual([0, 10 - limits.workAheadMin, limits.workAheadMax - 10]);
  });

  it('asks for more ahead where staging takes long', () => {
    const rig = new WorkerRig(2).ready();
    rig.state.runSeconds = 1;
    rig.state.stageSeconds = 2;
    expect(rig.turn()?.want).toBe(Math.ceil(2 * 2.05) - limits.workAheadMin);
  });
});

describe('a job that is canceled with a grace', () => {
  it('gives back what no slot has begun, and scores on what one has', () => {
    const rig = new WorkerRig(1).ready();
    rig.stage(grant(1), grant(2));
    rig.hostsReady();
    rig.hear({ jobs: [jobSpec(jobB)], grants: [grant(3, { job: jobB })] });
    const events = rig.hear({ drainedJobs: [jobA] });
    expect(eventsOf(events, 'Forgotten')).toMatchObject([{ token: token(2), reason: 'returned' }]);
    expect(eventsOf(events, 'HostStopping')).toEqual([]);
    expect(rig.turn()?.returned).toEqual([token(2)]);
    expect([...rig.state.byToken.keys()]).toEqual(['1.1', '1.3']);
  });

  it('that goes on under other settings gets new hosts', () => {
    const rig = new WorkerRig(2).ready();
    rig.stage(grant(1));
    rig.hostsReady();
    expect(kindsOf(rig.hear({ jobs: [jobSpec(jobA)] }))).not.toContain('JobEnded');
    const spec = jobSpec(jobA);
    const other = { ...spec, settings: { ...spec.settings, timeoutMs: 7 } };
    const kinds = kindsOf(rig.hear({ jobs: [other] }));
    expect(kinds).toContain('HostStopping');
    expect(kinds.indexOf('JobEnded')).toBeLessThan(kinds.indexOf('JobAnnounced'));
    expect(rig.state.jobs.get(jobA)?.spec.settings.timeoutMs).toBe(7);
  });
});

describe('the end of a job', () => {
  it('drops its leases, stops its hosts, removes its files', () => {
    const rig = new WorkerRig(3).ready();
    rig.stage(grant(1), grant(2));
    rig.hostsReady();
    rig.score(0);
    rig.stage(grant(3));
    rig.stage(grant(4));
    const events = rig.hear({ endedJobs: [jobA] });
    expect(eventsOf(events, 'Forgotten').map(({ reason }) => reason)).toEqual(Array(4).fill('job-ended'));
    expect(eventsOf(events, 'HostStopping').map(({ how }) => how)).toEqual(['kill', 'kill', 'kill']);
    expect(kindsOf(events).at(-1)).toBe('JobEnded');
    expect(rig.turn()?.returned ?? []).toEqual([]);
    expect(rig.state.jobs.size).toBe(0);
    expect(kindsOf(rig.hear({ endedJobs: [jobA] }))).toEqual(['Heard']);
  });
});
