/** Bytes of the input files of a job that is cut as it is granted: 4 bytes each, exact to seven digits. */
export class FileSizes {
  #bytes: Float32Array<ArrayBuffer>;
  /** Files up to here have been told; those of an older release, which are all cut, count as empty. */
  #count: number;

  /** Takes the column over. */
  constructor(bytes: Float32Array<ArrayBuffer> = new Float32Array(0)) {
    this.#bytes = bytes;
    this.#count = bytes.length;
  }

  /** `first`: ordinal of the first of them. */
  set(first: number, sizesBytes: ArrayLike<number>): void {
    const end = first + sizesBytes.length;
    if (end > this.#bytes.length) {
      const grown = new Float32Array(Math.max(end, this.#bytes.length + (this.#bytes.length >> 1), 64));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(sizesBytes, first);
    this.#count = Math.max(this.#count, end);
  }

  bytes(file: number): number {
    return this.#bytes[file] ?? 0;
  }

  /** Whether all files before this one have been told. */
  has(end: number): boolean {
    return end <= this.#count;
  }

  sum(first: number, count: number): number {
    let sum = 0;
    for (let file = first; file < first + count; file += 1) sum += this.bytes(file);
    return sum;
  }

  /** A copy of what is known. */
  image(): Float32Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#count);
  }
}
