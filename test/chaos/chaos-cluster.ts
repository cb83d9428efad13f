/**
 * A coordinator and worker nodes that are started again whenever they end, as systemd would, each node behind a proxy of its
 * own. Notes every start, every end that nobody has ordered, and how much memory the coordinator has had.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { until, type Program } from '../helpers/programs.ts';
import type { KillMoment } from './chaos-plan.ts';
import { CommitWitness } from './commit-witness.ts';
import type { Defects } from './defects.ts';
import { FaultProxy } from './fault-proxy.ts';
import { atMoment } from './kill-moments.ts';
import type { SmallDisk } from './small-disk.ts';
import { ToldCommits } from './told-commits.ts';

export interface ChaosClusterOptions {
  /** Exists; everything lies below it but what is on `disk`. */
  readonly dir: string;
  /** For the coordinator's state. */
  readonly disk: SmallDisk;
  readonly nodes: number;
  readonly heartbeatMs: number;
  readonly logDir: string;
  readonly note: (line: string) => void;
  /** Gets ends that have no excuse, and commits that were told and not journaled. */
  readonly defects: Defects;
}

export interface ChaosNode {
  readonly index: number;
  readonly proxy: FaultProxy;
  /** Changes when it has left and a new one comes in its place. */
  name: string;
  program: Program;
  isFrozen: boolean;
}

export interface CoordinatorLife {
  readonly startedAtMs: number;
  /** Null when it never served. */
  servedAtMs: number | null;
  peakMegabytes: number;
}

/** What a node may say at an end of its own while the links and the coordinator are what they are. */
const nodeExcuses = /COORDINATOR_UNREACHABLE|NAME_TAKEN/;
/** And a coordinator that is started while its disk is full. */
const coordinatorExcuses = /STATE_UNWRITABLE/;

/** A coordinator that was killed is back, and so are its nodes. */
const againMs = 8_000;

/** After an end that nobody has ordered. */
const restartMs = 200;

export class ChaosCluster {
  readonly processes: ClusterProcesses;
  readonly nodes: readonly ChaosNode[];
  readonly coordinatorLives: CoordinatorLife[] = [];
  nodeStarts = 0;
  isCoordinatorFrozen = false;
  isDiskFull = false;
  readonly #options: ChaosClusterOptions;
  /** Whose end was ordered, and how long it is to be away. */
  readonly #ordered = new Map<Program, { readonly awayMs: number; readonly isLeaving: boolean }>();
  readonly #keepers: Promise<void>[] = [];
  readonly #commits: ToldCommits;
  readonly #began = systemClock.monotonic();
  #programs = 0;
  #isClosing = false;

