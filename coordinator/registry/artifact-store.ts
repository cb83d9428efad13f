/**
 * Models and code of all jobs, kept by digest: the same bytes are there once, whatever they are called, and stay what they were when a
 * job was submitted. Blobs lie in `sha256/<first two digits>/<all digits>` and are never changed; a damaged one counts as none, so that
 * it is sent, and put, again.
 */
import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { chmod, copyFile, link, mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { BatchError, isBatchError } from '../../common/core/batch-error.ts';
import type { Artifact, ArtifactSource, LocalArtifact } from '../../common/core/deployment.ts';
import { digest, type Digest } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf, outsideError, reasonOf } from '../../common/io/errno.ts';
import { mapBounded } from '../../common/io/map-bounded.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { readFully } from '../../common/io/read-fully.ts';
import { writeAll } from '../../common/io/write-all.ts';
import { formatListing, isDigest, parseListing, type ListedFile } from '../../common/storage/artifact-listing.ts';
import { confine } from '../../common/storage/confine.ts';
import { folderFiles } from './folder-files.ts';

export interface Blob {
  readonly digest: Digest;
  readonly bytes: number;
}

/** Of what is laid out. */
type LaidFile = Pick<ListedFile, 'path' | 'digest' | 'bytes'>;

/** A longer one is no list: of a million files with names of a hundred characters this is half. */
const listingBytesMax = 536_870_000;
/** Of one file in it, whose name is as long as it may be and all of it escaped. */
const listingLineBytesMax = 16_384;

/** Questions to the disk that are under way together. */
const looksAtOnce = 16;

export class ArtifactStore {
  readonly #dir: string;
  readonly #temporaryDir: string;
  #temporaries = 0;
  /** Bytes of blobs that were found to be what their digests say since this process began. */
  readonly #checked = new Map<Digest, number>();
  /** Blobs that are read for that now: however many ask, once. */
  readonly #reading = new Map<Digest, Promise<boolean>>();
  /** Folders that were laid out, or looked at, since this process began. */
  readonly #laidOut = new Set<string>();

  private constructor(dir: string) {
    this.#dir = join(dir, 'sha256');
    this.#temporaryDir = join(dir, 'tmp');
  }

  /** `dir`: of the store alone, in a locked state directory; made when absent. @throws STATE_UNWRITABLE */
  static async open(dir: string): Promise<ArtifactStore> {
    const store = ArtifactStore.at(dir);
    await store.prepare();
    return store;
  }

  /** Nothing is looked at or made before {@link prepare}. */
  static at(dir: string): ArtifactStore {
    return new ArtifactStore(dir);
  }

