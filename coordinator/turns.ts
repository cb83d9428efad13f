/** Long work under a name, one after the other: what is begun later waits for what was begun before. */
export class Turns<Name> {
  readonly #run: (work: () => Promise<void>) => Promise<void>;
  readonly #last = new Map<Name, Promise<void>>();

  /** `run` never rejects. */
  constructor(run: (work: () => Promise<void>) => Promise<void>) {
    this.#run = run;
  }

  add(name: Name, work: () => Promise<void>): void {
    const before = this.of(name);
    const turn = this.#run(async () => {
      await before;
      await work();
    });
    this.#last.set(name, turn);
    void turn.then(() => this.#last.get(name) === turn && this.#last.delete(name));
  }

  /** Resolves when all that has been begun so far has ended. */
  of(name: Name): Promise<void> {
    return this.#last.get(name) ?? Promise.resolve();
  }
}
