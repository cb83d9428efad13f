/**
 * The mini-batches of one job as typed columns: about 70 bytes each, so that millions fit.
 *
 *   pending ──► leased ──► placed ──► committed
 *      ▲          │ failed    (bytes have a place, not yet durable)
 *      └─ waiting ┤
 *                 ├──► split (its children stand in its place in the order)
 *                 └──► quarantined
 *
 * Rows are numbered as they are made and never renumbered; the input order is the linked list through `next`, in which
 * a split row stays reachable as the way to its first child. A row that is `uncut` is a run of files that stands in the
 * order like a mini-batch and of which mini-batches are cut as they are granted: each cut makes the row, or a new one
 * behind it, pending.
 */
import { invariant } from '../../common/core/invariant.ts';
import type { FileRange } from '../../common/core/input.ts';
import type { Token } from '../../common/core/token.ts';
import {
  batchStates,
  copyColumns,
  newColumns,
  stateNumber,
  type BatchState,
  type TableImage,
} from './batch-columns.ts';

/** Where a committed result's bytes lie. Segment 0 is the output itself; −1: no bytes. */
export interface Place {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
  readonly crc32: number;
}

export const outputSegment = 0;
export const noPlace: Place = { segment: -1, offset: 0, length: 0, crc32: 0 };
/** Under which what was taken from an earlier output stands: no lease has it. */
export const noToken: Token = { epoch: 0, counter: 0 };
/** In place of the number of a node. */
export const noNode = 0xffff;
/** End of the order. */
export const noBatch = -1;

/** Files and bytes of some mini-batches together. */
export interface Amount {
  batches: number;
  files: number;
  bytes: number;
}

/** Some files of a run. */
export interface Slice {
  readonly files: number;
  readonly bytes: number;
}

function isUnleased(state: number): boolean {
  return state === stateNumber.pending || state === stateNumber.uncut;
}

