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

export class BatchTable {
  count = 0;
  head: number = noBatch;
  #tail: number = noBatch;
  #capacity = 64;
  #first = new Uint32Array(64);
  #files = new Uint32Array(64);
  #next = new Int32Array(64);
  #state = new Uint8Array(64);
  #failures = new Uint8Array(64);
  #crashes = new Uint8Array(64);
  #lost = new Uint8Array(64);
  #memory = new Uint8Array(64);
  #isPart = new Uint8Array(64);
  #segment = new Int32Array(64);
  #offset = new Float64Array(64);
  #length = new Float64Array(64);
  #crc32 = new Uint32Array(64);
  #rows = new Uint32Array(64);
  #schema = new Int16Array(64);
  #epoch = new Uint32Array(64);
  #counter = new Uint32Array(64);
  #node = new Uint16Array(64);

  /** Memory of all columns. */
  get bytes(): number {
    return this.#columns().reduce((sum, column) => sum + column.byteLength, 0);
  }

  /** Adds a range at the end of the order; returns its number. */
  append(range: FileRange): number {
    const batch = this.#add(range);
    if (this.#tail === noBatch) this.head = batch;
    else this.#next[this.#tail] = batch;
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
      this.#failures[child] = this.failures(parent);
      // The node has been given the benefit of the doubt once: a part that crashes is split at once.
      this.#crashes[child] = this.crashes(parent);
      this.#memory[child] = this.memoryFailures(parent);
      this.#isPart[child] = 1;
      const previous = children.at(-1);
      if (previous !== undefined) this.#next[previous] = child;
      children.push(child);
      first += count;
    }
    const last = children.at(-1) as number;
    this.#next[last] = successor;
    if (this.#tail === parent) this.#tail = last;
    this.#next[parent] = children[0] as number;
    this.setState(parent, 'split');
    return children;
  }

  first(batch: number): number {
    return this.#first[batch] as number;
  }
  files(batch: number): number {
    return this.#files[batch] as number;
  }
  /** The next number in the input order, which may be a split row; {@link noBatch} after the last. */
  next(batch: number): number {
    return this.#next[batch] as number;
  }
  state(batch: number): BatchState {
    return batchStates[this.#state[batch] as number] as BatchState;
  }
  setState(batch: number, state: BatchState): void {
    this.#state[batch] = stateNumber[state];
  }
  /** Tries used up so far, those of its parents included. */
  failures(batch: number): number {
    return this.#failures[batch] as number;
  }
  crashes(batch: number): number {
    return this.#crashes[batch] as number;
  }
  lostLeases(batch: number): number {
    return this.#lost[batch] as number;
  }
  /** Tries that ran out of memory, those of its parents included: from the first on it is scored alone on its node. */
  memoryFailures(batch: number): number {
    return this.#memory[batch] as number;
  }
  /** Whether it was made by a split, and not cut from the input order. */
  isPart(batch: number): boolean {
    return this.#isPart[batch] === 1;
  }
  addFailure(batch: number, kind: 'error' | 'timeout' | 'crash' | 'memory' | 'lost'): void {
    if (kind === 'lost') this.#lost[batch] = Math.min(255, this.lostLeases(batch) + 1);
    else this.#failures[batch] = Math.min(255, this.failures(batch) + 1);
    if (kind === 'memory') this.#memory[batch] = Math.min(255, this.memoryFailures(batch) + 1);
    if (kind === 'crash') this.#crashes[batch] = Math.min(255, this.crashes(batch) + 1);
  }
  /** Takes back what {@link addFailure} counted, or a part has inherited. */
  removeFailure(batch: number, kind: 'error' | 'timeout' | 'crash' | 'memory' | 'lost'): void {
    if (kind === 'lost') this.#lost[batch] = Math.max(0, this.lostLeases(batch) - 1);
    else this.#failures[batch] = Math.max(0, this.failures(batch) - 1);
    if (kind === 'memory') this.#memory[batch] = Math.max(0, this.memoryFailures(batch) - 1);
    if (kind === 'crash') this.#crashes[batch] = Math.max(0, this.crashes(batch) - 1);
  }
  rows(batch: number): number {
    return this.#rows[batch] as number;
  }
  /** Index into the job's schemas; −1: no rows or no columns. */
  schema(batch: number): number {
    return this.#schema[batch] as number;
  }
  place(batch: number): Place {
    return {
      segment: this.#segment[batch] as number,
      offset: this.#offset[batch] as number,
      length: this.#length[batch] as number,
      crc32: this.#crc32[batch] as number,
    };
  }
  setPlace(batch: number, place: Place): void {
    this.#segment[batch] = place.segment;
    this.#offset[batch] = place.offset;
    this.#length[batch] = place.length;
    this.#crc32[batch] = place.crc32;
  }
  /** Token under which it was committed. */
  token(batch: number): Token {
    return { epoch: this.#epoch[batch] as number, counter: this.#counter[batch] as number };
  }
  /** Index into the job's node names. */
  node(batch: number): number {
    return this.#node[batch] as number;
  }
  setCommit(batch: number, commit: { rows: number; schema: number; token: Token; node: number }): void {
    this.#rows[batch] = commit.rows;
    this.#schema[batch] = commit.schema;
    this.#epoch[batch] = commit.token.epoch;
    this.#counter[batch] = commit.token.counter;
    this.#node[batch] = commit.node;
  }

  #add(range: FileRange): number {
    if (this.count === this.#capacity) this.#grow();
    const batch = this.count;
    this.count += 1;
    this.#first[batch] = range.first;
    this.#files[batch] = range.count;
    this.#next[batch] = noBatch;
    this.#segment[batch] = noPlace.segment;
    this.#schema[batch] = -1;
    return batch;
  }

  #columns(): readonly { readonly byteLength: number }[] {
    return [
      ...[this.#first, this.#files, this.#next, this.#state, this.#failures, this.#crashes, this.#lost],
      ...[this.#memory, this.#isPart],
      ...[this.#segment, this.#offset, this.#length, this.#crc32, this.#rows, this.#schema],
      ...[this.#epoch, this.#counter, this.#node],
    ];
  }

  #grow(): void {
    // By half: at most a third of the memory is empty, and millions still grow in a few dozen steps.
    this.#capacity += this.#capacity >> 1;
    const grown = <T extends { set(from: T): void }>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    const n = this.#capacity;
    this.#first = grown(this.#first, new Uint32Array(n));
    this.#files = grown(this.#files, new Uint32Array(n));
    this.#next = grown(this.#next, new Int32Array(n));
    this.#state = grown(this.#state, new Uint8Array(n));
    this.#failures = grown(this.#failures, new Uint8Array(n));
    this.#crashes = grown(this.#crashes, new Uint8Array(n));
    this.#lost = grown(this.#lost, new Uint8Array(n));
    this.#memory = grown(this.#memory, new Uint8Array(n));
    this.#isPart = grown(this.#isPart, new Uint8Array(n));
    this.#segment = grown(this.#segment, new Int32Array(n));
    this.#offset = grown(this.#offset, new Float64Array(n));
    this.#length = grown(this.#length, new Float64Array(n));
    this.#crc32 = grown(this.#crc32, new Uint32Array(n));
    this.#rows = grown(this.#rows, new Uint32Array(n));
    this.#schema = grown(this.#schema, new Int16Array(n));
    this.#epoch = grown(this.#epoch, new Uint32Array(n));
    this.#counter = grown(this.#counter, new Uint32Array(n));
    this.#node = grown(this.#node, new Uint16Array(n));
  }
}
