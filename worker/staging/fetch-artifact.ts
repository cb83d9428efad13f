/** One artifact from one place into a folder, each file checked by its digest before it has its name there. */
import { randomUUID } from 'node:crypto';
import { chmod, readFile, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Artifact } from '../../common/core/deployment.ts';
import type { Digest } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import { makeFolder } from '../../common/io/make-folder.ts';
import { removeForeign } from '../../common/io/remove-foreign.ts';
import { confine } from '../../common/storage/confine.ts';
import { fetchedAtSeconds, type ArtifactTree, type Differences } from './artifact-tree.ts';
import { fetchFile, localWrite } from './fetch-file.ts';
import { forEachBounded } from './gate.ts';

export interface ArtifactSource {
  /** Bytes of a file, or of the artifact's listing, from an offset. */
  readonly open: (digest: Digest, offset: number) => AsyncIterable<Uint8Array>;
  /** How often a file is fetched before wrong bytes are told. */
  readonly tries: number;
  /** Folder on the disk of the artifact's, where files are until they are whole. */
  readonly partialDir: string;
  readonly signal: AbortSignal;
  readonly delay: Delay;
}

/** Of a folder; null of a file. @throws ARTIFACT_CORRUPT, what `open` throws, DISK_FULL, STATE_UNWRITABLE */
export async function fetchListing(
  { kind, name, digest }: Artifact,
  source: ArtifactSource,
): Promise<Uint8Array | null> {
  if (kind === 'file') return null;
  const path = await fetchWhole(source, digest, `the listing of ${name}`);
  const listing = await readFile(path);
  await rm(path);
  return listing;
}

/**
 * Makes `dir` hold what `tree` says: removes and fetches what differs. What is there already stays, and what is replaced is so
 * by a rename, so that whoever reads it has the old file or the new one.
 * @throws ARTIFACT_CORRUPT, what `open` throws, DISK_FULL, STATE_UNWRITABLE
 */
export async function fetchArtifact(
  { folders }: ArtifactTree,
  dir: string,
  { files, surplus }: Differences,
  source: ArtifactSource,
): Promise<void> {
  for (const path of surplus) await localWrite(join(dir, path), () => removeForeign(join(dir, path)));
  await localWrite(dir, () => makeFolder(dir));
  for (const folder of folders) await localWrite(dir, () => makeFolder(confine(dir, folder)));
  await forEachBounded(files, limits.stagingFetchesMax, async ({ path, digest, mode }) => {
    const whole = await fetchWhole(source, digest, path);
    await localWrite(path, async () => {
      await utimes(whole, fetchedAtSeconds, fetchedAtSeconds);
      // A script that writes into its model would change it for all others: not by accident.
      await chmod(whole, (mode & 0o111) === 0 ? 0o444 : 0o555);
      await rename(whole, confine(dir, path));
    });
  });
}

/** Path of a new file that has that digest. */
async function fetchWhole(
  { open, tries, partialDir, signal, delay }: ArtifactSource,
  digest: Digest,
  name: string,
): Promise<string> {
  const path = join(partialDir, randomUUID());
  const openAt = (offset: number): AsyncIterable<Uint8Array> => open(digest, offset);
  for (let tried = 1; ; tried += 1) {
    const fetched = await fetchFile({ path, open: openAt, signal, delay, isDurable: true });
    if (`sha256:${fetched.sha256}` === digest) return path;
    if (tried < tries) continue;
    throw new BatchError(
      'ARTIFACT_CORRUPT',
      `wanted ${name} with digest ${digest}, got ${fetched.bytes} bytes with sha256:${fetched.sha256}`,
    );
  }
}
