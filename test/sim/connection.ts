/**
 * One TCP connection between a worker node and the coordinator, with the one call on it. Each direction keeps its order and
 * doubles nothing; either end learns of the connection's end in its own time, or not before its keepalive runs out.
 */
import { BatchError } from '../../common/core/batch-error.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { ClusterBackend } from '../../coordinator/service/cluster-server.ts';
import type { CoordinatorPort } from './coordinator-port.ts';
import type { World } from './world.ts';

export type Direction = 'to-coordinator' | 'to-node';
export type Side = 'node' | 'coordinator';
/** Heartbeats and reports, or uploads. */
export type ConnectionKind = 'control' | 'bulk';

/** The worker node's process as the network sees it. */
export interface NodeEnd {
  readonly name: NodeName;
  /** From when on it reads what has come for it, in the world's time. */
  readonly awakeAt: number;
  /** Of the coordinator that it tries next, in its list of them; absent: there is one. */
  readonly address?: number;
}

/** The way between a node and the coordinator, and the machines at its ends. */
export interface Route {
  readonly world: World;
  readonly coordinator: CoordinatorPort;
  readonly isCoordinatorHostDown: boolean;
  isNodeHostDown(node: NodeName): boolean;
  isRefused(node: NodeName): boolean;
  /** Of one message. */
  latencyMs(node: NodeName): number;
  /** Until when nothing gets through; in the past where everything does. */
  blockedUntil(node: NodeName, direction: Direction): number;
  between(from: number, to: number): number;
  count(what: string): void;
}

/** What is on its way in one direction. */
interface Lane {
  queue: { readonly at: number; readonly arrive: () => void }[];
  /** When the last of it arrives: none overtakes another. */
  lastAt: number;
  isPumpDue: boolean;
  /** Lost packets are sent again some time after the way is free. */
  stuckUntil: number;
  /** The sender was asked for a pause. */
  isFull: boolean;
  onDrained: () => void;
}

/** Messages that wait in one direction before its sender is asked for a pause. */
const waitingMax = 16;
/** Between two tries to reach a machine that does not answer. */
const retryMs = 1_000;

function newLane(): Lane {
  return { queue: [], lastAt: 0, isPumpDue: false, stuckUntil: 0, isFull: false, onDrained: () => undefined };
}

function unreachable(why: string): BatchError {
  return new BatchError('COORDINATOR_UNREACHABLE', why);
}

export class Connection {
  readonly kind: ConnectionKind;
  readonly #node: NodeEnd;
  readonly #route: Route;
  readonly #onNodeLost: (error: BatchError) => void;
  #onCoordinatorLost: () => void = () => undefined;
  readonly #lanes = { 'to-coordinator': newLane(), 'to-node': newLane() };
  /** A process of the coordinator has taken it. */
  #isTaken = false;
  readonly #isOpen = { node: true, coordinator: true };
  /** Nothing gets through any more; `silent`: and whoever writes is not told either. */
  #severed: 'no' | 'told' | 'silent' = 'no';

  constructor(route: Route, node: NodeEnd, kind: ConnectionKind, onNodeLost: (error: BatchError) => void) {
    this.kind = kind;
    this.#route = route;
    this.#node = node;
    this.#onNodeLost = onNodeLost;
    this.#later(limits.keepaliveMs, () => this.#keepAlive());
  }

  get route(): Route {
    return this.#route;
  }

  get node(): NodeName {
    return this.#node.name;
  }

  /** Nobody has an end of it any more. */
  get isOver(): boolean {
    const isHeld = this.#isTaken ? this.#isOpen.coordinator : this.#lanes['to-coordinator'].queue.length > 0;
    return !this.#isOpen.node && !isHeld;
  }

  isOpenAt(side: Side): boolean {
    return this.#isOpen[side];
  }

  /** What the coordinator does when the connection has ended. */
  onCoordinatorLost(what: () => void): void {
    this.#onCoordinatorLost = what;
  }

  /** What a sender that was asked for a pause does when it is over. */
  onDrained(direction: Direction, what: () => void): void {
    this.#lanes[direction].onDrained = what;
  }

