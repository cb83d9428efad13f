/**
 * Shapes of what callers get, for the OpenAPI document and for tests that hold replies against it. Each is typed by the
 * view that it describes, so that neither can have a key that the other has not.
 */
import * as z from 'zod';
import { jobStates } from '../../common/core/states.ts';
import type {
  ErrorGroupView,
  JobErrorsView,
  JobEvent,
  JobView,
  NodeView,
  PrintedView,
  PrunedView,
  ShadowView,
} from './backend.ts';
import { errorCodeSchema } from './problem.ts';

const text = z.string();
const count = z.int().min(0);
const time = z.iso.datetime();
const bytes = count.describe('bytes');

const circumstances = {
  run_seconds: z.number().nullable().describe('inside run(), of the whole mini-batch'),
  peak_memory_bytes: bytes.nullable(),
  host_exit: text.nullable().describe('how the scoring host ended; null when it lived on'),
};

export const jobStateSchema: z.ZodEnum<{ [S in (typeof jobStates)[number]]: S }> = z
  .enum(jobStates)
  .meta({ id: 'JobStatus', description: "Azure's names" });

const labels = z.record(text, text);
const place = z.object({ type: text, path: text }).meta({ id: 'Place' });
const service = z.object({ endpoint: text }).meta({ id: 'Service' });

const latency = z.object({ total: z.number(), p50: z.number().nullable(), p95: z.number().nullable() }).meta({
  id: 'Latency',
  description: 'seconds inside run(), a mini-batch at a time; within a fifth',
});

export const shadow: z.ZodType<ShadowView> = z
  .object({
    deployment: text,
    revision: count,
    tolerance: z.number().min(0),
    agreement: z.number().min(0).max(1).nullable().describe('share of the compared rows that are the same'),
    rows: z
      .object({
        compared: count,
        same: count,
        different: count,
        not_compared: count.describe('rows of the job that the shadow has no counterpart of'),
      })
      .meta({ id: 'ShadowRows' }),
    files: z
      .object({
        same: count,
        different: count,
        other_row_counts: count,
        failed_only_default: count,
        failed_only_shadow: count,
        failed_both: count,
        taken: count.describe('rows taken from an earlier output, which the shadow does not score'),
      })
      .meta({ id: 'ShadowFiles' }),
    mini_batches: z
      .object({
        compared: count,
        failed: count.describe('the shadow has no result'),
        other_columns: count.describe('compared, though columns have other names'),
      })
      .meta({ id: 'ShadowMiniBatches' }),
    columns: z
      .object({ default: z.array(text).readonly(), shadow: z.array(text).readonly() })
      .meta({ id: 'OtherColumns' })
      .nullable()
      .describe('names of the columns of both, where they are not the same'),
    seconds: z.object({ default: latency, shadow: latency }).meta({ id: 'ShadowSeconds' }),
    failures: z
      .array(z.object({ code: errorCodeSchema, message: text, mini_batches: count }).meta({ id: 'ShadowFailure' }))
      .readonly(),
  })
  .meta({ id: 'JobShadow' });

export const jobSchema: z.ZodType<JobView> = z
  .object({
    name: text,
    status: jobStateSchema,
    paused: z.boolean(),
    generation: count.describe('of the output: grows when a job that had ended went on'),
    waiting: text.nullable().describe('why it does not go on'),
    deployment: text,
    input_path: text,
    output_path: text,
    output_file: text.nullable(),
    created_at: time,
    started_at: time.nullable(),
    ended_at: time.nullable(),
    files: z
      .object({
        total: count.describe('so far listed; final once is_listed'),
        is_listed: z.boolean(),
        scored: count,
        taken: count.describe('of the scored ones: rows taken from an earlier output'),
        failed: count,
        missing: count.describe('of the failed ones: run() returned no row for them'),
        skipped: count,
        skipped_by: z
          .object({ hidden: count, special: count, folders: count, loops: count, excluded: count })
          .nullable(),
        split: z.object({ files: count, parts: count }).nullable(),
      })
      .meta({ id: 'JobFiles' }),
    since: z.object({ job: text, output_path: text, reason: text.nullable() }).meta({ id: 'JobSince' }).nullable(),
    shadow: shadow.nullable().describe('another deployment that scores the same files; null: none does'),
    mini_batches: z
      .object({ total: count, committed: count, leased: count, failed_tries: count })
      .meta({ id: 'JobMiniBatches' }),
    rows: count,
    parts: z.object({ total: count, is_listed: z.boolean(), made: count }).meta({ id: 'JobParts' }).nullable(),
    output_bytes: bytes.describe('how much of the output file is final'),
    nodes: count,
    quarantined_nodes: z.array(z.object({ name: text, reason: text }).meta({ id: 'QuarantinedNode' })).readonly(),
    error: z.object({ code: errorCodeSchema, message: text, detail: text }).meta({ id: 'JobError' }).nullable(),
    last_failure: z
      .object({
        first: count,
        count,
        code: errorCodeSchema,
        message: text,
        node: text.nullable(),
        tries: count,
        ...circumstances,
      })
      .meta({ id: 'LastFailure' })
      .nullable(),
    id: text.describe('path of this API'),
    type: z.literal('pipeline').describe("as Azure's job show has it"),
    display_name: text,
    experiment_name: text,
    endpoint: text.nullable().describe('that was invoked; null: submitted with a deployment of its own'),
    revision: count.nullable().describe('of the deployment under that endpoint'),
    owner: text,
    priority: z.int().min(-100).max(100).describe('a higher one goes first'),
    compute: text.nullable(),
    require: labels.describe('labels that its worker nodes must have'),
    description: text.nullable(),
    tags: labels,
    properties: labels,
    archived: z.boolean(),
    creation_context: z.object({ created_at: time, created_by: text }).meta({ id: 'CreationContext' }),
    services: z.object({ Studio: service, Tracking: service }).meta({ id: 'JobServices' }),
    inputs: z.record(text, place),
    outputs: z.record(text, place),
  })
  .meta({ id: 'Job' });

