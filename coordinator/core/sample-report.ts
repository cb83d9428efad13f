/** What a sample of an input, really scored, says of scoring all of it. Pure: what was measured in, a report out. */
import type { MiniBatchSize } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import { columnOf } from '../../common/core/result.ts';
import { chanceOf, estimateTotal, type Chosen, type Estimate, type Population, type SamplePoint } from './sample.ts';

/** Of one file of the sample. */
export interface SampledFile {
  readonly ordinal: number;
  readonly path: string;
  /** In run(); 0 when it came to none. */
  readonly seconds: number;
  readonly rows: number;
  /** It was the first one of its process. */
  readonly isFirst: boolean;
  readonly failure: { readonly code: string; readonly message: string } | null;
}

/** Of all of them together. */
export interface SampleFindings {
  /** In input order. */
  readonly files: readonly SampledFile[];
  /** Longest of all processes. */
  readonly initSeconds: number;
  /** Most of all processes; null when unknown. */
  readonly peakMemoryBytes: number | null;
  readonly outputBytes: number;
  /** `name:type`; empty when nobody gave names. */
  readonly columns: readonly string[];
}

export interface Machine {
  readonly processors: number;
  readonly memoryBytes: number;
}

export interface SampleReport {
  readonly files: number;
  readonly bytes: number;
  /** Of the whole job on the slots of the plan; the interval holds the truth nine times of ten, null where the sample is too small to say. */
  readonly job_seconds: Told;
  /** Inside run(), of all slots together. */
  readonly run_seconds: Told;
  /** What a file takes by itself, and what each MiB of it takes beside. */
  readonly seconds_per_file: number;
  readonly seconds_per_mb: number;
  readonly init_seconds: number;
  /** What the first file of a process takes beside. */
  readonly first_file_seconds: number;
  /** Of one scoring process. */
  readonly peak_memory_bytes: number | null;
  readonly output_rows: Told;
  readonly output_bytes: Told;
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly suggested: { readonly slots: number; readonly mini_batch_size: string };
  /** Of all files, were they all scored. */
  readonly failing_files: number;
  readonly failed: readonly { readonly path: string; readonly code: string; readonly message: string }[];
}

interface Told {
  readonly estimate: number;
  readonly low: number | null;
  readonly high: number | null;
}

/** Of the memory of a machine, what scoring processes may take. */
const memoryShare = 0.8;
/** A largest file that takes so many times as long as the mean one is not to share a count with the others. */
const evenFiles = 8;

export interface SampleReportOptions {
  readonly population: Population;
  readonly chosen: Chosen;
  readonly found: SampleFindings;
  /** Of the plan. */
  readonly slots: number;
  readonly machine: Machine;
}

export function sampleReport({ population, chosen, found, slots, machine }: SampleReportOptions): SampleReport {
  const { sizesBytes } = population;
  const { files } = found;
  const pointsOf = (valueOf: (file: SampledFile) => number, isTimed: boolean): SamplePoint[] =>
    files.map((file) => ({
      bytes: sizesBytes[file.ordinal] as number,
      value: valueOf(file),
      isCertain: chosen.certain.has(file.ordinal),
      isFirst: isTimed && file.isFirst,
    }));
  const run = estimateTotal(
    pointsOf(({ seconds }) => seconds, true),
    chosen.rest,
  );
  const rows = estimateTotal(
    pointsOf((file) => file.rows, false),
    chosen.rest,
  );
  const sampledRows = files.reduce((sum, file) => sum + file.rows, 0);
  const rowBytes = sampledRows === 0 ? 0 : found.outputBytes / sampledRows;
  const longest = files.reduce((most, one) => Math.max(most, one.seconds - (one.isFirst ? run.perFirst : 0)), 0);
  const begun = found.initSeconds + run.perFirst;
  const wall = (seconds: number): number => begun + Math.max(seconds / slots, longest);
  return {
    files: files.length,
    bytes: files.reduce((sum, { ordinal }) => sum + (sizesBytes[ordinal] as number), 0),
    job_seconds: told(run, wall, toMillis),
    run_seconds: told(run, (seconds) => seconds, toMillis),
    seconds_per_file: toMicros(run.perFile),
    seconds_per_mb: toMicros(run.perByte * 1_048_576),
    init_seconds: toMillis(found.initSeconds),
    first_file_seconds: toMillis(run.perFirst),
    peak_memory_bytes: found.peakMemoryBytes,
    output_rows: told(rows, (count) => count, Math.round),
    output_bytes: told(rows, (count) => count * rowBytes, Math.round),
    columns: found.columns.map(columnOf),
    suggested: {
      slots: slotsFor(machine, found.peakMemoryBytes),
      mini_batch_size: sizeText(sizeFor(run.total, longest, sizesBytes.length, slots)),
    },
    failing_files: Math.round(failingFiles(population, chosen, files)),
    failed: files.flatMap(({ path, failure }) => (failure === null ? [] : [{ path, ...failure }])),
  };
}

