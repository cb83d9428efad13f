/**
 * Jobs that have something to lease, in the order in which they are asked for it: a higher priority first; within one, the owner
 * first who holds the fewest leases, and of owners who hold as many, the one whose job came first; within an owner as they came.
 * Taking the next one costs owners, never jobs: those that the nodes which want work cannot serve are passed over together.
 */
import type { ForNodes } from './computes.ts';
import type { Job } from './ledger.ts';

/** Jobs for the same worker nodes are served together; null: those for all. */
type Lane = string | null;

/** Equal for jobs that are for the same worker nodes. */
export function laneOf({ compute, require }: ForNodes): Lane {
  if (!require) return compute;
  const labels = Object.entries(require).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([compute, labels]);
}

interface Owner {
  readonly name: string;
  /** Each in order of submission, none empty. */
  readonly lanes: Map<Lane, Job[]>;
}

interface Level {
  readonly priority: number;
  readonly owners: Map<string, Owner>;
}

/** Who holds how many leases, and whose jobs any node that wants work may be granted. */
export interface Turn {
  readonly held: (owner: string) => number;
  readonly isServed: (nodes: ForNodes) => boolean;
}

export class JobQueue {
  /** The highest priority first, none empty. */
  readonly #levels: Level[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Highest priority of a job in it; −Infinity when it is empty. */
  get priorityMax(): number {
    return this.#levels[0]?.priority ?? Number.NEGATIVE_INFINITY;
  }

  has(job: Job): boolean {
    const lane = this.#lane(job);
    return lane !== undefined && lane[placeOf(lane, job)] === job;
  }

  /** Nothing happens when it is there. */
  add(job: Job): void {
    const { owner: name, priority } = job.origin;
    const key = laneOf(job.origin);
    const level = this.#levelOf(priority);
    const owner = level.owners.get(name) ?? { name, lanes: new Map<Lane, Job[]>() };
    level.owners.set(name, owner);
    const lane = owner.lanes.get(key) ?? [];
    owner.lanes.set(key, lane);
    const place = placeOf(lane, job);
    if (lane[place] === job) return;
    lane.splice(place, 0, job);
    this.#size += 1;
  }

  /** Nothing happens when it is not there. */
  delete(job: Job): void {
    const { owner: name, priority } = job.origin;
    const lane = this.#lane(job);
    const place = lane ? placeOf(lane, job) : 0;
    if (lane?.[place] !== job) return;
    lane.splice(place, 1);
    this.#size -= 1;
    if (lane.length > 0) return;
    const index = this.#levels.findIndex((level) => level.priority === priority);
    const { owners } = this.#levels[index] as Level;
    const { lanes } = owners.get(name) as Owner;
    lanes.delete(laneOf(job.origin));
    if (lanes.size === 0) owners.delete(name);
    if (owners.size === 0) this.#levels.splice(index, 1);
  }

  /** Nothing must be added or deleted while it is gone through. `above`: only jobs of a higher priority. */
  *inTurn(turn: Turn, above: number = Number.NEGATIVE_INFINITY): Generator<Job, void, void> {
    for (const { priority, owners } of this.#levels) {
      if (priority <= above) return;
      for (const { lanes } of ownersInTurn(owners, turn)) yield* bySubmission(lanes, turn);
    }
  }

  #lane({ origin }: Job): Job[] | undefined {
    const level = this.#levels.find((one) => one.priority === origin.priority);
    return level?.owners.get(origin.owner)?.lanes.get(laneOf(origin));
  }

  #levelOf(priority: number): Level {
    const place = this.#levels.findIndex((level) => level.priority <= priority);
    const found = this.#levels[place];
    if (found?.priority === priority) return found;
    const level: Level = { priority, owners: new Map() };
    this.#levels.splice(place < 0 ? this.#levels.length : place, 0, level);
    return level;
  }
}

/** By bisection: how many of a lane came before the job. */
function placeOf(lane: readonly Job[], { order }: Job): number {
  let [low, high] = [0, lane.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((lane[middle] as Job).order < order) low = middle + 1;
    else high = middle;
  }
  return low;
}

interface Waiting {
  readonly owner: Owner;
  readonly held: number;
  /** Of the owner's first job that is served; Infinity: none is. */
  readonly order: number;
}

/** Mostly the first one has something; only when it does not, the others are sorted. */
function* ownersInTurn(owners: Level['owners'], turn: Turn): Generator<Owner, void, void> {
  if (owners.size === 1) return yield* owners.values();
  const first = ownerFirst(owners, turn);
  if (!first) return;
  yield first;
  const waiting: Waiting[] = [];
  for (const owner of owners.values()) {
    const order = owner === first ? Number.POSITIVE_INFINITY : firstOrder(owner, turn);
    if (order < Number.POSITIVE_INFINITY) waiting.push({ owner, held: turn.held(owner.name), order });
  }
  for (const { owner } of waiting.sort((a, b) => a.held - b.held || a.order - b.order)) yield owner;
}

/** The one with the fewest leases, and the earliest job among those. */
function ownerFirst(owners: Level['owners'], turn: Turn): Owner | undefined {
  let best: Waiting | undefined;
  for (const owner of owners.values()) {
    const held = turn.held(owner.name);
    if (best && held > best.held) continue;
    const order = firstOrder(owner, turn);
    if (order === Number.POSITIVE_INFINITY || (best && held === best.held && order > best.order)) continue;
    best = { owner, held, order };
  }
  return best?.owner;
}

function firstOrder({ lanes }: Owner, { isServed }: Turn): number {
  let order = Number.POSITIVE_INFINITY;
  for (const [first] of lanes.values()) {
    if (first && first.order < order && isServed(first.origin)) order = first.order;
  }
  return order;
}

function* bySubmission(lanes: Owner['lanes'], { isServed }: Turn): Generator<Job, void, void> {
  if (lanes.size === 1) {
    for (const lane of lanes.values()) if (lane[0] && isServed(lane[0].origin)) yield* lane;
    return;
  }
  const served = [...lanes.values()]
    .filter(([first]) => first && isServed(first.origin))
    .map((lane) => ({ lane, place: 0 }));
  for (;;) {
    let next: (typeof served)[number] | undefined;
    for (const one of served) {
      const job = one.lane[one.place];
      if (job && (next === undefined || job.order < (next.lane[next.place] as Job).order)) next = one;
    }
    const job = next?.lane[next.place];
    if (!next || !job) return;
    yield job;
    next.place += 1;
  }
}
