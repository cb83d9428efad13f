/**
 * How many Slurm jobs with a worker node each a compute is to have now, and which of them go. Pure: what was seen and what is remembered
 * come in, what is to be done and remembered comes out.
 *
 *   pending ──► running ──► joined ──► idle ──► told to leave        a job of Slurm as the allocator sees it
 *      └───────────┴── ended before it joined: a failure; after some in a row nothing is submitted for a while
 */
import { limits } from '../../../common/core/limits.ts';

/** One that the allocator has submitted, in this life or an earlier one. */
export interface WorkerJob {
  readonly id: string;
  readonly state: 'pending' | 'running' | 'ending' | 'ended';
  /** In Slurm's words, such as `FAILED` and `NonZeroExitCode`. */
  readonly word: string;
  readonly reason: string;
}

/** A worker node that is connected. */
export interface WorkerNode {
  /** Of the job that it came with; null: it was started by hand. */
  readonly job: string | null;
  readonly slots: number;
  readonly leases: number;
}

export interface Seen {
  readonly instancesMin: number;
  readonly instancesMax: number;
  readonly idleMs: number;
  /** Mini-batches that wait or are under way. */
  readonly miniBatches: number;
  readonly nodes: readonly WorkerNode[];
  readonly jobs: readonly WorkerJob[];
}

/** From look to look. A new process begins with {@link nothingKnown}. */
export interface Memory {
  readonly isFirstLook: boolean;
  /** By job: since when nothing has run on its node; or, of one without a node, since when it runs. */
  readonly idleSince: ReadonlyMap<string, number>;
  /** Jobs whose node has joined. */
  readonly joined: ReadonlySet<string>;
  /** Jobs that were told to go, or whose end was looked at. */
  readonly settled: ReadonlySet<string>;
  /** Since a node last joined. */
  readonly failures: number;
  readonly lastFailure: string | null;
  readonly pausedUntil: number | null;
  /** Of the largest node seen. */
  readonly slots: number;
}

export const nothingKnown: Memory = {
  isFirstLook: true,
  idleSince: new Map(),
  joined: new Set(),
  settled: new Set(),
  failures: 0,
  lastFailure: null,
  pausedUntil: null,
  slots: 1,
};

export interface Decision {
  readonly wanted: number;
  readonly submit: number;
  /** `drain`: its node finishes what runs and leaves; `drop`: it has begun nothing. */
  readonly cancel: readonly { readonly id: string; readonly how: 'drain' | 'drop' }[];
  readonly memory: Memory;
}

export function allocate(seen: Seen, before: Memory, now: number): Decision {
  const looked = remember(seen, before, now);
  const wanted = wantedInstances(seen, looked);
  const alive = seen.jobs.filter(({ id, state }) => isAlive(state) && !looked.settled.has(id));
  const stuck = alive.filter((job) => isStuck(job, looked, now));
  const memory = stuck.reduce((one, job) => failed(settle(one, job.id), stuckText(job), now), looked);
  const rest = alive.filter((job) => !stuck.includes(job));
  const surplus = surplusOf(seen, rest, wanted, memory, now);
  const submit = memory.pausedUntil !== null && now < memory.pausedUntil ? 0 : submissions(rest.length, wanted, memory);
  return {
    wanted,
    submit,
    cancel: [
      ...stuck.map(({ id }) => ({ id, how: 'drop' as const })),
      ...surplus.map(({ id, state }) => ({ id, how: state === 'pending' ? ('drop' as const) : ('drain' as const) })),
    ],
    memory: surplus.reduce((one, { id }) => settle(one, id), memory),
  };
}

/** A submission that Slurm has refused counts as a job that failed. */
export function failed(memory: Memory, why: string, now: number): Memory {
  const failures = memory.failures + 1;
  const over = failures - limits.allocatorFailuresMax;
  const pauseMs = Math.min(limits.allocatorPauseMsMax, limits.allocatorPauseMsMin * 2 ** Math.min(over, 20));
  return { ...memory, failures, lastFailure: why, pausedUntil: over < 0 ? memory.pausedUntil : now + pauseMs };
}

