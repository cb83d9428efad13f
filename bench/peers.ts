/**
 * Batchmill beside the ceiling and beside its peers, in one run on the same files, taking turns: A B C A B C …, first from nothing to the
 * finished output (`cold`), then as jobs of what stays up (`warm`, after one job that does not count). Rows must be the same before a time
 * counts. One table on stdout; `peers.json` and `peers.svg` in `bench/results` (`--results DIR`)
 * have every figure.
 *
 * `npm run bench -- peers [WORKLOAD…] [--rounds N] [--with NAME,…] [--start cold|warm] [--quick]`. `--with` chooses peers; Batchmill and the ceiling are
 * always there.
 * `BENCH_SCALE` is a share of the standard sizes, `BENCH_DIR` the disk. `--quick` runs tiny sizes of Batchmill and the
 * ceiling alone, once each, from nothing where that is possible.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageFile } from '../common/io/package-files.ts';
import { digestOf, readRows, removeRows, type Rows } from './harness/agree.ts';
import type { Cost } from './harness/meter.ts';
import { placeOf } from './harness/place.ts';
import { linesOf, tableOf, type Line, type Series } from './harness/report.ts';
import { plotOf } from './harness/plot.ts';
import { Runner, type Temperature } from './harness/runner.ts';
import { dataWorkloads, type Workloads } from './workloads/data-workloads.ts';
import { large, nothing, tiny } from './workloads/files.ts';
import { oneImage, oneTable } from './workloads/one.ts';
import type { Contender, Place, Workload } from './workloads/workload.ts';

const workloads: Workloads = {
  ...dataWorkloads,
  nothing,
  tiny,
  large,
  'one-image': oneImage,
  'one-table': oneTable,
};

/** One of each kind that needs no package that the tests do not have. */
const quickNames = ['digits', 'table-csv', 'nothing', 'large'];
const quickScale = 0.000_1;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    with: { type: 'string' },
    start: { type: 'string' },
    results: { type: 'string' },
    quick: { type: 'boolean', default: false },
  },
});

const isQuick = flags.quick;
const rounds = Number(flags.rounds ?? (isQuick ? 1 : 3));
const temperatures = (flags.start?.split(',') ?? ['cold', 'warm']) as Temperature[];
const say = (text: string): void => void process.stderr.write(`${text}\n`);

/** Rows of the outputs so far: the first one is what all others are held against. */
class Judge {
  readonly #workload: Workload;
  readonly #agreed = new Set<string>();
  #reference: Rows | null = null;

  constructor(workload: Workload) {
    this.#workload = workload;
  }

  /** @throws when rows are missing or others than those of the first output */
  check(contender: Contender, output: string): void {
    if (contender.rows === 'none') return;
    const digest = digestOf(output);
    if (this.#agreed.has(digest)) return;
    const rows = readRows(output, this.#workload.agreement, contender.rows !== 'unnumbered');
    this.#reference ??= rows;
    const difference = rows.count === 0 ? 'no rows' : rows.differenceTo(this.#reference);
    if (difference !== null) throw new Error(`${this.#workload.name}, ${contender.name}: ${difference}`);
    this.#agreed.add(digest);
  }
}

async function runWorkload(workload: Workload, dir: string, place: Place): Promise<Line[]> {
  const contenders = workload.contenders.filter(
    ({ warm }) => !isQuick || warm?.kind !== 'cluster' || warm.client !== 'stays',
  );
  const runners = contenders.map((contender) => new Runner(contender, dir, place.processes));
  const judge = new Judge(workload);
  const series: Series[] = [];
  readAll(workload.input);
  try {
    for (const temperature of temperatures) {
      const costs = new Map<Runner, Cost[]>(runners.map((runner) => [runner, []]));
      // What stays up has had one job before it is measured.
      for (let round = temperature === 'warm' && !isQuick ? -1 : 0; round < rounds; round += 1) {
        for (const runner of runners) {
          if (isQuick && temperature === 'warm' && runner.contender.cold !== null) continue;
          const output = join(dir, `output-${runner.contender.name.replaceAll(' ', '-')}-${temperature}-${round}`);
          const cost = await runner.run(temperature, output);
          if (cost === null) continue;
          judge.check(runner.contender, output);
          removeRows(output);
          if (round < 0) continue;
          costs.get(runner)?.push(cost);
          const seconds = `${cost.wallSeconds.toFixed(2)} s, ${cost.cpuSeconds.toFixed(2)} s of processors`;
          say(`${workload.name} ${temperature} ${runner.contender.name}: ${seconds}`);
        }
      }
      for (const runner of runners) {
        const own = costs.get(runner) ?? [];
        if (own.length > 0) series.push({ contender: runner.contender.name, temperature, costs: own });
      }
    }
  } finally {
    for (const runner of runners) await runner.close();
  }
  return linesOf(workload, series);
}

/** Nobody reads from the disk what the first one has brought into memory. */
function readAll(dir: string): void {
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) readFileSync(join(entry.parentPath, entry.name));
  }
}

function machine(): Readonly<Record<string, unknown>> {
  const [processor] = cpus();
  return { processors: cpus().length, model: processor?.model, memoryBytes: totalmem(), node: process.version };
}

async function main(): Promise<void> {
  const unknown = positionals.filter((name) => !(name in workloads));
  if (unknown.length > 0)
    throw new Error(`no workload ${unknown.join(', ')}; there are ${Object.keys(workloads).join(', ')}`);
  const names = positionals.length > 0 ? positionals : isQuick ? quickNames : Object.keys(workloads);
  const scale = Number(process.env['BENCH_SCALE'] ?? (isQuick ? quickScale : 1));
  const wanted = flags.with?.split(',');
  const place = placeOf(scale, (peer) => !isQuick && (wanted === undefined || wanted.includes(peer)), say);
  const lines: Line[] = [];
  for (const name of names) {
    const workload = await workloads[name]?.(place);
    if (workload === undefined) continue;
    say(`${name}: ${workload.title}`);
    const dir = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-bench-'));
    try {
      const own = await runWorkload(workload, dir, place);
      lines.push(...own);
      say(tableOf(own));
      keep(lines);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }
  console.log(tableOf(lines));
}

/** After each workload, so that one which fails late costs no figures of those before it. */
function keep(lines: readonly Line[]): void {
  const results = flags.results ?? packageFile('bench', 'results');
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, 'peers.json'), `${JSON.stringify({ machine: machine(), lines }, null, 2)}\n`);
  writeFileSync(join(results, 'peers.svg'), plotOf(lines));
}

await main();
