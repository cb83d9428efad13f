/** When runs of schedules are due and begin, by a clock of the test's own. */
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { monotonicMs } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Log } from '../../common/io/log.ts';
import type { Invocations, InvokeBody } from '../../coordinator/api/invocations.ts';
import type { Command } from '../../coordinator/core/commands.ts';
import { dueRuns } from '../../coordinator/core/due-runs.ts';
import { newLedger, type Ledger } from '../../coordinator/core/ledger.ts';
import type { ScheduleResource } from '../../coordinator/core/resources.ts';
import { cronTimes } from '../../coordinator/schedules/cron.ts';
import { runName, ScheduleClock } from '../../coordinator/schedules/schedule-clock.ts';
import { ScheduleDesk } from '../../coordinator/schedules/schedule-desk.ts';
import { failing } from '../helpers/failing.ts';

const at = (text: string): number => Date.parse(text);

/** Due times after `from` up to `to`, as ISO times without seconds. */
function between(cron: string, zone: string, from: string, to: string): readonly string[] {
  const times = cronTimes(cron, zone);
  const found: string[] = [];
  for (let ms = times.after(at(from)); ms !== null && ms <= at(to); ms = times.after(ms))
    found.push(new Date(ms).toISOString().slice(0, 16));
  return found;
}

describe('a cron expression in Europe/Berlin', () => {
  it('is due at the end of the hour that is left out when clocks go forward', () => {
    expect(between('30 2 * * *', 'Europe/Berlin', '2026-03-28T00:00Z', '2026-03-30T12:00Z')).toEqual([
      ...['2026-03-28T01:30', '2026-03-29T01:00', '2026-03-30T00:30'],
    ]);
  });

  it('is due once when clocks go back, and every hour when it says every hour', () => {
    expect(between('30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00Z', '2026-10-26T12:00Z')).toEqual([
      ...['2026-10-25T00:30', '2026-10-26T01:30'],
    ]);
    expect(between('0 * * * *', 'Europe/Berlin', '2026-10-24T23:30Z', '2026-10-25T03:00Z')).toEqual([
      ...['2026-10-25T00:00', '2026-10-25T01:00', '2026-10-25T02:00', '2026-10-25T03:00'],
    ]);
  });

  it('has the same times looked at from behind', () => {
    for (const [from, to] of [
      ['2026-03-25T00:00Z', '2026-04-02T00:00Z'],
      ['2026-10-20T00:00Z', '2026-10-30T00:00Z'],
    ] as const) {
      for (const cron of ['30 2 * * *', '*/20 1-3 * * *', '0 0 * * 1', '15 */5 * * *']) {
        const forward = between(cron, 'Europe/Berlin', from, to);
        const back = cronTimes(cron, 'Europe/Berlin').upTo(at(to), forward.length);
        expect([...back].reverse().map((ms) => new Date(ms).toISOString().slice(0, 16))).toEqual(forward);
      }
    }
    // What is due right now is due.
    expect(cronTimes('0 3 * * *', 'UTC').upTo(at('2026-11-22T03:00Z'), 1)).toEqual([at('2026-11-22T03:00Z')]);
  });

  it.each([
    ['* * * * * *', 'UTC', 'five fields'],
    ['61 * * * *', 'UTC', 'minute'],
    ['0 0 31 2 *', 'UTC', 'never due'],
    ['0 3 * * *', 'Mars/Olympus', 'Mars'],
    ['', 'UTC', 'five fields'],
  ])('%j in %j is refused', (cron, zone, text) => {
    expect(() => cronTimes(cron, zone)).toThrow(failing('REQUEST_INVALID', text));
  });
});

const daily = cronTimes('0 3 * * *', 'UTC');
const base = { isPaused: false, lastDueMs: at('2026-11-18T03:00Z') } as const;
const days = (...found: readonly number[]): readonly string[] =>
  found.map((ms) => new Date(ms).toISOString().slice(8, 10));

