/**
 * The coordinator's process in the simulator: the real reactor on a simulated journal, output and network. It does what
 * the real shell does and nothing else; it can be killed at any time and started again on what its disk kept.
 */
import {
  emptyCoordinatorMessage,
  type CoordinatorMessage,
  type JoinReply,
  type JoinRequest,
  type NodeMessage,
} from '../../common/core/cluster-messages.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Deployment, DeploymentSettings } from '../../common/core/deployment.ts';
import { jobName, type NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import { formatToken, type Token } from '../../common/core/token.ts';
import { noBatch } from '../../coordinator/core/batch-table.ts';
import type { Command } from '../../coordinator/core/commands.ts';
import { fileRuns } from '../../coordinator/core/decide-life.ts';
import { partialOutputName } from '../../coordinator/core/generation.ts';
import type { ReopenScope } from '../../coordinator/core/life-events.ts';
import { reopenPlan } from '../../coordinator/core/reopen-plan.ts';
import type { Effect } from '../../coordinator/core/effects.ts';
import { isDurable, type DurableEvent, type Event, type EventOf } from '../../coordinator/core/events.ts';
import { evolve } from '../../coordinator/core/evolve.ts';
import { isGranting, wantOfRoom } from '../../coordinator/core/granting.ts';
import { newLedger, type Job, type Ledger } from '../../coordinator/core/ledger.ts';
import { nodeCommands } from '../../coordinator/core/node-commands.ts';
import { Reactor } from '../../coordinator/core/reactor.ts';
import { isStaged, stagedIn } from '../../coordinator/core/staging-window.ts';
import { isQuiet, ledgerDigest } from '../helpers/ledger-digest.ts';
import { SimFile, type Rows } from './sim-disk.ts';
import { SimWatermark } from './sim-watermark.ts';
import { SimSnapshots, type SnapshotMutation } from './sim-snapshots.ts';
import type { World } from './world.ts';

export const simJob = jobName('sim');
/** Stands for the output's header among the rows. */
export const headerRow = -1;

/** Deliberate damage to the program under test: a simulator that cannot find it proves nothing. */
export interface Mutation extends SnapshotMutation {
  /** Results are taken whatever their token says. */
  readonly noFencing?: boolean;
  /** Results are acknowledged before the journal is synced. */
  readonly noSync?: boolean;
  /** A stall of the coordinator is not taken off the leases. */
  readonly noStallRule?: boolean;
  /** Results may run ahead of their turn without end. */
  readonly noWindow?: boolean;
  /** Nobody remembers that a straggler has a second attempt. */
  readonly thirdAttempt?: boolean;
}

/** The coordinator's end of a control stream. */
export interface SimLink {
  readonly node: NodeName;
  deliver(message: CoordinatorMessage): void;
  cut(): void;
}

/** A node as it is, whatever the coordinator believes. */
export interface SimHolder {
  readonly name: NodeName;
  isScoring(token: Token): boolean;
}

export interface SimJob {
  readonly files: number;
  readonly deployment: Deployment;
  readonly stagingBytesMax: number;
}

/** Of a job that was completed: all that a user reads. */
export interface Manifest {
  readonly generation: number;
  readonly bytes: number;
  readonly rows: readonly number[];
  readonly failed: readonly number[];
}

/** What survives a crash. */
class Disk {
  readonly journal: DurableEvent[] = [];
  readonly synced = new Set<DurableEvent>();
  /** The output as it grows, by generation. */
  readonly outputs = new Map<number, SimFile>();
  /** The output under its final name, and whether the folder says that it is complete. */
  final: { readonly file: SimFile; readonly generation: number } | null = null;
  isSuccess = false;
  /** What the manifest says of it. */
  manifest: Manifest | null = null;
  readonly segments = new Map<number, SimFile>();
  /** Files of user code as sealing has put them in place, in input order; null before. */
  published: readonly number[] | null = null;
  /** Segments that sealing has read them from. */
  readonly read = new Set<number>();
  epoch = 0;
  /** Pages of the listing that are sealed. */
  pages = 0;

  output(generation: number): SimFile {
    let file = this.outputs.get(generation);
    if (!file) {
      file = new SimFile();
      this.outputs.set(generation, file);
    }
    return file;
  }

  segment(number: number): SimFile {
    let file = this.segments.get(number);
    if (!file) {
      file = new SimFile();
      this.segments.set(number, file);
    }
    return file;
  }
}

type Segments = { readonly segments: ReadonlyMap<number, number> };

interface OutputOp {
  readonly write: () => void;
  readonly sync: () => void;
  readonly done: () => void;
}

const pageFiles = 64;

/** A mini-batch of which a node was told that its result is committed. */
interface Acknowledged {
  readonly batch: number;
  readonly token: Token;
}

export class SimCoordinator {
  readonly disk = new Disk();
  readonly snapshots: SimSnapshots;
  /** What went wrong on the way and would not show in the end result. */
  readonly faults: string[] = [];
  /** Events of each kind that left the reactor. */
  readonly counts = new Map<Event['kind'], number>();
  readonly #acknowledged: Acknowledged[] = [];
  readonly #watermark = new SimWatermark();
  /** Mini-batches by the tokens under which this process granted or adopted them. */
  readonly #batches = new Map<string, number>();
  /** Journal records after which the process is killed; null: not. */
  #appendsLeft: number | null = null;
  readonly #world: World;
  readonly #work: SimJob;
  readonly #mutation: Mutation;
  #reactor: Reactor | null = null;
  #buffer: DurableEvent[] = [];
  #isSyncing = false;
  #ops: OutputOp[] = [];
  #isWriting = false;
  #links = new Map<NodeName, SimLink>();
  #results = new Map<string, readonly Rows[]>();
  #uploaded = new Map<string, readonly Rows[]>();
  #adoptions = new Map<NodeName, { readonly oldToken: Token; readonly newToken: Token }[]>();
  /** Counts starts, so that callbacks of a process that was killed are nobody's. */
  #life = 0;
  #lastTick = 0;
  #startedAt = 0;
  /** Nodes that the journal knew at the last crash, and that have not come back. */
  #awaited = new Set<NodeName>();
  #frozenUntil = 0;
  #deafUntil = 0;
  starts = 0;
  /** Mini-batches that had a second attempt beside the first. */
  twins = 0;
  /** Grants while the window of staged results was full. */
  heldBack = 0;
  #nodes: readonly SimHolder[] = [];
  /** Mini-batches that were committed once, even if that was taken back. */
  readonly #committed = new Set<number>();

  constructor(world: World, work: SimJob, mutation: Mutation = {}) {
    this.#world = world;
    this.#work = work;
    this.#mutation = mutation;
    this.snapshots = new SimSnapshots(world.seed, mutation.noWindow ? Infinity : work.stagingBytesMax, mutation);
  }

  /** Nothing waits for the journal. */
  get isSynced(): boolean {
    return this.#buffer.length === 0 && !this.#isSyncing;
  }

  /** Those whom nothing may be taken from that they are at. */
  watch(nodes: readonly SimHolder[]): void {
    this.#nodes = nodes;
  }

  get isUp(): boolean {
    return this.#reactor !== null;
  }

  get job(): Job | undefined {
    return this.#reactor?.ledger.jobs.get(simJob);
  }

  start(): void {
    const ledger = this.snapshots.recover(this.disk.journal);
    this.#checkAcknowledged(ledger);
    this.#life += 1;
    this.starts += 1;
    this.disk.epoch += 1;
    const job = ledger.jobs.get(simJob);
    if (job?.isSealed) {
      if (!job.isStagingKept) this.disk.segments.clear();
    } else if (job) this.#recover(job);
    if (this.disk.journal.some(({ kind }) => kind === 'JobPruned')) this.#watermark.forget();
    this.faults.push(...this.#watermark.begin(ledger, job, this.disk.output(job?.generation ?? 1)));
    this.#reactor = new Reactor(ledger, {
      append: (event) => this.#append(event),
      carryOut: (effect) => this.#carryOut(effect),
      publish: (event) => this.#publish(event),
    });
    this.#batches.clear();
    this.#lastTick = this.#world.now;
    this.#startedAt = this.#world.now;
    this.#handle({ kind: 'begin', epoch: this.disk.epoch });
    if (!this.disk.journal.some(({ kind }) => kind === 'JobSubmitted')) {
      this.#handle({
        kind: 'submit',
        job: simJob,
        deployment: this.#work.deployment,
        inputPath: '/in',
        outputDir: '/out',
        wallMs: 0,
      });
    }
    this.#own(limits.tickMs, () => this.#tick());
    this.#world.say(`coordinator starts, epoch ${this.disk.epoch}`);
  }

  /** kill -9: what was not synced may be lost, all connections end. */
  kill(): void {
    if (!this.#reactor) return;
    this.#world.say('coordinator is killed');
    this.checkReplay();
    this.#appendsLeft = null;
    this.#life += 1;
    this.#reactor = null;
    const kept = this.#isSyncing ? this.#world.random.between(0, this.#buffer.length) : 0;
    this.#keep(this.#buffer.slice(0, kept));
    this.#buffer = [];
    this.#isSyncing = false;
    for (const file of this.disk.outputs.values()) file.crash(this.#world.random);
    this.snapshots.crash();
    for (const file of this.disk.segments.values()) file.crash(this.#world.random);
    this.#ops = [];
    this.#isWriting = false;
    this.#results.clear();
    this.#uploaded.clear();
    this.#adoptions.clear();
    // Those that the journal still has.
    const events = this.disk.journal.flatMap((event) =>
      'node' in event && /^Node(Known|Unknown)$/.test(event.kind) ? [event] : [],
    );
    const known = new Set(events.map(({ node }) => node));
    for (const { kind, node } of events)
      if (kind === 'NodeKnown') known.add(node);
      else known.delete(node as NodeName);
    this.#awaited = new Set([...known].flatMap((node) => (node === null ? [] : [node])));
    const links = [...this.#links.values()];
    this.#links.clear();
    for (const link of links) link.cut();
  }

  cancel(graceMs = 0): void {
    this.#own(0, () => {
      this.#world.say(`the job is canceled within ${graceMs} ms`);
      if (this.job) this.#handle({ kind: 'cancel', job: simJob, wallMs: this.#world.now, graceMs });
    });
  }

  pause(isPaused: boolean): void {
    this.#own(0, () => {
      const { job } = this;
      if (!job || isFinal(job.state) || job.state === 'CancelRequested') return;
      this.#world.say(isPaused ? 'the job is paused' : 'the job goes on');
      this.#handle({ kind: 'pause', job: simJob, isPaused });
    });
  }

  /** Asks until the job has been reopened for the `times`th time: a crash may take the answer with it. */
  reopen(times: number, scope: ReopenScope, settings: Partial<DeploymentSettings>): void {
    const { job } = this;
    if (this.disk.journal.filter(({ kind }) => kind === 'JobReopened').length >= times) return;
    this.#world.after(250, () => this.reopen(times, scope, settings));
    // Waits for the end of its last life to be durable, as the real one does.
    const isDeaf = !this.isUp || !this.isSynced || this.#frozenUntil > this.#world.now;
    if (isDeaf || !job?.isSealed || job.reopenings >= times) return;
    this.#world.say(`the job is reopened for ${scope}`);
    const deployment = { ...job.deployment, settings: { ...job.deployment.settings, ...settings } };
    const plan = reopenPlan(job, scope);
    const { generation, outputCommitted, schema, segments } = plan;
    if (generation > job.generation) this.disk.outputs.delete(generation);
    this.#recover({ generation, outputCommitted, schema, segments, schemas: job.schemas });
    this.#forgetAcknowledged(plan.again);
    for (const batch of plan.again) this.#committed.delete(batch);
    const { reopenings } = job;
    const runs = settings.miniBatchSize ? fileRuns(job.batches, plan.again) : null;
    const recut = runs && runs.map(({ first, count }) => ({ first, sizesBytes: new Float64Array(count).fill(10) }));
    this.#handle({ kind: 'reopen', job: simJob, scope, deployment, reopenings, recut });
  }

  /** Asks until nobody knows the job any more. */
  prune(): void {
    if (this.isUp && this.job?.isSealed && this.#frozenUntil <= this.#world.now) {
      this.#acknowledged.length = 0;
      this.#handle({ kind: 'prune', job: simJob });
    }
    this.#world.after(250, () => this.disk.journal.at(-1)?.kind !== 'JobPruned' && this.prune());
  }

  /** What a node was told of these counts no more: they are scored again. */
  #forgetAcknowledged(again: readonly number[]): void {
    const open = new Set(again);
    const kept = this.#acknowledged.filter(({ batch }) => !open.has(batch));
    this.#acknowledged.splice(0, this.#acknowledged.length, ...kept);
  }

  /** Brings the growing output and the staging segments to what the ledger says. */
  #recover(job: Pick<Job, 'generation' | 'outputCommitted' | 'schema' | 'schemas'> & Segments): void {
    const output = this.disk.output(job.generation);
    output.truncate(job.outputCommitted);
    // The header may be fixed and not written yet.
    const header = job.schemas[job.schema]?.prologue ?? '';
    if (header !== '') output.write(0, [{ file: headerRow, length: header.length }]);
    output.sync();
    for (const segment of this.disk.segments.keys()) {
      if (!job.segments.has(segment)) this.disk.segments.delete(segment);
    }
  }

  /** A staging segment, or an earlier output that is read as one. */
  #segment(segment: number): SimFile {
    const base = this.job?.bases.get(segment);
    if (base === undefined) return this.disk.segment(segment);
    const { outputFileName } = this.#work.deployment.settings;
    if (base === outputFileName) return this.disk.final?.file ?? new SimFile();
    const generation = [...this.disk.outputs.keys()].find((one) => partialOutputName(outputFileName, one) === base);
    return generation === undefined ? new SimFile() : this.disk.output(generation);
  }

  /** The disk is full, and has room again later. */
  fillDisk(ms: number): void {
    const failure = new BatchError('DISK_FULL', 'no room').toFailure();
    const job = this.#world.random.chance(0.5) ? simJob : null;
    this.#own(0, () => {
      this.#world.say(`the disk is full for ${ms} ms`);
      this.#handle({ kind: 'room', job, failure });
      this.#own(5, () => this.#handle({ kind: 'stall', job: null, failure }));
      this.#own(ms, () => this.#handle({ kind: 'stall', job: null, failure: null }));
      this.#own(ms + 50, () => this.#handle({ kind: 'room', job, failure: null }));
    });
  }

  get ledger(): Ledger | undefined {
    return this.#reactor?.ledger;
  }

  /** Kills the process at its `records`th journal record from now, or up to a sync later, and starts it again. */
  killAtRecord(records: number): void {
    if (this.#reactor) this.#appendsLeft = records;
  }

  /** The journal, with what is not synced yet, gives the ledger that this process has. */
  checkReplay(): void {
    const reactor = this.#reactor;
    if (!reactor) return;
    const replayed = newLedger({ heartbeatMs: 5_000 });
    for (const event of [...this.disk.journal, ...this.#buffer]) evolve(replayed, event);
    const withCursor = isQuiet(reactor.ledger);
    const text = (ledger: Ledger): string => JSON.stringify(ledgerDigest(ledger, { withCursor }));
    const [a, b] = [text(reactor.ledger), text(replayed)];
    if (a === b) return;
    let at = 0;
    while (a[at] === b[at]) at += 1;
    const part = (text: string): string => text.slice(Math.max(0, at - 60), at + 60);
    this.faults.push(`a replay at ${this.#world.now} ms gives ${part(b)} instead of ${part(a)}`);
  }

  /** What a node was told to be committed is committed, under the very token, unless it was taken back for its columns. */
  #checkAcknowledged(ledger: Ledger): void {
    const batches = ledger.jobs.get(simJob)?.batches;
    const failed = this.disk.journal.flatMap((event) => (event.kind === 'AttemptFailed' ? [event.token] : []));
    // Results with other columns are taken back when their turn comes.
    const withdrawn = new Set(failed.map(formatToken));
    for (const { batch, token } of this.#acknowledged) {
      if (withdrawn.has(formatToken(token))) continue;
      const isKept = batches && batch < batches.count && formatToken(batches.token(batch)) === formatToken(token);
      if (!isKept) this.faults.push(`mini-batch ${batch} was acknowledged under ${formatToken(token)} and is lost`);
    }
  }

  #publish(event: Event): void {
    this.faults.push(...this.#watermark.publish(event, this.job, this.disk.output(this.job?.generation ?? 1)));
    this.counts.set(event.kind, (this.counts.get(event.kind) ?? 0) + 1);
    if (event.kind === 'Committed') this.#committed.add(event.batch);
    if (event.kind === 'LeaseReleased') this.#checkRelease(event);
    // The staging folder goes when the end of the job is durable, and not before.
    if (event.kind === 'JobSealed' && !event.keepsStaging) this.disk.segments.clear();
    if (isDurable(event) && !this.disk.synced.has(event))
      this.faults.push(`${event.kind} was published before it was synced`);
  }

  /** A started lease ends by its own result or failure, or because its twin is committed. */
  #checkRelease({ batch, node, token, isRevoked }: EventOf<'LeaseReleased'>): void {
    const isScoring = this.#nodes.some((one) => one.name === node && one.isScoring(token));
    if (isRevoked && isScoring && !this.#committed.has(batch) && !this.job?.sick.has(node))
      this.faults.push(`${node} is at mini-batch ${batch} and loses it`);
  }

  /** Beyond the window, only what staged results wait for: the head of the order, or what comes before one of them. */
  #checkWindow(token: Token): void {
    const { job } = this;
    const ledger = this.#reactor?.ledger;
    const lease = ledger?.leases.get(token.counter);
    if (!job || !ledger || !lease || ledger.stagedBytes < this.#work.stagingBytesMax) return;
    this.heldBack += 1;
    let isAwaited = lease.batch === job.cursor;
    for (let batch = job.batches.next(lease.batch); batch !== noBatch && !isAwaited; batch = job.batches.next(batch)) {
      isAwaited = job.batches.state(batch) === 'committed' && isStaged(job, job.batches.place(batch).segment);
    }
    if (!isAwaited) this.faults.push(`mini-batch ${lease.batch} was granted beyond the window`);
  }

  /** What is counted as staged is what is staged. */
  #checkStaged(): void {
    const { job, ledger } = this;
    if (!job || !ledger) return;
    const { bytes, to } = stagedIn(job);
    const counted = [ledger.stagedBytes, job.stagedBytes, job.stagedTo].join(', ');
    const found = [bytes, bytes, to].join(', ');
    const fault = `bytes and end of what is staged: ${counted} instead of ${found}`;
    if (counted !== found && !this.faults.includes(fault)) this.faults.push(fault);
  }

  /** Nothing of a job that is paused, comes to its end or has no place for results. */
  #checkGranting(what: string): void {
    const { job, ledger } = this;
    if (!job || !ledger || isGranting(ledger, job)) return;
    const why = job.isPaused ? 'a paused job' : `a job that is ${job.state}`;
    this.faults.push(`a lease of ${why} was ${what}, room is ${wantOfRoom(ledger, job) === null ? 'there' : 'wanted'}`);
  }

  /** At most two attempts at one mini-batch, on different nodes. */
  #checkHolders(token: Token): void {
    const ledger = this.#reactor?.ledger;
    const lease = ledger?.leases.get(token.counter);
    const holders = (lease && this.job?.holders.get(lease.batch)) ?? [];
    const nodes = new Set(holders.map((counter) => ledger?.leases.get(counter)?.node));
    if (holders.length > 1) this.twins += 1;
    if (holders.length > 2 || nodes.size < holders.length)
      this.faults.push(`mini-batch ${lease?.batch} has ${holders.length} attempts on ${[...nodes].join(' and ')}`);
  }

  /**
   * The event loop stands still: timers and messages wait. As with a machine that was suspended, the network may need
   * `deafMs` more than the timers until it is back.
   */
  stall(ms: number, deafMs = 0): void {
    this.#frozenUntil = Math.max(this.#frozenUntil, this.#world.now + ms);
    this.#deafUntil = Math.max(this.#deafUntil, this.#frozenUntil + deafMs);
    this.#world.say(`coordinator stalls for ${ms} ms`);
  }

  /** Runs when the event loop gets to it, unless the process has been killed since. */
  #own(delayMs: number, what: () => void): void {
    const life = this.#life;
    const attempt = (): void => {
      if (life !== this.#life) return;
      if (this.#frozenUntil > this.#world.now) this.#world.at(this.#frozenUntil, attempt);
      else what();
    };
    this.#world.after(delayMs, attempt);
  }

  /** A message from the network. */
  arrive(what: () => void): void {
    const life = this.#life;
    const isDeaf = this.#deafUntil > this.#world.now;
    if (isDeaf) this.#world.at(this.#deafUntil, () => life === this.#life && this.arrive(what));
    else this.#own(0, what);
  }

  join(request: JoinRequest, reply: (result: JoinReply | BatchError) => void): void {
    this.arrive(() => {
      try {
        const { name: node, incarnation, slots, hostname, pid } = request;
        this.#handle({ kind: 'join', node, incarnation, slots, hostname, pid, wallMs: 0 });
        reply({
          protocol: 1,
          release: 'sim',
          session: `${this.disk.epoch}/${node}`,
          epoch: this.disk.epoch,
          heartbeatMs: 5_000,
          leaseMs: 30_000,
          uploadCreditBytes: limits.uploadCreditBytes,
        });
      } catch (error) {
        if (!(error instanceof BatchError)) throw error;
        reply(error);
      }
    });
  }

  connect(link: SimLink): void {
    this.arrive(() => {
      // Its session is of a process before this one.
      if (!this.ledger?.nodes.has(link.node)) return link.cut();
      this.#links.get(link.node)?.cut();
      this.#links.set(link.node, link);
    });
  }

  disconnected(link: SimLink): void {
    this.arrive(() => {
      if (this.#links.get(link.node) !== link) return;
      this.#links.delete(link.node);
      this.#handle({ kind: 'disconnected', node: link.node });
    });
  }

  /** `bytesOf`: the rows of a result that is not uploaded. */
  receive(link: SimLink, message: NodeMessage, bytesOf: (token: Token) => readonly Rows[]): void {
    this.arrive(() => {
      if (this.#links.get(link.node) !== link) return;
      for (const result of message.results) {
        const key = formatToken(result.token);
        const rows = result.isUploaded ? this.#uploaded.get(key) : bytesOf(result.token);
        if (rows) this.#results.set(key, rows);
      }
      if (message.hello) this.#awaited.delete(link.node);
      for (const command of nodeCommands(link.node, message, 0)) this.#handle(this.#mutate(command));
      if (message.heartbeat) this.#send(link.node, { heartbeatAck: message.heartbeat.sequence });
    });
  }

  /** All bytes of a result have come over the bulk channel. */
  upload(node: NodeName, token: Token, rows: readonly Rows[], reply: (isTaken: boolean) => void): void {
    this.arrive(() => {
      const reactor = this.#reactor;
      const lease = reactor?.ledger.leases.get(token.counter);
      if (!reactor || lease?.node !== node || lease.token.epoch !== token.epoch) return reply(false);
      const length = rows.reduce((sum, piece) => sum + piece.length, 0);
      this.#uploaded.set(formatToken(token), rows);
      if (length > limits.directAppendBytesMax) {
        this.#handle({ kind: 'upload-began', node, token });
        const segment = reactor.ledger.leases.get(token.counter)?.uploadSegment;
        if (segment !== null && segment !== undefined) this.disk.segment(segment).write(0, rows);
      }
      reply(true);
    });
  }

  #mutate(command: Command): Command {
    const reactor = this.#reactor;
    if (!this.#mutation.noFencing || command.kind !== 'result' || !reactor) return command;
    const { ledger } = reactor;
    const key = formatToken(command.token);
    const batch = this.#batches.get(key);
    const rows = this.#results.get(key);
    const isStale = command.token.epoch !== ledger.epoch || !ledger.leases.has(command.token.counter);
    if (!isStale || batch === undefined || !rows) return command;
    // A coordinator that knows mini-batches only: the late result is one of a mini-batch that it has given out.
    const token = { epoch: ledger.epoch, counter: ledger.grants + 1 };
    evolve(ledger, { kind: 'LeaseGranted', job: simJob, batch, node: command.node, token, at: this.#world.now });
    this.#results.set(formatToken(token), rows);
    return { ...command, token };
  }

  #handle(command: Command): void {
    if (this.#mutation.thirdAttempt) for (const lease of this.ledger?.leases.values() ?? []) lease.hasTwin = false;
    this.#reactor?.handle(command, this.#world.now, 0);
    this.#checkStaged();
  }

  #tick(): void {
    const late = this.#world.now - this.#lastTick - limits.tickMs;
    this.#lastTick = this.#world.now;
    const stallMs = late > limits.stallMsMin && !this.#mutation.noStallRule ? late : 0;
    this.#handle({ kind: 'tick', stallMs, wallMs: this.#world.now });
    this.#own(limits.tickMs, () => this.#tick());
  }

  #append(event: DurableEvent): number {
    this.#buffer.push(event);
    // A result that is taken back has no word to be kept to, also when a crash loses what becomes of its files.
    if (event.kind === 'AttemptFailed') this.#forgetAcknowledged([event.batch]);
    this.#countToKill();
    const sequence = this.disk.journal.length + this.#buffer.length;
    if (this.#mutation.noSync) this.#own(0, () => this.#reactor?.synced(sequence));
    this.#sync();
    return sequence;
  }

  #keep(events: readonly DurableEvent[]): void {
    this.disk.journal.push(...events);
    for (const event of events) this.disk.synced.add(event);
  }

  #countToKill(): void {
    if (this.#appendsLeft === null) return;
    this.#appendsLeft -= 1;
    if (this.#appendsLeft > 0) return;
    this.#appendsLeft = null;
    this.#own(this.#world.random.between(0, 30), () => {
      this.kill();
      this.#world.after(this.#world.random.between(10, 10_000), () => this.start());
    });
  }

  #sync(): void {
    if (this.#isSyncing || this.#buffer.length === 0) return;
    this.#isSyncing = true;
    const group = this.#buffer.length;
    this.#own(this.#world.random.between(1, 15), () => {
      this.#keep(this.#buffer.splice(0, group));
      this.#isSyncing = false;
      this.#reactor?.synced(this.disk.journal.length);
      if (this.#reactor) {
        const later = (ms: number, what: () => void): void => this.#own(ms, what);
        this.snapshots.look(this.#reactor.ledger, this.disk.journal, this.#buffer, later);
      }
      this.#sync();
    });
  }

  #enqueue(op: OutputOp): void {
    this.#ops.push(op);
    this.#drain();
  }

  /** One group at a time: all writes, then the syncs, then the word that they are done. */
  #drain(): void {
    if (this.#isWriting || this.#ops.length === 0) return;
    this.#isWriting = true;
    const group = this.#ops.splice(0);
    for (const op of group) op.write();
    this.#own(this.#world.random.between(1, 20), () => {
      for (const op of group) op.sync();
      this.#isWriting = false;
      for (const op of group) op.done();
      this.#drain();
    });
  }

  #send(node: NodeName, part: Partial<CoordinatorMessage>): void {
    this.#links.get(node)?.deliver({ ...emptyCoordinatorMessage, ...part });
  }

  #carryOut(effect: Effect): void {
    const output = this.disk.output(this.job?.generation ?? 1);
    switch (effect.kind) {
      case 'grant': {
        this.#remember(effect.token);
        this.#checkGranting('granted');
        if (this.#awaited.size > 0 && this.#world.now < this.#startedAt + limits.restartGraceMs) {
          this.faults.push(`a lease was granted before ${[...this.#awaited].join(', ')} came back`);
        }
        this.#checkHolders(effect.token);
        this.#checkWindow(effect.token);
        const files = Array.from({ length: effect.range.count }, (_, index) => ({
          path: `f${effect.range.first + index}`,
          sizeBytes: 10,
          identity: '10-0',
        }));
        const { settings, scorer, environment } = this.job?.deployment ?? this.#work.deployment;
        const spec = {
          name: simJob,
          deployment: 'sim',
          scorer,
          model: null,
          code: null,
          environment,
          settings: { ...settings, concurrencyMax: settings.concurrencyPerInstanceMax },
          inputRoot: '/in',
          outputDir: null,
        };
        const { token, range, attempt, isAlone } = effect;
        const grant = { token, job: simJob, first: range.first, files, attempt, isAlone };
        return this.#send(effect.node, { jobs: [spec], grants: [grant] });
      }
      case 'adopt': {
        this.#remember(effect.token);
        this.#checkHolders(effect.token);
        const pairs = this.#adoptions.get(effect.node) ?? [];
        pairs.push({ oldToken: effect.oldToken, newToken: effect.token });
        this.#adoptions.set(effect.node, pairs);
        return;
      }
      case 'welcome': {
        const kept = effect.kept.map((token) => ({ oldToken: token, newToken: token }));
        const adoption = [...(this.#adoptions.get(effect.node) ?? []), ...kept];
        this.#adoptions.delete(effect.node);
        return this.#send(effect.node, { adoption });
      }
      case 'committed': {
        const batch = this.#batches.get(formatToken(effect.token));
        // Of a mini-batch that is scored again since, the node's word that it is done does no harm.
        const isCommitted = batch !== undefined && this.job?.batches.state(batch) === 'committed';
        if (isCommitted) this.#acknowledged.push({ batch, token: effect.token });
        return this.#send(effect.node, { committed: [effect.token] });
      }
      case 'refuse':
        return this.#send(effect.node, { refused: [{ token: effect.token, failure: effect.failure }] });
      case 'revoke':
        return this.#send(effect.node, { revoked: [effect.token] });
      case 'recall':
        this.#checkGranting('recalled');
        return this.#send(effect.node, { recalled: [effect.token] });
      case 'end-job':
        for (const node of this.#links.keys()) this.#send(node, { endedJobs: [effect.job] });
        return;
      case 'drain-job':
        for (const node of this.#links.keys()) {
          if ((effect.node ?? node) === node) this.#send(node, { drainedJobs: [effect.job] });
        }
        return;
      case 'append': {
        const rows = this.#take(effect.token);
        return this.#enqueue({
          write: () => output.write(effect.offset, rows),
          sync: () => output.sync(),
          done: () => this.#handle({ kind: 'written', job: simJob, token: effect.token }),
        });
      }
      case 'stage': {
        const rows = this.#take(effect.token);
        const file = (): SimFile => this.disk.segment(effect.segment);
        return this.#enqueue({
          write: () => file().write(effect.offset, rows),
          sync: () => file().sync(),
          done: () => this.#handle({ kind: 'written', job: simJob, token: effect.token }),
        });
      }
      case 'settle': {
        const file = effect.segment > 0 ? this.disk.segment(effect.segment) : null;
        return this.#enqueue({
          write: () => undefined,
          sync: () => file?.sync(),
          done: () => this.#handle({ kind: 'written', job: simJob, token: effect.token }),
        });
      }
      case 'copy':
        return this.#enqueue({
          write: () => {
            let at = effect.toOffset;
            for (const { segment, offset, length } of effect.from) {
              const rows = this.#segment(segment).read(offset, offset + length);
              if (typeof rows === 'string') throw new Error(`segment ${segment}: ${rows}`);
              output.write(at, rows);
              at += length;
            }
          },
          sync: () => output.sync(),
          done: () => this.#handle({ kind: 'copied', job: simJob }),
        });
      case 'drop-segment':
        // Behind what was written before, as in the real writer.
        return this.#enqueue({
          write: () => undefined,
          sync: () => this.disk.segments.delete(effect.segment),
          done: () => undefined,
        });
      case 'discard':
        this.#results.delete(formatToken(effect.token));
        this.#uploaded.delete(formatToken(effect.token));
        return;
      case 'prologue': {
        const header = [{ file: headerRow, length: effect.text.length }];
        return this.#enqueue({
          write: () => output.write(0, header),
          sync: () => output.sync(),
          done: () => undefined,
        });
      }
      case 'list':
        return this.#own(1, () => this.#listPage());
      case 'seal':
        return this.#enqueue({ write: () => undefined, sync: () => undefined, done: () => this.#seal() });
    }
  }

  #seal(): void {
    this.#own(this.#world.random.between(5, 50), () => {
      const { job } = this;
      if (!job || job.isSealed) return;
      if (job.state !== 'Finalizing' && job.state !== 'Completed') {
        // An output that is complete stays when the next generation does not come to be.
        if (job.sealedGeneration === 0) this.disk.published = this.#customFiles();
        return this.#handle({ kind: 'sealed', job: simJob, wallMs: 0 });
      }
      this.disk.isSuccess = false;
      this.disk.published = this.#customFiles();
      this.disk.final = { file: this.disk.output(job.generation), generation: job.generation };
      this.#own(this.#world.random.between(1, 30), () => {
        this.disk.manifest = this.#manifest(job);
        this.disk.isSuccess = true;
        this.#handle({ kind: 'sealed', job: simJob, wallMs: 0 });
      });
    });
  }

  #manifest(job: Job): Manifest {
    const rows = this.disk.final?.file.read(0, job.outputCommitted) ?? 'no output';
    if (typeof rows === 'string') this.faults.push(`sealing: ${rows}`);
    const failed = job.failures.flatMap(({ first, count }) =>
      Array.from({ length: count }, (_, index) => first + index),
    );
    return {
      generation: job.generation,
      bytes: job.outputCommitted,
      rows: typeof rows === 'string' ? [] : rows.map(({ file }) => file),
      failed: failed.sort((a, b) => a - b),
    };
  }

  /** Of all committed mini-batches, in input order, from where the ledger says that they are staged. */
  #customFiles(): readonly number[] {
    const { job } = this;
    if (!job) return [];
    const found: number[] = [];
    for (let batch = job.batches.head; batch !== noBatch; batch = job.batches.next(batch)) {
      const place = job.custom.get(batch);
      if (!place || job.batches.state(batch) !== 'committed') continue;
      this.disk.read.add(place.segment);
      const pieces = this.disk.segment(place.segment).read(place.offset, place.offset + place.length);
      if (typeof pieces === 'string') this.faults.push(`custom files of mini-batch ${batch}: ${pieces}`);
      else if (pieces.some((piece) => piece.isCustom !== true)) this.faults.push(`rows of ${batch} among custom files`);
      else found.push(...pieces.map(({ file }) => file));
    }
    return found;
  }

  #remember(token: Token): void {
    const lease = this.#reactor?.ledger.leases.get(token.counter);
    if (lease) this.#batches.set(formatToken(token), lease.batch);
  }

  #take(token: Token): readonly Rows[] {
    const rows = this.#results.get(formatToken(token));
    if (!rows) throw new Error(`no bytes of result ${formatToken(token)}`);
    this.#results.delete(formatToken(token));
    this.#uploaded.delete(formatToken(token));
    return rows;
  }

  #listPage(): void {
    const { job } = this;
    if (!job || job.isListed) return;
    const files = Math.min(pageFiles, this.#work.files - job.files);
    if (files > 0) {
      const sizesBytes = new Float64Array(files).fill(10);
      this.#handle({ kind: 'page-listed', job: simJob, chunk: job.chunks, sizesBytes, wallMs: 0 });
      this.#own(this.#world.random.between(1, 20), () => this.#listPage());
    } else {
      this.#handle({ kind: 'listing-ended', job: simJob, skipped: 0, wallMs: 0 });
    }
  }
}
