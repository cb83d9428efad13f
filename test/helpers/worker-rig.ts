/** Drives the worker node's core by hand: a clock that only moves when told, and short ways to the usual situations. */
import { limits } from '../../common/core/limits.ts';
import type { HeldResult } from '../../worker/core/state.ts';
import { noCircumstances } from '../../common/core/cluster-messages.ts';
import {
  emptyCoordinatorMessage,
  type CoordinatorMessage,
  type Grant,
  type JobSpec,
  type NodeMessage,
} from '../../common/core/cluster-messages.ts';
import { jobName, monotonicMs, type JobName, type MonotonicMs } from '../../common/core/ids.ts';
import type { Failure } from '../../common/core/batch-error.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import type { ResultSummary } from '../../common/core/result.ts';
import type { Token } from '../../common/core/token.ts';
import { advance, nextWake } from '../../worker/core/advance.ts';
import type { WorkerCommand } from '../../worker/core/commands.ts';
import type { EventOf, WorkerEvent } from '../../worker/core/events.ts';
import { hasReports } from '../../worker/core/report.ts';
import { newWorkerState, type WorkerState } from '../../worker/core/state.ts';

export const jobA: JobName = jobName('a');
export const jobB: JobName = jobName('b');

export function failure(code: ErrorCode, message = 'it went wrong'): Failure {
  return { code, message, detail: '' };
}

export function jobSpec(name: JobName = jobA, concurrencyMax: number | null = null): JobSpec {
  return {
    name,
    deployment: 'digits',
    scorer: { kind: 'python', script: 'score.py' },
    model: null,
    code: null,
    environment: { kind: 'host', python: null },
    settings: {
      timeoutMs: 30_000,
      outputFormat: 'csv',
      outputAction: 'append_row',
      loggingLevel: 'info',
      environmentVariables: {},
      customOutput: 'collected',
      outputFileName: 'predictions.csv',
      memoryBytesMax: null,
      concurrencyMax,
    },
    owner: 'local',
    inputRoot: '/in',
    attemptsLocation: null,
    outputDir: null,
  };
}

export function token(counter: number, epoch = 1): Token {
  return { epoch, counter };
}

/** A lease of `files` files whose first ordinal is ten times its counter, unless said otherwise. */
export function grant(
  counter: number,
  options: { job?: JobName; first?: number; files?: number; epoch?: number; isAlone?: boolean } = {},
): Grant {
  const { job = jobA, first = counter * 10, files = 2, epoch = 1, isAlone = false } = options;
  return {
    token: token(counter, epoch),
    job,
    first,
    files: Array.from({ length: files }, (_, index) => ({ path: `f${first + index}`, sizeBytes: 1, identity: '1-1' })),
    attempt: 1,
    isAlone,
  };
}

/** A result whose rows are all that there is. */
export function resultOf(summary: ResultSummary, bytes: number, crc32 = 7): HeldResult {
  return { summary, bytes, crc32, customBytes: 0, customCrc32: 0 };
}

export function summaryOf(files: number): ResultSummary {
  return {
    rows: files,
    attribution: 'file',
    fileRows: new Array<number>(files).fill(1),
    failed: [],
    schema: { columns: ['file:utf8'], prologue: 'file\n' },
    runSeconds: 0.01,
    peakMemoryBytes: null,
  };
}

export class WorkerRig {
  readonly state: WorkerState;
  now: MonotonicMs = monotonicMs(1_000);
  /** Everything that was decided so far. */
  readonly events: WorkerEvent[] = [];

  /** `staysMs`: it leaves then; null: it stays. */
  constructor(slots = 1, staysMs: number | null = null) {
    const endsAt = staysMs === null ? null : monotonicMs(this.now + staysMs);
    this.state = newWorkerState({ slots, joinMsMax: 10_000, spoolBytesMax: limits.spoolBytesMax, endsAt });
  }

  tell(command: WorkerCommand): readonly WorkerEvent[] {
    const events = advance(this.state, command, this.now);
    this.events.push(...events);
    return events;
  }

  hear(message: Partial<CoordinatorMessage>): readonly WorkerEvent[] {
    return this.tell({ kind: 'message', message: { ...emptyCoordinatorMessage, ...message } });
  }

