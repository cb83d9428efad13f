/** `npm run chaos -- --minutes M --seed N`: says what it does, sums up, and ends with 1 when anything was not as it must be, with 3 when it could not go on. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runChaos, type ChaosAccount } from './run-chaos.ts';

/** The last lines. */
function sumUp(account: ChaosAccount): string {
  const { seed, minutes, jobs, completed, canceled, rows, faults, idleFaults, defects, load } = account;
  const kinds = Object.entries(faults).map(([kind, count]) => `  ${kind}: ${count}`);
  return [
    ...defects.map((defect) => `DEFECT ${defect}`),
    ...(account.firstDefectMs === null ? [] : [`first defect after ${Math.round(account.firstDefectMs / 1_000)} s`]),
    `done to jobs: ${Object.entries(account.steps)
      .map(([kind, count]) => `${kind} ${count}`)
      .join(', ')}`,
    ...['faults carried out:', ...kinds, `  met nothing: ${idleFaults}`],
    `disk: ${account.disk}; load ${load.join(' ')}; logs ${account.logs}`,
    `coordinator: ${account.coordinatorStarts} starts, the slowest ${account.coordinatorStartMsMax} ms, at most ${account.coordinatorMegabytesMax} MB; worker nodes: ${account.nodeStarts} starts`,
    `seed ${seed}, ${minutes} minutes, ${jobs} jobs (${completed} completed, ${canceled} canceled), ${rows} rows checked, ${account.killsAndFreezes} kills and freezes, ${account.lost} lost, ${account.doubled} doubled, ${account.digestsEqual} of ${jobs} digests equal, ${defects.length} defects`,
  ].join('\n');
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: '1' },
      'keep-logs': { type: 'boolean', default: false },
      'stop-at-defect': { type: 'boolean', default: false },
    },
  });
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  if (!(minutes > 0) || !Number.isSafeInteger(seed)) {
    console.error('usage: npm run chaos -- [--minutes M] [--seed N] [--keep-logs] [--stop-at-defect]');
    return 2;
  }
  const dir = mkdtempSync(join(tmpdir(), 'batchmill-chaos-'));
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort());
  const note = (line: string): void => console.log(line);
  const stopsAtDefect = values['stop-at-defect'];
  const run = runChaos({ seed, minutes, dir, note, signal: abort.signal, stopsAtDefect });
  const account = await run.catch((error: unknown) => {
    console.error(error, `the run with seed ${seed} could not go on; its logs are in ${join(dir, 'logs')}`);
    return null;
  });
  if (account === null) return 3;
  console.log(sumUp(account));
  const isFine = account.defects.length === 0 && account.digestsEqual === account.jobs && account.jobs > 0;
  if (isFine && !values['keep-logs']) rmSync(dir, { recursive: true, force: true });
  return isFine ? 0 : 1;
}

// At once: a connection that was left half open would keep it alive for minutes.
process.exit(await main());
