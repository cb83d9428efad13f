/** Sizes and identities of files. */
import { stat } from 'node:fs';
import { unreadableIdentity, type InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf } from '../../common/io/errno.ts';

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
