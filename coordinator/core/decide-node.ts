/**
 * Worker nodes: joining, heartbeats, leases they hold, and losing them.
 *
 *   joined ──► ready ◄──► suspect ──► lost        (silent for a lease, in two passes; sooner when the connection broke)
 *                └──► draining ──► gone           (on the node's own word)
 */
import { BatchError } from '../../common/core/batch-error.ts';
import type { HeldLease } from '../../common/core/cluster-messages.ts';
import type { JobName, NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import { isSameToken, type Token } from '../../common/core/token.ts';
import { noBatch } from './batch-table.ts';
import type { Command } from './commands.ts';
import { failureEvents } from './decide-failure.ts';
import { cancelEnds } from './decide-life.ts';
import { graceEvents, knownEvents, unknownEvents } from './decide-known.ts';
import { preemptionEvents } from './preemption.ts';
import { releaseEvents } from './sick-nodes.ts';
import { maySpeculate, tailEvents } from './stragglers.ts';
import type { Event } from './events.ts';
import {
  attended,
  findLease,
  heartbeatIntervalMs,
  leaseMs,
  type Job,
  type Ledger,
  type Lease,
  type Node,
} from './ledger.ts';
import { checkStillness } from './stillness.ts';

type CommandOf<K extends Command['kind']> = Extract<Command, { kind: K }>;

export function join(ledger: Ledger, command: CommandOf<'join'>, at: number): readonly Event[] {
  const known = ledger.nodes.get(command.node);
  const { kind: _, ...joined } = command;
  const event: Event = { kind: 'NodeJoined', ...joined, at };
  const releases = releaseEvents(ledger, command.node, command.incarnation);
  if (!known || known.incarnation === command.incarnation || known.state === 'gone') return [...releases, event];
  // A node that is lost may be connected still, until the transport notices that its machine is gone.
  if (known.isConnected && known.state !== 'lost') {
    throw new BatchError(
      'NAME_TAKEN',
      `a worker node named ${command.node} is connected (${known.hostname}, process ${known.pid}); choose another --name`,
    );
  }
  // The same name in a new process: the old one has ended and its leases with it.
  return [...lose(ledger, known, at, 'its process was replaced by a new one'), ...releases, event];
}

export function hello(ledger: Ledger, command: CommandOf<'hello'>, at: number): readonly Event[] {
  const node = ledger.nodes.get(command.node);
  if (!node) return [];
  const events: Event[] = [];
  const kept: Token[] = [];
  let grants = ledger.grants;
  const adopted = new Set<string>();
  const index = indexHeld(ledger, command.held);
  for (const held of command.held) {
    const lease = findLease(ledger, command.node, held.token);
    if (lease) {
      kept.push(held.token);
      continue;
    }
    const found = findHeld(ledger, command.node, held, index);
    if (found === 'gone' || adopted.has(`${held.job}/${found}`)) continue;
    if (found === 'committed') events.push({ kind: 'CommitRepeated', node: command.node, token: held.token });
    else {
      adopted.add(`${held.job}/${found}`);
      grants += 1;
      const token = { epoch: ledger.epoch, counter: grants };
      events.push({
        kind: 'LeaseAdopted',
        job: held.job,
        batch: found,
        node: command.node,
        oldToken: held.token,
        token,
        at,
      });
    }
  }
  // Leases that the node does not know of: their grants were lost on the way. A placed result needs its node no more.
  for (const counter of node.leases) {
    const lease = ledger.leases.get(counter) as Lease;
    if (!lease.placed && !kept.some((token) => isSameToken(token, lease.token))) events.push(release(lease, false));
  }
  return [...events, { kind: 'NodeConnected', node: command.node, at, kept }, ...knownEvents(ledger, node.name)];
}

/** The mini-batch that a node holds from before: its number when it may go on, or what has become of it. */
function findHeld(ledger: Ledger, node: NodeName, held: HeldLease, index: HeldIndex): number | 'gone' | 'committed' {
  const job = ledger.jobs.get(held.job);
  const batch = index.get(held.job)?.get(held.first);
  if (!job) return 'gone';
  if (batch === undefined || batch === noBatch || job.batches.files(batch) !== held.count) return 'gone';
  // The job has ended since and goes on, perhaps under other settings.
  if (!isLater(held.token, job.reopenedAfter)) return 'gone';
  const state = job.batches.state(batch);
  if (state === 'committed' && isSameToken(job.batches.token(batch), held.token)) return 'committed';
  if (isFinal(job.state) || job.sick.has(node)) return 'gone';
  return state === 'pending' || isSecondOf(ledger, job, batch, node, held.token) ? batch : 'gone';
}

/** After a restart nobody knows any more which mini-batches had two attempts: the first two that are offered go on. */
function isSecondOf(ledger: Ledger, job: Job, batch: number, node: NodeName, token: Token): boolean {
  if (token.epoch >= ledger.epoch || !maySpeculate(job) || job.batches.state(batch) !== 'leased') return false;
  const holders = job.holders.get(batch) ?? [];
  return holders.length === 1 && holders.every((counter) => ledger.leases.get(counter)?.node !== node);
}

function isLater(token: Token, than: Token): boolean {
  return token.epoch > than.epoch || (token.epoch === than.epoch && token.counter > than.counter);
}

/** By job and first file: the mini-batch that stands there now. */
type HeldIndex = ReadonlyMap<JobName, ReadonlyMap<number, number>>;

/** Looks through a job's columns once, and keeps only what is asked for: after a restart every node asks at once. */
function indexHeld(ledger: Ledger, held: readonly HeldLease[]): HeldIndex {
  const index = new Map<JobName, Map<number, number>>();
  for (const { job, first } of held) {
    const wanted = index.get(job) ?? new Map<number, number>();
    index.set(job, wanted.set(first, noBatch));
  }
  for (const [name, wanted] of index) {
    const job = ledger.jobs.get(name);
    if (job) fillIndex(job, wanted);
  }
  return index;
}

function fillIndex({ batches }: Job, wanted: Map<number, number>): void {
  for (let batch = 0; batch < batches.count; batch += 1) {
    const first = batches.first(batch);
    if (wanted.has(first) && batches.state(batch) !== 'split') wanted.set(first, batch);
  }
}

export function disconnected(ledger: Ledger, command: CommandOf<'disconnected'>, at: number): readonly Event[] {
  const node = ledger.nodes.get(command.node);
  if (!node?.isConnected) return [];
  const events: Event[] = [{ kind: 'NodeDisconnected', node: node.name, at }];
  // With leases still to its name it is a node like any other that has vanished.
  if (node.state === 'draining' && node.leases.size === 0) {
    events.push({ kind: 'NodeGone', node: node.name }, ...unknownEvents(ledger, node.name));
  }
  return events;
}

/** `at` on the attended clock renews leases; `clock` is the bare one, for the record of gaps. */
export function heartbeat(
  ledger: Ledger,
  command: CommandOf<'heartbeat'>,
  at: number,
  clock: number,
): readonly Event[] {
  const node = ledger.nodes.get(command.node);
  if (!node) return [];
  const held = new Set(command.held.filter((token) => token.epoch === ledger.epoch).map((token) => token.counter));
  const patienceMs = 2 * heartbeatIntervalMs(ledger);
  const wasSilent = at - node.heardAt > patienceMs;
  const events: Event[] = [{ kind: 'NodeHeard', node: node.name, at, clock }];
  for (const token of command.held) {
    if (!findLease(ledger, node.name, token)) events.push({ kind: 'LeaseDisowned', node: node.name, token });
  }
  for (const counter of node.leases) {
    const lease = ledger.leases.get(counter) as Lease;
    // Before the answer to hello has reached it, a node says nothing of what it has named there; and the first thing
    // that it says after a silence may come from before it has read its grants.
    const isLate = at - Math.max(lease.grantedAt, node.connectedAt) > patienceMs;
    if (!held.has(counter) && !lease.placed && isLate && !wasSilent) events.push(release(lease, true));
  }
  // One that was taken for lost is back.
  return [...events, ...knownEvents(ledger, node.name)];
}

export function want(ledger: Ledger, command: CommandOf<'want'>): readonly Event[] {
  const node = ledger.nodes.get(command.node);
  if (!node || node.state === 'draining' || node.state === 'gone') return [];
  return [{ kind: 'Wanted', node: node.name, leases: Math.min(command.leases, node.slots + limits.workAheadMax) }];
}

/** Of no consequence but for people who wait. */
export function preparing(ledger: Ledger, command: CommandOf<'preparing'>): readonly Event[] {
  const { node, text } = command;
  const job = ledger.jobs.get(command.job);
  if (!ledger.nodes.has(node) || !job || isFinal(job.state)) return [];
  return [{ kind: 'NodePrepares', job: job.name, node, text: text.slice(0, limits.preparationCharsMax) }];
}

/** Of use for telling what hangs or straggles from what has only just begun. */
export function started(ledger: Ledger, { node, tokens }: CommandOf<'started'>, at: number): readonly Event[] {
  const live = tokens.filter((token) => findLease(ledger, node, token));
  return live.length === 0 ? [] : [{ kind: 'AttemptsStarted', node, tokens: live, at }];
}

export function leaving(ledger: Ledger, command: CommandOf<'leaving'>): readonly Event[] {
  const node = ledger.nodes.get(command.node);
  if (!node || node.state === 'draining') return [];
  return [{ kind: 'NodeDraining', node: node.name }];
}

export function returned(ledger: Ledger, command: CommandOf<'returned'>): readonly Event[] {
  return command.tokens.flatMap((token) => {
    const lease = findLease(ledger, command.node, token);
    return lease && !lease.placed ? [release(lease, false)] : [];
  });
}

function release(lease: Lease, isRevoked: boolean): Event {
  return { kind: 'LeaseReleased', job: lease.job, batch: lease.batch, node: lease.node, token: lease.token, isRevoked };
}

export function tick(ledger: Ledger, command: CommandOf<'tick'>, now: number): readonly Event[] {
  const events: Event[] = [];
  if (command.stallMs > 0) events.push({ kind: 'TimeStalled', byMs: command.stallMs });
  const at = attended(ledger, now) - command.stallMs;
  for (const job of ledger.jobs.values()) {
    for (const [batch, readyAt] of job.waiting) {
      if (readyAt <= at && !isFinal(job.state)) events.push({ kind: 'BatchReady', job: job.name, batch });
    }
  }
  for (const node of ledger.nodes.values()) events.push(...checkNode(ledger, node, at));
  events.push(...cancelEnds(ledger, at, command.wallMs));
  events.push(...graceEvents(ledger, at));
  events.push(...checkStillness(ledger, at, command.wallMs));
  // A tick that changes who holds what, or ends a job, leaves the rest to the next one.
  const preempted = events.every(isOfNoLease) ? preemptionEvents(ledger, at) : [];
  return events.length + preempted.length > 0 ? [...events, ...preempted] : tailEvents(ledger, at);
}

/** While results come there is hardly a tick without one of these. */
function isOfNoLease({ kind }: Event): boolean {
  return kind === 'StillnessNoted' || kind === 'BatchReady' || kind === 'TimeStalled';
}

/** Two passes: silence makes a suspect, which may have its heartbeats still in a queue; the next tick loses it. */
function checkNode(ledger: Ledger, node: Node, at: number): readonly Event[] {
  const silentMs = at - node.heardAt;
  if (node.state === 'lost' || node.state === 'gone') {
    return silentMs > limits.nodeForgetMs && !node.isConnected ? [{ kind: 'NodeForgotten', node: node.name }] : [];
  }
  const patienceMs = node.isConnected ? leaseMs(ledger) : 2 * heartbeatIntervalMs(ledger);
  if (silentMs <= patienceMs) return [];
  if (node.state !== 'suspect') return [{ kind: 'NodeSuspected', node: node.name }];
  return lose(ledger, node, at, `nothing was heard from it for ${Math.round(silentMs / 100) / 10} s`);
}

function lose(ledger: Ledger, node: Node, at: number, why: string): readonly Event[] {
  const events: Event[] = [];
  for (const counter of node.leases) {
    const lease = ledger.leases.get(counter) as Lease;
    if (lease.placed) continue;
    const message = `worker node ${node.name} was lost: ${why}`;
    events.push(...failureEvents(ledger, lease, { code: 'NODE_LOST', message, detail: '' }, -1, at));
  }
  return [...events, { kind: 'NodeLost', node: node.name }, ...unknownEvents(ledger, node.name)];
}
