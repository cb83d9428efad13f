/** Memory that files are read into one after the other: with memory of its own for each, as it grows old while others are decoded, V8 looks for it all over its heap. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { limits } from '../../common/core/limits.ts';

export class ReadRoom {
  readonly #free: Buffer[] = [];
  #freeBytes = 0;

  /** The whole file, until it is given back. @throws what opening and reading throw */
  read(path: string): Buffer {
    const file = openSync(path, 'r');
    try {
      let room = this.#take();
      let at = 0;
      for (;;) {
        const bytesRead = readSync(file, room, at, room.length - at, null);
        if (bytesRead === 0) return room.subarray(0, at);
        at += bytesRead;
        // One byte more than there is, so that its end is seen without growing again.
        if (at === room.length) room = grown(room, Math.max(fstatSync(file).size + 1, 2 * at));
      }
    } finally {
      closeSync(file);
    }
  }

  /** What was read, and nobody looks at any more. */
  give({ buffer }: Buffer): void {
    if (this.#freeBytes + buffer.byteLength > limits.readRoomBytesMax) return;
    this.#free.push(Buffer.from(buffer));
    this.#freeBytes += buffer.byteLength;
  }

  #take(): Buffer {
    const room = this.#free.pop();
    this.#freeBytes -= room?.length ?? 0;
    return room ?? Buffer.allocUnsafeSlow(limits.readRoomBytesMin);
  }
}

function grown(room: Buffer, bytes: number): Buffer {
  const larger = Buffer.allocUnsafeSlow(bytes);
  room.copy(larger);
  return larger;
}
