/**
 * Segments of a sealed output: runs of mini-batches that lie behind one another in it, each with a checksum, so that damage
 * found later is located. Bytes are read once for segments and digest; each mini-batch's are held against what was committed.
 */
import { crc32 } from 'node:zlib';
import { combineCrc32 } from '../../common/core/crc32-combine.ts';
import { limits } from '../../common/core/limits.ts';
import type { SegmentLine } from './sealed-lines.ts';

/** A mini-batch as it lies in the output, in input order; `bytes` 0 for one that has no rows there. */
export interface OutputPlace {
  /** First ordinal and number of input files. */
  readonly first: number;
  readonly count: number;
  readonly rows: number;
  readonly bytes: number;
  /** As committed. */
  readonly crc32: number;
  readonly isCommitted: boolean;
  /** Nobody knows which of its rows are of which file: it has a segment of its own, so that what takes rows from here finds them. */
  readonly isOpaque?: boolean;
}

export interface OutputLayout {
  /** What stands before the first row; empty for none. */
  readonly prologue: Uint8Array;
  /** All mini-batches; their bytes follow each other without a gap. */
  readonly places: Iterable<OutputPlace>;
  /** What stands behind the last row; null or empty for nothing. */
  readonly epilogue?: Uint8Array | null;
}

/** A mini-batch whose bytes in the file are not those that were committed. */
export interface DamagedPlace {
  readonly first: number;
  readonly count: number;
  readonly offset: number;
  readonly bytes: number;
}

interface OpenSegment {
  readonly offset: number;
  readonly first: number;
  bytes: number;
  files: number;
  rows: number;
  miniBatches: number;
  crc: number;
}

/** Give it the bytes of the output in order, then call {@link end}. */
export class SegmentWalk {
  readonly damaged: DamagedPlace[] = [];
  readonly #onLine: (line: SegmentLine) => void;
  readonly #places: Iterator<OutputPlace>;
  readonly #segmentBytes: number;
  #place: OutputPlace | null = null;
  #isPrologue: boolean;
  /** Of the mini-batch before. */
  #isOpaque = false;
  #epilogue: Uint8Array;
  #left = 0;
  #crc = 0;
  /** As it was before the current mini-batch. */
  #open: OpenSegment;

  constructor(
    layout: OutputLayout,
    onLine: (line: SegmentLine) => void,
    segmentBytes: number = limits.sealedSegmentBytes,
  ) {
    this.#onLine = onLine;
    this.#segmentBytes = segmentBytes;
    this.#places = layout.places[Symbol.iterator]();
    this.#open = emptySegment(0, 0);
    this.#epilogue = layout.epilogue ?? new Uint8Array(0);
    this.#isPrologue = layout.prologue.length > 0;
    if (this.#isPrologue) {
      const { prologue } = layout;
      this.#begin({ first: 0, count: 0, rows: 0, bytes: prologue.length, crc32: crc32(prologue), isCommitted: false });
    } else this.#advance();
  }

  /** Behind the last byte that belongs to a mini-batch seen so far. */
  get offset(): number {
    return this.#open.offset + this.#open.bytes;
  }

  /** How many of `bytes` belong to the output; fewer only when the file is longer than that. */
  push(bytes: Uint8Array): number {
    let at = 0;
    while (this.#place !== null && at < bytes.length) {
      const part = bytes.subarray(at, at + this.#left);
      this.#crc = crc32(part, this.#crc);
      at += part.length;
      this.#left -= part.length;
      if (this.#left > 0) break;
      this.#finish(this.#place);
      this.#advance();
    }
    return at;
  }

  /** The file has ended: what is missing of it is damaged. Returns the bytes that the output should have. */
  end(): number {
    while (this.#place !== null) {
      this.#crc = ~this.#place.crc32 >>> 0;
      this.#finish(this.#place);
      this.#advance();
    }
    this.#close();
    return this.#open.offset;
  }

  /** To the next mini-batch that has bytes; those without are counted on the way. */
  #advance(): void {
    this.#place = null;
    for (let next = this.#places.next(); next.done !== true; next = this.#places.next()) {
      const place = next.value;
      if (this.#open.bytes >= this.#segmentBytes || place.isOpaque === true || this.#isOpaque) this.#close();
      this.#isOpaque = place.isOpaque === true;
      if (place.bytes > 0) return this.#begin(place);
      this.#count(place);
    }
    this.#advanceToEpilogue();
  }

  /** Like the prologue a segment of its own, without files. */
  #advanceToEpilogue(): void {
    const epilogue = this.#epilogue;
    if (epilogue.length === 0) return;
    this.#epilogue = new Uint8Array(0);
    this.#close();
    const { first } = this.#open;
    this.#begin({ first, count: 0, rows: 0, bytes: epilogue.length, crc32: crc32(epilogue), isCommitted: false });
  }

  #begin(place: OutputPlace): void {
    this.#place = place;
    this.#left = place.bytes;
    this.#crc = 0;
  }

  #finish(place: OutputPlace): void {
    if (this.#crc === place.crc32) {
      this.#count(place);
      this.#open.bytes += place.bytes;
      this.#open.crc = combineCrc32(this.#open.crc, place.crc32, place.bytes);
    } else {
      // Alone, with the checksum that was committed: the manifest must not vouch for what the disk made of it.
      this.#close();
      this.damaged.push({ first: place.first, count: place.count, offset: this.offset, bytes: place.bytes });
      this.#count(place);
      this.#open.bytes = place.bytes;
      this.#open.crc = place.crc32;
      this.#close();
    }
    if (this.#isPrologue) this.#close();
    this.#isPrologue = false;
  }

  #count(place: OutputPlace): void {
    this.#open.files = place.first + place.count - this.#open.first;
    this.#open.rows += place.rows;
    if (place.isCommitted) this.#open.miniBatches += 1;
  }

  #close(): void {
    const { offset, first, bytes, files, rows, miniBatches, crc } = this.#open;
    if (bytes === 0 && files === 0) return;
    this.#onLine({ offset, bytes, crc32: hex32(crc), first, files, rows, mini_batches: miniBatches });
    this.#open = emptySegment(offset + bytes, first + files);
  }
}

function emptySegment(offset: number, first: number): OpenSegment {
  return { offset, first, bytes: 0, files: 0, rows: 0, miniBatches: 0, crc: 0 };
}

/** Eight hex digits. */
export function hex32(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0');
}
