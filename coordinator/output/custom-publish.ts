/**
 * Puts the files that user code wrote into the output folder, as one worker that ran all mini-batches in input order would
 * have left them: of those written whole the last one stands, what was appended is joined in order. First what each file is
 * made of, as plain data; then the files, each under a temporary name, checked, synced and renamed. Done again after a crash,
 * it comes to the same. What is in the folder already and is not the same is somebody else's: it stays, ours goes beside it.
 */
import { createHash } from 'node:crypto';
import { basename, dirname, join, normalize } from 'node:path';
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { isUri } from '../../common/core/location.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { removeTree } from '../../common/io/remove-tree.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import { invariant } from '../../common/core/invariant.ts';
import {
  corrupt,
  listEntries,
  readStoredFile,
  readTrailer,
  type ListedEntry,
  type StoredFile,
} from '../../common/storage/custom-archive.ts';
import { broughtPathDefect } from '../../common/storage/custom-path.ts';
import { customTemporaryDirName } from './output-names.ts';
import type { CustomFileLine } from './sealed-lines.ts';
import { attemptsPlace } from './output-place.ts';
import { sizeOf } from './recover-output.ts';
import { stagingName } from './staging-files.ts';

/** Where the files of one mini-batch are staged. */
export interface StagedArchive {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
}

export interface CustomSource {
  readonly stagingDir: string;
  /** Of all committed mini-batches, in input order. */
  readonly archives: Iterable<StagedArchive>;
  /** Ends the name of a file whose own name is taken: `report.txt~job`. */
  readonly job: string;
}

export interface PublishOptions extends CustomSource {
  readonly dir: string;
  /** Of the rows; null when the job writes none. */
  readonly outputFileName: string | null;
  readonly fileSystem: FileSystem;
  /** Gives files that attempts have put into a store by themselves their final names; absent: there are none. */
  readonly place?: StorePlace | null;
  /** Folders say what is in them: one whose name is taken by a file of another's is refused, instead of `sub~job`. */
  readonly areFoldersNamed?: boolean;
  /** SHA-256 of what earlier ends of the job have put in place, by path: that is replaced. */
  readonly earlier?: ReadonlyMap<string, readonly string[]>;
  /** Called when all files are there under temporary names, and before the first has its own. */
  readonly beforeNames?: (files: readonly Pick<CustomFileLine, 'path' | 'sha256'>[]) => Promise<void>;
}

/** Where files of attempts are that did not pass here. */
export interface StorePlace {
  /** @throws OUTPUT_CORRUPT when one is gone, and what stores throw */
  name(files: readonly PlacedFile[]): Promise<void>;
}

export interface PlacedFile extends StoredFile {
  /** Relative to the output. */
  readonly path: string;
}

export interface PublishedFiles {
  /** Sorted by path. */
  readonly files: readonly CustomFileLine[];
  /** Times that a file was written whole over what an earlier mini-batch had left under its name. */
  readonly overwritten: number;
}

interface Piece {
  readonly segment: number;
  readonly entry: ListedEntry;
}

/** What one file is made of. */
interface PlannedFile {
  readonly path: string;
  pieces: Piece[];
  /** Instead of pieces. */
  stored: StoredFile | null;
  miniBatches: number;
}

const blockBytes = 1_048_576;

/** @throws OUTPUT_CORRUPT when staged bytes are not what was committed, STATE_UNWRITABLE for a folder that cannot be, and the disk's own errors */
export async function publishCustomFiles(options: PublishOptions): Promise<PublishedFiles> {
  const { fileSystem, dir } = options;
  const { planned: all, overwritten } = await plan(options);
  const { stored, lines } = storedOf(all);
  if (stored.length > 0) await nameStored(options, stored);
  const planned = all.filter((file) => !isElsewhere(file));
  const temporaryDir = join(dir, customTemporaryDirName);
  // What an earlier try has left.
  if (await removeTree(fileSystem, temporaryDir)) await fileSystem.syncDir(dir);
  if (planned.length === 0) {
    await removeEarlier(options, lines);
    return { files: lines, overwritten };
  }
  await fileSystem.makeDir(temporaryDir);
  const folders = await makeFolders(options, foldersOf(planned.map(({ path }) => path)));
  const made = new Array<MadeFile>(planned.length);
  await eachAtOnce(planned, async (file, index) => {
    const temporary = join(temporaryDir, String(index));
    const { bytes, sha256 } = file.stored ?? (await assemble(options, file, temporary));
    made[index] = { file, temporary, place: placeOf(file.path, folders), bytes, sha256 };
  });
  await options.beforeNames?.(made.map(({ place: path, sha256 }) => ({ path, sha256 })));
  const files = new Array<CustomFileLine>(planned.length);
  await eachAtOnce(made, async (file, index) => {
    files[index] = await publish(options, file, folders);
  });
  await removeEarlier(options, [...files, ...lines]);
  for (const folder of folders.values()) await fileSystem.syncDir(join(dir, folder));
  await fileSystem.removeDir(temporaryDir);
  await fileSystem.syncDir(dir);
  const published = lines.length === 0 ? files : [...files, ...lines].sort((a, b) => (a.path < b.path ? -1 : 1));
  return { files: published, overwritten };
}

