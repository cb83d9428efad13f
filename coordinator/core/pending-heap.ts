import { limits } from '../../common/core/limits.ts';
import type { BatchTable } from './batch-table.ts';

/**
 * Numbers of mini-batches that may be leased, the lowest in the input order first: 4 bytes each. A mini-batch leaves
 * by its state: whatever is not `pending` any more is passed over when it comes up.
 */
export class PendingHeap {
  #items = new Int32Array(64);
  #size = 0;
  readonly #batches: BatchTable;

  constructor(batches: BatchTable) {
    this.#batches = batches;
  }

  get isEmpty(): boolean {
    return this.peek() === undefined;
  }

  push(batch: number): void {
    if (this.#size === this.#items.length) {
      const grown = new Int32Array(this.#size * 2);
      grown.set(this.#items);
      this.#items = grown;
    }
    let at = this.#size;
    this.#size += 1;
    const rank = this.#batches.first(batch);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const other = this.#items[parent] as number;
      if (this.#batches.first(other) <= rank) break;
      this.#items[at] = other;
      at = parent;
    }
    this.#items[at] = batch;
  }

  clear(): void {
    this.#size = 0;
  }

  /** The pending mini-batch that is lowest in the input order. */
  peek(): number | undefined {
    while (this.#size > 0) {
      const top = this.#items[0] as number;
      if (this.#batches.state(top) === 'pending') return top;
      this.#size -= 1;
      if (this.#size > 0) this.#sink(this.#items[this.#size] as number);
    }
    return undefined;
  }

  /** One of the lowest that `isIt`, though not always the lowest; undefined when none of the first few is. */
  find(isIt: (batch: number) => boolean): number | undefined {
    let found: number | undefined;
    for (let at = 0; at < Math.min(this.#size, limits.pendingLookedAtMax); at += 1) {
      const batch = this.#items[at] as number;
      if (this.#batches.state(batch) !== 'pending' || !isIt(batch)) continue;
      if (found === undefined || this.#batches.first(batch) < this.#batches.first(found)) found = batch;
    }
    return found;
  }

  #sink(batch: number): void {
    const rank = this.#batches.first(batch);
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#size) break;
      const right = child + 1;
      if (right < this.#size && this.#rankAt(right) < this.#rankAt(child)) child = right;
      if (this.#rankAt(child) >= rank) break;
      this.#items[at] = this.#items[child] as number;
      at = child;
    }
    this.#items[at] = batch;
  }

  #rankAt(at: number): number {
    return this.#batches.first(this.#items[at] as number);
  }
}
