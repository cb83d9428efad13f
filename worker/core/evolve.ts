/** The only writer of the worker node's state: one small function per event. */
import { monotonicMs, type MonotonicMs } from '../../common/core/ids.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { formatToken, type Token } from '../../common/core/token.ts';
import type { EventOf, WorkerEvent } from './events.ts';
import { isHeldUp } from './held-up.ts';
import { enter, index, jobOf, leaseOf, unindex } from './lease-index.ts';
import type { HeldResult, Lease, LeaseState, LinkUp, Upload, WorkerState } from './state.ts';

type Writers = { readonly [K in WorkerEvent['kind']]: (state: WorkerState, event: EventOf<K>) => void };

/** Writes what `event` means. */
export function evolve(state: WorkerState, event: WorkerEvent): void {
  (writers[event.kind] as (state: WorkerState, event: WorkerEvent) => void)(state, event);
}

const writers: Writers = {
  Began: (state, { deadline }) => {
    state.joinDeadline = deadline;
  },
  JoinStarted: (state, { attempt }) => {
    state.link = { kind: 'joining', attempt };
  },
  LinkOpened: openLink,
  Heard: (state, { at }) => {
    const link = linkUp(state);
    link.heardAt = at;
    link.attempt = 0;
  },
  LinkLost: (state, { attempt, retryAt }) => {
    state.link = { kind: 'down', attempt, retryAt };
    forgetStream(state);
  },
  GaveUp: (state, { failure }) => {
    state.link = { kind: 'closed', failure };
  },
  Left: (state) => {
    state.link = { kind: 'closed', failure: null };
  },
  HandoverAnnounced: (state, { withinMs, at }) => {
    state.handover = { withinMs, until: monotonicMs(at + withinMs) };
  },
  LeavingBegan: (state, { how }) => {
    state.leaving = how;
    state.outbox.isLeaving = true;
  },
  KillSet: (state, { at }) => {
    state.killAt = at;
  },
  Reported: clearReported,
  AdoptionEnded: endAdoption,
  Adopted: (state, { work, token }) => {
    const lease = leaseOf(state, work);
    state.byToken.delete(formatToken(lease.token));
    lease.token = token;
    state.byToken.set(formatToken(token), work);
  },
  TokenReturned: (state, { token }) => {
    state.outbox.returned.push(token);
  },
  JobAnnounced: announceJob,
  ArtifactsWanted: (state, { spec }) => {
    const job = jobOf(state, spec.name);
    job.artifacts = { kind: 'fetching', tries: job.artifacts.kind === 'absent' ? job.artifacts.tries : 0 };
  },
  ArtifactsPresent: (state, { job }) => {
    jobOf(state, job).artifacts = { kind: 'present' };
  },
  ArtifactsPutOff: (state, { job: name, retryAt }) => {
    const job = jobOf(state, name);
    job.artifacts = {
      kind: 'absent',
      tries: (job.artifacts.kind === 'fetching' ? job.artifacts.tries : 0) + 1,
      retryAt,
    };
  },
  JobEnded: (state, { job }) => {
    state.jobs.delete(job);
    state.preparations.delete(job);
    state.outbox.preparations.delete(job);
  },
  LeaseGranted: grantLease,
  StagingStarted: (state, { work, at }) => {
    const lease = leaseOf(state, work);
    const tries = lease.state.kind === 'granted' ? lease.state.tries : 0;
    enter(state, lease, { kind: 'staging', tries, since: at });
  },
  StagingPutOff: (state, { work, retryAt }) => {
    const lease = leaseOf(state, work);
    const tries = lease.state.kind === 'staging' ? lease.state.tries + 1 : 1;
    enter(state, lease, { kind: 'granted', tries, retryAt });
  },
  Staged: (state, { work, failed, at }) => {
    const lease = leaseOf(state, work);
    if (lease.state.kind === 'staging') {
      state.stageSeconds = averaged(state.stageSeconds, (at - lease.state.since) / 1_000);
    }
    enter(state, lease, { kind: 'ready', since: at, failed });
  },
  HostStarted: (state, { slot, host, spec }) => {
    invariant(state.slots[slot]?.kind === 'empty', `slot ${slot} is taken`);
    state.hosts = host;
    state.slots[slot] = { kind: 'starting', host, job: spec.name };
  },
  PreparationMoved: (state, { job, text }) => {
    if (text === '') state.preparations.delete(job);
    else state.preparations.set(job, text);
    state.outbox.preparations.add(job);
  },
  HostReady: (state, { slot }) => {
    const starting = state.slots[slot];
    invariant(starting?.kind === 'starting', `slot ${slot} starts no host`);
    state.slots[slot] = { kind: 'idle', host: starting.host, job: starting.job, ahead: 0 };
    const job = jobOf(state, starting.job);
    job.initFailures = 0;
    job.hostRetryAt = null;
  },
  HostFailed: (state, { job: name, failure, retryAt }) => {
    const job = jobOf(state, name);
    // Hosts that fail together are one failure: only a try after the wait makes the next wait longer.
    if (job.hostRetryAt === null || job.hostRetryAt < retryAt) {
      job.initFailures += 1;
      job.hostRetryAt = retryAt;
    }
    state.outbox.hostFailures.push({ job: name, failure });
  },
  HostStopping: (state, { slot, host }) => {
    releaseQueue(state, slot);
    state.slots[slot] = { kind: 'stopping', host };
  },
  SlotEmptied: (state, { slot }) => {
    state.slots[slot] = { kind: 'empty' };
  },
  AttemptStarted: startAttempt,
  AttemptUndone: (state, { work, slot, at }) => {
    const lease = leaseOf(state, work);
    endAttempt(state, lease, slot, true, at);
    becomeReady(state, lease, at);
  },
  AttemptQueued: queueAttempt,
  HandedBack: handBack,
  HostLost: (state, { slot, at }) => {
    const held = state.slots[slot];
    releaseQueue(state, slot);
    if (held?.kind === 'running') becomeReady(state, leaseOf(state, held.work), at);
    state.slots[slot] = { kind: 'empty' };
  },
  Scored: holdResult,
  AttemptFailed: failAttempt,
  UploadStarted: (state, { work, upload }) => {
    const { result, upload: before } = scoredState(leaseOf(state, work));
    state.uploadsBegun = upload;
    setUpload(state, work, result, {
      kind: 'underway',
      upload,
      tries: before.kind === 'wanted' ? before.tries : 0,
    });
  },
  Uploaded: (state, { work }) => {
    const lease = leaseOf(state, work);
    const { result } = scoredState(lease);
    tellHeldUp(state, lease);
    setUpload(state, work, result, { kind: 'done' });
    state.outbox.results.add(work);
  },
  UploadPutOff: (state, { work, retryAt }) => {
    const { result, upload } = scoredState(leaseOf(state, work));
    const tries = upload.kind === 'underway' ? upload.tries + 1 : 1;
    setUpload(state, work, result, { kind: 'wanted', tries, retryAt });
    tellHeldUp(state, leaseOf(state, work));
  },
  Forgotten: forget,
};

