/**
 * How long attempts take, as counts in buckets: a median in half a kilobyte, whatever the number of attempts and whatever
 * their order. Each bucket is a fifth wider than the one before, which is as exact as a rule of thumb needs.
 */
const buckets = 128;
const growth = 1.2;

export class RunTimes {
  readonly #counts = new Uint32Array(buckets);
  #total = 0;

  get total(): number {
    return this.#total;
  }

  add(ms: number): void {
    const bucket = ms <= 1 ? 0 : Math.ceil(Math.log(ms) / Math.log(growth));
    const place = Math.min(buckets - 1, bucket);
    this.#counts[place] = (this.#counts[place] as number) + 1;
    this.#total += 1;
  }

  /** Milliseconds, rounded up to the end of a bucket; null before the first attempt. */
  get medianMs(): number | null {
    if (this.#total === 0) return null;
    let seen = 0;
    for (let bucket = 0; bucket < buckets; bucket += 1) {
      seen += this.#counts[bucket] as number;
      if (2 * seen >= this.#total) return growth ** bucket;
    }
    return growth ** (buckets - 1);
  }
}
