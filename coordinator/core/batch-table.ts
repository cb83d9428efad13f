/**
 * The mini-batches of one job as typed columns: about 60 bytes each, so that millions fit.
 *
 *   pending ──► leased ──► placed ──► committed
 *      ▲          │ failed    (bytes have a place, not yet durable)
 *      └─ waiting ┤
 *                 ├──► split (its children stand in its place in the order)
 *                 └──► quarantined
 *
 * Rows are numbered as they are made and never renumbered; the input order is the linked list through `next`, in which
 * a split row stays reachable as the way to its first child.
 */
import { invariant } from '../../common/core/invariant.ts';
import type { FileRange } from '../../common/core/input.ts';
import type { Token } from '../../common/core/token.ts';

export const batchStates = ['pending', 'waiting', 'leased', 'placed', 'committed', 'split', 'quarantined'] as const;
export type BatchState = (typeof batchStates)[number];

const stateNumber = Object.fromEntries(batchStates.map((state, index) => [state, index])) as Record<BatchState, number>;

/** Where a committed result's bytes lie. Segment 0 is the output itself; −1: no bytes. */
export interface Place {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
  readonly crc32: number;
}

export const outputSegment = 0;
export const noPlace: Place = { segment: -1, offset: 0, length: 0, crc32: 0 };
/** End of the order. */
export const noBatch = -1;

/** One entry for each mini-batch. What is added here is in every snapshot of the journal by itself. */
interface Columns {
  first: Uint32Array<ArrayBuffer>;
  files: Uint32Array<ArrayBuffer>;
  next: Int32Array<ArrayBuffer>;
  state: Uint8Array<ArrayBuffer>;
  failures: Uint8Array<ArrayBuffer>;
  crashes: Uint8Array<ArrayBuffer>;
  lost: Uint8Array<ArrayBuffer>;
  memory: Uint8Array<ArrayBuffer>;
  isPart: Uint8Array<ArrayBuffer>;
  segment: Int32Array<ArrayBuffer>;
  offset: Float64Array<ArrayBuffer>;
  length: Float64Array<ArrayBuffer>;
  crc32: Uint32Array<ArrayBuffer>;
  rows: Uint32Array<ArrayBuffer>;
  schema: Int16Array<ArrayBuffer>;
  epoch: Uint32Array<ArrayBuffer>;
  counter: Uint32Array<ArrayBuffer>;
  node: Uint16Array<ArrayBuffer>;
}

export type BatchColumns = Readonly<Columns>;

export function newColumns(capacity: number): Columns {
  return {
    first: new Uint32Array(capacity),
    files: new Uint32Array(capacity),
    next: new Int32Array(capacity),
    state: new Uint8Array(capacity),
    failures: new Uint8Array(capacity),
    crashes: new Uint8Array(capacity),
    lost: new Uint8Array(capacity),
    memory: new Uint8Array(capacity),
    isPart: new Uint8Array(capacity),
    segment: new Int32Array(capacity),
    offset: new Float64Array(capacity),
    length: new Float64Array(capacity),
    crc32: new Uint32Array(capacity),
    rows: new Uint32Array(capacity),
    schema: new Int16Array(capacity),
    epoch: new Uint32Array(capacity),
    counter: new Uint32Array(capacity),
    node: new Uint16Array(capacity),
  };
}

/** Copies each column of `from` to the start of the same one of `to`. */
function copyColumns(from: BatchColumns, to: Columns, count: number): Columns {
  for (const name of Object.keys(to) as (keyof Columns)[]) to[name].set(from[name].subarray(0, count));
  return to;
}

/** A table as it stands in a snapshot: `columns` has exactly one entry for each mini-batch. */
export interface TableImage {
  readonly head: number;
  readonly tail: number;
  readonly columns: BatchColumns;
}

export class BatchTable {
  count = 0;
  head: number = noBatch;
  #tail: number = noBatch;
  #capacity = 64;
  #columns = newColumns(64);

  /** Takes the columns over; `image` must not be used any more. */
  static restore(image: TableImage): BatchTable {
    const table = new BatchTable();
    const count = image.columns.first.length;
    table.count = count;
    table.head = image.head;
    table.#tail = image.tail;
    table.#capacity = count;
    table.#columns = { ...image.columns };
    if (count < 64) table.#grow(64);
    return table;
  }

