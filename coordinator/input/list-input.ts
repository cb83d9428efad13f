/**
 * Lists an input in pages, in input order. In memory are the names of the folders between the root and the current one, and a
 * few pages: one being handed out, the next ones being looked up.
 */
import { stat } from 'node:fs/promises';
import { BatchError } from '../../common/core/batch-error.ts';
import type { InputFile } from '../../common/core/input.ts';
import type { InputList } from '../../common/core/input-selection.ts';
import { limits } from '../../common/core/limits.ts';
import type { SplitCount } from '../../common/core/split.ts';
import { noneSkipped, type SkippedNames } from '../../common/core/skipped-names.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { readFolder, type FolderNames } from './folder-names.ts';
import { inputFilter, takesBelow, type InputFilter } from './input-filter.ts';
import { inspectInput } from './input-root.ts';
import { listedPaths } from './listed-paths.ts';
import { statFiles, type StatFiles } from './stat-files.ts';
import { StatThreads } from './stat-threads.ts';

export interface ListOptions {
  /** False passes over sub-folders. */
  readonly recursive: boolean;
  /** As in {@link InputSelection}; absent: none. */
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly list?: InputList | null;
  readonly pageFilesMax?: number;
  readonly statFiles?: StatFiles;
  readonly readFolder?: typeof readFolder;
}

/** One listing, to be iterated once. */
export interface InputListing extends AsyncIterable<readonly InputFile[]> {
  /** Counted as the listing goes on; final when it has ended. */
  readonly skipped: Readonly<SkippedNames>;
  /** Large files that were shared out, counted in the same way; absent where none can be. */
  readonly split?: Readonly<SplitCount>;
}

/** Pages being looked up while one is handed out. */
const pagesAhead = 2;
/** For some thousands of files the thread pool takes less than a thread takes to start. */
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
 * With a list it throws INPUT_LIST_INVALID, and INPUT_CHANGED when the list is not the one that it was, instead of the latter.
 * @throws REQUEST_INVALID for a pattern that is none
 */
export function listInput(root: string, options: ListOptions): InputListing {
  const { recursive, include = [], exclude = [], list = null } = options;
  const walk: Walk = {
    recursive,
    list,
    filter: inputFilter(include, exclude),
    skipped: noneSkipped(),
    pageFilesMax: options.pageFilesMax ?? limits.manifestChunkFiles,
    readFolder: options.readFolder ?? readFolder,
  };
  return { skipped: walk.skipped, [Symbol.asyncIterator]: () => pages(root, walk, options.statFiles ?? null) };
}

/** What one walk through the folders goes by. */
interface Walk {
  readonly recursive: boolean;
  readonly list: InputList | null;
  /** Null takes everything. */
  readonly filter: InputFilter | null;
  readonly skipped: SkippedNames;
  readonly pageFilesMax: number;
  readonly readFolder: typeof readFolder;
}

async function* pages(root: string, walk: Walk, statFiles: StatFiles | null): AsyncGenerator<readonly InputFile[]> {
  const { base, kind, name } = await inspectInput(root);
  const looks = new Looks(base, statFiles);
  try {
    if (kind === 'file') {
      if (walk.list !== null) throw noFolder(root, walk.list);
      if (isTaken(walk, name)) yield await looks.start([name]);
      return;
    }
    const ahead: Promise<readonly InputFile[]>[] = [];
    const found = walk.list === null ? pathPages(base, walk) : listedPages(base, walk.list, walk);
    let isFirst = true;
    for await (const paths of found) {
      ahead.push(looks.start(paths));
      // The first one is waited for by whoever submits, and by the scoring hosts.
      if (isFirst || ahead.length > pagesAhead) yield await (ahead.shift() as Promise<readonly InputFile[]>);
      isFirst = false;
    }
    for (const page of ahead) yield await page;
  } finally {
    await looks.close();
  }
}

/** Looks pages up: in threads that an earlier listing has left, else the first ones in the thread pool, and those of a large input in threads that are started for it. */
class Looks {
  readonly #base: string;
  readonly #given: StatFiles | null;
  #pages = 0;
  #threads: StatThreads | null;

  constructor(base: string, given: StatFiles | null) {
    this.#base = base;
    this.#given = given;
    this.#threads = given === null ? StatThreads.takeKept() : null;
  }

  start(paths: readonly string[]): Promise<readonly InputFile[]> {
    this.#pages += 1;
    if (this.#given === null && this.#pages === pagesBeforeThreads) this.#threads ??= StatThreads.start();
    const files = this.#threads?.look(this.#base, paths) ?? (this.#given ?? statFiles)(this.#base, paths);
    // Fails again where it is awaited, unless the caller stops listening before.
    files.catch(() => undefined);
    return files;
  }

  async close(): Promise<void> {
    await this.#threads?.release();
  }
}

/** The files that a list names, in its order; {@link pathPages} without a list. */
export async function* listedPages(
  base: string,
  list: InputList,
  walk: Pick<Walk, 'filter' | 'skipped' | 'pageFilesMax'>,
): AsyncGenerator<string[]> {
  const { filter, skipped } = walk;
  let page: string[] = [];
  let pages = 0;
  for await (const paths of listedPaths(base, list)) {
    for (const path of paths) {
      if (filter !== null && !takesBelow(filter, path)) skipped.excluded += 1;
      else page.push(path);
      if (page.length < filesOfPage(pages, walk)) continue;
      yield page;
      page = [];
      pages += 1;
    }
  }
  if (page.length > 0) yield page;
}

/** Few files in the first pages: scoring begins with them, while the others are still being looked at. */
function filesOfPage(page: number, { pageFilesMax }: Pick<Walk, 'pageFilesMax'>): number {
  return Math.min(pageFilesMax, limits.listedFirstFiles * limits.listedGrowth ** page);
}

export function noFolder(root: string, list: InputList): BatchError {
  const message = `the input ${root} is a file; with the list ${list.path} it must be the folder that its paths are relative to`;
  return new BatchError('REQUEST_INVALID', message);
}

async function* pathPages(base: string, walk: Walk): AsyncGenerator<string[]> {
  const { skipped } = walk;
  const levels: Level[] = [{ path: '', names: await walk.readFolder(base, skipped), next: 0 }];
  let page: string[] = [];
  let pages = 0;
  for (let level = levels.at(-1); level; level = levels.at(-1)) {
    const key = level.names.keys[level.next++];
    if (key === undefined) levels.pop();
    else if (!key.endsWith('/')) {
      if (isTaken(walk, level.path + key)) page.push(level.path + key);
    } else if (!walk.recursive) skipped.folders += 1;
    else if (!isEntered(walk, level.path + key)) continue;
    else if (level.names.linkedFolders.has(key) && (await isLoop(base, levels, level.path + key))) skipped.loops += 1;
    else levels.push(await enter(base, level.path + key, walk));
    if (page.length < filesOfPage(pages, walk)) continue;
    yield page;
    page = [];
    pages += 1;
  }
  if (page.length > 0) yield page;
}

export function isTaken({ filter, skipped }: Pick<Walk, 'filter' | 'skipped'>, path: string): boolean {
  if (filter === null || filter.takesFile(path)) return true;
  skipped.excluded += 1;
  return false;
}

function isEntered({ filter, skipped }: Walk, path: string): boolean {
  if (filter === null || filter.entersFolder(path.slice(0, -1))) return true;
  skipped.excluded += 1;
  return false;
}

async function enter(base: string, path: string, walk: Walk): Promise<Level> {
  return { path, names: await walk.readFolder(`${base}/${path.slice(0, -1)}`, walk.skipped), next: 0 };
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
