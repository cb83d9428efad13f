/** One input file out of a store: the very content that was listed, in pieces, whatever breaks on the way. */
import { BatchError } from '../core/batch-error.ts';
import type { InputFile } from '../core/input.ts';
import { limits } from '../core/limits.ts';
import { folderKey, type StoreLocation } from '../core/location.ts';
import type { StoredObject } from '../ports/object-store.ts';
import { isConfined } from './confine.ts';
import type { Stores } from './stores.ts';

/** What now is at the place of a listed file; null when there is nothing. @throws STORE_DENIED, STORE_UNREACHABLE */
export async function lookAtStored(
  stores: Stores,
  root: StoreLocation,
  path: string,
  signal: AbortSignal,
): Promise<StoredObject | null> {
  const { store, key } = await stores.open(root);
  return isConfined(path) ? await store.stat(`${folderKey(key)}${path}`, signal) : null;
}

/**
 * `root`: the folder that `file.path` is relative to. Pieces are of at most {@link limits.fetchChunkBytes}.
 * @throws INPUT_CHANGED, INPUT_UNREADABLE, STORE_DENIED, STORE_UNREACHABLE, and the signal’s reason
 */
export async function* readStored(
  stores: Stores,
  root: StoreLocation,
  file: InputFile,
  { offset, end }: { readonly offset: number; readonly end: number | null },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  if (!isConfined(file.path)) {
    throw new BatchError('INPUT_UNREADABLE', `${JSON.stringify(file.path)} is no path of an input`);
  }
  const { store, key } = await stores.open(root);
  const { path, identity, part } = file;
  const sizeBytes = part?.fileBytes ?? file.sizeBytes;
  const object = { key: `${folderKey(key)}${path}`, sizeBytes, identity, isReadable: true, isFolder: false };
  let reached = offset;
  const pieces = stores.retries.stream(
    signal,
    () => store.read(object, reached, signal, end ?? sizeBytes),
    (piece) => {
      reached += piece.length;
    },
  );
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; at += limits.fetchChunkBytes)
      yield piece.subarray(at, at + limits.fetchChunkBytes);
  }
}
