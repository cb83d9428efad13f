/**
 * A worker node's process in the simulator: the real worker core on simulated hosts, staging and network. Scorers follow
 * a script: which files are poison is a property of the input, how long things take is chance.
 */
import { noCircumstances } from '../../common/core/cluster-messages.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { emptyNodeMessage, type CoordinatorMessage, type NodeMessage } from '../../common/core/cluster-messages.ts';
import { limits } from '../../common/core/limits.ts';
import { incarnation, monotonicMs, nodeName, type NodeName } from '../../common/core/ids.ts';
import type { FileFailure } from '../../common/core/result.ts';
import { formatToken, type Token } from '../../common/core/token.ts';
import { advance, nextWake } from '../../worker/core/advance.ts';
import type { WorkerCommand } from '../../worker/core/commands.ts';
import type { WorkerEvent } from '../../worker/core/events.ts';
import { hasReports } from '../../worker/core/report.ts';
import { newWorkerState, type WorkerState } from '../../worker/core/state.ts';
import type { SimCoordinator, SimLink } from './sim-coordinator.ts';
import type { Rows } from './sim-disk.ts';
import { Random, type World } from './world.ts';

/** What happens when a file is scored. */
export type FileFate =
  'fine' | 'disk' | 'error' | 'crash' | 'hang' | 'memory' | 'hungry' | 'undecodable' | 'unreadable' | 'other-columns';

/** Code of each fate that ends an attempt. */
const failureCodes: Partial<Record<FileFate, ErrorCode>> = {
  error: 'SCORER_FAILED',
  disk: 'DISK_FULL',
  crash: 'SCORER_CRASHED',
  hang: 'SCORER_TIMEOUT',
  memory: 'SCORER_OUT_OF_MEMORY',
  hungry: 'SCORER_OUT_OF_MEMORY',
};

/** Whether a file fails the mini-batch that it is in. */
export function isDeadly(fate: FileFate): boolean {
  return fate === 'error' || fate === 'crash' || fate === 'hang' || fate === 'memory';
}

export interface SimInput {
  fateOf(file: number): FileFate;
  /** Bytes of the file's rows. */
  rowsBytes(file: number): number;
  /** Bytes of files that user code writes for it; 0: none. */
  customBytes(file: number): number;
}

export interface SimNodeOptions {
  readonly world: World;
  readonly coordinator: SimCoordinator;
  readonly input: SimInput;
  readonly name: string;
  readonly slots: number;
  readonly scoreMs: readonly [number, number];
  /** What now and then an attempt on it takes instead; 0: never. */
  readonly slowMs: number;
  /** How every attempt on it ends, whatever the files; null: as the files will have it. */
  readonly sickness: FileFate | null;
}

interface Link extends SimLink {
  isOpen: boolean;
  /** When the last message on its way will arrive: streams keep order. */
  upAt: number;
  downAt: number;
}

interface Work {
  readonly first: number;
  readonly files: number;
  readonly staged: readonly number[];
}

export class SimNode {
  readonly name: NodeName;
  readonly #options: SimNodeOptions;
  readonly #world: World;
  #state: WorkerState | null = null;
  #link: Link | null = null;
  #life = 0;
  #starts = 0;
  #frozenUntil = 0;
  #wakeAt: number | null = null;
  #isTurnDue = false;
  #works = new Map<number, Work>();
  #results = new Map<number, readonly Rows[]>();
  /** Of its own, so that the schedule of faults does not hang on it. */
  readonly #moods = new Random(0x51ed);
  /** Messages by kind of content, to tell silence from chatter. */
  sent = 0;

  constructor(options: SimNodeOptions) {
    this.#options = options;
    this.#world = options.world;
    this.name = nodeName(options.name);
  }

  /** Leases that the node believes to hold. */
  get held(): number {
    return this.#state?.leases.size ?? 0;
  }

  /** Whether a slot of it is at work on the lease right now, as it should be. */
  isScoring(token: Token): boolean {
    const work = this.#state?.byToken.get(formatToken(token));
    const isAwake = this.#frozenUntil <= this.#world.now;
    return isAwake && work !== undefined && this.#state?.leases.get(work)?.state.kind === 'running';
  }

  get isUp(): boolean {
    return this.#state !== null;
  }

