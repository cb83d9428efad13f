/**
 * The LZ4 frame format, which Arrow files are compressed in. The libraries at hand decode single blocks only, while blocks of a frame
 * may refer to the bytes of those before them.
 * @source LZ4 frame format 1.6.1 and LZ4 block format
 */

const magic = 0x184d2204;
const blockBytesMax: readonly number[] = [0, 0, 0, 0, 65_536, 262_144, 1_048_576, 4_194_304];

/** The bytes of one frame. Throws an Error for what is no frame; checksums are not looked at, as Arrow's writers write none. */
export function decodeLz4Frame(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 7 || view.getUint32(0, true) !== magic) throw new Error('no LZ4 frame');
  const flags = view.getUint8(4);
  const [hasBlockSums, hasSize, hasDictionary] = [flags & 16, flags & 8, flags & 1];
  if (flags >> 6 !== 1 || hasDictionary) throw new Error('an LZ4 frame of another version, or with a dictionary');
  const blockMax = blockBytesMax[(view.getUint8(5) >> 4) & 7] ?? 0;
  let at = 7 + (hasSize ? 8 : 0);
  const output = new Output(hasSize ? Number(view.getBigUint64(6, true)) : 0, blockMax);
  for (;;) {
    const head = view.getUint32(at, true);
    at += 4;
    if (head === 0) return output.bytes();
    const length = head & 0x7fffffff;
    if (length > blockMax || at + length > bytes.length) throw new Error('an LZ4 block that is too long');
    const block = bytes.subarray(at, at + length);
    if (head >>> 31) output.append(block);
    else decodeBlock(block, output);
    at += length + (hasBlockSums ? 4 : 0);
  }
}

/** Grows by blocks: a size that the frame claims is no reason to make room at once. */
class Output {
  #buffer: Uint8Array;
  #length = 0;

  constructor(bytesClaimed: number, blockMax: number) {
    this.#buffer = new Uint8Array(Math.min(bytesClaimed, 64 * blockMax));
  }

  append(part: Uint8Array): void {
    this.#reserve(part.length);
    this.#buffer.set(part, this.#length);
    this.#length += part.length;
  }

  /** Repeats `count` bytes from `distance` before the end; they may overlap what is being written. */
  repeat(distance: number, count: number): void {
    if (distance === 0 || distance > this.#length) throw new Error('an LZ4 match before the begin');
    this.#reserve(count);
    const from = this.#length - distance;
    if (distance >= count) this.#buffer.copyWithin(this.#length, from, from + count);
    else for (let i = 0; i < count; i += 1) this.#buffer[this.#length + i] = this.#buffer[from + i] as number;
    this.#length += count;
  }

  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(this.#length + count, 2 * this.#buffer.length));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = grown;
  }
}

/** A run of tokens: some literal bytes, then a match; the last one ends after its literals. */
function decodeBlock(block: Uint8Array, output: Output): void {
  let at = 0;
  const lengthFrom = (short: number): number => {
    let length = short;
    if (short < 15) return length;
    for (let more = 255; more === 255; length += more) {
      more = block[at++] ?? 256;
      if (more === 256) throw new Error('an LZ4 block that is cut');
    }
    return length;
  };
  while (at < block.length) {
    const token = block[at++] as number;
    const literals = lengthFrom(token >> 4);
    if (at + literals > block.length) throw new Error('an LZ4 block that is cut');
    output.append(block.subarray(at, at + literals));
    at += literals;
    if (at === block.length) return;
    const distance = (block[at] as number) | ((block[at + 1] ?? 0) << 8);
    at += 2;
    output.repeat(distance, lengthFrom(token & 15) + 4);
  }
}
