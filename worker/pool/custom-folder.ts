/**
 * The folder of one scoring host that user code knows as AZUREML_BI_OUTPUT_PATH: finds what each attempt has brought there,
 * and takes back what a failed one has left. Files of earlier mini-batches stay for the script to see, the newest of them.
 */
import type { BigIntStats } from 'node:fs';
import { lstat, open, readdir, rm, rmdir, truncate, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf, outsideError } from '../../common/io/errno.ts';
import type { AttemptFile } from '../staging/store-outputs.ts';
import { entryHead, entryTrailer, type StoredFile } from '../../common/storage/custom-archive.ts';
import { customPathDefect } from '../../common/storage/custom-path.ts';
import type { ResultBody } from './result-body.ts';

/** What the system says of a file; when all of it is the same, the file is. */
interface Look {
  readonly inode: bigint;
  readonly device: bigint;
  readonly bytes: number;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

interface Known extends Look {
  /** Of the bytes. */
  readonly crc32: number;
  /** False for what init() wrote: it belongs to the first attempt that succeeds. */
  readonly isShipped: boolean;
  readonly how: 'append' | 'whole';
}

const blockBytes = 262_144;
const storeBlockBytes = 1_048_576;

/** Puts a file into a store; null when it has to go with the rows. */
export type PutFile = (file: AttemptFile) => Promise<StoredFile | null>;

export class CustomFolder {
  readonly #dir: string;
  readonly #outputFileName: string | null;
  readonly #filesKept: number;
  /** In the order in which they were last written. */
  readonly #known = new Map<string, Known>();
  /** Folders that init() made: the script may count on them. */
  #ownFolders: ReadonlySet<string> = new Set();

  /** `dir` exists. `outputFileName`: of the rows, null when the job writes none. `filesKept`: of earlier mini-batches, for the script to see. */
  constructor(dir: string, outputFileName: string | null, filesKept: number = limits.customFilesKept) {
    this.#dir = dir;
    this.#filesKept = filesKept;
    this.#outputFileName = outputFileName;
  }

  /** Nothing is known to be there. */
  get isEmpty(): boolean {
    return this.#known.size === 0;
  }

