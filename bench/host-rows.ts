/**
 * What a row, a picture or a table costs in one scoring host, beside one process of the bare loop (`ceilings/`) on the same files: without a
 * coordinator, a worker node, an order or a disk. Processor time of the processes themselves, taking turns; one JSON line for each workload.
 *
 * `npm run bench -- host-rows [WORKLOAD…]`; `HOST_ROWS_ROUNDS` turns, `BENCH_SCALE` as for `peers`. `HOST_ROWS_PROFILE=DIR`: hosts write
 * profiles there (V8's, for hosts of Node).
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { HostProcess } from '../worker/pool/host-process.ts';
import { hostCommand } from '../worker/pool/host-command.ts';
import { defaultOnnxSettings } from '../common/core/onnx-settings.ts';
import { defaultOutputForm } from '../common/core/output-form.ts';
import type { Scorer } from '../common/core/deployment.ts';
import type { HostFile } from '../common/core/host-protocol.ts';
import { invariant } from '../common/core/invariant.ts';
import { Meter } from './harness/meter.ts';
import { placeOf } from './harness/place.ts';
import { digits } from './workloads/digits.ts';
import { photos } from './workloads/photos.ts';
import { pythonTables } from './workloads/python-tables.ts';
import { tableCsv, tableParquet, type Block } from './workloads/tables.ts';
import type { Place, Workload } from './workloads/workload.ts';

/** Of each: files of a mini-batch, where they are whole. */
const workloads: Readonly<Record<string, { make: (place: Place) => Promise<Workload>; files: number }>> = {
  digits: { make: digits, files: 256 },
  photos: { make: photos, files: 16 },
  'table-csv': { make: tableCsv, files: 1 },
  'table-parquet': { make: tableParquet, files: 1 },
  python: { make: pythonTables, files: 2 },
};

const rounds = Number(process.env['HOST_ROWS_ROUNDS'] ?? 5);
const profileDir = process.env['HOST_ROWS_PROFILE'];
const say = (text: string): void => void process.stderr.write(`${text}\n`);
const place = placeOf(Number(process.env['BENCH_SCALE'] ?? 0.05), () => false, say);
const dir = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-host-rows-'));
const ticksPerSecond = 100;

/** What the bare loop is given, which a host is given too. */
function given(workload: Workload): { argv: readonly string[]; input: string; model: string; blocks?: string } {
  const warm = workload.contenders.find(({ name }) => name === 'ceiling')?.warm;
  invariant(warm?.kind === 'serves', `${workload.name} has a bare loop`);
  const { argv } = warm.command;
  const after = (flag: string): string | undefined => (argv.includes(flag) ? argv[argv.indexOf(flag) + 1] : undefined);
  const blocks = after('--blocks');
  return {
    argv: [...argv, '--processes', '1'],
    input: after('--input') ?? '',
    model: after('--model') ?? after('--script') ?? '',
    ...(blocks === undefined ? {} : { blocks }),
  };
}

function miniBatches(input: string, blocks: string | undefined, files: number): HostFile[][] {
  if (blocks !== undefined) {
    const all = JSON.parse(readFileSync(blocks, 'utf8')) as Block[];
    return all.map((block) => [
      { path: join(input, block.file), name: block.file, part: partOf(join(input, block.file), block) },
    ]);
  }
  const names = readdirSync(input, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(input.length + 1))
    .sort();
  return Array.from({ length: Math.ceil(names.length / files) }, (_, i) =>
    names.slice(i * files, (i + 1) * files).map((name) => ({ path: join(input, name), name })),
  );
}

function partOf(path: string, block: Block): NonNullable<HostFile['part']> {
  const { firstRow, offset, bytes } = block;
  if (bytes === 0) return { kind: 'groups', first: firstRow / 122_880, count: 1, row: firstRow };
  return { kind: 'text', begin: offset, end: offset + bytes, head: headOf(path), row: firstRow, line: firstRow + 2 };
}

/** Bytes of the header and the first row. */
function headOf(path: string): number {
  const bytes = Buffer.alloc(4_096);
  const file = openSync(path, 'r');
  readSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
  return bytes.indexOf('\n', bytes.indexOf('\n') + 1) + 1;
}

