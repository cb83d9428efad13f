/** Waiting, as an argument: tests hand in their own. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves after `ms`, or at once when `signal` aborts; the caller looks at the signal. */
export type Delay = (ms: number, signal: AbortSignal) => Promise<void>;

export const delay: Delay = async (ms, signal) => {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
};
