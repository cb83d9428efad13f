/** Where the cells of CSV lines lie in their bytes, as long as these are simple, and plain decimal numbers out of bytes. */

/** Why a walk of lines stands still. */
export type Standstill =
  /** The bytes end within a record. */
  | 'end'
  /** As many cells as are wanted at a time. */
  | 'full'
  /** The next record has another number of cells. */
  | 'width'
  /** The next record has a quote or a line end that only a parser knows what to do with. */
  | 'quotes';

/** Cells of a table that are told apart at once: their places stay in the processor's cache. */
const cellsAtOnce = 32_768;

const [newline, carriageReturn, quote] = [0x0a, 0x0d, 0x22];

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
  places = new Int32Array(1_024);
  /** Number of the line where a record ends, from 1. */
  lines = new Int32Array(64);
  readonly #delimiter: number;

  constructor(delimiter: string, linesBefore: number) {
    this.#delimiter = delimiter.charCodeAt(0);
    this.linesBefore = linesBefore;
  }

  /** Forgets what it has and takes records from `next` on. `isLast`: the last one may have no end of its line. */
  walk(bytes: Uint8Array, isLast: boolean): Standstill {
    this.rows = 0;
    this.width = 0;
    const delimiter = this.#delimiter;
    // Every byte that means something is below.
    const highest = Math.max(delimiter, quote);
    let line = this.linesBefore;
    for (let at = this.next; ;) {
      const first = at;
      let begin = at;
      let slot = this.rows * this.width * 2;
      let cells = 0;
      let isQuoted = false;
      for (; ; at += 1) {
        const byte = at < bytes.length ? (bytes[at] as number) : isLast && at > first ? newline : -1;
        if (byte > highest) continue;
        if (byte < 0) return 'end';
        const isCell = byte === delimiter;
        if (!isCell && byte !== newline && byte !== carriageReturn) {
          if (byte !== quote) continue;
          if (at !== begin || isQuoted) return 'quotes';
          const end = quotedEnd(bytes, at + 1);
          // What follows the quote must end the cell.
          const next = bytes[end + 1];
          if (next === undefined && !isLast) return 'end';
          if (next !== undefined && next !== delimiter && next !== newline && next !== carriageReturn) return 'quotes';
          if (bytes[end] !== quote) return 'quotes';
          at = end;
          isQuoted = true;
          continue;
        }
        if (byte === carriageReturn) {
          const next = bytes[at + 1];
          if (next === undefined && !isLast) return 'end';
          if (next !== undefined && next !== newline) return 'quotes';
        }
        if (slot + 2 > this.places.length) this.places = grown(this.places);
        this.places[slot] = isQuoted ? begin + 1 : begin;
        this.places[slot + 1] = isQuoted ? at - 1 : at;
        slot += 2;
        cells += 1;
        if (!isCell) break;
        begin = at + 1;
        isQuoted = false;
      }
      const isEmpty = at === first;
      at += bytes[at] === carriageReturn ? 2 : 1;
      line += 1;
      if (!isEmpty) {
        if (this.rows > 0 && cells !== this.width) return 'width';
        this.width = cells;
        if (this.rows === this.lines.length) this.lines = grown(this.lines);
        this.lines[this.rows] = line;
        this.rows += 1;
      }
      this.next = at;
      this.linesBefore = line;
      if ((this.rows + 1) * this.width > cellsAtOnce) return 'full';
    }
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

function grown(values: Int32Array): Int32Array<ArrayBuffer> {
  const more = new Int32Array(values.length * 2);
  more.set(values);
  return more;
}

const [plus, minus, point, zero] = [0x2b, 0x2d, 0x2e, 0x30];
/** Doubles hold all of them, and all integers of so many digits: the quotient of two of these is the nearest double there is. */
const powers = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
const exactDigits = 15;
const nearDigits = 19;
/** Of a number of up to `nearDigits` digits, what adding them up and dividing may be off, and more. */
const nearness = 2 ** -48;

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
