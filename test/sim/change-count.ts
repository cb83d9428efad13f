/** Counts the changes that a process makes to its disk, so that it can be killed between any two of them. */
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';

export type ChangeKind = 'any' | 'names' | 'removals' | 'rows';

export interface ChangeCount {
  readonly fileSystem: FileSystem;
  /** Changes until `onZero` is called, once; below 0: never. */
  left: number;
  /** Those that count: all, syncs of folders (the last step of whatever gets a name), files that are removed, or writes to the output. */
  of: ChangeKind;
}

export function countChanges(
  fileSystem: FileSystem,
  isOutput: (path: string) => boolean,
  onZero: () => void,
): ChangeCount {
  const counted = <T>(change: Promise<T>, kind: ChangeKind = 'any'): Promise<T> => {
    if (count.of !== 'any' && count.of !== kind) return change;
    count.left -= 1;
    if (count.left === 0) onZero();
    return change;
  };
  const file = (open: OpenFile, path: string): OpenFile => ({
    write: (pieces, position) => counted(open.write(pieces, position), isOutput(path) ? 'rows' : 'any'),
    read: (into, position) => open.read(into, position),
    sizeBytes: () => open.sizeBytes(),
    truncate: (bytes) => counted(open.truncate(bytes)),
    datasync: () => counted(open.datasync()),
    close: () => open.close(),
  });
  const count: ChangeCount = {
    left: -1,
    of: 'any',
    fileSystem: {
      open: async (path, mode) => file(await fileSystem.open(path, mode), path),
      list: (dir) => fileSystem.list(dir),
      makeDir: (path) => counted(fileSystem.makeDir(path)),
      rename: (from, to) => counted(fileSystem.rename(from, to)),
      link: (from, to) => counted(fileSystem.link(from, to)),
      remove: (path) => counted(fileSystem.remove(path), 'removals'),
      removeDir: (path) => counted(fileSystem.removeDir(path)),
      syncDir: (path) => counted(fileSystem.syncDir(path), 'names'),
      freeBytes: (path) => fileSystem.freeBytes(path),
      totalBytes: (path) => fileSystem.totalBytes(path),
    },
  };
  return count;
}
