/**
 * What follows from the state alone: rules, in order of precedence. Each gives the next thing to be done or null; after
 * every command they are asked until none has anything left.
 */
import type { MonotonicMs } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { WorkerEvent } from './events.ts';
import { isHeldForAlone, nextAlone } from './alone.ts';
import { hasReports } from './report.ts';
import type { Job, Lease, Slot, WorkerState } from './state.ts';
import { isFull } from './want.ts';

type Rule = (state: WorkerState, now: MonotonicMs) => WorkerEvent | null;

/** The next thing to be done, or null. */
export function settle(state: WorkerState, now: MonotonicMs): WorkerEvent | null {
  if (state.link.kind === 'closed') return null;
  for (const rule of state.leaving === 'none' ? workingRules : leavingRules) {
    const event = rule(state, now);
    if (event) return event;
  }
  return null;
}

/** Model and code of a job are fetched when its first lease comes, while inputs are staged. */
const wantArtifacts: Rule = (state, now) => {
  for (const job of state.jobs.values()) {
    const { artifacts } = job;
    if (job.unstarted > 0 && artifacts.kind === 'absent' && isDue(artifacts.retryAt, now)) {
      return { kind: 'ArtifactsWanted', spec: job.spec };
    }
  }
  return null;
};

/** Inputs are staged ahead, in the order of the grants, some at a time. */
const stageInputs: Rule = (state, now) => {
  if (state.staging.size >= limits.stagingLeasesMax) return null;
  for (const work of state.granted) {
    const lease = state.leases.get(work);
    const job = lease && state.jobs.get(lease.job);
    if (lease?.state.kind !== 'granted' || !job || !isDue(lease.state.retryAt, now)) continue;
    const { token, first, files } = lease;
    const { inputRoot, scorer } = job.spec;
    const { kind: reader } = scorer;
    return { kind: 'StagingStarted', work, job: lease.job, inputRoot, reader, token, first, files, at: now };
  }
  return null;
};

/** A job that has waited for long with no host at all gets the slot that just became free. */
const takeTurns: Rule = (state, now) => {
  // The host that it waits for is not taken away.
  if (isHeldForAlone(state)) return null;
  for (const [slot, held] of state.slots.entries()) {
    if (held.kind !== 'idle') continue;
    for (const job of state.jobs.values()) {
      if (!isOverdue(state, job, now) || isBefore(state, state.jobs.get(held.job), job)) continue;
      return { kind: 'HostStopping', slot, host: held.host, how: 'stop' };
    }
  }
  return null;
};

/** A ready mini-batch goes to a host that has its model loaded. */
const startAttempts: Rule = (state, now) => {
  if (isFull(state)) return null;
  if (isHeldForAlone(state)) return startAlone(state, now);
  for (const job of state.jobs.values()) {
    const work = job.ready.find((ready) => !state.alone.has(ready));
    if (work === undefined || isCapped(state, job, 'running')) continue;
    for (const [slot, held] of state.slots.entries()) {
      if (held.kind !== 'idle' || held.job !== job.spec.name) continue;
      return { kind: 'AttemptStarted', work, slot, host: held.host, timeoutMs: job.spec.settings.timeoutMs, at: now };
    }
  }
  return null;
};

/**
 * A host that answers at once and leaves no trace but rows gets the next mini-batches before it has answered: some milliseconds of
 * them, so that little is held up by one that takes unexpectedly long. Not while another job waits for the slot to be free.
 */
const queueAttempts: Rule = (state, now) => {
  const { runSeconds, config } = state;
  if (state.ready === 0 || runSeconds === null || isFull(state) || isHeldForAlone(state)) return null;
  const { queuedMs = limits.queuedMs } = config;
  const most = Math.floor(queuedMs / 1_000 / Math.max(runSeconds, 1e-6));
  let shortest: { readonly slot: number; readonly held: Extract<Slot, { kind: 'running' }> } | null = null;
  for (let slot = 0; slot < state.slots.length; slot += 1) {
    const held = state.slots[slot];
    if (held?.kind !== 'running' || held.queue.length >= Math.min(held.ahead, most)) continue;
    if ((state.jobs.get(held.job)?.ready.length ?? 0) === 0) continue;
    if (shortest === null || held.queue.length < shortest.held.queue.length) shortest = { slot, held };
  }
  if (shortest === null) return null;
  const { slot, held } = shortest;
  const job = state.jobs.get(held.job) as Job;
  const work = job.ready.find((ready) => !state.alone.has(ready));
  if (work === undefined) return null;
  for (const other of state.jobs.values()) if (other !== job && isOverdue(state, other, now)) return null;
  return { kind: 'AttemptQueued', work, slot, host: held.host, timeoutMs: job.spec.settings.timeoutMs, at: now };
};

