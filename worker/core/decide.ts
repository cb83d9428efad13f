/**
 * What a worker node makes of each thing that happens to it: one small function per command. They read the state and
 * yield events; whoever asks applies each event before asking for the next. What follows from the state alone
 * (starting hosts, filling slots, asking for work) is in `settle.ts`.
 */
import type { Failure } from '../../common/core/batch-error.ts';
import { noCircumstances, type CoordinatorMessage, type Grant } from '../../common/core/cluster-messages.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { monotonicMs, type JobName, type MonotonicMs } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { agreedProtocol, protocolText, spokenHere } from '../../common/core/protocol.ts';
import { formatToken, isSameToken, type Token } from '../../common/core/token.ts';
import { reconnectAt, retryAfter } from './backoff.ts';
import type { CommandOf, WorkerCommand } from './commands.ts';
import type { ForgetReason, WorkerEvent } from './events.ts';
import { mergedIndex, mergeFailures, unstagedSummary } from './merge-failures.ts';
import { buildReport, hasReports } from './report.ts';
import { givenLease } from './lease-index.ts';
import { leaveAt, type Lease, type Slot, type WorkerState } from './state.ts';

type Events = Generator<WorkerEvent, void, void>;
type Deciders = {
  readonly [K in WorkerCommand['kind']]: (state: WorkerState, command: CommandOf<K>, now: MonotonicMs) => Events;
};

/** Each event must be applied with `evolve` before the next is taken. */
export function decide(state: WorkerState, command: WorkerCommand, now: MonotonicMs): Events {
  return (deciders[command.kind] as (state: WorkerState, command: WorkerCommand, now: MonotonicMs) => Events)(
    state,
    command,
    now,
  );
}

const deciders: Deciders = {
  begin: function* (state, _command, now) {
    yield { kind: 'Began', deadline: monotonicMs(now + state.config.joinMsMax) };
    yield { kind: 'JoinStarted', attempt: 0 };
  },
  joined: decideJoined,
  'join-failed': function* (state, { failure, random }, now) {
    if (state.link.kind !== 'joining') return;
    yield* loseLink(state, failure, random, now);
  },
  'link-lost': function* (state, { failure, random }, now) {
    if (state.link.kind !== 'up') return;
    yield* loseLink(state, failure, random, now);
  },
  message: decideMessage,
  'artifacts-localised': function* (state, { job }) {
    if (state.jobs.get(job)?.artifacts.kind === 'fetching') yield { kind: 'ArtifactsPresent', job };
  },
  'artifacts-failed': decideArtifactsFailed,
  staged: decideStaged,
  'staging-failed': decideStagingFailed,
  'host-ready': function* (state, { slot, host }) {
    if (isAt(state, slot, host, 'starting')) yield { kind: 'HostReady', slot };
  },
  preparing: function* (state, { job, text }) {
    // Every slot that waits says the same.
    if (state.jobs.has(job) && (state.preparations.get(job) ?? '') !== text) {
      yield { kind: 'PreparationMoved', job, text };
    }
  },
  'host-failed': decideHostFailed,
  'host-ended': function* (state, { slot, host }) {
    if (isAt(state, slot, host, 'stopping') || isAt(state, slot, host, 'idle')) yield { kind: 'SlotEmptied', slot };
  },
  scored: decideScored,
  'attempt-failed': decideAttemptFailed,
  'handed-back': function* (state, { work, slot, host }, now) {
    if (givenLease(state, slot, host, work)) yield { kind: 'HandedBack', work, slot, at: now };
  },
  'attempt-unstarted': function* (state, { work, slot, host }, now) {
    const lease = givenLease(state, slot, host, work);
    // What the host was at when it died is told by itself.
    if (lease?.state.kind === 'queued') yield { kind: 'HandedBack', work, slot, at: now };
    else if (lease) yield { kind: 'AttemptUndone', work, slot, at: now };
    else if (isAt(state, slot, host, 'stopping')) yield { kind: 'SlotEmptied', slot };
  },
  uploaded: function* (state, { work, upload }) {
    if (isUnderway(state, work, upload)) yield { kind: 'Uploaded', work };
  },
  'upload-failed': decideUploadFailed,
  tick: decideTick,
  'turn-ended': function* (state, _command, now) {
    if (hasReports(state)) yield* report(state, null, now);
  },
  drain: decideDrain,
  close: decideClose,
};

