/** Writing to a file so that all of it is there: the system may write less than it was given, always so just before a disk is full. */
import type { FileHandle } from 'node:fs/promises';

/**
 * Resolves when every byte is written; `position` null: where the file stands. Rejects with what the system says (ENOSPC, EIO, …), with
 * EIO when it takes nothing and says nothing; some of the bytes may be there then.
 */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position: number | null): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const at = position === null ? null : position + done;
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at);
    if (bytesWritten === 0) throw noneTaken(bytes.length - done, bytes.length);
    done += bytesWritten;
  }
}

/** Of a write that took nothing, which said again and again would never end. */
export function noneTaken(left: number, length: number): Error {
  return Object.assign(new Error(`the system took none of the last ${left} of ${length} bytes`), { code: 'EIO' });
}
