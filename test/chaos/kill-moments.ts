/** Waits for the moment at which a kill of the coordinator is worst. */
import { existsSync, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { delay } from '../../common/io/delay.ts';
import type { KillMoment } from './chaos-plan.ts';

export interface Moments {
  /** Where outputs lie, each in a folder `out-…`. */
  readonly diskDir: string;
  readonly stateDir: string;
  /** Calls back with every acknowledgement until `signal` aborts. */
  readonly onAcknowledged: (call: () => void, signal: AbortSignal) => void;
}

/** Does `deed` when it is `moment`, so close to it as a process can; false when it did not come within `withinMs`. */
export async function atMoment(
  moment: Exclude<KillMoment, 'now'>,
  moments: Moments,
  withinMs: number,
  deed: () => void,
): Promise<boolean> {
  const over = new AbortController();
  let isDone = false;
  const strike = (): void => {
    if (over.signal.aborted) return;
    isDone = true;
    deed();
    over.abort();
  };
  if (moment === 'acknowledges') moments.onAcknowledged(strike, over.signal);
  else for (const dir of watched(moment, moments)) watchDir(dir, moment, strike, over.signal);
  await delay(withinMs, over.signal);
  over.abort();
  return isDone;
}

function watched(moment: 'writes' | 'drops', { diskDir, stateDir }: Moments): readonly string[] {
  const below = (dir: string): readonly string[] => (existsSync(dir) ? readdirSync(dir) : []);
  const staging = below(join(stateDir, 'jobs')).map((job) => join(stateDir, 'jobs', job, 'staging'));
  const outputs = below(diskDir).filter((name) => name.startsWith('out-'));
  const dirs = moment === 'drops' ? staging : [...staging, ...outputs.map((name) => join(diskDir, name))];
  return dirs.filter((dir) => existsSync(dir));
}

function watchDir(dir: string, moment: 'writes' | 'drops', strike: () => void, signal: AbortSignal): void {
  const watcher = watch(dir, { signal }, (event, name) => {
    const isSegment = name?.startsWith('segment-') === true;
    if (moment === 'drops' && isSegment && event === 'rename' && !existsSync(join(dir, name))) strike();
    if (moment === 'writes' && event === 'change' && (isSegment || name?.endsWith('.partial') === true)) strike();
  });
  // A job's folder may go while it is watched.
  watcher.on('error', () => undefined);
}
