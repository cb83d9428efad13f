/** Makes a folder of which somebody else has chosen the path. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from './errno.ts';

/**
 * Makes the folder and those above it that are missing; one that is there is left as it is. `mode` is for those it makes.
 * Node's own recursive mkdir never ends where a file system says ENOENT below a folder that exists, as /proc does; this one
 * asks for each folder twice at most. What it rejects with is the system's: ENOENT there, EEXIST or ENOTDIR for a file.
 */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  const error = await failureToMake(path, mode);
  if (errnoOf(error) !== 'ENOENT' || dirname(path) === path) return end(error);
  await makeFolder(dirname(path), mode);
  return end(await failureToMake(path, mode));
}

/** Null when the folder is there. */
async function failureToMake(path: string, mode: number): Promise<unknown> {
  try {
    await mkdir(path, { mode });
    return null;
  } catch (error) {
    // Whoever may not write to the folder above is told EACCES or EROFS of one that is there, too.
    return (await isFolder(path)) ? null : error;
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}

function end(error: unknown): void {
  if (error !== null) throw error;
}
