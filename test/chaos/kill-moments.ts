/** Waits for the moment at which a kill of the coordinator is worst. */
import { existsSync, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { delay } from '../../common/io/delay.ts';
import type { KillMoment } from './chaos-plan.ts';

type FileMoment = Exclude<KillMoment, 'now' | 'acknowledges'>;

export interface Moments {
  /** Where outputs lie, each in a folder `out-…`. */
  readonly diskDir: string;
  readonly stateDir: string;
  /** Calls back with every acknowledgement until `signal` aborts. */
  readonly onAcknowledged: (call: () => void, signal: AbortSignal) => void;
}

/** Does `deed` when it is `moment`, so close to it as a process can; not at all when it does not come within `withinMs`. */
export async function atMoment(
  moment: Exclude<KillMoment, 'now'>,
  moments: Moments,
  withinMs: number,
  deed: () => void,
): Promise<void> {
  const over = new AbortController();
  const strike = (): void => {
    if (over.signal.aborted) return;
    deed();
    over.abort();
  };
  if (moment === 'acknowledges') moments.onAcknowledged(strike, over.signal);
  else for (const dir of watched(moment, moments)) if (existsSync(dir)) watchDir(dir, moment, strike, over.signal);
  await delay(withinMs, over.signal);
  over.abort();
}

function watched(moment: FileMoment, { diskDir, stateDir }: Moments): readonly string[] {
  const below = (dir: string): readonly string[] => (existsSync(dir) ? readdirSync(dir) : []);
  const staging = below(join(stateDir, 'jobs')).map((job) => join(stateDir, 'jobs', job, 'staging'));
  const outputs = below(diskDir).filter((name) => name.startsWith('out-'));
  const folders = outputs.map((name) => join(diskDir, name));
  return { drops: staging, appends: folders, writes: [...staging, ...folders] }[moment];
}

function watchDir(dir: string, moment: FileMoment, strike: () => void, signal: AbortSignal): void {
  const watcher = watch(dir, { signal });
  watcher.on('change', (event, name) => {
    if (typeof name !== 'string') return;
    const isSegment = name.startsWith('segment-');
    if (moment === 'drops' && isSegment && event === 'rename' && !existsSync(join(dir, name))) strike();
    if (moment !== 'drops' && event === 'change' && (isSegment || name.endsWith('.partial'))) strike();
  });
  // A job's folder may go while it is watched.
  watcher.on('error', () => undefined);
}
