/**
 * Models and code on this machine, by digest, shared by all slots and by all worker nodes that use the same scratch
 * folder. An artifact is made under a temporary name and appears under its own by one rename: what is there is whole.
 *
 *   <root>/<digest>-<name key>/<name>        a file, or a folder with its files
 *   <root>/.partial-…/                       one that is being fetched
 *
 * @source Azure ML: AZUREML_MODEL_DIR contains the model under its own basename, and nothing beside it
 */
import { createHash, randomUUID } from 'node:crypto';
import { readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Artifact } from '../../common/core/deployment.ts';
import type { Digest } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Clock } from '../../common/io/clock.ts';
import type { Log } from '../../common/io/log.ts';
import type { Delay } from '../../common/io/delay.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { makeFolder } from '../../common/io/make-folder.ts';
import { isConfined } from '../../common/storage/confine.ts';
import type { ArtifactPeers } from '../peers/artifact-peers.ts';
import type { BulkSource } from './bulk-source.ts';
import { fetchArtifact } from './fetch-artifact.ts';
import { localWrite } from './fetch-file.ts';

export interface ArtifactCacheOptions {
  /** Absolute. */
  readonly root: string;
  /** Beyond it what has not been used for longest goes, but never what is in use. */
  readonly bytesMax: number;
  readonly source: BulkSource;
  /** Other worker nodes, which may have it too; absent: all comes from `source`. */
  readonly peers?: Pick<ArtifactPeers, 'find' | 'has'> | null;
  readonly log?: Log;
  readonly clock: Clock;
  readonly delay: Delay;
  /** Ends all fetches. */
  readonly signal: AbortSignal;
}

export interface LocalisedArtifact {
  /** Folder that holds the artifact and nothing else. */
  readonly dir: string;
  /** The artifact itself. */
  readonly path: string;
}

export class ArtifactCache {
  readonly #options: ArtifactCacheOptions;
  readonly #underWay = new Map<string, Promise<LocalisedArtifact>>();
  /** How many uses this process makes of each. */
  readonly #uses = new Map<string, number>();

  constructor(options: ArtifactCacheOptions) {
    this.#options = options;
  }

  /**
   * The artifact on this machine, fetched unless it is there; those who ask at the same time share one fetch. It stays until
   * it has been released as often as it was asked for, whatever came of that.
   * Throws ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT, COORDINATOR_UNREACHABLE, DISK_FULL, STATE_UNWRITABLE.
   */
  localise(artifact: Artifact): Promise<LocalisedArtifact> {
    this.hold(artifact);
    const key = keyOf(artifact);
    return this.#underWay.get(key) ?? this.#begin(key, artifact);
  }

  /** One more use of what is localised. */
  hold(artifact: Artifact): void {
    const key = keyOf(artifact);
    this.#uses.set(key, (this.#uses.get(key) ?? 0) + 1);
  }

