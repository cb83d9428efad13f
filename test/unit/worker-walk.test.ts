import { noCircumstances } from '../../common/core/cluster-messages.ts';
import { describe, expect, it } from 'vitest';
import { monotonicMs } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { formatToken, type Token } from '../../common/core/token.ts';
import type { WorkerCommand } from '../../worker/core/commands.ts';
import type { EventOf, ForgetReason, WorkerEvent } from '../../worker/core/events.ts';
import { failure, grant, jobA, jobB, jobSpec, resultOf, summaryOf, WorkerRig } from '../helpers/worker-rig.ts';
import { Random } from '../sim/world.ts';

type Watchers = { readonly [K in WorkerEvent['kind']]?: (event: EventOf<K>, command: WorkerCommand) => unknown };

/** Asked hundreds of thousands of times, and `expect` is not made for that. */
function same<T extends string | number | boolean>(found: T, wanted: T, what = 'it'): void {
  if (found !== wanted) expect(found, what).toBe(wanted);
}

const finalReasons: readonly ForgetReason[] = ['committed', 'refused', 'revoked', 'not-adopted', 'job-ended', 'closed'];

/**
 * Anything may happen to a node in any order, also what makes no sense. Whatever it decides, the outside world as its
 * orders describe it (processes, results, what the coordinator was told) must stay sound.
 */
class Walk {
  readonly rig: WorkerRig;
  readonly random: Random;
  /** Hosts alive on each slot, as the orders say. */
  readonly alive = new Map<number, Set<number>>();
  /** Work on each host. */
  readonly scoring = new Map<number, number[]>();
  queued = 0;
  /** Works that are scored and neither committed, refused nor given up. */
  readonly held = new Set<number>();
  /** Every token that is the node's to answer for. */
  readonly owed = new Set<string>();
  grants = 0;
  epoch = 1;
  outstanding = 0;
  readonly seen = new Set<WorkerEvent['kind']>();

  constructor(seed: number) {
    this.random = new Random(seed);
    this.rig = new WorkerRig(this.random.between(1, 4));
    this.obey(this.rig.tell({ kind: 'begin' }), { kind: 'begin' });
  }

  step(): void {
    const { rig, random } = this;
    rig.now = monotonicMs(rig.now + random.pick([0, 0, 1, 50, 3_000]));
    const command = this.#command();
    this.obey(rig.tell(command), command);
    this.check();
  }

  obey(events: readonly WorkerEvent[], command: WorkerCommand): void {
    for (const event of events) {
      this.seen.add(event.kind);
      this.#one(event, command);
    }
  }

  check(): void {
    const { state } = this.rig;
    for (const [slot, hosts] of this.alive) same(Math.max(1, hosts.size), 1, `hosts on slot ${slot}`);
    same(
      [...this.owed].sort().join(),
      [...state.leases.values()]
        .map((lease) => formatToken(lease.token))
        .sort()
        .join(),
    );
    same([...this.held].sort().join(), [...state.scored].sort().join());
    const unstarted = state.granted.size + state.staging.size + state.ready;
    same(
      [...state.jobs.values()].reduce((sum, job) => sum + job.unstarted, 0),
      unstarted,
    );
    same(state.byToken.size, state.leases.size);
    same(Math.max(0, state.heldResultBytes), state.heldResultBytes);
  }

