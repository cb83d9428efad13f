/** Where the cells of CSV lines lie in their bytes, as long as these are simple, and plain decimal numbers out of bytes. */

/** Why a walk of lines stands still. */
export type Standstill =
  /** Nothing is left to look at. */
  | 'end'
  /** As many cells as are wanted at a time. */
  | 'full'
  /** The next record has another number of cells. */
  | 'width'
  /** The next record has a quote or a line end that only a parser knows what to do with. */
  | 'quotes';

/** Cells of a table that are told apart at once: their places stay in the processor's cache. */
const cellsAtOnce = 8_192;

const [newline, carriageReturn, quote] = [0x0a, 0x0d, 0x22];

const [plus, minus, point, zero, nine] = [0x2b, 0x2d, 0x2e, 0x30, 0x39];
/** Doubles hold all of them, and all integers of so many digits: the quotient of two of these is the nearest double there is. */
const powers = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
const exactDigits = 15;
const nearDigits = 19;
/** Of a number of up to `nearDigits` digits, what adding them up and dividing may be off, and more. */
const nearness = 2 ** -48;

/** Cells of records that have as many each. */
export class CellPlaces {
  rows = 0;
  /** Cells of each record; 0 as long as there is none. */
  width = 0;
  /** Where the next record begins. */
  next = 0;
  /** Lines before that. */
  linesBefore: number;
  /** Begin and end of each cell, record by record. */
  places: Int32Array<ArrayBuffer> = new Int32Array(1_024);
  /** What each cell is as a number; NaN: see {@link decimalAt}, or its text. */
  numbers: Float64Array<ArrayBuffer> = new Float64Array(512);
  /** Number of the line where a record ends, from 1. */
  lines: Int32Array<ArrayBuffer> = new Int32Array(64);
  readonly #delimiter: number;

  constructor(delimiter: string, linesBefore: number) {
    this.#delimiter = delimiter.charCodeAt(0);
    this.linesBefore = linesBefore;
  }

  /** Forgets what it has and takes records from `next` on. The byte before `end` is a newline: nothing is looked for behind it. */
  walk(bytes: Uint8Array, end: number): Standstill {
    this.rows = 0;
    this.width = 0;
    let line = this.linesBefore;
    for (let at = this.next; at < end;) {
      const next = this.#record(bytes, at);
      if (next < 0) return 'quotes';
      line += 1;
      // An empty line is no record.
      if (this.#cells > 0) {
        if (this.rows > 0 && this.#cells !== this.width) return 'width';
        this.width = this.#cells;
        if (this.rows === this.lines.length) this.lines = longer(this.lines);
        this.lines[this.rows] = line;
        this.rows += 1;
      }
      at = next;
      this.next = at;
      this.linesBefore = line;
      if ((this.rows + 1) * this.width > cellsAtOnce) return 'full';
    }
    return 'end';
  }

  /** Cells of the record that was looked at last. */
  #cells = 0;

  /** Looks at one record: where the next one begins, −1 where that is not simple. */
  #record(bytes: Uint8Array, first: number): number {
    const delimiter = this.#delimiter;
    // Every byte that means something is below.
    const highest = Math.max(delimiter, quote);
    const base = this.rows * this.width;
    this.#cells = 0;
    for (let begin = first; ;) {
      let at = begin;
      let byte = bytes[at] as number;
      const isNegative = byte === minus;
      if (isNegative || byte === plus) byte = bytes[++at] as number;
      let value = 0;
      let digits = at;
      for (; byte >= zero && byte <= nine; byte = bytes[++at] as number) value = value * 10 + byte - zero;
      digits = at - digits;
      if (byte === point) {
        let decimals = at + 1;
        byte = bytes[++at] as number;
        for (; byte >= zero && byte <= nine; byte = bytes[++at] as number) value = value * 10 + byte - zero;
        decimals = at - decimals;
        digits += decimals;
        if (decimals > 0) value /= powers[decimals] ?? NaN;
      }
      const isNumber = digits > 0 && digits <= exactDigits;
      let isQuoted = false;
      while (byte !== delimiter && byte !== newline && byte !== carriageReturn) {
        value = NaN;
        if (byte === quote) {
          if (at !== begin) return -1;
          at = quotedEnd(bytes, at + 1);
          byte = bytes[at++] as number;
          if (byte !== quote) return -1;
          // What follows must end the cell.
          byte = bytes[at] as number;
          if (byte !== delimiter && byte !== newline && byte !== carriageReturn) return -1;
          isQuoted = true;
        } else {
          do byte = bytes[++at] as number;
          while (byte > highest);
        }
      }
      if (byte === carriageReturn && bytes[at + 1] !== newline) return -1;
      if (byte !== delimiter && at === first) return at + (byte === newline ? 1 : 2);
      const cell = base + this.#cells;
      if (cell === this.numbers.length) this.#grow();
      this.places[2 * cell] = isQuoted ? begin + 1 : begin;
      this.places[2 * cell + 1] = isQuoted ? at - 1 : at;
      this.numbers[cell] = isNumber ? (isNegative ? -value : value) : NaN;
      this.#cells += 1;
      begin = at + 1;
      if (byte === newline) return begin;
      if (byte === carriageReturn) return begin + 1;
    }
  }

  #grow(): void {
    const [{ places, numbers }, length] = [this, this.numbers.length * 2];
    this.places = new Int32Array(2 * length);
    this.places.set(places);
    this.numbers = new Float64Array(length);
    this.numbers.set(numbers);
  }
}

/** The next byte that may not stand in a simple quoted cell, which its last quote is. */
function quotedEnd(bytes: Uint8Array, from: number): number {
  let at = from;
  for (; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === quote || byte === newline || byte === carriageReturn) break;
  }
  return at;
}

function longer(values: Int32Array): Int32Array<ArrayBuffer> {
  const more = new Int32Array(values.length * 2);
  more.set(values);
  return more;
}

/**
 * The number that `Number()` finds in these bytes, when they are digits with an optional sign and point; NaN where that is not sure.
 * `isSingle`: only its nearest float32 is.
 */
export function decimalAt(bytes: Uint8Array, from: number, to: number, isSingle: boolean): number {
  let at = from;
  const sign = bytes[at];
  if (sign === minus || sign === plus) at += 1;
  let digits = to - at;
  let decimals = 0;
  let value = 0;
  for (; at < to; at += 1) {
    const digit = (bytes[at] as number) - zero;
    if (digit >= 0 && digit <= 9) value = value * 10 + digit;
    else if (digit === point - zero && digits > 1 && decimals === 0) {
      digits -= 1;
      decimals = to - at;
    } else return NaN;
  }
  if (digits === 0 || digits > nearDigits) return NaN;
  if (decimals > 1) value /= powers[decimals - 1] as number;
  if (digits > exactDigits) {
    if (!isSingle || Math.fround(value * (1 - nearness)) !== Math.fround(value * (1 + nearness))) return NaN;
  }
  return sign === minus ? -value : value;
}