  /** Ends the turn; what was sent, or null when nothing was. */
  turn(): NodeMessage | null {
    if (!hasReports(this.state)) return null;
    return reported(this.tell({ kind: 'turn-ended' }))[0] ?? null;
  }

  after(ms: number): readonly WorkerEvent[] {
    this.now = monotonicMs(this.now + ms);
    return this.tell({ kind: 'tick', rssBytes: 1_000, random: 0 });
  }

  get wakeInMs(): number | null {
    const at = nextWake(this.state, this.now);
    return at === null ? null : at - this.now;
  }

  /** Joined, with an empty hello behind it. */
  join(epoch = 1): readonly WorkerEvent[] {
    if (this.state.link.kind === 'down' && this.state.joinDeadline === null && this.events.length === 0) {
      this.tell({ kind: 'begin' });
    }
    const reply = {
      protocol: 1,
      release: '0',
      session: `s${epoch}`,
      epoch,
      heartbeatMs: 5_000,
      leaseMs: 30_000,
      uploadCreditBytes: 1_000_000,
    };
    return this.tell({ kind: 'joined', reply });
  }

  /** Joins and hears of jobs a and b, whose model and code are there. */
  ready(...specs: readonly JobSpec[]): this {
    this.join();
    this.hear({ jobs: specs.length > 0 ? specs : [jobSpec()] });
    return this;
  }

  /** Leases that are staged, with the artifacts of their jobs at hand. */
  stage(...grants: readonly Grant[]): void {
    const events = this.hear({ grants });
    for (const { spec } of eventsOf(events, 'ArtifactsWanted')) {
      this.tell({ kind: 'artifacts-localised', job: spec.name });
    }
    for (const { work } of eventsOf(events, 'StagingStarted')) this.tell({ kind: 'staged', work, failed: [] });
  }

  /** All hosts that are starting are ready. */
  hostsReady(): void {
    for (const [slot, held] of this.state.slots.entries()) {
      if (held.kind === 'starting') this.tell({ kind: 'host-ready', slot, host: held.host });
    }
  }

  /** The mini-batch on `slot` is scored. */
  score(slot = 0, bytes = 100, isQuiet = false): readonly WorkerEvent[] {
    const held = this.state.slots[slot];
    if (held?.kind !== 'running') throw new Error(`slot ${slot} is ${held?.kind}, not running`);
    const { host, work } = held;
    const lease = this.state.leases.get(work);
    const failed = lease?.state.kind === 'running' ? lease.state.failed.length : 0;
    const summary = summaryOf((lease?.files.length ?? 0) - failed);
    return this.tell({ kind: 'scored', slot, host, work, result: resultOf(summary, bytes), isQuiet });
  }

  /** The attempt on `slot` fails. */
  fail(slot: number, code: ErrorCode, isHostDead: boolean, fileIndex = -1): readonly WorkerEvent[] {
    const held = this.state.slots[slot];
    if (held?.kind !== 'running') throw new Error(`slot ${slot} is ${held?.kind}, not running`);
    const { host, work } = held;
    return this.tell({
      kind: 'attempt-failed',
      slot,
      host,
      work,
      failure: failure(code),
      fileIndex,
      circumstances: noCircumstances,
      isHostDead,
    });
  }

  loseLink(): readonly WorkerEvent[] {
    return this.tell({ kind: 'link-lost', failure: failure('COORDINATOR_UNREACHABLE'), random: 0 });
  }

  slotKinds(): readonly string[] {
    return this.state.slots.map((slot) => slot.kind);
  }

  leaseKinds(): readonly string[] {
    return [...this.state.leases.values()].map((lease) => lease.state.kind);
  }
}

export function eventsOf<K extends WorkerEvent['kind']>(
  events: readonly WorkerEvent[],
  kind: K,
): readonly EventOf<K>[] {
  return events.filter((event): event is EventOf<K> => event.kind === kind);
}

export function kindsOf(events: readonly WorkerEvent[]): readonly string[] {
  return events.map((event) => event.kind);
}

export function reported(events: readonly WorkerEvent[]): readonly NodeMessage[] {
  return eventsOf(events, 'Reported').map((event) => event.message);
}