/** User and system time of a process. */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

async function openHost(name: string, model: string): Promise<HostProcess> {
  const isPython = name === 'python';
  const scorer: Scorer = isPython
    ? { kind: 'python', script: 'score.py' }
    : { kind: 'onnx', settings: defaultOnnxSettings };
  const python = isPython ? await place.python('scoring') : null;
  const own = join(dir, name);
  mkdirSync(join(own, 'custom'), { recursive: true });
  const node = { PATH: '/usr/bin:/bin', OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' };
  const command = hostCommand({
    scorer,
    python,
    environment: { node, deployment: {}, modelDir: null, outputDir: null },
  });
  const profile = profileDir === undefined || isPython ? [] : ['--cpu-prof', '--cpu-prof-dir', profileDir];
  return await HostProcess.start({
    ...command,
    args: [...profile, ...command.args],
    cwd: own,
    spoolDir: join(own, 'spool'),
    logSink: () => undefined,
    init: {
      scorer,
      settings: {
        outputFormat: 'csv',
        outputForm: defaultOutputForm,
        outputAction: 'append_row',
        loggingLevel: 'warning',
      },
      modelDir: null,
      modelPath: isPython ? null : model,
      codeDir: isPython ? dirname(model) : null,
      customDir: join(own, 'custom'),
      logDir: join(own, 'logs'),
      job: 'bench',
      node: 'node-1',
      process: 0,
    },
  });
}

/** Processor seconds of the host for all of them; one is always sent ahead where the host takes it. */
async function hostRound(host: HostProcess, batches: readonly (readonly HostFile[])[]): Promise<number> {
  const before = cpuOf(host.pid);
  const left = batches.entries();
  const one = async (): Promise<void> => {
    for (const [first, files] of left) {
      const outcome = await host.queue(files, { first, timeoutMs: 120_000 });
      invariant(outcome.kind === 'scored' && outcome.summary.failed.length === 0, JSON.stringify(outcome));
      await outcome.body.discard();
    }
  };
  await Promise.all(host.ready.queues === true ? [one(), one()] : [one()]);
  return cpuOf(host.pid) - before;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
const rounded = (value: number, digits = 4): number => Number(value.toPrecision(digits));

async function compare(name: string): Promise<void> {
  const known = workloads[name];
  invariant(known !== undefined, `there is no workload ${name}; there are ${Object.keys(workloads).join(', ')}`);
  const workload = await known.make(place);
  const { argv, input, model, blocks } = given(workload);
  const batches = miniBatches(input, blocks, known.files);
  const host = await openHost(name, model);
  const bare = new Meter({ log: join(dir, `${name}.log`), cwd: dir });
  try {
    await bare.serve({ argv, env: { OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' } });
    const seconds: { host: number[]; bare: number[] } = { host: [], bare: [] };
    for (let round = -1; round < rounds; round += 1) {
      const { cpuSeconds } = await bare.line(join(dir, `${name}-${round}`));
      const own = await hostRound(host, batches);
      if (round < 0) continue;
      seconds.bare.push(cpuSeconds);
      seconds.host.push(own);
    }
    const perUnit = (all: readonly number[]): number => rounded((median(all) / workload.count) * 1e6);
    const shares = seconds.host.map((own, round) => (100 * (seconds.bare[round] as number)) / own);
    console.log(
      JSON.stringify({
        bench: 'host-rows',
        workload: name,
        unit: workload.unit,
        count: workload.count,
        ...{ hostUs: perUnit(seconds.host), bareUs: perUnit(seconds.bare) },
        ...{ hostSeconds: rounded(median(seconds.host)), bareSeconds: rounded(median(seconds.bare)) },
        percentOfBare: rounded(median(shares), 3),
      }),
    );
  } finally {
    await host.stop();
    await bare.close();
  }
}

const { positionals } = parseArgs({ allowPositionals: true });
try {
  for (const name of positionals.length === 0 ? Object.keys(workloads) : positionals) await compare(name);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
