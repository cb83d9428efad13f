/** What worker nodes have noted of mini-batches, read back from a job's log folder. */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import type { BatchRecord } from '../../common/core/batch-record.ts';
import { isErrorCode } from '../../common/core/error-codes.ts';
import { parseJson } from '../../common/core/parse-json.ts';
import { listLogs } from './log-store.ts';
import { logsDirName } from './log-tree.ts';

/** A record and the process that it is of. */
export interface PlacedRecord extends BatchRecord {
  readonly node: string;
  /** `process000` */
  readonly process: string;
}

/** Records that are of one process. */
export interface RecordGroup {
  readonly node: string;
  readonly process: string;
  readonly records: readonly BatchRecord[];
}

/** All records of a job, process by process; lines that are not whole yet, or of a newer release, are passed over. */
export async function* batchRecords(outputDir: string): AsyncGenerator<PlacedRecord> {
  for await (const { node, process, records } of recordGroups(outputDir)) {
    for (const record of records) yield { ...record, node, process };
  }
}

/** The same in groups, none empty: a promise for each of a million records would take longer than the record. */
export async function* recordGroups(outputDir: string): AsyncGenerator<RecordGroup> {
  for (const { path } of await listLogs(outputDir)) {
    const [, node = '', process = ''] = /^sys\/mini_batches\/([^/]+)\/([^/]+)\.jsonl$/.exec(path) ?? [];
    if (node === '') continue;
    let rest = '';
    for await (const text of createReadStream(join(outputDir, logsDirName, path), readOptions)) {
      const lines = (rest + (text as string)).split('\n');
      rest = lines.pop() ?? '';
      const records = recordsOf(lines);
      if (records.length > 0) yield { node, process, records };
    }
    const last = recordsOf([rest]);
    if (last.length > 0) yield { node, process, records: last };
  }
}

function recordsOf(lines: readonly string[]): readonly BatchRecord[] {
  const records: BatchRecord[] = [];
  for (const line of lines) {
    const record = recordOf(line);
    if (record) records.push(record);
  }
  return records;
}

const readOptions = { encoding: 'utf8', highWaterMark: 262_144 } as const;

/**
 * Null for what is none. A job may have a million lines, which worker nodes have written and nobody else: looked at field by field, as a
 * schema for each takes longer than its reading.
 */
function recordOf(line: string): BatchRecord | null {
  const value = parseJson(line) as Readonly<Record<keyof BatchRecord, unknown>> | null | undefined;
  if (typeof value !== 'object' || value === null || !isRecord(value)) return null;
  const { first, count, token, attempt, status, start, run_seconds, cpu_seconds, rows, failed, stdout, stderr } = value;
  const code = value.code === null || isErrorCode(value.code) ? value.code : 'INTERNAL';
  const { message } = value;
  const cpu = cpu_seconds ?? null;
  // prettier-ignore
  return { first, count, token, attempt, status, start, run_seconds, cpu_seconds: cpu, rows, failed, stdout, stderr, code, message };
}

/** But for a code of a newer release, and for what older ones have not noted. */
function isRecord(value: Readonly<Record<keyof BatchRecord, unknown>>): value is BatchRecord {
  const { cpu_seconds: cpu, code, message } = value;
  return (
    isCount(value.first) &&
    isCount(value.count) &&
    isCount(value.attempt) &&
    isCount(value.rows) &&
    isCount(value.failed) &&
    typeof value.token === 'string' &&
    typeof value.start === 'string' &&
    typeof value.run_seconds === 'number' &&
    (cpu === undefined || cpu === null || typeof cpu === 'number') &&
    (message === null || typeof message === 'string') &&
    (code === null || typeof code === 'string') &&
    isSpan(value.stdout) &&
    isSpan(value.stderr) &&
    statuses.has(value.status)
  );
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
  return Array.isArray(value) && value.length === 2 && isCount(value[0]) && isCount(value[1]);
}
