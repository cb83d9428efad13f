/** Counts the changes that a process makes to its disk, so that it can be killed between any two of them. */
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';

export interface ChangeCount {
  readonly fileSystem: FileSystem;
  /** Changes until `onZero` is called, once; below 0: never. */
  left: number;
  /** Only syncs of folders count: the last step of whatever gets a name. */
  isNamesOnly: boolean;
}

export function countChanges(fileSystem: FileSystem, onZero: () => void): ChangeCount {
  const counted = <T>(change: Promise<T>, isName = false): Promise<T> => {
    if (count.isNamesOnly && !isName) return change;
    count.left -= 1;
    if (count.left === 0) onZero();
    return change;
  };
  const file = (open: OpenFile): OpenFile => ({
    write: (pieces, position) => counted(open.write(pieces, position)),
    read: (into, position) => open.read(into, position),
    sizeBytes: () => open.sizeBytes(),
    truncate: (bytes) => counted(open.truncate(bytes)),
    datasync: () => counted(open.datasync()),
    close: () => open.close(),
  });
  const count: ChangeCount = {
    left: -1,
    isNamesOnly: false,
    fileSystem: {
      open: async (path, mode) => file(await fileSystem.open(path, mode)),
      list: (dir) => fileSystem.list(dir),
      makeDir: (path) => counted(fileSystem.makeDir(path)),
      rename: (from, to) => counted(fileSystem.rename(from, to)),
      link: (from, to) => counted(fileSystem.link(from, to)),
      remove: (path) => counted(fileSystem.remove(path)),
      removeDir: (path) => counted(fileSystem.removeDir(path)),
      syncDir: (path) => counted(fileSystem.syncDir(path), true),
      freeBytes: (path) => fileSystem.freeBytes(path),
      totalBytes: (path) => fileSystem.totalBytes(path),
    },
  };
  return count;
}
