/** Looks, decides, does, says: over and over until it is told to stop. Its jobs go on without it. */
import * as z from 'zod';
import type { Delay } from '../../common/io/delay.ts';
import type { Clock } from '../../common/io/clock.ts';
import { BatchError, toBatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { segment, type Transport } from '../api/transport.ts';
import { strangerError } from '../connection.ts';
import { nodeReply } from '../replies.ts';
import {
  allocate,
  failed,
  nothingKnown,
  type Decision,
  type Memory,
  type Seen,
  type WorkerJob,
} from './core/allocate.ts';
import type { Slurm } from './slurm.ts';

export interface AllocatorOptions {
  readonly api: Transport;
  readonly slurm: Pick<Slurm, 'jobs' | 'check' | 'submit' | 'cancel'>;
  readonly compute: Compute;
  readonly clock: Clock;
  readonly delay: Delay;
  /** What it does and what goes wrong, a line each. */
  readonly note: (text: string) => void;
  readonly lookMs: number;
}

/** A compute as far as an allocator goes by it. */
export interface Compute {
  readonly name: string;
  readonly type: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly min_instances: number;
  readonly max_instances: number | null;
  /** Seconds. */
  readonly idle_time_before_scale_down: number;
  readonly slurm_options: readonly string[];
}

const computeReply: z.ZodType<Compute> = z.looseObject({
  name: z.string(),
  type: z.string(),
  labels: z.record(z.string(), z.string()),
  min_instances: z.number(),
  max_instances: z.number().nullable(),
  idle_time_before_scale_down: z.number(),
  slurm_options: z.array(z.string()).default([]),
});

const demandReply = z.looseObject({ mini_batches: z.number(), nodes: z.array(nodeReply) });

/** The label by which the job of a worker node is known. */
export const jobLabel = 'slurm-job';

/** @throws RESOURCE_NOT_FOUND, REQUEST_INVALID for a compute that is not Slurm's or has no bound */
export async function readCompute(api: Transport, name: string): Promise<Compute & { readonly max_instances: number }> {
  const parsed = computeReply.safeParse((await api.ask('GET', pathOf(name))).value);
  if (!parsed.success) throw strangerError(api.origin, 'an answer is no compute');
  const { type, max_instances: max } = parsed.data;
  const how = `\`batchmill compute create --type slurm --name ${name} --max-instances 8\` makes it one`;
  if (type !== 'slurm')
    throw new BatchError('REQUEST_INVALID', `compute ${name} is of type ${type}, wanted slurm; ${how}`);
  if (max === null) throw new BatchError('REQUEST_INVALID', `compute ${name} has no max_instances; ${how}`);
  return { ...parsed.data, max_instances: max };
}

/** Ends when `signal` aborts. What goes wrong is said and tried again; nothing of it ends the allocator. */
export async function runAllocator(options: AllocatorOptions, signal: AbortSignal): Promise<void> {
  let memory = nothingKnown;
  let said = '';
  let trouble = '';
  while (!signal.aborted) {
    try {
      const looked = await look(options);
      const decision = allocate(looked.seen, memory, options.clock.wall());
      memory = await carryOut(options, decision);
      said = await report(options, decision, memory, looked.seen.jobs, said);
      trouble = '';
    } catch (error) {
      const { code, message } = toBatchError(error);
      if (message !== trouble) options.note(`${code}: ${message}; trying again`);
      trouble = message;
    }
    await options.delay(options.lookMs, signal);
  }
}

/** What people have changed of the compute counts from the next look on, but for the options of sbatch. */
async function look({ api, slurm, compute: { name } }: AllocatorOptions): Promise<{ readonly seen: Seen }> {
  const compute = await readCompute(api, name);
  // Jobs before nodes: a node that is gone when its job is looked at would look like one that never came.
  const jobs = await slurm.jobs();
  const demand = demandReply.safeParse((await api.ask('GET', `${pathOf(name)}/demand`)).value);
  if (!demand.success) throw strangerError(api.origin, 'an answer is no demand');
  const nodes = demand.data.nodes.map((node) => ({ ...node, job: node.labels[jobLabel] ?? null }));
  return {
    seen: {
      instancesMin: compute.min_instances,
      instancesMax: compute.max_instances,
      idleMs: compute.idle_time_before_scale_down * 1_000,
      miniBatches: demand.data.mini_batches,
      nodes,
      jobs,
    },
  };
}

async function carryOut({ slurm, note, clock }: AllocatorOptions, decision: Decision): Promise<Memory> {
  for (const { id, how } of decision.cancel) {
    await slurm.cancel(id, how);
    note(how === 'drain' ? `Slurm job ${id} is told to leave` : `Slurm job ${id} is not needed any more`);
  }
  let { memory } = decision;
  try {
    if (decision.submit > 0) await slurm.check();
    for (let count = 0; count < decision.submit; count += 1) note(`Slurm job ${await slurm.submit()} is submitted`);
  } catch (error) {
    const { message } = toBatchError(error);
    memory = failed(memory, message, clock.wall());
    note(`nothing was submitted: ${message}`);
  }
  return memory;
}

/** Only when it has changed: each is a line of the audit log. @returns what was said */
async function report(
  { api, compute, clock }: AllocatorOptions,
  { wanted }: Decision,
  { pausedUntil, lastFailure }: Memory,
  jobs: readonly WorkerJob[],
  said: string,
): Promise<string> {
  const isPaused = pausedUntil !== null && clock.wall() < pausedUntil;
  const body = {
    state: isPaused ? 'paused' : 'active',
    pending: jobs.filter(({ state }) => state === 'pending').length,
    running: jobs.filter(({ state }) => state === 'running').length,
    wanted,
    reason: lastFailure?.slice(0, limits.nodeReasonCharsMax) ?? null,
    paused_until: isPaused ? new Date(pausedUntil).toISOString() : null,
  };
  const text = JSON.stringify(body);
  if (text !== said) await api.ask('PUT', `${pathOf(compute.name)}/allocation`, { body });
  return text;
}

function pathOf(name: string): string {
  return `/v1/computes/${segment(name)}`;
}
