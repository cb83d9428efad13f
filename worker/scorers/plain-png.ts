/**
 * Small PNGs of the plainest kind: 8 bits a channel, grey or RGB, not interlaced. Of an image of a few hundred pixels libvips takes
 * some 400 µs, and most of that is its own making ready; this takes 10. What is not plain, or not quite right, is not for this file to judge.
 */
import { crc32, inflateSync } from 'node:zlib';

/** 8 bits a channel, interleaved: RGB, or grey alone. */
export interface Pixels {
  readonly data: Uint8Array;
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
}

/** What a PNG says of itself in its first bytes. @source PNG specification, 11.2.2 IHDR */
export interface PngHeader {
  readonly width: number;
  readonly height: number;
  readonly isGrey: boolean;
  /** Channels of an image that is plain; null: it is not. */
  readonly plainChannels: 1 | 3 | null;
}

/** Null for other formats. */
export function pngHeaderOf(bytes: Buffer): PngHeader | null {
  if (bytes.length < 33 || bytes.readUInt32BE(0) !== 0x89504e47) return null;
  const [depth, colour, compression, filter, interlace] = bytes.subarray(24, 29);
  const isPlain = depth === 8 && compression === 0 && filter === 0 && interlace === 0;
  return {
    width: bytes.readUInt32BE(16),
    height: bytes.readUInt32BE(20),
    isGrey: colour === 0,
    plainChannels: isPlain && colour === 0 ? 1 : isPlain && colour === 2 ? 3 : null,
  };
}

/** The pixels; null when the file has anything in it that is not plain, or that is broken. */
export function decodePlainPng(bytes: Buffer, { width, height, plainChannels: channels }: PngHeader): Pixels | null {
  if (channels === null) return null;
  const packed = packedPixels(bytes);
  if (packed === null) return null;
  const stride = width * channels;
  const lines = inflated(packed, (stride + 1) * height);
  const data = lines && unfiltered(lines, stride, height, channels);
  return data && { data, channels, height, width };
}

const signature = 0x89504e470d0a1a0an;
const chunkName = (name: string): number => Buffer.from(name).readUInt32BE();
const [ihdr, idat, iend] = [chunkName('IHDR'), chunkName('IDAT'), chunkName('IEND')];
/** They change no pixel, and nobody looks into them. */
const ignored = new Set(['tEXt', 'tIME', 'pHYs', 'gAMA', 'cHRM', 'sRGB', 'bKGD'].map(chunkName));

/** The bytes of all IDAT chunks. @source PNG specification, 5.3 */
function packedPixels(bytes: Buffer): Uint8Array | null {
  if (bytes.readBigUInt64BE(0) !== signature) return null;
  const parts: Uint8Array[] = [];
  let last = 0;
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = bytes.readUInt32BE(at);
    const end = at + 8 + length;
    if (end + 4 > bytes.length || bytes.readUInt32BE(end) !== crc32(bytes.subarray(at + 4, end))) return null;
    const name = bytes.readUInt32BE(at + 4);
    const isFirst = at === 8;
    if (isFirst !== (name === ihdr) || (isFirst && length !== 13)) return null;
    if (name === idat) {
      if (parts.length > 0 && last !== idat) return null;
      parts.push(bytes.subarray(at + 8, end));
    } else if (name === iend) {
      return parts.length === 1 ? (parts[0] as Uint8Array) : parts.length > 1 ? Buffer.concat(parts) : null;
    } else if (!isFirst && !ignored.has(name)) return null;
    last = name;
    at = end + 4;
  }
  return null;
}

/** Null unless it is one stream of just so many bytes. */
function inflated(packed: Uint8Array, wanted: number): Uint8Array | null {
  try {
    // zlib's types do not know what `info` gives.
    const found = inflateSync(packed, { info: true, chunkSize: Math.max(64, wanted + 1) }) as unknown as {
      readonly buffer: Uint8Array;
      readonly engine: { readonly bytesWritten: number };
    };
    return found.buffer.length === wanted && found.engine.bytesWritten === packed.length ? found.buffer : null;
  } catch {
    return null;
  }
}

/**
 * Each line begins with the way in which it says what differs from the pixel to the left (`a`), above (`b`) and above that (`c`).
 * @source PNG specification, 9.2
 */
function unfiltered(lines: Uint8Array, stride: number, height: number, step: number): Uint8Array | null {
  const data = new Uint8Array(stride * height);
  for (let row = 0, from = 0, to = 0; row < height; row += 1) {
    const way = lines[from] as number;
    from += 1;
    if (way > 4) return null;
    const above = row === 0 ? null : to - stride;
    if (way === 0 || (way === 2 && above === null)) data.set(lines.subarray(from, from + stride), to);
    else if (way === 1) left(lines, from, data, to, stride, step);
    else if (way === 2) up(lines, from, data, to, stride);
    else if (way === 3) average(lines, from, data, to, stride, step, above);
    // Above the first line is nothing, so that the pixel to the left is always the nearest.
    else if (above === null) left(lines, from, data, to, stride, step);
    else paeth(lines, from, data, to, stride, step);
    from += stride;
    to += stride;
  }
  return data;
}

function left(lines: Uint8Array, from: number, data: Uint8Array, to: number, stride: number, step: number): void {
  for (let i = 0; i < step; i += 1) data[to + i] = lines[from + i] as number;
  for (let i = step; i < stride; i += 1) data[to + i] = (lines[from + i] as number) + (data[to + i - step] as number);
}

function up(lines: Uint8Array, from: number, data: Uint8Array, to: number, stride: number): void {
  for (let i = 0; i < stride; i += 1) data[to + i] = (lines[from + i] as number) + (data[to + i - stride] as number);
}

function average(
  lines: Uint8Array,
  from: number,
  data: Uint8Array,
  to: number,
  stride: number,
  step: number,
  above: number | null,
): void {
  for (let i = 0; i < stride; i += 1) {
    const a = i < step ? 0 : (data[to + i - step] as number);
    const b = above === null ? 0 : (data[above + i] as number);
    data[to + i] = (lines[from + i] as number) + ((a + b) >> 1);
  }
}

function paeth(lines: Uint8Array, from: number, data: Uint8Array, to: number, stride: number, step: number): void {
  for (let i = 0; i < step; i += 1) data[to + i] = (lines[from + i] as number) + (data[to + i - stride] as number);
  for (let i = step; i < stride; i += 1) {
    const a = data[to + i - step] as number;
    const b = data[to + i - stride] as number;
    const c = data[to + i - stride - step] as number;
    const fromA = Math.abs(b - c);
    const fromB = Math.abs(a - c);
    const fromC = Math.abs(a + b - c - c);
    const nearest = fromA <= fromB && fromA <= fromC ? a : fromB <= fromC ? b : c;
    data[to + i] = (lines[from + i] as number) + nearest;
  }
}
