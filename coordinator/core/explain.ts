/** Why a job, or a mini-batch of it, is where it is: everything that stands against its going on, and what is under way. Folds of the ledger. */
import { isFinal } from '../../common/core/states.ts';
import { runningMax } from './admission.ts';
import { noBatch, noNode } from './batch-table.ts';
import { computeOf, isOneOf, wantOfNodes, type ForNodes } from './computes.ts';
import { isHeld } from './decide-known.ts';
import { wantOfRoom } from './granting.ts';
import { isAtWork, type FailedFile, type Job, type Ledger, type Lease } from './ledger.ts';
import { endsInTime, leftOf } from './node-end.ts';
import { isAllowed, turnOf } from './schedule.ts';
import { isWithinWindow } from './staging-window.ts';

/** What stands against a job's going on. */
export type Hindrance =
  | { readonly kind: 'room'; readonly message: string }
  | { readonly kind: 'paused' }
  | { readonly kind: 'listing' }
  | { readonly kind: 'endpoint-limit'; readonly endpoint: string; readonly max: number }
  | { readonly kind: 'compute'; readonly message: string }
  | { readonly kind: 'no-nodes' }
  | { readonly kind: 'quarantined'; readonly nodes: readonly string[] }
  /** So many milliseconds at most. */
  | { readonly kind: 'restart'; readonly nodes: readonly string[]; readonly leftMs: number }
  | { readonly kind: 'queue'; readonly before: number; readonly first: string; readonly priority: number }
  | { readonly kind: 'window'; readonly stagedBytes: number; readonly stagingBytesMax: number }
  /** What is next takes longer than the nodes stay that want work; so long they have at most. */
  | { readonly kind: 'leaving'; readonly nodes: readonly string[]; readonly leftMs: number }
  | { readonly kind: 'instance-count'; readonly max: number }
  | { readonly kind: 'preparing'; readonly node: string; readonly text: string }
  | { readonly kind: 'backoff'; readonly miniBatches: number; readonly nextMs: number }
  | { readonly kind: 'busy'; readonly slots: number };

/** All that applies, what must be mended first before the rest. Empty when it has ended, or goes on. `at`: attended milliseconds. */
export function hindrances(ledger: Ledger, job: Job, at: number): readonly Hindrance[] {
  if (isFinal(job.state)) return [];
  const found: Hindrance[] = [];
  const room = wantOfRoom(ledger, job);
  if (room) found.push({ kind: 'room', message: room.message });
  if (job.isPaused) found.push({ kind: 'paused' });
  if (job.state === 'Finalizing' || job.state === 'CancelRequested') return found;
  if (job.total === 0 && !job.isListed) return [...found, { kind: 'listing' }];
  const max = runningMax(ledger, job);
  if (job.state === 'Preparing' && max !== null) {
    found.push({ kind: 'endpoint-limit', endpoint: job.origin.endpoint ?? '', max });
  }
  found.push(...ofNodes(ledger, job, at), ...ofTurn(ledger, job, at));
  for (const [name] of job.nodes) {
    const text = ledger.nodes.get(name)?.preparations.get(job.name);
    if (text !== undefined) found.push({ kind: 'preparing', node: name, text });
  }
  return found;
}

function ofNodes(ledger: Ledger, job: Job, at: number): readonly Hindrance[] {
  const live = [...ledger.nodes.values()].filter(isAtWork);
  const found: Hindrance[] = [];
  if (isHeld(ledger, at)) {
    const nodes = [...(ledger.awaited ?? [])];
    found.push({ kind: 'restart', nodes, leftMs: ledger.grantFrom - at });
  }
  const want = wantOfNodes(ledger, job.origin);
  if (want !== null) found.push({ kind: 'compute', message: want });
  else if (live.length === 0) found.push({ kind: 'no-nodes' });
  const own = live.filter((node) => isOneOf(ledger, job.origin, node));
  const sick = own.filter(({ name }) => job.sick.has(name)).map(({ name }) => name);
  if (sick.length > 0 && sick.length === own.length) found.push({ kind: 'quarantined', nodes: sick });
  return found;
}

function ofTurn(ledger: Ledger, job: Job, at: number): readonly Hindrance[] {
  const found: Hindrance[] = [];
  if (job.waiting.size > 0) {
    const nextMs = Math.max(0, Math.min(...job.waiting.values()) - at);
    found.push({ kind: 'backoff', miniBatches: job.waiting.size, nextMs });
  }
  const next = job.pending.first();
  if (next === undefined || !ledger.runnable.has(job)) return found;
  const { before, first } = turnIn(ledger, job);
  if (first) {
    found.push({ kind: 'queue', before, first: first.rowsOf ?? first.name, priority: first.origin.priority });
  }
  if (!isWithinWindow(ledger, job, next)) {
    found.push({ kind: 'window', stagedBytes: ledger.stagedBytes, stagingBytesMax: ledger.stagingBytesMax });
  }
  const { instanceCountMax } = job.deployment.settings;
  if (instanceCountMax !== null && job.nodes.size >= instanceCountMax && ledger.hungry.size > 0) {
    found.push({ kind: 'instance-count', max: instanceCountMax });
  }
  found.push(...ofEnds(ledger, job, next, at));
  if (ledger.hungry.size === 0 && ledger.ready.slots > 0) found.push({ kind: 'busy', slots: ledger.ready.slots });
  return found;
}