function openLink(state: WorkerState, { reply, at }: EventOf<'LinkOpened'>): void {
  const before = state.link;
  state.joinDeadline = null;
  state.handover = null;
  state.link = {
    kind: 'up',
    attempt: before.kind === 'joining' ? before.attempt : 0,
    epoch: reply.epoch,
    heartbeatMs: reply.heartbeatMs,
    leaseMs: reply.leaseMs,
    openedAt: at,
    heardAt: at,
    heartbeatAt: monotonicMs(at + reply.heartbeatMs),
    heartbeats: 0,
    isHelloSent: false,
    offered: null,
    asked: 0,
  };
  for (const job of state.jobs.values()) {
    job.isAnnounced = false;
    // Whatever waited for the coordinator need not wait any longer.
    if (job.artifacts.kind === 'absent') job.artifacts = { kind: 'absent', tries: 0, retryAt: null };
  }
  for (const work of state.granted) {
    const lease = leaseOf(state, work);
    if (lease.state.kind === 'granted') lease.state = { kind: 'granted', tries: 0, retryAt: null };
  }
  if (state.leaving !== 'none') state.outbox.isLeaving = true;
}

/** What was said on a stream that is gone is said again on the next, after hello is answered. */
function forgetStream(state: WorkerState): void {
  const { outbox } = state;
  outbox.started.clear();
  outbox.results.clear();
  outbox.failures.clear();
  // Told anew on the next stream, as far as it still goes on.
  outbox.preparations.clear();
  for (const job of state.preparations.keys()) outbox.preparations.add(job);
  // Leases that were given back are not in the next hello, which says the same.
  outbox.returned.length = 0;
  outbox.isLeaving = state.leaving !== 'none';
  // A copy: a lease that enters a state anew stands at the end of its index.
  for (const work of [...state.scored]) {
    const { result, upload } = scoredState(leaseOf(state, work));
    if (upload.kind !== 'inline') setUpload(state, work, result, { kind: 'wanted', tries: 0, retryAt: null });
  }
}

function endAdoption(state: WorkerState): void {
  linkUp(state).offered = null;
  const { outbox } = state;
  for (const work of state.running) outbox.started.add(work);
  for (const work of state.failed) outbox.failures.add(work);
  for (const work of state.scored) {
    const { upload } = scoredState(leaseOf(state, work));
    if (upload.kind === 'inline' || upload.kind === 'done') outbox.results.add(work);
  }
}

