/**
 * A worker node's process in the simulator: the real worker core, and a shell that carries out what it decides as the real
 * shell does, on simulated scoring hosts, clock and network. Results are real bytes.
 */
import {
  emptyNodeMessage,
  type JoinReply,
  type NodeMessage,
  type ResultReport,
} from '../../common/core/cluster-messages.ts';
import { incarnation, monotonicMs, nodeName, type NodeName, type MonotonicMs } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { formatToken, type Token } from '../../common/core/token.ts';
import { advance, nextWake } from '../../worker/core/advance.ts';
import type { WorkerCommand } from '../../worker/core/commands.ts';
import type { EventOf, WorkerEvent } from '../../worker/core/events.ts';
import { givenLease } from '../../worker/core/lease-index.ts';
import { hasReports } from '../../worker/core/report.ts';
import { newWorkerState, type WorkerState } from '../../worker/core/state.ts';
import type { ReportMessage } from './cluster-service.ts';
import type { NodeEnd } from './connection.ts';
import type { CoordinatorPort } from './coordinator-port.ts';
import { ControlChannel } from './control-channel.ts';
import { FetchChannel } from './fetch-channel.ts';
import type { SimNetwork } from './network.ts';
import type { FileFate, SimInput } from './sim-input.ts';
import { SimProcess, type ClockPlan } from './sim-process.ts';
import { UploadChannel } from './upload-channel.ts';
import { ScoringHosts } from './worker-scoring.ts';
import { WorkerWorks } from './worker-works.ts';
import { Random, type World } from './world.ts';
import { wronged } from './wrong-count.ts';

/** What a node is, as plain data. */
export interface WorkerPlan {
  readonly name: string;
  readonly slots: number;
  readonly scoreMs: readonly [number, number];
  /** What now and then an attempt on it takes instead; 0: never. */
  readonly slowMs: number;
  /** How every attempt on it ends, whatever the files; `wrong-count`: its reports do not fit its results; null: it is well. */
  readonly sickness: FileFate | 'wrong-count' | null;
  readonly clock: ClockPlan;
  /** It does not see the input folder: files come from the coordinator. */
  readonly isRemote: boolean;
  /** Results that may wait for their commit. */
  readonly spoolBytesMax: number;
  readonly joinToken: string;
  /** How long each life of it lasts; null or absent: as it comes. */
  readonly staysMs?: number | null;
}

export interface WorkerProcessOptions {
  readonly world: World;
  readonly network: SimNetwork;
  readonly coordinator: Pick<CoordinatorPort, 'isInitialised'>;
  readonly input: SimInput;
  readonly plan: WorkerPlan;
  /** What the node did wrong. */
  readonly faults: string[];
}

export class WorkerProcess implements NodeEnd {
  readonly name: NodeName;
  readonly #options: WorkerProcessOptions;
  readonly #world: World;
  readonly #process: SimProcess;
  /** Of its own, so that the schedule of faults does not hang on it. */
  readonly #random: Random;
  readonly #commands: WorkerCommand[] = [];
  readonly #works: WorkerWorks;
  /** Of this life, by its own clock. */
  #endsAt: MonotonicMs | null = null;
  #state: WorkerState | null = null;
  #hosts: ScoringHosts;
  #control: ControlChannel | null = null;
  #bulk: UploadChannel | null = null;
  #fetches: FetchChannel | null = null;
  #starts = 0;
  #isAdvancing = false;
  /** It has left or given up, and only tidies up. */
  #isOver = false;
  #wakeAt = Infinity;
  #isTurnDue = false;
  /** The last reports with results. */
  #recent: readonly ReportMessage[] = [];
  /** Messages that it has sent, to tell silence from chatter. */
  sent = 0;
  /** Whoever is lost is not tried next. */
  address = 0;