/** What waits behind a mini-batch that takes long is taken back for a slot that has nothing to do; should its host score it too, nobody hears of it. */
const takeBack: Rule = (state, now) => {
  if (state.queued.size === 0 || state.ready > 0) return null;
  for (let slot = 0; slot < state.slots.length; slot += 1) {
    const held = state.slots[slot];
    if (held?.kind !== 'running' || !isStuck(state, held, now)) continue;
    const work = held.queue.at(-1);
    if (work !== undefined) return { kind: 'HandedBack', work, slot, at: now };
  }
  return null;
};

function isStuck(state: WorkerState, held: Extract<Slot, { kind: 'running' }>, now: MonotonicMs): boolean {
  const stuckAt = stuckFrom(state, held);
  return stuckAt !== null && now >= stuckAt;
}

/** From when on what waits on the slot is wanted elsewhere; null when nobody has use for it. */
export function stuckFrom(state: WorkerState, held: Slot): number | null {
  if (held.kind !== 'running' || held.queue.length === 0) return null;
  if (!state.slots.some((other) => other.kind === 'idle' && other.job === held.job)) return null;
  const lease = state.leases.get(held.work);
  return lease?.state.kind === 'running' ? lease.state.since + limits.queuedStuckMs : null;
}

/** Once every slot is at rest, the mini-batch that must have the node for itself. */
function startAlone(state: WorkerState, now: MonotonicMs): WorkerEvent | null {
  const work = nextAlone(state);
  const lease = work === null ? undefined : state.leases.get(work);
  const job = lease && state.jobs.get(lease.job);
  if (work === null || !job) return null;
  const slot = state.slots.findIndex((held) => held.kind === 'idle' && held.job === lease.job);
  const held = state.slots[slot];
  if (held?.kind !== 'idle') return null;
  return { kind: 'AttemptStarted', work, slot, host: held.host, timeoutMs: job.spec.settings.timeoutMs, at: now };
}

/** The empty slot would go to `job` again: its host is left to score what it was started for. */
function isBefore(state: WorkerState, job: Job | undefined, other: Job): boolean {
  if (!job || job.ready.length === 0 || countSlots(state, job, 'starting', 'idle', 'running') > 1) return false;
  return (job.servedAt ?? 0) <= (other.servedAt ?? 0);
}

/**
 * Hosts are started for leases that are still being staged, too: loading a model takes longer than copying files. The
 * job with the fewest comes first, then one of which something is ready, then the one that was served least recently.
 */
const startHosts: Rule = (state, now) => {
  // init() takes memory as well.
  if (isHeldForAlone(state)) return null;
  const slot = state.slots.findIndex((held) => held.kind === 'empty');
  if (slot < 0) return null;
  let neediest: Job | null = null;
  for (const job of state.jobs.values()) {
    if (needsHost(state, job, now) && (neediest === null || isNeedier(state, job, neediest))) neediest = job;
  }
  return neediest && { kind: 'HostStarted', slot, host: state.hosts + 1, spec: neediest.spec };
};

/** Where no slot is empty, one whose host has nothing to do is emptied. */
const replaceHosts: Rule = (state, now) => {
  if (isHeldForAlone(state)) return null;
  if (state.slots.some((held) => held.kind === 'empty' || held.kind === 'stopping')) return null;
  for (const job of state.jobs.values()) {
    if (!needsHost(state, job, now)) continue;
    for (const [slot, held] of state.slots.entries()) {
      if (held.kind === 'idle' && held.job !== job.spec.name && state.jobs.get(held.job)?.unstarted === 0) {
        return { kind: 'HostStopping', slot, host: held.host, how: 'stop' };
      }
    }
  }
  return null;
};

/** Large results are uploaded before they are reported; their tokens must be the coordinator's own. */
const startUploads: Rule = (state, now) => {
  const { link } = state;
  if (link.kind !== 'up' || !link.isHelloSent || link.offered !== null) return null;
  for (const work of state.uploads) {
    const lease = state.leases.get(work) as Lease;
    if (lease.state.kind !== 'scored' || lease.state.upload.kind !== 'wanted') continue;
    if (!isDue(lease.state.upload.retryAt, now)) continue;
    return { kind: 'UploadStarted', work, upload: state.uploadsBegun + 1, token: lease.token };
  }
  return null;
};

