/** Object stores of the clouds, and servers that speak like them, through Apache OpenDAL. */
import type { Operator } from 'opendal';
import type { StoreAccess } from '../config/store-settings.ts';
import { BatchError } from '../core/batch-error.ts';
import { limits } from '../core/limits.ts';
import { mapBounded } from '../io/map-bounded.ts';
import type { ListOrder, ObjectStore, StoredObject } from '../ports/object-store.ts';
import { placeToWriteFirst } from './gcs-names.ts';
import { storeError, storeProblem } from './opendal-error.ts';
import type { Retries } from './retries.ts';
import { inUtf8Order } from './utf8-order.ts';

export interface OpendalStoreOptions {
  readonly access: StoreAccess;
  /** The bucket or container, for messages. */
  readonly where: string;
  readonly retries: Retries;
}

type Metadata = Awaited<ReturnType<Operator['stat']>>;

/** Loads the client, 42 MB of native code, which nothing else does. */
export async function openOpendalStore(options: OpendalStoreOptions): Promise<ObjectStore> {
  const { Operator, TimeoutLayer } = await import('opendal');
  const { access, where } = options;
  try {
    const patience = new TimeoutLayer();
    patience.timeout = limits.storeSilenceMsMax;
    patience.ioTimeout = limits.storeSilenceMsMax;
    const operator = new Operator(access.service, { ...access.options }).layer(patience.build());
    return new OpendalStore(operator, options);
  } catch (error) {
    const problem = storeProblem(error);
    throw problem === null ? error : storeError({ ...problem, trouble: 'refused' }, where, access.lookedAt);
  }
}

class OpendalStore implements ObjectStore {
  readonly #operator: Operator;
  readonly #options: OpendalStoreOptions;
  readonly #canStartAfter: boolean;

  constructor(operator: Operator, options: OpendalStoreOptions) {
    this.#operator = operator;
    this.#options = options;
    this.#canStartAfter = operator.capability().listWithStartAfter;
  }

  async *list({
    prefix,
    startAfter,
    isDeep,
    entriesMax = Infinity,
    signal,
  }: ListOrder): AsyncGenerator<readonly StoredObject[], void, void> {
    const { retries } = this.#options;
    let last = startAfter;
    const open = (): AsyncIterable<readonly StoredObject[]> => this.#pages(prefix, last, isDeep, signal);
    // One level comes in no order, so that it cannot be gone on with in its middle: it is a page, however long.
    const told = isDeep ? open : () => joined(open(), entriesMax);
    const pages = retries.stream(signal, told, (page) => {
      last = page.at(-1)?.key ?? last;
    });
    if (this.#options.access.service !== 'azblob') return yield* pages;
    const marked = mapPages(pages, (page) => this.#withMarkers(page, signal));
    yield* isDeep ? inUtf8Order(marked) : marked;
  }

  /** Azure’s folder markers are empty blobs whose metadata says so, which a listing does not tell. */
  async #withMarkers(page: readonly StoredObject[], signal: AbortSignal): Promise<readonly StoredObject[]> {
    return await mapBounded(page, limits.storeStatsAtOnceMax, async (object) =>
      object.sizeBytes > 0 || object.isFolder || !object.isReadable
        ? object
        : ((await this.stat(object.key, signal)) ?? object),
    );
  }

  async *#pages(
    prefix: string,
    startAfter: string | null,
    isDeep: boolean,
    signal: AbortSignal,
  ): AsyncGenerator<readonly StoredObject[], void, void> {
    this.#options.retries.counts.listings += 1;
    const isServed = startAfter !== null && isDeep && this.#canStartAfter;
    const options = { recursive: isDeep, limit: limits.storePageObjects, ...(isServed ? { startAfter } : {}) };
    let page: StoredObject[] = [];
    // The store may know nothing of beginning in the middle: then what comes before is passed over.
    let isReached = startAfter === null || isServed || !isDeep;
    try {
      const lister = await this.#operator.lister(prefix === '' ? '/' : prefix, options);
      for (let entry = await lister.next(); entry !== null; entry = await lister.next()) {
        signal.throwIfAborted();
        const object = objectOf(entry.path(), entry.metadata());
        if (!isReached) isReached = object.key === startAfter;
        else page.push(object);
        if (page.length < limits.storePageObjects) continue;
        yield page;
        page = [];
      }
    } catch (error) {
      if (page.length > 0 && storeProblem(error)?.trouble === 'passing') yield page;
      throw this.#translated(error, prefix);
    }
    if (page.length > 0) yield page;
    if (isReached) return;
    throw new BatchError(
      'INPUT_CHANGED',
      `${this.#name(startAfter ?? '')} went away while ${this.#name(prefix)} was being listed`,
    );
  }

