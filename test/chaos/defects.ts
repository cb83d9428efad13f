/** What was found wrong, in words, and when the first of it. */
import { systemClock } from '../../common/io/clock.ts';

export class Defects {
  readonly words: string[] = [];
  /** Since this was made; null while nothing is wrong. */
  firstMs: number | null = null;
  readonly #began = systemClock.monotonic();
  readonly #found = new AbortController();
  readonly #note: (line: string) => void;

  constructor(note: (line: string) => void) {
    this.#note = note;
  }

  add(what: string): void {
    this.firstMs ??= Math.round(systemClock.monotonic() - this.#began);
    this.words.push(what);
    this.#note(`DEFECT: ${what}`);
    this.#found.abort();
  }

  /** Aborts with the first one. */
  get found(): AbortSignal {
    return this.#found.signal;
  }
}