function ofEnds(ledger: Ledger, job: Job, next: number, at: number): readonly Hindrance[] {
  const hungry = [...ledger.hungry].flatMap((name) => ledger.nodes.get(name) ?? []);
  const own = hungry.filter((node) => isAllowed(ledger, job, node));
  const { batches } = job;
  const isUncut = batches.state(next) === 'uncut';
  const files = isUncut ? 1 : batches.files(next);
  const work = { files, bytes: isUncut ? job.fileSizes.bytes(batches.first(next)) : batches.bytesOf(next) };
  if (own.length === 0 || own.some((node) => endsInTime(ledger, job, node, work, at))) return [];
  const leftMs = Math.max(0, ...own.map((node) => leftOf(ledger, node, at)));
  return [{ kind: 'leaving', nodes: own.map(({ name }) => name), leftMs }];
}

/** Jobs that are looked at before it when a node wants work. */
function turnIn(ledger: Ledger, job: Job): { readonly before: number; readonly first: Job | null } {
  let before = 0;
  let first: Job | null = null;
  const isServed = (nodes: ForNodes): boolean => wantOfNodes(ledger, nodes) === null;
  for (const other of ledger.runnable.inTurn({ ...turnOf(ledger), isServed })) {
    if (other === job) break;
    first ??= other;
    before += 1;
  }
  return { before, first };
}

export interface AttemptNow {
  readonly first: number;
  readonly count: number;
  readonly node: string;
  readonly state: 'fetched ahead' | 'running' | 'asked back' | 'its result is being written';
  /** Milliseconds. */
  readonly forMs: number;
}

/** Leases of the job, the oldest first. */
export function attemptsNow(ledger: Ledger, job: Job, at: number): readonly AttemptNow[] {
  const own = [...ledger.leases.values()].filter((lease) => lease.job === job.name);
  return own.map((lease) => ({
    first: job.batches.first(lease.batch),
    count: job.batches.files(lease.batch),
    node: lease.node,
    state: stateOf(lease),
    forMs: at - (lease.startedAt ?? lease.grantedAt),
  }));
}

function stateOf({ placed, startedAt, recalledAt }: Lease): AttemptNow['state'] {
  if (placed) return 'its result is being written';
  if (startedAt !== null) return 'running';
  return recalledAt === null ? 'fetched ahead' : 'asked back';
}

/** The mini-batch that a file is in now. */
export interface FileFate {
  /** `not planned`: it is listed, and its mini-batch is not cut. */
  readonly state: 'pending' | 'leased' | 'placed' | 'committed' | 'waiting' | 'quarantined' | 'not planned';
  readonly first: number;
  readonly count: number;
  readonly failures: number;
  readonly lostLeases: number;
  /** Of the attempt that was committed. */
  readonly node: string | null;
  /** Its rows come from an earlier output. */
  readonly isTaken: boolean;
  /** When it is tried again; null: it does not wait. */
  readonly againInMs: number | null;
  readonly failed: FailedFile | null;
}

export function fateOf(job: Job, ordinal: number, at: number): FileFate {
  const { batches, nodeNames, waiting, failures } = job;
  const failed = failures.find(({ first, count }) => ordinal >= first && ordinal < first + count) ?? null;
  let batch = batches.head;
  while (batch !== noBatch && !isIn(job, batch, ordinal)) batch = batches.next(batch);
  const state = batch === noBatch ? 'uncut' : batches.state(batch);
  if (state === 'uncut' || state === 'split') {
    const none = { failures: 0, lostLeases: 0, node: null, isTaken: false, againInMs: null };
    return { state: 'not planned', first: ordinal, count: 1, ...none, failed };
  }
  const node = batches.node(batch);
  const readyAt = waiting.get(batch);
  return {
    ...{ state, first: batches.first(batch), count: batches.files(batch) },
    ...{ failures: batches.failures(batch), lostLeases: batches.lostLeases(batch), failed },
    node: state === 'committed' && node !== noNode ? (nodeNames[node] ?? null) : null,
    isTaken: state === 'committed' && batches.isTaken(batch),
    againInMs: readyAt === undefined ? null : Math.max(0, readyAt - at),
  };
}

function isIn({ batches }: Job, batch: number, ordinal: number): boolean {
  const first = batches.first(batch);
  return batches.state(batch) !== 'split' && ordinal >= first && ordinal < first + batches.files(batch);
}

/** Whether the job's compute is one that is registered; true for none. */
export function isComputeKnown(ledger: Ledger, { origin: { compute } }: Job): boolean {
  return compute === null || computeOf(ledger, compute) !== undefined;
}
