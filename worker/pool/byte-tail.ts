/** The end of a byte stream: what a process said last, at a bounded cost. */
export class ByteTail {
  readonly #bytesMax: number;
  #pieces: Uint8Array[] = [];
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get isEmpty(): boolean {
    return this.#bytes === 0;
  }

  push(piece: Uint8Array): void {
    // Copied, because a small end must not keep a large buffer alive.
    const kept = piece.slice(Math.max(0, piece.length - this.#bytesMax));
    this.#pieces.push(kept);
    this.#bytes += kept.length;
    for (let first = this.#pieces[0]; first && this.#bytes - first.length >= this.#bytesMax; first = this.#pieces[0]) {
      this.#pieces.shift();
      this.#bytes -= first.length;
    }
  }

  /** At most `bytesMax` bytes as text; a character that the cut goes through is left out. */
  text(): string {
    const whole = Buffer.concat(this.#pieces);
    let from = Math.max(0, whole.length - this.#bytesMax);
    while (from < whole.length && ((whole[from] as number) & 0xc0) === 0x80) from += 1;
    return whole.toString('utf8', from);
  }
}
