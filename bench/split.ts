/**
 * One large CSV (`SPLIT_MB`, default 300) through a small ONNX model on a worker node with two slots: whole on one of them with
 * `split_files: off`, in parts on both with `auto`, by turns (`SPLIT_ROUNDS` of each, default 2), from the first mini-batch to the sealed
 * output; and how fast a node finds where rows begin, in plain and in quoted text. One line of JSON for each, then the medians. `auto` must
 * be the faster one with the same output; ends with 1 otherwise.
 */
import { createWriteStream, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { invariant } from '../common/core/invariant.ts';
import { ClusterProcesses } from '../test/helpers/cluster-processes.ts';
import { onnxModel } from '../test/helpers/onnx-model.ts';
import { endPrograms } from '../test/helpers/programs.ts';
import { readOutput } from '../test/helpers/sealed-output.ts';
import { RowScanner } from '../worker/core/row-scanner.ts';

const bytesWanted = Number(process.env['SPLIT_MB'] ?? 300) * 1_000_000;
const rounds = Number(process.env['SPLIT_ROUNDS'] ?? 2);
const jobMs = 900_000;
const scanBytes = 64 * 1_048_576;

function print(line: Record<string, unknown>): void {
  console.log(JSON.stringify({ bench: 'split', ...line }));
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (at: number): number => sorted[Math.floor(at)] ?? Number.NaN;
  return (middle((sorted.length - 1) / 2) + middle(sorted.length / 2)) / 2;
}

/** A row of a dozen cells, as sensors and ledgers have them. */
function rowOf(i: number): string {
  const cells = Array.from({ length: 10 }, (_, column) => ((i * 7_919 * (column + 1)) % 1_000_003) / 1_000);
  return `${i},${cells.join(',')},station ${i % 97}\n`;
}

function scan(text: string, name: string): void {
  const bytes = Buffer.alloc(scanBytes, text);
  const block = 1_048_576;
  const speeds = Array.from({ length: 5 }, () => {
    const scanner = new RowScanner({ kind: 'csv', delimiter: 0x2c, isPandas: false });
    const began = performance.now();
    for (let at = 0; at < scanBytes; at += block) scanner.seek(bytes.subarray(at, at + block), 0, Infinity);
    return scanBytes / 1_000 / (performance.now() - began);
  });
  print({ what: 'scan', text: name, megabytesPerSecond: Math.round(median(speeds)) });
}

async function write(path: string): Promise<number> {
  const out = createWriteStream(path);
  out.write(`id,${Array.from({ length: 10 }, (_, i) => `x${i}`).join(',')},place\n`);
  let rows = 0;
  for (let bytes = 0; bytes < bytesWanted;) {
    let piece = '';
    for (let i = 0; i < 10_000; i += 1) piece += rowOf(rows++);
    bytes += piece.length;
    if (!out.write(piece)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'finish');
  return rows;
}

async function measure(dir: string): Promise<void> {
  scan(Array.from({ length: 1_000 }, (_, i) => rowOf(i)).join(''), 'plain');
  scan(Array.from({ length: 1_000 }, (_, i) => `${i},"he said ""${'so '.repeat(i % 90)}""\n",1\n`).join(''), 'quoted');
  await mkdir(join(dir, 'in'));
  const rows = await write(join(dir, 'in', 'table.csv'));
  const value = { type: 'float32', shape: ['n', 1] } as const;
  const inputs = Array.from({ length: 10 }, (_, i) => ({ name: `x${i}`, ...value }));
  const nodes = inputs.slice(1).map(({ name }, i) => ({
    ...{ op: 'Add', inputs: [i === 0 ? 'x0' : `sum${i - 1}`, name], outputs: [i === 8 ? 'y' : `sum${i}`] },
  }));
  const model = join(dir, 'sum.onnx');
  writeFileSync(model, onnxModel({ inputs, outputs: [{ name: 'y', ...value }], nodes }));
  const cluster = await ClusterProcesses.start({ dir });
  await cluster.startWorker('node', { slots: 2 });
  const seconds: Record<string, number[]> = { off: [], auto: [] };
  const digests = new Set<string>();
  for (let round = 0; round < rounds; round += 1) {
    for (const split of ['off', 'auto']) {
      const output = join(dir, `out-${split}-${round}`);
      const job = await cluster.submit([
        ...[model, '--input', join(dir, 'in'), '--output', output, '--split-files', split],
        ...['--set', 'settings.retry_settings.timeout=900'],
      ]);
      const end = await cluster.job(job, (view) => view.ended_at !== null, 'its end', jobMs);
      invariant(end.status === 'Completed' && end.rows === rows, `${split} came to ${JSON.stringify(end)}`);
      const took = (Date.parse(end.ended_at ?? '') - Date.parse(end.started_at ?? '')) / 1_000;
      seconds[split]?.push(took);
      digests.add(readOutput(output).sha256);
      print({ round, split, seconds: took, rows, parts: end.files.total });
      await rm(output, { recursive: true, force: true });
    }
  }
  const [off, auto] = [median(seconds['off'] ?? []), median(seconds['auto'] ?? [])];
  print({ what: 'median', off, auto, times: Math.round((off / auto) * 100) / 100, isSame: digests.size === 1 });
  if (!(auto < off) || digests.size !== 1) process.exitCode = 1;
}

const dir = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-bench-'));
try {
  await measure(dir);
} finally {
  await endPrograms();
  await rm(dir, { recursive: true, force: true });
}
