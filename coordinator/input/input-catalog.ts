/**
 * The input order of one job on disk: sealed chunks of listed files, written once, read while leases are granted and when the job
 * is sealed. Ten million files are as many lines on disk and a few numbers per chunk in memory.
 *
 * A chunk is JSON Lines: `["batchmill-inputs", format, first, count]`, then `[path, sizeBytes, identity]` for each file, and for a part
 * of one `[path, sizeBytes, identity, begin, end, fileBytes]`.
 */
import { join } from 'node:path';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import type { FileRange, InputFile } from '../../common/core/input.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { outsideError, reasonOf } from '../../common/io/errno.ts';
import { partFrom, partNumbers, readChanges, removeChanges, writeChanges, type ChangedFile } from './input-changes.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';

const magic = 'batchmill-inputs';
const chunkFormat = 1;
/** More than a chunk's first line ever has. */
const headerBytesMax = 128;

const headerSchema = z.tuple([z.literal(magic), z.literal(chunkFormat), z.int().min(0), z.int().min(1)]);

/** A page that has become durable. */
export interface SealedPage extends FileRange {
  readonly chunk: number;
  /** Of all its files together. */
  readonly bytes: number;
  /** Of each file. */
  readonly sizes: Float64Array;
}

interface CachedChunk {
  readonly loading: Promise<readonly InputFile[]>;
  /** Null until they are read. */
  files: readonly InputFile[] | null;
}

export interface InputCatalogOptions {
  /** The job's folder; chunks lie in its folder `inputs`. */
  readonly jobDir: string;
  readonly fileSystem?: FileSystem;
}

export class InputCatalog {
  readonly #fileSystem: FileSystem;
  readonly #dir: string;
  readonly #chunks: FileRange[];
  /** Files that were looked at again when the job was reopened, by ordinal. */
  readonly #changes: Map<number, ChangedFile>;
  /** Least recently used first. */
  readonly #cache = new Map<number, CachedChunk>();

  private constructor(fileSystem: FileSystem, dir: string, chunks: FileRange[], changes: Map<number, ChangedFile>) {
    this.#changes = changes;
    this.#fileSystem = fileSystem;
    this.#dir = dir;
    this.#chunks = chunks;
  }

  /**
   * Finds the chunks that are there; {@link truncateTo} then drops those that the journal does not know.
   * @throws JOURNAL_CORRUPT, STATE_UNWRITABLE
   */
  static async open(options: InputCatalogOptions): Promise<InputCatalog> {
    const fileSystem = options.fileSystem ?? nodeFileSystem;
    const dir = join(options.jobDir, 'inputs');
    return translated(dir, async () => {
      await fileSystem.makeDir(dir);
      await fileSystem.syncDir(options.jobDir);
      const changes = await readChanges(fileSystem, dir);
      return new InputCatalog(fileSystem, dir, await findChunks(fileSystem, dir), changes);
    });
  }

  get chunks(): number {
    return this.#chunks.length;
  }

  /** Files in all chunks. */
  get count(): number {
    const last = this.#chunks.at(-1);
    return last === undefined ? 0 : last.first + last.count;
  }

