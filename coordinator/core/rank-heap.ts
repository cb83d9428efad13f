/** A heap of numbers, 4 bytes each, in an order that is asked for as it is needed. */
import { limits } from '../../common/core/limits.ts';

export interface RankHeapOptions {
  readonly isBefore: (a: number, b: number) => boolean;
  /** What is not live any more is passed over when it comes up. */
  readonly isLive: (item: number) => boolean;
}

export class RankHeap {
  #items = new Int32Array(64);
  #size = 0;
  readonly #options: RankHeapOptions;

  constructor(options: RankHeapOptions) {
    this.#options = options;
  }

  push(item: number): void {
    if (this.#size === this.#items.length) this.#makeRoom();
    let at = this.#size;
    this.#size += 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const other = this.#items[parent] as number;
      if (!this.#options.isBefore(item, other)) break;
      this.#items[at] = other;
      at = parent;
    }
    this.#items[at] = item;
  }

  clear(): void {
    this.#size = 0;
  }

  /** The first of the live ones. */
  peek(): number | undefined {
    while (this.#size > 0) {
      const top = this.#items[0] as number;
      if (this.#options.isLive(top)) return top;
      this.#size -= 1;
      if (this.#size > 0) this.#sink(0, this.#items[this.#size] as number);
    }
    return undefined;
  }

  /** One of the first that `isIt`, though not always the very first; undefined when none of the first few is. */
  find(isIt: (item: number) => boolean): number | undefined {
    let found: number | undefined;
    for (let at = 0; at < Math.min(this.#size, limits.pendingLookedAtMax); at += 1) {
      const item = this.#items[at] as number;
      if (!this.#options.isLive(item) || !isIt(item)) continue;
      if (found === undefined || this.#options.isBefore(item, found)) found = item;
    }
    return found;
  }

  /** The order is another one now. */
  reorder(): void {
    this.#dropDead();
    for (let at = (this.#size >> 1) - 1; at >= 0; at -= 1) this.#sink(at, this.#items[at] as number);
  }

  /** What is not live goes before the heap grows: it may come again and again. */
  #makeRoom(): void {
    this.reorder();
    if (this.#size <= this.#items.length >> 1) return;
    const grown = new Int32Array(this.#items.length * 2);
    grown.set(this.#items);
    this.#items = grown;
  }

  #dropDead(): void {
    let kept = 0;
    for (let at = 0; at < this.#size; at += 1) {
      const item = this.#items[at] as number;
      if (!this.#options.isLive(item)) continue;
      this.#items[kept] = item;
      kept += 1;
    }
    this.#size = kept;
  }

  #sink(from: number, item: number): void {
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#size) break;
      const right = child + 1;
      if (right < this.#size && this.#options.isBefore(this.#items[right] as number, this.#items[child] as number)) {
        child = right;
      }
      if (!this.#options.isBefore(this.#items[child] as number, item)) break;
      this.#items[at] = this.#items[child] as number;
      at = child;
    }
    this.#items[at] = item;
  }
}
