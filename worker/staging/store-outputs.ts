/**
 * Parts of an output that this node puts where the output is by itself, into a store or a shared folder, in a place of the attempt's own:
 * the coordinator gets to know where they are, and those of the attempt that is committed get their final names. A place that this node
 * cannot write to is not asked again for the job: its parts go through the coordinator.
 */
import { createHash, type Hash } from 'node:crypto';
import { mkdir, open, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BatchError, isBatchError } from '../../common/core/batch-error.ts';
import type { JobName } from '../../common/core/ids.ts';
import { below, isUri, locationText, parseLocation, type StoreLocation } from '../../common/core/location.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import type { Log } from '../../common/io/log.ts';
import type { StoredFile } from '../../common/storage/custom-archive.ts';
import type { Stores } from '../../common/storage/stores.ts';

export interface StoreOutputsOptions {
  readonly stores: Stores;
  readonly log: Log;
}

/** A file of an attempt: its path in the output, and its bytes as often as they are asked for. */
export interface AttemptFile {
  readonly path: string;
  readonly bytes: number;
  readonly open: () => AsyncIterable<Uint8Array>;
}

export class StoreOutputs {
  readonly #options: StoreOutputsOptions;
  /** Where parts of each job go, once it is known. */
  readonly #routes = new Map<JobName, 'output' | 'coordinator'>();

  constructor(options: StoreOutputsOptions) {
    this.#options = options;
  }

  /** `place`: the folder of the attempt. Null when the file has to go through the coordinator. Throws what reading the file throws. */
  async put(job: JobName, place: string, file: AttemptFile, signal: AbortSignal): Promise<StoredFile | null> {
    if (this.#routes.get(job) === 'coordinator') return null;
    const { log } = this.#options;
    try {
      const stored = isUri(place)
        ? await this.#putInStore(place, file, signal)
        : await putInFolder(place, file, signal);
      if (!this.#routes.has(job)) log.info('parts go straight to the output', { job, place: dirname(place) });
      this.#routes.set(job, 'output');
      return stored;
    } catch (error) {
      if (signal.aborted || !isOfPlace(error)) throw error;
      this.#routes.set(job, 'coordinator');
      log.warn('parts go through the coordinator from now on', { job, reason: reasonOf(error) });
      return null;
    }
  }

  async #putInStore(place: string, file: AttemptFile, signal: AbortSignal): Promise<StoredFile> {
    const { stores } = this.#options;
    const location = below(parseLocation(place) as StoreLocation, file.path);
    const { store, key } = await stores.openToWrite(location);
    return await stores.retries.run(signal, async () => {
      const hash = createHash('sha256');
      const { sizeBytes } = await store.putParts(key, hashed(file.open(), hash, signal));
      if (sizeBytes === file.bytes) {
        return { location: locationText(location), bytes: sizeBytes, sha256: hash.digest('hex') };
      }
      throw new BatchError('STORE_UNREACHABLE', `${locationText(location)} has ${sizeBytes} of ${file.bytes} bytes`);
    });
  }

  finish(job: JobName): void {
    this.#routes.delete(job);
  }
}

/**
 * In a folder that this machine shares with the coordinator: it has made the folder of the job's attempts, which only such a machine
 * sees. Durable when it resolves.
 */
async function putInFolder(
  place: string,
  { path, bytes, open: blocks }: AttemptFile,
  signal: AbortSignal,
): Promise<StoredFile> {
  await stat(dirname(place));
  const target = join(place, path);
  await mkdir(place).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw error;
  });
  await mkdir(dirname(target), { recursive: true });
  const file = await open(target, 'w');
  try {
    const hash = createHash('sha256');
    for await (const piece of hashed(blocks(), hash, signal)) await file.writeFile(piece);
    await file.sync();
    return { location: target, bytes, sha256: hash.digest('hex') };
  } catch (error) {
    await rm(target, { force: true }).catch(() => undefined);
    throw error;
  } finally {
    await file.close();
  }
}

async function* hashed(
  pieces: AsyncIterable<Uint8Array>,
  hash: Hash,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const piece of pieces) {
    signal.throwIfAborted();
    hash.update(piece);
    yield piece;
  }
}

/** What is wrong with the place, and not with the file. */
function isOfPlace(error: unknown): boolean {
  const isOfStore = isBatchError(error, 'STORE_DENIED', 'STORE_UNREACHABLE', 'LOCATION_INVALID', 'INPUT_NOT_FOUND');
  return isOfStore || errnoOf(error) !== '';
}
