/**
 * One worker node for one folder: what lies under its name in the scratch folder is removed when it starts and when it ends, and
 * holds the key that it joins with. Two of one name meet where they join different coordinators, or a service was started twice.
 */
import { rm, stat, utimes } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BatchError } from '../common/core/batch-error.ts';
import { limits } from '../common/core/limits.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Delay } from '../common/io/delay.ts';
import { errnoOf, reasonOf } from '../common/io/errno.ts';
import { tryLock, type LockIdentity, type LockTry } from '../common/io/lock-file.ts';
import type { Log } from '../common/io/log.ts';
import { makeFolder } from '../common/io/make-folder.ts';
import { nodeFileSystem } from '../common/io/node-file-system.ts';

export interface NodeLockOptions {
  readonly path: string;
  readonly name: string;
  readonly clock: Clock;
  readonly delay: Delay;
  readonly log: Log;
  /** Default: of this process. */
  readonly identity?: LockIdentity;
}

/**
 * Resolves with what lets go of it. A holder that was killed is none; one of a machine into which nobody can look from here, such
 * as a container that is gone, is none when it gives no sign of life for {@link limits.nodeLockSilentMs}.
 * @throws NAME_TAKEN
 */
export async function lockNode(options: NodeLockOptions): Promise<() => Promise<void>> {
  const { path, log } = options;
  try {
    await makeFolder(dirname(path));
    const release = await takeLock(options);
    const over = new AbortController();
    void giveSigns(options, over.signal);
    const letGo = async (): Promise<void> => {
      over.abort();
      await release().catch((error: unknown) => tellUnlocked(log, path, error));
    };
    let released: Promise<void> | null = null;
    return () => (released ??= letGo());
  } catch (error) {
    if (error instanceof BatchError || errnoOf(error) === '') throw error;
    // A full disk is swept later on, and a file system without hard links has always been good enough.
    tellUnlocked(log, path, error);
    return () => Promise.resolve();
  }
}

async function takeLock({ path, name, clock, delay, log, identity }: NodeLockOptions): Promise<() => Promise<void>> {
  let sign: { readonly mtimeMs: number; readonly since: number } | null = null;
  for (;;) {
    const tried = await tryLock(path, nodeFileSystem, identity);
    if (tried.kind === 'taken') return tried.release;
    if (tried.kind === 'contended' || tried.life === 'alive') throw taken(name, path, tried);
    const mtimeMs = await changedAt(path);
    if (sign === null) {
      sign = { mtimeMs, since: clock.monotonic() };
      log.info('another worker node of this name may use the folder; waiting for a sign of life', {
        name,
        lock: path,
        holder: holderText(tried),
      });
    }
    if (mtimeMs !== sign.mtimeMs) throw taken(name, path, tried);
    if (clock.monotonic() - sign.since > limits.nodeLockSilentMs) await rm(path, { force: true });
    else await delay(limits.nodeLockBeatMs / 5, new AbortController().signal);
  }
}

/** For those who cannot look at this process. */
async function giveSigns({ path, clock, delay }: NodeLockOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await delay(limits.nodeLockBeatMs, signal);
    const seconds = clock.wall() / 1_000;
    if (!signal.aborted) await utimes(path, seconds, seconds).catch(() => undefined);
  }
}

async function changedAt(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    return -1;
  }
}

function tellUnlocked(log: Log, path: string, error: unknown): void {
  log.warn('the lock of this worker node cannot be kept; nothing keeps another one of its name from its files', {
    lock: path,
    reason: reasonOf(error),
  });
}

function taken(name: string, path: string, found: Exclude<LockTry, { readonly kind: 'taken' }>): BatchError {
  const message = `a worker node named ${name} uses ${dirname(path)}: ${holderText(found)}`;
  return new BatchError('NAME_TAKEN', `${message}; stop it, or give this one another --name or --scratch-dir`);
}

function holderText(found: Exclude<LockTry, { readonly kind: 'taken' }>): string {
  if (found.kind === 'contended') return 'several start at once';
  const { holder, life } = found;
  if (holder === null) return 'nobody knows which process';
  return `process ${holder.pid} on ${life === 'alive' ? 'this machine' : holder.hostname}`;
}
