/**
 * How long attempts take, as counts in buckets: a median in half a kilobyte, whatever the number of attempts and whatever
 * their order. Each bucket is a fifth wider than the one before, which is as exact as a rule of thumb needs.
 */
const buckets = 128;
const growth = 1.2;

export class RunTimes {
  readonly #counts = new Uint32Array(buckets);
  #total = 0;

  /** `counts`: what {@link counts} gave of others. */
  constructor(counts: readonly number[] = []) {
    this.#counts.set(counts.slice(0, buckets));
    this.#total = this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** By bucket, up to the last one that has some. */
  counts(): readonly number[] {
    const last = this.#counts.findLastIndex((count) => count > 0);
    return [...this.#counts.subarray(0, last + 1)];
  }

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
    return this.quantileMs(0.5);
  }

  /** The same of any share, from 0 to 1. */
  quantileMs(share: number): number | null {
    if (this.#total === 0) return null;
    let seen = 0;
    for (let bucket = 0; bucket < buckets; bucket += 1) {
      seen += this.#counts[bucket] as number;
      if (seen >= share * this.#total) return growth ** bucket;
    }
    return growth ** (buckets - 1);
  }
}