  #one(event: WorkerEvent, command: WorkerCommand): void {
    const watch = this.#watchers[event.kind] as ((event: WorkerEvent, command: WorkerCommand) => void) | undefined;
    watch?.(event, command);
  }

  readonly #watchers: Watchers = {
    HostStarted: ({ slot, host }) => {
      this.alive.set(slot, (this.alive.get(slot) ?? new Set()).add(host));
    },
    SlotEmptied: ({ slot }) => this.alive.get(slot)?.clear(),
    AttemptStarted: ({ slot, host, work }) => {
      expect(this.alive.get(slot)?.has(host)).toBe(true);
      expect(this.scoring.get(host) ?? [], 'a host that scores already').toEqual([]);
      this.scoring.set(host, [work]);
    },
    AttemptQueued: ({ slot, host, work }) => {
      expect(this.alive.get(slot)?.has(host)).toBe(true);
      expect(this.scoring.get(host)?.length ?? 0, 'something to wait behind').toBeGreaterThan(0);
      this.scoring.get(host)?.push(work);
      this.queued += 1;
    },
    HandedBack: ({ work }) => this.#ended(work),
    HostLost: ({ slot }) => {
      for (const host of this.alive.get(slot) ?? []) this.scoring.delete(host);
      this.alive.get(slot)?.clear();
    },
    HostStopping: ({ host }) => this.scoring.delete(host),
    Scored: ({ slot, work }, command) => {
      // Only the word of the host that has the mini-batch counts.
      if (slot !== null && command.kind === 'scored') expect(this.scoring.get(command.host)).toContain(work);
      this.#ended(work);
      this.held.add(work);
    },
    AttemptFailed: ({ work, slot, isHostDead }) => {
      this.#ended(work);
      if (slot !== null && isHostDead) this.alive.get(slot)?.clear();
    },
    AttemptUndone: ({ work, slot }) => {
      this.#ended(work);
      this.alive.get(slot)?.clear();
    },
    LeaseGranted: ({ grant: granted }) => this.owed.add(formatToken(granted.token)),
    Adopted: ({ work, token }) => this.#renamed(work, token),
    Forgotten: ({ work, token, reason }, command) => {
      const wasHeld = this.held.delete(work);
      // A result goes only when the coordinator said so, or when the node leaves without it.
      if (wasHeld) expect(finalReasons).toContain(reason);
      if (wasHeld && reason === 'closed') expect(command.kind).toBe('close');
      this.owed.delete(formatToken(token));
      this.tokens.delete(work);
    },
    LinkOpened: () => {
      this.outstanding = 0;
    },
    Reported: ({ message }) => {
      const { state } = this.rig;
      this.outstanding += message.want;
      expect(this.outstanding).toBeLessThanOrEqual(state.slots.length + limits.workAheadMax);
      if (message.heartbeat && state.link.kind === 'up' && state.link.offered === null) {
        const told = new Set(message.heartbeat.held.map(formatToken));
        for (const token of this.owed) same(told.has(token), true, `${token} in the heartbeat`);
      }
    },
  };

  readonly tokens = new Map<number, string>();

  #renamed(work: number, token: Token): void {
    const old = this.tokens.get(work);
    if (old !== undefined) this.owed.delete(old);
    this.owed.add(formatToken(token));
    this.tokens.set(work, formatToken(token));
  }

  #ended(work: number): void {
    for (const [host, scoring] of this.scoring)
      this.scoring.set(
        host,
        scoring.filter((one) => one !== work),
      );
  }

  #anyToken(): Token {
    const leases = [...this.rig.state.leases.values()];
    return leases.length > 0 && this.random.chance(0.9)
      ? this.random.pick(leases).token
      : { epoch: 1, counter: 999_999 };
  }

  #command(): WorkerCommand {
    const { rig, random } = this;
    const { state } = rig;
    const slot = random.between(0, state.slots.length - 1);
    const at = state.slots[slot];
    const host = at && 'host' in at && random.chance(0.9) ? at.host : random.between(1, 50);
    const work = at?.kind === 'running' && random.chance(0.9) ? at.work : random.between(1, state.works + 1);
    const problem = failure(
      random.pick(['SCORER_FAILED', 'COORDINATOR_UNREACHABLE', 'LEASE_STALE', 'DISK_FULL'] as const),
    );
    switch (random.between(0, 22)) {
      case 0:
      case 1:
        return { kind: 'tick', rssBytes: 1, random: random.next() };
      case 2:
        return random.chance(0.2)
          ? { kind: 'link-lost', failure: failure('COORDINATOR_UNREACHABLE'), random: random.next() }
          : { kind: 'turn-ended' };
      case 3:
        return random.chance(0.3)
          ? { kind: 'join-failed', failure: failure('COORDINATOR_UNREACHABLE'), random: random.next() }
          : { kind: 'joined', reply: this.#reply() };
      case 4:
      case 5:
      case 6:
      case 7:
        return this.#message();
      case 8:
        return { kind: 'artifacts-localised', job: random.pick([jobA, jobB]) };
      case 9:
        return random.chance(0.3)
          ? { kind: 'artifacts-failed', job: random.pick([jobA, jobB]), failure: problem }
          : { kind: 'turn-ended' };
      case 10:
      case 11:
      case 12: {
        const [staging = work] = state.staging;
        const files = state.leases.get(staging)?.files.length ?? 1;
        const failed = random.chance(0.2)
          ? Array.from({ length: files }, (_, index) => ({ index, code: 'INPUT_UNREADABLE', message: '' }) as const)
          : [];
        return { kind: 'staged', work: staging, failed };
      }
      case 13:
        return { kind: 'staging-failed', work, failure: problem };
      case 14:
      case 15:
        return { kind: 'host-ready', slot, host };
      case 16:
        return random.chance(0.3) ? { kind: 'host-failed', slot, host, failure: problem } : { kind: 'turn-ended' };
      case 17:
        // A host that scores tells its end with the outcome.
        return { kind: 'host-ended', slot, host };
      case 18:
      case 19: {
        const files = state.leases.get(work)?.files.length ?? 1;
        const bytes = random.pick([0, 10, limits.inlineResultBytesMax + 1]);
        const isQuiet = random.chance(0.8);
        return { kind: 'scored', slot, host, work, result: resultOf(summaryOf(files), bytes), isQuiet };
      }
      case 20: {
        const isHostDead = random.chance(0.5);
        return {
          kind: 'attempt-failed',
          slot,
          host,
          work,
          failure: problem,
          fileIndex: -1,
          circumstances: noCircumstances,
          isHostDead,
        };
      }
      case 21: {
        const [uploading = work] = state.uploads;
        const upload = random.chance(0.8) ? state.uploadsBegun : random.between(0, 9);
        return random.chance(0.7)
          ? { kind: 'uploaded', work: uploading, upload }
          : { kind: 'upload-failed', work: uploading, upload, failure: problem };
      }
      default:
        return random.chance(0.1)
          ? { kind: random.chance(0.5) ? 'attempt-unstarted' : 'handed-back', slot, host, work }
          : { kind: 'turn-ended' };
    }
  }

  #reply() {
    this.epoch += 1;
    return {
      protocol: 1,
      release: '',
      session: 's',
      epoch: this.epoch,
      heartbeatMs: 5_000,
      leaseMs: 30_000,
      uploadCreditBytes: 1,
    };
  }

  #message(): WorkerCommand {
    const { rig, random } = this;
    const { link } = rig.state;
    const base = {
      jobs: [],
      grants: [],
      committed: [],
      refused: [],
      revoked: [],
      recalled: [],
      endedJobs: [],
      drainedJobs: [],
      diagnose: [],
      heartbeatAck: 0,
      isDrain: false,
    };
    if (link.kind === 'up' && link.offered && random.chance(0.7)) {
      const offered = [...link.offered.values()].filter(() => random.chance(0.8));
      const adoption = offered.map((oldToken) => {
        this.grants += 1;
        return { oldToken, newToken: { epoch: this.epoch, counter: this.grants } };
      });
      for (const [work, old] of link.offered) this.tokens.set(work, formatToken(old));
      return { kind: 'message', message: { ...base, adoption } };
    }
    const count = Math.min(random.between(0, 3), this.outstanding);
    const grants = Array.from({ length: count }, () => {
      this.grants += 1;
      return grant(this.grants, {
        job: random.pick([jobA, jobA, jobB]),
        epoch: this.epoch,
        files: random.between(1, 3),
      });
    });
    if (link.kind === 'up') this.outstanding -= count;
    const message = {
      ...base,
      jobs: [jobSpec(jobA), jobSpec(jobB, 1)],
      grants,
      committed: random.chance(0.5) ? [this.#anyToken()] : [],
      refused: random.chance(0.05) ? [{ token: this.#anyToken(), failure: failure('LEASE_STALE') }] : [],
      revoked: random.chance(0.1) ? [this.#anyToken()] : [],
      recalled: random.chance(0.1) ? [this.#anyToken()] : [],
      endedJobs: random.chance(0.03) ? [random.pick([jobA, jobB])] : [],
      drainedJobs: [],
      diagnose: [],
      ...(random.chance(0.05) ? { handoverMs: 2_000 } : {}),
      adoption: null,
    };
    return { kind: 'message', message };
  }
}

const seeds = Array.from({ length: 30 }, (_, index) => index + 1);
const steps = 600;

describe('a walk of chance', () => {
  it('never leads to two hosts on a slot, a lost result, a lease that is not answered for, or too much asked', () => {
    const seen = new Set<string>();
    for (const seed of seeds) {
      const walk = new Walk(seed);
      try {
        for (let step = 0; step < steps; step += 1) walk.step();
      } catch (error) {
        throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      }
      for (const kind of walk.seen) seen.add(kind);
    }
    // It went everywhere, or it would prove little.
    for (const kind of [
      'Adopted',
      'TokenReturned',
      'Uploaded',
      'UploadPutOff',
      'HostFailed',
      'AttemptUndone',
      'JobEnded',
    ]) {
      expect(seen, kind).toContain(kind);
    }
  });

  it.each(['drain', 'close'] as const)('can always be ended by %s', (how) => {
    for (const seed of seeds) {
      const walk = new Walk(seed);
      for (let step = 0; step < 200; step += 1) walk.step();
      const { rig } = walk;
      rig.tell({ kind: how });
      for (let round = 0; round < 200 && rig.state.link.kind !== 'closed'; round += 1) endWell(rig);
      expect(rig.state.link.kind, `seed ${seed}`).toBe('closed');
      expect(rig.state.slots.every((slot) => slot.kind === 'empty')).toBe(true);
    }
  });
});

/** A world in which everything goes well from now on. */
function endWell(rig: WorkerRig): void {
  const { state } = rig;
  rig.turn();
  if (state.link.kind === 'down') rig.after(rig.wakeInMs ?? 0);
  if (state.link.kind === 'joining') rig.join(50);
  if (state.link.kind === 'up' && state.link.offered) {
    rig.hear({ adoption: [...state.link.offered.values()].map((held) => ({ oldToken: held, newToken: held })) });
  }
  for (const [slot, held] of state.slots.entries()) {
    if (held.kind === 'running') rig.score(slot);
    if (held.kind === 'stopping') rig.tell({ kind: 'host-ended', slot, host: held.host });
  }
  for (const work of state.uploads) rig.tell({ kind: 'uploaded', work, upload: uploadOf(rig, work) });
  rig.after(1_000);
  rig.turn();
  rig.hear({ committed: [...state.scored].flatMap((work) => state.leases.get(work)?.token ?? []) });
}

function uploadOf(rig: WorkerRig, work: number): number {
  const lease = rig.state.leases.get(work)?.state;
  return lease?.kind === 'scored' && lease.upload.kind === 'underway' ? lease.upload.upload : 0;
}
