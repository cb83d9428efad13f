/** Lines of text as their bytes, written cell by cell without a text of the whole line, which costs several times as much. */
import { putSingle, singleBytesMax } from './float-digits.ts';

const bytesAtFirst = 4_096;
/** A piece of limits.frameRowsBytes, and the row that filled it. */
const bytesKept = 4_194_304;
/** A letter of a JavaScript string has so many bytes at most in UTF-8. */
const letterBytesMax = 3;
/** Below, a loop is faster than the way out of JavaScript and back. */
const loopLettersMax = 48;
/** Digits of a safe integer, and its sign. */
const integerBytesMax = 17;

const wordMax = 2 ** 31 - 1;

const newline = 0x0a;
const minus = 0x2d;
const zero = 0x30;

/** One that nobody writes to, so that the next lines do not have to begin small and grow. */
let spare: Buffer | null = null;

export class ByteLines {
  #bytes: Buffer;
  #length = 0;

  constructor() {
    this.#bytes = spare ?? Buffer.allocUnsafeSlow(bytesAtFirst);
    spare = null;
  }

  /** Bytes that were written and not taken. */
  get length(): number {
    return this.#length;
  }

  text(text: string): void {
    const { length } = text;
    this.#makeRoom(length * letterBytesMax);
    if (length > loopLettersMax) {
      this.#length += this.#bytes.write(text, this.#length);
      return;
    }
    const bytes = this.#bytes;
    const from = this.#length;
    for (let i = 0; i < length; i += 1) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) {
        this.#length = from + bytes.write(text, from);
        return;
      }
      bytes[from + i] = code;
    }
    this.#length = from + length;
  }

  /** A safe integer. */
  integer(value: number): void {
    this.#makeRoom(integerBytesMax);
    const bytes = this.#bytes;
    let at = this.#length;
    if (value < 0) bytes[at++] = minus;
    let left = Math.abs(value);
    let digits = 1;
    for (let power = 10; left >= power; power *= 10) digits += 1;
    at += digits;
    this.#length = at;
    for (; left > wordMax; digits -= 1) {
      const tenth = Math.floor(left / 10);
      bytes[(at -= 1)] = zero + left - tenth * 10;
      left = tenth;
    }
    // A processor divides integers of 32 bits without going by way of doubles.
    for (let word = left | 0; digits > 0; digits -= 1) {
      const tenth = (word / 10) | 0;
      bytes[(at -= 1)] = zero + word - tenth * 10;
      word = tenth;
    }
  }

  /** A float32 as `floatText` has it; false: nothing was written, its text has to be. */
  single(value: number): boolean {
    this.#makeRoom(singleBytesMax);
    const end = putSingle(this.#bytes, this.#length, value);
    if (end >= 0) this.#length = end;
    return end >= 0;
  }

  /** One letter of ASCII. */
  letter(code: number): void {
    this.#makeRoom(1);
    this.#bytes[this.#length++] = code;
  }

  end(): void {
    this.letter(newline);
  }

  /** What was written since this was last asked for; the caller's. */
  take(): Uint8Array {
    const taken = Buffer.allocUnsafeSlow(this.#length);
    this.#bytes.copy(taken, 0, 0, this.#length);
    this.#length = 0;
    return taken;
  }

  /** Nothing is written any more. */
  close(): void {
    if (this.#bytes.length <= bytesKept) spare = this.#bytes;
    this.#bytes = Buffer.alloc(0);
  }

  #makeRoom(bytes: number): void {
    const wanted = this.#length + bytes;
    if (wanted <= this.#bytes.length) return;
    const more = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, wanted));
    this.#bytes.copy(more, 0, 0, this.#length);
    this.#bytes = more;
  }
}
