/**
 * Bytes that stay in memory for a while, in blocks that are used again. What lives as long as results do is old when it goes, and only the
 * collector's slowest round frees it: with memory of their own for each, results of a megabyte had the worker node do little else.
 */
import { limits } from '../core/limits.ts';

/** As an upload sends them. */
const blockBytes = limits.uploadChunkBytes;
/** Of 16 MiB: what is more goes back to the system when it has been used. */
const freeBlocksMax = 64;

const free: Buffer[] = [];
let made = 0;

/** Blocks that were ever made. */
export function blocksMade(): number {
  return made;
}

export class HeldBytes {
  /** All but the last one are full. */
  #blocks: Buffer[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Copies them. */
  add(piece: Uint8Array): void {
    for (let at = 0; at < piece.length;) {
      const used = this.#bytes % blockBytes;
      if (used === 0) this.#blocks.push(newBlock());
      const part = piece.subarray(at, at + blockBytes - used);
      (this.#blocks.at(-1) as Buffer).set(part, used);
      this.#bytes += part.length;
      at += part.length;
    }
  }

  /** Views of all bytes, one for each block. */
  parts(): readonly Uint8Array[] {
    return this.#blocks.map((block, place) =>
      block.subarray(0, Math.min(blockBytes, this.#bytes - place * blockBytes)),
    );
  }

  /** Nobody looks at them any more. */
  release(): void {
    for (const block of this.#blocks) if (free.length < freeBlocksMax) free.push(block);
    this.#blocks = [];
    this.#bytes = 0;
  }
}

function newBlock(): Buffer {
  const block = free.pop();
  if (block) return block;
  made += 1;
  return Buffer.allocUnsafeSlow(blockBytes);
}
