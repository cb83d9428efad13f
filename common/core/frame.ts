/**
 * Frames between worker node and scoring host: `length` u32, `type` u8, `crc` u32 (CRC-32 of type and payload), payload.
 * Little endian; `length` counts the payload only. The checksum function is an argument, so that this file stays pure.
 * `docs/host-protocol.md` has the messages, `test/fixtures/frames.json` the vectors that both languages must meet.
 */
import { BatchError } from './batch-error.ts';
import { limits } from './limits.ts';

export const frameHeaderBytes = 9;

/** CRC-32 as zlib computes it; `previous` continues an earlier one. */
export type Crc32 = (bytes: Uint8Array, previous?: number) => number;

export interface Frame {
  readonly type: number;
  readonly payload: Uint8Array;
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

/**
 * Cuts a byte stream into frames. Feed it whatever arrives; payloads are views of one copy each.
 * A length above the limit or a wrong checksum throws FRAME_CORRUPT, after which the stream is of no use.
 */
export class FrameReader {
  readonly #crc32: Crc32;
  #pending: Uint8Array[] = [];
  #bytes = 0;

  constructor(crc32: Crc32) {
    this.#crc32 = crc32;
  }

  push(bytes: Uint8Array): Frame[] {
    this.#pending.push(bytes);
    this.#bytes += bytes.length;
    const frames: Frame[] = [];
    for (let frame = this.#next(); frame; frame = this.#next()) frames.push(frame);
    return frames;
  }

  #next(): Frame | undefined {
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
    if (this.#bytes < frameHeaderBytes + length) return undefined;
    const whole = this.#take(frameHeaderBytes + length);
    const type = whole[4] as number;
    const payload = whole.subarray(frameHeaderBytes);
    const wanted = view.getUint32(5, true);
    const found = this.#crc32(payload, this.#crc32(whole.subarray(4, 5)));
    if (wanted !== found) {
      throw new BatchError('FRAME_CORRUPT', `a frame of type ${type} has checksum ${found}, its header says ${wanted}`);
    }
    return { type, payload };
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
