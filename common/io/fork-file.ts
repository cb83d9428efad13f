/** Takes a file from whoever has it open elsewhere. */
import { basename, dirname, join } from 'node:path';
import type { FileSystem } from '../ports/file-system.ts';

const blockBytes = 4_194_304;

/**
 * Puts a copy of the first `bytes` bytes into the place of the file at `path`, on the disk when it resolves: another process that has
 * the file open writes to what has no name any more. `temporary`: makes the name that the copy has before.
 */
export async function forkFile(
  fileSystem: FileSystem,
  path: string,
  bytes: number,
  temporary: (name: string) => string,
): Promise<void> {
  const copyPath = join(dirname(path), temporary(basename(path)));
  const [from, to] = [await fileSystem.open(path, 'read'), await fileSystem.open(copyPath, 'replace')];
  try {
    const block = Buffer.allocUnsafeSlow(Math.min(blockBytes, Math.max(1, bytes)));
    for (let at = 0; at < bytes;) {
      const read = await from.read(block.subarray(0, Math.min(block.length, bytes - at)), at);
      // What is missing is told by whoever looks for it.
      if (read === 0) break;
      await to.write([block.subarray(0, read)], at);
      at += read;
    }
    await to.datasync();
  } catch (error) {
    await Promise.all([from.close(), to.close()]);
    // Where there is no room for it nobody may try again, and what there is of it takes room as well.
    await fileSystem.remove(copyPath);
    throw error;
  }
  await Promise.all([from.close(), to.close()]);
  await fileSystem.rename(copyPath, path);
  await fileSystem.syncDir(dirname(path));
}
