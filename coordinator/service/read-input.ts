/** An input file's bytes, for worker nodes that cannot see its path. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';

/** Where a job's inputs are listed. */
export interface InputSource {
  readonly inputRoot: string;
  readonly catalog: {
    readonly count: number;
    files(first: number, count: number): Promise<readonly InputFile[]>;
  };
}

/** The path comes from the listing, never from the caller. @throws INPUT_UNREADABLE, INPUT_CHANGED, REQUEST_INVALID */
export async function* readInput(
  source: InputSource,
  ordinal: number,
  identity: string,
  offset: number,
): AsyncGenerator<Uint8Array> {
  if (ordinal >= source.catalog.count) {
    throw new BatchError('REQUEST_INVALID', `file ${ordinal} was asked for, ${source.catalog.count} are listed`);
  }
  const [file] = await source.catalog.files(ordinal, 1);
  if (!file || file.identity !== identity) {
    throw new BatchError('REQUEST_INVALID', `file ${ordinal} is ${file?.identity}, not ${identity}`);
  }
  const path = join(source.inputRoot, file.path);
  try {
    const handle = await open(path, 'r');
    try {
      const stats = await handle.stat({ bigint: true });
      const found = `${stats.size}-${stats.mtimeNs}`;
      if (found !== identity) {
        throw new BatchError(
          'INPUT_CHANGED',
          `${file.path} was ${identity} (size and mtime) when it was listed and is ${found} now`,
        );
      }
      yield* handle.createReadStream({ start: offset, highWaterMark: limits.fetchChunkBytes, autoClose: false });
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof BatchError || errnoOf(error) === '') throw error;
    throw new BatchError('INPUT_UNREADABLE', `${file.path} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}
