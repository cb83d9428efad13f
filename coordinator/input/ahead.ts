/** Reads a source before it is asked for, so far and no further. */

export class Ahead<T> {
  readonly #items: T[] = [];
  readonly #itemsMax: number;
  #failure: { readonly error: unknown } | null = null;
  #isOver = false;
  #isStopped = false;
  #wake: () => void = () => undefined;

  constructor(source: AsyncIterable<T>, itemsMax: number) {
    this.#itemsMax = itemsMax;
    void this.#pump(source);
  }

  /** The items in order; throws what the source threw, after what came before. */
  async *items(): AsyncGenerator<T, void, void> {
    for (;;) {
      const item = this.#items.shift();
      this.#wake();
      if (item !== undefined) yield item;
      else if (this.#failure) throw this.#failure.error;
      else if (this.#isOver) return;
      else await this.#changed();
    }
  }

  /** Nothing more is wanted. */
  stop(): void {
    this.#isStopped = true;
    this.#wake();
  }

  async #pump(source: AsyncIterable<T>): Promise<void> {
    try {
      for await (const item of source) {
        this.#items.push(item);
        this.#wake();
        while (this.#items.length >= this.#itemsMax && !this.#isStopped) await this.#changed();
        if (this.#isStopped) break;
      }
    } catch (error) {
      this.#failure = { error };
    }
    this.#isOver = true;
    this.#wake();
  }

  /** Reader and source never wait at the same time: the one for an item, the other for room. */
  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
