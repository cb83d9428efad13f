/**
 * Frames between worker node and scoring host: `length` u32, `type` u8, `crc` u32 (CRC-32 of type and payload), payload.
 * Little endian; `length` counts the payload only. The checksum function is an argument, so that this file stays pure.
 * `docs/host-protocol.md` has the messages, `test/fixtures/frames.json` the vectors that both languages must meet.
 */
import { BatchError } from './batch-error.ts';
import { combineCrc32 } from './crc32-combine.ts';
import { limits } from './limits.ts';

export const frameHeaderBytes = 9;

/** CRC-32 as zlib computes it; `previous` continues an earlier one. */
export type Crc32 = (bytes: Uint8Array, previous?: number) => number;

export interface Frame {
  readonly type: number;
  readonly payload: Uint8Array;
}

/** A frame, or one part of a frame whose type is read in parts. */
export interface FramePart extends Frame {
  /** Of this payload alone. */
  readonly crc32: number;
}

/** The 9 bytes that stand before `payload`. */
export function frameHeader(type: number, payload: Uint8Array, crc32: Crc32): Uint8Array {
  const header = new Uint8Array(frameHeaderBytes);
  const view = new DataView(header.buffer);
  view.setUint32(0, payload.length, true);
  header[4] = type;
  view.setUint32(5, crc32(payload, crc32(header.subarray(4, 5))), true);
  return header;
}

/** A frame of which a part has been handed on. */
interface OpenFrame {
  readonly type: number;
  readonly wanted: number;
  /** Of type and payload so far. */
  sum: number;
  left: number;
}

/**
 * Cuts a byte stream into frames. Feed it whatever arrives; payloads are views of it, or of one copy each where they came in pieces.
 * A length above the limit or a wrong checksum throws FRAME_CORRUPT, after which the stream is of no use.
 *
 * Frames of the type `inParts` are handed on as they come, without being gathered first: in parts, of which only the last one's checksum
 * can be wrong. Whoever takes them must be able to let go of them.
 */
export class FrameReader {
  readonly #crc32: Crc32;
  readonly #inParts: number | null;
  #open: OpenFrame | null = null;
  #pending: Uint8Array[] = [];
  #bytes = 0;

  constructor(crc32: Crc32, inParts: number | null = null) {
    this.#crc32 = crc32;
    this.#inParts = inParts;
  }

  push(bytes: Uint8Array): FramePart[] {
    this.#pending.push(bytes);
    this.#bytes += bytes.length;
    const frames: FramePart[] = [];
    for (let frame = this.#next(); frame; frame = this.#next()) frames.push(frame);
    return frames;
  }

  #next(): FramePart | undefined {
    if (this.#open) return this.#part(this.#open);
    if (this.#bytes < frameHeaderBytes) return undefined;
    const header = this.#peek(frameHeaderBytes);
    const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
    const length = view.getUint32(0, true);
    if (length > limits.framePayloadBytesMax) {
      throw new BatchError(
        'FRAME_CORRUPT',
        `a frame of ${length} bytes is above the limit of ${limits.framePayloadBytesMax}`,
      );
    }
    const type = header[4] as number;
    if (type !== this.#inParts && this.#bytes < frameHeaderBytes + length) return undefined;
    const wanted = view.getUint32(5, true);
    const sum = this.#crc32(header.subarray(4, 5));
    this.#take(frameHeaderBytes);
    if (type === this.#inParts) {
      this.#open = { type, wanted, sum, left: length };
      return this.#part(this.#open);
    }
    const payload = this.#take(length);
    const own = this.#crc32(payload);
    check(type, wanted, combineCrc32(sum, own, length));
    return { type, payload, crc32: own };
  }

  /** What has come of the frame; undefined when that is nothing. */
  #part(open: OpenFrame): FramePart | undefined {
    const first = this.#pending[0];
    if (open.left > 0 && first === undefined) return undefined;
    const payload = this.#take(Math.min(open.left, first?.length ?? 0));
    const { type } = open;
    const own = this.#crc32(payload);
    open.sum = combineCrc32(open.sum, own, payload.length);
    open.left -= payload.length;
    if (open.left === 0) {
      this.#open = null;
      check(type, open.wanted, open.sum);
    }
    return { type, payload, crc32: own };
  }

  /** The first `count` bytes without removing them; copied only when they span two arrivals. */
  #peek(count: number): Uint8Array {
    const first = this.#pending[0] as Uint8Array;
    return first.length >= count ? first.subarray(0, count) : this.#gather(count);
  }

  #gather(count: number): Uint8Array {
    const out = new Uint8Array(count);
    let at = 0;
    for (const piece of this.#pending) {
      const part = piece.subarray(0, count - at);
      out.set(part, at);
      at += part.length;
      if (at === count) break;
    }
    return out;
  }

  #take(count: number): Uint8Array {
    if (count === 0) return new Uint8Array(0);
    const first = this.#pending[0] as Uint8Array;
    this.#bytes -= count;
    if (first.length > count) {
      this.#pending[0] = first.subarray(count);
      return first.subarray(0, count);
    }
    const out = first.length === count ? first : this.#gather(count);
    let left = count;
    let used = 0;
    while (left > 0) {
      const piece = this.#pending[used] as Uint8Array;
      if (piece.length > left) {
        this.#pending[used] = piece.subarray(left);
        break;
      }
      left -= piece.length;
      used += 1;
    }
    this.#pending.splice(0, used);
    return out;
  }
}

function check(type: number, wanted: number, found: number): void {
  if (wanted !== found) {
    throw new BatchError('FRAME_CORRUPT', `a frame of type ${type} has checksum ${found}, its header says ${wanted}`);
  }
}
