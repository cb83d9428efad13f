/** What this process can give to other worker nodes: files of its artifacts by their digests, and listings of its folders. */
import { join } from 'node:path';
import type { Artifact } from '../../common/core/deployment.ts';
import type { Digest } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { parseListing } from '../../common/storage/artifact-listing.ts';

/** Where the bytes are: a path, or here. */
export type ServedFile = string | Uint8Array;

export class ServedArtifacts {
  readonly #files = new Map<Digest, ReadonlyMap<Digest, ServedFile>>();
  #listingsBytes = 0;

  /**
   * `path`: of the file or folder on this machine. `listing`: of a folder, as it was fetched. False: it is not to be offered, because
   * it is small, its listing is too long, or it was added before.
   */
  add(artifact: Artifact, path: string, listing: Uint8Array | null): boolean {
    const { digest, kind, bytes } = artifact;
    if (bytes < limits.artifactSharedBytesMin || this.#files.has(digest)) return false;
    if (kind === 'file') {
      this.#files.set(digest, new Map([[digest, path]]));
      return true;
    }
    if (listing === null || this.#listingsBytes + listing.length > limits.artifactListingsBytesMax) return false;
    this.#listingsBytes += listing.length;
    const files = parseListing(listing).map((file) => [file.digest, join(path, file.path)] as const);
    this.#files.set(digest, new Map<Digest, ServedFile>([...files, [digest, listing]]));
    return true;
  }

  /** Undefined: it is none of the artifact's. What has left the cache since then is not there when it is opened. */
  find(artifact: Digest, file: Digest): ServedFile | undefined {
    return this.#files.get(artifact)?.get(file);
  }
}
