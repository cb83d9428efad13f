/** Inputs wherever they are: those of this machine by the file system, all others by their store. */
import { isUri, parseLocation, type StoreLocation } from '../../common/core/location.ts';
import type { Stores } from '../../common/storage/stores.ts';
import { inspectInput, type InputRoot } from './input-root.ts';
import { listInput, type InputListing, type ListOptions } from './list-input.ts';
import { inspectStore, listStore, statStored } from './list-store.ts';
import { statFiles, type StatFiles } from './stat-files.ts';

export interface Inputs {
  /** @throws INPUT_NOT_FOUND, INPUT_UNREADABLE, STORE_DENIED, STORE_UNREACHABLE */
  readonly inspectInput: (path: string) => Promise<InputRoot>;
  readonly listInput: (path: string, options: ListOptions) => InputListing;
  readonly statFiles: StatFiles;
}

const never = new AbortController().signal;

/** Texts are absolute paths, or canonical locations. What asks a store ends with the reason of `stopped`, whether the store answers or not. */
export function inputsByLocation(stores: Stores, stopped: AbortSignal = never): Inputs {
  return {
    inspectInput: (path) => {
      const location = storeLocation(path);
      return location === null ? inspectInput(path) : inspectStore(stores, location, stopped);
    },
    listInput: (path, options) => {
      const location = storeLocation(path);
      return location === null ? listInput(path, options) : listStore(stores, location, options, stopped);
    },
    statFiles: (base, paths) => {
      const location = storeLocation(base);
      return location === null ? statFiles(base, paths) : statStored(stores, location, paths, stopped);
    },
  };
}

/** Null for a path of this machine. */
export function storeLocation(text: string): StoreLocation | null {
  if (!isUri(text)) return null;
  const location = parseLocation(text);
  return location.kind === 'local' ? null : location;
}