function clearReported(state: WorkerState, { message, at }: EventOf<'Reported'>): void {
  const link = linkUp(state);
  const { outbox } = state;
  if (message.hello) {
    link.isHelloSent = true;
    link.offered = message.hello.length === 0 ? null : offeredBy(state);
  }
  if (message.heartbeat) {
    link.heartbeats = message.heartbeat.sequence;
    // From when it was due, so that lateness does not add up; from now when a whole beat was missed.
    const next = link.heartbeatAt + link.heartbeatMs;
    link.heartbeatAt = monotonicMs(next > at ? next : at + link.heartbeatMs);
  }
  link.asked += message.want;
  if (message.isLeaving) outbox.isLeaving = false;
  for (const token of message.started) outbox.started.delete(workOf(state, token));
  for (const result of message.results) outbox.results.delete(workOf(state, result.token));
  for (const failure of message.failures) outbox.failures.delete(workOf(state, failure.token));
  for (const { job } of message.preparations) outbox.preparations.delete(job);
  outbox.hostFailures.splice(0, message.hostFailures.length);
  outbox.returned.splice(0, message.returned.length);
}

function offeredBy(state: WorkerState): ReadonlyMap<number, Token> {
  return new Map([...state.leases.values()].map((lease) => [lease.work, lease.token]));
}

function announceJob(state: WorkerState, { spec }: EventOf<'JobAnnounced'>): void {
  const known = state.jobs.get(spec.name);
  if (known) {
    known.isAnnounced = true;
    return;
  }
  state.jobs.set(spec.name, {
    spec,
    artifacts: { kind: 'absent', tries: 0, retryAt: null },
    leases: new Set(),
    ready: [],
    unstarted: 0,
    initFailures: 0,
    hostRetryAt: null,
    servedAt: null,
    isAnnounced: true,
  });
}

function grantLease(state: WorkerState, { work, grant }: EventOf<'LeaseGranted'>): void {
  const link = linkUp(state);
  link.asked = Math.max(0, link.asked - 1);
  const { token, job, first, files, attempt, columns = null } = grant;
  const initial: LeaseState = { kind: 'granted', tries: 0, retryAt: null };
  const lease: Lease = { work, token, job, first, files, attempt, columns, state: initial };
  state.works = work;
  state.leases.set(work, lease);
  state.byToken.set(formatToken(token), work);
  if (grant.isAlone) state.alone.add(work);
  jobOf(state, job).leases.add(work);
  index(state, lease);
}

function startAttempt(state: WorkerState, { work, slot, host, at }: EventOf<'AttemptStarted'>): void {
  const lease = leaseOf(state, work);
  invariant(lease.state.kind === 'ready', `work ${work} is ${lease.state.kind}, not ready`);
  const idle = state.slots[slot];
  invariant(idle?.kind === 'idle' && idle.host === host && idle.job === lease.job, `slot ${slot} has no host for it`);
  enter(state, lease, { kind: 'running', since: at, failed: lease.state.failed, slot });
  state.slots[slot] = { kind: 'running', host, job: lease.job, ahead: idle.ahead, work, queue: [] };
  jobOf(state, lease.job).servedAt = at;
  state.outbox.started.add(work);
}

function queueAttempt(state: WorkerState, { work, slot, host, at }: EventOf<'AttemptQueued'>): void {
  const lease = leaseOf(state, work);
  invariant(lease.state.kind === 'ready', `work ${work} is ${lease.state.kind}, not ready`);
  const running = state.slots[slot];
  invariant(
    running?.kind === 'running' && running.host === host,
    `slot ${slot} runs nothing that it could wait behind`,
  );
  enter(state, lease, { kind: 'queued', since: at, failed: lease.state.failed, slot });
  running.queue.push(work);
}

function handBack(state: WorkerState, { work, slot, at }: EventOf<'HandedBack'>): void {
  const held = state.slots[slot];
  invariant(held?.kind === 'running', `slot ${slot} has nothing to hand back`);
  if (held.work === work) endAttempt(state, leaseOf(state, work), slot, false, at);
  else held.queue.splice(held.queue.indexOf(work), 1);
  const now = state.slots[slot];
  if (now?.kind === 'running' || now?.kind === 'idle') state.slots[slot] = { ...now, ahead: 0 };
  becomeReady(state, leaseOf(state, work), at);
}

/** What waits on the host of a slot that is lost. */
function releaseQueue(state: WorkerState, slot: number): void {
  const held = state.slots[slot];
  if (held?.kind !== 'running') return;
  for (const work of held.queue.splice(0)) {
    const lease = leaseOf(state, work);
    if (lease.state.kind === 'queued') becomeReady(state, lease, lease.state.since);
  }
}

function becomeReady(state: WorkerState, lease: Lease, at: MonotonicMs): void {
  const { kind } = lease.state;
  const failed = kind === 'running' || kind === 'queued' ? lease.state.failed : [];
  state.outbox.started.delete(lease.work);
  enter(state, lease, { kind: 'ready', since: at, failed });
}

