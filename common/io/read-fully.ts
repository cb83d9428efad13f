/** Reading from a file so that a read that gives less than was asked for is not taken for the end. */
import type { FileHandle } from 'node:fs/promises';

/** Fills `into` from `position` on; gives the bytes that were there, fewer only at the end of the file. */
export async function readFully(file: Pick<FileHandle, 'read'>, into: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, into.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
