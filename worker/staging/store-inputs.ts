/**
 * Inputs that lie in a store, read by this node itself where it can: it looks at the first file of a job with its own
 * credentials, and only when that is the very file that was listed does it read the rest. Otherwise, and for any file that it then
 * cannot read, the coordinator’s bytes serve, and the coordinator says what is wrong.
 */
import { isBatchError } from '../../common/core/batch-error.ts';
import type { JobName } from '../../common/core/ids.ts';
import { unreadableIdentity, type InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { isUri, parseLocation, type StoreLocation } from '../../common/core/location.ts';
import type { Delay } from '../../common/io/delay.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { Log } from '../../common/io/log.ts';
import { lookAtStored, readStored } from '../../common/storage/read-stored.ts';
import type { Stores } from '../../common/storage/stores.ts';

export interface StoreInputsOptions {
  readonly stores: Stores;
  readonly delay: Delay;
  readonly log: Log;
}

interface JobInputs {
  /** Null: through the coordinator. */
  route: Promise<StoreLocation | null>;
  files: number;
  bytes: number;
  retriesBefore: number;
}

export class StoreInputs {
  readonly #options: StoreInputsOptions;
  readonly #jobs = new Map<JobName, JobInputs>();

  constructor(options: StoreInputsOptions) {
    this.#options = options;
  }

  /** Where this node reads the job’s files by itself; null: nowhere. Tried once for a job, with its first file. */
  async route(job: JobName, inputRoot: string, file: InputFile, signal: AbortSignal): Promise<StoreLocation | null> {
    if (!isUri(inputRoot) || file.identity === unreadableIdentity) return null;
    const known = this.#jobs.get(job);
    if (known) return await known.route;
    const route = this.#try(job, inputRoot, file, signal);
    this.#jobs.set(job, { route, files: 0, bytes: 0, retriesBefore: this.#options.stores.counts.retries });
    return await route;
  }

  /** The bytes of a range, or all from its offset on. Throws what stores throw, after which {@link refused} wants to know. */
  async *read(
    job: JobName,
    root: StoreLocation,
    file: InputFile,
    range: { readonly offset: number; readonly end: number | null },
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, void> {
    let bytes = 0;
    try {
      for await (const piece of readStored(this.#options.stores, root, file, range, signal)) {
        bytes += piece.length;
        yield piece;
      }
    } finally {
      const inputs = this.#jobs.get(job);
      if (inputs) inputs.bytes += bytes;
    }
  }

  /** A file, or what is needed of a part, has come from the store. */
  came(job: JobName): void {
    const inputs = this.#jobs.get(job);
    if (inputs) inputs.files += 1;
  }

  /** A file could not be read here. A store that cannot be had is not asked again for this job. */
  refused(job: JobName, file: InputFile, error: unknown): void {
    const { log } = this.#options;
    const inputs = this.#jobs.get(job);
    log.debug('a file comes through the coordinator', { job, file: file.path, reason: reasonOf(error) });
    if (!inputs || !isBatchError(error, 'STORE_DENIED', 'STORE_UNREACHABLE')) return;
    inputs.route = Promise.resolve(null);
    log.warn('inputs come through the coordinator from now on', { job, reason: reasonOf(error) });
  }

  finish(job: JobName): void {
    const inputs = this.#jobs.get(job);
    this.#jobs.delete(job);
    if (!inputs || inputs.files === 0) return;
    const { stores, log } = this.#options;
    const retries = stores.counts.retries - inputs.retriesBefore;
    log.info('inputs came straight from the store', { job, files: inputs.files, bytes: inputs.bytes, retries });
  }

  async #try(job: JobName, inputRoot: string, file: InputFile, signal: AbortSignal): Promise<StoreLocation | null> {
    const { stores, delay, log } = this.#options;
    const root = parseLocation(inputRoot) as StoreLocation;
    const late = AbortSignal.any([signal, AbortSignal.timeout(limits.storeTrialMs)]);
    const through = (reason: string): null => {
      log.info('inputs come through the coordinator', { job, input: inputRoot, reason });
      return null;
    };
    try {
      const looking = lookAtStored(stores, root, file.path, late);
      looking.catch(() => undefined);
      const found = await Promise.race([looking, delay(limits.storeTrialMs, late).then(() => 'late' as const)]);
      if (found === 'late') return through(`the store did not answer within ${limits.storeTrialMs / 1_000} s`);
      if (found?.identity !== file.identity) {
        return through(`${file.path} is ${found?.identity ?? 'not there'} here, and was listed as ${file.identity}`);
      }
      log.info('inputs come straight from the store', { job, input: inputRoot });
      return root;
    } catch (error) {
      return through(reasonOf(error));
    }
  }
}
