/** Shapes of what the coordinator answers. Fields that a newer coordinator adds pass through unseen. */
import * as z from 'zod';
import { errorRules, type ErrorCode } from '../common/core/error-codes.ts';
import { jobStates } from '../common/core/states.ts';
import type {
  JobErrorsView,
  JobEvent,
  JobView,
  NodeView,
  PrintedView,
  PrunedView,
} from '../coordinator/api/backend.ts';
import type { Comparison } from '../coordinator/compare/compare-outputs.ts';
import type { OutputFile } from './job-text.ts';

const count = z.number();
const text = z.string();

/** A code of a newer coordinator counts as INTERNAL. */
const code = text.transform((value): ErrorCode =>
  Object.hasOwn(errorRules, value) ? (value as ErrorCode) : 'INTERNAL',
);

const circumstances = {
  run_seconds: count.nullable(),
  peak_memory_bytes: count.nullable(),
  host_exit: text.nullable(),
};

const labels = z.record(text, text).default({});
const place = z.looseObject({ type: text, path: text });
const service = z.looseObject({ endpoint: text }).default({ endpoint: '' });

/** All of it is absent in the answers of older releases. */
const origin = {
  id: text.default(''),
  type: z.literal('pipeline').default('pipeline'),
  display_name: text.default(''),
  experiment_name: text.default(''),
  endpoint: text.nullable().default(null),
  revision: count.nullable().default(null),
  owner: text.default(''),
  priority: count.default(0),
  compute: text.nullable().default(null),
  require: labels,
  description: text.nullable().default(null),
  tags: labels,
  properties: labels,
  archived: z.boolean().default(false),
  creation_context: z.looseObject({ created_at: text, created_by: text }).default({ created_at: '', created_by: '' }),
  services: z.looseObject({ Studio: service, Tracking: service }).prefault({}),
  inputs: z.record(text, place).default({}),
  outputs: z.record(text, place).default({}),
};

const latency = z.looseObject({ total: count, p50: count.nullable(), p95: count.nullable() });
const names = z.array(text);

const shadowReply = z.looseObject({
  ...{ deployment: text, revision: count, tolerance: count, agreement: count.nullable() },
  rows: z.looseObject({ compared: count, same: count, different: count, not_compared: count }),
  files: z.looseObject({
    ...{ same: count, different: count, other_row_counts: count },
    ...{ failed_only_default: count, failed_only_shadow: count, failed_both: count, taken: count },
  }),
  mini_batches: z.looseObject({ compared: count, failed: count, other_columns: count }),
  columns: z.looseObject({ default: names, shadow: names }).nullable(),
  seconds: z.looseObject({ default: latency, shadow: latency }),
  failures: z.array(z.looseObject({ code, message: text, mini_batches: count })),
});

export const jobReply: z.ZodType<JobView> = z.looseObject({
  name: text,
  status: z.enum(jobStates),
  // Absent in the answers of older releases.
  paused: z.boolean().default(false),
  generation: count.default(1),
  waiting: text.nullable(),
  deployment: text,
  input_path: text,
  output_path: text,
  output_file: text.nullable(),
  created_at: text,
  started_at: text.nullable(),
  ended_at: text.nullable(),
  files: z.looseObject({
    total: count,
    is_listed: z.boolean(),
    scored: count,
    taken: count.default(0),
    failed: count,
    missing: count,
    skipped: count,
    skipped_by: z
      .looseObject({ hidden: count, special: count, folders: count, loops: count, excluded: count })
      .nullable()
      .default(null),
    split: z.looseObject({ files: count, parts: count }).nullable().default(null),
  }),
  since: z.looseObject({ job: text, output_path: text, reason: text.nullable() }).nullable().default(null),
  shadow: shadowReply.nullable().default(null),
  mini_batches: z.looseObject({ total: count, committed: count, leased: count, failed_tries: count }),
  rows: count,
  parts: z.looseObject({ total: count, is_listed: z.boolean(), made: count }).nullable().default(null),
  output_bytes: count,
  nodes: count,
  quarantined_nodes: z.array(z.looseObject({ name: text, reason: text })).default([]),
  error: z.looseObject({ code, message: text, detail: text }).nullable(),
  last_failure: z
    .looseObject({ first: count, count, code, message: text, node: text.nullable(), tries: count, ...circumstances })
    .nullable(),
  ...origin,
});

