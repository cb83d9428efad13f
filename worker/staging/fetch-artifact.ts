/** One artifact from one place into a folder, each file checked by its digest. */
import { chmod, mkdir, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Artifact } from '../../common/core/deployment.ts';
import type { Digest } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Delay } from '../../common/io/delay.ts';
import { makeFolder } from '../../common/io/make-folder.ts';
import { parseListing } from '../../common/storage/artifact-listing.ts';
import { confine } from '../../common/storage/confine.ts';
import { fetchFile, localWrite } from './fetch-file.ts';
import { forEachBounded } from './gate.ts';

export interface ArtifactSource {
  /** Bytes of a file, or of the artifact's listing, from an offset. */
  readonly open: (digest: Digest, offset: number) => AsyncIterable<Uint8Array>;
  /** How often a file is fetched before wrong bytes are told. */
  readonly tries: number;
  readonly signal: AbortSignal;
  readonly delay: Delay;
}

/**
 * `path`: of the file or folder, which is not there yet. The listing of a folder, null of a file.
 * Throws ARTIFACT_CORRUPT, what `open` throws, DISK_FULL, STATE_UNWRITABLE.
 */
export async function fetchArtifact(
  artifact: Artifact,
  path: string,
  source: ArtifactSource,
): Promise<Uint8Array | null> {
  if (artifact.kind === 'file') {
    await fetchWhole(source, artifact.digest, artifact.name, path, 0o444);
    return null;
  }
  const listingPath = `${path}.listing`;
  await fetchWhole(source, artifact.digest, `the listing of ${artifact.name}`, listingPath, 0o600);
  const listing = await readFile(listingPath);
  const files = parseListing(listing);
  await rm(listingPath);
  await localWrite(path, () => mkdir(path));
  for (const dir of new Set(files.map((file) => dirname(confine(path, file.path))))) {
    await localWrite(dir, () => makeFolder(dir));
  }
  await forEachBounded(files, limits.stagingFetchesMax, async (file) => {
    const mode = (file.mode & 0o111) === 0 ? 0o444 : 0o555;
    await fetchWhole(source, file.digest, file.path, confine(path, file.path), mode);
  });
  return listing;
}

async function fetchWhole(
  { open, tries, signal, delay }: ArtifactSource,
  digest: Digest,
  name: string,
  path: string,
  mode: number,
): Promise<void> {
  const openAt = (offset: number): AsyncIterable<Uint8Array> => open(digest, offset);
  for (let tried = 1; ; tried += 1) {
    const fetched = await fetchFile({ path, open: openAt, signal, delay, isDurable: true });
    if (`sha256:${fetched.sha256}` === digest) break;
    if (tried < tries) continue;
    throw new BatchError(
      'ARTIFACT_CORRUPT',
      `wanted ${name} with digest ${digest}, got ${fetched.bytes} bytes with sha256:${fetched.sha256}`,
    );
  }
  // Read-only: a script that writes into its model would change it for all others.
  await localWrite(path, () => chmod(path, mode));
}
