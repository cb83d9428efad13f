/** What worker nodes have noted of mini-batches, read back from a job's log folder. */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import * as z from 'zod';
import type { BatchRecord } from '../../common/core/batch-record.ts';
import { errorRules, type ErrorCode } from '../../common/core/error-codes.ts';
import { listLogs } from './log-store.ts';
import { logsDirName } from './log-tree.ts';

/** A record and the process that it is of. */
export interface PlacedRecord extends BatchRecord {
  readonly node: string;
  /** `process000` */
  readonly process: string;
}

const count = z.int().min(0);
const span = z.tuple([count, count]);
const recordSchema: z.ZodType<BatchRecord> = z.object({
  first: count,
  count,
  token: z.string(),
  attempt: count,
  status: z.enum(['RUN_DONE', 'RUN_EXCEPTION', 'RUN_TIMEOUT', 'CRASHED']),
  start: z.string(),
  run_seconds: z.number(),
  cpu_seconds: z.number().nullable().default(null),
  rows: count,
  failed: count,
  stdout: span,
  stderr: span,
  code: z
    .string()
    .transform((code): ErrorCode => (Object.hasOwn(errorRules, code) ? (code as ErrorCode) : 'INTERNAL'))
    .nullable(),
  message: z.string().nullable(),
});

/** All records of a job, process by process; lines that are not whole yet, or of a newer release, are passed over. */
export async function* batchRecords(outputDir: string): AsyncGenerator<PlacedRecord> {
  for (const { path } of await listLogs(outputDir)) {
    const [, node = '', process = ''] = /^sys\/mini_batches\/([^/]+)\/([^/]+)\.jsonl$/.exec(path) ?? [];
    if (node === '') continue;
    const input = createReadStream(join(outputDir, logsDirName, path), 'utf8');
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      const parsed = recordSchema.safeParse(jsonOf(line));
      if (parsed.success) yield { ...parsed.data, node, process };
    }
  }
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
