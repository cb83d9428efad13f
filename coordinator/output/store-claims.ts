/**
 * What a job has begun to give its names in a store: kept beside its own results, and durable before the first byte goes there. What
 * stands in the store and is not on the list is somebody else's.
 */
import { join } from 'node:path';
import * as z from 'zod';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { readLineList, replaceLineList } from './line-list.ts';
import { claimsName } from './output-names.ts';

/** `isAll`: whoever submitted the job has said that it may replace what is there. */
const lineShape = z.union([z.object({ isAll: z.literal(true) }), z.object({ path: z.string() })]);

export class StoreClaims {
  readonly #fileSystem: FileSystem;
  readonly #dir: string;
  readonly #paths: Set<string>;
  readonly #isAll: boolean;

  private constructor(fileSystem: FileSystem, dir: string, paths: Set<string>, isAll: boolean) {
    this.#fileSystem = fileSystem;
    this.#dir = dir;
    this.#paths = paths;
    this.#isAll = isAll;
  }

  /** `dir`: where the job works. @throws OUTPUT_CORRUPT */
  static async read(fileSystem: FileSystem, dir: string): Promise<StoreClaims> {
    const claims = await readLineList(fileSystem, join(dir, claimsName), lineShape);
    const paths = new Set(claims.flatMap((claim) => ('path' in claim ? [claim.path] : [])));
    return new StoreClaims(
      fileSystem,
      dir,
      paths,
      claims.some((claim) => 'isAll' in claim),
    );
  }

  /** Everything is the job's to replace; durable when it resolves. */
  static async takeAll(fileSystem: FileSystem, dir: string): Promise<void> {
    await replaceLineList(fileSystem, join(dir, claimsName), [{ isAll: true }]);
  }

  has(path: string): boolean {
    return this.#isAll || this.#paths.has(path);
  }

  /** Durable when it resolves. */
  async add(paths: readonly string[]): Promise<void> {
    const fresh = paths.filter((path) => !this.has(path));
    if (fresh.length === 0) return;
    for (const path of fresh) this.#paths.add(path);
    const claims = Array.from(this.#paths, (path) => ({ path }));
    await replaceLineList(this.#fileSystem, join(this.#dir, claimsName), claims);
  }
}