function storedOf(planned: readonly PlannedFile[]): {
  readonly stored: readonly PlacedFile[];
  readonly lines: readonly CustomFileLine[];
} {
  const stored: PlacedFile[] = [];
  const lines: CustomFileLine[] = [];
  for (const { path, stored: file, miniBatches } of planned) {
    if (file === null || !isUri(file.location)) continue;
    stored.push({ path, ...file });
    lines.push({ path, bytes: file.bytes, sha256: file.sha256, mini_batches: miniBatches });
  }
  return { stored, lines };
}

/** In a store, where it gets its final name without passing here. */
function isElsewhere({ stored }: PlannedFile): boolean {
  return stored !== null && isUri(stored.location);
}

async function nameStored({ place = null }: PublishOptions, stored: readonly PlacedFile[]): Promise<void> {
  invariant(place !== null, 'nobody puts files into a store for a job whose output stays here');
  await place.name(stored);
}

/** What an earlier end of the job has put in place and the job does not have any more, unless somebody has changed it since. */
async function removeEarlier(
  { dir, fileSystem, earlier }: PublishOptions,
  files: readonly CustomFileLine[],
): Promise<void> {
  const kept = new Set(files.map(({ path }) => path));
  for (const [path, digests] of earlier ?? []) {
    if (kept.has(path) || (await holdsOther(fileSystem, join(dir, path), null, digests))) continue;
    await fileSystem.remove(join(dir, path));
    await fileSystem.syncDir(dirname(join(dir, path)));
  }
}

interface Plan {
  /** Sorted by path. */
  readonly planned: readonly PlannedFile[];
  readonly overwritten: number;
}

async function plan(options: PublishOptions): Promise<Plan> {
  const files = new Map<string, PlannedFile>();
  let overwritten = 0;
  for (const { segment, offset, length } of options.archives) {
    const staged = await openSegment(options, segment);
    try {
      for await (const entry of listEntries(staged, offset, offset + length)) {
        // Worker nodes have looked; a name that leads elsewhere is not followed whoever sends it.
        const defect = broughtPathDefect(entry.path, options.outputFileName);
        if (defect) throw corrupt(`${JSON.stringify(entry.path)} (${defect})`);
        const file = files.get(entry.path) ?? { path: entry.path, pieces: [], stored: null, miniBatches: 0 };
        files.set(entry.path, file);
        file.miniBatches += 1;
        if (entry.how === 'append') file.pieces.push({ segment, entry });
        else {
          if (file.pieces.length > 0 || file.stored) overwritten += 1;
          file.stored = entry.how === 'stored' ? await readStoredFile(staged, entry) : null;
          file.pieces = file.stored ? [] : [{ segment, entry }];
        }
      }
    } finally {
      await staged.close();
    }
  }
  return { planned: [...files.values()].sort((a, b) => (a.path < b.path ? -1 : 1)), overwritten };
}

/** All folders that the files lie in, those above them included and before them. */
function foldersOf(paths: readonly string[]): ReadonlySet<string> {
  const folders = new Set<string>();
  for (const path of paths) {
    for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) folders.add(path.slice(0, at));
  }
  return folders;
}

/** Makes them, those above before those below. By path, the place of each: beside a file of another's that has the name. */
async function makeFolders(
  { dir, fileSystem, job, areFoldersNamed = false }: PublishOptions,
  paths: ReadonlySet<string>,
): Promise<ReadonlyMap<string, string>> {
  const places = new Map<string, string>();
  for (const path of paths) {
    const place = placeOf(path, places);
    try {
      await fileSystem.makeDir(join(dir, place));
      places.set(path, place);
    } catch (error) {
      if (!['EEXIST', 'ENOTDIR'].includes(errnoOf(error))) throw error;
      if (areFoldersNamed) throw inTheWay(join(dir, place));
      await fileSystem.makeDir(join(dir, `${place}~${job}`));
      places.set(path, `${place}~${job}`);
    }
  }
  return places;
}

function placeOf(path: string, places: ReadonlyMap<string, string>): string {
  const folder = dirname(path);
  return folder === '.' ? path : `${places.get(folder) ?? folder}/${basename(path)}`;
}

const inTheWay = (path: string): BatchError =>
  new BatchError(
    'STATE_UNWRITABLE',
    `${path} is a file, where the output has a folder: move it away, and retry the job`,
  );

/** All that remains is its name. */
interface MadeFile {
  readonly file: PlannedFile;
  /** Where it is, unless a worker node has stored it. */
  readonly temporary: string;
  /** The path that it is to have. */
  readonly place: string;
  readonly bytes: number;
  readonly sha256: string;
}