/** Older releases answer with all of them at once. */
export const jobsReply: z.ZodType<{ readonly value: readonly JobView[]; readonly next: string | null }> = z.object({
  value: z.array(jobReply),
  next: text.nullable().default(null),
});

export const prunedReply: z.ZodType<{ readonly value: readonly PrunedView[] }> = z.object({
  value: z.array(
    z.looseObject({
      name: text,
      status: z.enum(jobStates),
      ended_at: text.nullable(),
      output_path: text,
      output_removed: z.boolean(),
    }),
  ),
});

export const nodeReply: z.ZodType<NodeView> = z.looseObject({
  name: text,
  state: z.enum(['ready', 'quarantined', 'suspect', 'lost', 'draining', 'gone']),
  hostname: text,
  pid: count,
  slots: count,
  leases: count,
  heartbeat_gap_ms_max: count,
  joined_at: text.nullable(),
  quarantines: z.array(z.looseObject({ job: text, reason: text })).default([]),
  cordoned: z.boolean().default(false),
  quarantine: text.nullable().default(null),
  labels: z.record(text, text).default({}),
  leaves_at: text.nullable().default(null),
  gpus: z
    .array(
      z.looseObject({
        ...{ name: text, model: text, memory_used_bytes: count, memory_bytes: count.nullable() },
        busy_percent: z.number().nullable(),
      }),
    )
    .default([]),
});

export const nodesReply: z.ZodType<{ readonly value: readonly NodeView[] }> = z.object({ value: z.array(nodeReply) });

export const eventReply: z.ZodType<JobEvent> = z.looseObject({
  sequence: count,
  time: text,
  kind: z.enum(['state', 'progress', 'attempt-failed', 'file-failed', 'node', 'waiting']),
  message: text,
  job: jobReply,
});

export const filesReply: z.ZodType<{ readonly value: readonly OutputFile[] }> = z.object({
  value: z.array(z.looseObject({ path: text, size_bytes: count })),
});

const span = z.tuple([count, count]);

export const printedReply: z.ZodType<{ readonly value: readonly PrintedView[] }> = z.object({
  value: z.array(
    z.looseObject({
      first: count,
      count,
      token: text,
      attempt: count,
      status: z.enum(['RUN_DONE', 'RUN_EXCEPTION', 'RUN_TIMEOUT', 'CRASHED']),
      start: text,
      run_seconds: count,
      cpu_seconds: count.nullable(),
      rows: count,
      failed: count,
      stdout: span,
      stderr: span,
      code: code.nullable(),
      message: text.nullable(),
      node: text,
      process: text,
    }),
  ),
});

export const errorsReply: z.ZodType<JobErrorsView> = z.looseObject({
  name: text,
  status: z.enum(jobStates),
  error: z.looseObject({ code, message: text, trace: text }).nullable(),
  failed_files: count,
  groups: count,
  value: z.array(
    z.looseObject({
      code,
      message: text,
      trace: text,
      files: count,
      first_file: text,
      last_file: text,
      example: z.looseObject({
        file: text,
        node: text.nullable(),
        tries: count,
        ...circumstances,
      }),
    }),
  ),
  logs_path: text,
});

const compared = z.looseObject({
  ...{ job: text, deployment: text, output_path: text, files: count, failed_files: count, rows: count },
  seconds: count.nullable(),
});

export const comparisonReply: z.ZodType<Comparison> = z.looseObject({
  ...{ a: compared, b: compared, tolerance: count },
  files: z.looseObject({
    ...{ same: count, different: count, other_row_counts: count, only_a: count, only_b: count },
    ...{ failed_only_a: count, failed_only_b: count, failed_both: count, grouped: count },
  }),
  rows: z.looseObject({ compared: count, same: count, different: count }),
  agreement: count.nullable(),
  differences: z.array(z.looseObject({ file: text, row: count.nullable(), a: text.nullable(), b: text.nullable() })),
});

/** @source RFC 9457, with our `code` and `info` */
export const problemReply: z.ZodType<{
  readonly code: string;
  readonly detail: string;
  readonly info?: string | undefined;
}> = z.object({ code: text, detail: text, info: text.optional() });
