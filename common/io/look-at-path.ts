/** What stands at a path, without reading it. */
import { lstat, opendir, stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import type { Room, SeenPath } from '../core/diagnosis.ts';
import { limits } from '../core/limits.ts';
import { delay } from './delay.ts';
import { errnoOf, reasonOf } from './errno.ts';
import { nodeFileSystem } from './node-file-system.ts';

/** Never rejects; a mount that does not answer is given up after {@link limits.diagnosisLookMsMax}. Links are followed. */
export async function lookAtPath(path: string): Promise<SeenPath> {
  const problem = `it does not answer within ${limits.diagnosisLookMsMax / 1_000} s`;
  return await inTime(look(path), { kind: 'unseen', problem });
}

/** Of the disk of a folder; null when it cannot be told, or not in time. */
export async function roomOf(dir: string): Promise<Room | null> {
  const both = Promise.all([nodeFileSystem.freeBytes(dir), nodeFileSystem.totalBytes(dir)]);
  const room = both.then(
    ([freeBytes, totalBytes]) => ({ freeBytes, totalBytes }),
    () => null,
  );
  return await inTime(room, null);
}

/** What `work` resolves with, or `late` when it takes longer than {@link limits.diagnosisLookMsMax}; it is left to itself then. */
export async function inTime<T>(work: Promise<T>, late: T): Promise<T> {
  const over = new AbortController();
  try {
    return await Promise.race([work, delay(limits.diagnosisLookMsMax, over.signal).then(() => late)]);
  } finally {
    over.abort();
  }
}

async function look(path: string): Promise<SeenPath> {
  if (!isAbsolute(path)) return { kind: 'unseen', problem: 'it is not absolute' };
  try {
    const found = await lstat(path, { bigint: true });
    const there = found.isSymbolicLink() ? await stat(path, { bigint: true }) : found;
    if (there.isDirectory()) return await namesOf(path);
    return there.isFile() ? { kind: 'file', identity: `${there.size}-${there.mtimeNs}` } : { kind: 'other' };
  } catch (error) {
    const errno = errnoOf(error);
    return errno === 'ENOENT' || errno === 'ENOTDIR'
      ? { kind: 'missing' }
      : { kind: 'unseen', problem: reasonOf(error) };
  }
}

async function namesOf(path: string): Promise<SeenPath> {
  let names: Buffer[] = [];
  let entries = 0;
  for await (const { name } of await opendir(path)) {
    if (entries === limits.diagnosisEntriesMax) return folderOf(entries, names, true);
    entries += 1;
    names.push(Buffer.from(name));
    // Sorted now and then, so that a large folder is never one large list.
    if (names.length >= 1_024) names = firstOf(names);
  }
  return folderOf(entries, firstOf(names), false);
}

function folderOf(entries: number, names: readonly Buffer[], hasMore: boolean): SeenPath {
  const first = names.slice(0, limits.diagnosisNamesMax).map((name) => name.toString());
  return { kind: 'folder', entries, names: first, hasMore };
}

function firstOf(names: readonly Buffer[]): Buffer[] {
  return names.toSorted((a, b) => Buffer.compare(a, b)).slice(0, limits.diagnosisNamesMax);
}