  async stat(key: string, signal: AbortSignal): Promise<StoredObject | null> {
    const { retries } = this.#options;
    return await retries.run(signal, async () => {
      retries.counts.stats += 1;
      try {
        return objectOf(key, await this.#operator.stat(key));
      } catch (error) {
        if (storeProblem(error)?.trouble === 'absent') return null;
        throw this.#translated(error, key);
      }
    });
  }

  async *read(
    object: StoredObject,
    offset: number,
    signal: AbortSignal,
    end: number = object.sizeBytes,
  ): AsyncGenerator<Uint8Array, void, void> {
    if (object.sizeBytes === 0) return await this.#checkEmpty(object, signal);
    const ahead: Promise<Uint8Array>[] = [];
    let next = offset;
    const ask = (): void => {
      while (ahead.length <= limits.storeRangesAhead && next < end) {
        const range = this.#range(object, next, Math.min(limits.storeRangeBytes, end - next));
        // Fails again where it is awaited, unless an earlier one has failed before.
        range.catch(() => undefined);
        ahead.push(range);
        next += limits.storeRangeBytes;
      }
    };
    ask();
    for (let first = ahead.shift(); first; first = ahead.shift()) {
      signal.throwIfAborted();
      const bytes = await first;
      ask();
      yield bytes;
    }
  }

  /** An empty object has no bytes that could be asked for. */
  async #checkEmpty(object: StoredObject, signal: AbortSignal): Promise<void> {
    const found = await this.stat(object.key, signal);
    if (found?.identity !== object.identity) throw this.#changed(object, found);
  }

