/** Reads the side channel of a scoring host, `<sequence> <file index>\n`: which file it has in hand. */
export class CurrentFile {
  #sequence = 0;
  #index = -1;
  #rest = '';

  /** From here on only lines of this mini-batch count. */
  begin(sequence: number): void {
    this.#sequence = sequence;
    this.#index = -1;
  }

  push(chunk: Uint8Array): void {
    const lines = (this.#rest + Buffer.from(chunk).toString('latin1')).split('\n');
    // A line is short; more without an end is no line of ours.
    this.#rest = (lines.pop() ?? '').slice(0, 40);
    for (let place = lines.length - 1; place >= 0; place -= 1) {
      const match = /^(\d{1,15}) (\d{1,9})$/.exec(lines[place] as string);
      if (match === null || Number(match[1]) !== this.#sequence) continue;
      this.#index = Number(match[2]);
      return;
    }
  }

  /** Place within the mini-batch; −1 when the host has named none. */
  get index(): number {
    return this.#index;
  }
}
