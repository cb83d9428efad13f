/** One coordinator for one state directory: the lock of `common/io/lock-file.ts`, and what its refusal means here. */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { tryLock, type LockIdentity, type LockTry } from '../../common/io/lock-file.ts';
import { lifeOf, ownIdentity } from '../../common/io/process-identity.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';

const lockName = 'lock';

export class StateLock {
  readonly #release: () => Promise<void>;

  private constructor(release: () => Promise<void>) {
    this.#release = release;
  }

  /** @throws STATE_LOCKED when another coordinator holds it, or may hold it. */
  static async acquire(
    dir: string,
    fileSystem: FileSystem,
    identity: LockIdentity = { self: ownIdentity(), lifeOf },
  ): Promise<StateLock> {
    const path = join(dir, lockName);
    const taken = await tryLock(path, fileSystem, identity);
    if (taken.kind === 'taken') return new StateLock(taken.release);
    throw new BatchError('STATE_LOCKED', refusal(taken, dir, path));
  }

  close(): Promise<void> {
    return this.#release();
  }
}

function refusal(found: Exclude<LockTry, { readonly kind: 'taken' }>, dir: string, path: string): string {
  if (found.kind === 'contended') return `several coordinators start on ${dir} at once; start only one`;
  const { holder, life } = found;
  if (holder === null) return `${path} is not a lock of this program; remove it when no coordinator uses ${dir}`;
  return life === 'alive'
    ? `${dir} is in use by the coordinator with process id ${holder.pid} on this machine; stop it, or choose another --state-dir`
    : `${dir} was locked by process ${holder.pid} on ${holder.hostname}, which cannot be seen from here; when it no longer runs, remove ${path}`;
}
