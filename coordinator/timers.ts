/** What the coordinator does from time to time. */
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Command } from './core/commands.ts';
import type { Loop } from './loop.ts';
import type { DiskWatch } from './output/disk-watch.ts';
import type { JobFeeds } from './views/job-feed.ts';

/** Ticks for the loop, which tell how much later than due they could be given. */
export class Ticks {
  readonly #clock: Clock;
  #last: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#last = clock.monotonic();
  }

  /** When {@link limits.tickMs} have gone by. */
  next(): Command {
    const now = this.#clock.monotonic();
    const late = now - this.#last - limits.tickMs;
    this.#last = now;
    return { kind: 'tick', stallMs: late > limits.stallMsMin ? late : 0, wallMs: this.#clock.wall() };
  }
}

/** Looks at deadlines, tells progress, and looks at the room on the disks. */
export function startTimers(
  loop: Loop,
  feeds: JobFeeds,
  diskWatch: DiskWatch,
  clock: Clock,
  onFatal: (error: unknown) => void,
): { close: () => Promise<void> } {
  const ticks = new Ticks(clock);
  const guarded = (work: () => void) => (): void => {
    try {
      work();
    } catch (error) {
      onFatal(error);
    }
  };
  const tick = setInterval(
    guarded(() => loop.handle(ticks.next())),
    limits.tickMs,
  );
  const progress = setInterval(
    guarded(() => feeds.progress()),
    limits.progressMs,
  );
  // One look at a time: a network file system may take its time to answer.
  let looking: Promise<void> | null = null;
  const room = setInterval(() => {
    looking ??= diskWatch
      .look()
      .catch(onFatal)
      .finally(() => (looking = null));
  }, limits.diskLookMs);
  return {
    close: async () => {
      clearInterval(tick);
      clearInterval(progress);
      clearInterval(room);
    },
  };
}
