/** Opens stores by location: each once, when it is first asked for. */
import { storeAccess } from '../config/store-settings.ts';
import type { Environment } from '../config/process-settings.ts';
import { BatchError } from '../core/batch-error.ts';
import { invariant } from '../core/invariant.ts';
import { locationText, type StoreLocation } from '../core/location.ts';
import { machineVendor } from '../io/machine-vendor.ts';
import type { ObjectStore, ReadableStore } from '../ports/object-store.ts';
import { Retries, type RetryOptions, type StoreCounts } from './retries.ts';

export interface StoresOptions extends RetryOptions {
  readonly environment: Environment;
}

/** A place in a store. */
export interface OpenPlace {
  readonly store: ReadableStore;
  readonly key: string;
}

export class Stores {
  readonly #options: StoresOptions;
  readonly #retries: Retries;
  readonly #open = new Map<string, Promise<ReadableStore>>();

  constructor(options: StoresOptions) {
    this.#options = options;
    this.#retries = new Retries(options);
  }

  get counts(): Readonly<StoreCounts> {
    return this.#retries.counts;
  }

  get retries(): Retries {
    return this.#retries;
  }

  /** @throws STORE_DENIED, LOCATION_INVALID for what the environment does not complete */
  async open(location: StoreLocation): Promise<OpenPlace> {
    const { where, key } = placeOf(location);
    return { store: await this.#store(where, location), key };
  }

  /** The same to write to. @throws LOCATION_INVALID for a web server */
  async openToWrite(location: StoreLocation): Promise<OpenPlace & { readonly store: ObjectStore }> {
    const { store, key } = await this.open(location);
    if ('put' in store) return { store: store as ObjectStore, key };
    throw new BatchError('LOCATION_INVALID', `the location ${locationText(location)} cannot be written to`);
  }

  #store(where: string, location: StoreLocation): Promise<ReadableStore> {
    const known = this.#open.get(where);
    if (known) return known;
    const opening = this.#openStore(where, location);
    this.#open.set(where, opening);
    // What the environment lacked may be there the next time.
    opening.catch(() => this.#open.delete(where));
    return opening;
  }

  async #openStore(where: string, location: StoreLocation): Promise<ReadableStore> {
    const retries = this.#retries;
    if (location.kind === 'web') return new (await import('./web-store.ts')).WebStore({ origin: where, retries });
    const access = storeAccess(location, machineVendor(), this.#options.environment);
    const { openOpendalStore } = await import('./opendal-store.ts');
    return await openOpendalStore({ access, where, retries });
  }
}

/** Bucket, container or server as messages name it, and the key in it. */
function placeOf(location: StoreLocation): { readonly where: string; readonly key: string } {
  if (location.kind === 'web') {
    const { origin, pathname } = new URL(location.url);
    return { where: origin, key: decodeURIComponent(pathname.slice(1)) };
  }
  const text = locationText({ ...location, key: '' });
  invariant(text.endsWith('/'), `${text} is the root of a store`);
  return { where: text.slice(0, -1), key: location.key };
}