export class BatchTable {
  count = 0;
  head: number = noBatch;
  #tail: number = noBatch;
  #capacity = 64;
  #columns = newColumns(64);
  readonly #unleased: Amount = { batches: 0, files: 0, bytes: 0 };

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
    for (let batch = 0; batch < count; batch += 1) {
      if (isUnleased(table.#columns.state[batch] as number)) table.#count(batch, 1);
    }
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

  /** All that is pending or uncut. */
  get unleased(): Readonly<Amount> {
    return this.#unleased;
  }

  /** The last number in the order; {@link noBatch} without any. */
  get tail(): number {
    return this.#tail;
  }

  /** Adds a range at the end of the order; returns its number. `bytes`: of its files; 0 when unknown. */
  append(range: FileRange, bytes = 0): number {
    const batch = this.#add(range, bytes);
    if (this.#tail === noBatch) this.head = batch;
    else this.#columns.next[this.#tail] = batch;
    this.#tail = batch;
    return batch;
  }

  /** More files at the end of the run that is the tail of the order. */
  extend(run: number, files: number, bytes: number): void {
    invariant(run === this.#tail && this.state(run) === 'uncut', `row ${run} is no run at the end of the order`);
    this.#count(run, -1);
    this.#columns.files[run] = this.files(run) + files;
    this.#columns.bytes[run] = this.bytesOf(run) + bytes;
    this.#count(run, 1);
  }

  /**
   * Cuts a mini-batch out of a run: `cut` behind the first `skipped`. What is left of the run on either side stays uncut.
   * Returns the number of the mini-batch, and of the run behind it; {@link noBatch} when nothing is left there.
   */
  carve(run: number, skipped: Slice, cut: Slice): { readonly batch: number; readonly rest: number } {
    const [first, files, bytes] = [this.first(run), this.files(run), this.bytesOf(run)];
    const left = files - skipped.files - cut.files;
    invariant(this.state(run) === 'uncut' && cut.files > 0 && left >= 0, `row ${run} is no run of so many files`);
    this.#count(run, -1);
    const isFront = skipped.files === 0;
    const own = isFront ? cut : skipped;
    this.#columns.files[run] = own.files;
    this.#columns.bytes[run] = own.bytes;
    this.#count(run, 1);
    const range = { first: first + skipped.files, count: cut.files };
    const batch = isFront ? run : this.#addBehind(run, range, cut.bytes);
    this.setState(batch, 'pending');
    if (left === 0) return { batch, rest: noBatch };
    const behind = { first: range.first + range.count, count: left };
    const rest = this.#addBehind(batch, behind, bytes - skipped.bytes - cut.bytes);
    this.setState(rest, 'uncut');
    return { batch, rest };
  }

  /**
   * Puts children of the given sizes in the place of `parent`, which inherit its counters; returns them. `bytes`: of each;
   * by default each has its share.
   */
  split(parent: number, sizes: readonly number[], bytes?: readonly number[]): readonly number[] {
    invariant(
      sizes.reduce((sum, size) => sum + size, 0) === this.files(parent),
      `the parts of mini-batch ${parent} must add up to its files`,
    );
    const successor = this.next(parent);
    let first = this.first(parent);
    const children: number[] = [];
    const perFile = this.bytesOf(parent) / this.files(parent);
    for (const [index, count] of sizes.entries()) {
      const child = this.#add({ first, count }, bytes?.[index] ?? Math.round(perFile * count));
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
   * The old ones stay as split rows that lead to the first new one. `bytes`: of each, where they are known.
   */
  recut(
    from: number,
    count: number,
    sizes: readonly number[],
    bytes: readonly number[] = [],
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
    for (const [index, size] of sizes.entries()) {
      const batch = this.#add({ first, count: size }, bytes[index] ?? 0);
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
  /** Of its input files; 0 when unknown, as for those that an older release has listed. */
  bytesOf(batch: number): number {
    return this.#columns.bytes[batch] as number;
  }
  /** The next number in the input order, which may be a split row; {@link noBatch} after the last. */
  next(batch: number): number {
    return this.#columns.next[batch] as number;
  }
  state(batch: number): BatchState {
    return batchStates[this.#columns.state[batch] as number] as BatchState;
  }
  setState(batch: number, state: BatchState): void {
    const [before, after] = [this.#columns.state[batch] as number, stateNumber[state]];
    this.#columns.state[batch] = after;
    if (isUnleased(before) !== isUnleased(after)) this.#count(batch, isUnleased(after) ? 1 : -1);
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
  /** Whether its rows were taken from an earlier output. */
  isTaken(batch: number): boolean {
    return this.state(batch) === 'committed' && this.#columns.epoch[batch] === 0;
  }
  /** Index into the job's node names; {@link noNode} of what was taken. */
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

  #add(range: FileRange, bytes: number): number {
    // By half: at most a third of the memory is empty, and millions still grow in a few dozen steps.
    if (this.count === this.#capacity) this.#grow(this.#capacity + (this.#capacity >> 1));
    const batch = this.count;
    this.count += 1;
    this.#columns.first[batch] = range.first;
    this.#columns.files[batch] = range.count;
    this.#columns.bytes[batch] = bytes;
    this.#columns.next[batch] = noBatch;
    this.#columns.segment[batch] = noPlace.segment;
    this.#columns.schema[batch] = -1;
    this.#count(batch, 1);
    return batch;
  }

  #addBehind(before: number, range: FileRange, bytes: number): number {
    const batch = this.#add(range, bytes);
    this.#columns.next[batch] = this.next(before);
    this.#columns.next[before] = batch;
    if (this.#tail === before) this.#tail = batch;
    return batch;
  }

  #count(batch: number, sign: 1 | -1): void {
    this.#unleased.batches += sign;
    this.#unleased.files += sign * this.files(batch);
    this.#unleased.bytes += sign * this.bytesOf(batch);
  }

  #grow(capacity: number): void {
    this.#capacity = capacity;
    this.#columns = copyColumns(this.#columns, newColumns(capacity), this.count);
  }
}
