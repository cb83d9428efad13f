/** The only place that reads clocks; everything else is given `now`. */
import { monotonicMs, type MonotonicMs } from '../core/ids.ts';

export interface Clock {
  /** For deadlines and durations. */
  monotonic(): MonotonicMs;
  /** Milliseconds since 1970, for people. */
  wall(): number;
}

export const systemClock: Clock = {
  monotonic: () => monotonicMs(performance.now()),
  wall: () => Date.now(),
};
