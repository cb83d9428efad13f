/**
 * Outputs in a store. A job writes and seals in a folder of the coordinator's own; then its files go to the store, `_SUCCESS` last. What
 * worker nodes have put there by themselves, in folders of their attempts, is copied to its final name within the store: only that of attempts that were
 * committed. Everything may be done again after a crash.
 */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { below, folderKey, parseLocation, type StoreLocation } from '../../common/core/location.ts';
import { readText } from '../../common/io/if-there.ts';
import { mapBounded } from '../../common/io/map-bounded.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { ObjectStore, StoredObject } from '../../common/ports/object-store.ts';
import type { Stores } from '../../common/storage/stores.ts';
import { listedFiles, manifestOf, type NamedManifest } from './custom-listing.ts';
import type { PlacedFile, StorePlace } from './custom-publish.ts';
import {
  errorsName,
  isManifestChunkName,
  manifestDirName,
  manifestName,
  partialName,
  signatureName,
  someOf,
  successName,
  temporaryName,
} from './output-names.ts';
import { attemptsPlace } from './output-place.ts';
import { isPartPath, type PartNames } from './part-names.ts';
import { blocksOf } from './read-blocks.ts';
import { sizeOf } from './recover-output.ts';
import type { SealedOutput } from './sealed-lines.ts';
import { StoreClaims } from './store-claims.ts';

export interface StoreOutputOptions {
  readonly stores: Stores;
  /** Canonical text. */
  readonly location: string;
  readonly job: string;
  /** Where the job works, and has sealed its output when that is published. */
  readonly dir: string;
  readonly fileSystem: FileSystem;
  readonly signal: AbortSignal;
}

export interface PrepareOptions {
  /** The results of an earlier job are removed, and nothing else. */
  readonly isOverwrite: boolean;
  /** Null with output_action summary_only. */
  readonly outputFileName: string | null;
  /** Null where the rows are the output as they are. */
  readonly parts: PartNames | null;
}

export class StoreOutput implements StorePlace {
  readonly #options: StoreOutputOptions;
  readonly #root: StoreLocation;
  readonly #attempts: string;

  constructor(options: StoreOutputOptions) {
    this.#options = options;
    this.#root = parseLocation(options.location) as StoreLocation;
    this.#attempts = attemptsPlace(options.location, options.job);
  }

  /** Looks whether results are there, and whether anything can be written; nothing goes. @throws OUTPUT_EXISTS, STORE_DENIED, STORE_UNREACHABLE, LOCATION_INVALID, INPUT_NOT_FOUND for a bucket that is not there */
  async look(options: PrepareOptions): Promise<void> {
    const { location, signal } = this.#options;
    const found = options.isOverwrite ? [] : await this.#found(options);
    if (found.length > 0) {
      const message = `${location} holds results already (${someOf(found)}); choose another output, or say --overwrite to replace them`;
      throw new BatchError('OUTPUT_EXISTS', message);
    }
    const { store, key } = await this.#at(temporaryName('_probe'));
    await store.put(key, Buffer.from('x'), signal);
    await store.remove(key, signal);
  }

