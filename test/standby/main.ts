/**
 * `npm run test:standby [-- --times N] [-- --only TEXT]`: every scenario with three NATS servers, two coordinators and four worker
 * nodes. Prints how long each took to go on, and ends with 1 when an output was not the one of a calm run.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram, until } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { idleness } from './idle-slots.ts';
import { scenarios, secured, settled, type Scenario } from './scenarios.ts';
import { StandbyCluster } from './standby-cluster.ts';
import { existsSync } from 'node:fs';

const files = 6_000;
/** How long one of ten files takes, where it is not the usual. */
const miniBatchMs: Partial<Record<string, number>> = { 'the leader hands over': 1_000 };
/** Slots are watched for so long, before and from the beginning of a scenario. */
const watchedMs = 10_000;

const { values } = parseArgs({
  options: {
    times: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    nats: { type: 'string', default: '3' },
  },
});
const times = Number(values.times);
const natsServers = Number(values.nats);
const root = mkdtempSync(join(tmpdir(), 'batchmill-standby-'));
const input = writeInputs(join(root, 'in'), smallFiles(files));
const wanted = await calm();
const takeovers: number[] = [];
let failures = 0;
for (let round = 1; round <= times; round += 1) {
  for (const [name, scenario] of Object.entries(scenarios) as [string, Scenario][]) {
    if (!name.includes(values.only)) continue;
    const told = await played(name, scenario, round).catch((error: unknown) => {
      failures += 1;
      return `FAILED: ${error instanceof Error ? error.message : String(error)}`;
    });
    process.stdout.write(`${name}: ${told}\n`);
  }
}
const sorted = takeovers.toSorted((a, b) => a - b);
const quantile = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
process.stdout.write(`going on again after: p50 ${quantile(0.5)} ms, p95 ${quantile(0.95)} ms, of ${sorted.length}\n`);
rmSync(root, { recursive: true, force: true });
process.exitCode = failures === 0 ? 0 : 1;

async function calm(): Promise<string> {
  const deployment = writeDeployment(root, 'calm', { script: 'hash-rows.mjs', more: ['output:', '  format: csv'] });
  const ended = await runProgram(['run', deployment, '--input', input, '--output', join(root, 'calm')], { cwd: root });
  if (ended.code !== 0) throw new Error(ended.stderr);
  return readOutput(join(root, 'calm')).sha256;
}

async function played(name: string, scenario: Scenario, round: number): Promise<string> {
  const dir = mkdtempSync(join(root, `${round}-`));
  const fast = join(dir, 'fast');
  const trace = join(dir, 'trace');
  const deployment = writeDeployment(dir, 'slow', {
    script: 'hash-rows.mjs',
    environment: { PAUSE_MS: String(miniBatchMs[name] ?? 200), FAST_WHEN: fast, TRACE: trace },
    more: ['output:', '  format: csv'],
  });
  const cluster = await StandbyCluster.start({ dir, natsServers, workers: 4, isSecure: secured.has(name) });
  try {
    const job = await cluster.submit([deployment, '--input', input, '--output', join(dir, 'out')]);
    await settled(cluster, job, 10);
    await delay(watchedMs, new AbortController().signal);
    const committed = await settled(cluster, job, 0);
    const began = systemClock.wall();
    const { takeoverMs, unledMs } = await scenario({ cluster, job, committed });
    if (takeoverMs !== null) takeovers.push(takeoverMs);
    await delay(Math.max(0, began + watchedMs - systemClock.wall()), new AbortController().signal);
    const before = idleness(trace, { from: began - watchedMs, to: began });
    const idle = idleness(trace, { from: began, to: began + watchedMs });
    writeFileSync(fast, '');
    await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job');
    await until(() => existsSync(join(dir, 'out', '_SUCCESS')), 'the end of sealing');
    const found = readOutput(join(dir, 'out')).sha256;
    if (found !== wanted) throw new Error(`the output is ${found}, of a calm run it is ${wanted}`);
    const slots = `${idle.slots} slots had nothing to score for ${idle.seconds} s (longest ${idle.longestMs} ms; before ${before.seconds} s)`;
    const unled = unledMs === undefined ? '' : `nobody led for ${unledMs} ms; `;
    return `went on after ${takeoverMs} ms; ${unled}${slots}; the output is that of a calm run (${found.slice(0, 12)})`;
  } finally {
    await endPrograms();
    await cluster.close();
  }
}