describe('after three due times that nobody dealt with', () => {
  const now = at('2026-11-21T09:00Z');
  it.each([
    ['skip', [], 3],
    ['once', ['21'], 2],
    ['all', ['19', '20', '21'], 0],
  ] as const)('%s begins %j', (missed, runs, skipped) => {
    const due = dueRuns({ ...base, missed }, now, daily);
    expect([days(...due.runs), due.skipped, due.dealtWithMs]).toEqual([runs, skipped, at('2026-11-21T03:00Z')]);
  });

  it('one that is due now is begun in any case, and once is enough for all', () => {
    for (const [missed, runs] of [
      ['skip', ['21']],
      ['once', ['21']],
      ['all', ['19', '20', '21']],
    ] as const)
      expect(days(...dueRuns({ ...base, missed }, at('2026-11-21T03:00:59Z'), daily).runs)).toEqual(runs);
  });

  it('nothing is due while it is paused, before its time, or when the clock was set back', () => {
    const none = { runs: [], dealtWithMs: null, skipped: 0 };
    expect(dueRuns({ ...base, missed: 'all', isPaused: true }, now, daily)).toEqual(none);
    expect(dueRuns({ ...base, missed: 'all' }, at('2026-11-19T02:59:59Z'), daily)).toEqual(none);
    expect(dueRuns({ ...base, missed: 'all' }, at('2026-11-01T00:00Z'), daily)).toEqual(none);
  });

  it('of very many the latest are begun', () => {
    const minutes = cronTimes('* * * * *', 'UTC');
    const due = dueRuns({ ...base, missed: 'all' }, now, minutes);
    expect([due.runs.length, due.runs.at(-1), due.skipped]).toEqual([limits.scheduleCatchUpMax, now, 1]);
  });
});

const silence = (): undefined => undefined;
const log: Log = { debug: silence, info: silence, warn: silence, error: silence, with: () => log };
const schedule: ScheduleResource = {
  ...{ kind: 'schedule', name: 'Nightly', cron: '0 3 * * *', timeZone: 'UTC', endpoint: 'digits', deployment: null },
  ...{ body: { input: '/data/scans', priority: 5 }, isPaused: false, missed: 'all', lastRun: null },
  ...{ lastDueMs: base.lastDueMs, createdMs: 0, createdBy: 'ann' },
};

/** A coordinator of which only the registry is there: puts are at once, durable when asked. */
class Rig {
  readonly ledger: Ledger = newLedger({ heartbeatMs: null });
  now = at('2026-11-21T09:00Z');
  /** By key: what was invoked. */
  readonly jobs = new Map<string, { readonly body: InvokeBody; readonly user: string }>();
  asked = 0;
  /** The process ends at so many puts; −1: never. */
  putsLeft = -1;
  refusal: BatchError | null = null;
  readonly loop = {
    ledger: this.ledger,
    handle: (command: Command): void => {
      if (command.kind !== 'put-resource') throw new Error(`nobody asks for ${command.kind}`);
      if (this.putsLeft === 0) throw new Error('killed');
      this.putsLeft -= 1;
      this.ledger.registry.put(command.resource);
    },
    durable: () => Promise.resolve(),
  };
  readonly invocations: Invocations = {
    invoke: async (_endpoint, body, { user }, key) => {
      await Promise.resolve();
      if (this.refusal) throw this.refusal;
      this.asked += 1;
      const isNew = !this.jobs.has(key ?? '');
      this.jobs.set(key ?? '', { body, user });
      return { job: { name: body.job_name } as never, isNew };
    },
  };
  readonly stopped = new AbortController().signal;
  readonly clock = { wall: () => this.now, monotonic: () => monotonicMs(0) };
  look = async (): Promise<void> => {
    await new ScheduleClock({ ...this, log }).look();
  };
  get schedule(): ScheduleResource {
    const [found] = this.ledger.registry.ofKind('schedule');
    if (!found) throw new Error('there is no schedule');
    return found.resource;
  }
}

