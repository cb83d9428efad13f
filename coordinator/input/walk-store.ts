/** All objects below a folder of a store, in input order: by one long listing, by several at once, or folder by folder. */
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { utf8Compare } from '../../common/core/utf8.ts';
import type { ReadableStore, StoredObject } from '../../common/ports/object-store.ts';
import { Ahead } from './ahead.ts';

export interface WalkOrder {
  readonly store: ReadableStore;
  /** Of the folder; ends in `/`, or is empty. */
  readonly prefix: string;
  readonly signal: AbortSignal;
}

type Pages = AsyncGenerator<readonly StoredObject[], void, void>;

/**
 * The first page comes from one listing of everything. Where there is more, the top folders are looked up, and those that are still to come
 * are listed beside it: an answer of a store has 1,000 keys, whatever the line could carry. Markers are among the objects.
 * @throws INPUT_UNREADABLE for a store that does not list in the order of keys
 */
export async function* walkFlat(order: WalkOrder): Pages {
  let last: StoredObject | null = null;
  for await (const page of cut(order)) {
    for (const object of page) {
      if (last !== null && utf8Compare(last.key, object.key) >= 0) throw unordered(last.key, object.key);
      last = object;
    }
    yield page;
  }
}

async function* cut(order: WalkOrder): Pages {
  const { store, prefix, signal } = order;
  const whole = store.list({ prefix, startAfter: null, isDeep: true, signal });
  let rest: readonly StoredObject[] | null = null;
  let current = '';
  let isFirst = true;
  for await (const page of whole) {
    const end: number = rest === null ? page.length : countBelow(page, current);
    if (end > 0) yield page.slice(0, end);
    if (end < page.length) break;
    if (!isFirst || page.length < limits.storePageObjects) continue;
    isFirst = false;
    const last = (page.at(-1) as StoredObject).key;
    rest = await partsBehind(order, last);
    if (rest === null) continue;
    current = topFolder(prefix, last);
    if (current === '') break;
  }
  if (rest !== null) yield* merged(order, rest);
}

/** Objects from the start of the page on that lie in the folder. */
function countBelow(page: readonly StoredObject[], folder: string): number {
  const other = page.findIndex(({ key }) => !key.startsWith(folder));
  return other < 0 ? page.length : other;
}

/** `prefix` and the first name behind it, with its `/`; empty for an object that lies in no folder. */
function topFolder(prefix: string, key: string): string {
  const slash = key.indexOf('/', prefix.length);
  return slash < 0 ? '' : key.slice(0, slash + 1);
}

/** What lies on the top level behind the key, in order; null when listing its folders apart gains nothing. */
async function partsBehind(
  { store, prefix, signal }: WalkOrder,
  last: string,
): Promise<readonly StoredObject[] | null> {
  const entriesMax = limits.storePageObjects;
  const level: StoredObject[] = [];
  for await (const page of store.list({ prefix, startAfter: null, isDeep: false, entriesMax, signal }))
    level.push(...page);
  if (level.length > entriesMax) return null;
  const parts = level.filter(({ key }) => utf8Compare(key, last) > 0).sort((a, b) => utf8Compare(a.key, b.key));
  const folders = parts.filter(({ key }) => key.endsWith('/')).length;
  return folders >= 2 && folders <= limits.storeShardsMax ? parts : null;
}

async function* merged({ store, signal }: WalkOrder, parts: readonly StoredObject[]): Pages {
  const folders = parts.filter(({ key }) => key.endsWith('/')).map(({ key }) => key);
  const running = new Map<string, Ahead<readonly StoredObject[]>>();
  const startSome = (): void => {
    while (running.size < limits.storeShardsAtOnceMax) {
      const prefix = folders.shift();
      if (prefix === undefined) return;
      const pages = store.list({ prefix, startAfter: null, isDeep: true, signal });
      running.set(prefix, new Ahead(pages, limits.storeShardPagesAhead));
    }
  };
  let files: StoredObject[] = [];
  startSome();
  try {
    for (const part of parts) {
      const shard = running.get(part.key);
      if (!shard) {
        files.push(part);
        continue;
      }
      if (files.length > 0) yield files;
      files = [];
      yield* shard.items();
      running.delete(part.key);
      startSome();
    }
    if (files.length > 0) yield files;
  } finally {
    for (const shard of running.values()) shard.stop();
  }
}

function unordered(last: string, key: string): BatchError {
  return new BatchError(
    'INPUT_UNREADABLE',
    `the store lists ${JSON.stringify(key)} behind ${JSON.stringify(last)}, which is not the order of keys that results stand in; ` +
      'an account with a hierarchical namespace is given as abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH, which is listed folder by folder',
  );
}

export interface LevelOrder extends WalkOrder {
  /** Whether to look into a folder, by its key. */
  readonly isWanted: (folder: string) => boolean;
  /** Whether folders are where links lead, and may lead round in a circle. */
  readonly isWeb: boolean;
}

/** For stores without an order of keys: in memory are the names of the folders between the root and the current one. */
export async function* walkLevels({ store, prefix, signal, isWanted, isWeb }: LevelOrder): Pages {
  const levels = [await levelOf(store, prefix, signal)];
  let files: StoredObject[] = [];
  let count = 0;
  for (let level = levels.at(-1); level; level = levels.at(-1)) {
    const next = level.next();
    if (next.done === true) {
      levels.pop();
      continue;
    }
    const object = next.value;
    if (object.key.endsWith('/') && isWanted(object.key)) {
      if (isWeb && levels.length >= limits.webDepthMax) throw tooDeep(object.key);
      if (files.length > 0) yield files;
      files = [];
      levels.push(await levelOf(store, object.key, signal));
      continue;
    }
    files.push(object);
    count += 1;
    if (isWeb && count > limits.webFilesMax) throw tooMany(prefix);
    if (files.length < limits.storePageObjects) continue;
    yield files;
    files = [];
  }
  if (files.length > 0) yield files;
}

async function levelOf(store: ReadableStore, prefix: string, signal: AbortSignal): Promise<Iterator<StoredObject>> {
  // A page may link to a folder twice, with its slash and without.
  const level = new Map<string, StoredObject>();
  for await (const page of store.list({ prefix, startAfter: null, isDeep: false, signal })) {
    for (const object of page) if (object.key !== prefix) level.set(object.key, object);
  }
  return [...level.values()].sort((a, b) => utf8Compare(a.key, b.key)).values();
}

function tooDeep(key: string): BatchError {
  const what = `${key} lies ${limits.webDepthMax} folders deep`;
  return new BatchError('INPUT_UNREADABLE', `${what}: the links of this server lead round in a circle`);
}

function tooMany(prefix: string): BatchError {
  const what = `/${prefix} links to more than ${limits.webFilesMax} files`;
  return new BatchError('INPUT_UNREADABLE', `${what}; give the folders below it one by one`);
}