  /** Once, after init() and before the first attempt. @throws CUSTOM_OUTPUT_INVALID, STATE_UNWRITABLE, DISK_FULL */
  async begin(): Promise<void> {
    await this.#told(async () => {
      const { files, folders } = await this.#walk();
      this.#ownFolders = new Set(folders);
      for (const [path, look] of files) {
        this.#known.set(path, { ...look, crc32: await this.#checksum(path, look), isShipped: false, how: 'whole' });
      }
    });
  }

  /**
   * Puts what the attempt has brought behind the rows in `body`. `appended`: paths that the host saw being opened for
   * appending. `store` may take whole files and say where they are; null: they go with the rows. Order is by path, so that the
   * same files are the same bytes.
   * @throws CUSTOM_OUTPUT_INVALID, STATE_UNWRITABLE, DISK_FULL; then {@link undo} takes all of it back
   */
  async collect(appended: ReadonlySet<string>, body: ResultBody, store: PutFile | null = null): Promise<void> {
    await this.#told(async () => {
      const { files, folders } = await this.#walk();
      const brought = [...files].filter(([path, look]) => !this.#isShippedAsItIs(path, look));
      if (brought.length > limits.customFilesMax) {
        throw invalid(`${brought.length} files`, `one mini-batch may write ${limits.customFilesMax}`);
      }
      const shipped = new Map<string, Known>();
      for (const [path, look] of brought)
        shipped.set(path, await this.#ship(path, look, appended.has(path), body, store));
      await body.settled();
      for (const path of this.#known.keys()) if (!files.has(path)) this.#known.delete(path);
      for (const [path, known] of shipped) {
        this.#known.delete(path);
        this.#known.set(path, known);
      }
      await this.#forgetOldest(folders);
    });
  }

  /**
   * After a failed attempt: what it brought goes, what it appended is cut off. False when an older file is not what it
   * was and cannot be made so: then host and folder are of no use any more.
   */
  async undo(): Promise<boolean> {
    const names = await readdir(this.#dir, { recursive: true, withFileTypes: true });
    let isWhole = true;
    const found = new Set<string>();
    for (const name of names) {
      if (name.isDirectory()) continue;
      const absolute = join(name.parentPath, name.name);
      const path = absolute.slice(this.#dir.length + 1);
      found.add(path);
      const known = this.#known.get(path);
      // Bytes that are no text stand for others here: what has that name is not removed by it.
      if (name.name.includes('\ufffd')) isWhole = false;
      if (!known) await rm(absolute, { force: true });
      else if (!(await this.#restore(path, known))) isWhole = false;
    }
    for (const path of this.#known.keys()) if (!found.has(path)) isWhole = false;
    return isWhole;
  }

  async #restore(path: string, known: Known): Promise<boolean> {
    const absolute = join(this.#dir, path);
    const stats = await lstat(absolute, { bigint: true });
    if (!stats.isFile() || stats.ino !== known.inode || stats.dev !== known.device) return false;
    if (stats.size < known.bytes) return false;
    const look = lookOf(stats);
    if (isSame(look, known)) return true;
    if ((await this.#checksum(path, known)) !== known.crc32) return false;
    if (look.bytes > known.bytes) await truncate(absolute, known.bytes);
    this.#known.set(path, { ...known, ...lookOf(await lstat(absolute, { bigint: true })) });
    return true;
  }

  /** A clock that ticks rarely may give two writes one time; then the length tells them apart, or nothing does. */
  #isShippedAsItIs(path: string, look: Look): boolean {
    const known = this.#known.get(path);
    return known?.isShipped === true && isSame(known, look);
  }

  /** Reads what the look saw, and no more: what a thread of user code still writes is for the next mini-batch. */
  async #ship(
    path: string,
    look: Look,
    isToldAppend: boolean,
    body: ResultBody,
    store: PutFile | null,
  ): Promise<Known> {
    const known = this.#known.get(path);
    const file = await open(join(this.#dir, path), 'r');
    try {
      let from = 0;
      let how: Known['how'] = isToldAppend ? 'append' : 'whole';
      if (known?.isShipped === true) {
        const isGrown = look.inode === known.inode && look.device === known.device && look.bytes > known.bytes;
        const isAppended = isGrown && (await readChecksum(file, 0, known.bytes, null)) === known.crc32;
        how = isAppended ? 'append' : 'whole';
        from = isAppended ? known.bytes : 0;
      }
      const stored = how === 'whole' && store ? await this.#put(path, look, store) : null;
      if (stored) {
        appendEntry(body, path, Buffer.from(JSON.stringify(stored.file)));
        return { ...look, crc32: stored.crc32, isShipped: true, how };
      }
      const entry = { path, how, bytes: look.bytes - from };
      const { head, crc32: headerCrc32 } = entryHead(entry);
      let whole = from > 0 && known ? known.crc32 : 0;
      body.append(head);
      const take = async (block: Uint8Array): Promise<void> => {
        whole = crc32(block, whole);
        body.append(block);
        if (body.isBehind) await body.settled();
      };
      body.append(entryTrailer(await readChecksum(file, from, entry.bytes, take, headerCrc32)));
      return { ...look, crc32: whole, isShipped: true, how: known?.how === 'append' ? 'append' : how };
    } finally {
      await file.close();
    }
  }

  async #put(
    path: string,
    look: Look,
    store: PutFile,
  ): Promise<{ readonly file: StoredFile; readonly crc32: number } | null> {
    const absolute = join(this.#dir, path);
    let sum = 0;
    async function* blocks(): AsyncGenerator<Uint8Array, void, void> {
      sum = 0;
      const file = await open(absolute, 'r');
      try {
        for (let done = 0; done < look.bytes;) {
          const block = Buffer.allocUnsafe(Math.min(storeBlockBytes, look.bytes - done));
          const { bytesRead } = await file.read(block, 0, block.length, done);
          if (bytesRead === 0)
            throw invalid(path, 'it became shorter after run() had returned; wait for what writes it');
          const part = block.subarray(0, bytesRead);
          sum = crc32(part, sum);
          done += bytesRead;
          yield part;
        }
      } finally {
        await file.close();
      }
    }
    const file = await store({ path, bytes: look.bytes, open: blocks });
    return file && { file, crc32: sum };
  }

  async #checksum(path: string, { bytes }: Pick<Look, 'bytes'>): Promise<number> {
    const file = await open(join(this.#dir, path), 'r');
    try {
      return await readChecksum(file, 0, bytes, null);
    } finally {
      await file.close();
    }
  }

  /** Of files that were written whole only: to one that grows, the script may come back. */
  async #forgetOldest(folders: readonly string[]): Promise<void> {
    let surplus = this.#known.size - this.#filesKept;
    for (const [path, { how, isShipped }] of this.#known) {
      if (surplus <= 0) break;
      if (how !== 'whole' || !isShipped) continue;
      surplus -= 1;
      this.#known.delete(path);
      await rm(join(this.#dir, path), { force: true });
      const folder = dirname(path);
      if (folders.length > this.#filesKept && folder !== '.' && !this.#ownFolders.has(folder)) {
        await removeEmpty(join(this.#dir, folder));
      }
    }
  }

  async #walk(): Promise<{ readonly files: ReadonlyMap<string, Look>; readonly folders: readonly string[] }> {
    const files: [string, Look][] = [];
    const folders: string[] = [];
    const walk = async (folder: string): Promise<void> => {
      for (const name of (await readdir(join(this.#dir, folder))).sort()) {
        const path = folder === '' ? name : `${folder}/${name}`;
        const defect = customPathDefect(path, this.#outputFileName);
        if (defect) throw invalid(path, defect);
        const stats = await this.#stats(path);
        if (stats === null) continue;
        if (stats.isDirectory()) {
          folders.push(path);
          await walk(path);
        } else if (stats.isFile()) files.push([path, lookOf(stats)]);
        else throw invalid(path, 'it is a link, a socket or another special file; write plain files');
      }
    };
    await walk('');
    return { files: new Map(files), folders };
  }

  /** Null for what a thread of user code has just removed. */
  async #stats(path: string): Promise<BigIntStats | null> {
    try {
      return await lstat(join(this.#dir, path), { bigint: true });
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return null;
      throw error;
    }
  }

  async #told(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (errnoOf(error) !== '' && !(await isFolder(this.#dir))) throw gone(this.#dir);
      throw outsideError(error, `the files in ${this.#dir} cannot be collected`) ?? error;
    }
  }
}

function lookOf({
  ino,
  dev,
  size,
  mtimeNs,
  ctimeNs,
}: Pick<BigIntStats, 'ino' | 'dev' | 'size' | 'mtimeNs' | 'ctimeNs'>): Look {
  return { inode: ino, device: dev, bytes: Number(size), modifiedNs: mtimeNs, changedNs: ctimeNs };
}

function isSame(a: Look, b: Look): boolean {
  return (
    a.inode === b.inode &&
    a.device === b.device &&
    a.bytes === b.bytes &&
    a.modifiedNs === b.modifiedNs &&
    a.changedNs === b.changedNs
  );
}

/** Of `bytes` bytes from `from` on, each block given to `take` as its own. @throws CUSTOM_OUTPUT_INVALID when they are not there */
async function readChecksum(
  file: FileHandle,
  from: number,
  bytes: number,
  take: ((block: Uint8Array) => Promise<void>) | null,
  previous = 0,
): Promise<number> {
  let sum = previous;
  for (let done = 0; done < bytes;) {
    const block = Buffer.allocUnsafe(Math.min(blockBytes, bytes - done));
    const { bytesRead } = await file.read(block, 0, block.length, from + done);
    if (bytesRead === 0) throw invalid('a file', 'it became shorter after run() had returned; wait for what writes it');
    const part = block.subarray(0, bytesRead);
    sum = crc32(part, sum);
    await take?.(part);
    done += bytesRead;
  }
  return sum;
}

function appendEntry(body: ResultBody, path: string, data: Uint8Array): void {
  const { head, crc32: sum } = entryHead({ path, how: 'stored', bytes: data.length });
  body.append(head);
  body.append(data);
  body.append(entryTrailer(crc32(data, sum)));
}

async function removeEmpty(dir: string): Promise<void> {
  try {
    await rmdir(dir);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error))) throw error;
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isDirectory();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

function gone(dir: string): BatchError {
  return new BatchError(
    'CUSTOM_OUTPUT_INVALID',
    `the script has removed, moved or replaced the folder AZUREML_BI_OUTPUT_PATH itself (${dir}), and nothing that it wrote there ` +
      'can be published; remove what is in the folder, and leave the folder',
  );
}

function invalid(path: string, why: string): BatchError {
  return new BatchError(
    'CUSTOM_OUTPUT_INVALID',
    `the script wrote ${JSON.stringify(path)} to AZUREML_BI_OUTPUT_PATH, which cannot be published: ${why}`,
  );
}