/** Whoever leaves begins nothing: what a host hands back meanwhile is somebody else's. */
const returnReady: Rule = (state) => {
  for (const job of state.jobs.values()) {
    const work = job.ready[0];
    const lease = work === undefined ? undefined : state.leases.get(work);
    if (lease) return { kind: 'Forgotten', work: lease.work, token: lease.token, reason: 'returned' };
  }
  return null;
};

/** Whoever leaves needs no host that is not scoring. */
const stopIdleHosts: Rule = (state) => {
  for (const [slot, held] of state.slots.entries()) {
    if (held.kind === 'idle') return { kind: 'HostStopping', slot, host: held.host, how: 'stop' };
    if (held.kind === 'starting') return { kind: 'HostStopping', slot, host: held.host, how: 'kill' };
  }
  return null;
};

/** The node leaves when nothing is held, nothing is left to say and no host is left. */
const leave: Rule = (state) => {
  const { link } = state;
  const isSaid = link.kind !== 'up' || (link.isHelloSent && !hasReports(state));
  const isDone = state.leases.size === 0 || (state.leaving === 'close' && link.kind !== 'up');
  const isQuiet = state.slots.every((held) => held.kind === 'empty');
  return isSaid && isDone && isQuiet ? { kind: 'Left' } : null;
};

const workingRules: readonly Rule[] = [
  wantArtifacts,
  stageInputs,
  takeTurns,
  startAttempts,
  startHosts,
  replaceHosts,
  queueAttempts,
  takeBack,
  startUploads,
];
const leavingRules: readonly Rule[] = [returnReady, startUploads, stopIdleHosts, leave];

function isDue(at: MonotonicMs | null, now: MonotonicMs): boolean {
  return at === null || now >= at;
}

/** Slots that hold a host of the job in any of `kinds`. */
function countSlots(state: WorkerState, job: Job, ...kinds: readonly ('starting' | 'idle' | 'running')[]): number {
  let count = 0;
  for (const held of state.slots) {
    if (held.kind !== 'empty' && held.kind !== 'stopping' && held.job === job.spec.name && kinds.includes(held.kind)) {
      count += 1;
    }
  }
  return count;
}

function isCapped(state: WorkerState, job: Job, ...kinds: readonly ('starting' | 'idle' | 'running')[]): boolean {
  const { concurrencyMax } = job.spec.settings;
  return concurrencyMax !== null && countSlots(state, job, ...kinds) >= concurrencyMax;
}

function canStartHost(job: Job, now: MonotonicMs): boolean {
  return job.artifacts.kind === 'present' && isDue(job.hostRetryAt, now);
}

function needsHost(state: WorkerState, job: Job, now: MonotonicMs): boolean {
  return (
    canStartHost(job, now) &&
    job.unstarted > countSlots(state, job, 'starting', 'idle') &&
    !isCapped(state, job, 'starting', 'idle', 'running')
  );
}

function isNeedier(state: WorkerState, job: Job, other: Job): boolean {
  const hosts = countSlots(state, job, 'starting', 'idle', 'running');
  const otherHosts = countSlots(state, other, 'starting', 'idle', 'running');
  if (hosts !== otherHosts) return hosts < otherHosts;
  const [isReady, isOtherReady] = [job.ready.length > 0, other.ready.length > 0];
  return isReady === isOtherReady ? (job.servedAt ?? 0) < (other.servedAt ?? 0) : isReady;
}

/** Counted from when its turn ended, so that jobs that share a slot do not change places after every mini-batch. */
function isOverdue(state: WorkerState, job: Job, now: MonotonicMs): boolean {
  const oldest = job.ready[0];
  if (oldest === undefined || !canStartHost(job, now)) return false;
  if (state.slots.some((held) => held.kind === 'empty' || held.kind === 'stopping')) return false;
  const lease = state.leases.get(oldest);
  if (lease?.state.kind !== 'ready') return false;
  const hasWaited = now - Math.max(lease.state.since, job.servedAt ?? 0) > limits.hostAffinityMs;
  return hasWaited && countSlots(state, job, 'starting', 'idle', 'running') === 0;
}