/** Errors that no later try will mend. */
const finalJoinErrors: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['TOKEN_INVALID', 'PROTOCOL_MISMATCH']);
/** Errors that say that the coordinator cannot be heard, not that something is wrong with what was asked of it. */
const linkErrors: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'COORDINATOR_UNREACHABLE',
  'SESSION_UNKNOWN',
  'NOT_LEADING',
]);
/** Refusals of a result that is not needed any more. */
const staleErrors: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['LEASE_STALE', 'LEASE_EXPIRED', 'JOB_CANCELED']);

function* decideJoined(state: WorkerState, { reply }: CommandOf<'joined'>, now: MonotonicMs): Events {
  if (state.link.kind !== 'joining') return;
  const { protocol } = reply;
  if (agreedProtocol({ oldest: protocol, newest: protocol }, spokenHere) === null) {
    const behind = protocol > spokenHere.newest ? 'this worker node' : 'the coordinator';
    const message =
      `the coordinator (release ${reply.release}) speaks protocol ${protocol}, this worker node ` +
      `${protocolText(spokenHere)}; upgrade ${behind}`;
    yield* giveUp(state, { code: 'PROTOCOL_MISMATCH', message, detail: '' });
    return;
  }
  yield { kind: 'LinkOpened', reply, at: now };
  yield* report(state, null, now);
}

/** A failed attempt is over once it is told; a result only when the coordinator says so. */
function* report(state: WorkerState, heartbeat: { readonly rssBytes: number } | null, now: MonotonicMs): Events {
  const message = buildReport(state, heartbeat);
  const told = message.failures.map(({ token }) => state.byToken.get(formatToken(token)) ?? 0);
  yield { kind: 'Reported', message, at: now };
  for (const work of told) {
    const lease = state.leases.get(work);
    if (lease) yield* forgetWork(state, lease, 'reported');
  }
}

function* loseLink(state: WorkerState, failure: Failure, random: number, now: MonotonicMs): Events {
  const { link, joinDeadline } = state;
  if (link.kind !== 'joining' && link.kind !== 'up') return;
  const attempt = link.attempt + 1;
  // Whoever is about to lead is found as soon as it does.
  const isHandover = state.handover !== null && now < state.handover.until;
  const retryAt = reconnectAt(now, isHandover ? 1 : attempt, random);
  const isFirst = joinDeadline !== null;
  const isFinal = finalJoinErrors.has(failure.code) || (isFirst && failure.code === 'NAME_TAKEN');
  if (isFinal || (isFirst && retryAt > joinDeadline)) yield* giveUp(state, failure);
  else yield { kind: 'LinkLost', failure, attempt, retryAt };
}

function* giveUp(state: WorkerState, failure: Failure): Events {
  yield* killHosts(state);
  yield { kind: 'GaveUp', failure };
}

function* decideMessage(state: WorkerState, { message }: CommandOf<'message'>, now: MonotonicMs): Events {
  if (state.link.kind !== 'up') return;
  yield { kind: 'Heard', at: now };
  for (const spec of message.jobs) {
    // A job that went on after its end, under other settings: its hosts are of the time before.
    const known = state.jobs.get(spec.name);
    if (known && JSON.stringify(known.spec) !== JSON.stringify(spec)) yield* endJob(state, spec.name);
    yield { kind: 'JobAnnounced', spec };
  }
  if (message.adoption) yield* decideAdoption(state, message.adoption);
  for (const grant of message.grants) yield* decideGrant(state, grant);
  for (const token of message.committed) yield* forgetToken(state, token, 'committed');
  for (const { token } of message.refused) yield* forgetToken(state, token, 'refused');
  for (const token of message.revoked) yield* forgetToken(state, token, 'revoked');
  for (const token of message.recalled) yield* returnIfUnstarted(state, token);
  for (const job of message.endedJobs) yield* endJob(state, job);
  for (const job of message.drainedJobs) yield* returnUnstarted(state, job);
  const { handoverMs = null } = message;
  if (handoverMs !== null) yield { kind: 'HandoverAnnounced', withinMs: handoverMs, at: now };
  if (message.isDrain) yield* decideDrain(state, { kind: 'drain', withinMs: message.drainMs ?? null }, now);
}

