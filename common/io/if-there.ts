/** Files that may not be there, through the {@link FileSystem} port. */
import type { FileSystem, OpenFile } from '../ports/file-system.ts';
import { errnoOf } from './errno.ts';

/** What `look` finds in the file; null when it is not there. */
export async function ifThere<T>(
  fileSystem: FileSystem,
  path: string,
  look: (file: OpenFile) => Promise<T>,
): Promise<T | null> {
  let file: OpenFile;
  try {
    file = await fileSystem.open(path, 'read');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    return await look(file);
  } finally {
    await file.close();
  }
}

/** Of a small file. */
export async function readText(fileSystem: FileSystem, path: string): Promise<string | null> {
  return await ifThere(fileSystem, path, async (file) => {
    const bytes = Buffer.alloc(await file.sizeBytes());
    return bytes.toString('utf8', 0, await file.read(bytes, 0));
  });
}