  async #range({ key, identity, sizeBytes }: StoredObject, offset: number, length: number): Promise<Uint8Array> {
    const { counts } = this.#options.retries;
    counts.reads += 1;
    try {
      const range = { offset: BigInt(offset), size: BigInt(length) };
      const bytes = await this.#operator.read(key, { ...range, ...this.#conditionOf(identity, sizeBytes) });
      counts.bytesRead += bytes.length;
      if (bytes.length === length) return bytes;
      throw new BatchError('STORE_UNREACHABLE', `${this.#name(key)}: ${bytes.length} of ${length} bytes came`);
    } catch (error) {
      const trouble = storeProblem(error)?.trouble;
      if (trouble !== 'short' && trouble !== 'changed' && trouble !== 'absent') throw this.#translated(error, key);
      const object = { key, identity, sizeBytes, isReadable: true, isFolder: false };
      const found = await this.#inTime(limits.storeSilenceMsMax, key, null, (signal) => this.stat(key, signal));
      if (found?.identity === identity)
        throw new BatchError('STORE_UNREACHABLE', `${this.#name(key)}: too few bytes came`);
      throw this.#changed(object, found);
    }
  }

  async put(key: string, bytes: Uint8Array, signal: AbortSignal | null = null): Promise<StoredObject> {
    if (key.endsWith('/')) {
      await this.#writtenAtLast(key, signal, () => this.#operator.createDir(key));
      return { key, sizeBytes: 0, identity: '', isReadable: true, isFolder: true };
    }
    const first = this.#placeToWriteFirst(key);
    const written = await this.#writtenAtLast(key, signal, () =>
      this.#operator.write(first ?? key, Buffer.from(bytes)),
    );
    return first === null ? objectOf(key, written, bytes.length) : await this.#moved(first, key, signal);
  }

  async putParts(key: string, parts: AsyncIterable<Uint8Array>): Promise<StoredObject> {
    const first = this.#placeToWriteFirst(key);
    const writer = await this.#written(key, () =>
      this.#operator.writer(first ?? key, { chunk: BigInt(limits.storePartBytes), concurrent: 1 }),
    );
    for await (const part of parts) await this.#written(key, () => writer.write(Buffer.from(part)));
    await this.#written(key, () => writer.close());
    if (first !== null) return await this.#moved(first, key, null);
    const found = await this.#inTime(limits.storeSilenceMsMax, key, null, (signal) => this.stat(key, signal));
    if (found) return found;
    throw new BatchError('STORE_UNREACHABLE', `${this.#name(key)} is not there although it was written`);
  }

  async copy(from: string, to: string, stop: AbortSignal | null = null): Promise<StoredObject | null> {
    return await this.#inTime(limits.storeCopyMsMax, to, stop, async (signal) => {
      const isThere = await this.#options.retries.run(signal, async () => {
        try {
          await this.#operator.copy(from, to);
          return true;
        } catch (error) {
          if (storeProblem(error)?.trouble === 'absent') return false;
          throw this.#translated(error, to);
        }
      });
      if (!isThere) return null;
      const found = await this.stat(to, signal);
      if (found) return found;
      throw new BatchError('STORE_UNREACHABLE', `${this.#name(to)} is not there although it was copied`);
    });
  }

  async remove(key: string, signal: AbortSignal | null = null): Promise<void> {
    await this.#writtenAtLast(key, signal, () => this.#operator.delete(key));
  }

  /** A time that has run out is trouble of the store that may pass. */
  async #inTime<T>(
    ms: number,
    key: string,
    stop: AbortSignal | null,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const time = AbortSignal.timeout(ms);
    try {
      return await work(stop === null ? time : AbortSignal.any([time, stop]));
    } catch (error) {
      if (error !== time.reason || !time.aborted) throw error;
      const message = `${this.#name(key)} cannot be reached: it has not answered for ${ms / 1_000} s`;
      throw new BatchError('STORE_UNREACHABLE', message, { cause: error });
    }
  }

  /** Reads nothing but the content that was listed. Google compares with the etag as it tells it, which has no quotes. */
  #conditionOf(
    identity: string,
    sizeBytes: number,
  ): { readonly ifMatch: string } | { readonly ifUnmodifiedSince: string } {
    if (!identity.startsWith('"')) return { ifUnmodifiedSince: identity.slice(`${sizeBytes}-`.length) };
    return { ifMatch: this.#options.access.service === 'gcs' ? identity.slice(1, -1) : identity };
  }

  #placeToWriteFirst(key: string): string | null {
    return this.#options.access.service === 'gcs' ? placeToWriteFirst(key) : null;
  }

  /** Gives what was written elsewhere its name. */
  async #moved(from: string, key: string, signal: AbortSignal | null): Promise<StoredObject> {
    const found = await this.copy(from, key, signal);
    if (found === null) {
      throw new BatchError('STORE_UNREACHABLE', `${this.#name(from)} went away before it was ${this.#name(key)}`);
    }
    await this.remove(from, signal);
    return found;
  }

  async #written<T>(key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#translated(error, key);
    }
  }

  /** What comes to the same when it is done twice. The number of tries ends it, or the signal. */
  async #writtenAtLast<T>(key: string, signal: AbortSignal | null, work: () => Promise<T>): Promise<T> {
    return await this.#options.retries.run(signal ?? new AbortController().signal, () => this.#written(key, work));
  }

  #translated(error: unknown, key: string): unknown {
    const problem = storeProblem(error);
    return problem === null ? error : storeError(problem, this.#name(key), this.#options.access.lookedAt);
  }

  #changed({ key, identity }: StoredObject, found: StoredObject | null): BatchError {
    if (found === null) return new BatchError('INPUT_UNREADABLE', `${this.#name(key)} is gone since it was listed`);
    const message = `${this.#name(key)} was ${identity} when it was listed and is ${found.identity} now`;
    return new BatchError('INPUT_CHANGED', message);
  }

  #name(key: string): string {
    return `${this.#options.where}/${key}`;
  }
}

function objectOf(key: string, metadata: Metadata, sizeBytes = Number(metadata.contentLength ?? 0)): StoredObject {
  const { etag, lastModified } = metadata;
  const quoted = etag === null || etag === '' || /^(W\/)?"/.test(etag) ? etag : `"${etag}"`;
  const isFolder = key.endsWith('/') || metadata.userMetadata?.['hdi_isfolder'] === 'true';
  const identity = quoted || `${sizeBytes}-${lastModified ?? ''}`;
  return { key, sizeBytes, identity, isReadable: isReadableKey(key), isFolder };
}

/** The client tidies paths up before it asks for them, so that it asks for another object than these. */
function isReadableKey(key: string): boolean {
  return !key.startsWith('/') && !key.includes('//') && key === key.trim();
}

async function* mapPages<T>(
  pages: AsyncIterable<readonly T[]>,
  work: (page: readonly T[]) => Promise<readonly T[]>,
): AsyncGenerator<readonly T[], void, void> {
  for await (const page of pages) yield await work(page);
}

async function* joined<T>(
  pages: AsyncIterable<readonly T[]>,
  countMax: number,
): AsyncGenerator<readonly T[], void, void> {
  const all: T[] = [];
  for await (const page of pages) {
    for (const item of page) all.push(item);
    if (all.length > countMax) break;
  }
  yield all;
}
