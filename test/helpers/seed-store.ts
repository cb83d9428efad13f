/** Puts files into a store, by the store's own adapter. */
import { parseLocation, below, type StoreLocation } from '../../common/core/location.ts';
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
