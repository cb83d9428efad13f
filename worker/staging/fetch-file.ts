/** Writes a stream that may break into a file, going on where it broke. */
import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { BatchError, toBatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import { isDiskFull, reasonOf } from '../../common/io/errno.ts';
import { writeAll } from '../../common/io/write-all.ts';

export interface FetchFileOptions {
  /** Absolute; made anew. Its folder must exist. */
  readonly path: string;
  readonly open: (offset: number) => AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
  readonly delay: Delay;
  /** Wait until the bytes are on the disk: the file outlives this process. */
  readonly isDurable: boolean;
}

export interface FetchedFile {
  readonly bytes: number;
  /** Hex digits of the SHA-256. */
  readonly sha256: string;
}

/** Throws what the stream throws, DISK_FULL, STATE_UNWRITABLE, and the signal's reason. */
export async function fetchFile(options: FetchFileOptions): Promise<FetchedFile> {
  const file = await localWrite(options.path, () => open(options.path, 'w', 0o600));
  try {
    const fetched = await fetchInto(file, options);
    if (options.isDurable) await localWrite(options.path, () => file.sync());
    return fetched;
  } finally {
    await file.close();
  }
}

async function fetchInto(file: FileHandle, options: FetchFileOptions): Promise<FetchedFile> {
  const hash = createHash('sha256');
  let bytes = 0;
  let failures = 0;
  for (;;) {
    try {
      for await (const piece of options.open(bytes)) {
        options.signal.throwIfAborted();
        await localWrite(options.path, () => writeAll(file, piece, bytes));
        hash.update(piece);
        bytes += piece.length;
        failures = 0;
      }
      return { bytes, sha256: hash.digest('hex') };
    } catch (error) {
      failures += 1;
      const isBroken = toBatchError(error).code === 'COORDINATOR_UNREACHABLE';
      if (options.signal.aborted || !isBroken || failures >= limits.fetchFailuresMax) throw error;
      await options.delay(limits.reconnectMsMin * 2 ** failures, options.signal);
      options.signal.throwIfAborted();
    }
  }
}

/** Tells trouble with the local disk from trouble with the stream. */
export async function localWrite<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new BatchError(
      isDiskFull(error) ? 'DISK_FULL' : 'STATE_UNWRITABLE',
      `wanted to write ${path} in the scratch folder of this worker node: ${reasonOf(error)}`,
      { cause: error },
    );
  }
}
