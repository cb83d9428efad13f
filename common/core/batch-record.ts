/**
 * What a worker node notes of each attempt at a mini-batch that one of its scoring hosts made: a line of JSON in the
 * host's record file, read back by the coordinator for `job logs --file` and the job's report.
 */
import type { ErrorCode } from './error-codes.ts';

/** First byte and the one behind the last. */
export type ByteSpan = readonly [number, number];

/** @source Azure ML parallel run report: words of the status column; CRASHED is ours */
export type BatchStatus = 'RUN_DONE' | 'RUN_EXCEPTION' | 'RUN_TIMEOUT' | 'CRASHED';

export interface BatchRecord {
  /** Ordinal of the first file. */
  readonly first: number;
  readonly count: number;
  readonly token: string;
  /** 1 for the first try. */
  readonly attempt: number;
  readonly status: BatchStatus;
  /** ISO 8601, UTC. */
  readonly start: string;
  readonly run_seconds: number;
  /** Of the scoring host meanwhile, to 10 ms; null when it has died, where nobody knows, and in records of older releases. */
  readonly cpu_seconds: number | null;
  readonly rows: number;
  /** Files without a result. */
  readonly failed: number;
  /** What the host printed meanwhile, in its log files. */
  readonly stdout: ByteSpan;
  readonly stderr: ByteSpan;
  readonly code: ErrorCode | null;
  readonly message: string | null;
}

/** The same of a scoring host itself, when it has ended. */
export interface ProcessRecord {
  readonly init_seconds: number;
  /** With all that it started; null when unknown. */
  readonly peak_memory_bytes: number | null;
  /** The most that was seen in use of its GPU, by whomever; null or absent: it had none, or nobody knows. */
  readonly peak_gpu_memory_bytes?: number | null;
  /** `name:type` of each column of its first rows; null when there were none, or none has a name. */
  readonly columns: readonly string[] | null;
}

/** `process007` @source Azure ML batch log tree */
export function processName(number: number): string {
  return `process${String(number).padStart(3, '0')}`;
}

/** Of a mini-batch that failed with `code`. */
export function statusOf(code: ErrorCode, isHostDead: boolean): BatchStatus {
  if (code === 'SCORER_TIMEOUT') return 'RUN_TIMEOUT';
  return isHostDead ? 'CRASHED' : 'RUN_EXCEPTION';
}
