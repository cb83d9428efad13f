/** A simulated cluster on which one job of a plan is played to its end, through all its lives, and the verdict on it. */

import type { BatchError } from '../../common/core/batch-error.ts';
import type { JobName } from '../../common/core/ids.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import type { InputFile } from '../../common/core/input.ts';
import { rowsFileName } from '../../common/core/parts-form.ts';
import { noneSkipped } from '../../common/core/skipped-names.ts';
import type { ReopenRequest } from '../../coordinator/api/backend.ts';
import { heartbeatIntervalMs, type Job } from '../../coordinator/core/ledger.ts';
import type { ReopenScope } from '../../coordinator/core/life-events.ts';
import { partsJobName } from '../../coordinator/core/parts.ts';
import { jobDirOf, stagingDirOf } from '../../coordinator/job-files.ts';
import type { Outside } from '../../coordinator/outside.ts';
import { CoordinatorProcess, inputPath, joinToken, outputDir, simJob, stateDir } from './coordinator-process.ts';
import { SimDisk } from './disk.ts';
import { sinceOf, takable, type Takable } from './earlier.ts';
import { deploymentOf, expectedOf, inputOf, type MendableInput } from './expected.ts';
import { schedule, type FaultKind } from './faults.ts';
import { Invariants } from './invariants.ts';
import { SimNetwork } from './network.ts';
import { sizeOf, type LifePlan, type NodePlan, type Plan, type Wish } from './plan.ts';
import { rivalFiles, Rivals } from './rivals.ts';
import { StreamServers } from './stream-servers.ts';
import { judge } from './verdict.ts';
import { WorkerProcess } from './worker-process.ts';
import { Random, World } from './world.ts';

export interface Outcome {
  /** What is wrong, empty when nothing is. */
  readonly faults: readonly string[];
  readonly trace: readonly string[];
  /** Up to the last end of the job: the same for two runs that did the same at the same times. */
  readonly fingerprint: string;
  readonly virtualMs: number;
  readonly state: Job['state'] | 'gone' | 'stopped';
  /** Why it failed. */
  readonly code: ErrorCode | null;
  /** Ends of the job. */
  readonly lives: number;
  readonly rowsChecked: number;
  readonly lost: number;
  readonly doubled: number;
  readonly starts: number;
  /** Faults that have happened, by kind: of the plan, of the network, of the disk. */
  readonly counts: ReadonlyMap<string, number>;
  /** Things that a good simulation meets, by kind. */
  readonly met: ReadonlyMap<string, number>;
}

export interface PlayOptions {
  /** Looks at the output of each life; a second run that is compared with the first needs no verdict. */
  readonly isJudged: boolean;
  /** Codes with which the job may fail. */
  readonly failWith?: readonly ErrorCode[];
  /** Good files may be given up. */
  readonly givingUp?: boolean;
}

const takenPath = `${stagingDirOf(jobDirOf(stateDir, simJob))}/taken`;
const virtualMsMax = 5 * 3_600_000;
/** By then the last fault is over, and what it left behind is cleared away. */
const quietAtMs = 150_000;
const askEveryMs = 1_000;
const pageFiles = 64;
const spoolBytesMax = 2_097_152;

export class Cluster {
  readonly world: World;
  /** Of outputs; where there is no stream, of the coordinator's state as well. */
  readonly disk: SimDisk;
  readonly network: SimNetwork;
  readonly coordinators: readonly CoordinatorProcess[];
  /** Where the journal is kept as well; null: nowhere. */
  readonly servers: StreamServers | null;
  readonly nodes: WorkerProcess[] = [];
  readonly invariants: Invariants;
  readonly counts = new Map<string, number>();
  readonly input: MendableInput;
  readonly #plan: Plan;
  readonly #takable: Takable;
  readonly #rivals: Rivals;
  /** Made by the nodes. */
  readonly #nodeFaults: string[] = [];
  #fullUntil = 0;
  #isFlipped = false;
  /** Disks of coordinators. */
  readonly #disks: SimDisk[] = [];
  /** Why the coordinators rightly do not go on: their stream has lost what it had acknowledged. */
  #stopped: string | null = null;
  #rowsChecked = 0;
  #lost = 0;
  #doubled = 0;

