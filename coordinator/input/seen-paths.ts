/**
 * Which paths were there before, as a set of 64-bit digests: an open hash table that is a quarter to half full, so that a path
 * takes 16 to 32 bytes.
 */

const entriesMin = 4_096;

export class SeenPaths {
  #high = new Uint32Array(entriesMin);
  #low = new Uint32Array(entriesMin);
  #count = 0;

  /** False when this path, or one in 2^64 others, was added before. */
  add(path: string): boolean {
    const [high, low] = digestOf(path);
    if (!put(this.#high, this.#low, high, low)) return false;
    this.#count += 1;
    if (this.#count * 2 > this.#high.length) this.#grow();
    return true;
  }

  #grow(): void {
    const [high, low] = [new Uint32Array(this.#high.length * 2), new Uint32Array(this.#low.length * 2)];
    for (let at = 0; at < this.#high.length; at += 1) {
      const [one, other] = [this.#high[at] as number, this.#low[at] as number];
      if (one !== 0 || other !== 0) put(high, low, one, other);
    }
    this.#high = high;
    this.#low = low;
  }
}

function put(high: Uint32Array, low: Uint32Array, wantedHigh: number, wantedLow: number): boolean {
  const mask = high.length - 1;
  for (let at = wantedLow & mask; ; at = (at + 1) & mask) {
    if (high[at] === wantedHigh && low[at] === wantedLow) return false;
    if (high[at] !== 0 || low[at] !== 0) continue;
    high[at] = wantedHigh;
    low[at] = wantedLow;
    return true;
  }
}

/** Two multiplicative hashes of the UTF-16 units, mixed with each other at the end; never 0 and 0, which means nothing. */
function digestOf(path: string): readonly [high: number, low: number] {
  let one = 0x9e3779b9;
  let other = 0x85ebca6b;
  for (let at = 0; at < path.length; at += 1) {
    const unit = path.charCodeAt(at);
    one = Math.imul(one ^ unit, 0x01000193);
    other = Math.imul(other ^ unit, 0x5bd1e995);
    other ^= other >>> 13;
  }
  one = Math.imul(one ^ (one >>> 16), 0x85ebca6b) ^ Math.imul(other ^ (other >>> 13), 0xc2b2ae35);
  other = Math.imul(other ^ (other >>> 16), 0x27d4eb2f) ^ Math.imul(one ^ (one >>> 13), 0x165667b1);
  return [one >>> 0, other === 0 ? 1 : other >>> 0];
}
