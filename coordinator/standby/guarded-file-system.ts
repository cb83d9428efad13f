/**
 * The disk of a coordinator that may have been replaced: nothing there gets or loses a name while it cannot be sure to lead. Bytes that
 * it still writes go to files that the next one has replaced by copies, or by new ones.
 */
import { basename } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { ifThere } from '../../common/io/if-there.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { outputLockName } from '../output/output-lock.ts';

export interface GuardOptions {
  /** Of this process alone: never kept back, as locks are not, which name it. */
  readonly localDir: string;
  /** Milliseconds since a renewal of its lease was asked for that succeeded; 0 before it leads. */
  readonly silentMs: () => number;
  readonly delay: Delay;
  /** It waits no longer. */
  readonly signal: AbortSignal;
}

/**
 * Calls that give or take names wait while the lease may have ended, until it is renewed; they reject with NOT_LEADING once this process
 * stops to lead. A file that was opened meanwhile may be the next one's, and is let go.
 */
export function guardedFileSystem(fileSystem: FileSystem, options: GuardOptions): FileSystem {
  const guarded =
    <Rest extends readonly unknown[], T>(call: (path: string, ...rest: Rest) => Promise<T>) =>
    async (path: string, ...rest: Rest): Promise<T> => {
      await untilSure(path, options);
      return await call(path, ...rest);
    };
  const remove = (path: string): Promise<void> => removeSurely(fileSystem, path, options);
  return {
    open: async (path, mode) => {
      if (mode === 'read') return await fileSystem.open(path, mode);
      await untilSure(path, options);
      if (mode === 'replace' && !isOwn(path, options)) {
        // Another file than the one of that name, which the coordinator before may have open still and be about to write to.
        await remove(path);
        await untilSure(path, options);
      }
      const file = await fileSystem.open(path, mode);
      try {
        await untilSure(path, options);
      } catch (error) {
        await file.close();
        throw error;
      }
      return file;
    },
    rename: guarded((from, to: string) => fileSystem.rename(from, to)),
    link: guarded((from, to: string) => fileSystem.link(from, to)),
    remove: guarded(remove),
    removeDir: guarded((path) => fileSystem.removeDir(path)),
    list: (path) => fileSystem.list(path),
    makeDir: (path) => fileSystem.makeDir(path),
    syncDir: (path) => fileSystem.syncDir(path),
    freeBytes: (path) => fileSystem.freeBytes(path),
    totalBytes: (path) => fileSystem.totalBytes(path),
  };
}

/**
 * A name that is taken away is taken when the system comes to it: where this process was asleep just then, from the file that the next
 * coordinator has given it. So what is not there is left alone, and what is there gets another name first, which can be undone.
 */
async function removeSurely(fileSystem: FileSystem, path: string, options: GuardOptions): Promise<void> {
  if (isOwn(path, options)) return await fileSystem.remove(path);
  const isThere = async (name: string): Promise<boolean> =>
    (await ifThere(fileSystem, name, () => Promise.resolve(true))) ?? false;
  const gone = `${path}.gone`;
  if (await isThere(path)) {
    await untilSure(path, options);
    try {
      await fileSystem.rename(path, gone);
    } catch (error) {
      // Another name may want room, or be too long.
      return errnoOf(error) === 'ENOENT' ? undefined : await fileSystem.remove(path);
    }
    await untilSure(path, options).catch(async (error: unknown) => {
      await putBack(fileSystem, path, gone);
      throw error;
    });
  } else if (!(await isThere(gone))) return;
  await fileSystem.remove(gone);
}

/** Unless the next coordinator has a file of that name already. */
async function putBack(fileSystem: FileSystem, path: string, gone: string): Promise<void> {
  await fileSystem.link(gone, path).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw error;
  });
  await fileSystem.remove(gone);
}

function isOwn(path: string, { localDir }: GuardOptions): boolean {
  return path.startsWith(`${localDir}/`) || basename(path).startsWith(outputLockName);
}

async function untilSure(path: string, options: GuardOptions): Promise<void> {
  if (isOwn(path, options)) return;
  const { silentMs, delay, signal } = options;
  for (let ms = silentMs(); ms > limits.leaderSureMs; ms = silentMs()) {
    if (ms > limits.leaderSilentMs || signal.aborted)
      throw new BatchError('NOT_LEADING', `${path} is left as it is: another coordinator may lead and write there`);
    await delay(limits.leaderTryMs, signal);
  }
}