/** Held leases that were offered in hello live on under new tokens; those that the answer does not name are over. */
function* decideAdoption(state: WorkerState, adoption: NonNullable<CoordinatorMessage['adoption']>): Events {
  const offered = state.link.kind === 'up' ? state.link.offered : null;
  if (!offered) return;
  const newTokens = new Map(adoption.map((adopted) => [formatToken(adopted.oldToken), adopted.newToken]));
  for (const [work, oldToken] of offered) {
    const token = newTokens.get(formatToken(oldToken));
    const lease = state.leases.get(work);
    if (!token && lease) yield* forgetWork(state, lease, 'not-adopted');
    if (token && lease && !isSameToken(token, oldToken)) yield { kind: 'Adopted', work, token };
    if (token && !lease) yield { kind: 'TokenReturned', token };
  }
  yield { kind: 'AdoptionEnded' };
}

function* decideGrant(state: WorkerState, grant: Grant): Events {
  // The same grant twice is one lease.
  if (state.byToken.has(formatToken(grant.token))) return;
  if (state.leaving !== 'none' || !state.jobs.has(grant.job)) {
    yield { kind: 'TokenReturned', token: grant.token };
    return;
  }
  yield { kind: 'LeaseGranted', work: state.works + 1, grant };
}

function* forgetToken(state: WorkerState, token: Token, reason: ForgetReason): Events {
  const lease = state.leases.get(state.byToken.get(formatToken(token)) ?? 0);
  if (lease) yield* forgetWork(state, lease, reason);
}

/** A running mini-batch that is no longer wanted costs its host: nothing else stops user code. */
function* forgetWork(state: WorkerState, lease: Lease, reason: ForgetReason): Events {
  if (lease.state.kind === 'running') yield* stopHost(state, lease.state.slot, 'kill');
  yield { kind: 'Forgotten', work: lease.work, token: lease.token, reason };
}

function* stopHost(state: WorkerState, slot: number, how: 'stop' | 'kill'): Events {
  const held = state.slots[slot];
  if (held && 'host' in held && held.kind !== 'stopping') yield { kind: 'HostStopping', slot, host: held.host, how };
}

function* killHosts(state: WorkerState): Events {
  for (const lease of [...state.leases.values()]) {
    if (lease.state.kind === 'running') yield* forgetWork(state, lease, 'closed');
  }
  for (const slot of state.slots.keys()) yield* stopHost(state, slot, 'kill');
}

const noResult = { bytes: 0, crc32: 0, customBytes: 0, customCrc32: 0 } as const;

/** The coordinator has no more use for the job here. */
export function* endJob(state: WorkerState, name: JobName): Events {
  const job = state.jobs.get(name);
  if (!job) return;
  for (const work of [...job.leases]) {
    const lease = state.leases.get(work);
    if (lease) yield* forgetWork(state, lease, 'job-ended');
  }
  for (const [slot, held] of state.slots.entries()) {
    if (held.kind === 'idle' && held.job === name) yield* stopHost(state, slot, 'stop');
    // init() may take minutes and has nothing to lose.
    if (held.kind === 'starting' && held.job === name) yield* stopHost(state, slot, 'kill');
  }
  yield { kind: 'JobEnded', job: name };
}

function* decideArtifactsFailed(state: WorkerState, command: CommandOf<'artifacts-failed'>, now: MonotonicMs): Events {
  const job = state.jobs.get(command.job);
  if (job?.artifacts.kind !== 'fetching') return;
  const retryAt = retryAfter(now, job.artifacts.tries + 1);
  yield { kind: 'ArtifactsPutOff', job: command.job, retryAt, failure: command.failure };
  // Losing the coordinator on the way is told by the link; everything else is the job's trouble on this node.
  if (linkErrors.has(command.failure.code)) return;
  yield { kind: 'HostFailed', job: command.job, failure: command.failure, retryAt };
  yield* returnUnstarted(state, command.job);
}

