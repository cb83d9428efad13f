/** Bytes of input files: of this machine, or out of their store. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { unreadableIdentity, type InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { readStored } from '../../common/storage/read-stored.ts';
import type { Stores } from '../../common/storage/stores.ts';
import type { InputRange, OpenInput } from '../service/read-input.ts';
import { storeLocation } from './input-by-location.ts';

export function openInputs(stores: Stores): OpenInput {
  return (root, file, range) => {
    const location = storeLocation(root);
    if (location === null) return openLocal(root, file, range);
    if (file.identity === unreadableIdentity) return unreadable(file);
    return readStored(stores, location, file, range, new AbortController().signal);
  };
}

// eslint-disable-next-line require-yield -- a stream that has failed before its first piece
async function* unreadable({ path }: InputFile): AsyncGenerator<Uint8Array> {
  throw new BatchError(
    'INPUT_UNREADABLE',
    `${path} was listed, but cannot be asked for by its name, or does not tell its size`,
  );
}

async function* openLocal(root: string, file: InputFile, { offset, end }: InputRange): AsyncGenerator<Uint8Array> {
  const { identity } = file;
  const path = join(root, file.path);
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
      if (end !== null && end <= offset) return;
      yield* handle.createReadStream({
        start: offset,
        ...(end === null ? {} : { end: end - 1 }),
        highWaterMark: limits.fetchChunkBytes,
        autoClose: false,
      });
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof BatchError || errnoOf(error) === '') throw error;
    throw new BatchError('INPUT_UNREADABLE', `${file.path} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}