describe('runs', () => {
  let rig: Rig;
  beforeEach(() => {
    rig = new Rig();
    rig.ledger.registry.put(schedule);
  });

  it('begin once each, under names that say schedule and time, as whoever made the schedule', async () => {
    await rig.look();
    await rig.look();
    expect([...rig.jobs.values()].map(({ body, user }) => [body.job_name, body.input, body.priority, user])).toEqual([
      ['nightly-20261119t030000z', '/data/scans', 5, 'ann'],
      ['nightly-20261120t030000z', '/data/scans', 5, 'ann'],
      ['nightly-20261121t030000z', '/data/scans', 5, 'ann'],
    ]);
    expect(rig.asked).toBe(3);
    const dueMs = at('2026-11-21T03:00Z');
    expect([rig.schedule.lastDueMs, rig.schedule.lastRun]).toEqual([
      dueMs,
      { dueMs, job: runName('nightly', dueMs), error: null },
    ]);
    rig.now = at('2026-11-22T03:00:01Z');
    await rig.look();
    expect(rig.jobs.size).toBe(4);
  });

  it('are not begun twice when the process ends between a run and its note', async () => {
    for (let puts = 0; puts < 4; puts += 1) {
      rig.putsLeft = puts;
      await rig.look().catch(silence);
    }
    rig.putsLeft = -1;
    await rig.look();
    expect([...rig.jobs.keys()]).toEqual(
      ['19', '20', '21'].map((day) => `schedule/Nightly/${at(`2026-11-${day}T03:00Z`)}`),
    );
    expect(rig.asked).toBeGreaterThan(3);
    expect(rig.schedule.lastDueMs).toBe(at('2026-11-21T03:00Z'));
  });

  it('that are refused are told, and the next is begun all the same', async () => {
    rig.refusal = new BatchError('INPUT_NOT_FOUND', 'there is no /data/scans');
    await rig.look();
    const error = { code: 'INPUT_NOT_FOUND', message: 'there is no /data/scans' };
    expect(rig.schedule.lastRun).toEqual({ dueMs: at('2026-11-21T03:00Z'), job: null, error });
    rig.refusal = null;
    rig.now = at('2026-11-22T03:00Z');
    await rig.look();
    expect([...rig.jobs.values()].map(({ body }) => body.job_name)).toEqual(['nightly-20261122t030000z']);
  });

  it('keep what was changed meanwhile', async () => {
    const { invoke } = rig.invocations;
    const invocations: Invocations = {
      invoke: async (...given) => {
        rig.ledger.registry.put({ ...rig.schedule, isPaused: true });
        return await invoke(...given);
      },
    };
    await new ScheduleClock({ ...rig, invocations, log }).look();
    expect(rig.schedule.isPaused).toBe(true);
    await rig.look();
    expect(rig.asked).toBe(3);
  });

  it('of one schedule wait for nothing that another one waits for', async () => {
    rig.ledger.registry.put({ ...schedule, name: 'Silent', endpoint: 'silent', missed: 'skip' });
    rig.ledger.registry.put({ ...schedule, name: 'behind', missed: 'skip' });
    rig.now = at('2026-11-21T03:00:30Z');
    const { invoke } = rig.invocations;
    let answer: () => void = silence;
    const invocations: Invocations = {
      invoke: async (endpoint, ...given) => {
        if (endpoint === 'silent') await new Promise<void>((resolve) => (answer = resolve));
        return await invoke(endpoint, ...given);
      },
    };
    const clock = new ScheduleClock({ ...rig, invocations, log });
    const look = clock.look();
    await vi.waitFor(() => expect(rig.jobs.size).toBe(4));
    expect([...rig.jobs.keys()].filter((key) => key.includes('behind'))).toHaveLength(1);
    // The next looks leave it alone, and serve the others.
    rig.now = at('2026-11-22T03:00:30Z');
    await clock.look();
    expect(rig.jobs.size).toBe(6);
    answer();
    await look;
    expect([...rig.jobs.keys()].filter((key) => key.includes('Silent'))).toHaveLength(1);
  });

  it('that are under way at the end are not waited for, and begin after it', async () => {
    let refuse: (error: unknown) => void = silence;
    const invocations: Invocations = {
      invoke: () => new Promise((_, reject) => (refuse = reject)),
    };
    const end = new AbortController();
    const look = new ScheduleClock({ ...rig, invocations, log, stopped: end.signal }).look();
    end.abort();
    refuse(new Error('the process ends'));
    await look;
    expect([rig.schedule.lastRun, rig.schedule.lastDueMs]).toEqual([null, base.lastDueMs]);
    await rig.look();
    expect(rig.jobs.size).toBe(3);
  });

  it('that were due while it was paused are not missed ones', async () => {
    const desk = new ScheduleDesk(rig.loop as never, rig.clock);
    expect((await desk.pauseSchedule('nightly', true)).view.next_runs).toEqual([]);
    rig.now = at('2026-12-01T09:00Z');
    await rig.look();
    const { view } = await desk.pauseSchedule('nightly', false);
    expect(view.next_runs.slice(0, 2)).toEqual(['2026-12-02T03:00:00.000Z', '2026-12-03T03:00:00.000Z']);
    await rig.look();
    expect(rig.asked).toBe(0);
  });

  it('that were due during a pause which a put ends are not missed ones either', async () => {
    rig.ledger.registry.put({ kind: 'endpoint', name: 'digits' } as never);
    const desk = new ScheduleDesk(rig.loop as never, rig.clock);
    const put = async (isPaused: boolean) => {
      const said = { cron: schedule.cron, time_zone: 'UTC', endpoint_name: 'digits', deployment_name: null };
      const request = { ...said, body: schedule.body, missed: 'all', is_paused: isPaused } as const;
      return await desk.putSchedule('nightly', request, { user: 'ann', role: 'admin' }, null);
    };
    await put(true);
    rig.now = at('2026-12-01T09:00Z');
    expect((await put(false)).view.is_paused).toBe(false);
    await rig.look();
    expect(rig.asked).toBe(0);
    // One that was not paused goes on with what it has missed.
    rig.now = at('2026-12-02T09:00Z');
    await put(false);
    await rig.look();
    expect(rig.asked).toBe(1);
  });
});