  private constructor(
    options: ChaosClusterOptions,
    processes: ClusterProcesses,
    proxies: readonly FaultProxy[],
    commits: ToldCommits,
  ) {
    this.#options = options;
    this.processes = processes;
    this.#commits = commits;
    this.nodes = proxies.map((proxy, index) => {
      const name = `node-${index}`;
      return { index, proxy, name, program: this.#startNode(name, index, proxy), isFrozen: false };
    });
    this.coordinatorLives.push({ startedAtMs: 0, servedAtMs: 0, peakMegabytes: 0 });
    this.#keepers.push(this.#keepCoordinator(), ...this.nodes.map((node) => this.#keepNode(node)));
  }

  static async start(options: ChaosClusterOptions): Promise<ChaosCluster> {
    const processes = await ClusterProcesses.start({
      dir: options.dir,
      stateDir: join(options.disk.path, 'state'),
      heartbeat: `${options.heartbeatMs}ms`,
    });
    const target = (): number => Number(processes.listen.split(':')[1]);
    const commits = new ToldCommits(processes.stateDir);
    const watch = (): ((piece: Buffer) => void) => {
      const witness = new CommitWitness((token) => commits.note(token));
      return (piece) => witness.read(piece);
    };
    const proxies = await Promise.all(Array.from({ length: options.nodes }, () => FaultProxy.open(target, watch)));
    return new ChaosCluster(options, processes, proxies, commits);
  }

  get coordinator(): Program {
    return this.processes.coordinator;
  }

  /** Since its start. */
  nowMs(): number {
    return Math.round(systemClock.monotonic() - this.#began);
  }

  /** False when it was not there, or `moment` did not come within `withinMs`. */
  async killCoordinator(moment: KillMoment, withinMs: number, times = 1): Promise<boolean> {
    if (this.coordinator.end !== null) return false;
    if (!(await this.#killOnce(moment, withinMs))) return false;
    for (let time = 1; time < times; time += 1) await this.#killOnce(moment, againMs);
    return true;
  }

  async #killOnce(moment: KillMoment, withinMs: number): Promise<boolean> {
    let isKilled = false;
    const kill = (): void => void (isKilled = this.#order(this.coordinator, 'SIGKILL', 0, false));
    if (moment === 'now') kill();
    else {
      const onAcknowledged = (call: () => void, signal: AbortSignal): void =>
        this.#commits.onAcknowledged(call, signal);
      const moments = { diskDir: this.#options.disk.path, stateDir: this.processes.stateDir, onAcknowledged };
      await atMoment(moment, moments, withinMs, kill);
    }
    return isKilled;
  }

  killNode(node: ChaosNode, awayMs: number): boolean {
    return this.#order(node.program, 'SIGKILL', awayMs, false);
  }

  /** A new one joins under another name when it is gone. */
  leaveNode(node: ChaosNode, awayMs: number): boolean {
    return this.#order(node.program, 'SIGTERM', awayMs, true);
  }

  /** Looks at the coordinator's memory; the most that it has had is kept. */
  weigh(): void {
    const path = `/proc/${this.coordinator.pid}/status`;
    const life = this.coordinatorLives.at(-1);
    if (this.coordinator.end !== null || !existsSync(path) || !life) return;
    const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(path, 'utf8'))?.[1];
    life.peakMegabytes = Math.max(life.peakMegabytes, Math.round(Number(peak ?? 0) / 1024));
  }

  /** Nothing is started any more. */
  abandon(): void {
    this.#isClosing = true;
  }

  /** In order: everyone is back, nodes leave, then the coordinator ends. Whatever does not end is a defect. */
  async close(): Promise<void> {
    await this.#isWhole();
    this.weigh();
    this.#isClosing = true;
    await this.#end(
      this.nodes.map(({ program }) => program),
      60_000,
    );
    await this.#end([this.coordinator], 30_000);
    await Promise.all(this.#keepers);
    await this.#checkCommits();
    await Promise.all(this.nodes.map(({ proxy }) => proxy.close()));
  }

  /** A node that is back has cleared away what its killed predecessor has left. */
  async #isWhole(): Promise<void> {
    const isReady = async (): Promise<boolean> => {
      const known = await this.processes.client.nodes().catch(() => []);
      return this.nodes.every(({ name, program }) =>
        known.some((node) => node.name === name && node.pid === program.pid && node.state === 'ready'),
      );
    };
    await until(isReady, 'all nodes when all faults are over', 60_000).catch((error: unknown) => {
      this.#options.defects.add(String(error));
    });
  }

  async #end(programs: readonly Program[], withinMs: number): Promise<void> {
    for (const program of programs) program.signal('SIGTERM');
    for (const program of programs) {
      await program.endsWithin(withinMs).catch((error: unknown) => {
        this.#options.defects.add(`does not end after SIGTERM: ${String(error)}`);
        return program.kill();
      });
    }
  }

  #order(program: Program, signal: NodeJS.Signals, awayMs: number, isLeaving: boolean): boolean {
    if (program.end !== null || (isLeaving && this.#ordered.has(program))) return false;
    this.#ordered.set(program, { awayMs, isLeaving });
    program.signal(signal);
    return true;
  }

  async #keepCoordinator(): Promise<void> {
    for (;;) {
      const program = this.coordinator;
      await program.ended;
      this.#keepLog('coordinator', program);
      if (this.#isClosing) return;
      await this.#checkCommits();
      if (!this.#ordered.has(program)) {
        const hasExcuse = this.isDiskFull && coordinatorExcuses.test(program.stderr);
        this.#unordered('the coordinator', program, hasExcuse);
        await delay(restartMs, new AbortController().signal);
      }
      if (this.#isClosing) return;
      const life: CoordinatorLife = { startedAtMs: this.nowMs(), servedAtMs: null, peakMegabytes: 0 };
      this.coordinatorLives.push(life);
      await this.processes.restartCoordinator().then(
        () => void (life.servedAtMs = this.nowMs()),
        () => undefined,
      );
    }
  }

  async #keepNode(node: ChaosNode): Promise<void> {
    for (let generation = 1; ;) {
      const { program } = node;
      await program.ended;
      this.#keepLog(node.name, program);
      if (this.#isClosing) return;
      const order = this.#ordered.get(program);
      if (!order) this.#unordered(node.name, program, nodeExcuses.test(program.stderr));
      await delay(order?.awayMs ?? restartMs, new AbortController().signal);
      if (this.#isClosing) return;
      if (order?.isLeaving) node.name = `node-${node.index}-${(generation += 1)}`;
      node.program = this.#startNode(node.name, node.index, node.proxy);
    }
  }

  #startNode(name: string, index: number, proxy: FaultProxy): Program {
    this.nodeStarts += 1;
    return this.processes.worker(name, { slots: index === 0 ? 2 : 1, coordinator: proxy.address });
  }

  #unordered(who: string, program: Program, hasExcuse: boolean): void {
    const what = `${who} ended by itself with ${program.end?.code ?? program.end?.signal}: ${program.stderr.slice(-600).trim()}`;
    if (hasExcuse) this.#options.note(what.replaceAll('\n', ' | '));
    else this.#options.defects.add(what);
  }

  /** Nobody writes the journal meanwhile. */
  async #checkCommits(): Promise<void> {
    const unknown = await this.#commits.unknown();
    if (unknown.length === 0) return;
    this.#options.defects.add(
      `a worker node was told that ${unknown.join(', ')} is committed, and the journal has no record of it`,
    );
  }

  #keepLog(who: string, program: Program): void {
    this.#programs += 1;
    const name = `${String(this.#programs).padStart(4, '0')}-${who}.log`;
    const fate = program.end?.code ?? program.end?.signal;
    writeFileSync(
      join(this.#options.logDir, name),
      `${program.stdout}\n${program.stderr}\nended with ${fate} at ${this.nowMs()} ms\n`,
    );
  }
}
