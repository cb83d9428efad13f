/** Reads the side channel of a scoring host, `<sequence> <file index>\n`: which file of which mini-batch it has in hand. */
export class CurrentFile {
  #sequence = 0;
  #index = -1;
  #rest = '';
  #first = 0;
  #last = 0;

  /** From here on only lines of these mini-batches count: what the host is at, and what waits behind it. */
  expect(first: number, last: number): void {
    this.#first = first;
    this.#last = last;
    if (this.#sequence < first) this.#index = -1;
  }

  push(chunk: Uint8Array): void {
    const lines = (this.#rest + Buffer.from(chunk).toString('latin1')).split('\n');
    // A line is short; more without an end is no line of ours.
    this.#rest = (lines.pop() ?? '').slice(0, 40);
    for (let place = lines.length - 1; place >= 0; place -= 1) {
      const match = /^(\d{1,15}) (\d{1,9})$/.exec(lines[place] as string);
      const sequence = Number(match?.[1]);
      if (match === null || sequence < this.#first || sequence > this.#last) continue;
      this.#sequence = sequence;
      this.#index = Number(match[2]);
      return;
    }
  }

  /** Of the mini-batch that was named last; 0 when none was. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Place within the mini-batch; −1 when none of its files was named last. */
  indexIn(sequence: number): number {
    return sequence === this.#sequence ? this.#index : -1;
  }
}
