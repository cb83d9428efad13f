/**
 * A job whose rows become Parquet in folders by a column of 20 values: 10,000,000 rows (`PARTITION_ROWS`), of files that give 10,000 each,
 * on a coordinator and a worker node of two slots as processes of their own. Rows a second of scoring and of making the parts, the most
 * memory that each process had resident in either, files and their sizes; at a tenth, a third and all of the rows, so that
 * memory that grows with the rows is seen. The files are counted by an independent reader where there is one (`PARTITION_PYTHON`).
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../common/io/clock.ts';
import { ClusterProcesses } from '../test/helpers/cluster-processes.ts';
import { endPrograms, type Program } from '../test/helpers/programs.ts';

const rowsOfFile = 10_000;
const most = Number(process.env['PARTITION_ROWS'] ?? 10_000_000);
const sizes = [most / 10, most / 3, most].map((rows) => Math.round(rows / rowsOfFile) * rowsOfFile);
const python = process.env['PARTITION_PYTHON'] ?? '';

/** The same rows for the same file, whatever the order. */
const script = `
import { basename } from 'node:path';
export function run(paths) {
  const rows = [];
  for (const path of paths) {
    const file = Number(basename(path));
    let state = file + 1;
    for (let index = 0; index < ${rowsOfFile}; index += 1) {
      state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
      const id = file * ${rowsOfFile} + index;
      rows.push({ id, score: (state >>> 0) / 2 ** 32, label: 'label-' + (id % 20), text: 'row-' + (state >>> 0).toString(36) + '-' + id });
    }
  }
  return rows;
}`;

const inMiB = (bytes: number): number => Math.round(bytes / 2 ** 20);

/** Of the process itself, in bytes; 0 when it has gone. */
function resident(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1_024;
  } catch {
    return 0;
  }
}

class Memory {
  readonly most: Record<string, number> = {};

  look(programs: Readonly<Record<string, Program>>): void {
    for (const [role, program] of Object.entries(programs)) {
      this.#keep(role, resident(program.pid));
      if (role !== 'worker') continue;
      const hosts = program.children().map(resident);
      this.#keep('host', Math.max(0, ...hosts));
    }
  }

  #keep(role: string, bytes: number): void {
    this.most[role] = Math.max(this.most[role] ?? 0, bytes);
  }

  get told(): Readonly<Record<string, number>> {
    return Object.fromEntries(Object.entries(this.most).map(([role, bytes]) => [role, inMiB(bytes)]));
  }
}

async function measure(dir: string, rows: number): Promise<void> {
  const input = join(dir, 'in');
  mkdirSync(input);
  for (let file = 0; file < rows / rowsOfFile; file += 1) writeFileSync(join(input, String(file).padStart(6, '0')), '');
  writeFileSync(join(dir, 'score.mjs'), script);
  const yaml = 'name: partitions\ncode_configuration: {code: ., scoring_script: score.mjs}\nmini_batch_size: 1\n';
  const schema = '{id: int64, score: float64, label: utf8, text: utf8}';
  writeFileSync(join(dir, 'job.yml'), `${yaml}output: {format: parquet, partition_by: label, schema: ${schema}}\n`);
  const cluster = await ClusterProcesses.start({ dir });
  const worker = await cluster.startWorker('node-1', { slots: 2 });
  const out = join(dir, 'out');
  const scoring = new Memory();
  const making = new Memory();
  const began = systemClock.monotonic();
  const job = await cluster.submit([join(dir, 'job.yml'), '--input', input, '--output', out]);
  let madeFrom = 0;
  const programs = { coordinator: cluster.coordinator, worker };
  const end = await cluster.job(
    job,
    (view) => {
      if (view.status === 'Finalizing' && madeFrom === 0) madeFrom = systemClock.monotonic();
      (madeFrom === 0 ? scoring : making).look(programs);
      return view.status === 'Completed' || view.status === 'Failed';
    },
    'the end',
    3_600_000,
  );
  if (end.status !== 'Completed') throw new Error(`${end.error?.code}: ${end.error?.message}`);
  const ended = systemClock.monotonic();
  const folders = readdirSync(out).filter((name) => name.startsWith('label='));
  const bytes = folders.flatMap((folder) =>
    readdirSync(join(out, folder)).map((name) => statSync(join(out, folder, name)).size),
  );
  const sorted = bytes.toSorted((a, b) => a - b);
  const perSecond = (ms: number): number => Math.round((rows * 1_000) / ms);
  const line = {
    ...{ bench: 'partitions', rows, rowsPerSecond: perSecond(ended - began) },
    ...{ scoringRowsPerSecond: perSecond(madeFrom - began), makingRowsPerSecond: perSecond(ended - madeFrom) },
    ...{ scoringMiB: scoring.told, makingMiB: making.told, partitions: folders.length, files: bytes.length },
    ...{
      filesMiB: inMiB(bytes.reduce((sum, size) => sum + size, 0)),
      smallestKiB: Math.round((sorted[0] ?? 0) / 1_024),
    },
    ...{ largestKiB: Math.round((sorted.at(-1) ?? 0) / 1_024), counted: counted(out) },
  };
  console.log(JSON.stringify(line));
}

/** Rows and distinct ids, as pyarrow finds them; null without it. */
function counted(out: string): unknown {
  if (python === '') return null;
  const program =
    'import sys, json, pyarrow.dataset as ds, pyarrow.compute as pc\n' +
    'd = ds.dataset(sys.argv[1], partitioning="hive", format="parquet")\n' +
    't = d.to_table(columns=["id", "label"])\n' +
    'print(json.dumps([t.num_rows, pc.count_distinct(t["id"]).as_py(), pc.count_distinct(t["label"]).as_py()]))';
  const done = spawnSync(python, ['-c', program, out], { encoding: 'utf8' });
  return done.status === 0 ? (JSON.parse(done.stdout) as unknown) : done.stderr;
}

for (const rows of sizes) {
  const dir = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-partitions-'));
  try {
    await measure(dir, rows);
  } finally {
    await endPrograms();
    rmSync(dir, { recursive: true, force: true });
  }
}
