/**
 * `npm run sim`: plays seeds in all processors and sums up; ends with 1 when anything was not as it must be.
 *
 *     npm run sim -- --seed 1 --seeds 1000      so many from the first
 *     npm run sim -- --seed 1 --hours 2         for so long
 *     npm run sim -- --seed 4711 --seeds 1 --trace
 *     npm run sim -- --seed 4711 --shrink       the smallest plan that goes wrong in the same way
 */
import './small-limits.ts';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { play } from './cluster.ts';
import { planOf } from './plan.ts';
import { addAccount, emptyAccount, playSeed, type Account } from './seeds.ts';
import { shrink } from './shrink.ts';

/** Seeds that a worker takes at once. */
const handful = 20;

/** A world is garbage once it is over: the less of one is there at each collection, the less is copied. */
const youngMb = 128;

interface Task {
  readonly first: number;
  readonly count: number;
}

async function work(): Promise<void> {
  // Whoever looks at a seed plays it by itself.
  Error.stackTraceLimit = 0;
  const { isTwice } = workerData as { readonly isTwice: boolean };
  parentPort?.on('message', (task: Task) => {
    void (async () => {
      const account = emptyAccount();
      for (let seed = task.first; seed < task.first + task.count; seed += 1) await playSeed(seed, account, isTwice);
      parentPort?.postMessage(account);
    })();
  });
  parentPort?.postMessage(emptyAccount());
  await Promise.resolve();
}

interface Range {
  readonly first: number;
  /** Infinity: until the time is over. */
  readonly count: number;
  readonly untilMs: number;
  readonly workers: number;
  readonly isTwice: boolean;
  /** Ends with the first violation. */
  readonly isQuick: boolean;
}

function playRange(range: Range, onProgress: (account: Account) => void): Promise<Account> {
  const total = emptyAccount();
  let next = range.first;
  const last = range.first + range.count;
  return new Promise((resolve, reject) => {
    let open = range.workers;
    for (let index = 0; index < range.workers; index += 1) {
      const worker = new Worker(fileURLToPath(import.meta.url), {
        workerData: { isTwice: range.isTwice },
        resourceLimits: { maxYoungGenerationSizeMb: youngMb },
      });
      worker.on('error', reject);
      worker.on('message', (account: Account) => {
        addAccount(total, account);
        onProgress(total);
        const isOver = next >= last || Date.now() >= range.untilMs || (range.isQuick && total.violations.length > 0);
        if (!isOver) {
          const count = Math.min(handful, last - next);
          worker.postMessage({ first: next, count } satisfies Task);
          next += count;
          return;
        }
        void worker.terminate();
        open -= 1;
        if (open === 0) resolve(total);
      });
    }
  });
}

function table(title: string, counts: Readonly<Record<string, number>>): string {
  const rows = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return [`${title}:`, ...rows.map(([what, count]) => `  ${what}: ${count}`)].join('\n');
}

/** The last lines. */
function sumUp(first: number, account: Account, seconds: number, isTwice: boolean): string {
  const { seeds, virtualMs, rowsChecked, lost, doubled, starts, lives, violations, faults, met, states } = account;
  const hours = virtualMs / 3_600_000;
  const shown = violations.slice(0, 20).map(({ seed, texts }) => `VIOLATION seed ${seed}: ${texts.join('; ')}`);
  const rate = (hours / seconds).toFixed(2);
  return [
    ...shown,
    table('faults', faults),
    table('met', met),
    table('ends', states),
    `${lives} ends of ${seeds} jobs, ${starts} starts of the coordinator`,
    `seeds ${first} to ${first + seeds - 1}${isTwice ? ', each twice' : ''}: ${hours.toFixed(1)} virtual hours in ${seconds.toFixed(0)} s ` +
      `(${rate} a second), ${rowsChecked} rows checked, ${lost} lost, ${doubled} doubled, ${violations.length} violations`,
  ].join('\n');
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      seeds: { type: 'string' },
      hours: { type: 'string' },
      workers: { type: 'string', default: String(availableParallelism()) },
      once: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      trace: { type: 'boolean', default: false },
      shrink: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const first = Number(values.seed);
  const isTimed = values.hours !== undefined;
  const count = isTimed ? Infinity : Number(values.seeds ?? '1');
  const hours = Number(values.hours ?? '0');
  const workers = Number(values.workers);
  if (![first, workers].every(Number.isSafeInteger) || !(count > 0) || !(hours >= 0) || workers < 1) {
    console.error('usage: npm run sim -- [--seed FIRST] [--seeds COUNT | --hours H] [--once] [--trace | --shrink]');
    return 2;
  }
  if (values.shrink) return await shrink(first);
  if (values.trace) {
    const plan = planOf(first);
    const outcome = await play(plan, { isJudged: true });
    console.log([JSON.stringify(plan), ...outcome.trace, ...outcome.faults].join('\n'));
    return outcome.faults.length > 0 ? 1 : 0;
  }
  const startedAt = performance.now();
  const untilMs = isTimed ? Date.now() + hours * 3_600_000 : Infinity;
  let toldAt = startedAt;
  const isTwice = !values.once;
  const range = { first, count, untilMs, workers, isTwice, isQuick: values.quick };
  let toldViolations = 0;
  const account = await playRange(range, (soFar) => {
    for (const { seed, texts } of soFar.violations.slice(toldViolations))
      console.error(`seed ${seed}: ${texts.join('; ')}`);
    toldViolations = soFar.violations.length;
    if (performance.now() - toldAt < 60_000) return;
    toldAt = performance.now();
    console.error(`${soFar.seeds} seeds, ${soFar.violations.length} violations`);
  });
  account.violations.sort((a, b) => a.seed - b.seed);
  const seconds = (performance.now() - startedAt) / 1_000;
  console.log(values.json ? JSON.stringify(account) : sumUp(first, account, seconds, isTwice));
  return account.violations.length > 0 ? 1 : 0;
}

if (isMainThread) process.exitCode = await main();
else await work();
