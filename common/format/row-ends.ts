/** Where rows end in text as it stands in an output: in lines, or in CSV records whose quoted fields may have newlines. */

const newline = 10;
const quote = 34;

export class RowEnds {
  readonly #hasQuotes: boolean;
  #isQuoted = false;
  #isWithin = false;

  /** `hasQuotes`: newlines between quotes end no row. */
  constructor(hasQuotes: boolean) {
    this.#hasQuotes = hasQuotes;
  }

  /** The bytes so far ended within a row. */
  get isWithin(): boolean {
    return this.#isWithin;
  }

  /** Reads on in `bytes` from `from` to their end: the places behind the rows that ended. */
  ends(bytes: Buffer, from: number): readonly number[] {
    const ends: number[] = [];
    this.#read(bytes, from, Infinity, (end) => ends.push(end));
    return ends;
  }

  /** Reads on in `bytes` from `from` to the end of the `rowsMax`th row, or to their own: rows that ended, and the place behind. */
  scan(bytes: Buffer, from: number, rowsMax: number): { readonly rows: number; readonly end: number } {
    let rows = 0;
    const end = this.#read(bytes, from, rowsMax, () => (rows += 1));
    return { rows, end };
  }

  #read(bytes: Buffer, from: number, rowsMax: number, onEnd: (end: number) => void): number {
    let at = from;
    let rows = 0;
    let nextQuote = this.#hasQuotes ? place(bytes, quote, at) : Infinity;
    while (rows < rowsMax && at < bytes.length) {
      const nextLine = this.#isQuoted ? Infinity : place(bytes, newline, at);
      this.#isWithin = true;
      if (nextQuote < nextLine) {
        this.#isQuoted = !this.#isQuoted;
        at = nextQuote + 1;
        nextQuote = place(bytes, quote, at);
      } else if (nextLine === Infinity) {
        at = bytes.length;
      } else {
        at = nextLine + 1;
        rows += 1;
        this.#isWithin = false;
        onEnd(at);
      }
    }
    return at;
  }
}

function place(bytes: Buffer, byte: number, from: number): number {
  const at = bytes.indexOf(byte, from);
  return at < 0 ? Infinity : at;
}