const toMillis = (value: number): number => Math.round(value * 1e3) / 1e3;
const toMicros = (value: number): number => Math.round(value * 1e6) / 1e6;

function told({ total, interval }: Estimate, of: (total: number) => number, round: (value: number) => number): Told {
  return {
    estimate: round(of(total)),
    low: interval && round(of(interval[0])),
    high: interval && round(of(interval[1])),
  };
}

function slotsFor({ processors, memoryBytes }: Machine, peakBytes: number | null): number {
  if (peakBytes === null || peakBytes === 0) return processors;
  return Math.max(1, Math.min(processors, Math.floor((memoryShare * memoryBytes) / peakBytes)));
}

/** As many files as take about as long as `auto` wants; `auto` itself where they differ much. */
function sizeFor(seconds: number, longest: number, files: number, slots: number): MiniBatchSize {
  const mean = seconds / files;
  if (mean <= 0 || longest > evenFiles * mean) return { kind: 'auto' };
  const share = Math.ceil(files / (slots * limits.autoTailShare));
  const wanted = Math.round(limits.autoSeconds / mean);
  return { kind: 'files', files: Math.max(1, Math.min(wanted, share, limits.miniBatchAutoFilesMax)) };
}

const sizeText = (size: MiniBatchSize): string => (size.kind === 'files' ? String(size.files) : size.kind);

/**
 * Type by type, as files of one type mostly fail together: the share of its files in the sample, each as much as it stands for.
 * A type that the sample lacks fails as all others do.
 */
function failingFiles({ sizesBytes, types }: Population, chosen: Chosen, files: readonly SampledFile[]): number {
  const counts = new Map<number, number>();
  for (const type of types) counts.set(type, (counts.get(type) ?? 0) + 1);
  const sums = new Map<number, { all: number; failed: number }>();
  const whole = { all: 0, failed: 0 };
  for (const { ordinal, failure } of files) {
    const weight = chosen.certain.has(ordinal) ? 1 : standsFor(sizesBytes[ordinal] as number, chosen, files.length);
    const own = sums.get(types[ordinal] as number) ?? { all: 0, failed: 0 };
    for (const sum of [own, whole]) {
      sum.all += weight;
      if (failure !== null) sum.failed += weight;
    }
    sums.set(types[ordinal] as number, own);
  }
  let failing = 0;
  for (const [type, count] of counts) {
    const { all, failed } = sums.get(type) ?? whole;
    failing += (count * failed) / all;
  }
  return failing;
}

/** Files of the input that a spread file of this size stands for. */
function standsFor(sizeBytes: number, { certain, rest }: Chosen, sampled: number): number {
  const chances = rest.bytes > 0 ? 2 * rest.bytes : rest.files;
  return chances / ((sampled - certain.size) * chanceOf(sizeBytes, rest));
}
