/** Reads a small file through the {@link FileSystem} port. */
import type { FileSystem, OpenFile } from '../ports/file-system.ts';
import { errnoOf } from './errno.ts';

/** Null when it is not there. */
export async function readText(fileSystem: FileSystem, path: string): Promise<string | null> {
  let file: OpenFile;
  try {
    file = await fileSystem.open(path, 'read');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(await file.sizeBytes());
    return bytes.toString('utf8', 0, await file.read(bytes, 0));
  } finally {
    await file.close();
  }
}
