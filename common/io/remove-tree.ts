/** Removes a folder with all that is in it, through the {@link FileSystem} port. */
import { join } from 'node:path';
import type { FileSystem } from '../ports/file-system.ts';
import { errnoOf } from './errno.ts';

/** False when it is not there. Links are removed and not followed. */
export async function removeTree(fileSystem: FileSystem, dir: string): Promise<boolean> {
  let names: readonly string[];
  try {
    names = await fileSystem.list(dir);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
  for (const name of names) await removeAny(fileSystem, join(dir, name));
  await fileSystem.removeDir(dir);
  return true;
}

/** A file, or a folder with all that is in it. */
export async function removeAny(fileSystem: FileSystem, path: string): Promise<void> {
  try {
    await fileSystem.remove(path);
  } catch (error) {
    if (!['EISDIR', 'EPERM', 'ERR_FS_EISDIR'].includes(errnoOf(error))) throw error;
    await removeTree(fileSystem, path);
  }
}
