/**
 * The network between worker nodes and the coordinator: latencies by chance, faults by order. What it does to a connection
 * is in {@link Connection}; here are the ways between the machines, and the machines at their ends.
 */
import type { BatchError } from '../../common/core/batch-error.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { Connection, type ConnectionKind, type Direction, type NodeEnd, type Route, type Side } from './connection.ts';
import type { CoordinatorPort } from './coordinator-port.ts';
import { Random, type World } from './world.ts';

export interface NetworkOptions {
  readonly world: World;
  readonly coordinator: CoordinatorPort;
  /** Those beside it, at the addresses from 1 on. */
  readonly others?: readonly CoordinatorPort[];
}

/** Times are the world's. */
interface Way {
  readonly blockedUntil: Record<Direction, number>;
  slowUntil: number;
  slowMs: number;
  refusedUntil: number;
  isNodeHostDown: boolean;
}

export class SimNetwork {
  /** What has happened, by kind. */
  readonly counts: Map<string, number> = new Map();
  readonly #world: World;
  /** Of its own, so that what the cluster does hangs on no message that comes or does not. */
  readonly #random: Random;
  readonly #ways = new Map<NodeName, Way>();
  readonly #connections = new Set<Connection>();
  /** To each address. */
  readonly #routes: readonly Route[];
  /** Addresses of machines that are down. */
  readonly #hostsDown = new Set<number>();

  constructor({ world, coordinator, others = [] }: NetworkOptions) {
    this.#world = world;
    this.#random = new Random(world.seed ^ 0x6e65_7477);
    this.#routes = [coordinator, ...others].map((one, address) => this.#routeTo(one, address));
  }

  #routeTo(coordinator: CoordinatorPort, address: number): Route {
    const world = this.#world;
    const isHostDown = (): boolean => this.#hostsDown.has(address);
    return {
      world,
      coordinator,
      get isCoordinatorHostDown(): boolean {
        return isHostDown();
      },
      isNodeHostDown: (node) => this.#way(node).isNodeHostDown,
      isRefused: (node) => this.#way(node).refusedUntil > world.now,
      latencyMs: (node) => this.#latencyMs(node),
      blockedUntil: (node, direction) => this.#way(node).blockedUntil[direction],
      between: (from, to) => this.#random.between(from, to),
      count: (what) => this.#count(what),
    };
  }

  /** A new connection of `node`; `onLost` hears once that it could not be made, or has ended without the node's doing. */
  connect(node: NodeEnd, kind: ConnectionKind, onLost: (error: BatchError) => void): Connection {
    for (const one of this.#connections) if (one.isOver) this.#connections.delete(one);
    const connection = new Connection(
      this.#routes[(node.address ?? 0) % this.#routes.length] as Route,
      node,
      kind,
      onLost,
    );
    this.#connections.add(connection);
    return connection;
  }

  /** The coordinator's process has been killed, or its machine has failed. It is back with the next process. */
  coordinatorDied(isHostDown: boolean, address = 0): void {
    if (isHostDown) this.#hostsDown.add(address);
    else this.#hostsDown.delete(address);
    const route = this.#routes[address];
    for (const connection of this.#connections) if (connection.route === route) connection.coordinatorDied(isHostDown);
  }

  nodeDied(node: NodeName, isHostDown: boolean): void {
    this.#way(node).isNodeHostDown = isHostDown;
    for (const connection of this.#of(node)) connection.nodeDied(isHostDown);
  }

  nodeStarted(node: NodeName): void {
    this.#way(node).isNodeHostDown = false;
  }

  /** The connections of a node end; both ends learn of it, each in its own time. */
  cut(node: NodeName, kind: ConnectionKind | 'all' = 'all'): void {
    const connections = this.#of(node).filter((one) => kind === 'all' || one.kind === kind);
    this.#world.say(`${connections.length} connections of ${node} are cut`);
    for (const connection of connections) {
      this.#count('cut');
      connection.cut();
    }
  }

  /** Nothing gets through; it comes later unless somebody has lost patience by then. */
  partition(node: NodeName, direction: 'both' | Direction, ms: number): void {
    this.#world.say(`${node} is cut off for ${ms} ms, ${direction}`);
    this.#count(`partition ${direction}`);
    const { blockedUntil } = this.#way(node);
    const directions: readonly Direction[] = direction === 'both' ? ['to-coordinator', 'to-node'] : [direction];
    for (const one of directions) blockedUntil[one] = Math.max(blockedUntil[one], this.#world.now + ms);
  }

  /** The connections of a node end at `side`; the other one learns of it when it writes, or when its keepalive runs out. */
  halfOpen(node: NodeName, side: Side): void {
    this.#world.say(`the connections of ${node} end at the ${side} alone`);
    for (const connection of this.#of(node)) {
      const isSilent = this.#random.chance(0.5);
      if (connection.halfOpen(side, isSilent)) this.#count(`half open, ended at the ${side}`);
    }
  }

  /** Every message takes `extraMs` more for `ms`. */
  slow(node: NodeName, ms: number, extraMs: number): void {
    this.#world.say(`the way of ${node} is slow for ${ms} ms, by ${extraMs} ms`);
    this.#count('slow');
    const way = this.#way(node);
    way.slowUntil = this.#world.now + ms;
    way.slowMs = extraMs;
  }

  /** New connections fail for `ms`. */
  refuse(node: NodeName, ms: number): void {
    this.#world.say(`${node} is refused for ${ms} ms`);
    this.#way(node).refusedUntil = this.#world.now + ms;
  }

  #of(node: NodeName): readonly Connection[] {
    return [...this.#connections].filter((connection) => connection.node === node && !connection.isOver);
  }

  #way(node: NodeName): Way {
    let way = this.#ways.get(node);
    if (!way) {
      const blockedUntil = { 'to-coordinator': 0, 'to-node': 0 };
      way = { blockedUntil, slowUntil: 0, slowMs: 0, refusedUntil: 0, isNodeHostDown: false };
      this.#ways.set(node, way);
    }
    return way;
  }

  /** Mostly that of a cluster; now and then packets are lost and sent again. */
  #latencyMs(node: NodeName): number {
    const { slowUntil, slowMs } = this.#way(node);
    const extraMs = slowUntil > this.#world.now ? slowMs : 0;
    return extraMs + (this.#random.chance(0.02) ? this.#random.between(50, 3_000) : this.#random.between(0, 8));
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }
}
