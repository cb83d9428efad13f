/** A sample of an input: its paths, a list of them that a job can be given, and what is found in that job's output folder. */
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import * as z from 'zod';
import { BatchError } from '../common/core/batch-error.ts';
import { inputListColumnDefault, type InputSelection } from '../common/core/input-selection.ts';
import { errnoOf } from '../common/io/errno.ts';
import type { Chosen } from './core/sample.ts';
import type { SampledFile, SampleFindings } from './core/sample-report.ts';
import type { Inputs } from './input/input-by-location.ts';
import { batchRecords, type PlacedRecord } from './logs/batch-records.ts';
import { logsDirName } from './logs/log-tree.ts';
import { errorsName } from './output/output-names.ts';
import type { InputLook } from './plan-input.ts';

/** Lists the input once more, up to the last file of the sample. @throws INPUT_CHANGED, and as listing does */
export async function samplePaths(
  { listInput }: Pick<Inputs, 'listInput'>,
  inputPath: string,
  look: InputLook,
  { ordinals }: Chosen,
): Promise<readonly string[]> {
  const paths: string[] = [];
  let first = 0;
  for await (const page of listInput(inputPath, look.selection)) {
    while (paths.length < ordinals.length && (ordinals[paths.length] as number) < first + page.length) {
      paths.push(page[(ordinals[paths.length] as number) - first]?.path ?? '');
    }
    if (paths.length === ordinals.length) return paths;
    first += page.length;
  }
  throw new BatchError(
    'INPUT_CHANGED',
    `${inputPath} has fewer files than a moment ago; plan again when it is at rest`,
  );
}

/** What a job is given to score the sample alone. Writes `folder`/sample.jsonl. */
export async function sampleSelection(
  folder: string,
  look: InputLook,
  paths: readonly string[],
): Promise<InputSelection> {
  if (paths.length === look.report.files) return look.selection;
  const path = join(folder, 'sample.jsonl');
  await writeFile(path, paths.map((one) => `${JSON.stringify({ [inputListColumnDefault]: one })}\n`).join(''));
  const list = { path, column: inputListColumnDefault, identity: null };
  return { include: [], exclude: [], recursive: true, list };
}

/** What came of the sample in the output folder of its job, which had a mini-batch for each file. */
export async function sampleFindings(
  outputDir: string,
  { ordinals }: Chosen,
  paths: readonly string[],
  outputName: string,
): Promise<SampleFindings> {
  const records = await lastRecords(outputDir);
  const failures = await failuresOf(outputDir);
  const files = paths.map((path, place): SampledFile => {
    const record = records.get(place);
    const failure = failures.get(place) ?? null;
    const seconds = record?.run_seconds ?? 0;
    const isFirst = record?.isFirst ?? false;
    return { ordinal: ordinals[place] as number, path, seconds, rows: record?.rows ?? 0, isFirst, failure };
  });
  const processes = await processesOf(outputDir);
  const peaks = processes.flatMap(({ peak_memory_bytes: peak }) => (peak === null ? [] : [peak]));
  return {
    files,
    initSeconds: Math.max(0, ...processes.map((one) => one.init_seconds)),
    peakMemoryBytes: peaks.length === 0 ? null : Math.max(...peaks),
    // A script that only sums up has no file of rows.
    outputBytes: outputName === '' ? 0 : await bytesOf(join(outputDir, outputName)),
    columns: processes.find(({ columns }) => columns !== null)?.columns ?? [],
  };
}

interface TimedRecord extends PlacedRecord {
  readonly isFirst: boolean;
}

/** By place in the sample. What failed was scored once, but for what was no fault of its own. */
async function lastRecords(outputDir: string): Promise<ReadonlyMap<number, TimedRecord>> {
  const found = new Map<number, TimedRecord>();
  const begun = new Set<string>();
  for await (const record of batchRecords(outputDir)) {
    const process = `${record.node}/${record.process}`;
    found.set(record.first, { ...record, isFirst: !begun.has(process) });
    begun.add(process);
  }
  return found;
}

const errorLine = z.object({ ordinal: z.int(), code: z.string(), message: z.string() });

async function failuresOf(outputDir: string): Promise<ReadonlyMap<number, NonNullable<SampledFile['failure']>>> {
  const path = join(outputDir, errorsName);
  const found = new Map<number, NonNullable<SampledFile['failure']>>();
  if ((await bytesOf(path)) === 0) return found;
  for await (const line of createInterface({ input: createReadStream(path, 'utf8'), crlfDelay: Infinity })) {
    const { ordinal, code, message } = errorLine.parse(JSON.parse(line));
    found.set(ordinal, { code, message: message.split('\n')[0] ?? '' });
  }
  return found;
}

const processRecord = z.object({
  init_seconds: z.number(),
  peak_memory_bytes: z.number().nullable(),
  columns: z.array(z.string()).nullable(),
});

async function processesOf(outputDir: string): Promise<readonly z.infer<typeof processRecord>[]> {
  const root = join(outputDir, logsDirName, 'sys', 'processes');
  const names = await readdir(root, { recursive: true }).catch(noneThere);
  const files = names.filter((name) => name.endsWith('.json')).sort();
  return await Promise.all(
    files.map(async (name) => processRecord.parse(JSON.parse(await readFile(join(root, name), 'utf8')))),
  );
}

function noneThere(error: unknown): string[] {
  if (errnoOf(error) === 'ENOENT') return [];
  throw error;
}

/** Of the file of rows, sealed or not; 0 when there is none. */
async function bytesOf(path: string): Promise<number> {
  for (const one of [path, `${path}.partial`]) {
    const found = await stat(one).catch((error: unknown) =>
      errnoOf(error) === 'ENOENT' ? null : Promise.reject(error),
    );
    if (found !== null) return found.size;
  }
  return 0;
}
