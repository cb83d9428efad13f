/** What worker nodes have noted of mini-batches, read back from a job's log folder. */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import type { BatchRecord } from '../../common/core/batch-record.ts';
import { isErrorCode, type ErrorCode } from '../../common/core/error-codes.ts';
import { listLogs } from './log-store.ts';
import { logsDirName } from './log-tree.ts';

/** A record and the process that it is of. */
export interface PlacedRecord extends BatchRecord {
  readonly node: string;
  /** `process000` */
  readonly process: string;
}

/** All records of a job, process by process; lines that are not whole yet, or of a newer release, are passed over. */
export async function* batchRecords(outputDir: string): AsyncGenerator<PlacedRecord> {
  for (const { path } of await listLogs(outputDir)) {
    const [, node = '', process = ''] = /^sys\/mini_batches\/([^/]+)\/([^/]+)\.jsonl$/.exec(path) ?? [];
    if (node === '') continue;
    let rest = '';
    for await (const text of createReadStream(join(outputDir, logsDirName, path), readOptions)) {
      const lines = (rest + (text as string)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const record = recordOf(line);
        if (record) yield { ...record, node, process };
      }
    }
    const last = recordOf(rest);
    if (last) yield { ...last, node, process };
  }
}

const readOptions = { encoding: 'utf8', highWaterMark: 262_144 } as const;

/**
 * Null for what is none. A job may have a million lines, which worker nodes have written and nobody else: looked at field by field, as a
 * schema for each takes longer than its reading.
 */
function recordOf(line: string): BatchRecord | null {
  const value = jsonOf(line);
  if (typeof value !== 'object' || value === null) return null;
  const { cpu_seconds = null, code, message, status, ...told } = value as Readonly<Record<string, unknown>>;
  const { first, count, token, attempt, start, run_seconds, rows, failed, stdout, stderr } = told;
  const isWhole =
    [first, count, attempt, rows, failed].every(isCount) &&
    [token, start].every((text) => typeof text === 'string') &&
    (message === null || typeof message === 'string') &&
    (code === null || typeof code === 'string') &&
    (cpu_seconds === null || typeof cpu_seconds === 'number') &&
    typeof run_seconds === 'number' &&
    [stdout, stderr].every(isSpan) &&
    statuses.has(status);
  if (!isWhole) return null;
  const known = code === null || isErrorCode(code as string) ? (code as ErrorCode | null) : 'INTERNAL';
  const what = { first, count, token, attempt, status, start, run_seconds, cpu_seconds, rows, failed };
  return { ...what, stdout, stderr, code: known, message } as BatchRecord;
}

const statuses: ReadonlySet<unknown> = new Set<BatchRecord['status']>([
  'RUN_DONE',
  'RUN_EXCEPTION',
  'RUN_TIMEOUT',
  'CRASHED',
]);

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isSpan(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every(isCount);
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
