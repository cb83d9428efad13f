/**
 * Input files of mini-batches on this machine: in place where the node sees the very file that was listed, else fetched
 * into a folder of the attempt's own, which goes when the attempt is over.
 */
import { mkdir, open, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { BatchError, isBatchError, toBatchError } from '../../common/core/batch-error.ts';
import type { Scorer } from '../../common/core/deployment.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import type { JobName } from '../../common/core/ids.ts';
import type { InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { isUri } from '../../common/core/location.ts';
import type { FileFailure } from '../../common/core/result.ts';
import type { Delay } from '../../common/io/delay.ts';
import { writeAll } from '../../common/io/write-all.ts';
import { confine, isConfined } from '../../common/storage/confine.ts';
import type { BulkSource } from './bulk-source.ts';
import { fetchFile, localWrite, type FetchedFile } from './fetch-file.ts';
import { forEachBounded, Gate } from './gate.ts';
import { fetchedSource, localSource, type Keep, type PartSource } from './part-source.ts';
import { LocalLooks } from './local-looks.ts';
import { PartTables, type PartInput } from './part-tables.ts';
import type { StoreInputs } from './store-inputs.ts';

export interface InputStagerOptions {
  readonly source: BulkSource;
  readonly delay: Delay;
  /** What this node reads from stores by itself; absent: nothing. */
  readonly stores?: StoreInputs;
}

export interface StageRequest {
  readonly job: JobName;
  /** As on the coordinator's machine. */
  readonly inputRoot: string;
  /** Who will read the files. */
  readonly reader: Scorer['kind'];
  /** Ordinal of the first file. */
  readonly first: number;
  readonly files: readonly InputFile[];
  /** Absolute; for files that have to be fetched, made when needed. */
  readonly dir: string;
  /** Ends fetches; asked for only where there is something to fetch. */
  readonly signalOf: () => AbortSignal;
}

export interface StagedInputs {
  /** What the scoring host gets, in order; without the failed ones. */
  readonly files: readonly HostFile[];
  /** By place in the mini-batch. */
  readonly failed: readonly FileFailure[];
  /** Removes what was fetched; null when nothing was. */
  readonly release: (() => Promise<void>) | null;
}

export class InputStager {
  readonly #options: InputStagerOptions;
  /** All mini-batches share it: the network is not quicker for being asked more at once. */
  readonly #fetches = new Gate(limits.stagingFetchesMax);
  readonly #tables = new PartTables();
  readonly #looks = new LocalLooks();

  constructor(options: InputStagerOptions) {
    this.#options = options;
  }

  async close(): Promise<void> {
    await this.#looks.close();
  }

  /**
   * Files that cannot be had are told in `failed`. Throws what has nothing to do with a single file:
   * COORDINATOR_UNREACHABLE, SESSION_UNKNOWN, DISK_FULL, STATE_UNWRITABLE, and the reason of the signal.
   */
  async stage(request: StageRequest): Promise<StagedInputs> {
    const { files: wanted } = request;
    const staged = new Array<HostFile | null>(wanted.length).fill(null);
    const failed: FileFailure[] = [];
    const release = (): Promise<void> => rm(request.dir, { recursive: true, force: true });
    let hasFetched = false;
    const inPlace = await this.#findInPlace(request);
    const others: number[] = [];
    for (const [index, file] of wanted.entries()) {
      const path = inPlace[index] ?? null;
      if (path === null || isPart(file)) others.push(index);
      else staged[index] = { path, name: file.path };
    }
    try {
      await forEachBounded(others, filesAtOnce, async (index) => {
        const file = wanted[index] as InputFile;
        const local = inPlace[index] ?? null;
        try {
          if (!isConfined(file.path)) throw notConfined(file.path);
          hasFetched ||= local === null;
          if (isPart(file)) staged[index] = await this.#stagePart(request, file, index, local);
          else {
            const path = await this.#fetch(request, file, index, foldersOf(wanted).has(file.path));
            staged[index] = { path, name: file.path };
          }
        } catch (error) {
          failed.push(fileFailure(error, index));
        }
      });
    } catch (error) {
      // Why it failed says more than why the rest cannot be removed.
      if (hasFetched) await release().catch(() => undefined);
      throw error;
    }
    failed.sort((a, b) => a.index - b.index);
    const files = staged.filter((file) => file !== null);
    return { files, failed, release: hasFetched ? release : null };
  }

  /**
   * The files under the input root of this machine, where they are those that were listed: same size, same modification time;
   * null for the others. An input root that is a file is that file.
   */
  async #findInPlace({ inputRoot, files }: StageRequest): Promise<readonly (string | null)[]> {
    if (isUri(inputRoot)) return [];
    // A confined path is as plain as `join` would make it.
    const root = join(inputRoot, '/');
    const paths = files.map(({ path }) => (isConfined(path) ? root + path : ''));
    const identities = await this.#looks.identitiesOf(paths);
    const found = paths.map((path, index) => (identities[index] === files[index]?.identity ? path : null));
    const isRoot = ({ path }: InputFile, index: number): boolean =>
      found[index] === null && path === basename(inputRoot);
    if (!files.some(isRoot)) return found;
    const [identity] = await this.#looks.identitiesOf([inputRoot]);
    return files.map((file, index) =>
      isRoot(file, index) && file.identity === identity ? inputRoot : (found[index] ?? null),
    );
  }

  #fetch(request: StageRequest, file: InputFile, index: number, isFolderToo: boolean): Promise<string> {
    const { job, first } = request;
    const signal = request.signalOf();
    checkNames(file.path);
    const dir = isFolderToo ? join(request.dir, `.file-${index}`) : request.dir;
    const path = confine(dir, file.path);
    const wanted = { job, ordinal: first + index, identity: file.identity };
    return this.#fetches.pass(signal, async () => {
      await localWrite(dirname(path), () => mkdir(dirname(path), { recursive: true }));
      const open = (offset: number): AsyncIterable<Uint8Array> => this.#options.source.input(wanted, offset, signal);
      const { delay } = this.#options;
      const fetched = await this.#fromStore(request, file, path);
      const { bytes } = fetched ?? (await fetchFile({ path, open, signal, delay, isDurable: false }));
      if (bytes !== file.sizeBytes) {
        throw new BatchError(
          'INPUT_CHANGED',
          `${file.path} had ${file.sizeBytes} bytes when it was listed, ${bytes} came now`,
        );
      }
      return path;
    });
  }

  /** Finds the rows of a part. Where the file has to be fetched, only what they need is stored here, each byte at its place in the file. */
  async #stagePart(request: StageRequest, file: PartInput, index: number, local: string | null): Promise<HostFile> {
    const { job, reader } = request;
    const signal = request.signalOf();
    const { fileBytes } = file.part;
    if (local !== null) {
      const source = localSource(local, file.path, fileBytes, signal);
      const part = await this.#tables.locate(job, reader, file, source, null);
      return { path: local, name: file.path, ...(part && { part }) };
    }
    checkNames(file.path);
    // Parts of one file may be in one mini-batch.
    const path = confine(join(request.dir, `.part-${index}`), file.path);
    return this.#fetches.pass(signal, async () => {
      await localWrite(dirname(path), () => mkdir(dirname(path), { recursive: true }));
      const handle = await localWrite(path, () => open(path, 'w', 0o600));
      try {
        // Footers are looked for at the end.
        await localWrite(path, () => handle.truncate(fileBytes));
        const keep: Keep = (bytes, offset) => localWrite(path, () => writeAll(handle, bytes, offset));
        const part = await this.#tables.locate(job, reader, file, this.#partSource(request, file, index), keep);
        const { stores } = this.#options;
        if (stores && (await stores.route(job, request.inputRoot, file, signal)) !== null) stores.came(job);
        return { path, name: file.path, ...(part && { part }) };
      } finally {
        await handle.close();
      }
    });
  }

  /** From the store where this node reads it by itself; otherwise, and from where the store has failed on, from the coordinator. */
  #partSource(request: StageRequest, file: PartInput, index: number): PartSource {
    const { job, inputRoot, first } = request;
    const signal = request.signalOf();
    const { source, stores, delay } = this.#options;
    const wanted = { job, ordinal: first + index, identity: file.identity };
    async function* open(begin: number, end: number): AsyncGenerator<Uint8Array, void, void> {
      let at = begin;
      const root = (await stores?.route(job, inputRoot, file, signal)) ?? null;
      if (stores && root !== null) {
        try {
          for await (const piece of stores.read(job, root, file, { offset: begin, end }, signal)) {
            at += piece.length;
            yield piece;
          }
          return;
        } catch (error) {
          if (signal.aborted || !(error instanceof BatchError)) throw error;
          stores.refused(job, file, error);
        }
      }
      yield* source.input({ ...wanted, end }, at, signal);
    }
    return fetchedSource({ fileBytes: file.part.fileBytes, name: file.path, open, delay, signal });
  }

  /** Null when the coordinator has to give the file, or to say what is wrong with it. */
  async #fromStore(request: StageRequest, file: InputFile, path: string): Promise<FetchedFile | null> {
    const { stores, delay } = this.#options;
    const { job, inputRoot } = request;
    const signal = request.signalOf();
    const root = (await stores?.route(job, inputRoot, file, signal)) ?? null;
    if (!stores || root === null) return null;
    const open = (offset: number): AsyncIterable<Uint8Array> =>
      stores.read(job, root, file, { offset, end: null }, signal);
    try {
      const fetched = await fetchFile({ path, open, signal, delay, isDurable: false });
      stores.came(job);
      return fetched;
    } catch (error) {
      if (signal.aborted || !(error instanceof BatchError) || isBatchError(error, 'DISK_FULL', 'STATE_UNWRITABLE'))
        throw error;
      stores.refused(job, file, error);
      return null;
    }
  }
}

const isPart = (file: InputFile): file is PartInput => file.part !== undefined;

/** In a store a key may be a file and the beginning of others; on a disk it must be one of the two. */
function foldersOf(files: readonly InputFile[]): ReadonlySet<string> {
  const folders = new Set<string>();
  for (const { path } of files) {
    for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1))
      folders.add(path.slice(0, slash));
  }
  return folders;
}

function checkNames(path: string): void {
  if (path.split('/').every((name) => Buffer.byteLength(name) <= limits.fileNameBytesMax)) return;
  throw new BatchError(
    'INPUT_UNREADABLE',
    `${path} has a name of more than ${limits.fileNameBytesMax} bytes, which no file on this machine can have`,
  );
}

/** Enough to keep the system's file threads busy. */
const filesAtOnce = 16;

function notConfined(path: string): BatchError {
  return new BatchError('INPUT_UNREADABLE', `${JSON.stringify(path)} is no path of an input`);
}

/** Trouble with one file is told with its result; anything else concerns the whole mini-batch. */
function fileFailure(error: unknown, index: number): FileFailure {
  const { code, message, rule } = toBatchError(error);
  if (rule.category !== 'input') throw error;
  return { index, code, message };
}
