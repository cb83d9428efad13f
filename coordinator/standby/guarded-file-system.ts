/**
 * The disk of a coordinator that may have been replaced: nothing there gets or loses a name once it cannot be sure to lead. Bytes that
 * it still writes go to files that the next one has replaced by copies.
 */
import { basename } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { outputLockName } from '../output/output-lock.ts';

/**
 * `isOver`: whether another one may lead. Its calls reject with NOT_LEADING then, but for what is this process's alone: its folder
 * `localDir`, and locks, which name it.
 */
export function guardedFileSystem(fileSystem: FileSystem, localDir: string, isOver: () => boolean): FileSystem {
  const check = (path: string): void => {
    if (!isOver() || path.startsWith(`${localDir}/`) || basename(path).startsWith(outputLockName)) return;
    throw new BatchError('NOT_LEADING', `${path} is left as it is: another coordinator may lead and write there`);
  };
  const guarded =
    <Rest extends readonly unknown[], T>(call: (path: string, ...rest: Rest) => Promise<T>) =>
    async (path: string, ...rest: Rest): Promise<T> => {
      check(path);
      return await call(path, ...rest);
    };
  return {
    ...fileSystem,
    open: async (path, mode) => {
      if (mode !== 'read') check(path);
      return await fileSystem.open(path, mode);
    },
    rename: guarded((from, to: string) => fileSystem.rename(from, to)),
    link: guarded((from, to: string) => fileSystem.link(from, to)),
    remove: guarded((path) => fileSystem.remove(path)),
    removeDir: guarded((path) => fileSystem.removeDir(path)),
  };
}
