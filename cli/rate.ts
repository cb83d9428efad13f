import type { Clock } from '../common/io/clock.ts';

/** Tells how many per second, from the first count that it was shown; null until a second has passed. */
export function createRate(clock: Clock): (count: number) => number | null {
  let first: { readonly count: number; readonly ms: number } | null = null;
  return (count) => {
    const ms = clock.monotonic();
    first ??= { count, ms };
    const seconds = (ms - first.ms) / 1_000;
    return seconds >= 1 && count > first.count ? (count - first.count) / seconds : null;
  };
}