async function publish(
  options: PublishOptions,
  { file, temporary, place, bytes, sha256 }: MadeFile,
  folders: ReadonlyMap<string, string>,
): Promise<CustomFileLine> {
  const { dir, fileSystem, job } = options;
  const earlier = options.earlier?.get(place) ?? [];
  const isTaken =
    folders.has(file.path) ||
    (await holdsOther(fileSystem, join(dir, place), earlier.length > 0 ? null : bytes, [sha256, ...earlier]));
  let path = isTaken ? `${place}~${job}` : place;
  // A folder that had to go beside a file of another's has that name.
  if (isTaken && [...folders.values()].includes(path)) path += '~';
  if (file.stored) await nameAttempt(options, file.stored, path);
  else await fileSystem.rename(temporary, join(dir, path));
  const line = { path, bytes, sha256, mini_batches: file.miniBatches };
  return path === file.path ? line : { ...line, wanted_path: file.path };
}

/** A file that a worker node has put beside the output. @throws OUTPUT_CORRUPT when it is not there, and has not got its name before */
async function nameAttempt({ dir, fileSystem, job }: PublishOptions, stored: StoredFile, path: string): Promise<void> {
  const { location, bytes, sha256 } = stored;
  if (!location.startsWith(`${attemptsPlace(dir, job)}/`) || location !== normalize(location))
    throw corrupt(`${location}, which is in no folder of an attempt`);
  const target = join(dir, path);
  const size = await sizeOf(fileSystem, location);
  if (size === bytes) return await fileSystem.rename(location, target);
  const isNamed = size === null && (await sizeOf(fileSystem, target)) === bytes;
  if (isNamed && !(await holdsOther(fileSystem, target, bytes, [sha256]))) return;
  throw corrupt(size === null ? `no ${location}` : `${size} bytes in ${location}, ${bytes} were committed`);
}

interface Digest {
  readonly bytes: number;
  readonly sha256: string;
}

/** Writes the pieces one behind the other; durable when it resolves. */
async function assemble(options: PublishOptions, { pieces }: PlannedFile, path: string): Promise<Digest> {
  const target = await options.fileSystem.open(path, 'replace');
  try {
    const hash = createHash('sha256');
    let bytes = 0;
    for (const { segment, entry } of pieces) {
      const from = await openSegment(options, segment);
      try {
        let sum = entry.headerCrc32;
        for await (const block of blocks(from, entry.offset, entry.bytes)) {
          sum = crc32(block, sum);
          hash.update(block);
          await target.write([block], bytes);
          bytes += block.length;
        }
        if (sum !== (await readTrailer(from, entry))) {
          throw corrupt(`${JSON.stringify(entry.path)} in segment ${segment} with another checksum than was committed`);
        }
      } finally {
        await from.close();
      }
    }
    await target.datasync();
    return { bytes, sha256: hash.digest('hex') };
  } finally {
    await target.close();
  }
}

/** A block is overwritten by the next one. */
async function* blocks(file: OpenFile, offset: number, bytes: number): AsyncGenerator<Uint8Array, void, void> {
  const block = Buffer.allocUnsafe(Math.min(blockBytes, bytes));
  for (let done = 0; done < bytes;) {
    const part = block.subarray(0, Math.min(block.length, bytes - done));
    const count = await file.read(part, offset + done);
    if (count < part.length) throw corrupt(`nothing behind ${offset + done + count}`);
    yield part;
    done += part.length;
  }
}

/** Whether something stands there that is none of our own, of `bytes` if all of them have as many: an earlier try of sealing, or end of the job, may have put that in place. */
async function holdsOther(
  fileSystem: FileSystem,
  path: string,
  bytes: number | null,
  own: readonly string[],
): Promise<boolean> {
  let file: OpenFile;
  try {
    file = await fileSystem.open(path, 'read');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    // A file is where its folder was.
    if (errnoOf(error) === 'ENOTDIR') return true;
    throw error;
  }
  try {
    const found = await file.sizeBytes();
    if (bytes !== null && found !== bytes) return true;
    const hash = createHash('sha256');
    for await (const block of blocks(file, 0, found)) hash.update(block);
    return !own.includes(hash.digest('hex'));
  } catch (error) {
    if (errnoOf(error) === 'EISDIR') return true;
    throw error;
  } finally {
    await file.close();
  }
}

async function eachAtOnce<T>(items: readonly T[], work: (item: T, index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const run = async (): Promise<void> => {
    while (next < items.length) {
      const index = next;
      next += 1;
      try {
        await work(items[index] as T, index);
      } catch (error) {
        next = items.length;
        throw error;
      }
    }
  };
  const runs = Array.from({ length: limits.customPublishAtOnceMax }, run);
  // All have stopped before the first failure is told: nothing is written behind the caller's back.
  await Promise.allSettled(runs);
  await Promise.all(runs);
}

/** Opened for each use: a large result has a segment of its own, and there may be thousands of them. */
async function openSegment({ fileSystem, stagingDir }: PublishOptions, segment: number): Promise<OpenFile> {
  try {
    return await fileSystem.open(join(stagingDir, stagingName(segment)), 'read');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw corrupt(`no segment ${segment}`);
    throw error;
  }
}
