/**
 * First eight slots in virtual time on the coordinator's real core, as `test/unit/core-skew.test.ts` has them: exact, whatever
 * the machine. `--virtual` prints these alone. Then real files of uneven size (6,046 e-mails: median 3.5 KB, largest 301 KB)
 * on a real coordinator and a worker node with two slots, with a scorer that takes 0.5 ms a file and 2 µs a byte: how long a
 * job takes with each `mini_batch_size`, from the first mini-batch to the sealed output, against what no plan can beat. The
 * scorer waits and does not compute, so that the other processes of this machine count little. The sizes take turns
 * (`SKEW_ROUNDS` of each, default 2); one line of JSON for each job, then one with the medians. `auto` must be within 5 % of
 * the bound, and the virtual slots within what their test allows; ends with 1 otherwise.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { invariant } from '../common/core/invariant.ts';
import { ClusterProcesses } from '../test/helpers/cluster-processes.ts';
import { emailSizes } from '../test/helpers/e-mails.ts';
import { endPrograms } from '../test/helpers/programs.ts';
import { mailPlans, mails, played } from '../test/helpers/virtual-mails.ts';

const slots = 2;
const secondsPerFile = 0.000_5;
const secondsPerByte = 0.000_002;
const overPercentMax = 5;
const rounds = Number(process.env['SKEW_ROUNDS'] ?? 2);
const sizes = (process.env['SKEW_SIZES'] ?? '10,64KB,auto').split(',');
const jobMs = 300_000;

const script = `import { statSync } from 'node:fs';

const still = new Int32Array(new SharedArrayBuffer(4));

export function run(paths, context) {
  const began = performance.now();
  const bytes = paths.reduce((sum, path) => sum + statSync(path).size, 0);
  const wantedMs = 1_000 * (${secondsPerFile} * paths.length + ${secondsPerByte} * bytes);
  Atomics.wait(still, 0, 0, Math.max(0, wantedMs - (performance.now() - began)));
  return context.names.map((name) => ({ name, bytes }));
}
`;

interface Measured {
  readonly size: string;
  readonly seconds: number;
  readonly miniBatches: number;
}

function print(line: Record<string, unknown>): void {
  console.log(JSON.stringify({ bench: 'skew', ...line }));
}

/** `value` with so many digits behind the point. */
function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** In percent. */
function excess(seconds: number, bound: number): number {
  return rounded(100 * (seconds / bound - 1), 2);
}

function playVirtualSlots(): void {
  for (const [size, miniBatchSize, most] of mailPlans) {
    const plan = mails(miniBatchSize);
    const { run, lowerBoundMs, over } = played(plan);
    invariant(run.job.scoredFiles === plan.sizesBytes.length, `${size} scored ${run.job.scoredFiles} files`);
    const [seconds, lowerBound] = [run.makespanMs / 1_000, lowerBoundMs / 1_000].map((one) => rounded(one, 3));
    const overPercent = rounded(100 * over, 2);
    const virtualSlots = plan.nodes.reduce((sum, one) => sum + one, 0);
    print({
      what: 'virtual',
      slots: virtualSlots,
      size,
      seconds,
      lowerBound,
      overPercent,
      miniBatches: run.miniBatches,
    });
    if (!(over < most)) process.exitCode = 1;
  }
}

async function measure(dir: string): Promise<void> {
  const input = join(dir, 'in');
  const files = emailSizes();
  mkdirSync(input);
  for (const [index, bytes] of files.entries()) {
    writeFileSync(join(input, `${String(index).padStart(4, '0')}.txt`), Buffer.alloc(bytes, 'x'));
  }
  mkdirSync(join(dir, 'code'));
  writeFileSync(join(dir, 'code', 'mails.mjs'), script);
  const deployment = join(dir, 'mails.yml');
  const code = `code_configuration: {code: ${join(dir, 'code')}, scoring_script: mails.mjs}`;
  writeFileSync(deployment, `name: mails\n${code}\noutput_action: append_row\n`);
  const each = files.map((bytes) => secondsPerFile + secondsPerByte * bytes);
  const bound = Math.max(each.reduce((sum, one) => sum + one, 0) / slots, Math.max(...each));
  const cluster = await ClusterProcesses.start({ dir });
  await cluster.startWorker('node', { slots });
  const measured: Measured[] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const size of sizes) {
      const name = `${size.toLowerCase()}-${round}`;
      const output = join(dir, `out-${name}`);
      const flags = ['--input', input, '--output', output, '--mini-batch-size', size];
      const job = await cluster.submit([deployment, ...flags]);
      const end = await cluster.job(job, (view) => view.ended_at !== null, 'its end', jobMs);
      invariant(end.status === 'Completed' && end.rows === files.length, `job ${name} came to ${JSON.stringify(end)}`);
      const seconds = (Date.parse(end.ended_at ?? '') - Date.parse(end.started_at ?? '')) / 1_000;
      measured.push({ size, seconds, miniBatches: end.mini_batches.total });
      print({ round, size, seconds, overPercent: excess(seconds, bound), miniBatches: end.mini_batches.total });
    }
  }
  for (const size of sizes) {
    const own = measured.filter((one) => one.size === size).map(({ seconds }) => seconds);
    const sorted = own.toSorted((a, b) => a - b);
    const middle = (at: number): number => sorted[Math.floor(at)] ?? Number.NaN;
    const seconds = (middle((sorted.length - 1) / 2) + middle(sorted.length / 2)) / 2;
    const overPercent = excess(seconds, bound);
    print({ what: 'median', slots, size, seconds, lowerBound: rounded(bound, 3), overPercent });
    if (size === 'auto' && !(overPercent <= overPercentMax)) process.exitCode = 1;
  }
}

async function playRealSlots(): Promise<void> {
  const dir = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-bench-'));
  try {
    await measure(dir);
  } finally {
    await endPrograms();
    await rm(dir, { recursive: true, force: true });
  }
}

playVirtualSlots();
if (!process.argv.includes('--virtual')) await playRealSlots();
