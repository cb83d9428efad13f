/**
 * The files that a list of inputs names: each below the input folder, and named once. Reads the list from its beginning to its end
 * and keeps a digest of each path; a digest that comes again is looked up in the list itself.
 */
import { open, stat, type FileHandle } from 'node:fs/promises';
import { BatchError } from '../../common/core/batch-error.ts';
import type { InputList, InputSelection } from '../../common/core/input-selection.ts';
import { isUri } from '../../common/core/location.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { decodeListBlocks, isEndlessPossible, listError, placeText, type ListBlock } from './list-blocks.ts';
import { readInThread } from './list-thread.ts';
import { pathBelow } from './path-below.ts';
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
 * Paths relative to `base`, a folder or the location of one, in the order of the list, a piece of it at a time.
 * @throws INPUT_LIST_INVALID, INPUT_NOT_FOUND, INPUT_UNREADABLE; INPUT_CHANGED when the list is not the one that it was
 */
export async function* listedPaths(base: string, list: InputList): AsyncGenerator<readonly string[]> {
  const seen = new SeenPaths();
  const pathOf = pathsOf(base, list);
  const file = await reading(list, () => open(list.path));
  try {
    const found = localIdentity(await reading(list, () => file.stat({ bigint: true })));
    if (list.identity !== null && list.identity !== found) throw changed(list, 'since the job was submitted');
    for await (const { paths, places } of blocksOf(list, file)) {
      const inside: string[] = [];
      for (const [index, given] of paths.entries()) {
        const place = places[index] as number;
        const path = pathOf(given, place);
        if (!seen.add(path)) await refuseDouble(pathOf, list, path, place);
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

type PathOf = (given: string, place: number) => string;

function pathsOf(base: string, list: InputList): PathOf {
  const below = pathBelow(base);
  return (given, place) => {
    const found = below(given);
    if ('path' in found) return found.path;
    throw listError(list, place, `${shown(given)} ${found.refusal}`);
  };
}

/** What follows a `?` may be a signature. */
function shown(given: string): string {
  return JSON.stringify(isUri(given) ? given.replace(/^([^:]+:\/\/)[^/]*@/, '$1…@').replace(/\?.*$/s, '?…') : given);
}

/** Two paths may have one digest: what counts is what the list says. */
async function refuseDouble(pathOf: PathOf, list: InputList, path: string, place: number): Promise<void> {
  const file = await reading(list, () => open(list.path));
  try {
    for await (const { paths, places } of blocksOf(list, file)) {
      for (const [index, given] of paths.entries()) {
        const before = places[index] as number;
        if (before >= place) return;
        if (pathOf(given, before) !== path) continue;
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