function* decideStaged(state: WorkerState, { work, failed }: CommandOf<'staged'>, now: MonotonicMs): Events {
  const lease = state.leases.get(work);
  if (lease?.state.kind !== 'staging') return;
  yield { kind: 'Staged', work, failed, at: now };
  if (failed.length < lease.files.length) return;
  const result = { ...noResult, summary: unstagedSummary(failed) };
  yield { kind: 'Scored', work, slot: null, result, isQuiet: true, at: now };
}

function* decideStagingFailed(
  state: WorkerState,
  { work, failure }: CommandOf<'staging-failed'>,
  now: MonotonicMs,
): Events {
  const lease = state.leases.get(work);
  if (lease?.state.kind !== 'staging') return;
  if (linkErrors.has(failure.code)) {
    yield { kind: 'StagingPutOff', work, retryAt: retryAfter(now, lease.state.tries + 1), failure };
  } else {
    yield {
      kind: 'AttemptFailed',
      work,
      slot: null,
      failure,
      fileIndex: -1,
      circumstances: noCircumstances,
      isHostDead: false,
      at: now,
    };
  }
}

function* decideHostFailed(state: WorkerState, command: CommandOf<'host-failed'>, now: MonotonicMs): Events {
  const { slot, host, failure } = command;
  const held = state.slots[slot];
  if (isAt(state, slot, host, 'stopping')) yield { kind: 'SlotEmptied', slot };
  if (held?.kind !== 'starting' || held.host !== host) return;
  yield { kind: 'SlotEmptied', slot };
  const job = state.jobs.get(held.job);
  if (!job) return;
  const { hostRetryAt } = job;
  const retryAt = hostRetryAt !== null && hostRetryAt > now ? hostRetryAt : retryAfter(now, job.initFailures + 1);
  yield { kind: 'HostFailed', job: held.job, failure, retryAt };
  // Where another slot has a host that works, its leases are in good hands.
  if (!state.slots.some((other) => hasWorkingHost(other, held.job))) yield* returnUnstarted(state, held.job);
}

function hasWorkingHost(slot: Slot, job: JobName): boolean {
  return (slot.kind === 'idle' || slot.kind === 'running') && slot.job === job;
}

function* decideScored(state: WorkerState, command: CommandOf<'scored'>, now: MonotonicMs): Events {
  const { work, slot, host, result, isQuiet } = command;
  const lease = givenLease(state, slot, host, work);
  if (!lease) return;
  const summary = mergeFailures(result.summary, lease.state.failed, lease.files.length);
  yield { kind: 'Scored', work, slot, result: { ...result, summary }, isQuiet, at: now };
}

function* decideAttemptFailed(state: WorkerState, command: CommandOf<'attempt-failed'>, now: MonotonicMs): Events {
  const { work, slot, host, failure, isHostDead } = command;
  const lease = givenLease(state, slot, host, work);
  if (!lease) {
    // Of a mini-batch that was taken back from it, it may die when it has nothing else to do.
    const isAtRest = isAt(state, slot, host, 'stopping') || isAt(state, slot, host, 'idle');
    if (isHostDead && isAtRest) yield { kind: 'SlotEmptied', slot };
    else if (isHostDead && isAt(state, slot, host, 'running')) yield { kind: 'HostLost', slot, at: now };
    return;
  }
  const fileIndex = mergedIndex(command.fileIndex, lease.state.failed, lease.files.length);
  const circumstances = { ...command.circumstances, runSeconds: (now - lease.state.since) / 1_000 };
  yield { kind: 'AttemptFailed', work, slot, failure, fileIndex, circumstances, isHostDead, at: now };
}

function* decideUploadFailed(state: WorkerState, command: CommandOf<'upload-failed'>, now: MonotonicMs): Events {
  const { work, upload, failure } = command;
  const lease = state.leases.get(work);
  if (!lease || !isUnderway(state, work, upload)) return;
  if (staleErrors.has(failure.code)) {
    yield* forgetWork(state, lease, 'refused');
    return;
  }
  const tries = lease.state.kind === 'scored' && lease.state.upload.kind === 'underway' ? lease.state.upload.tries : 0;
  yield { kind: 'UploadPutOff', work, retryAt: retryAfter(now, tries + 1), failure };
}

