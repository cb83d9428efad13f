/**
 * The coordinator's process in the simulator: the real engine on a simulated disk, clock and network, and what its supervisor
 * does: it can be killed at any time, and is started again on what its disk kept.
 */
import { BatchError } from '../../common/core/batch-error.ts';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import { jobName, type JobName, type NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import type { Clock } from '../../common/io/clock.ts';
import type { Delay } from '../../common/io/delay.ts';
import { errnoOf } from '../../common/io/errno.ts';
import type { ProcessIdentity } from '../../common/io/process-identity.ts';
import type { Log } from '../../common/io/log.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { ReopenRequest } from '../../coordinator/api/backend.ts';
import type { Deployment } from '../../common/core/deployment.ts';
import type { Event } from '../../coordinator/core/events.ts';
import type { Job, Ledger } from '../../coordinator/core/ledger.ts';
import type { ReopenScope } from '../../coordinator/core/life-events.ts';
import { partsJobName } from '../../coordinator/core/parts.ts';
import { sinceBases, type Since } from '../../coordinator/core/since.ts';
import { openEngine, type Engine, type EngineViews } from '../../coordinator/engine.ts';
import { JobLife } from '../../coordinator/job-life.ts';
import type { JobRecord } from '../../coordinator/job-files.ts';
import { openListing } from '../../coordinator/list-job.ts';
import { DiskWatch } from '../../coordinator/output/disk-watch.ts';
import type { Outside } from '../../coordinator/outside.ts';
import type { ClusterBackend } from '../../coordinator/service/cluster-server.ts';
import { guardedFileSystem } from '../../coordinator/standby/guarded-file-system.ts';
import { Ticks } from '../../coordinator/timers.ts';
import { JobFeeds } from '../../coordinator/views/job-feed.ts';
import { jobView } from '../../coordinator/views/job-view.ts';
import { countChanges, type ChangeCount, type ChangeKind } from './change-count.ts';
import type { Fault } from './faults.ts';
import type { CoordinatorPort } from './coordinator-port.ts';
import type { Later, SimDisk, SimMount } from './disk.ts';
import type { Invariants } from './invariants.ts';
import type { Plan } from './plan.ts';
import { endpointOf, originOf, type Rival } from './rivals.ts';
import { SimProcess, type ClockPlan } from './sim-process.ts';
import type { StreamFault } from './stream-plan.ts';
import { StreamClient } from './stream-client.ts';
import type { StreamServers } from './stream-servers.ts';
import { twoDisks } from './two-disks.ts';
import type { World } from './world.ts';

export const simJob = jobName('sim');
export const stateDir = '/state';
export const outputDir = '/out';
export const inputPath = '/in';
export const joinToken = 'simulated';

/** When the simulation begins, for people. */
const wallStartMs = Date.UTC(2026, 0, 1);

export interface CoordinatorOptions {
  readonly world: World;
  /** Which one of them. */
  readonly who: number;
  /** Outputs, and what is kept of jobs; where there is no stream, all. */
  readonly disk: SimDisk;
  /** Of its state, where there is a stream. */
  readonly ownDisk: SimDisk | null;
  /** Where the journal is kept as well. */
  readonly servers: StreamServers | null;
  /** It follows until it has the lease. */
  readonly isElected: boolean;
  readonly clock: ClockPlan;
  readonly plan: Pick<Plan, 'journal' | 'stagingBytesMax' | 'queue'>;
  readonly deployment: Deployment;
  /** The machine around it, but for disk and time. */
  readonly outside: Pick<Outside, 'inspectInput' | 'listInput' | 'statFiles'>;
  readonly invariants: Invariants;
  /** What the job is to take rows from. */
  readonly since: (fileSystem: FileSystem) => Promise<Since | null>;
  /** Its process has ended: all connections do. */
  readonly onDied: (isPower: boolean) => void;
  /** It does not go on, and says why. */
  readonly onRefused: (error: BatchError, startedAt: number) => void;
}

interface Views extends EngineViews {
  readonly feeds: JobFeeds;
}

const nothing = (): undefined => undefined;
const isRows = (path: string): boolean => path.startsWith(`${outputDir}/`);
const silent: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, with: () => silent };