  constructor(options: WorkerProcessOptions) {
    const { world, plan } = options;
    this.#options = options;
    this.#world = world;
    this.name = nodeName(plan.name);
    this.#process = new SimProcess(world, plan.clock);
    this.#random = new Random([...plan.name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), world.seed));
    this.#works = new WorkerWorks({
      ...{ input: options.input, random: this.#random, isRemote: plan.isRemote },
      bulk: () => this.#bulk,
      fetches: () => this.#fetches,
      later: (delayMs, what) => this.#process.later(delayMs, what),
      tell: (command) => this.#tell(command),
    });
    this.#hosts = this.#newHosts();
  }

  /** Leases that the node believes to hold. */
  get held(): number {
    return this.#state?.leases.size ?? 0;
  }

  /** Whether a slot of it is at work on the lease right now, as it should be. */
  isScoring(token: Token): boolean {
    const work = this.#state?.byToken.get(formatToken(token));
    return this.#process.isAwake && work !== undefined && this.#state?.leases.get(work)?.state.kind === 'running';
  }

  get isUp(): boolean {
    return this.#state !== null;
  }

  get awakeAt(): number {
    return this.#process.awakeAt;
  }

  start(): void {
    if (this.#state) return;
    const { network, plan } = this.#options;
    this.#starts += 1;
    this.#isOver = false;
    this.#endsAt = plan.staysMs ? monotonicMs(this.#process.now + plan.staysMs) : null;
    this.#state = newWorkerState({
      slots: plan.slots,
      joinMsMax: limits.joinMsMax,
      spoolBytesMax: plan.spoolBytesMax,
      // Simulated mini-batches take too long to be queued otherwise.
      queuedMs: this.#random.chance(0.5) ? 1_000 : limits.queuedMs,
      endsAt: this.#endsAt,
    });
    if (plan.staysMs) this.#process.later(plan.staysMs, () => this.#checkLeft());
    this.#world.say(`${this.name} starts`);
    network.nodeStarted(this.name);
    this.#tell({ kind: 'begin' });
  }

  /** Nothing is left of the process, or of what its machine had in memory. */
  kill(isHostDown = false): void {
    if (!this.#state) return;
    this.#world.say(`${this.name} is killed${isHostDown ? ' with its machine' : ''}`);
    this.#options.network.nodeDied(this.name, isHostDown);
    this.#end();
  }

  /** Finishes what runs, gives back the rest, leaves, and is started again later. */
  drain(): void {
    if (!this.#state) return;
    this.#world.say(`${this.name} drains`);
    this.#process.later(0, () => this.#tell({ kind: 'drain' }));
  }

  /** Kills what runs, gives back all, leaves, and is started again later. */
  leave(): void {
    if (!this.#state) return;
    this.#world.say(`${this.name} is closed`);
    this.#process.later(0, () => this.#tell({ kind: 'close' }));
  }

  freeze(ms: number): void {
    if (!this.#state) return;
    this.#world.say(`${this.name} freezes for ${ms} ms`);
    this.#process.freeze(ms);
  }

  /** Its time is up; what it was frozen for it may be late. */
  #checkLeft(): void {
    const isLate = this.#endsAt !== null && this.#process.now <= this.#endsAt + 1 && !this.#isOver;
    if (isLate) this.#options.faults.push(`${this.name} has not left in time`);
  }

  #end(): void {
    this.#process.end();
    this.#state = null;
    this.#control = null;
    this.#bulk = null;
    this.#fetches = null;
    this.#isOver = true;
    this.#isAdvancing = false;
    this.#wakeAt = Infinity;
    this.#isTurnDue = false;
    this.#commands.length = 0;
    this.#works.clear();
    this.#hosts = this.#newHosts();
  }

  #newHosts(): ScoringHosts {
    const { input, plan, coordinator } = this.#options;
    const { sickness } = plan;
    return new ScoringHosts({
      ...{ node: this.name, life: this.#starts },
      ...{ input, scoreMs: plan.scoreMs, slowMs: plan.slowMs, random: this.#random },
      sickness: sickness === 'wrong-count' ? null : sickness,
      isInitialised: (job) => coordinator.isInitialised(job),
      later: (delayMs, what) => this.#process.later(delayMs, what),
      tell: (command) => this.#tell(command),
      isGiven: (slot, host, work) => this.#state !== null && givenLease(this.#state, slot, host, work) !== undefined,
      keep: (work, host, body) => this.#works.keep(work, host, body),
    });
  }

  /** Takes a command in. One that comes while another is being dealt with waits for it. */
  #tell(command: WorkerCommand): void {
    if (this.#isOver) return;
    this.#commands.push(command);
    if (this.#isAdvancing) return;
    this.#isAdvancing = true;
    for (let next = this.#commands.shift(); next && this.#state; next = this.#commands.shift()) {
      for (const event of advance(this.#state, next, this.#process.now)) this.#carryOut(event);
    }
    this.#isAdvancing = false;
    this.#schedule();
  }

  #schedule(): void {
    const state = this.#state;
    if (this.#isOver || !state) return;
    if (!this.#isTurnDue && hasReports(state) && this.#control?.isWritable === true) {
      this.#isTurnDue = true;
      this.#process.later(0, () => {
        this.#isTurnDue = false;
        this.#tell({ kind: 'turn-ended' });
      });
    }
    const { now } = this.#process;
    const wakeAt = nextWake(state, now) ?? Infinity;
    if (wakeAt >= this.#wakeAt) return;
    this.#wakeAt = wakeAt;
    this.#process.later(Math.max(1, Math.ceil(wakeAt - now)), () => {
      // One that was set before for later has been given up.
      if (this.#wakeAt !== wakeAt) return;
      this.#wakeAt = Infinity;
      this.#tell({ kind: 'tick', rssBytes: 0, random: this.#random.next() });
    });
  }

  #carryOut(event: WorkerEvent): void {
    switch (event.kind) {
      case 'JoinStarted':
        return this.#join();
      case 'LinkOpened':
        return this.#openLink(event.reply);
      case 'LinkLost':
        return this.#closeLink();
      case 'GaveUp':
        return this.#finish(`gives up: ${event.failure.code}`, false);
      case 'Left':
        return this.#finish('leaves', true);
      case 'Reported':
        return this.#send(event.message);
      case 'ArtifactsWanted':
        return this.#localise(event);
      case 'StagingStarted':
        return this.#stage(event);
      case 'HostStarted':
        return this.#hosts.start(event.slot, event.host, event.spec.name);
      case 'HostStopping':
        return this.#hosts.stop(event.slot, event.host, event.how);
      case 'AttemptStarted':
      case 'AttemptQueued':
        return this.#startAttempt(event);
      case 'UploadStarted':
        return this.#works.upload(event);
      case 'Forgotten':
        return this.#forget(event);
      default:
        // The others only change the core's state, or remove files that are not simulated.
        return;
    }
  }

  #join(): void {
    const { network, plan } = this.#options;
    const link: ControlChannel = new ControlChannel({
      network,
      node: this,
      request: {
        protocol: limits.protocolVersion,
        release: 'sim',
        joinToken: plan.joinToken,
        name: this.name,
        incarnation: incarnation(`${this.name}/${this.#starts}`),
        slots: plan.slots,
        hostname: `host-of-${this.name}`,
        pid: this.#starts,
        labels: {},
        answersDiagnose: true,
        leavesInMs: this.#endsAt === null ? null : Math.max(1, Math.round(this.#endsAt - this.#process.now)),
      },
      later: (delayMs, what) => this.#process.later(delayMs, what),
      onJoined: (reply) => this.#tell({ kind: 'joined', reply }),
      onLost: (failure) => {
        this.address += 1;
        const kind = this.#state?.link.kind === 'joining' ? 'join-failed' : 'link-lost';
        this.#tell({ kind, failure, random: this.#random.next() });
      },
      onMessage: (message) => this.#tell({ kind: 'message', message }),
      onWritable: () => this.#schedule(),
    });
    this.#control = link;
    link.join();
  }

  #openLink(reply: JoinReply): void {
    const { network } = this.#options;
    const { session, uploadCreditBytes: creditBytes } = reply;
    this.#bulk = new UploadChannel({ network, node: this, session, creditBytes });
    this.#fetches = new FetchChannel({ network, node: this, session });
    this.#control?.open(session);
    // Where reports are kept until somebody listens, they come now, whatever has become of their leases.
    if (this.#random.chance(0.3)) for (const report of this.#recent) this.#repeatLater(report);
    this.#recent = [];
  }

  #closeLink(): void {
    this.#control?.close();
    this.#control = null;
    this.#bulk?.close();
    this.#bulk = null;
    this.#fetches?.close();
    this.#fetches = null;
  }

  #send(told: NodeMessage): void {
    const link = this.#control;
    if (!link?.isOpen) return;
    this.sent += 1;
    const isWrong = this.#options.plan.sickness === 'wrong-count';
    const results = isWrong ? told.results.map((report) => wronged(report, this.#random)) : told.results;
    const message = { ...told, results };
    const inline = results.map(({ token, isUploaded }) => {
      const work = this.#state?.byToken.get(formatToken(token)) ?? 0;
      return isUploaded ? nothing : this.#works.bytesOf(work);
    });
    link.send({ message, inline });
    if (results.length === 0) return;
    if (this.#random.chance(repeatRate)) this.#repeatLater({ message, inline });
    this.#recent = [...this.#recent, { message, inline }].slice(-recentMax);
  }

  /** Small results come a second time, long after, maybe on another stream: nothing rests on their coming once. */
  #repeatLater({ message, inline }: ReportMessage): void {
    const places = [...message.results.keys()].filter((place) => message.results[place]?.isUploaded === false);
    const results = places.map((place) => message.results[place] as ResultReport);
    const again = {
      message: { ...emptyNodeMessage, results },
      inline: places.map((place) => inline[place] as Uint8Array),
    };
    this.#process.later(this.#random.between(0, this.#random.pick([1, 2_000, 60_000])), () => {
      if (this.#control?.isOpen === true) this.#control.send(again);
    });
  }

  #localise({ spec }: EventOf<'ArtifactsWanted'>): void {
    this.#process.later(this.#random.between(1, 50), () => {
      if (this.#state?.jobs.has(spec.name) === true) this.#tell({ kind: 'artifacts-localised', job: spec.name });
    });
  }

  #stage(event: EventOf<'StagingStarted'>): void {
    const scorer = this.#state?.jobs.get(event.job)?.spec.scorer;
    if (scorer?.kind === 'encode') this.#works.fetch(event);
    else this.#works.stage(event);
  }

  #startAttempt({ slot, host, work, timeoutMs }: EventOf<'AttemptStarted' | 'AttemptQueued'>): void {
    const isAlone = this.#state?.alone.has(work) === true;
    this.#checkAlone(slot, isAlone);
    const { staged, part } = this.#works.stagedOf(work);
    this.#hosts.score({ slot, host, work, timeoutMs, staged, part, isAlone });
  }

  /** Whoever must be alone is, and nobody begins beside it. */
  #checkAlone(slot: number, isAlone: boolean): void {
    for (const [other, held] of (this.#state?.slots ?? []).entries()) {
      if (other === slot || (held.kind !== 'running' && held.kind !== 'starting')) continue;
      const isBesideAlone = held.kind === 'running' && this.#state?.alone.has(held.work) === true;
      if (!isAlone && !isBesideAlone) continue;
      this.#options.faults.push(`${this.name} does two things at once although one must be alone`);
    }
  }

  #forget(event: EventOf<'Forgotten'>): void {
    const host = this.#works.forget(event);
    if (host !== null) this.#hosts.discredit(host);
  }

  /** The end of the process by its own doing; whatever supervises it starts it again. */
  #finish(how: string, isInOrder: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#world.say(`${this.name} ${how}`);
    const state = this.#state;
    const exit = (): void => {
      if (this.#state !== state) return;
      this.#closeLink();
      this.#end();
      this.#world.after(this.#random.between(1_000, 10_000), () => this.start());
    };
    if (isInOrder && this.#control) this.#control.end(exit);
    else exit();
  }
}

const nothing = Buffer.alloc(0);
/** Of messages with results. */
const repeatRate = 0.05;
/** Reports that may come again on the next stream. */
const recentMax = 6;