  constructor(plan: Plan, { isJudged }: Pick<PlayOptions, 'isJudged'> = { isJudged: true }) {
    this.#plan = plan;
    this.world = new World(plan.seed);
    this.disk = new SimDisk(this.world, new Random(plan.seed ^ 0xd15c));
    this.input = inputOf(plan);
    const deployment = deploymentOf(plan);
    const { world, disk } = this;
    this.#takable = takable(plan, this.input);
    this.servers = plan.stream && this.#serve();
    const { servers } = this;
    this.invariants = new Invariants({
      isChecking: isJudged,
      onLoss: servers && ((isKnown) => servers.lost > 0 && !isKnown && this.#stop('nobody could know of a loss')),
      hasLost: servers && (() => servers.lost > 0),
      isInStream: servers && ((sequence, epoch) => servers.holds(sequence, epoch)),
      ...{ world, disk, outputDir, job: simJob, stagingBytesMax: plan.stagingBytesMax },
      rowsName: rowsFileName(deployment.settings) as string,
      nodes: () => this.nodes,
      waitingSince: (node) => this.coordinator.waitingSince(node),
      attended: () => this.coordinator.attended,
    });
    const clocks = [plan.coordinatorClock, ...(plan.stream?.clocks ?? [])];
    this.coordinators = Array.from({ length: plan.stream?.coordinators ?? 1 }, (_, who) => {
      const ownDisk = plan.stream && this.newDisk();
      return new CoordinatorProcess({
        ...{ world, disk, ownDisk, servers, who, plan, deployment, invariants: this.invariants },
        isElected: (plan.stream?.coordinators ?? 1) > 1,
        clock: clocks[who] ?? plan.coordinatorClock,
        outside: this.#outside(),
        since: (fileSystem) => sinceOf({ plan, deployment, input: this.input, inputPath, takenPath }, fileSystem),
        onDied: (isPower) => this.network.coordinatorDied(isPower, who),
        onRefused: (error, startedAt) => this.#refused(who, error, startedAt),
      });
    });
    const [first, ...others] = this.coordinators as [CoordinatorProcess, ...CoordinatorProcess[]];
    this.network = new SimNetwork({ world, coordinator: first, others });
    const { input } = this;
    const coordinator = (): CoordinatorProcess => this.coordinator;
    const mayFail = plan.faults.some(({ kind }) => kind === 'sync-error');
    this.#rivals = new Rivals({ world, disk, coordinator, input, deployment, mayFail, queue: plan.queue });
    for (const one of plan.nodes) this.#addNode(one, one.startsAtMs);
  }

  #serve(): StreamServers {
    const { world } = this;
    return new StreamServers({
      ...{ world, random: new Random(world.seed ^ 0x57ea) },
      fault: (text) => this.invariants.fault(text),
    });
  }

  newDisk(): SimDisk {
    const disk = new SimDisk(this.world, new Random(this.world.seed ^ (0xd15d + this.#disks.length)));
    this.#disks.push(disk);
    return disk;
  }

  /** The one that leads, or else led last. */
  get coordinator(): CoordinatorProcess {
    const { coordinators } = this;
    const leading = coordinators.find(({ isLeading }) => isLeading) ?? coordinators.find(({ isUp }) => isUp);
    return leading ?? (coordinators[0] as CoordinatorProcess);
  }

  /** What follows is no fault of the program. */
  #stop(why: string): void {
    this.#stopped ??= why;
    this.invariants.isMuted = true;
  }

  get isLax(): boolean {
    return this.#plan.stream?.isLax === true;
  }

  get #starts(): number {
    return this.coordinators.reduce((sum, { starts }) => sum + starts, 0);
  }

  /** A stream that has lost nothing is never told to have, unless a server that does not know better has said so. */
  #refused(who: number, error: BatchError, startedAt: number): void {
    const { servers, invariants } = this;
    if (error.code !== 'JOURNAL_STREAM_LOST' || !servers) return;
    if (servers.lost > 0) this.#stop(error.message);
    else if (!servers.wasStale(who, startedAt)) invariants.fault(`coordinator ${who}: ${error.message}`);
  }

