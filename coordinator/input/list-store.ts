/** Lists an input in a store or on a web server in pages, in input order, as `list-input` does a folder. */
import { BatchError } from '../../common/core/batch-error.ts';
import { unreadableIdentity, type InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { below, folderKey, locationText, type StoreLocation } from '../../common/core/location.ts';
import { mapBounded } from '../../common/io/map-bounded.ts';
import type { ReadableStore, StoredObject } from '../../common/ports/object-store.ts';
import { isConfined } from '../../common/storage/confine.ts';
import type { OpenPlace, Stores } from '../../common/storage/stores.ts';
import { noneSkipped, type SkippedNames } from '../../common/core/skipped-names.ts';
import { inputFilter, type InputFilter } from './input-filter.ts';
import { nearestName, type InputRoot } from './input-root.ts';
import { isTaken, listedPages, noFolder, type InputListing, type ListOptions } from './list-input.ts';
import { walkFlat, walkLevels } from './walk-store.ts';

/** A folder needs no object of its own to be one; whether anything lies in it shows when it is listed. @throws INPUT_NOT_FOUND, STORE_DENIED, STORE_UNREACHABLE, and the reason of `signal` */
export async function inspectStore(stores: Stores, location: StoreLocation, signal: AbortSignal): Promise<InputRoot> {
  return await unlessAborted(signal, inspected(stores, location, signal));
}

async function inspected(stores: Stores, location: StoreLocation, signal: AbortSignal): Promise<InputRoot> {
  const { store, key } = await stores.open(location);
  const folder: InputRoot = { kind: 'folder', base: locationText(location), name: '' };
  if (key === '' || key.endsWith('/')) return folder;
  const found = await store.stat(key, signal);
  if (found === null && location.kind === 'web') throw await notFound(store, location, { key, signal });
  if (found === null || found.isFolder) return folder;
  const slash = key.lastIndexOf('/') + 1;
  return { kind: 'file', base: locationText(withKey(location, key.slice(0, slash))), name: key.slice(slash) };
}

function withKey(location: StoreLocation, key: string): StoreLocation {
  if (location.kind !== 'web') return { ...location, key };
  return below({ kind: 'web', url: `${new URL(location.url).origin}/` }, key);
}

/** Identities as they are now; what cannot be looked at keeps its place. */
export async function statStored(
  stores: Stores,
  root: StoreLocation,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<readonly InputFile[]> {
  const { store, key } = await stores.open(root);
  const looks = mapBounded(paths, limits.storeStatsAtOnceMax, async (path) => {
    const found = isConfined(path) ? await store.stat(`${folderKey(key)}${path}`, signal) : null;
    return found === null ? unreadable(path) : fileOf(found, path);
  });
  return await unlessAborted(signal, looks);
}

/** As {@link listInput}; throws STORE_DENIED, STORE_UNREACHABLE and the reason of `signal` as well. */
export function listStore(
  stores: Stores,
  location: StoreLocation,
  options: ListOptions,
  signal: AbortSignal,
): InputListing {
  const skipped = noneSkipped();
  const taking = { skipped, filter: inputFilter(options.include ?? [], options.exclude ?? []), signal };
  return {
    skipped,
    [Symbol.asyncIterator]: () => untilAborted(signal, pages(stores, location, options, taking)),
  };
}

/** Few stores end an answer that is under way: one that says nothing is not waited for. */
async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error);
  });
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

