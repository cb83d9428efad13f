/** What the coordinator does from time to time. */
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Loop } from './loop.ts';
import type { DiskWatch } from './output/disk-watch.ts';
import type { JobFeeds } from './views/job-feed.ts';

/** Looks at deadlines, and tells how much later than due it could. */
export function startTimers(
  loop: Loop,
  feeds: JobFeeds,
  diskWatch: DiskWatch,
  clock: Clock,
  onFatal: (error: unknown) => void,
): { close: () => Promise<void> } {
  let last = clock.monotonic();
  const guarded = (work: () => void) => (): void => {
    try {
      work();
    } catch (error) {
      onFatal(error);
    }
  };
  const tick = setInterval(
    guarded(() => {
      const now = clock.monotonic();
      const late = now - last - limits.tickMs;
      last = now;
      loop.handle({ kind: 'tick', stallMs: late > limits.stallMsMin ? late : 0, wallMs: clock.wall() });
    }),
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