export const nodeSchema: z.ZodType<NodeView> = z
  .object({
    name: text,
    state: z.enum(['ready', 'quarantined', 'suspect', 'lost', 'draining', 'gone']).meta({ id: 'NodeState' }),
    hostname: text,
    pid: count,
    slots: count,
    leases: count,
    heartbeat_gap_ms_max: count,
    joined_at: time.nullable().describe('null: it is not here, and what is said of it holds when it joins'),
    quarantines: z
      .array(z.object({ job: text, reason: text }).meta({ id: 'NodeQuarantine' }))
      .readonly()
      .describe('jobs of which it gets no more work'),
    cordoned: z.boolean().describe('it gets no work; what it holds goes on'),
    quarantine: text.nullable().describe('why it was quarantined by hand'),
    labels: z.record(text, text),
    leaves_at: time.nullable().describe('when its time is up, such as that of its Slurm job; null: it stays'),
    gpus: z
      .array(
        z
          .object({
            name: text.describe('as scoring hosts are given it'),
            model: text,
            memory_used_bytes: count.describe('by whomever'),
            memory_bytes: count.nullable(),
            busy_percent: z.number().nullable().describe('null: not known, as of instances'),
          })
          .meta({ id: 'Gpu' }),
      )
      .readonly()
      .describe('how full its GPUs are; none while no scoring host has one'),
  })
  .meta({ id: 'Node' });

export const prunedSchema: z.ZodType<PrunedView> = z
  .object({
    name: text,
    status: jobStateSchema,
    ended_at: time.nullable(),
    output_path: text,
    output_removed: z.boolean(),
  })
  .meta({ id: 'PrunedJob' });

/** What the `data` of a server-sent event holds. */
export const eventSchema: z.ZodType<JobEvent> = z
  .object({
    sequence: count,
    time,
    kind: z
      .enum(['state', 'progress', 'attempt-failed', 'file-failed', 'node', 'waiting'])
      .meta({ id: 'JobEventKind' }),
    message: text,
    job: jobSchema,
  })
  .meta({ id: 'JobEvent' });

export const fileSchema: z.ZodType<{ readonly path: string; readonly size_bytes: number }> = z
  .object({ path: text.describe('relative'), size_bytes: bytes })
  .meta({ id: 'FileEntry' });

const span = z.tuple([count, count]).readonly().meta({ description: 'first byte and the one behind the last' });

export const printedSchema: z.ZodType<PrintedView> = z
  .object({
    first: count,
    count,
    token: text,
    attempt: count,
    status: z.enum(['RUN_DONE', 'RUN_EXCEPTION', 'RUN_TIMEOUT', 'CRASHED']).meta({ id: 'AttemptStatus' }),
    start: time,
    run_seconds: z.number(),
    cpu_seconds: z.number().nullable(),
    rows: count,
    failed: count,
    stdout: span,
    stderr: span,
    code: errorCodeSchema.nullable(),
    message: text.nullable(),
    node: text,
    process: text,
  })
  .meta({ id: 'Attempt' });

const errorGroupSchema: z.ZodType<ErrorGroupView> = z
  .object({
    code: errorCodeSchema,
    message: text,
    trace: text,
    files: count,
    first_file: text,
    last_file: text,
    example: z
      .object({ file: text, node: text.nullable(), tries: count, ...circumstances })
      .meta({ id: 'ErrorExample' }),
  })
  .meta({ id: 'ErrorGroup' });

export const jobErrorsSchema: z.ZodType<JobErrorsView> = z
  .object({
    name: text,
    status: jobStateSchema,
    error: z.object({ code: errorCodeSchema, message: text, trace: text }).meta({ id: 'JobFailure' }).nullable(),
    failed_files: count,
    groups: count,
    value: z.array(errorGroupSchema).readonly(),
    logs_path: text,
  })
  .meta({ id: 'JobErrors' });
