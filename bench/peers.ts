/**
 * Batchmill beside the ceiling and beside its peers, in one run on the same files, taking turns: A B C A B C …, first from nothing to the
 * finished output (`cold`), then as jobs of what stays up (`warm`, after one job that does not count). Rows must be the same before a time
 * counts. One table on stdout; `bench/results/peers.json` has every figure.
 *
 * `npm run bench -- peers [WORKLOAD…] [--rounds N] [--with NAME,…] [--quick]`. `--with` chooses contenders; Batchmill is always there.
 * `BENCH_SCALE` is a share of the standard sizes, `BENCH_DIR` the disk. `--quick` runs tiny sizes of Batchmill and the ceiling alone.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageFile } from '../common/io/package-files.ts';
import { digestOf, readRows, removeRows, type Rows } from './harness/agree.ts';
import type { Cost } from './harness/meter.ts';
import { placeOf } from './harness/place.ts';
import { linesOf, tableOf, type Line, type Series } from './harness/report.ts';
import { Runner, type Temperature } from './harness/runner.ts';
import { digits } from './workloads/digits.ts';
import { large, nothing, tiny } from './workloads/files.ts';
import { oneImage, oneTable } from './workloads/one.ts';
import { pythonTables } from './workloads/python-tables.ts';
import { tableCsv, tableParquet } from './workloads/tables.ts';
import type { Contender, Place, Workload } from './workloads/workload.ts';

const workloads: Readonly<Record<string, (place: Place) => Promise<Workload>>> = {
  digits,
  'table-csv': tableCsv,
  'table-parquet': tableParquet,
  python: pythonTables,
  nothing,
  tiny,
  large,
  'one-image': oneImage,
  'one-table': oneTable,
};

/** They need no package that the tests do not have. */
const quickNames = ['digits', 'table-csv', 'table-parquet', 'nothing', 'tiny', 'large'];
const quickScale = 0.000_1;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    with: { type: 'string' },
    start: { type: 'string' },
    quick: { type: 'boolean', default: false },
  },
});

const isQuick = flags.quick;
const rounds = Number(flags.rounds ?? (isQuick ? 1 : 3));
const temperatures = (flags.start?.split(',') ?? (isQuick ? ['warm'] : ['cold', 'warm'])) as Temperature[];
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
    const rows = readRows(output, this.#workload.agreement);
    this.#reference ??= rows;
    const difference = rows.count === 0 ? 'no rows' : rows.differenceTo(this.#reference);
    if (difference !== null) throw new Error(`${this.#workload.name}, ${contender.name}: ${difference}`);
    this.#agreed.add(digest);
  }
}

async function runWorkload(workload: Workload, dir: string, place: Place): Promise<Line[]> {
  const wanted = flags.with?.split(',');
  const contenders = workload.contenders.filter(
    ({ name }) => name === 'batchmill' || wanted === undefined || wanted.includes(name),
  );
  const runners = contenders.map((contender) => new Runner(contender, dir, place.processes));
  const judge = new Judge(workload);
  const series: Series[] = [];
  readAll(workload.input);
  try {
    for (const temperature of temperatures) {
      const costs = new Map<Runner, Cost[]>(runners.map((runner) => [runner, []]));
      // What stays up has had one job before it is measured.
      for (let round = temperature === 'warm' ? -1 : 0; round < rounds; round += 1) {
        for (const runner of runners) {
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

async function main(): Promise<void> {
  const unknown = positionals.filter((name) => !(name in workloads));
  if (unknown.length > 0)
    throw new Error(`no workload ${unknown.join(', ')}; there are ${Object.keys(workloads).join(', ')}`);
  const names = positionals.length > 0 ? positionals : isQuick ? quickNames : Object.keys(workloads);
  const scale = Number(process.env['BENCH_SCALE'] ?? (isQuick ? quickScale : 1));
  const place = placeOf(scale, isQuick, say);
  const lines: Line[] = [];
  for (const name of names) {
    const workload = await workloads[name]?.(place);
    if (workload === undefined) continue;
    say(`${name}: ${workload.title}`);
    const dir = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-bench-'));
    try {
      lines.push(...(await runWorkload(workload, dir, place)));
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }
  console.log(tableOf(lines));
  mkdirSync(packageFile('bench', 'results'), { recursive: true });
  writeFileSync(packageFile('bench', 'results', 'peers.json'), `${JSON.stringify(lines, null, 2)}\n`);
}

await main();
