/**
 * Lists an input in pages, in input order. In memory are the names of the folders between the root and the current one, and a
 * few pages: one being handed out, the next ones being looked up.
 */
import { stat } from 'node:fs/promises';
import type { InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { readFolder, type FolderNames, type SkippedNames } from './folder-names.ts';
import { inspectInput } from './input-root.ts';
import { statFiles, type StatFiles } from './stat-files.ts';
import { StatThreads } from './stat-threads.ts';

export interface ListOptions {
  /** False passes over sub-folders. */
  readonly recursive: boolean;
  readonly pageFilesMax?: number;
  readonly statFiles?: StatFiles;
}

/** One listing, to be iterated once. */
export interface InputListing extends AsyncIterable<readonly InputFile[]> {
  /** Counted as the listing goes on; final when it has ended. */
  readonly skipped: Readonly<SkippedNames>;
}

/** Pages being looked up while one is handed out. */
const pagesAhead = 2;
/** A thread takes some 30 ms to start: not worth it for less. */
const pagesBeforeThreads = 3;

/** A folder that is being gone through. */
interface Level {
  /** Relative to the root, with a `/` behind; empty for the root. */
  readonly path: string;
  readonly names: FolderNames;
  next: number;
}

/**
 * All files under `root`, which may also be a single file. Pages hold at most {@link limits.manifestChunkFiles} files and are never empty.
 * The iteration throws INPUT_NOT_FOUND, and INPUT_UNREADABLE for a folder that cannot be read.
 */
export function listInput(root: string, options: ListOptions): InputListing {
  const skipped: SkippedNames = { hidden: 0, special: 0, folders: 0, loops: 0 };
  return { skipped, [Symbol.asyncIterator]: () => pages(root, options, skipped) };
}

async function* pages(root: string, options: ListOptions, skipped: SkippedNames): AsyncGenerator<readonly InputFile[]> {
  const { base, kind, name } = await inspectInput(root);
  const looks = new Looks(base, options.statFiles ?? null);
  try {
    if (kind === 'file') {
      yield await looks.start([name]);
      return;
    }
    const ahead: Promise<readonly InputFile[]>[] = [];
    for await (const paths of pathPages(base, options, skipped)) {
      ahead.push(looks.start(paths));
      if (ahead.length > pagesAhead) yield await (ahead.shift() as Promise<readonly InputFile[]>);
    }
    for (const page of ahead) yield await page;
  } finally {
    await looks.close();
  }
}

/** Looks pages up: the first ones in the thread pool, those of a large input in threads that are started for it. */
class Looks {
  readonly #base: string;
  readonly #given: StatFiles | null;
  #pages = 0;
  #threads: StatThreads | null = null;

  constructor(base: string, given: StatFiles | null) {
    this.#base = base;
    this.#given = given;
  }

  start(paths: readonly string[]): Promise<readonly InputFile[]> {
    this.#pages += 1;
    if (this.#given === null && this.#pages === pagesBeforeThreads) this.#threads = StatThreads.start();
    const files = this.#threads?.look(this.#base, paths) ?? (this.#given ?? statFiles)(this.#base, paths);
    // Fails again where it is awaited, unless the caller stops listening before.
    files.catch(() => undefined);
    return files;
  }

  async close(): Promise<void> {
    await this.#threads?.close();
  }
}

async function* pathPages(base: string, options: ListOptions, skipped: SkippedNames): AsyncGenerator<string[]> {
  const pageFilesMax = options.pageFilesMax ?? limits.manifestChunkFiles;
  const levels: Level[] = [{ path: '', names: await readFolder(base, skipped), next: 0 }];
  let page: string[] = [];
  for (let level = levels.at(-1); level; level = levels.at(-1)) {
    const key = level.names.keys[level.next++];
    if (key === undefined) levels.pop();
    else if (!key.endsWith('/')) page.push(level.path + key);
    else if (!options.recursive) skipped.folders += 1;
    else if (level.names.linkedFolders.has(key) && (await isLoop(base, levels, level.path + key))) skipped.loops += 1;
    else levels.push(await enter(base, level.path + key, skipped));
    if (page.length < pageFilesMax) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

async function enter(base: string, path: string, skipped: SkippedNames): Promise<Level> {
  return { path, names: await readFolder(`${base}/${path.slice(0, -1)}`, skipped), next: 0 };
}

/** Whether the folder at `path` is one of those that we are in: only a link can lead there. */
async function isLoop(base: string, levels: readonly Level[], path: string): Promise<boolean> {
  const own = await identityOf(`${base}/${path}`);
  if (own === null) return false;
  for (const level of levels) if ((await identityOf(`${base}/${level.path}`)) === own) return true;
  return false;
}

/** Device and inode; null for what cannot be looked at, which fails when it is read. */
async function identityOf(path: string): Promise<string | null> {
  try {
    const stats = await stat(path, { bigint: true });
    return `${stats.dev}:${stats.ino}`;
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return null;
  }
}
