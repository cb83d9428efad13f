/** Puts files into a store, by the store's own adapter. */
import { below, folderKey, parseLocation, type StoreLocation } from '../../common/core/location.ts';
import { mapBounded } from '../../common/io/map-bounded.ts';
import { Stores } from '../../common/storage/stores.ts';

/** Without waiting between tries. */
export function testStores(environment: Readonly<Record<string, string>>): Stores {
  return new Stores({ environment, delay: async () => undefined, random: () => 0 });
}

/** `files`: texts by their paths below `location`; a path that ends in `/` is a marker for a folder. */
export async function seed(stores: Stores, location: string, files: Readonly<Record<string, string>>): Promise<void> {
  const root = parseLocation(location) as StoreLocation;
  await mapBounded(Object.entries(files), 32, async ([path, text]) => {
    const { store, key } = await stores.openToWrite(below(root, path));
    await store.put(key, Buffer.from(text));
  });
}

/** Texts by their paths below a location, all that is there. */
export async function readStored(stores: Stores, location: string): Promise<Readonly<Record<string, string>>> {
  const { store, key } = await stores.open(parseLocation(location) as StoreLocation);
  const prefix = folderKey(key);
  const signal = new AbortController().signal;
  const found: Record<string, string> = {};
  for await (const page of store.list({ prefix, startAfter: null, isDeep: true, signal })) {
    for (const object of page) {
      const pieces: Uint8Array[] = [];
      for await (const piece of store.read(object, 0, signal)) pieces.push(piece);
      found[object.key.slice(prefix.length)] = Buffer.concat(pieces).toString('latin1');
    }
  }
  return found;
}