  /** A use is over; the artifact may go when there is no room. */
  release(artifact: Artifact): void {
    const key = keyOf(artifact);
    const uses = (this.#uses.get(key) ?? 0) - 1;
    if (uses > 0) this.#uses.set(key, uses);
    else this.#uses.delete(key);
  }

  /** Removes what nobody has used for long, what a process that died left half done, and what is beyond the bound. */
  async sweep(): Promise<void> {
    await this.#makeRoom(0);
  }

  /** Until `signal`: what this process uses looks so to the others that share the folder. */
  async keepFresh(): Promise<void> {
    const { delay, signal, root } = this.#options;
    while (!signal.aborted) {
      await delay(limits.artifactFreshMs / 4, signal);
      for (const key of this.#uses.keys()) await this.#touch(join(root, key));
    }
  }

  #begin(key: string, artifact: Artifact): Promise<LocalisedArtifact> {
    const fetched = this.#localise(artifact, join(this.#options.root, key)).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, fetched);
    return fetched;
  }

  /** For `bytes` more. What other processes use looks as recently used. */
  async #makeRoom(bytes: number): Promise<void> {
    const { root, bytesMax, clock } = this.#options;
    const now = clock.wall();
    const entries: { readonly name: string; readonly ageMs: number; readonly bytes: number }[] = [];
    for (const name of await listDir(root)) {
      const path = join(root, name);
      const found = await stat(path).catch(ignoreMissing);
      if (!found) continue;
      const ageMs = now - found.mtimeMs;
      const ageMax = name.startsWith('.partial-') ? limits.artifactPartialMsMax : limits.artifactUnusedMsMax;
      if (ageMs > ageMax && !this.#uses.has(name)) await rm(path, { recursive: true, force: true });
      else entries.push({ name, ageMs, bytes: await bytesBelow(path) });
    }
    let total = bytes + entries.reduce((sum, entry) => sum + entry.bytes, 0);
    for (const entry of entries.sort((a, b) => b.ageMs - a.ageMs)) {
      if (total <= bytesMax) return;
      const isFree = entry.ageMs > limits.artifactFreshMs && !entry.name.startsWith('.partial-');
      if (!isFree || this.#uses.has(entry.name)) continue;
      await rm(join(root, entry.name), { recursive: true, force: true });
      total -= entry.bytes;
    }
  }

  /** Only for `sweep`; a cache that another user owns is as good. */
  async #touch(dir: string): Promise<void> {
    const seconds = this.#options.clock.wall() / 1_000;
    await utimes(dir, seconds, seconds).catch(() => undefined);
  }

  async #localise(artifact: Artifact, dir: string): Promise<LocalisedArtifact> {
    const localised = { dir, path: join(dir, artifact.name) };
    if (await stat(localised.path).catch(ignoreMissing)) {
      await this.#touch(dir);
      // The listing of a folder is not kept.
      this.#options.peers?.has(artifact, localised.path, null);
      return localised;
    }
    await this.#makeRoom(artifact.bytes);
    const partial = join(this.#options.root, `.partial-${process.pid}-${randomUUID()}`);
    try {
      await localWrite(partial, () => makeFolder(partial));
      const listing = await this.#fetch(artifact, join(partial, artifact.name));
      await publish(partial, dir);
      this.#options.peers?.has(artifact, localised.path, listing);
    } finally {
      await rm(partial, { recursive: true, force: true });
    }
    return localised;
  }

  /** From other nodes as long as the coordinator names one that has it, then from the coordinator. The listing of a folder. */
  async #fetch(artifact: Artifact, path: string): Promise<Uint8Array | null> {
    const { peers, source, signal, delay, log } = this.#options;
    const failed: string[] = [];
    for (;;) {
      const peer = (await peers?.find(artifact, failed)) ?? null;
      if (peer === null) {
        const open = (file: Digest, offset: number): AsyncIterable<Uint8Array> => source.artifact(file, offset, signal);
        // Twice, when it comes out wrong: a bad disk, or a file that was just being replaced.
        return await fetchArtifact(artifact, path, { open, tries: 2, signal, delay });
      }
      try {
        const open = (file: Digest, offset: number): AsyncIterable<Uint8Array> => peer.open(file, offset);
        return await fetchArtifact(artifact, path, { open, tries: 1, signal, delay });
      } catch (error) {
        if (signal.aborted || isLocal(error)) throw error;
        failed.push(peer.node);
        const said = { artifact: artifact.name, from: peer.node, reason: reasonOf(error) };
        log?.info('an artifact cannot be had from another node', said);
        await rm(path, { recursive: true, force: true });
      } finally {
        peer.close();
      }
    }
  }
}

/** Of this machine's disk: another place would not help. */
function isLocal(error: unknown): boolean {
  return error instanceof BatchError && (error.code === 'DISK_FULL' || error.code === 'STATE_UNWRITABLE');
}

/** The same bytes under two names are two artifacts here: each folder holds one name. */
function keyOf({ kind, name, digest }: Artifact): string {
  const hex = /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1];
  if (hex === undefined || !isConfined(name) || name.includes('/')) {
    throw new BatchError('REQUEST_INVALID', `no artifact has the name ${JSON.stringify(name)} and digest ${digest}`);
  }
  const nameKey = createHash('sha256').update(`${kind}/${name}`).digest('hex').slice(0, 8);
  return `${hex}-${nameKey}`;
}

async function publish(partial: string, dir: string): Promise<void> {
  try {
    await rename(partial, dir);
  } catch (error) {
    // Another process was faster; what it made is the same.
    if (errnoOf(error) === 'ENOTEMPTY' || errnoOf(error) === 'EEXIST') return;
    await localWrite(dir, () => Promise.reject(error));
  }
}

async function bytesBelow(path: string): Promise<number> {
  let bytes = 0;
  for (const entry of (await readdir(path, { recursive: true, withFileTypes: true }).catch(ignoreMissing)) ?? []) {
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name)).catch(ignoreMissing))?.size ?? 0;
  }
  return bytes;
}

async function listDir(dir: string): Promise<readonly string[]> {
  return (await readdir(dir).catch(ignoreMissing)) ?? [];
}

function ignoreMissing(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT') throw error;
  return undefined;
}