function* decideTick(state: WorkerState, { rssBytes, random }: CommandOf<'tick'>, now: MonotonicMs): Events {
  const { link } = state;
  if (now >= (leaveAt(state) ?? Infinity)) yield* decideDrain(state, { kind: 'drain' }, now);
  if (now >= (state.killAt ?? Infinity)) yield* decideClose(state);
  if (link.kind === 'down' && now >= link.retryAt) yield { kind: 'JoinStarted', attempt: link.attempt };
  if (link.kind !== 'up') return;
  if (now >= link.heardAt + link.leaseMs) {
    const message = `the coordinator has been silent for ${Math.round(now - link.heardAt)} ms, longer than a lease`;
    yield* loseLink(state, { code: 'COORDINATOR_UNREACHABLE', message, detail: '' }, random, now);
    return;
  }
  if (now >= link.heartbeatAt) yield* report(state, { rssBytes }, now);
  if (now >= link.openedAt + limits.unannouncedJobMs && link.offered === null) {
    for (const [name, job] of [...state.jobs]) {
      if (!job.isAnnounced && job.leases.size === 0) yield* endJob(state, name);
    }
  }
}

/** Asked again, it may be given less time, never more. */
function* decideDrain(state: WorkerState, { withinMs = null }: CommandOf<'drain'>, now: MonotonicMs): Events {
  if (state.leaving === 'close' || state.link.kind === 'closed') return;
  const killAt = withinMs === null ? null : monotonicMs(now + withinMs);
  if (killAt !== null && killAt < (state.killAt ?? Infinity)) yield { kind: 'KillSet', at: killAt };
  if (state.leaving === 'drain') return;
  yield { kind: 'LeavingBegan', how: 'drain' };
  yield* returnUnstarted(state);
}

function* decideClose(state: WorkerState): Events {
  if (state.leaving === 'close' || state.link.kind === 'closed') return;
  yield { kind: 'LeavingBegan', how: 'close' };
  const canTell = state.link.kind === 'up' && state.link.offered === null;
  for (const lease of [...state.leases.values()]) {
    // Of a result that was sent, the coordinator makes what it can; it must not hear that the lease is free.
    const isDone = lease.state.kind === 'scored' || lease.state.kind === 'failed';
    const isToTell = lease.state.kind === 'failed' && canTell;
    if (!isToTell) yield* forgetWork(state, lease, isDone ? 'closed' : 'returned');
  }
  // A host that has nothing to do may end in its own way: shutdown() writes what it kept for last.
  for (const [slot, held] of state.slots.entries())
    yield* stopHost(state, slot, held.kind === 'idle' ? 'stop' : 'kill');
}

function* returnIfUnstarted(state: WorkerState, token: Token): Events {
  const lease = state.leases.get(state.byToken.get(formatToken(token)) ?? 0);
  // Should a host that has it already score it all the same, nobody hears of it.
  if (lease && (isUnstarted(lease) || lease.state.kind === 'queued')) yield* forgetWork(state, lease, 'returned');
}

function isUnstarted({ state: { kind } }: Lease): boolean {
  return kind === 'granted' || kind === 'staging' || kind === 'ready';
}

/** Gives back what no slot has begun, of one job or of all. */
function* returnUnstarted(state: WorkerState, job?: JobName): Events {
  for (const lease of [...state.leases.values()]) {
    if (isUnstarted(lease) && (job === undefined || lease.job === job)) yield* forgetWork(state, lease, 'returned');
  }
}

function isAt(state: WorkerState, slot: number, host: number, kind: Slot['kind']): boolean {
  const held = state.slots[slot];
  return held?.kind === kind && 'host' in held && held.host === host;
}

function isUnderway(state: WorkerState, work: number, upload: number): boolean {
  const lease = state.leases.get(work);
  if (lease?.state.kind !== 'scored') return false;
  return lease.state.upload.kind === 'underway' && lease.state.upload.upload === upload;
}
