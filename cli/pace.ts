/** How fast something goes, and how long the rest takes by that: by what was lately, and by all that was seen. */
import type { Clock } from '../common/io/clock.ts';

/** So many a second. */
export interface Pace {
  /** Since it was first looked at. */
  readonly whole: number;
  /** Of late: the last third of that time, at most half a minute. */
  readonly recent: number;
}

/** Seconds; `longest` is null when nothing has moved of late. */
export interface TimeLeft {
  readonly shortest: number;
  readonly longest: number | null;
}

interface Sample {
  readonly ms: number;
  readonly count: number;
}

const recentMsMax = 30_000;
const recentMsMin = 2_000;
/** Between two samples that are kept. */
const sampleMs = 250;

/** Tells the pace from the counts that it is shown; null until a second has passed and something has moved. */
export function createPace(clock: Clock): (count: number) => Pace | null {
  let first: Sample | null = null;
  let samples: Sample[] = [];
  return (count) => {
    const now = { ms: clock.monotonic(), count };
    first ??= now;
    const elapsedMs = now.ms - first.ms;
    const windowMs = Math.max(recentMsMin, Math.min(recentMsMax, elapsedMs / 3));
    // The one before the window begins is where it is measured from.
    const from = samples.findLast(({ ms }) => now.ms - ms >= windowMs) ?? first;
    const last = samples.at(-1);
    if (last === undefined || now.ms - last.ms >= sampleMs) samples.push(now);
    samples = samples.filter(({ ms }) => now.ms - ms <= recentMsMax + sampleMs * 4);
    if (elapsedMs < 1_000 || count <= first.count) return null;
    return { whole: perSecond(first, now), recent: perSecond(from, now) };
  };
}

function perSecond(from: Sample, to: Sample): number {
  return ((to.count - from.count) * 1_000) / Math.max(1, to.ms - from.ms);
}

/** How long `count` more take. */
export function timeLeft(count: number, { whole, recent }: Pace): TimeLeft {
  const fast = Math.max(whole, recent);
  const slow = Math.min(whole, recent);
  return { shortest: count / fast, longest: slow > 0 ? count / slow : null };
}

/** `2 min to 3 min left`, `about 2 min left`, `2 min left or more`. */
export function timeLeftText({ shortest, longest }: TimeLeft): string {
  const [from, to] = [durationText(shortest), longest === null ? null : durationText(longest)];
  if (to === null) return `${from} left or more`;
  return from === to ? `about ${from} left` : `${from} to ${to} left`;
}

export function durationText(seconds: number): string {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  if (seconds < 3_600) return `${Math.ceil(seconds / 60)} min`;
  return `${(seconds / 3_600).toFixed(1)} h`;
}