function holdResult(state: WorkerState, { work, slot, result, isQuiet, at }: EventOf<'Scored'>): void {
  const lease = leaseOf(state, work);
  if (lease.state.kind === 'running') state.runSeconds = averaged(state.runSeconds, (at - lease.state.since) / 1_000);
  if (slot !== null) {
    endAttempt(state, lease, slot, false, at);
    const held = state.slots[slot];
    if (held?.kind === 'running' || held?.kind === 'idle') {
      state.slots[slot] = { ...held, ahead: isQuiet ? Math.min(limits.queuedMax, 2 * held.ahead + 1) : 0 };
    }
  }
  state.outbox.started.delete(work);
  const isInline = result.bytes + result.customBytes <= limits.inlineResultBytesMax;
  const upload: Upload = isInline ? { kind: 'inline' } : { kind: 'wanted', tries: 0, retryAt: null };
  enter(state, lease, { kind: 'scored', result, upload });
  if (isInline) state.outbox.results.add(work);
}

function failAttempt(state: WorkerState, event: EventOf<'AttemptFailed'>): void {
  const { work, slot, failure, fileIndex, circumstances } = event;
  const lease = leaseOf(state, work);
  if (slot !== null) endAttempt(state, lease, slot, event.isHostDead, event.at);
  state.outbox.started.delete(work);
  enter(state, lease, { kind: 'failed', failure, fileIndex, circumstances });
  state.outbox.failures.add(work);
}

/** What its host was at, or what waited there: a host that dies may have answered without being heard. */
function endAttempt(state: WorkerState, lease: Lease, slot: number, isHostDead: boolean, at: MonotonicMs): void {
  const running = state.slots[slot];
  invariant(running?.kind === 'running', `slot ${slot} runs nothing`);
  const { host, job, ahead, work, queue } = running;
  jobOf(state, lease.job).servedAt = at;
  if (work !== lease.work) {
    const place = queue.indexOf(lease.work);
    invariant(place >= 0, `slot ${slot} does not run work ${lease.work}`);
    queue.splice(place, 1);
  }
  if (isHostDead) {
    releaseQueue(state, slot);
    if (work !== lease.work) becomeReady(state, leaseOf(state, work), at);
    state.slots[slot] = { kind: 'empty' };
    return;
  }
  if (work !== lease.work) return;
  const next = queue.shift();
  if (next === undefined) {
    state.slots[slot] = { kind: 'idle', host, job, ahead };
    return;
  }
  const waiting = leaseOf(state, next);
  invariant(waiting.state.kind === 'queued', `work ${next} is ${waiting.state.kind}, not queued`);
  enter(state, waiting, { kind: 'running', since: at, failed: waiting.state.failed, slot });
  state.outbox.started.add(next);
  state.slots[slot] = { kind: 'running', host, job, ahead, work: next, queue };
}

function forget(state: WorkerState, { work, reason }: EventOf<'Forgotten'>): void {
  const lease = leaseOf(state, work);
  const { outbox } = state;
  if (lease.state.kind === 'queued') {
    // The host may score it all the same; nobody listens.
    const held = state.slots[lease.state.slot];
    if (held?.kind === 'running') held.queue.splice(held.queue.indexOf(work), 1);
  }
  tellHeldUp(state, lease);
  unindex(state, lease);
  state.leases.delete(work);
  state.alone.delete(work);
  state.byToken.delete(formatToken(lease.token));
  jobOf(state, lease.job).leases.delete(work);
  outbox.started.delete(work);
  outbox.results.delete(work);
  outbox.failures.delete(work);
  if (reason === 'returned') outbox.returned.push(lease.token);
}

/** What is said of its job is about to change, or has. */
function tellHeldUp(state: WorkerState, lease: Lease): void {
  if (isHeldUp(lease.state)) state.outbox.preparations.add(lease.job);
}

function setUpload(state: WorkerState, work: number, result: HeldResult, upload: Upload): void {
  enter(state, leaseOf(state, work), { kind: 'scored', result, upload });
}

/** Follows changes within a few mini-batches and does not jump at a single one. */
function averaged(average: number | null, sample: number): number {
  return average === null ? sample : average + (sample - average) / 5;
}

function linkUp(state: WorkerState): LinkUp {
  invariant(state.link.kind === 'up', `the link is ${state.link.kind}, not up`);
  return state.link;
}

function workOf(state: WorkerState, token: Token): number {
  return state.byToken.get(formatToken(token)) ?? 0;
}

function scoredState(lease: Lease): Extract<LeaseState, { kind: 'scored' }> {
  invariant(lease.state.kind === 'scored', `work ${lease.work} is ${lease.state.kind}, not scored`);
  return lease.state;
}
