/** What an input path is, before anything is listed. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';

export interface InputRoot {
  readonly kind: 'file' | 'folder';
  /** Absolute folder that the paths of its files are relative to: the path itself, or the folder of a single file. */
  readonly base: string;
  /** Name of a single file; empty for a folder. */
  readonly name: string;
}

/** Nearer than this many edits is offered as what was meant. */
const editsMax = 3;

/** @throws INPUT_NOT_FOUND, INPUT_UNREADABLE */
export async function inspectInput(path: string): Promise<InputRoot> {
  try {
    const stats = await stat(path);
    if (stats.isDirectory()) return { kind: 'folder', base: path, name: '' };
    if (stats.isFile()) return { kind: 'file', base: dirname(path), name: basename(path) };
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') throw await notFound(path, error);
    if (code === '') throw error;
    throw new BatchError('INPUT_UNREADABLE', `the input ${path} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
  throw new BatchError('INPUT_UNREADABLE', `the input ${path} is neither a folder nor a file`);
}

async function notFound(path: string, cause: unknown): Promise<BatchError> {
  let above = dirname(path);
  let name = basename(path);
  let siblings = await namesIn(above);
  while (siblings === null && above !== dirname(above)) {
    name = basename(above);
    above = dirname(above);
    siblings = await namesIn(above);
  }
  const nearest = nearestName(name, siblings ?? []);
  const hint =
    nearest === null
      ? `${above} has no ${JSON.stringify(name)}`
      : `did you mean ${JSON.stringify(nearest)} in ${above}?`;
  return new BatchError('INPUT_NOT_FOUND', `the input ${path} does not exist; ${hint}`, { cause });
}

async function namesIn(dir: string): Promise<readonly string[] | null> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return null;
  }
}

/** The name with the fewest edits; null when none is near. */
export function nearestName(name: string, candidates: readonly string[]): string | null {
  let nearest: string | null = null;
  let fewest = Math.min(editsMax, Math.max(1, Math.floor(name.length / 2))) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) >= fewest) continue;
    const edits = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (edits >= fewest) continue;
    fewest = edits;
    nearest = candidate;
  }
  return nearest;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const replaced = (previous[column - 1] as number) + (a[row - 1] === b[column - 1] ? 0 : 1);
      const longer = Math.min(previous[column] as number, current[column - 1] as number) + 1;
      current.push(Math.min(replaced, longer));
    }
    previous = current;
  }
  return previous[b.length] as number;
}
