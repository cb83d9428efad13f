/** Names of one folder, told apart and in input order. */
import { opendir, stat } from 'node:fs/promises';
import type { Dirent } from 'node:fs';
import { BatchError } from '../../common/core/batch-error.ts';
import type { SkippedNames } from '../../common/core/skipped-names.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { sortKeys } from './input-order.ts';

export interface FolderNames {
  /** In input order; folders have a `/` behind. */
  readonly keys: readonly string[];
  /** Those of `keys` that are links to folders. */
  readonly linkedFolders: ReadonlySet<string>;
}

const entriesPerRead = 1_024;

/**
 * What a folder holds, hidden names aside. Links count as what they lead to; one that leads nowhere is a file, which then
 * cannot be read.
 * @throws INPUT_UNREADABLE
 */
export async function readFolder(path: string, skipped: SkippedNames): Promise<FolderNames> {
  const keys: string[] = [];
  const links: string[] = [];
  try {
    for await (const entries of entriesOf(path)) {
      for (const entry of entries) {
        const key = keyOf(entry, skipped);
        if (key !== null) keys.push(key);
        else if (entry.isSymbolicLink() && !isHidden(entry.name)) links.push(entry.name);
      }
    }
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    throw unreadable(path, error);
  }
  const linkedFolders = new Set<string>();
  for (const name of links) {
    const key = await keyOfLink(path, name, skipped);
    if (key !== null) keys.push(key);
    if (key?.endsWith('/')) linkedFolders.add(key);
  }
  return { keys: sortKeys(keys), linkedFolders };
}

/** Some at a time: a promise for each of them would take longer than they do to be read. */
async function* entriesOf(path: string): AsyncGenerator<readonly Dirent[]> {
  const dir = await opendir(path, { bufferSize: entriesPerRead });
  try {
    for (let isEnd = false; !isEnd;) {
      const entries: Dirent[] = [];
      // The first is waited for, and brings those behind it along, as many as are wanted unless the folder ends.
      let entry = await dir.read();
      for (; entry !== null && entries.push(entry) < entriesPerRead;) entry = dir.readSync();
      isEnd = entry === null;
      yield entries;
    }
  } finally {
    await dir.close();
  }
}

/** Null for what is passed over, and for a link. */
function keyOf(entry: Dirent, skipped: SkippedNames): string | null {
  if (isHidden(entry.name)) skipped.hidden += 1;
  else if (entry.isFile()) return entry.name;
  else if (entry.isDirectory()) return `${entry.name}/`;
  else if (!entry.isSymbolicLink()) skipped.special += 1;
  return null;
}

async function keyOfLink(path: string, name: string, skipped: SkippedNames): Promise<string | null> {
  try {
    const stats = await stat(`${path}/${name}`);
    if (stats.isDirectory()) return `${name}/`;
    if (stats.isFile()) return name;
    skipped.special += 1;
    return null;
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return name;
  }
}

function isHidden(name: string): boolean {
  return name.startsWith('.') || name.startsWith('_');
}

function unreadable(path: string, cause: unknown): BatchError {
  const hint = path.includes('\ufffd') ? ' (its name is not UTF-8; rename it)' : '';
  return new BatchError('INPUT_UNREADABLE', `the input folder ${path} cannot be read: ${reasonOf(cause)}${hint}`, {
    cause,
  });
}