  start(): void {
    this.#life += 1;
    this.#starts += 1;
    this.#state = newWorkerState({
      slots: this.#options.slots,
      joinMsMax: 3_600_000,
      spoolBytesMax: limits.spoolBytesMax,
    });
    this.#world.say(`${this.name} starts`);
    this.#tell({ kind: 'begin' });
  }

  kill(): void {
    if (!this.#state) return;
    this.#world.say(`${this.name} is killed`);
    this.#end();
  }

  /** Finishes what runs, gives back the rest, leaves, and is started again later. */
  drain(): void {
    if (!this.#state) return;
    this.#world.say(`${this.name} drains`);
    this.#tell({ kind: 'drain' });
  }

  /** The process has ended by itself; whatever supervises it starts it again. */
  #ended(): void {
    this.#world.say(`${this.name} has ended`);
    this.#end();
    this.#world.after(this.#world.random.between(1_000, 10_000), () => {
      if (!this.isUp) this.start();
    });
  }

  #end(): void {
    this.#life += 1;
    this.#state = null;
    this.#wakeAt = null;
    this.#isTurnDue = false;
    this.#works.clear();
    this.#results.clear();
    this.cutLink();
  }

  freeze(ms: number): void {
    this.#frozenUntil = Math.max(this.#frozenUntil, this.#world.now + ms);
    this.#world.say(`${this.name} freezes for ${ms} ms`);
  }

  /** The network drops the connection; both ends learn of it, each in its own time. */
  cutLink(): void {
    const link = this.#link;
    if (!link?.isOpen) return;
    link.isOpen = false;
    this.#link = null;
    this.#world.after(this.#world.random.between(0, 2_000), () => this.#options.coordinator.disconnected(link));
    this.#own(this.#world.random.between(0, 2_000), () => this.#linkLost());
  }

  #linkLost(): void {
    const failure = new BatchError('COORDINATOR_UNREACHABLE', 'the link is cut').toFailure();
    this.#tell({ kind: 'link-lost', failure, random: this.#world.random.next() });
  }

  #own(delayMs: number, what: () => void): void {
    const life = this.#life;
    const attempt = (): void => {
      if (life !== this.#life) return;
      if (this.#frozenUntil > this.#world.now) this.#world.at(this.#frozenUntil, attempt);
      else what();
    };
    this.#world.after(delayMs, attempt);
  }

  #tell(command: WorkerCommand): void {
    const state = this.#state;
    if (!state) return;
    for (const event of advance(state, command, monotonicMs(this.#world.now))) this.#obey(event);
    this.#scheduleTurn();
    this.#scheduleWake();
  }

  #scheduleTurn(): void {
    if (this.#isTurnDue || !this.#state || !hasReports(this.#state)) return;
    this.#isTurnDue = true;
    this.#own(0, () => {
      this.#isTurnDue = false;
      this.#tell({ kind: 'turn-ended' });
    });
  }

  #scheduleWake(): void {
    const due = this.#state && nextWake(this.#state, monotonicMs(this.#world.now));
    if (due === null || (this.#wakeAt !== null && this.#wakeAt <= due)) return;
    this.#wakeAt = due;
    this.#own(due - this.#world.now, () => {
      if (this.#wakeAt === due) this.#wakeAt = null;
      this.#tell({ kind: 'tick', rssBytes: 0, random: this.#world.random.next() });
    });
  }

  /** Delay of one message; a stream keeps its order. */
  #latency(): number {
    return this.#world.random.chance(0.02) ? this.#world.random.between(50, 3_000) : this.#world.random.between(0, 8);
  }

  #obey(event: WorkerEvent): void {
    const { random } = this.#world;
    switch (event.kind) {
      case 'JoinStarted':
        return this.#join();
      case 'LinkOpened':
        return this.#open();
      case 'LinkLost':
        if (this.#link) this.cutLink();
        return;
      case 'Reported':
        return this.#send(event.message);
      case 'ArtifactsWanted':
        return this.#own(random.between(1, 50), () =>
          this.#tell({ kind: 'artifacts-localised', job: event.spec.name }),
        );
      case 'StagingStarted':
        return this.#stage(event.work, event.first, event.files.length);
      case 'HostStarted':
        return this.#own(random.between(20, 200), () => this.#begin(event.slot, event.host));
      case 'HostStopping':
        return this.#own(random.between(1, 50), () =>
          this.#tell({ kind: 'host-ended', slot: event.slot, host: event.host }),
        );
      case 'AttemptStarted':
        return this.#score(event.work, event.slot, event.host, event.timeoutMs);
      case 'UploadStarted':
        return this.#upload(event.work, event.upload, event.token);
      case 'GaveUp':
      case 'Left':
        return this.#own(0, () => this.#ended());
      case 'Forgotten':
        this.#works.delete(event.work);
        this.#results.delete(event.work);
        return;
      default:
        return;
    }
  }

  /** A model that was loaded once may fail to load later: then the node has too little memory. */
  #begin(slot: number, host: number): void {
    const isLoaded = this.#options.coordinator.job?.isInitialised !== true || this.#world.random.chance(0.9);
    const failure = new BatchError('SCORER_INIT_FAILED', 'no memory for the model').toFailure();
    this.#tell(isLoaded ? { kind: 'host-ready', slot, host } : { kind: 'host-failed', slot, host, failure });
  }

  #join(): void {
    const { coordinator, slots } = this.#options;
    const life = this.#life;
    const request = {
      protocol: 1,
      release: 'sim',
      joinToken: 't',
      name: this.name,
      incarnation: incarnation(`${this.name}/${this.#starts}`),
      slots,
      hostname: 'sim',
      pid: this.#starts,
    };
    let isAnswered = false;
    const fail = (failure: BatchError): void => {
      if (isAnswered) return;
      isAnswered = true;
      this.#tell({ kind: 'join-failed', failure: failure.toFailure(), random: this.#world.random.next() });
    };
    this.#own(this.#latency(), () => {
      if (!coordinator.isUp) return fail(new BatchError('COORDINATOR_UNREACHABLE', 'nobody listens'));
      coordinator.join(request, (result) => {
        this.#world.after(this.#latency(), () => {
          if (life !== this.#life || isAnswered) return;
          this.#own(0, () => {
            if (isAnswered) return;
            if (result instanceof BatchError) return fail(result);
            isAnswered = true;
            this.#tell({ kind: 'joined', reply: result });
          });
        });
      });
      this.#own(10_000, () => fail(new BatchError('COORDINATOR_UNREACHABLE', 'no answer')));
    });
  }

  #open(): void {
    const { coordinator } = this.#options;
    const life = this.#life;
    const link: Link = {
      node: this.name,
      isOpen: true,
      upAt: 0,
      downAt: 0,
      deliver: (message) => {
        link.downAt = Math.max(link.downAt, this.#world.now + this.#latency());
        this.#world.after(link.downAt - this.#world.now, () => {
          if (life === this.#life && link.isOpen) this.#own(0, () => this.#hear(link, message));
        });
      },
      cut: () => {
        if (this.#link === link) this.cutLink();
        link.isOpen = false;
      },
    };
    this.#link = link;
    if (!coordinator.isUp) return this.cutLink();
    coordinator.connect(link);
  }

  #hear(link: Link, message: CoordinatorMessage): void {
    if (this.#link === link) this.#tell({ kind: 'message', message });
  }

  #send(message: NodeMessage): void {
    const link = this.#link;
    if (!link?.isOpen) return;
    this.sent += 1;
    const state = this.#state as WorkerState;
    const rows = new Map(
      message.results.map(({ token }) => {
        const work = state.byToken.get(formatToken(token)) ?? 0;
        return [formatToken(token), this.#results.get(work) ?? []] as const;
      }),
    );
    const bytesOf = (token: Token): readonly Rows[] => rows.get(formatToken(token)) ?? [];
    if (message.results.length > 0 && this.#world.random.chance(0.05)) this.#repeatLater(message, bytesOf);
    link.upAt = Math.max(link.upAt, this.#world.now + this.#latency());
    this.#world.after(link.upAt - this.#world.now, () => {
      if (link.isOpen) this.#options.coordinator.receive(link, message, bytesOf);
    });
  }

  /** Results come a second time, long after: from a buffer, or a node that has lost its memory of what it was told. */
  #repeatLater(message: NodeMessage, bytesOf: (token: Token) => readonly Rows[]): void {
    const results = message.results.filter((result) => !result.isUploaded);
    this.#world.after(this.#world.random.between(1, 60_000), () => {
      const link = this.#link;
      if (link?.isOpen) this.#options.coordinator.receive(link, { ...emptyNodeMessage, results }, bytesOf);
    });
  }

  #stage(work: number, first: number, files: number): void {
    const { fateOf } = this.#options.input;
    const failed: FileFailure[] = [];
    const staged: number[] = [];
    for (let index = 0; index < files; index += 1) {
      if (fateOf(first + index) === 'unreadable') failed.push({ index, code: 'INPUT_UNREADABLE', message: 'EACCES' });
      else staged.push(first + index);
    }
    this.#works.set(work, { first, files, staged });
    this.#own(this.#world.random.between(1, 30), () => this.#tell({ kind: 'staged', work, failed }));
  }

  #score(work: number, slot: number, host: number, timeoutMs: number): void {
    const staged = this.#works.get(work)?.staged ?? [];
    const { fateOf, rowsBytes, customBytes } = this.#options.input;
    const [fastest, slowest] = this.#options.scoreMs;
    const evenMs = this.#world.random.between(fastest, slowest);
    const tookMs = this.#options.slowMs > 0 && this.#moods.chance(0.2) ? this.#options.slowMs : evenMs;
    // `hungry` takes what a node has, and nothing else may.
    const isAlone = this.#state?.alone.has(work) === true;
    this.#checkAlone(slot, isAlone);
    const bad = staged.findIndex((file) => isDeadly(fateOf(file)) || (fateOf(file) === 'hungry' && !isAlone));
    const fate = this.#options.sickness ?? (bad < 0 ? 'fine' : fateOf(staged[bad] as number));
    if (fate !== 'fine') {
      const code = failureCodes[fate] ?? 'SCORER_TIMEOUT';
      const message = bad < 0 ? 'the machine is broken' : `file ${staged[bad]} is poison`;
      const failure = { code, message, detail: '' } as const;
      // Not every scorer tells which file it was at.
      const fileIndex = this.#world.random.chance(0.5) ? bad : -1;
      const isHostDead = fate !== 'error' && fate !== 'disk';
      this.#own(fate === 'hang' ? timeoutMs : tookMs, () =>
        this.#tell({
          kind: 'attempt-failed',
          slot,
          host,
          work,
          failure,
          fileIndex,
          circumstances: noCircumstances,
          isHostDead,
        }),
      );
      return;
    }
    const rows = staged
      .filter((file) => fateOf(file) !== 'undecodable')
      .map((file) => ({ file, length: rowsBytes(file) }));
    const custom = staged
      .filter((file) => customBytes(file) > 0)
      .map((file) => ({ file, length: customBytes(file), isCustom: true }) as const);
    const failed = staged.flatMap((file, index) =>
      fateOf(file) === 'undecodable' ? [{ index, code: 'INPUT_DECODE_FAILED', message: 'no image' } as const] : [],
    );
    const columns = staged.some((file) => fateOf(file) === 'other-columns') ? ['file:int', 'note:text'] : ['file:int'];
    const lengthOf = (pieces: readonly Rows[]): number => pieces.reduce((sum, piece) => sum + piece.length, 0);
    const summary = {
      rows: rows.length,
      attribution: 'file',
      fileRows: staged.map((file) => (fateOf(file) === 'undecodable' ? 0 : 1)),
      failed,
      schema: { columns, prologue: 'file\n' },
      runSeconds: tookMs / 1_000,
      peakMemoryBytes: failed.length > 0 ? 1_000_000 * staged.length : null,
    } as const;
    this.#own(tookMs, () => {
      this.#results.set(work, [...rows, ...custom]);
      this.#tell({
        kind: 'scored',
        slot,
        host,
        work,
        result: { summary, bytes: lengthOf(rows), crc32: 0, customBytes: lengthOf(custom), customCrc32: 0 },
      });
    });
  }

  /** Whoever must be alone is, and nobody begins beside it. */
  #checkAlone(slot: number, isAlone: boolean): void {
    const { faults } = this.#options.coordinator;
    for (const [other, held] of (this.#state?.slots ?? []).entries()) {
      if (other === slot || (held.kind !== 'running' && held.kind !== 'starting')) continue;
      const isBesideAlone = held.kind === 'running' && this.#state?.alone.has(held.work) === true;
      if (isAlone || isBesideAlone) faults.push(`${this.name} does two things at once although one must be alone`);
    }
  }

  #upload(work: number, upload: number, token: Token): void {
    const rows = this.#results.get(work) ?? [];
    const link = this.#link;
    const fail = (): void => {
      const failure = new BatchError('COORDINATOR_UNREACHABLE', 'the bulk channel broke').toFailure();
      this.#own(0, () => this.#tell({ kind: 'upload-failed', work, upload, failure }));
    };
    this.#own(this.#world.random.between(1, 200), () => {
      if (!link?.isOpen) return fail();
      this.#options.coordinator.upload(this.name, token, rows, (isTaken) => {
        const failure = new BatchError('LEASE_STALE', 'stale').toFailure();
        this.#own(this.#latency(), () =>
          isTaken
            ? this.#tell({ kind: 'uploaded', work, upload })
            : this.#tell({ kind: 'upload-failed', work, upload, failure }),
        );
      });
      // A coordinator that dies with the upload answers nothing; the transport notices.
      this.#own(15_000, fail);
    });
  }
}
