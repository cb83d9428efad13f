/** A process's files on two disks: its own, and one that all coordinators share, with the outputs and what is kept of each job. */
import { errnoOf } from '../../common/io/errno.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';

/** Neither the state directory nor what is above it, but for the folder of jobs. */
const shared = /^\/(?:state\/jobs(?:\/|$)|(?!state(?:\/|$))[^/])/;

export function twoDisks(own: FileSystem, common: FileSystem): FileSystem {
  const of = (path: string): FileSystem => (shared.test(path) ? common : own);
  return {
    open: (path, mode) => of(path).open(path, mode),
    list: (dir) => of(dir).list(dir),
    makeDir: (path) => of(path).makeDir(path),
    rename: (from, to) => of(from).rename(from, to),
    link: (from, to) => of(from).link(from, to),
    remove: (path) => of(path).remove(path),
    removeDir: (path) => of(path).removeDir(path),
    // A folder above both is on both.
    syncDir: async (path) => {
      if (path !== '/' && path !== '/state') return await of(path).syncDir(path);
      await own.syncDir(path);
      await common.syncDir(path).catch((error: unknown) => {
        if (errnoOf(error) !== 'ENOENT') throw error;
      });
    },
    freeBytes: (path) => of(path).freeBytes(path),
    totalBytes: (path) => of(path).totalBytes(path),
  };
}