function settle(memory: Memory, id: string): Memory {
  return { ...memory, settled: new Set([...memory.settled, id]) };
}

function remember(seen: Seen, before: Memory, now: number): Memory {
  const ids = new Set(seen.jobs.map(({ id }) => id));
  const here = new Map(seen.nodes.flatMap((node) => (node.job === null ? [] : [[node.job, node] as const])));
  const joined = new Set([...before.joined, ...here.keys()].filter((id) => ids.has(id)));
  const hasNew = [...joined].some((id) => !before.joined.has(id));
  const idle = seen.jobs.filter(({ id, state }) => state === 'running' && isIdle(seen, id));
  const ended = seen.jobs.filter(({ id, state }) => state === 'ended' && !before.settled.has(id));
  const lost = before.isFirstLook ? [] : ended.filter(({ id, word }) => !joined.has(id) && isFailure(word));
  const memory: Memory = {
    ...before,
    ...(hasNew ? { failures: 0, lastFailure: null, pausedUntil: null } : {}),
    isFirstLook: false,
    joined,
    idleSince: new Map(idle.map(({ id }) => [id, before.idleSince.get(id) ?? now])),
    // What Slurm has forgotten need not be remembered either.
    settled: new Set([...before.settled, ...ended.map(({ id }) => id)].filter((id) => ids.has(id))),
    slots: Math.max(before.slots, ...seen.nodes.filter(({ job }) => job !== null).map(({ slots }) => slots)),
  };
  return lost.reduce((one, job) => failed(one, endText(job), now), memory);
}

/** All worker nodes of the job, or none of them has joined yet. */
function isIdle({ nodes }: Seen, id: string): boolean {
  return nodes.every(({ job, leases }) => job !== id || leases === 0);
}

function wantedInstances({ miniBatches, instancesMin, instancesMax, nodes }: Seen, { slots }: Memory): number {
  // What nodes that were started by hand can take at once needs no others.
  const byHand = nodes.reduce((sum, node) => sum + (node.job === null ? node.slots : 0), 0);
  const needed = Math.ceil(Math.max(0, miniBatches - byHand) / slots);
  return Math.max(instancesMin, Math.min(instancesMax, needed));
}

/** Of jobs that fail, one is enough to find out whether they still do. */
function submissions(alive: number, wanted: number, { failures }: Memory): number {
  const missing = Math.max(0, wanted - alive);
  return Math.min(missing, failures > 0 ? 1 : limits.allocatorSubmissionsMax);
}

/** Those that wait first, the latest of them first; then nodes that have had nothing to do for long enough. */
function surplusOf(
  { idleMs }: Seen,
  alive: readonly WorkerJob[],
  wanted: number,
  { idleSince, joined }: Memory,
  now: number,
): readonly WorkerJob[] {
  const many = Math.max(0, alive.length - wanted);
  const waiting = alive.filter(({ state }) => state === 'pending').reverse();
  const idle = alive.filter(({ id }) => joined.has(id) && now - (idleSince.get(id) ?? now) >= idleMs);
  return [...waiting, ...idle].slice(0, many);
}

function isAlive(state: WorkerJob['state']): boolean {
  return state === 'pending' || state === 'running';
}

/** It runs, and no worker node of it has come. */
function isStuck({ id, state }: WorkerJob, { joined, idleSince }: Memory, now: number): boolean {
  return state === 'running' && !joined.has(id) && now - (idleSince.get(id) ?? now) > limits.allocatorJoinMsMax;
}

/** What somebody has canceled, or Slurm has taken for another job, is nothing that the next one would meet as well. */
function isFailure(word: string): boolean {
  return word !== 'CANCELLED' && word !== 'PREEMPTED';
}

function endText({ id, word, reason }: WorkerJob): string {
  const why = reason === '' || reason === 'None' ? '' : ` (${reason})`;
  return `Slurm job ${id} ended ${word}${why} before its worker node joined; its log says more`;
}

function stuckText({ id }: WorkerJob): string {
  return `Slurm job ${id} runs, and its worker node has not joined within ${limits.allocatorJoinMsMax / 1_000} s; its log says more`;
}
