/**
 * The files that a list of inputs names: each below the input folder, and named once. Reads the list from its beginning to its end
 * and keeps a digest of each path; a digest that comes again is looked up in the list itself.
 */
import { open, stat, type FileHandle } from 'node:fs/promises';
import { posix } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { InputList, InputSelection } from '../../common/core/input-selection.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { decodeListBlocks, isEndlessPossible, listError, placeText, type ListBlock } from './list-blocks.ts';
import { readInThread } from './list-thread.ts';
import { SeenPaths } from './seen-paths.ts';
import { localIdentity } from './stat-files.ts';

/** With the identity of the list's file, so that a restart knows whether it is the same. @throws INPUT_NOT_FOUND, INPUT_UNREADABLE */
export async function identified(selection: InputSelection): Promise<InputSelection> {
  const { list } = selection;
  if (list === null) return selection;
  const stats = await reading(list, () => stat(list.path, { bigint: true }));
  if (!stats.isFile()) {
    const message = `the list of inputs ${list.path} is no regular file; it is read more than once, so write it to one`;
    throw new BatchError('INPUT_UNREADABLE', message);
  }
  return { ...selection, list: { ...list, identity: localIdentity(stats) } };
}

/**
 * Paths relative to `base`, in the order of the list, a piece of it at a time.
 * @throws INPUT_LIST_INVALID, INPUT_NOT_FOUND, INPUT_UNREADABLE; INPUT_CHANGED when the list is not the one that it was
 */
export async function* listedPaths(base: string, list: InputList): AsyncGenerator<readonly string[]> {
  const seen = new SeenPaths();
  const file = await reading(list, () => open(list.path));
  try {
    const found = localIdentity(await reading(list, () => file.stat({ bigint: true })));
    if (list.identity !== null && list.identity !== found) throw changed(list, 'since the job was submitted');
    for await (const { paths, places } of blocksOf(list, file)) {
      const inside: string[] = [];
      for (const [index, given] of paths.entries()) {
        const place = places[index] as number;
        const path = pathBelow(base, list, given, place);
        if (!seen.add(path)) await refuseDouble(base, list, path, place);
        inside.push(path);
      }
      yield inside;
    }
    const last = localIdentity(await reading(list, () => stat(list.path, { bigint: true })));
    if (last !== found) throw changed(list, 'while it was being read');
  } finally {
    await file.close();
  }
}

async function* blocksOf(list: InputList, file: FileHandle): AsyncGenerator<ListBlock> {
  const blocks = (isEndlessPossible(list) ? readInThread(list) : null) ?? decodeListBlocks(list, file);
  try {
    for (;;) {
      const next = await reading(list, () => blocks.next());
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await blocks.return(undefined);
  }
}

/** A part that is empty, `.` or `..`. */
const oddPart = /(?:^|\/)\.{0,2}(?:\/|$)/;

function pathBelow(base: string, list: InputList, given: string, place: number): string {
  const refuse = (what: string): never => {
    throw listError(list, place, `${JSON.stringify(given)} ${what}`);
  };
  if (given.includes('\0')) refuse('has a zero byte');
  const root = base.endsWith('/') ? base : `${base}/`;
  let path = given;
  if (path.startsWith('/')) {
    const whole = posix.normalize(path);
    if (!whole.startsWith(root)) refuse(`is not below the input folder ${base}; choose --input so that all files are`);
    path = whole.slice(root.length);
  }
  if (oddPart.test(path)) {
    path = posix.normalize(path).replace(/\/$/, '');
    if (path === '..' || path.startsWith('../')) {
      refuse(`leaves the input folder ${base}; choose --input so that all files are below`);
    }
    if (path === '.' || path === '') refuse('is the input folder itself, wanted a file in it');
  }
  return path;
}

/** Two paths may have one digest: what counts is what the list says. */
async function refuseDouble(base: string, list: InputList, path: string, place: number): Promise<void> {
  const file = await reading(list, () => open(list.path));
  try {
    for await (const { paths, places } of blocksOf(list, file)) {
      for (const [index, given] of paths.entries()) {
        const before = places[index] as number;
        if (before >= place) return;
        if (pathBelow(base, list, given, before) !== path) continue;
        throw listError(
          list,
          place,
          `${JSON.stringify(path)} was named before, in ${placeText(list, before)}; keep one of the two`,
        );
      }
    }
  } finally {
    await file.close();
  }
}

async function reading<T>(list: InputList, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const code = errnoOf(error);
    if (error instanceof BatchError || code === '') throw error;
    const isGone = code === 'ENOENT' || code === 'ENOTDIR';
    const what = isGone ? 'does not exist' : `cannot be read: ${reasonOf(error)}`;
    const message = `the list of inputs ${list.path} ${what}`;
    throw new BatchError(isGone ? 'INPUT_NOT_FOUND' : 'INPUT_UNREADABLE', message, { cause: error });
  }
}

function changed(list: InputList, when: string): BatchError {
  return new BatchError('INPUT_CHANGED', `the list of inputs ${list.path} changed ${when}; run the job again`);
}
