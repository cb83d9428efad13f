/** Files from their beginning to their end, in bounded memory. */
import { createHash } from 'node:crypto';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import type { SealedFile } from './sealed-lines.ts';

const blockBytes = 1_048_576;

/** A block is overwritten by the next one. */
export async function* blocksOf(file: OpenFile): AsyncGenerator<Uint8Array, void, void> {
  const block = Buffer.allocUnsafe(blockBytes);
  let at = 0;
  for (let count = await file.read(block, at); count > 0; count = await file.read(block, at)) {
    at += count;
    yield block.subarray(0, count);
  }
}

export async function digestFile(fileSystem: FileSystem, path: string): Promise<Omit<SealedFile, 'path'>> {
  const file = await fileSystem.open(path, 'read');
  try {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const block of blocksOf(file)) {
      hash.update(block);
      bytes += block.length;
    }
    return { bytes, sha256: hash.digest('hex') };
  } finally {
    await file.close();
  }
}
