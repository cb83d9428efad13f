/** One job at a time for one output folder, also when their coordinators are different processes: each `run` is one. */
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { tryLock, type LockIdentity, type LockTry } from '../../common/io/lock-file.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { lifeOf, ownIdentity, type ProcessIdentity } from '../../common/io/process-identity.ts';

/** Hidden, so that no listing takes it for a file to score. */
export const outputLockName = '.batchmill-lock';
/** What file systems without hard links answer; there a folder is not guarded. */
const withoutLinks = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

export class OutputLocks {
  readonly #identity: LockIdentity;
  readonly #fileSystem: FileSystem;
  readonly #cluster: string | null;
  readonly #held = new Map<string, () => Promise<void>>();

  /** `cluster`: see `Outside`; null: this process is not one of several. */
  constructor(
    identity: LockIdentity = { self: ownIdentity(), lifeOf },
    fileSystem: FileSystem = nodeFileSystem,
    cluster: string | null = null,
  ) {
    this.#identity = cluster === null ? identity : { ...identity, self: { ...identity.self, cluster } };
    this.#fileSystem = fileSystem;
    this.#cluster = cluster;
  }

  /** Keeps others from `dir`, which must be there, until it is released or this process is dead. @throws OUTPUT_EXISTS */
  async take(dir: string): Promise<void> {
    const tried = await this.#try(dir);
    if (tried !== null && tried.kind !== 'taken') throw new BatchError('OUTPUT_EXISTS', refusal(tried, dir));
    if (tried !== null) this.#held.set(dir, tried.release);
  }

  /** After a restart: the job was here first, so it goes on whether the lock is free or not. */
  async takeAgain(dir: string): Promise<void> {
    try {
      await this.take(dir);
    } catch (error) {
      // A folder that is gone is told by what reads the output.
      if (!(error instanceof BatchError) && errnoOf(error) === '') throw error;
    }
  }

  /** Nothing happens to a folder that is not held. */
  async release(dir: string): Promise<void> {
    const release = this.#held.get(dir);
    this.#held.delete(dir);
    try {
      await release?.();
    } catch (error) {
      // It stays behind, and whoever comes next sees that its holder is dead.
      if (errnoOf(error) === '') throw error;
    }
  }

  async close(): Promise<void> {
    for (const dir of [...this.#held.keys()]) await this.release(dir);
  }

  /**
   * Whoever has led before is as good as dead, wherever its machine is: its jobs are this one's, and what it still writes goes to files
   * that have been replaced by copies.
   */
  #identityFor(dir: string): LockIdentity {
    const { self, lifeOf: lifeOfOther } = this.#identity;
    const isBefore = (other: ProcessIdentity): boolean =>
      this.#cluster !== null && other.cluster === this.#cluster && !this.#held.has(dir);
    return { self, lifeOf: (other) => (isBefore(other) ? 'dead' : lifeOfOther(other)) };
  }

  async #try(dir: string): Promise<LockTry | null> {
    try {
      return await tryLock(join(dir, outputLockName), this.#fileSystem, this.#identityFor(dir));
    } catch (error) {
      if (withoutLinks.includes(errnoOf(error))) return null;
      throw error;
    }
  }
}

function refusal(found: Exclude<LockTry, { readonly kind: 'taken' }>, dir: string): string {
  if (found.kind === 'contended') return `several jobs begin to write to ${dir} at once; start only one`;
  const { holder, life } = found;
  const path = join(dir, outputLockName);
  if (holder === null) return `${path} is not a lock of this program; remove it when no job writes to ${dir}`;
  return life === 'alive'
    ? `a job of process ${holder.pid} on this machine is writing to ${dir}; wait for its end, or choose another --output`
    : `a job of process ${holder.pid} on ${holder.hostname}, which cannot be seen from here, has locked ${dir}; choose another --output, or remove ${path} when it no longer runs`;
}
