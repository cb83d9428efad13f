/** A file of a job on its way here, over a connection that may break: taken up again where it broke. */
import type { FileHandle } from 'node:fs/promises';
import { BatchError, isBatchError } from '../common/core/batch-error.ts';
import { writeAll } from '../common/io/write-all.ts';
import type { Patience } from './follow.ts';

/** What is left of a file. */
export interface FilePart {
  /** Where in the file its bytes begin. */
  readonly offset: number;
  /** Of the whole file; null when the coordinator does not say. */
  readonly totalBytes: number | null;
  /** Names this version of the file; null: it does not change but grow. */
  readonly tag: string | null;
  readonly bytes: AsyncIterable<Uint8Array>;
}

/** What is behind `offset` of the file that `tag` names; all of the file when it is another by now. */
export type FetchPart = (offset: number, tag: string | null) => Promise<FilePart>;

export interface FetchOptions {
  /** In messages. */
  readonly path: string;
  /** As the file was listed. */
  readonly sizeBytes: number;
  readonly fetch: FetchPart;
  readonly patience: Patience;
  /** Aborting ends it with whatever the request is rejected with. */
  readonly signal: AbortSignal;
}

/** @returns bytes of the file. @throws COORDINATOR_UNREACHABLE when nothing has come for too long, and what writing throws */
export async function fetchFile(handle: FileHandle, options: FetchOptions): Promise<number> {
  const { path, fetch, patience, signal } = options;
  let [offset, total] = [0, options.sizeBytes];
  let tag: string | null = null;
  for (;;) {
    try {
      const part = await fetch(offset, tag);
      if (part.offset < offset) await handle.truncate(part.offset);
      ({ offset, tag } = part);
      total = part.totalBytes ?? total;
      for await (const chunk of part.bytes) {
        await writeAll(handle, chunk, offset);
        offset += chunk.length;
        patience.renew();
      }
      if (offset === total) return offset;
      throw new BatchError('COORDINATOR_UNREACHABLE', `${path} has ${total} bytes, ${offset} came`);
    } catch (error) {
      if (signal.aborted || offset > total || !isBatchError(error, 'COORDINATOR_UNREACHABLE')) throw error;
      // It broke behind the last byte.
      if (offset === total && total > 0) return offset;
      await patience.wait(error);
    }
  }
}
