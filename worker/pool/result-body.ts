/**
 * The bytes of one mini-batch: its rows, then the files that user code wrote. From the scoring host until the coordinator has them: in memory while they are
 * few, else in a file that has no name any more, so that a crash leaves nothing behind.
 */
import { mkdir, open, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { delay } from '../../common/io/delay.ts';
import { isDiskFull, reasonOf } from '../../common/io/errno.ts';

/** Bytes that may wait for the disk before the scoring host has to wait too. */
const behindBytesMax = 4_194_304;

/** On average, of pieces that are sent one by one. */
const unjoinedBytesMin = 65_536;

let spooled = 0;

export interface BodyPart {
  readonly bytes: number;
  /** As zlib computes it. */
  readonly crc32: number;
}

export class ResultBody {
  readonly #spoolDir: string;
  readonly #onWait: (reason: string) => void;
  /** Ends the wait for room; made when there is something to wait for, which few results have. */
  #over: AbortController | null = null;
  #isGivenUp = false;
  #isWaiting = false;
  #spooledBytes = 0;
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  #crc32 = 0;
  #rows: BodyPart | null = null;
  #customCrc32 = 0;
  #file: Promise<FileHandle> | null = null;
  #written: Promise<void> = Promise.resolve();
  #behindBytes = 0;
  #isDiscarded = false;

  /**
   * `spoolDir` is made when it is needed. `onWait` hears why the result has to wait for room on its disk, and an empty
   * text when it does not any more.
   */
  constructor(spoolDir: string, onWait: (reason: string) => void = () => undefined) {
    this.#spoolDir = spoolDir;
    this.#onWait = onWait;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** CRC-32 of all bytes, as zlib computes it. */
  get crc32(): number {
    return this.#crc32;
  }

  /** Of the rows: all bytes, or those before {@link beginCustom}. */
  get rows(): BodyPart {
    return this.#rows ?? { bytes: this.#bytes, crc32: this.#crc32 };
  }

  /** Of the files of user code, which stand behind the rows. */
  get custom(): BodyPart {
    return this.#rows ? { bytes: this.#bytes - this.#rows.bytes, crc32: this.#customCrc32 } : { bytes: 0, crc32: 0 };
  }

  /** The rows are complete; what is appended from here on are files beside them. Said again, nothing changes. */
  beginCustom(): void {
    this.#rows ??= { bytes: this.#bytes, crc32: this.#crc32 };
  }

  get isSpooled(): boolean {
    return this.#file !== null;
  }

  /** The spool's disk is full, and what has come of the result waits until it is not. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** True while {@link settled} should be awaited before more is appended. */
  get isBehind(): boolean {
    return this.#behindBytes > behindBytesMax;
  }

  /** Takes the piece over: the caller must not change it afterwards. Disk errors come out of {@link settled}. */
  append(piece: Uint8Array): void {
    invariant(!this.#isDiscarded, 'a discarded result takes no more bytes');
    this.#bytes += piece.length;
    this.#crc32 = crc32(piece, this.#crc32);
    if (this.#rows) this.#customCrc32 = crc32(piece, this.#customCrc32);
    this.#pieces.push(piece);
    if (this.#file !== null || this.#bytes > limits.spoolMemoryBytesMax) this.#spool();
  }

  /**
   * Resolves when all appended bytes are where they belong, however long the disk is full. Throws STATE_UNWRITABLE, and
   * DISK_FULL once nobody waits any more.
   */
  async settled(): Promise<void> {
    await this.#written;
  }

  /** All bytes, when they are few enough to travel inline; null otherwise. */
  inline(): Uint8Array | null {
    return this.#bytes <= limits.inlineResultBytesMax ? this.#inMemory() : null;
  }

  /** All bytes in pieces of `limits.uploadChunkBytes`, the last one shorter; may be asked for again. */
  pieces(): AsyncGenerator<Uint8Array, void, void> {
    return this.#piecesTo(this.#bytes);
  }

  /** The same of the rows alone. */
  rowPieces(): AsyncGenerator<Uint8Array, void, void> {
    return this.#piecesTo(this.rows.bytes);
  }

  async *#piecesTo(end: number): AsyncGenerator<Uint8Array, void, void> {
    await this.settled();
    const chunkBytes = limits.uploadChunkBytes;
    const file = await this.#file;
    if (file === null) {
      // As they came: what is joined first is copied once more. Small ones cost more as messages.
      const isFine = this.#bytes >= this.#pieces.length * unjoinedBytesMin;
      let left = end;
      for (const piece of isFine ? this.#pieces : [this.#inMemory()]) {
        const wanted = piece.subarray(0, left);
        for (let at = 0; at < wanted.length; at += chunkBytes) yield wanted.subarray(at, at + chunkBytes);
        left -= wanted.length;
      }
      return;
    }
    for (let at = 0; at < end; at += chunkBytes) yield await readExactly(file, at, Math.min(chunkBytes, end - at));
  }

  /** A full disk is not waited for any longer. */
  giveUp(): void {
    this.#isGivenUp = true;
    this.#over?.abort();
  }

  /** Lets go of memory and disk. May be called at any time and again. */
  async discard(): Promise<void> {
    if (this.#isDiscarded) return;
    this.#isDiscarded = true;
    this.giveUp();
    this.#pieces = [];
    // What could not be written is not wanted any more.
    await this.#written.catch(() => undefined);
    const file = await this.#file?.catch(() => null);
    await file?.close();
  }

  #inMemory(): Uint8Array {
    if (this.#pieces.length !== 1) this.#pieces = [Buffer.concat(this.#pieces)];
    return this.#pieces[0] as Uint8Array;
  }

  #spool(): void {
    const file = (this.#file ??= this.#whenRoom(() => openNameless(this.#spoolDir)));
    const pieces = this.#pieces;
    this.#pieces = [];
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.#behindBytes += bytes;
    this.#written = this.#written.then(async () => {
      try {
        const opened = await file;
        await this.#whenRoom(async () => {
          const { bytesWritten } = await opened.writev(pieces, this.#spooledBytes);
          if (bytesWritten !== bytes) throw Object.assign(new Error('short write'), { code: 'ENOSPC' });
        });
        this.#spooledBytes += bytes;
      } catch (error) {
        throw spoolError(error, this.#spoolDir);
      } finally {
        this.#behindBytes -= bytes;
      }
    });
    // Whoever awaits `settled` hears of it; until then it is no unhandled rejection.
    this.#written.catch(() => undefined);
  }

  #newOver(): AbortController {
    const over = new AbortController();
    if (this.#isGivenUp) over.abort();
    return over;
  }

  /** Repeats `write`, which must be idempotent, until it is not refused for want of room, or given up. */
  async #whenRoom<T>(write: () => Promise<T>): Promise<T> {
    const { signal } = (this.#over ??= this.#newOver());
    try {
      for (;;) {
        try {
          return await write();
        } catch (error) {
          if (!isDiskFull(error) || signal.aborted) throw error;
          if (!this.#isWaiting) this.#onWait(`waits for room for results in ${this.#spoolDir}`);
          this.#isWaiting = true;
        }
        await delay(limits.diskFullRetryMs, signal);
      }
    } finally {
      if (this.#isWaiting) this.#onWait('');
      this.#isWaiting = false;
    }
  }
}

async function openNameless(dir: string): Promise<FileHandle> {
  await mkdir(dir, { recursive: true });
  spooled += 1;
  const path = join(dir, `rows-${process.pid}-${spooled}`);
  const file = await open(path, 'w+', 0o600);
  await unlink(path);
  return file;
}

async function readExactly(file: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let at = 0;
  while (at < length) {
    const { bytesRead } = await file.read(bytes, at, length - at, position + at);
    invariant(bytesRead > 0, `a spooled result ends at ${position + at}, not at ${position + length}`);
    at += bytesRead;
  }
  return bytes;
}

function spoolError(error: unknown, dir: string): BatchError {
  return new BatchError(
    isDiskFull(error) ? 'DISK_FULL' : 'STATE_UNWRITABLE',
    `a result cannot be kept in ${dir} until it is sent: ${reasonOf(error)}`,
    { cause: error },
  );
}