/** What a coordinator needs to put everything away. */
const endingMsMax = 3_000;

/** No settings are changed. */
const unchanged: ReopenRequest = {
  ...{ deployment: null, miniBatchSize: null, timeoutMs: null, triesMax: null, errorThreshold: null },
  ...{ instanceCountMax: null, concurrencyPerInstanceMax: null },
};

export class CoordinatorProcess implements CoordinatorPort {
  /** Snapshots of the journal that were completed. */
  snapshots = 0;
  readonly #options: CoordinatorOptions;
  readonly #log: Log = {
    ...silent,
    info: (text) => void (this.snapshots += text === 'snapshot of the journal' ? 1 : 0),
  };
  readonly #world: World;
  readonly #process: SimProcess;
  #life = 0;
  /** Another one has appended to the stream behind it. */
  #isOvertaken = false;
  #mount: SimMount | null = null;
  #shared: SimMount | null = null;
  #ownDisk: SimDisk | null;
  #client: StreamClient | null = null;
  #startedAt = 0;
  #changes: ChangeCount | null = null;
  #engine: Engine<Views> | null = null;
  #jobLife: JobLife | null = null;
  #isServing = false;
  /** It cannot go on, and ends what it is at. */
  #isEnding = false;
  #doors: { readonly outside: Outside; readonly clock: Clock } | null = null;
  /** Rivals that are being submitted. */
  readonly #asked = new Set<JobName>();
  #deafUntil = 0;
  #tickAt = 0;
  /** When each message that has not been heard yet arrived, by who sent it, oldest first. */
  readonly #waiting = new Map<NodeName | null, number[]>();
  /** What its wall clock has been set forward by. */
  #jumpedMs = 0;
  /** What befalls it at a change of its disk from now. */
  #atChange: (() => void) | null = null;
  /** Asked of a job once it can be. */
  starts = 0;
  /** Why it did not start, or ended by itself; what it said each time. */
  readonly refusals: BatchError[] = [];

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.#world = options.world;
    this.#process = new SimProcess(options.world, options.clock);
    this.#ownDisk = options.ownDisk;
  }

  get isUp(): boolean {
    return this.#isServing;
  }

  /** A process is there, be it that it only follows. */
  get isRunning(): boolean {
    return this.#mount !== null;
  }

  /** Nobody has gone on from what it had. */
  get isLeading(): boolean {
    return this.#engine !== null && this.#options.invariants.leads(this.#engine.loop.ledger);
  }

  /** Of its state directory. */
  get ownDisk(): SimDisk {
    return this.#ownDisk ?? this.#options.disk;
  }

  get ledger(): Ledger | undefined {
    return this.#engine?.loop.ledger;
  }

  get job(): Job | undefined {
    return this.ledger?.jobs.get(simJob);
  }

  /** Its time, less what it stood still. */
  get attended(): number {
    return this.#process.now - (this.ledger?.stallMs ?? 0);
  }

  /** When it will look at its deadlines, at `atMs` or as soon as it does. */
  tickAfter(atMs: number): number {
    const everyMs = this.worldMs(limits.tickMs);
    return this.#tickAt + Math.ceil((atMs - this.#tickAt) / everyMs) * everyMs;
  }

  /** What so many milliseconds of its clock are in the world's. */
  worldMs(ms: number): number {
    return ms / this.#options.clock.rate;
  }

  /** The one that makes the parts of the job's output; undefined while there is none. */
  get inner(): Job | undefined {
    return this.ledger?.jobs.get(partsJobName(simJob));
  }

  isInitialised(job: JobName): boolean {
    return this.ledger?.jobs.get(job)?.isInitialised === true;
  }

  start(): void {
    if (this.#mount) return;
    this.#life += 1;
    this.starts += 1;
    this.#startedAt = this.#world.now;
    this.#say('starts');
    const later: Later = (ms, what) => this.#process.later(ms, what);
    const { disk, servers, who, isElected } = this.#options;
    this.#mount = this.ownDisk.mount(later);
    const shared = this.#ownDisk && disk.mount(later);
    this.#shared = shared;
    const silentMs = (): number => client?.silentMs() ?? 0;
    const guard = {
      localDir: `${stateDir}/journal`,
      silentMs,
      delay: this.#delay,
      signal: new AbortController().signal,
    };
    const common = shared && (isElected ? guardedFileSystem(shared, guard) : shared);
    const files = common ? twoDisks(this.#mount, common) : this.#mount;
    this.#changes = countChanges(files, isRows, () => this.#changed());
    this.#isOvertaken = false;
    this.#isEnding = false;
    const life = this.#life;
    const onFenced = (): void => {
      this.#isOvertaken ||= life === this.#life;
      shared?.overtake();
    };
    const now = (): number => this.#process.now;
    const client = servers && new StreamClient({ world: this.#world, servers, who, later, now, onFenced });
    this.#client = client;
    this.#open(this.#changes.fileSystem, life).catch((error: unknown) => this.#fatal(error, life));
    this.#world.touch();
  }

  async #open(fileSystem: FileSystem, life: number): Promise<void> {
    const { invariants, plan } = this.#options;
    const clock: Clock = {
      monotonic: () => this.#process.now,
      wall: () => Math.round(wallStartMs + this.#world.now + this.#jumpedMs),
    };
    const delay = this.#delay;
    const identity = {
      self: { pid: life, hostname: `sim-${this.#options.who}`, bootId: '', startTicks: String(life) },
      // Whoever leads takes the lock of who has led before.
      lifeOf: ({ pid, hostname }: ProcessIdentity) =>
        pid === this.#life && hostname === `sim-${this.#options.who}` ? ('alive' as const) : ('dead' as const),
    };
    // Nodes of a simulation see the input where it is: they ask for rows alone.
    const openInput = (): never => {
      throw new BatchError('INPUT_UNREADABLE', 'nobody fetches anything but rows');
    };
    const locateInput = (text: string): Promise<string> => Promise.resolve(text);
    const storeOutput = (): never => {
      throw new Error('no output of the simulation goes to a store');
    };
    const outside: Outside = {
      ...this.#options.outside,
      fileSystem,
      delay,
      identity,
      locateInput,
      openInput,
      storeOutput,
      isShared: this.#options.isElected,
    };
    await fileSystem.makeDir(stateDir);
    await fileSystem.syncDir('/');
    const onFatal = (error: unknown): void => this.#fatal(error, life);
    const engine = await openEngine<Views>({
      ...{ stateDir, joinToken, clock, outside, onFatal, release: `sim ${life}`, heartbeatMs: null, signer: null },
      ...{ log: this.#log, stagingBytesMax: plan.stagingBytesMax },
      stream: this.#client,
      untilLeading: this.#options.isElected ? () => this.#elected(life) : null,
      requireLeading: this.#options.isElected ? () => this.#requireLease() : null,
      journalSizes: { ...plan.journal, reserveBytes: 4_096 },
      artifacts: { open: () => never() },
      views: (ledger) => {
        const feeds = new JobFeeds({ ledger, wall: clock.wall });
        const publish = (event: Event): void => {
          feeds.publish(event);
          if (life === this.#life) invariants.publish(event, ledger);
        };
        const story = { end: () => Promise.resolve(), report: () => Promise.resolve() };
        return { feeds, publish, story, logs: { take: () => Promise.resolve(0) } };
      },
    });
    if (life !== this.#life) return;
    this.#engine = engine;
    // Another one has begun since it fenced the others off: its own first append will tell it so.
    if (!this.#isOvertaken && !this.#isEnding) invariants.opened(engine, this.#options.who);
    this.#doors = { outside, clock };
    const { loop, work } = engine;
    const jobLife = new JobLife({
      ...{ loop, work, outside, stateDir, clock, log: silent, feeds: engine.views.feeds },
      find: () => this.#known(),
      show: () => jobView(loop.ledger, this.#known()),
      seal: (local: LocalDeployment) => Promise.resolve({ ...local, model: null, code: null }),
      refuseOutputPlace: () => undefined,
      closeLogs: () => Promise.resolve(() => undefined),
    });
    this.#jobLife = jobLife;
    await jobLife.removeOrphans();
    await engine.begin();
    if (!this.#isOvertaken && !this.#isEnding) invariants.restored();
    if (plan.queue && !loop.ledger.registry.endpoint('sim'))
      loop.handle({ kind: 'put-resource', resource: endpointOf(plan.queue), ifMatch: null });
    while (!this.job && !invariants.isPruned) {
      const { deployment, since } = this.#options;
      const own = { name: simJob, deployment, inputPath, outputDir, origin: originOf(plan.queue) };
      await submit(engine, outside, clock, own, since).catch(refused);
      if (!this.job) await delay(1_000, work.stopped);
    }
    // One that may not lead any more while it still starts is on its way out.
    if (life !== this.#life || this.#isEnding) return;
    this.#isServing = true;
    this.#say(`serves, epoch ${loop.ledger.epoch}`);
    const ticks = new Ticks(clock);
    this.#tickAt = this.#world.now;
    this.#every(limits.tickMs, () => {
      // No more when it is about to end in order.
      if (!this.#isServing) return;
      this.#tickAt = this.#world.now;
      loop.handle(ticks.next());
    });
    const watched = () => [{ job: null, dir: stateDir }, ...work.outputDirs()];
    const onRoom: DiskWatchOnRoom = (job, failure) => work.roomChanged(job, failure);
    const watch = new DiskWatch({ fileSystem, watched, onRoom });
    this.#every(limits.diskLookMs, () => void watch.look().catch(onFatal));
  }

  readonly #delay: Delay = (ms, signal) =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = (): void => {
        signal.removeEventListener('abort', done);
        this.#world.touch();
        resolve();
      };
      signal.addEventListener('abort', done);
      this.#process.later(ms, done);
    });

  async #elected(life: number): Promise<void> {
    await this.#client?.won((error) => this.#fatal(error, life));
    this.#say('has the lease');
  }

  #requireLease(): void {
    if (this.#isEnding) throw new BatchError('NOT_LEADING', 'it is on its way out');
    this.#client?.requireLease();
  }

  #say(text: string): void {
    this.#world.say(`coordinator ${this.#options.servers ? `${this.#options.who} ` : ''}${text}`);
  }

  /** Nothing happens while it is there, or on its way. */
  submitRival(rival: Rival): void {
    const engine = this.#engine;
    const doors = this.#doors;
    if (!engine || !doors || !this.#isServing || this.#asked.has(rival.name)) return;
    if (engine.loop.ledger.jobs.has(rival.name)) return;
    this.#asked.add(rival.name);
    this.#world.touch();
    const life = this.#life;
    void submit(engine, doors.outside, doors.clock, rival, () => Promise.resolve(null))
      .catch((error: unknown) => {
        if (life === this.#life) refused(error);
      })
      .finally(() => life === this.#life && this.#asked.delete(rival.name));
  }

  #known(): Job {
    const { job } = this;
    if (!job) throw new BatchError('JOB_NOT_FOUND', 'there is no job');
    return job;
  }

  #every(ms: number, what: () => void): void {
    this.#process.later(ms, () => {
      this.#world.touch();
      what();
      this.#every(ms, what);
    });
  }

  /** It cannot go on: its supervisor starts it again. */
  #fatal(error: unknown, life: number): void {
    if (life !== this.#life) return;
    if (!(error instanceof BatchError)) throw error;
    this.refusals.push(error);
    this.#say(`ends: ${error.code}`);
    this.#options.onRefused(error, this.#startedAt);
    const downMs = this.#world.random.between(100, 5_000);
    // Of several, one that is not to lead any more hears of nothing new, and ends what it is at.
    const { isElected } = this.#options;
    this.#isServing &&= !isElected;
    this.#isEnding = true;
    const endsMs = isElected ? this.#world.random.between(0, endingMsMax) : 0;
    // What it still does on its way out is nobody's.
    this.#world.after(endsMs, () => life === this.#life && this.crash({ isPower: false, downMs }));
  }

  /** kill -9, or its machine loses power; it is back after `downMs`. False when it is down already. */
  crash({ isPower, downMs }: { readonly isPower: boolean; readonly downMs: number }): boolean {
    if (!this.#mount) return false;
    this.#say(isPower ? 'loses power' : 'is killed');
    if (this.#engine) this.#options.invariants.dies(this.#engine.loop.ledger);
    this.#life += 1;
    this.#process.end();
    this.#mount.release();
    this.#shared?.release();
    this.#client?.release();
    this.#client = null;
    this.#mount = null;
    this.#shared = null;
    this.#changes = null;
    this.#atChange = null;
    this.#engine = null;
    this.#jobLife = null;
    this.#doors = null;
    this.#asked.clear();
    this.#isServing = false;
    this.#waiting.clear();
    this.#deafUntil = 0;
    if (isPower) this.ownDisk.powerCut();
    this.#options.onDied(isPower);
    this.#world.after(downMs, () => this.start());
    return true;
  }

  /** It comes back with an empty disk. */
  loseDisk(disk: SimDisk, downMs: number): boolean {
    if (!this.#ownDisk || !this.crash({ isPower: false, downMs })) return false;
    this.#say('has lost its disk');
    this.#ownDisk = disk;
    return true;
  }

  crashAtChange(fault: Extract<Fault, { readonly kind: 'kill-at-change' }>): boolean {
    return this.#befallAtChange(fault, () => this.crash(fault));
  }

  /** What it was about to change changes when it goes on. */
  freezeAtChange(fault: Extract<StreamFault, { readonly kind: 'freeze-at-change' }>): boolean {
    return this.#befallAtChange(fault, () => this.stall(fault.ms, 0));
  }

  /** False where nobody takes over. */
  freezeAtWrite({ changes, ms }: Extract<StreamFault, { readonly kind: 'late-write' }>, then: () => void): boolean {
    if (!this.#options.isElected) return false;
    return this.#befallAtChange({ of: 'rows', changes }, () => {
      this.stall(ms, 0);
      then();
    });
  }

  #befallAtChange({ of, changes }: { readonly of: ChangeKind; readonly changes: number }, what: () => void): boolean {
    if (!this.#changes) return false;
    this.#changes.left = changes;
    this.#changes.of = of;
    this.#atChange = what;
    return true;
  }

  #changed(): void {
    const what = this.#atChange;
    this.#atChange = null;
    // A sync that was begun has not happened yet.
    const isBefore = this.#changes?.of === 'names' || this.#changes?.of === 'rows';
    const delayMs = isBefore ? 0 : this.#world.random.between(0, 3);
    const life = this.#life;
    if (what) this.#world.after(delayMs, () => life === this.#life && what());
  }

  /** It ends in order, and another release is started on the same disk. */
  restart(downMs: number): boolean {
    const engine = this.#engine;
    if (!engine || !this.#isServing) return false;
    this.#say('ends in order');
    this.#isServing = false;
    const life = this.#life;
    const close = async (): Promise<void> => {
      engine.nodes.close();
      await engine.work.close();
      await engine.journal.close();
      await this.#client?.resign();
    };
    close()
      .catch((error: unknown) => this.#options.invariants.fault(`an orderly end: ${String(error)}`))
      .finally(() => life === this.#life && this.crash({ isPower: false, downMs }));
    this.#world.touch();
    return true;
  }

  /**
   * The event loop stands still: timers and messages wait. As with a machine that was suspended, the network may need
   * `deafMs` more than the timers until it is back.
   */
  stall(ms: number, deafMs: number): boolean {
    if (!this.#mount) return false;
    this.#process.freeze(ms);
    this.#deafUntil = Math.max(this.#deafUntil, this.#process.awakeAt + deafMs);
    this.#say(`stalls for ${ms} ms`);
    return true;
  }

  /** Somebody sets the clock on the wall. */
  jumpClock(ms: number): void {
    this.#jumpedMs += ms;
  }

  /** Since when a message of the node is there that could be heard, as soon as it is its turn; Infinity without any. */
  waitingSince(node: NodeName): number {
    return this.#deafUntil <= this.#world.now ? (this.#waiting.get(node)?.[0] ?? Infinity) : Infinity;
  }

  arrive(what: (backend: ClusterBackend) => void, from: NodeName | null): void {
    const life = this.#life;
    if (this.#deafUntil > this.#world.now) {
      this.#world.at(this.#deafUntil, () => life === this.#life && this.arrive(what, from));
      return;
    }
    const waiting = this.#waiting.get(from) ?? [];
    this.#waiting.set(from, waiting);
    waiting.push(this.#world.now);
    const hear = (): void => {
      waiting.shift();
      const engine = this.#engine;
      if (!engine || !this.#isServing) return;
      this.#world.touch();
      what(engine.nodes);
    };
    // Of what has gathered while it stood still, timers come first, then the network.
    const isLate = !this.#process.isAwake;
    this.#process.later(0, () => {
      if (!isLate) return hear();
      this.#process.later(0.01, hear);
    });
  }

  cancel(graceMs: number): void {
    this.#ask(`cancel within ${graceMs} ms`, (life) => life.cancel(simJob, graceMs));
  }

  pause(isPaused: boolean): void {
    const { job, inner } = this;
    if (!job || isFinal(job.state) || job.state === 'CancelRequested') return;
    // Asked of one that is about to be sealed it is a matter of a moment.
    if (job.state === 'Finalizing' && !job.isPaused && (!inner || inner.state === 'Finalizing')) return;
    this.#ask(isPaused ? 'pause' : 'go on', (life) => (isPaused ? life.pause(simJob) : life.resume(simJob, unchanged)));
  }

  reopen(scope: ReopenScope, settings: Partial<ReopenRequest>): void {
    const request = { ...unchanged, errorThreshold: -1, ...settings };
    this.#ask(`go on with ${scope}`, (life) =>
      scope === 'failed' ? life.retry(simJob, request) : life.resume(simJob, request),
    );
  }

  prune(): void {
    const query = { names: [simJob], olderThanMs: null, states: null, isDryRun: false, withOutput: false };
    this.#ask('prune', (life) => life.prune(query));
  }

  /** A refusal is an answer; what is asked of a process that is killed is asked again by whoever needs it. */
  #ask(what: string, how: (life: JobLife) => Promise<unknown>): void {
    this.#process.later(0, () => {
      const life = this.#jobLife;
      if (!life || !this.#isServing) return;
      this.#world.say(`asked to ${what}`);
      this.#world.touch();
      how(life).catch((error: unknown) => {
        if (!(error instanceof BatchError)) this.#fatalDefect(error);
      });
    });
  }

  #fatalDefect(error: unknown): void {
    this.#options.invariants.fault(
      `a request: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
  }
}

type DiskWatchOnRoom = ConstructorParameters<typeof DiskWatch>[0]['onRoom'];

function never(): never {
  throw new Error('no artifact is asked for here');
}

/** A refusal is an answer, and whoever was refused asks again. */
function refused(error: unknown): void {
  if (!(error instanceof BatchError) && errnoOf(error) === '') throw error;
}

/** As the desk of jobs does it: whoever is refused leaves its output folder to others. */
async function submit(
  engine: Engine<Views>,
  outside: Outside,
  clock: Clock,
  rival: Rival,
  findSince: CoordinatorOptions['since'],
): Promise<void> {
  try {
    await submitListed(engine, outside, clock, rival, findSince);
  } catch (error) {
    const jobs = [...engine.loop.ledger.jobs.values()];
    const isTaken = jobs.some((job) => job.outputDir === rival.outputDir && !job.isSealed);
    if (!isTaken) await engine.work.locks.release(rival.outputDir);
    throw error;
  }
}

async function submitListed(
  { loop, work }: Engine<Views>,
  outside: Outside,
  clock: Clock,
  { name, inputPath: input, outputDir: output, deployment, origin }: Rival,
  findSince: CoordinatorOptions['since'],
): Promise<void> {
  const open = await openListing(outside.listInput(input, { include: [], exclude: [], recursive: true, list: null }));
  await outside.fileSystem.makeDir(output);
  await outside.fileSystem.syncDir('/');
  const since = await findSince(outside.fileSystem);
  await work.locks.take(output);
  const record: JobRecord = {
    ...{ name, inputPath: input, outputDir: output, deployment, chunks: 0, outputCommitted: 0, rowsOf: null },
    ...{ schema: -1, schemas: [], generation: 1, segments: new Map<number, number>() },
    bases: new Map(since ? sinceBases(since) : []),
  };
  await work.create(record, open);
  const places = { inputPath: input, outputDir: output, ...(since === null ? {} : { since }) };
  loop.handle({ kind: 'submit', job: name, deployment, ...places, origin, wallMs: clock.wall() });
  await loop.durable();
}