  /** Removes the results of an earlier job, and nothing else; whatever else has the name of a result is replaced when that comes. */
  async clear(options: PrepareOptions): Promise<void> {
    const { fileSystem, dir } = this.#options;
    await StoreClaims.takeAll(fileSystem, dir);
    const found = await this.#found(options);
    if (found.length === 0) return;
    await this.#remove([successName]);
    const manifest = await this.#text(manifestName);
    const own = await listedFiles(manifest, (path) => this.#text(path));
    const output = manifestOf(manifest)?.output ?? null;
    const others = [...found.filter((name) => name !== manifestName), ...(output === null ? [] : [output])];
    await this.#remove([...own.map(({ path }) => path), ...others]);
    // Last: a removal that is broken off can be said again.
    await this.#remove([manifestName]);
  }

  async #found({ outputFileName, parts }: PrepareOptions): Promise<readonly string[]> {
    const names = [successName, manifestName, signatureName, errorsName];
    if (outputFileName !== null) names.push(outputFileName, partialName(outputFileName));
    const made = parts === null ? [] : await this.#parts(parts);
    return [...new Set([...(await this.#there(names)), ...made, ...(await this.#chunks())])];
  }

  /** Objects that have names of parts. */
  async #parts(parts: PartNames): Promise<readonly string[]> {
    const { store, key } = await this.#at('');
    const prefix = folderKey(key);
    const { signal } = this.#options;
    const found: string[] = [];
    const look = async (folder: string, isDeep: boolean): Promise<readonly string[]> => {
      const folders: string[] = [];
      for await (const page of store.list({ prefix: folder, startAfter: null, isDeep, signal })) {
        for (const object of page) {
          const path = object.key.slice(prefix.length);
          if (!isDeep && object.isFolder && path.startsWith(parts.folders[0] ?? '/')) folders.push(object.key);
          if (!object.isFolder && isPartPath(parts, path)) found.push(path);
        }
      }
      return folders;
    };
    await mapBounded(await look(prefix, false), atOnce, (folder) => look(folder, true));
    return found.sort();
  }

  async #there(paths: readonly string[]): Promise<readonly string[]> {
    return (await mapBounded(paths, atOnce, async (path) => ((await this.#stat(path)) ? [path] : []))).flat();
  }

  /** The job whose manifest is there; null without one. */
  async writer(): Promise<string | null> {
    return manifestOf(await this.#text(manifestName))?.name ?? null;
  }

  async name(files: readonly PlacedFile[]): Promise<void> {
    await this.#claim(files.map(({ path }) => path));
    await mapBounded(files, atOnce, async ({ location, path, bytes }) => {
      if (!location.startsWith(`${this.#attempts}/`)) throw this.#corrupt(`${location} is in no folder of an attempt`);
      const { key: from } = await this.#options.stores.open(parseLocation(location) as StoreLocation);
      const { store, key: to } = await this.#at(path);
      const copied =
        bytes > limits.storeCopyBytesMax
          ? await this.#carry(store, from, to)
          : await store.copy(from, to, this.#options.signal);
      // An earlier try of sealing may have come so far that it took the attempts away.
      const found = copied ?? (await store.stat(to, this.#options.signal));
      if (found?.sizeBytes === bytes) return;
      throw this.#corrupt(`${location} ${found ? `has ${found.sizeBytes} bytes, ${bytes} were committed` : 'is gone'}`);
    });
  }

  /**
   * Resolves to what is left that nobody needs and could not be removed, in words; null: nothing.
   * @throws OUTPUT_CORRUPT; OUTPUT_EXISTS for what is there that is not of this job; and what stores throw
   */
  async publish(sealed: SealedOutput): Promise<string | null> {
    const { dir, fileSystem } = this.#options;
    const { output, errors, files, segments, custom_chunks: chunks } = sealed;
    const custom = await listedFiles(JSON.stringify(sealed), (path) => readText(fileSystem, join(dir, path)));
    const own = [output, errors, ...files, ...segments, ...chunks].flatMap((file) => (file ? [file.path] : []));
    const paths = [...own, ...custom.map(({ path }) => path)];
    const { claims, earlier } = await this.#claim([...paths, signatureName, manifestName, successName]);
    await this.#remove([successName]);
    await mapBounded(paths, atOnce, (path) => this.#upload(path));
    await this.#upload(signatureName);
    await this.#upload(manifestName);
    const kept = new Set(paths);
    // Of an earlier end of the job, which may have been another one.
    const left = [...earlier, ...(await this.#chunks()), errorsName];
    await this.#remove(left.filter((path) => !kept.has(path) && claims.has(path)));
    if (sealed.verdict === 'Completed') {
      const { store, key } = await this.#at(successName);
      await store.put(key, new Uint8Array(0), this.#options.signal);
    }
    try {
      await this.#clearAttempts();
      return null;
    } catch (error) {
      // The output is whole without it.
      if (error instanceof BatchError) return `${this.#attempts}: ${error.message}`;
      throw error;
    }
  }

  /**
   * From here on these paths are the job's. `earlier`: those that an earlier end of it has put there.
   * @throws OUTPUT_EXISTS for one that somebody else has, or the manifest of another job
   */
  async #claim(
    paths: readonly string[],
  ): Promise<{ readonly claims: StoreClaims; readonly earlier: readonly string[] }> {
    const { dir, fileSystem, location, job } = this.#options;
    const before = await this.#ownManifest();
    const listed = before === null ? [] : await listedFiles(before.text, (path) => this.#text(path));
    const earlier = [...listed.map(({ path }) => path), ...(before?.output ? [before.output] : [])];
    const claims = await StoreClaims.read(fileSystem, dir);
    const known = new Set(before === null ? [] : [...earlier, manifestName, signatureName, successName, errorsName]);
    const isKnown = (path: string): boolean =>
      known.has(path) || (before !== null && path.startsWith(`${manifestDirName}/`));
    const taken = await this.#there(paths.filter((path) => !claims.has(path) && !isKnown(path)));
    if (taken.length > 0) {
      const why = `which job ${job} has not written; move it away and resume the job, or replace it by --overwrite the next time`;
      throw new BatchError('OUTPUT_EXISTS', `${location} has ${someOf(taken)}, ${why}`);
    }
    await claims.add([...known, ...paths]);
    return { claims, earlier };
  }

  /** What an earlier end of this very job has put there; null: nothing. @throws OUTPUT_EXISTS for that of another one */
  async #ownManifest(): Promise<NamedManifest | null> {
    const { dir, fileSystem, location, job } = this.#options;
    const found = manifestOf(await this.#text(manifestName));
    if (found === null) return null;
    const own = manifestOf(await readText(fileSystem, join(dir, manifestName)));
    if (own?.name === found.name && own.createdAt === found.createdAt) return found;
    throw new BatchError(
      'OUTPUT_EXISTS',
      `${location} holds the results of job ${found.name}, which ended before this one; those of job ${job} are in ${dir}. ` +
        'Move the others away and resume the job, or copy these to a place of their own',
    );
  }

  /** What attempts have left that were lost, or whose files have got their names. */
  async #clearAttempts(): Promise<void> {
    const { stores, signal } = this.#options;
    const { store, key } = await stores.openToWrite(parseLocation(this.#attempts) as StoreLocation);
    const prefix = folderKey(key);
    for await (const page of store.list({ prefix, startAfter: null, isDeep: true, signal })) {
      await mapBounded(page, atOnce, (object) => store.remove(object.key, signal));
    }
  }

  /** Files that are not here are in the store already. */
  async #upload(path: string): Promise<void> {
    const { dir, fileSystem } = this.#options;
    const local = join(dir, path);
    const bytes = await sizeOf(fileSystem, local);
    if (bytes === null) return;
    const { stores, signal } = this.#options;
    const { store, key } = await this.#at(path);
    const { sizeBytes } = await stores.retries.run(signal, () => store.putParts(key, readFile(fileSystem, local)));
    if (sizeBytes === bytes) return;
    throw new BatchError('STORE_UNREACHABLE', `${this.#options.location}: ${path} has ${sizeBytes} of ${bytes} bytes`);
  }

  /** What is too large for the store to copy it by itself. */
  async #carry(store: ObjectStore, from: string, to: string): Promise<StoredObject | null> {
    const { signal } = this.#options;
    const source = await store.stat(from, signal);
    return source && (await store.putParts(to, store.read(source, 0, signal)));
  }

  async #remove(paths: readonly string[]): Promise<void> {
    await mapBounded(paths, atOnce, async (path) => {
      const { store, key } = await this.#at(path);
      await store.remove(key, this.#options.signal);
    });
  }

  /** Of any manifest that is or was there. */
  async #chunks(): Promise<readonly string[]> {
    const { store, key } = await this.#at(manifestDirName);
    const prefix = folderKey(key);
    const names: string[] = [];
    for await (const page of store.list({ prefix, startAfter: null, isDeep: true, signal: this.#options.signal })) {
      for (const object of page) if (object.key !== prefix) names.push(object.key.slice(prefix.length));
    }
    return names.filter(isManifestChunkName).map((name) => `${manifestDirName}/${name}`);
  }

  async #text(path: string): Promise<string | null> {
    const found = await this.#stat(path);
    if (found === null || found.sizeBytes > limits.manifestBytesMax) return null;
    const { store } = await this.#at(path);
    const pieces: Uint8Array[] = [];
    for await (const piece of store.read(found, 0, this.#options.signal)) pieces.push(piece);
    return Buffer.concat(pieces).toString();
  }

  async #stat(path: string): Promise<StoredObject | null> {
    const { store, key } = await this.#at(path);
    return await store.stat(key, this.#options.signal);
  }

  async #at(path: string): Promise<{ readonly store: ObjectStore; readonly key: string }> {
    return await this.#options.stores.openToWrite(below(this.#root, path));
  }

  #corrupt(what: string): BatchError {
    return new BatchError(
      'OUTPUT_CORRUPT',
      `a part of the output of job ${this.#options.job}: ${what}; run the job again`,
    );
  }
}

const atOnce = 8;

async function* readFile(fileSystem: FileSystem, path: string): AsyncGenerator<Uint8Array, void, void> {
  const file = await fileSystem.open(path, 'read');
  try {
    // The block is overwritten by the next one, and the store may still hold it.
    for await (const block of blocksOf(file)) yield Buffer.from(block);
  } finally {
    await file.close();
  }
}
