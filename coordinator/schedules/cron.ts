/** Cron expressions: five fields as `crontab` has them, or a name such as @daily, in a time zone. */
import { Cron } from 'croner';
import { BatchError } from '../../common/core/batch-error.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { DueTimes } from '../core/due-runs.ts';

/**
 * When clocks go forward, what is due in the hour that is left out is due at its end; when they go back, what has one time a day is
 * due once. @throws REQUEST_INVALID for what is no cron expression, no time zone, or never due
 */
export function cronTimes(expression: string, timeZone: string): DueTimes {
  let cron: Cron;
  try {
    // It only tells times: nothing is started by it.
    cron = new Cron(expression, { timezone: timeZone, mode: '5-part', paused: true });
    if (cron.nextRun() === null) throw new Error('it is never due');
  } catch (error) {
    const message = `cron ${JSON.stringify(expression)} in time zone ${JSON.stringify(timeZone)}: ${reasonOf(error)}`;
    throw new BatchError(
      'REQUEST_INVALID',
      `${message}; wanted five fields such as "0 3 * * *", and a zone such as Europe/Berlin`,
    );
  }
  return {
    after: (ms) => cron.nextRun(new Date(ms))?.getTime() ?? null,
    // Those before a time, itself left out.
    upTo: (ms, count) => cron.previousRuns(count, new Date(ms + 1)).map((date) => date.getTime()),
  };
}
