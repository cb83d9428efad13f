/** Cuts the input order into mini-batches, a page of the listing at a time. */
import { limits } from '../../common/core/limits.ts';
import type { MiniBatchSize } from '../../common/core/deployment.ts';

/** Files that were listed and are not yet in a mini-batch. */
export interface OpenCut {
  readonly files: number;
  readonly bytes: number;
}

export const emptyCut: OpenCut = { files: 0, bytes: 0 };

export interface Cuts {
  /** Files of each new mini-batch, in order; the first one takes the open files in. */
  readonly sizes: readonly number[];
  readonly open: OpenCut;
}

/** Whether a mini-batch of `cut` is full before a file of `nextBytes` is added. */
function isFull(cut: OpenCut, nextBytes: number, size: MiniBatchSize): boolean {
  if (cut.files === 0) return false;
  if (cut.files >= limits.miniBatchFilesMax) return true;
  switch (size.kind) {
    case 'files':
      return cut.files >= size.files;
    case 'bytes':
      return cut.bytes + nextBytes > size.bytes;
    case 'auto':
      return cut.files >= limits.miniBatchAutoFiles || cut.bytes + nextBytes > limits.miniBatchAutoBytes;
  }
}

/** `sizesBytes`: size of each file of the page, in input order. A file larger than the wanted bytes is alone. */
export function cutPage(open: OpenCut, sizesBytes: ArrayLike<number>, size: MiniBatchSize): Cuts {
  const sizes: number[] = [];
  let { files, bytes } = open;
  for (let index = 0; index < sizesBytes.length; index += 1) {
    const fileBytes = sizesBytes[index] as number;
    if (isFull({ files, bytes }, fileBytes, size)) {
      sizes.push(files);
      files = 0;
      bytes = 0;
    }
    files += 1;
    bytes += fileBytes;
  }
  if (size.kind === 'files' && files === size.files) {
    sizes.push(files);
    files = 0;
    bytes = 0;
  }
  return { sizes, open: { files, bytes } };
}

/** The listing has ended: what is open is the last mini-batch. */
export function cutEnd(open: OpenCut): readonly number[] {
  return open.files > 0 ? [open.files] : [];
}
