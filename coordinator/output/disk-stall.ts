/** Waits out a full disk: one report when the first write is refused, one when the last that waited has gone through. */
import type { Failure } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import { isDiskFull, reasonOf } from '../../common/io/errno.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';

export interface DiskStallOptions {
  readonly fileSystem: FileSystem;
  readonly delay: Delay;
  readonly onStall: (failure: Failure | null) => void;
  readonly signal: AbortSignal;
}

export class DiskStall {
  readonly #options: DiskStallOptions;
  #waiting = 0;

  constructor(options: DiskStallOptions) {
    this.#options = options;
  }

  /** Repeats `write`, which must be idempotent, until it is not refused for want of room in one of `dirs` or the signal aborts. */
  async retry<T>(
    dirs: readonly string[],
    write: () => Promise<T>,
    signal: AbortSignal = this.#options.signal,
  ): Promise<T> {
    let isWaiting = false;
    try {
      for (;;) {
        try {
          return await write();
        } catch (error) {
          if (!isDiskFull(error) || signal.aborted) throw error;
          if (!isWaiting) await this.#begin(dirs, error);
          isWaiting = true;
        }
        await this.#options.delay(limits.diskFullRetryMs, signal);
      }
    } finally {
      if (isWaiting) this.#end();
    }
  }

  async #begin(dirs: readonly string[], error: unknown): Promise<void> {
    this.#waiting += 1;
    if (this.#waiting > 1) return;
    const { dir, freeBytes } = await this.#fullest(dirs);
    this.#options.onStall({
      code: 'DISK_FULL',
      message: `${dir} has no room for results (${freeBytes ?? 'unknown'} bytes free); make room, the job goes on by itself`,
      detail: reasonOf(error),
    });
  }

  /** Node does not say which file was refused; they may lie on different disks. */
  async #fullest(dirs: readonly string[]): Promise<{ readonly dir: string; readonly freeBytes: number | null }> {
    const { fileSystem } = this.#options;
    const found = await Promise.all(
      dirs.map(async (dir) => ({ dir, freeBytes: await fileSystem.freeBytes(dir).catch(() => null) })),
    );
    return found.reduce((least, one) => ((one.freeBytes ?? Infinity) < (least.freeBytes ?? Infinity) ? one : least));
  }

  #end(): void {
    this.#waiting -= 1;
    if (this.#waiting === 0 && !this.#options.signal.aborted) this.#options.onStall(null);
  }
}