  count(what: FaultKind | string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  #outside(): Pick<Outside, 'inspectInput' | 'listInput' | 'statFiles'> {
    const { files } = this.#plan;
    const bytesOf = sizeOf(this.#plan);
    const { queue } = this.#plan;
    const fileOf = (file: number): InputFile => ({
      path: `f${String(file).padStart(4, '0')}`,
      sizeBytes: bytesOf(file),
      identity: `${bytesOf(file)}-${this.input.mendings(file)}`,
    });
    async function* pages(of: string): AsyncGenerator<readonly InputFile[]> {
      const others = rivalFiles(queue, of);
      if (others) return yield await Promise.resolve(others);
      for (let first = 0; first < files; first += pageFiles) {
        yield await Promise.resolve(
          Array.from({ length: Math.min(pageFiles, files - first) }, (_, at) => fileOf(first + at)),
        );
      }
    }
    return {
      inspectInput: (base) => Promise.resolve({ kind: 'folder', base, name: '' }),
      listInput: (of) => ({
        skipped: noneSkipped(),
        [Symbol.asyncIterator]: () => pages(of),
      }),
      statFiles: (_base, paths) => Promise.resolve(paths.map((path) => fileOf(Number(path.slice(1))))),
    };
  }

  #addNode({ slots, scoreMs: [least, more], slowMs, clock, sickness }: NodePlan, startsAtMs: number): void {
    const { world, network, input } = this;
    const isInitialised = (job: JobName): boolean => this.coordinator.isInitialised(job);
    const node = new WorkerProcess({
      ...{ world, network, coordinator: { isInitialised }, input, faults: this.#nodeFaults },
      plan: {
        ...{ name: `node-${this.nodes.length}`, slots, slowMs, clock, joinToken, spoolBytesMax },
        ...{ scoreMs: [least, least + more], sickness, isRemote: false, staysMs: this.#plan.staysMs },
      },
    });
    this.nodes.push(node);
    this.invariants.trouble(node.name, this.#plan.staysMs === null ? startsAtMs + 2_000 : Infinity);
    world.after(startsAtMs, () => node.start());
  }

  /** One more, like one that is there. */
  joinNode(like: number): boolean {
    const plan = this.#plan.nodes[like % this.#plan.nodes.length];
    if (!plan || this.nodes.length >= 8) return false;
    this.#addNode({ ...plan, slowMs: 0 }, 0);
    return true;
  }

  killNode(node: WorkerProcess, isHost: boolean, downMs: number): boolean {
    if (!node.isUp) return false;
    node.kill(isHost);
    this.world.after(downMs, () => node.start());
    return true;
  }

  /**
   * The node is cut off, and asks to join again just before the coordinator, which stands still for a moment, would give it up:
   * what it says is there, and the clock is looked at first.
   */
  nearMiss(node: WorkerProcess): boolean {
    const { coordinator, network, world } = this;
    if (!coordinator.isUp || !node.isUp || coordinator.ledger?.nodes.get(node.name)?.isConnected !== true) return false;
    network.cut(node.name);
    network.refuse(node.name, 2_200);
    // Both have noticed by then.
    world.after(2_100, () => {
      const { ledger } = coordinator;
      const known = ledger?.nodes.get(node.name);
      if (!ledger || !known || known.isConnected) return;
      const leftMs = coordinator.worldMs(known.heardAt + 2 * heartbeatIntervalMs(ledger) - coordinator.attended);
      const tickMs = coordinator.tickAfter(world.now + leftMs - 80) - world.now;
      if (tickMs < 1_600) return;
      network.refuse(node.name, tickMs - 30);
      world.after(tickMs - 1_508, () => node.freeze(1_500));
      // No longer than what is taken for a late timer, and not for a stall.
      world.after(tickMs - 10, () => coordinator.stall(95, 0));
    });
    return true;
  }

  /** Of two snapshots one may be damaged. */
  flipSnapshot(): boolean {
    const { ownDisk } = this.coordinator;
    const snapshots = ownDisk.paths().filter((path) => /\/journal\/snapshot-\d+$/.test(path));
    const newest = snapshots.at(-1);
    if (this.#isFlipped || this.coordinator.snapshots < 2 || !newest) return false;
    this.#isFlipped = true;
    this.world.say(`a bit flips in ${ownDisk.flipBit((path) => path === newest)}`);
    return true;
  }

  fillDisk(ms: number): boolean {
    this.world.say(`the disk is full for ${ms} ms`);
    this.#fullUntil = Math.max(this.#fullUntil, this.world.now + ms);
    const disks = [this.disk, ...this.#disks];
    for (const disk of disks) disk.fill();
    this.world.after(ms, () => {
      if (this.world.now >= this.#fullUntil) for (const disk of [this.disk, ...this.#disks]) disk.drain();
    });
    return true;
  }

  async play(options: PlayOptions): Promise<Outcome> {
    const { world, invariants } = this;
    for (const one of this.coordinators) one.start();
    const { faults: planned, stream, lateWrite } = this.#plan;
    schedule([...planned, ...(stream?.faults ?? []), ...(lateWrite ? [lateWrite] : [])], this);
    this.#wish(this.#plan.wishes);
    this.#rivals.begin();
    const faults: string[] = [];
    for (let life = 1; ; life += 1) {
      const isOver = (): boolean => this.#stopped !== null || (invariants.lives >= life && this.#isSealed);
      const hasEnded = await world.play(world.now + virtualMsMax, isOver);
      if (this.#stopped !== null) break;
      if (!hasEnded) {
        faults.push(`${world.livelock ?? 'the job has not ended'}: ${this.#describe()}`);
        break;
      }
      invariants.checkReplay();
      if (options.isJudged) faults.push(...(await this.#judge(options)));
      const next = this.#plan.lives[life - 1];
      if (faults.length > 0 || this.#isFaulty || !next || !this.#goOn(life, next)) break;
    }
    const { fingerprint } = world;
    if (this.#stopped !== null) return this.#outcome(fingerprint, [...invariants.faults, ...this.#nodeFaults]);
    // A run that is only compared has shown by then what it does.
    if (!options.isJudged) return this.#outcome(fingerprint, [...invariants.faults, ...this.#nodeFaults]);
    if (faults.length === 0 && !this.#isFaulty) {
      await world.play(world.now + virtualMsMax, () => this.#rivals.areSealed);
      faults.push(...this.#rivals.judge());
    }
    if (faults.length === 0 && !this.#isFaulty) faults.push(...(await this.#judgeSilence()));
    if (faults.length === 0 && !this.#isFaulty && this.#plan.isPruned) faults.push(...(await this.#judgePrune()));
    // Coordinators that do not go on judge nothing.
    const judged = this.#stopped === null ? faults : [];
    return this.#outcome(fingerprint, [...judged, ...invariants.faults, ...this.#nodeFaults]);
  }

  get #isFaulty(): boolean {
    return this.invariants.faults.length > 0 || this.#nodeFaults.length > 0;
  }

  get #isSealed(): boolean {
    return this.coordinator.isUp && this.coordinator.job?.isSealed === true;
  }

  async #judge(allows: PlayOptions): Promise<readonly string[]> {
    const job = this.coordinator.job as Job;
    this.invariants.checkFinal();
    const { settings, files } = this.#plan;
    const expected = expectedOf(files, this.input, settings, job.deployment.settings.errorThreshold);
    const { disk, input } = this;
    // A disk that has refused a sync is the job's own trouble: what was written since the last commit is in doubt.
    const isDisk = this.#plan.faults.some(({ kind }) => kind === 'sync-error');
    const mayFailWith: readonly ErrorCode[] = [
      ...(isDisk ? (['STATE_UNWRITABLE'] as const) : []),
      ...(allows.failWith ?? []),
    ];
    const mayGiveUp = allows.givingUp === true;
    const { mayBeCanceled } = this;
    const left = this.coordinator.inner ? ['the job that makes the parts is still there'] : [];
    const outside = this.#outside();
    const verdict = await judge({
      disk,
      outputDir,
      job,
      input,
      outside,
      expected,
      mayBeCanceled,
      mayFailWith,
      mayGiveUp,
      takable: this.#takable,
    });
    this.#rowsChecked += verdict.rows;
    this.#lost += verdict.lost;
    this.#doubled += verdict.doubled;
    return [...left, ...verdict.faults];
  }

  get mayBeCanceled(): boolean {
    const { wishes, lives } = this.#plan;
    return [...wishes, ...lives.flatMap((life) => life.wishes)].some(({ what }) => what === 'cancel');
  }

  #wish(wishes: readonly Wish[]): void {
    const { world } = this;
    for (const { atMs, what, graceMs } of wishes) {
      world.after(atMs, () => {
        if (what === 'cancel') return this.coordinator.cancel(graceMs);
        this.coordinator.pause(what === 'pause');
        // Asked for again and again, since a crash or a stop may lose it.
        for (let later = 1; later < 8; later += 1) world.after(later * 15_000, () => this.coordinator.pause(false));
      });
    }
  }

  /** Reopens the job where it can be; false when it stays as it is. */
  #goOn(life: number, plan: LifePlan): boolean {
    const job = this.coordinator.job as Job;
    if (job.state === 'Completed' && job.failedFiles === 0) return false;
    const scope: ReopenScope = job.state === 'Completed' || plan.prefersFailed ? 'failed' : 'rest';
    const random = new Random(this.#plan.seed ^ life);
    for (const { first, count, failure } of job.failures) {
      // What was committed without this file is scored again only when the failed files are asked for.
      const isCommitted = failure.code === 'INPUT_UNREADABLE' || failure.code === 'INPUT_DECODE_FAILED';
      if (scope === 'rest' && isCommitted) continue;
      for (let file = first; file < first + count; file += 1) {
        if (random.between(1, 10) <= plan.mended) this.input.mend(file);
      }
    }
    const isCut = plan.miniBatchSize !== null && job.deployment.settings.isolation === 'file';
    const settings = { ...(isCut ? { miniBatchSize: plan.miniBatchSize } : {}), ...this.#otherParts(life) };
    const { invariants, world } = this;
    // Asked until it has come to be: a crash may take the answer with it.
    let starts = this.#starts;
    let asked = scope;
    const ask = (): void => {
      const { coordinator } = this;
      const { job: now } = coordinator;
      // Whoever finds the job as it was may want something else of it now.
      if (plan.mended === 0 && this.#starts !== starts && now && now.state !== 'Completed')
        asked = asked === 'rest' ? 'failed' : 'rest';
      starts = this.#starts;
      if (invariants.lives > life || (now && now.reopenings >= life && coordinator.isUp && this.#isDurable)) return;
      // A standby may not have read yet how the job has ended.
      const due = now?.state === 'Completed' ? 'failed' : asked;
      if (now?.isSealed === true && now.reopenings === life - 1) coordinator.reopen(due, settings);
      world.after(askEveryMs, ask);
    };
    if (plan.crashAfter !== null) {
      const fault = { atMs: 0, kind: 'kill-at-change', of: 'any', isPower: life % 2 === 0, downMs: 300 } as const;
      if (this.coordinator.crashAtChange({ ...fault, changes: plan.crashAfter })) this.count(fault.kind);
    }
    ask();
    this.#wish(plan.wishes);
    return true;
  }

  /** Parts are made anew in each life: here and there of another size, so that there are fewer of them than before. */
  #otherParts(life: number): Partial<ReopenRequest> {
    const { partRows } = this.#plan;
    if (partRows === null || life % 2 === 0) return {};
    return { deployment: { ...deploymentOf({ ...this.#plan, partRows: 3 * partRows }), model: null, code: null } };
  }

  /** Nothing of the ledger is in memory alone. */
  get #isDurable(): boolean {
    return this.invariants.isDurable;
  }

  /** When the faults have ended too, nobody holds anything of the job any more. */
  async #judgeSilence(): Promise<readonly string[]> {
    const { world, nodes } = this;
    await world.play(Math.max(quietAtMs, world.now + 40_000), () => false);
    // A kill that was asked for long ago may have come only now.
    await world.play(world.now + 60_000, () => this.coordinator.isUp);
    await world.play(world.now + 40_000, () => nodes.every((node) => node.isUp && node.held === 0));
    if (world.livelock !== null) return [world.livelock];
    const { coordinator } = this;
    const faults = nodes
      .filter((node) => node.held > 0)
      .map((node) => `${node.name} holds ${node.held} leases at the end`);
    const leases = coordinator.ledger?.leases.size ?? 0;
    if (leases > 0) faults.push(`${leases} leases are left in the ledger`);
    if (!nodes.every((node) => node.isUp)) faults.push('a node has not come back');
    if (!coordinator.isUp) faults.push('the coordinator has not come back');
    const within = (dir: string): readonly string[] => this.disk.paths().filter((path) => path.startsWith(`${dir}/`));
    const segments = within(`${stateDir}/jobs/${simJob}/staging`);
    if (segments.length > 0 && coordinator.job?.isStagingKept === false) faults.push(`left: ${segments.join(', ')}`);
    const inner = within(`${stateDir}/jobs/${partsJobName(simJob)}`);
    if (inner.length > 0) faults.push(`left: ${inner.join(', ')}`);
    return faults;
  }

  /** Forgotten by the process, and by one that replays its journal; nothing of it is left in the state directory. */
  async #judgePrune(): Promise<readonly string[]> {
    const { world, invariants, disk } = this;
    const ask = (): void => {
      if (invariants.isPruned) return;
      this.coordinator.prune();
      world.after(askEveryMs, ask);
    };
    ask();
    const isGone = await world.play(
      world.now + quietAtMs,
      () => invariants.isPruned && this.coordinator.job === undefined,
    );
    if (!isGone) return ['the job is not forgotten'];
    await world.play(world.now + 5_000, () => false);
    // One that stands still thinks that it leads, and has its own view of what there is.
    const epoch = Math.max(...this.coordinators.map(({ ledger }) => ledger?.epoch ?? 0));
    const next = (): CoordinatorProcess | undefined =>
      this.coordinators.find(({ isUp, ledger }) => isUp && (ledger?.epoch ?? 0) > epoch);
    this.coordinator.crash({ isPower: true, downMs: 10 });
    await world.play(world.now + quietAtMs, () => next() !== undefined);
    if (!next()) return ['nobody leads after a pruned job'];
    if (next()?.job) return ['a pruned job came back'];
    const left = disk.paths().filter((path) => path.startsWith(`${stateDir}/jobs/${simJob}`));
    return left.length === 0 ? [] : [`a pruned job left ${left.join(', ')}`];
  }

  #describe(): string {
    const { job } = this.coordinator;
    if (!job) return `no job; coordinator ${this.coordinator.isUp ? 'up' : 'down'}`;
    const { inner } = this.coordinator;
    return inner ? `${progressOf(job)}; parts: ${progressOf(inner)}` : progressOf(job);
  }

  #outcome(fingerprint: string, faults: readonly string[]): Outcome {
    const { world, coordinator, invariants, counts, network, disk } = this;
    const counted = [network, disk, ...this.#disks, ...(this.servers ? [this.servers] : [])];
    for (const [what, times] of counted.flatMap((one) => [...one.counts]))
      counts.set(what, (counts.get(what) ?? 0) + times);
    const { counts: events } = invariants;
    const met = new Map<string, number>([
      ['nodes lost', events.get('NodeLost') ?? 0],
      ['second attempts', invariants.twins],
      ['leases recalled', events.get('LeaseRecalled') ?? 0],
      ['grants in a full window', invariants.heldBack],
      ['grants to nodes that leave at a known time', invariants.endingGrants],
      ['snapshots loaded', invariants.snapshotsLoaded],
      ['files given up', coordinator.job?.failedFiles ?? 0],
      ['ends by itself', this.coordinators.reduce((sum, { refusals }) => sum + refusals.length, 0)],
      ['takeovers from one that is there', invariants.takeovers],
      ['stops of a stream that lost records', this.#stopped === null ? 0 : 1],
      ['nodes quarantined', events.get('NodeQuarantined') ?? 0],
      ['reopened', events.get('JobReopened') ?? 0],
      ['rows taken', coordinator.job?.takenFiles ?? 0],
      ...invariants.parts.met,
      ['grants that others wanted', invariants.turns.shared],
      ['leases preempted', invariants.turns.preempted],
      ['waits for an endpoint', invariants.turns.waited],
    ]);
    return {
      faults,
      trace: world.trace,
      fingerprint,
      virtualMs: world.now,
      state: this.#stopped === null ? (coordinator.job?.state ?? 'gone') : 'stopped',
      code: coordinator.job?.error?.code ?? null,
      lives: invariants.lives,
      ...{ rowsChecked: this.#rowsChecked, lost: this.#lost, doubled: this.#doubled },
      starts: this.#starts,
      ...{ counts, met },
    };
  }
}

function progressOf({ state, isPaused, committed, total, leased, waiting, cursor }: Job): string {
  const pause = isPaused ? ', paused' : '';
  return `${state}${pause}, ${committed} of ${total} committed, ${leased} leased, ${waiting.size} waiting, cursor ${cursor}`;
}

/** Plays a plan, in an environment whose `setImmediate` is the world's. */
export async function play(plan: Plan, options: PlayOptions): Promise<Outcome> {
  const cluster = new Cluster(plan, options);
  const { setImmediate } = globalThis;
  const immediate = (what: () => void): void => cluster.world.immediate(what);
  globalThis.setImmediate = immediate as unknown as typeof setImmediate;
  try {
    return await cluster.play(options);
  } finally {
    globalThis.setImmediate = setImmediate;
  }
}
