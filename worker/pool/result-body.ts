/**
 * The bytes of one mini-batch: its rows, then the files that user code wrote. From the scoring host until the coordinator has them: in memory while they are
 * few, else in a file that has no name any more, so that a crash leaves nothing behind.
 */
import { mkdir, open, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';
import { combineCrc32 } from '../../common/core/crc32-combine.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { delay } from '../../common/io/delay.ts';
import { isDiskFull, reasonOf } from '../../common/io/errno.ts';
import { HeldBytes } from '../../common/io/held-bytes.ts';

/** Bytes that may wait for the disk before the scoring host has to wait too. */
const behindBytesMax = 4_194_304;

let spooled = 0;
/** Of all results of this process. */
let heldBytes = 0;

/** Bytes of results in memory: those that stay there, and those that the disk has not taken yet. */
export function resultBytesHeld(): number {
  return heldBytes;
}

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
  /** As they came, while they are so few that they travel inline. */
  #few: Uint8Array[] = [];
  #held = new HeldBytes();
  #bytes = 0;
  #crc32 = 0;
  #rows: BodyPart | null = null;
  #customCrc32 = 0;
  #file: Promise<FileHandle> | null = null;
  #written: Promise<void> = Promise.resolve();
  /** Of the write that has not begun; null when there is none. */
  #next: Uint8Array[] | null = null;
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

  /** Takes the piece over: the caller must not change it afterwards. `sum`: its CRC-32. Disk errors come out of {@link settled}. */
  append(piece: Uint8Array, sum: number = crc32(piece)): void {
    invariant(!this.#isDiscarded, 'a discarded result takes no more bytes');
    if (piece.length === 0) return;
    this.#bytes += piece.length;
    heldBytes += piece.length;
    this.#crc32 = combineCrc32(this.#crc32, sum, piece.length);
    if (this.#rows) this.#customCrc32 = combineCrc32(this.#customCrc32, sum, piece.length);
    if (this.#file !== null || this.#isTooMuch) return this.#spool(piece);
    this.#few.push(piece);
    if (this.#bytes <= limits.inlineResultBytesMax) return;
    for (const one of this.#few) this.#held.add(one);
    this.#few = [];
  }

  get #isTooMuch(): boolean {
    if (this.#bytes > limits.spoolMemoryBytesMax) return true;
    return this.#bytes > limits.inlineResultBytesMax && heldBytes > limits.resultMemoryBytesMax;
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
    return this.#bytes <= limits.inlineResultBytesMax ? this.#joined() : null;
  }

  /**
   * All bytes in chunks of `chunkBytes`, the last one shorter; each is the parts that it consists of, which are good until the next chunk is
   * asked for. May be asked for again.
   */
  chunks(chunkBytes: number): AsyncGenerator<readonly Uint8Array[], void, void> {
    return this.#chunksTo(this.#bytes, chunkBytes);
  }

  /** Copies of all bytes in pieces of `limits.uploadChunkBytes`, the last one shorter. */
  pieces(): AsyncGenerator<Uint8Array, void, void> {
    return this.#piecesTo(this.#bytes);
  }

  /** The same of the rows alone. */
  rowPieces(): AsyncGenerator<Uint8Array, void, void> {
    return this.#piecesTo(this.rows.bytes);
  }

  async *#piecesTo(end: number): AsyncGenerator<Uint8Array, void, void> {
    for await (const parts of this.#chunksTo(end, limits.uploadChunkBytes)) yield Buffer.concat(parts);
  }

  async *#chunksTo(end: number, chunkBytes: number): AsyncGenerator<readonly Uint8Array[], void, void> {
    await this.settled();
    const file = await this.#file;
    if (file === null) {
      for (const parts of chunksOf([...this.#few, ...this.#held.parts()], end, chunkBytes)) {
        // Its memory may be another result's by now.
        invariant(!this.#isDiscarded, 'a discarded result is not read any more');
        yield parts;
      }
      return;
    }
    const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, end));
    for (let at = 0; at < end; at += chunkBytes) {
      const wanted = chunk.subarray(0, Math.min(chunkBytes, end - at));
      await readExactly(file, at, wanted);
      yield [wanted];
    }
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
    if (this.#file === null) heldBytes -= this.#bytes;
    this.#few = [];
    this.#held.release();
    // What could not be written is not wanted any more.
    await this.#written.catch(() => undefined);
    const file = await this.#file?.catch(() => null);
    await file?.close();
  }

  #joined(): Uint8Array {
    if (this.#few.length !== 1) this.#few = [Buffer.concat(this.#few)];
    return this.#few[0] as Uint8Array;
  }

  #spool(piece: Uint8Array): void {
    this.#behindBytes += piece.length;
    if (this.#next !== null) return void this.#next.push(piece);
    const file = (this.#file ??= this.#whenRoom(() => openNameless(this.#spoolDir)));
    const held = this.#held;
    const next = [...this.#few, ...held.parts(), piece];
    this.#behindBytes += bytesOf(this.#few) + held.bytes;
    this.#few = [];
    this.#held = new HeldBytes();
    this.#next = next;
    const write = async (): Promise<void> => {
      const opened = await file;
      // What came while the write before was under way goes in one with it.
      this.#next = null;
      const bytes = bytesOf(next);
      await this.#whenRoom(async () => {
        const { bytesWritten } = await opened.writev(next, this.#spooledBytes);
        if (bytesWritten !== bytes) throw Object.assign(new Error('short write'), { code: 'ENOSPC' });
      });
      this.#spooledBytes += bytes;
    };
    this.#written = this.#written
      .then(() => write().catch((error: unknown) => Promise.reject(spoolError(error, this.#spoolDir))))
      .finally(() => {
        if (this.#next === next) this.#next = null;
        this.#behindBytes -= bytesOf(next);
        heldBytes -= bytesOf(next);
        held.release();
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

function bytesOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

async function openNameless(dir: string): Promise<FileHandle> {
  await mkdir(dir, { recursive: true });
  spooled += 1;
  const path = join(dir, `rows-${process.pid}-${spooled}`);
  const file = await open(path, 'w+', 0o600);
  await unlink(path);
  return file;
}

/** The first `end` bytes of `pieces`, without a copy of them. */
function* chunksOf(pieces: readonly Uint8Array[], end: number, chunkBytes: number): Generator<readonly Uint8Array[]> {
  let parts: Uint8Array[] = [];
  let room = Math.min(chunkBytes, end);
  let left = end;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length && left > 0;) {
      const part = piece.subarray(at, at + room);
      parts.push(part);
      at += part.length;
      left -= part.length;
      room -= part.length;
      if (room > 0) continue;
      yield parts;
      parts = [];
      room = Math.min(chunkBytes, left);
    }
  }
}

async function readExactly(file: FileHandle, position: number, into: Uint8Array): Promise<void> {
  for (let at = 0; at < into.length;) {
    const { bytesRead } = await file.read(into, at, into.length - at, position + at);
    invariant(bytesRead > 0, `a spooled result ends at ${position + at}, not at ${position + into.length}`);
    at += bytesRead;
  }
}

function spoolError(error: unknown, dir: string): BatchError {
  return new BatchError(
    isDiskFull(error) ? 'DISK_FULL' : 'STATE_UNWRITABLE',
    `a result cannot be kept in ${dir} until it is sent: ${reasonOf(error)}`,
    { cause: error },
  );
}