async function* untilAborted<T>(
  signal: AbortSignal,
  items: AsyncGenerator<T, void, void>,
): AsyncGenerator<T, void, void> {
  try {
    for (;;) {
      const next = await unlessAborted(signal, items.next());
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    const ended = items.return();
    if (!signal.aborted) await ended;
    else ended.catch(() => undefined);
  }
}

interface Taking {
  readonly signal: AbortSignal;
  readonly skipped: SkippedNames;
  /** Null takes everything. */
  readonly filter: InputFilter | null;
}

async function* pages(
  stores: Stores,
  location: StoreLocation,
  options: ListOptions,
  taking: Taking,
): AsyncGenerator<readonly InputFile[], void, void> {
  const { signal } = taking;
  const root = await inspected(stores, location, signal);
  const { store, key } = await stores.open(location);
  const pageFilesMax = options.pageFilesMax ?? limits.manifestChunkFiles;
  if (options.list) {
    if (root.kind === 'file') throw noFolder(locationText(location), options.list);
    const paths = listedPages(locationText(location), options.list, { ...taking, pageFilesMax });
    for await (const page of paths) yield await statStored(stores, location, page, signal);
    return;
  }
  if (root.kind === 'file') {
    if (!isTaken(taking, root.name)) return;
    const found = await store.stat(key, signal);
    yield [found === null ? unreadable(root.name) : fileOf(found, root.name)];
    return;
  }
  const prefix = folderKey(key);
  const names = new Names(prefix, taking, options.recursive);
  const over = new AbortController();
  const ends = AbortSignal.any([signal, over.signal]);
  let page: InputFile[] = [];
  let isFirst = true;
  let hasAny = false;
  try {
    for await (const objects of walk({ store, key: prefix }, location, names, ends)) {
      for (const object of objects) {
        hasAny ||= object.key !== prefix;
        if (names.isFile(object)) page.push(fileOf(object, object.key.slice(prefix.length)));
      }
      // Scoring begins with the first answer of the store.
      while (page.length >= pageFilesMax || (isFirst && page.length > 0)) {
        yield page.slice(0, pageFilesMax);
        page = page.slice(pageFilesMax);
        isFirst = false;
      }
    }
    if (page.length > 0) yield page;
    if (!hasAny) throw await notFound(store, location, { key, signal });
  } finally {
    over.abort();
  }
}

function walk(
  { store, key: prefix }: OpenPlace,
  location: StoreLocation,
  names: Names,
  signal: AbortSignal,
): AsyncIterable<readonly StoredObject[]> {
  const isWeb = location.kind === 'web';
  const hasFolders = isWeb || (location.kind === 'azure' && location.scheme.startsWith('abfs'));
  if (names.isDeep && !hasFolders) return walkFlat({ store, prefix, signal });
  return walkLevels({ store, prefix, signal, isWeb, isWanted: (folder) => names.isWanted(folder) });
}

/** Tells files from what is passed over, and counts the latter. */
class Names {
  readonly isDeep: boolean;
  readonly #prefix: string;
  readonly #taking: Taking;
  readonly #skipped: SkippedNames;
  /** The folder that was left out last: it counts once. */
  #excludedFolder: string | null = null;
  /** The hidden folder that was met last: it counts once. */
  #hiddenFolder: string | null = null;

  constructor(prefix: string, taking: Taking, isDeep: boolean) {
    this.#prefix = prefix;
    this.#taking = taking;
    this.#skipped = taking.skipped;
    this.isDeep = isDeep;
  }

  isFile({ key, isFolder }: StoredObject): boolean {
    if (key === this.#prefix) return false;
    if (this.#isHidden(key)) return false;
    if (this.#isBelowExcluded(key)) return false;
    if (!isFolder) return isTaken(this.#taking, key.slice(this.#prefix.length));
    if (key.endsWith('/') && !this.isDeep) this.#skipped.folders += 1;
    else this.#skipped.special += 1;
    return false;
  }

  /** Folders that are not looked into come as objects, and are counted as such. */
  isWanted(folder: string): boolean {
    const path = folder.slice(this.#prefix.length);
    return this.isDeep && !/(^|\/)[._]/.test(path) && this.#firstExcluded(path) === null;
  }

  #isBelowExcluded(key: string): boolean {
    if (this.#excludedFolder !== null && key.startsWith(this.#excludedFolder)) return true;
    const folder = this.#firstExcluded(key.slice(this.#prefix.length));
    if (folder === null) return false;
    this.#excludedFolder = this.#prefix + folder;
    this.#skipped.excluded += 1;
    return true;
  }

  /** The first folder on the way to `path` that is left out, with its `/`; null when all are entered. */
  #firstExcluded(path: string): string | null {
    const { filter } = this.#taking;
    for (let end = path.indexOf('/'); filter !== null && end >= 0; end = path.indexOf('/', end + 1)) {
      if (!filter.entersFolder(path.slice(0, end))) return path.slice(0, end + 1);
    }
    return null;
  }

  #isHidden(key: string): boolean {
    if (this.#hiddenFolder !== null && key.startsWith(this.#hiddenFolder)) return true;
    const path = key.slice(this.#prefix.length);
    const at = /(^|\/)[._]/.exec(path);
    if (!at) return false;
    this.#skipped.hidden += 1;
    const end = path.indexOf('/', at.index + at[0].length);
    this.#hiddenFolder = end < 0 ? null : this.#prefix + path.slice(0, end + 1);
    return true;
  }
}

function fileOf(object: StoredObject, path: string): InputFile {
  if (!object.isReadable || object.isFolder || !isConfined(path)) return unreadable(path);
  return { path, sizeBytes: object.sizeBytes, identity: object.identity };
}

function unreadable(path: string): InputFile {
  return { path, sizeBytes: 0, identity: unreadableIdentity };
}

/** Looks at what lies beside it for the name that was meant. */
async function notFound(
  store: ReadableStore,
  location: StoreLocation,
  { key, signal }: { readonly key: string; readonly signal: AbortSignal },
): Promise<BatchError> {
  const bare = key.replace(/\/$/, '');
  const parent = bare.slice(0, bare.lastIndexOf('/') + 1);
  const siblings: string[] = [];
  try {
    const entriesMax = limits.storePageObjects;
    for await (const page of store.list({ prefix: parent, startAfter: null, isDeep: false, entriesMax, signal })) {
      for (const one of page) siblings.push(one.key.slice(parent.length).replace(/\/$/, ''));
    }
  } catch (error) {
    if (!(error instanceof BatchError)) throw error;
  }
  const where = locationText(location);
  if (key === '') return new BatchError('INPUT_EMPTY', `${where} holds no file to score: nothing is in it`);
  const near = nearestName(bare.slice(parent.length), siblings);
  const hint = near === null ? 'nothing has a key that begins so' : `did you mean ${JSON.stringify(near)} beside it?`;
  return new BatchError('INPUT_NOT_FOUND', `the input ${where} does not exist; ${hint}`);
}