  /** @throws STATE_UNWRITABLE */
  async prepare(): Promise<void> {
    await translated(dirname(this.#dir), async () => {
      // What a crash has left half copied.
      await rm(this.#temporaryDir, { recursive: true, force: true });
      await mkdir(this.#temporaryDir, { recursive: true });
      await mkdir(this.#dir, { recursive: true });
    });
  }

  /**
   * Copies a file or a folder in, durably; what is there already is only read. `bytes` of a folder are those of its files.
   * @throws DEPLOYMENT_NOT_FOUND, DEPLOYMENT_INVALID, DISK_FULL, STATE_UNWRITABLE
   */
  async add(local: LocalArtifact): Promise<Artifact> {
    await checkKind(local);
    const { kind } = local;
    const name = basename(local.path);
    if (kind === 'file') return { kind, name, ...(await this.#addFile(local.path)) };
    const files: ListedFile[] = [];
    for (const { path, from, mode } of await folderFiles(local.path)) {
      files.push({ path, mode, ...(await this.#addFile(from)) });
    }
    return await this.addFolder(name, files);
  }

  /** What is to be here: copied in, or here already. @throws ARTIFACT_NOT_FOUND, and what {@link add} throws */
  async keep(source: ArtifactSource): Promise<Artifact> {
    if ('path' in source) return await this.add(source);
    const { kind, digest: of, bytes } = source;
    const isHere = kind === 'file' ? await this.#isWhole(of, bytes) : await this.has(of);
    if (!isHere) throw notFound(of);
    return source;
  }

  /** A file that comes as a stream, durably. @throws DISK_FULL, STATE_UNWRITABLE, and what the stream throws */
  async addStream(pieces: AsyncIterable<Uint8Array>): Promise<Blob> {
    return await this.#place(async (temporary) => {
      const hash = createHash('sha256');
      let bytes = 0;
      const file = await open(temporary, 'w');
      try {
        for await (const piece of pieces) {
          hash.update(piece);
          bytes += piece.length;
          await writeAll(file, piece, null);
        }
      } finally {
        await file.close();
      }
      return { digest: digest(`sha256:${hash.digest('hex')}`), bytes };
    });
  }

  /** A folder of files that are here. */
  async addFolder(name: string, files: readonly ListedFile[]): Promise<Artifact> {
    const listing = await this.#addBytes(formatListing(files));
    return { kind: 'folder', name, digest: listing.digest, bytes: files.reduce((sum, file) => sum + file.bytes, 0) };
  }

  /**
   * Makes `dir` what the artifact is, by links to what is kept: a folder with its files, or one with the file in it. What is there
   * already stays, but for files that are damaged. @throws ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT, DISK_FULL, STATE_UNWRITABLE
   */
  async layOut(artifact: Pick<Artifact, 'kind' | 'name' | 'digest'>, dir: string): Promise<void> {
    const isThere = (await sizeOf(dir)) !== null;
    if (isThere && this.#laidOut.has(dir)) return;
    const files = artifact.kind === 'folder' ? await this.listing(artifact.digest) : [await this.#alone(artifact)];
    const temporary = this.#temporary();
    await translated(this.#dir, async () => {
      if (isThere) return await this.#mend(dir, files, temporary);
      await mkdir(temporary, { recursive: true });
      for (const file of files) {
        const path = confine(temporary, file.path);
        await mkdir(dirname(path), { recursive: true });
        await this.#link(file, path);
      }
      await mkdir(dirname(dir), { recursive: true });
      await rename(temporary, dir).catch(async (error: unknown) => {
        // Somebody else has made it meanwhile.
        await rm(temporary, { recursive: true, force: true });
        if ((await sizeOf(dir)) === null) throw error;
      });
    });
    this.#laidOut.add(dir);
  }

  /** Puts whole files into the places of those that are of another length. */
  async #mend(dir: string, files: readonly LaidFile[], temporary: string): Promise<void> {
    await mapBounded(files, looksAtOnce, async (file, index) => {
      const path = confine(dir, file.path);
      if ((await sizeOf(path)) === file.bytes) return;
      await mkdir(dirname(path), { recursive: true });
      await this.#link(file, `${temporary}-${index}`);
      await rename(`${temporary}-${index}`, path);
    });
  }

  async #link(file: LaidFile, path: string): Promise<void> {
    if (!(await this.#isWhole(file.digest, file.bytes))) throw notFound(file.digest);
    await link(this.#path(file.digest), path);
  }

  async #alone({ name, digest: of }: Pick<Artifact, 'name' | 'digest'>): Promise<LaidFile> {
    const bytes = (await this.#isWhole(of, null)) ? await this.#sizeOf(of) : null;
    if (bytes === null) throw notFound(of);
    return { path: name, digest: of, bytes };
  }

  /** Copies those files of a folder that `isWanted` says yes to. @throws ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT */
  async copyOut(of: Digest, dir: string, isWanted: (path: string) => boolean): Promise<void> {
    for (const file of await this.listing(of)) {
      if (!isWanted(file.path)) continue;
      const path = confine(dir, file.path);
      await mkdir(dirname(path), { recursive: true });
      if (!(await this.#isWhole(file.digest, file.bytes))) throw notFound(file.digest);
      await copyFile(this.#path(file.digest), path, constants.COPYFILE_FICLONE);
    }
  }

  /** Whether it need not be sent: a file that is whole, or a folder with all of its files. */
  async has(of: Digest): Promise<boolean> {
    if (!(await this.#isWhole(of, null))) return false;
    const files = await this.#filesIfFolder(of);
    const isHere = await mapBounded(files, looksAtOnce, (file) => this.#isWhole(file.digest, file.bytes));
    return isHere.every(Boolean);
  }

  /**
   * Whether a blob is there and of as many bytes as were `told`; where nobody has, or of another number, it is read, once by this process.
   */
  async #isWhole(of: Digest, told: number | null): Promise<boolean> {
    const size = await this.#sizeOf(of);
    if (size === null) return false;
    if (size === told || size === this.#checked.get(of)) return true;
    const reading = this.#reading.get(of) ?? this.#read(of).finally(() => this.#reading.delete(of));
    this.#reading.set(of, reading);
    return await reading;
  }

  /** What cannot be read is as good as not there. */
  async #read(of: Digest): Promise<boolean> {
    const found = await digestOf(this.#path(of)).catch((error: unknown) => {
      if (error instanceof BatchError) return null;
      throw error;
    });
    if (found?.digest !== of) return false;
    this.#note(found);
    return true;
  }

  #note({ digest: of, bytes }: Blob): void {
    if (this.#checked.size >= limits.blobsCheckedMax) this.#checked.clear();
    this.#checked.set(of, bytes);
  }

  /** None for what is a file: nobody says which of both a digest is of, and a list tells by its first line. */
  async #filesIfFolder(of: Digest): Promise<readonly ListedFile[]> {
    const size = (await this.#sizeOf(of)) ?? 0;
    if (size > listingBytesMax) return [];
    const beginning = Buffer.alloc(Math.min(size, listingLineBytesMax));
    const file = await open(this.#path(of), 'r');
    try {
      await readFully(file, beginning, 0);
    } finally {
      await file.close();
    }
    const end = beginning.indexOf('\n');
    if (end < 0) return [];
    try {
      parseListing(beginning.subarray(0, end + 1));
      return await this.listing(of);
    } catch (error) {
      if (isBatchError(error, 'ARTIFACT_CORRUPT')) return [];
      throw error;
    }
  }

  /** Bytes of a blob from `offset` on: of a file, or of the listing of a folder. @throws ARTIFACT_NOT_FOUND */
  async *open(of: Digest, offset: number): AsyncGenerator<Uint8Array> {
    const size = await this.#sizeOf(of);
    if (size === null) throw notFound(of);
    if (offset >= size) return;
    const stream = createReadStream(this.#path(of), { start: offset, highWaterMark: limits.fetchChunkBytes });
    for await (const piece of stream as AsyncIterable<Buffer>) yield piece;
  }

  /** Files of a folder artifact. @throws ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT */
  async listing(of: Digest): Promise<readonly ListedFile[]> {
    const pieces: Uint8Array[] = [];
    if (!(await this.#isWhole(of, null))) throw notFound(of);
    for await (const piece of this.open(of, 0)) pieces.push(piece);
    return parseListing(Buffer.concat(pieces));
  }

  #temporary(): string {
    this.#temporaries += 1;
    return join(this.#temporaryDir, String(this.#temporaries));
  }

  #path(of: Digest): string {
    const hex = of.slice('sha256:'.length);
    return join(this.#dir, hex.slice(0, 2), hex);
  }

  /** Null when it is not there, or is no digest at all. */
  async #sizeOf(of: Digest): Promise<number | null> {
    return isDigest(of) ? await sizeOf(this.#path(of)) : null;
  }

  /** Reads first: a model of gigabytes that is there already is not copied again. */
  async #addFile(path: string): Promise<Blob> {
    const found = await digestOf(path);
    if ((await this.#sizeOf(found.digest)) === found.bytes) return found;
    return this.#place(async (temporary) => {
      await copyFile(path, temporary, constants.COPYFILE_FICLONE);
      // Of the copy: the file may have changed since it was read.
      return digestOf(temporary);
    });
  }

  async #addBytes(bytes: Buffer): Promise<Blob> {
    const blob = { digest: digest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`), bytes: bytes.length };
    if ((await this.#sizeOf(blob.digest)) === blob.bytes) return blob;
    return this.#place(async (temporary) => {
      const file = await open(temporary, 'w');
      try {
        await file.writeFile(bytes);
      } finally {
        await file.close();
      }
      return blob;
    });
  }

  /** Gives what `write` has left at a temporary path its name, when it is on the disk. */
  #place(write: (temporary: string) => Promise<Blob>): Promise<Blob> {
    const temporary = this.#temporary();
    return translated(this.#dir, async () => {
      try {
        const blob = await write(temporary);
        await chmod(temporary, 0o444);
        await syncFile(temporary);
        const path = this.#path(blob.digest);
        await mkdir(dirname(path), { recursive: true });
        await rename(temporary, path);
        await nodeFileSystem.syncDir(dirname(path));
        await nodeFileSystem.syncDir(this.#dir);
        this.#note(blob);
        return blob;
      } finally {
        await rm(temporary, { force: true });
      }
    });
  }
}

/** Null when nothing is there. */
async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

async function checkKind(local: LocalArtifact): Promise<void> {
  try {
    const stats = await stat(local.path);
    if (local.kind === 'file' ? stats.isFile() : stats.isDirectory()) return;
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    throw new BatchError('DEPLOYMENT_NOT_FOUND', `${local.path} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
  throw new BatchError('DEPLOYMENT_INVALID', `${local.path} is not a ${local.kind}`);
}

async function digestOf(path: string): Promise<Blob> {
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 1_048_576 }) as AsyncIterable<Buffer>) {
      hash.update(piece);
      bytes += piece.length;
    }
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    throw new BatchError('DEPLOYMENT_NOT_FOUND', `${path} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
  return { digest: digest(`sha256:${hash.digest('hex')}`), bytes };
}

async function syncFile(path: string): Promise<void> {
  const file: FileHandle = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function translated<T>(dir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw outsideError(error, `the artifact store ${dir} cannot be written`) ?? error;
  }
}

function notFound(of: Digest): BatchError {
  return new BatchError('ARTIFACT_NOT_FOUND', `no artifact has the digest ${JSON.stringify(of)}; submit the job again`);
}