  /** False when the node should pause. */
  toCoordinator(what: (backend: ClusterBackend) => void): boolean {
    if (!this.#isOpen.node) return true;
    this.#route.count('messages');
    return this.#push('to-coordinator', () => this.#handToCoordinator(what));
  }

  /** False when the coordinator should pause. */
  toNode(what: () => void): boolean {
    if (!this.#isOpen.coordinator) return true;
    this.#route.count('messages');
    return this.#push('to-node', () => this.#handToNode(what));
  }

  /** The coordinator refuses the call, or ends it; the node hears it after all that was sent before. */
  endByCoordinator(error: BatchError): void {
    this.toNode(() => this.#loseNode(error));
  }

  /** The node has said all; the coordinator hears that it has, and ends the call from its side. */
  endByNode(): void {
    if (this.#isOpen.node) this.#sayGoodbye();
  }

  /** The node closes its end; what it has sent before still arrives. */
  closeByNode(): void {
    if (!this.#isOpen.node) return;
    this.#isOpen.node = false;
    // A machine that was never reached gets nothing of a socket that is closed.
    if (!this.#isTaken && this.#isBlocked('to-coordinator')) this.#lanes['to-coordinator'].queue = [];
    else this.#sayGoodbye();
  }

  /** The node's process is gone, or its machine. */
  nodeDied(isHostDown: boolean): void {
    if (!this.#isOpen.node) return;
    this.#isOpen.node = false;
    const isUnsent = isHostDown || !this.#isTaken || this.#route.between(0, 1) === 0;
    if (isUnsent) this.#lanes['to-coordinator'].queue = [];
    if (!isHostDown) this.#later(this.#route.between(0, 2_000), () => this.#loseCoordinator());
  }

  coordinatorDied(isHostDown: boolean): void {
    if (!this.#isOpen.coordinator || !this.#isTaken) return;
    this.#isOpen.coordinator = false;
    this.#lanes['to-coordinator'].queue = [];
    const isUnsent = isHostDown || this.#route.between(0, 1) === 0;
    if (isUnsent) this.#lanes['to-node'].queue = [];
    if (isHostDown) return;
    this.#later(this.#route.between(0, 2_000), () => this.#loseNode(unreachable('the connection was reset')));
  }

  /** Something on the way drops the connection; both ends learn of it, each in its own time. */
  cut(): void {
    this.#severed = 'silent';
    this.#later(this.#route.between(0, 2_000), () => this.#loseNode(unreachable('the connection was cut')));
    this.#later(this.#route.between(0, 2_000), () => this.#loseCoordinator());
  }

  /** It ends at `side`, and the other end is not told. `isSilent`: not even when it writes. False where there is none. */
  halfOpen(side: Side, isSilent: boolean): boolean {
    if (!this.#isOpen.node || !this.#isOpen.coordinator || !this.#isTaken) return false;
    this.#severed = isSilent ? 'silent' : 'told';
    if (side === 'node') this.#loseNode(unreachable('the connection has ended here'));
    else this.#loseCoordinator();
    return true;
  }

  #push(direction: Direction, arrive: () => void): boolean {
    const lane = this.#lanes[direction];
    lane.lastAt = Math.max(lane.lastAt, this.#route.world.now + this.#route.latencyMs(this.node));
    lane.queue.push({ at: lane.lastAt, arrive });
    if (!lane.isPumpDue) this.#pumpAt(direction, lane.lastAt);
    lane.isFull ||= lane.queue.length > waitingMax;
    return !lane.isFull;
  }

  #pumpAt(direction: Direction, at: number): void {
    this.#lanes[direction].isPumpDue = true;
    this.#route.world.at(at, () => {
      this.#lanes[direction].isPumpDue = false;
      this.#pump(direction);
    });
  }

  #isBlocked(direction: Direction): boolean {
    return this.#route.blockedUntil(this.node, direction) > this.#route.world.now;
  }

  /** Hands over, in order, what has arrived. */
  #pump(direction: Direction): void {
    const { world } = this.#route;
    const lane = this.#lanes[direction];
    for (let head = lane.queue[0]; head; head = lane.queue[0]) {
      if (this.#isBlocked(direction)) {
        lane.stuckUntil = this.#route.blockedUntil(this.node, direction) + this.#route.between(0, 2_000);
        this.#route.count('held up by a partition');
      }
      const awakeAt = direction === 'to-node' && this.#isOpen.node ? this.#node.awakeAt : 0;
      const at = Math.max(head.at, lane.stuckUntil, awakeAt);
      if (at > world.now) return this.#pumpAt(direction, at);
      if (direction === 'to-coordinator' && !this.#isTaken && !this.#take()) return;
      lane.queue.shift();
      head.arrive();
    }
    if (!lane.isFull) return;
    lane.isFull = false;
    if (direction === 'to-coordinator') this.#whenAwake(() => this.#isOpen.node && lane.onDrained());
    else this.#atCoordinator(() => lane.onDrained());
  }

  /** The coordinator's machine takes the connection, as its first message comes, unless nobody is there. */
  #take(): boolean {
    const { coordinator, isCoordinatorHostDown } = this.#route;
    const lane = this.#lanes['to-coordinator'];
    if (!this.#isOpen.coordinator) lane.queue = [];
    if (lane.queue.length === 0) return false;
    if (!coordinator.isUp && isCoordinatorHostDown) {
      // Nothing answers: whoever waits for it gives up by himself.
      if (this.#isOpen.node) this.#pumpAt('to-coordinator', this.#route.world.now + retryMs);
      else lane.queue = [];
      return false;
    }
    this.#isTaken = coordinator.isUp && !this.#route.isRefused(this.node);
    if (this.#isTaken) return true;
    this.#route.count('refused');
    lane.queue = [];
    this.#isOpen.coordinator = false;
    this.#later(this.#route.latencyMs(this.node), () => this.#loseNode(unreachable('the connection was refused')));
    return false;
  }

  #handToCoordinator(what: (backend: ClusterBackend) => void): void {
    if (this.#severed !== 'no' || !this.#isOpen.coordinator) this.#answerReset('node');
    else this.#atCoordinator(what, this.node);
  }

  #handToNode(what: () => void): void {
    if (this.#severed !== 'no' || !this.#isOpen.node) this.#answerReset('coordinator');
    else what();
  }

  /** `from`: the node that says something; null for what only the network tells. */
  #atCoordinator(what: (backend: ClusterBackend) => void, from: NodeName | null = null): void {
    this.#route.coordinator.arrive((backend) => {
      if (!this.#isOpen.coordinator) return;
      this.#route.world.touch();
      what(backend);
    }, from);
  }

  /** A machine that knows nothing of the connection says so to whoever writes. */
  #answerReset(writer: Side): void {
    const { coordinator, isCoordinatorHostDown } = this.#route;
    const isDown =
      writer === 'node' ? isCoordinatorHostDown && !coordinator.isUp : this.#route.isNodeHostDown(this.node);
    if (this.#severed === 'silent' || isDown || !this.#isOpen[writer]) return;
    this.#route.count('reset');
    this.#later(this.#route.latencyMs(this.node), () => {
      if (writer === 'node') this.#loseNode(unreachable('the connection was reset'));
      else this.#loseCoordinator();
    });
  }

  #loseNode(error: BatchError): void {
    this.#whenAwake(() => {
      if (!this.#isOpen.node) return;
      this.#isOpen.node = false;
      this.#sayGoodbye();
      this.#onNodeLost(error);
    });
  }

  /** The end of the stream from the node, behind all that it has sent. */
  #sayGoodbye(): void {
    this.#push('to-coordinator', () => this.#severed === 'no' && this.#loseCoordinator());
  }

