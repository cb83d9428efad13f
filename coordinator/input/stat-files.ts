/** Sizes and identities of files. */
import { stat } from 'node:fs';
import type { InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf } from '../../common/io/errno.ts';

/**
 * Identity of a file that was listed but cannot be looked at: it vanished, may not be read, is a link to nowhere, or its name is not
 * UTF-8. It keeps its place in the input and fails there with INPUT_UNREADABLE, so that no file is passed over in silence.
 */
export const unreadableIdentity = 'unreadable';

/** What tells the content of a local file from another: `size-mtimeNs`. */
export function localIdentity(stats: { readonly size: bigint; readonly mtimeNs: bigint }): string {
  return `${stats.size}-${stats.mtimeNs}`;
}

/** In the order of `paths`, which are relative to `base`. */
export type StatFiles = (base: string, paths: readonly string[]) => Promise<readonly InputFile[]>;

/** Many at a time, in the thread pool. */
export const statFiles: StatFiles = (base, paths) =>
  new Promise((resolve, reject) => {
    const files = new Array<InputFile>(paths.length);
    let next = 0;
    let running = 0;
    const start = (): void => {
      while (running < limits.statsAtOnceMax && next < paths.length) startOne(next++);
      if (running === 0) resolve(files);
    };
    const startOne = (index: number): void => {
      const path = paths[index] as string;
      running += 1;
      stat(`${base}/${path}`, { bigint: true }, (error, stats) => {
        running -= 1;
        if (error && errnoOf(error) === '') return reject(error);
        files[index] =
          error || !stats.isFile()
            ? { path, sizeBytes: 0, identity: unreadableIdentity }
            : { path, sizeBytes: Number(stats.size), identity: localIdentity(stats) };
        start();
      });
    };
    start();
  });
