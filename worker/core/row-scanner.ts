/**
 * Finds where rows of text begin, by the rules of the readers (csv-records, json-blocks, pandas): bytes in, places out. It keeps nothing
 * but a few numbers, so that a scan may stop anywhere and go on from there later.
 *
 *   lineStart ─► blank ─► plain ─► lineStart …
 *           └──────────►  quoted ◄─► quoteInQuoted ─► plain, lineStart
 *
 * A quote that does not stand at the beginning of a cell is a letter, as pandas has it. Our own reader refuses such a row; the rows behind
 * it are found all the same, so that nothing fails but what has it.
 */

export type RowForm =
  /** One row a line; lines of nothing but spaces are none. */
  | { readonly kind: 'lines' }
  /** Rows of cells, after a header that is none. `isPandas`: lines of nothing but spaces are no rows either. */
  | { readonly kind: 'csv'; readonly delimiter: number; readonly isPandas: boolean };

/** JSON Lines: the columns of a file are those of the lines within its first so many bytes. */
export const linesHeadBytes = 262_144;

type Mode = 'lineStart' | 'blank' | 'plain' | 'quoted' | 'quoteInQuoted';

/** Where a scan stands. */
export interface ScanState {
  /** Bytes before it. */
  readonly offset: number;
  /** Rows that began before it, a header included. */
  readonly records: number;
  /** Number of the line, from 1, as the readers count them. */
  readonly line: number;
  readonly mode: Mode;
  /** A newline that comes next belongs to the return before it. */
  readonly isBehindReturn: boolean;
  /** A quote that comes next begins a cell. */
  readonly isBehindDelimiter: boolean;
}

const [newline, carriageReturn, quote, space, tab] = [0x0a, 0x0d, 0x22, 0x20, 0x09];
const byteOrderMark = [0xef, 0xbb, 0xbf] as const;

/** Blank bytes of a line of JSON Lines. */
const isBlank = (byte: number): boolean =>
  byte === space || (byte >= tab && byte <= carriageReturn && byte !== newline);

export class RowScanner {
  readonly #form: RowForm;
  #offset: number;
  #records: number;
  #line: number;
  #mode: Mode;
  #isBehindReturn: boolean;
  #isBehindDelimiter: boolean;

  /** Without a state, from the beginning of a file. */
  constructor(form: RowForm, from?: ScanState) {
    this.#form = form;
    this.#offset = from?.offset ?? 0;
    this.#records = from?.records ?? 0;
    this.#line = from?.line ?? 1;
    this.#mode = from?.mode ?? 'lineStart';
    this.#isBehindReturn = from?.isBehindReturn ?? false;
    this.#isBehindDelimiter = from?.isBehindDelimiter ?? false;
  }

  get state(): ScanState {
    return {
      offset: this.#offset,
      records: this.#records,
      line: this.#line,
      mode: this.#mode,
      isBehindReturn: this.#isBehindReturn,
      isBehindDelimiter: this.#isBehindDelimiter,
    };
  }

  /**
   * Goes on from `bytes[from]`, which is the byte where the scan stands, to the first line at or behind the offset `target` where a row
   * may begin, and gives its place in `bytes`; −1 when all of them are used up before. The first piece of a file has three bytes at least.
   */
  seek(bytes: Uint8Array, from: number, target: number): number {
    const found =
      this.#form.kind === 'lines' ? this.#seekLine(bytes, from, target) : this.#seekRecord(bytes, from, target);
    this.#offset += (found < 0 ? bytes.length : found) - from;
    return found;
  }

  #afterMark(bytes: Uint8Array, from: number): number {
    return this.#offset === 0 && byteOrderMark.every((byte, i) => bytes[from + i] === byte) ? from + 3 : from;
  }

  #seekLine(bytes: Uint8Array, from: number, target: number): number {
    const base = this.#offset - from;
    let i = this.#afterMark(bytes, from);
    while (i < bytes.length) {
      if (this.#mode === 'lineStart') {
        if (base + i >= target) return i;
        this.#mode = 'blank';
      }
      if (this.#mode === 'blank') {
        while (i < bytes.length && isBlank(bytes[i] as number)) i += 1;
        if (i === bytes.length) return -1;
        if (bytes[i] !== newline) {
          this.#records += 1;
          this.#mode = 'plain';
        }
      }
      const end = bytes.indexOf(newline, i);
      if (end < 0) return -1;
      this.#line += 1;
      this.#mode = 'lineStart';
      i = end + 1;
    }
    return -1;
  }

  #seekRecord(bytes: Uint8Array, from: number, target: number): number {
    const { delimiter, isPandas } = this.#form as Extract<RowForm, { kind: 'csv' }>;
    const base = this.#offset - from;
    const length = bytes.length;
    let mode = this.#mode;
    let line = this.#line;
    let i = this.#afterMark(bytes, from);
    let found = -1;
    scan: while (i < length) {
      switch (mode) {
        case 'lineStart': {
          const byte = bytes[i] as number;
          const isBehindReturn = this.#isBehindReturn;
          this.#isBehindReturn = false;
          if (byte === newline && isBehindReturn) {
            i += 1;
            break;
          }
          if (base + i >= target) {
            found = i;
            break scan;
          }
          if (byte === newline || byte === carriageReturn) {
            this.#isBehindReturn = byte === carriageReturn;
            line += 1;
            i += 1;
          } else if (isPandas && byte !== delimiter && (byte === space || byte === tab)) {
            mode = 'blank';
          } else {
            this.#records += 1;
            mode = byte === quote ? 'quoted' : 'plain';
            this.#isBehindDelimiter = false;
            i += 1;
            if (byte === delimiter) this.#isBehindDelimiter = true;
          }
          break;
        }
        case 'blank': {
          const byte = bytes[i] as number;
          if (byte === newline || byte === carriageReturn) {
            this.#isBehindReturn = byte === carriageReturn;
            line += 1;
            mode = 'lineStart';
          } else if (byte === delimiter || (byte !== space && byte !== tab)) {
            this.#records += 1;
            mode = 'plain';
            this.#isBehindDelimiter = byte === delimiter;
          }
          i += 1;
          break;
        }
        case 'plain': {
          // Whatever matters is no greater than a quote, but for the delimiter, which is looked back at.
          let byte = 0;
          const start = i;
          while (i < length && (byte = bytes[i] as number) > quote) i += 1;
          if (i > start) this.#isBehindDelimiter = bytes[i - 1] === delimiter;
          if (i === length) break;
          i += 1;
          if (byte === quote) {
            if (this.#isBehindDelimiter) mode = 'quoted';
          } else if (byte === newline || byte === carriageReturn) {
            this.#isBehindReturn = byte === carriageReturn;
            line += 1;
            mode = 'lineStart';
          }
          this.#isBehindDelimiter = byte === delimiter;
          break;
        }
        case 'quoted': {
          let byte = 0;
          while (i < length && (byte = bytes[i] as number) > quote) i += 1;
          if (i === length) break;
          i += 1;
          if (byte === quote) mode = 'quoteInQuoted';
          else if (byte === newline || byte === carriageReturn) line += 1;
          break;
        }
        case 'quoteInQuoted': {
          const byte = bytes[i] as number;
          i += 1;
          if (byte === quote) mode = 'quoted';
          else if (byte === newline || byte === carriageReturn) {
            this.#isBehindReturn = byte === carriageReturn;
            line += 1;
            mode = 'lineStart';
          } else {
            mode = 'plain';
            this.#isBehindDelimiter = byte === delimiter;
          }
          break;
        }
      }
    }
    this.#mode = mode;
    this.#line = line;
    return found;
  }
}
