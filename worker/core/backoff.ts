/** How long to wait before trying again: doubled each time, up to a bound. */
import { monotonicMs, type MonotonicMs } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';

/** `tries` have failed so far, at least 1. */
export function retryAfter(now: MonotonicMs, tries: number): MonotonicMs {
  const delayMs = limits.retryBackoffMs * 2 ** Math.min(tries - 1, 20);
  return monotonicMs(now + Math.min(limits.retryBackoffMsMax, delayMs));
}

/**
 * When to reach for the coordinator again after `attempts` failures, at least 1. `random` from 0 to below 1 takes up to
 * half of the delay away, so that a cluster does not come back all at once.
 */
export function reconnectAt(now: MonotonicMs, attempts: number, random: number): MonotonicMs {
  const delayMs = Math.min(limits.reconnectMsMax, limits.reconnectMsMin * 2 ** Math.min(attempts - 1, 20));
  return monotonicMs(now + delayMs * (1 - random / 2));
}
