/** A simulated disk as a reader sees it while the world stands still: nothing takes time, nothing can be changed. */
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import { systemError } from './disk-names.ts';
import type { SimDisk } from './disk.ts';

export function stillDisk(disk: SimDisk): FileSystem {
  const refuse = (): never => {
    throw new Error('a still disk is not changed');
  };
  return {
    open: async (path) => await Promise.resolve(openFile(disk, path)),
    list: (dir) => {
      const prefix = `${dir}/`;
      const names = disk
        .paths()
        .filter((path) => path.startsWith(prefix))
        .map((path) => path.slice(prefix.length).split('/')[0] as string);
      return names.length > 0 ? Promise.resolve([...new Set(names)]) : Promise.reject(systemError('ENOENT', dir));
    },
    ...{ makeDir: refuse, rename: refuse, link: refuse, remove: refuse, removeDir: refuse, syncDir: refuse },
    freeBytes: () => Promise.resolve(Infinity),
    totalBytes: () => Promise.resolve(Infinity),
  };
}

function openFile(disk: SimDisk, path: string): OpenFile {
  const content = disk.content(path);
  if (content === null) throw systemError('ENOENT', path);
  const refuse = (): never => {
    throw new Error('a still disk is not changed');
  };
  return {
    ...{ write: refuse, truncate: refuse, datasync: refuse },
    read: (into, position) => {
      const bytes = content.subarray(Math.min(position, content.length), position + into.length);
      into.set(bytes);
      return Promise.resolve(bytes.length);
    },
    sizeBytes: () => Promise.resolve(content.length),
    close: () => Promise.resolve(),
  };
}