  /** A copy of what a restart knows: what is leased, placed or waits now is pending then. */
  image(): TableImage {
    const columns = copyColumns(this.#columns, newColumns(this.count), this.count);
    const { state } = columns;
    const pending = stateNumber.pending;
    for (let batch = 0; batch < state.length; batch += 1) {
      const one = state[batch];
      if (one === stateNumber.leased || one === stateNumber.placed || one === stateNumber.waiting) {
        state[batch] = pending;
      }
    }
    return { head: this.head, tail: this.#tail, columns };
  }

  /** Memory of all columns. */
  get bytes(): number {
    return Object.values(this.#columns).reduce((sum: number, column: Uint8Array) => sum + column.byteLength, 0);
  }

  /** Adds a range at the end of the order; returns its number. */
  append(range: FileRange): number {
    const batch = this.#add(range);
    if (this.#tail === noBatch) this.head = batch;
    else this.#columns.next[this.#tail] = batch;
    this.#tail = batch;
    return batch;
  }

  /** Puts children of the given sizes in the place of `parent`, which inherit its counters; returns the first child. */
  split(parent: number, sizes: readonly number[]): readonly number[] {
    invariant(
      sizes.reduce((sum, size) => sum + size, 0) === this.files(parent),
      `the parts of mini-batch ${parent} must add up to its files`,
    );
    const successor = this.next(parent);
    let first = this.first(parent);
    const children: number[] = [];
    for (const count of sizes) {
      const child = this.#add({ first, count });
      this.#columns.failures[child] = this.failures(parent);
      // The node has been given the benefit of the doubt once: a part that crashes is split at once.
      this.#columns.crashes[child] = this.crashes(parent);
      this.#columns.memory[child] = this.memoryFailures(parent);
      this.#columns.isPart[child] = 1;
      const previous = children.at(-1);
      if (previous !== undefined) this.#columns.next[previous] = child;
      children.push(child);
      first += count;
    }
    const last = children.at(-1) as number;
    this.#columns.next[last] = successor;
    if (this.#tail === parent) this.#tail = last;
    this.#columns.next[parent] = children[0] as number;
    this.setState(parent, 'split');
    return children;
  }

  /**
   * Puts mini-batches of the given sizes in the place of `count` neighbours from `from` on, none of which is committed.
   * The old ones stay as split rows that lead to the first new one.
   */
  recut(
    from: number,
    count: number,
    sizes: readonly number[],
  ): { readonly old: ReadonlySet<number>; readonly cut: readonly number[] } {
    const old = new Set<number>();
    let last = from;
    for (let batch = from; old.size < count; batch = this.next(batch)) {
      invariant(batch !== noBatch, `${count} mini-batches from ${from} on are to be cut anew, and there are fewer`);
      if (this.state(batch) === 'split') continue;
      old.add(batch);
      last = batch;
    }
    let files = 0;
    for (const batch of old) files += this.files(batch);
    invariant(sizes.reduce((sum, size) => sum + size, 0) === files, `the new sizes must add up to ${files} files`);
    const successor = this.next(last);
    const cut: number[] = [];
    let first = this.first(from);
    for (const size of sizes) {
      const batch = this.#add({ first, count: size });
      const previous = cut.at(-1);
      if (previous !== undefined) this.#columns.next[previous] = batch;
      cut.push(batch);
      first += size;
    }
    const end = cut.at(-1) as number;
    this.#columns.next[end] = successor;
    if (this.#tail === last) this.#tail = end;
    for (const batch of old) {
      this.#columns.next[batch] = cut[0] as number;
      this.setState(batch, 'split');
    }
    return { old, cut };
  }

  /** Pending, as if it had never been tried. */
  renew(batch: number): void {
    this.#columns.failures[batch] = 0;
    this.#columns.crashes[batch] = 0;
    this.#columns.lost[batch] = 0;
    this.#columns.memory[batch] = 0;
    this.setPlace(batch, noPlace);
    this.setState(batch, 'pending');
  }

  first(batch: number): number {
    return this.#columns.first[batch] as number;
  }
  files(batch: number): number {
    return this.#columns.files[batch] as number;
  }
  /** The next number in the input order, which may be a split row; {@link noBatch} after the last. */
  next(batch: number): number {
    return this.#columns.next[batch] as number;
  }
  state(batch: number): BatchState {
    return batchStates[this.#columns.state[batch] as number] as BatchState;
  }
  setState(batch: number, state: BatchState): void {
    this.#columns.state[batch] = stateNumber[state];
  }
  /** Tries used up so far, those of its parents included. */
  failures(batch: number): number {
    return this.#columns.failures[batch] as number;
  }
  crashes(batch: number): number {
    return this.#columns.crashes[batch] as number;
  }
  lostLeases(batch: number): number {
    return this.#columns.lost[batch] as number;
  }
  /** Tries that ran out of memory, those of its parents included: from the first on it is scored alone on its node. */
  memoryFailures(batch: number): number {
    return this.#columns.memory[batch] as number;
  }
  /** Whether it was made by a split, and not cut from the input order. */
  isPart(batch: number): boolean {
    return this.#columns.isPart[batch] === 1;
  }
  addFailure(batch: number, kind: 'error' | 'timeout' | 'crash' | 'memory' | 'lost'): void {
    if (kind === 'lost') this.#columns.lost[batch] = Math.min(255, this.lostLeases(batch) + 1);
    else this.#columns.failures[batch] = Math.min(255, this.failures(batch) + 1);
    if (kind === 'memory') this.#columns.memory[batch] = Math.min(255, this.memoryFailures(batch) + 1);
    if (kind === 'crash') this.#columns.crashes[batch] = Math.min(255, this.crashes(batch) + 1);
  }
  /** Takes back what {@link addFailure} counted, or a part has inherited. */
  removeFailure(batch: number, kind: 'error' | 'timeout' | 'crash' | 'memory' | 'lost'): void {
    if (kind === 'lost') this.#columns.lost[batch] = Math.max(0, this.lostLeases(batch) - 1);
    else this.#columns.failures[batch] = Math.max(0, this.failures(batch) - 1);
    if (kind === 'memory') this.#columns.memory[batch] = Math.max(0, this.memoryFailures(batch) - 1);
    if (kind === 'crash') this.#columns.crashes[batch] = Math.max(0, this.crashes(batch) - 1);
  }
  rows(batch: number): number {
    return this.#columns.rows[batch] as number;
  }
  /** Index into the job's schemas; −1: no rows or no columns. */
  schema(batch: number): number {
    return this.#columns.schema[batch] as number;
  }
  place(batch: number): Place {
    return {
      segment: this.#columns.segment[batch] as number,
      offset: this.#columns.offset[batch] as number,
      length: this.#columns.length[batch] as number,
      crc32: this.#columns.crc32[batch] as number,
    };
  }
  setPlace(batch: number, place: Place): void {
    this.#columns.segment[batch] = place.segment;
    this.#columns.offset[batch] = place.offset;
    this.#columns.length[batch] = place.length;
    this.#columns.crc32[batch] = place.crc32;
  }
  /** Token under which it was committed. */
  token(batch: number): Token {
    return { epoch: this.#columns.epoch[batch] as number, counter: this.#columns.counter[batch] as number };
  }
  /** Index into the job's node names. */
  node(batch: number): number {
    return this.#columns.node[batch] as number;
  }
  setCommit(batch: number, commit: { rows: number; schema: number; token: Token; node: number }): void {
    this.#columns.rows[batch] = commit.rows;
    this.#columns.schema[batch] = commit.schema;
    this.#columns.epoch[batch] = commit.token.epoch;
    this.#columns.counter[batch] = commit.token.counter;
    this.#columns.node[batch] = commit.node;
  }

  #add(range: FileRange): number {
    // By half: at most a third of the memory is empty, and millions still grow in a few dozen steps.
    if (this.count === this.#capacity) this.#grow(this.#capacity + (this.#capacity >> 1));
    const batch = this.count;
    this.count += 1;
    this.#columns.first[batch] = range.first;
    this.#columns.files[batch] = range.count;
    this.#columns.next[batch] = noBatch;
    this.#columns.segment[batch] = noPlace.segment;
    this.#columns.schema[batch] = -1;
    return batch;
  }

  #grow(capacity: number): void {
    this.#capacity = capacity;
    this.#columns = copyColumns(this.#columns, newColumns(capacity), this.count);
  }
}