  #loseCoordinator(): void {
    if (this.#isTaken) this.#atCoordinator(() => this.#endAtCoordinator());
  }

  #endAtCoordinator(): void {
    this.#isOpen.coordinator = false;
    this.#onCoordinatorLost();
    if (!this.#isOpen.node) return;
    const lose = (): void => this.#loseNode(unreachable('the coordinator has closed the connection'));
    this.#push('to-node', () => this.#severed === 'no' && lose());
  }

  #whenAwake(what: () => void): void {
    if (this.#node.awakeAt <= this.#route.world.now) what();
    else this.#route.world.at(this.#node.awakeAt, () => this.#whenAwake(what));
  }

  #later(delayMs: number, what: () => void): void {
    this.#route.world.after(delayMs, what);
  }

  #keepAlive(): void {
    if (this.isOver) return;
    this.#later(limits.keepaliveMs, () => this.#keepAlive());
    const isAwake = this.#node.awakeAt <= this.#route.world.now;
    if (this.#isOpen.node && isAwake) this.#pingFromNode();
    if (!this.#isOpen.coordinator || !this.#isTaken) return;
    this.#atCoordinator(() => this.#pingFromCoordinator());
  }

  /** Where nothing is in the way, the few milliseconds that a ping takes are of no interest. */
  #isClear(): boolean {
    const { queue } = this.#lanes['to-coordinator'];
    const isQuiet = queue.length === 0 && this.#lanes['to-node'].queue.length === 0;
    const isFree = !this.#isBlocked('to-coordinator') && !this.#isBlocked('to-node') && this.#severed === 'no';
    return isQuiet && isFree && this.#isTaken && this.#isOpen.node && this.#isOpen.coordinator;
  }

  #pingFromNode(): void {
    let isAnswered = false;
    const answered = (): void => void (isAnswered = true);
    if (this.#isClear()) this.#route.coordinator.arrive(answered, null);
    else this.toCoordinator(() => this.toNode(answered));
    if (isAnswered) return;
    this.#later(limits.keepaliveTimeoutMs, () => {
      this.#whenAwake(() => {
        if (isAnswered || !this.#isOpen.node) return;
        this.#route.count('given up by a node for silence');
        this.#loseNode(unreachable('the coordinator does not answer pings'));
      });
    });
  }

  #pingFromCoordinator(): void {
    if (this.#isClear() && this.#node.awakeAt <= this.#route.world.now) return;
    let isAnswered = false;
    this.toNode(() => this.toCoordinator(() => (isAnswered = true)));
    this.#later(limits.keepaliveTimeoutMs, () => {
      this.#atCoordinator(() => {
        if (isAnswered) return;
        this.#route.count('given up by the coordinator for silence');
        this.#endAtCoordinator();
      });
    });
  }
}