  /**
   * Seals the next page: on the disk when it resolves. One at a time.
   * @throws DISK_FULL, STATE_UNWRITABLE; the page may be appended again then
   */
  async append(page: readonly InputFile[]): Promise<SealedPage> {
    invariant(page.length > 0, 'a page has at least one file');
    const chunk = this.#chunks.length;
    const first = this.count;
    await translated(this.#dir, () => this.#write(chunk, first, page));
    invariant(this.#chunks.length === chunk, 'pages are appended one after the other');
    this.#chunks.push({ first, count: page.length });
    this.#remember(chunk, { loading: Promise.resolve(page), files: page });
    const sizes = Float64Array.from(page, (file) => file.sizeBytes);
    return { chunk, first, count: page.length, bytes: sizes.reduce((sum, size) => sum + size, 0), sizes };
  }

  /** Removes chunks from `chunks` on: written before a crash that their record did not survive. @throws JOURNAL_CORRUPT */
  async truncateTo(chunks: number): Promise<void> {
    if (chunks > this.#chunks.length) {
      throw corrupt(join(this.#dir, chunkName(this.#chunks.length)), `is missing; the journal knows ${chunks} chunks`);
    }
    await translated(this.#dir, async () => {
      for (let chunk = this.#chunks.length - 1; chunk >= chunks; chunk -= 1) {
        await this.#fileSystem.remove(join(this.#dir, chunkName(chunk)));
        this.#cache.delete(chunk);
      }
      this.#chunks.length = chunks;
      // Of a job that had the name before.
      if (chunks === 0) await removeChanges(this.#fileSystem, this.#dir);
      await this.#fileSystem.syncDir(this.#dir);
    });
  }

  /** Files `first` to `first + count − 1`, all of which must have been appended. @throws JOURNAL_CORRUPT */
  async files(first: number, count: number): Promise<readonly InputFile[]> {
    invariant(first >= 0 && count >= 1, `a range has a first file and at least one, not ${first} and ${count}`);
    invariant(first + count <= this.count, `files ${first} to ${first + count} of ${this.count} were asked for`);
    const files: InputFile[] = [];
    for (let chunk = this.#chunkOf(first); files.length < count; chunk += 1) {
      const range = this.#chunks[chunk] as FileRange;
      const from = first + files.length - range.first;
      const parsed = await this.#load(chunk);
      for (const file of parsed.slice(from, from + count - files.length)) {
        files.push(this.#asChanged(file, first + files.length));
      }
    }
    return files;
  }

  /** The same where it needs no reading; null otherwise. */
  known(first: number, count: number): readonly InputFile[] | null {
    invariant(first >= 0 && count >= 1, `a range has a first file and at least one, not ${first} and ${count}`);
    const chunk = this.#chunkOf(first);
    const range = this.#chunks[chunk];
    const cached = this.#cache.get(chunk);
    if (!cached?.files || !range || first + count > range.first + range.count) return null;
    this.#remember(chunk, cached);
    const from = first - range.first;
    const files = cached.files.slice(from, from + count);
    return this.#changes.size === 0 ? files : files.map((file, index) => this.#asChanged(file, first + index));
  }

  /** All files in input order. */
  async *all(): AsyncGenerator<InputFile> {
    for await (const page of this.pages()) yield* page;
  }

  /** The same, a chunk in memory at a time; leaves alone what the cache holds for granting. */
  async *pages(): AsyncGenerator<readonly InputFile[]> {
    for (const [chunk, { first }] of this.#chunks.entries()) {
      const files = await (this.#cache.get(chunk)?.loading ?? this.#read(chunk));
      yield this.#changes.size === 0 ? files : files.map((file, index) => this.#asChanged(file, first + index));
    }
  }

  /**
   * Sets down what these files are now, under the number of the job's reopening: on the disk when it resolves.
   * @throws DISK_FULL, STATE_UNWRITABLE
   */
  async change(number: number, files: readonly ChangedFile[]): Promise<void> {
    await translated(this.#dir, () => writeChanges(this.#fileSystem, this.#dir, number, files));
    for (const file of files) this.#changes.set(file.ordinal, file);
  }

  #asChanged(file: InputFile, ordinal: number): InputFile {
    const changed = this.#changes.get(ordinal);
    if (!changed) return file;
    const { sizeBytes, identity, part } = changed;
    return { path: file.path, sizeBytes, identity, ...(part && { part }) };
  }

  /** By bisection: the last chunk that begins at or before `ordinal`. */
  #chunkOf(ordinal: number): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#chunks[middle] as FileRange).first <= ordinal) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #load(chunk: number): Promise<readonly InputFile[]> {
    const cached = this.#cache.get(chunk) ?? this.#begin(chunk);
    this.#remember(chunk, cached);
    return cached.loading;
  }

  #begin(chunk: number): CachedChunk {
    const cached: CachedChunk = { loading: this.#read(chunk), files: null };
    cached.loading.then(
      (files) => (cached.files = files),
      // What could not be read now may be readable later.
      () => this.#cache.delete(chunk),
    );
    return cached;
  }

  #remember(chunk: number, cached: CachedChunk): void {
    this.#cache.delete(chunk);
    this.#cache.set(chunk, cached);
    if (this.#cache.size <= limits.manifestChunksCached) return;
    for (const oldest of this.#cache.keys()) {
      this.#cache.delete(oldest);
      return;
    }
  }

  async #write(chunk: number, first: number, page: readonly InputFile[]): Promise<void> {
    const path = join(this.#dir, chunkName(chunk));
    const lines = [JSON.stringify([magic, chunkFormat, first, page.length])];
    for (const file of page)
      lines.push(JSON.stringify([file.path, file.sizeBytes, file.identity, ...partNumbers(file.part)]));
    const temporary = `${path}.tmp`;
    const open = await this.#fileSystem.open(temporary, 'replace');
    try {
      await open.write([Buffer.from(`${lines.join('\n')}\n`)], 0);
      await open.datasync();
    } finally {
      await open.close();
    }
    await this.#fileSystem.rename(temporary, path);
    await this.#fileSystem.syncDir(this.#dir);
  }

  async #read(chunk: number): Promise<readonly InputFile[]> {
    const path = join(this.#dir, chunkName(chunk));
    const lines = (await readText(this.#fileSystem, path)).split('\n');
    const { count } = this.#chunks[chunk] as FileRange;
    if (lines.length !== count + 2) throw corrupt(path, `has ${lines.length - 2} files, its first line says ${count}`);
    try {
      return lines.slice(1, -1).map((line) => {
        // Our own lines, counted above; a schema per line would cost more than the reading.
        const [file, sizeBytes, identity, ...part] = JSON.parse(line) as [string, number, string, ...number[]];
        return { path: file, sizeBytes, identity, ...partFrom(part) };
      });
    } catch (error) {
      throw corrupt(path, reasonOf(error));
    }
  }
}

/** `chunk-000000.jsonl` */
function chunkName(chunk: number): string {
  return `chunk-${String(chunk).padStart(6, '0')}.jsonl`;
}

async function findChunks(fileSystem: FileSystem, dir: string): Promise<FileRange[]> {
  const names = new Set(await fileSystem.list(dir));
  for (const name of names) if (/^chunk-\d+\.jsonl\.tmp$/.test(name)) await fileSystem.remove(join(dir, name));
  const chunks: FileRange[] = [];
  for (let first = 0; names.has(chunkName(chunks.length));) {
    const path = join(dir, chunkName(chunks.length));
    const range = await readHeader(fileSystem, path);
    if (range.first !== first) throw corrupt(path, `begins at file ${range.first}, wanted is ${first}`);
    chunks.push(range);
    first += range.count;
  }
  return chunks;
}

async function readHeader(fileSystem: FileSystem, path: string): Promise<FileRange> {
  const file = await fileSystem.open(path, 'read');
  try {
    const bytes = Buffer.alloc(headerBytesMax);
    const text = bytes.toString('utf8', 0, await file.read(bytes, 0));
    const [, , first, count] = headerSchema.parse(JSON.parse(text.slice(0, text.indexOf('\n'))));
    return { first, count };
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof z.ZodError)) throw error;
    throw corrupt(path, 'does not begin as a list of inputs does');
  } finally {
    await file.close();
  }
}

async function readText(fileSystem: FileSystem, path: string): Promise<string> {
  const file = await fileSystem.open(path, 'read');
  try {
    const bytes = Buffer.allocUnsafe(await file.sizeBytes());
    return bytes.toString('utf8', 0, await file.read(bytes, 0));
  } finally {
    await file.close();
  }
}

async function translated<T>(dir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw outsideError(error, `the list of inputs in ${dir} cannot be written`) ?? error;
  }
}

function corrupt(path: string, what: string): BatchError {
  return new BatchError('JOURNAL_CORRUPT', `${path} ${what}; restore it from a copy, or run the job again`);
}
