/** What an artifact's folder in the cache should hold, and what in it is something else. */
import type { Dirent } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Artifact } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { parseListing, type ListedFile } from '../../common/storage/artifact-listing.ts';
import { forEachBounded } from './gate.ts';

/** All paths are relative to the folder. */
export interface ArtifactTree {
  readonly files: ReadonlyMap<string, ListedFile>;
  readonly folders: ReadonlySet<string>;
}

export interface Differences {
  /** Missing, or not as they were fetched. */
  readonly files: readonly ListedFile[];
  /** What nobody has fetched, or is another kind of thing than it should be. */
  readonly surplus: readonly string[];
}

/**
 * When all files of all artifacts were last changed: two processes that fetch the same make the same, and what has another time
 * has been written to since.
 */
export const fetchedAtSeconds = 946_684_800;

/** `listing`: of a folder. @throws ARTIFACT_CORRUPT */
export function treeOf({ kind, name, digest, bytes }: Artifact, listing: Uint8Array | null): ArtifactTree {
  if (kind === 'file' || listing === null) {
    return { files: new Map([[name, { path: name, digest, bytes, mode: 0o644 }]]), folders: new Set() };
  }
  const files = parseListing(listing).map((file) => ({ ...file, path: join(name, file.path) }));
  const folders = new Set([name]);
  for (const { path } of files) {
    for (let folder = dirname(path); !folders.has(folder); folder = dirname(folder)) folders.add(folder);
  }
  return { files: new Map(files.map((file) => [file.path, file])), folders };
}

/** By names, sizes and times: a model is not read for it. */
export async function differences({ files, folders }: ArtifactTree, dir: string): Promise<Differences> {
  const missing = new Map(files);
  const surplus: string[] = [];
  const found: ListedFile[] = [];
  const walk = async (folder: string): Promise<void> => {
    for (const entry of await listDir(join(dir, folder))) {
      const path = join(folder, entry.name);
      const file = files.get(path);
      if (entry.isDirectory() && folders.has(path)) await walk(path);
      else if (entry.isFile() && file) found.push(file);
      else surplus.push(path);
    }
  };
  await walk('');
  await forEachBounded(found, limits.stagingFetchesMax, async ({ path, bytes }) => {
    if (await isAsFetched(join(dir, path), bytes)) missing.delete(path);
  });
  return { files: [...missing.values()], surplus };
}

async function isAsFetched(path: string, bytes: number): Promise<boolean> {
  try {
    const { size, mtimeMs } = await lstat(path);
    return size === bytes && mtimeMs === fetchedAtSeconds * 1_000;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function listDir(dir: string): Promise<readonly Dirent[]> {
  try {
    return await readdir(dir, { withFileTypes: true });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
