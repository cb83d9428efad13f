/** Where the coordinators of a cluster are. One of them leads at a time, and which one is found out by asking. */

export class CoordinatorAddresses {
  readonly #all: readonly string[];
  #at = 0;

  /** `host:port` each, or `unix:` and a path; at least one. */
  constructor(all: readonly string[]) {
    this.#all = all;
  }

  get current(): string {
    return this.#all[this.#at] ?? '';
  }

  get count(): number {
    return this.#all.length;
  }

  /** The current one did not answer, or does not lead. */
  next(): void {
    this.#at = (this.#at + 1) % this.#all.length;
  }
}
