/** Removes a folder with all that is in it, through the {@link FileSystem} port. */
import { join } from 'node:path';
import type { FileSystem } from '../ports/file-system.ts';
import { errnoOf } from './errno.ts';

/** One that is not there is fine. Links are removed and not followed. */
export async function removeTree(fileSystem: FileSystem, dir: string): Promise<void> {
  let names: readonly string[];
  try {
    names = await fileSystem.list(dir);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  for (const name of names) {
    const path = join(dir, name);
    try {
      await fileSystem.remove(path);
    } catch (error) {
      if (!['EISDIR', 'EPERM', 'ERR_FS_EISDIR'].includes(errnoOf(error))) throw error;
      await removeTree(fileSystem, path);
    }
  }
  await fileSystem.removeDir(dir);
}
