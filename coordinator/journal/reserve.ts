/**
 * Bytes kept aside while there is room: given up when the disk is full, so that the journal can still record why everything
 * waits. The stall ends only when the reserve could be taken again.
 */
import { randomFillSync } from 'node:crypto';
import { errnoOf, isDiskFull } from '../../common/io/errno.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';

const blockBytes = 1_048_576;

export class Reserve {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #bytes: number;
  #isHeld = false;

  constructor(fileSystem: FileSystem, path: string, bytes: number) {
    this.#fileSystem = fileSystem;
    this.#path = path;
    this.#bytes = bytes;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Whether the reserve is held now; false when the disk is too full for it. */
  async take(): Promise<boolean> {
    if (this.#isHeld || (await this.#exists())) {
      this.#isHeld = true;
      return true;
    }
    try {
      await this.#fill();
      this.#isHeld = true;
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      await this.#fileSystem.remove(this.#path);
    }
    return this.#isHeld;
  }

  async release(): Promise<void> {
    this.#isHeld = false;
    await this.#fileSystem.remove(this.#path);
  }

  async #exists(): Promise<boolean> {
    let file: OpenFile;
    try {
      file = await this.#fileSystem.open(this.#path, 'read');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw error;
    }
    try {
      return (await file.sizeBytes()) >= this.#bytes;
    } finally {
      await file.close();
    }
  }

  async #fill(): Promise<void> {
    const file = await this.#fileSystem.open(this.#path, 'replace');
    try {
      // Random: a file system that compresses would keep nothing aside for zeros.
      const block = randomFillSync(Buffer.alloc(Math.min(blockBytes, this.#bytes)));
      for (let at = 0; at < this.#bytes; at += block.length) {
        await file.write([block.subarray(0, this.#bytes - at)], at);
      }
      await file.datasync();
    } finally {
      await file.close();
    }
  }
}
