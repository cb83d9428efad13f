/**
 * Parts of an output that this node puts into the store of the output by itself, in a folder of the attempt's own: the coordinator gets to
 * know where they are, and those of the attempt that is committed get their final names. A store that this node cannot write to is not
 * asked again for the job: its parts go through the coordinator, which may.
 */
import { createHash } from 'node:crypto';
import { BatchError, isBatchError } from '../../common/core/batch-error.ts';
import type { JobName } from '../../common/core/ids.ts';
import { below, locationText, parseLocation, type StoreLocation } from '../../common/core/location.ts';
import { reasonOf } from '../../common/io/errno.ts';
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
  /** Jobs whose store was refused here. */
  readonly #refused = new Set<JobName>();

  constructor(options: StoreOutputsOptions) {
    this.#options = options;
  }

  /** `place`: the folder of the attempt. Null when the file has to go through the coordinator. Throws what reading the file throws. */
  async put(job: JobName, place: string, file: AttemptFile, signal: AbortSignal): Promise<StoredFile | null> {
    if (this.#refused.has(job)) return null;
    const { stores, log } = this.#options;
    const location = below(parseLocation(place) as StoreLocation, file.path);
    try {
      const { store, key } = await stores.openToWrite(location);
      return await stores.retries.run(signal, async () => {
        const hash = createHash('sha256');
        async function* hashed(): AsyncGenerator<Uint8Array, void, void> {
          for await (const piece of file.open()) {
            signal.throwIfAborted();
            hash.update(piece);
            yield piece;
          }
        }
        const { sizeBytes } = await store.putParts(key, hashed());
        if (sizeBytes === file.bytes)
          return { location: locationText(location), bytes: sizeBytes, sha256: hash.digest('hex') };
        throw new BatchError('STORE_UNREACHABLE', `${locationText(location)} has ${sizeBytes} of ${file.bytes} bytes`);
      });
    } catch (error) {
      const isOfStore = isBatchError(error, 'STORE_DENIED', 'STORE_UNREACHABLE', 'LOCATION_INVALID', 'INPUT_NOT_FOUND');
      if (signal.aborted || !isOfStore) throw error;
      this.#refused.add(job);
      log.warn('parts go through the coordinator from now on', { job, reason: reasonOf(error) });
      return null;
    }
  }

  finish(job: JobName): void {
    this.#refused.delete(job);
  }
}
