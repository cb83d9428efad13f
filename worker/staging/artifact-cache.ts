/**
 * Models and code on this machine, by digest, shared by all slots and by all worker nodes that use the same scratch
 * folder. An artifact is made under a temporary name and appears under its own by one rename, and goes in the same way. User
 * code can write to it all the same, so it is looked at before each use, and what is not as it was fetched is fetched anew.
 *
 *   <root>/<digest>-<name key>/<name>        a file, or a folder with its files
 *   <root>/<digest>-<name key>.listing       of a folder: what its digest is of
 *   <root>/.partial-…/                       one that is being fetched or removed
 *
 * @source Azure ML: AZUREML_MODEL_DIR contains the model under its own basename, and nothing beside it
 */
import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
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
import { removeForeign } from '../../common/io/remove-foreign.ts';
import { isConfined } from '../../common/storage/confine.ts';
import type { ArtifactPeers } from '../peers/artifact-peers.ts';
import { differences, treeOf, type ArtifactTree, type Differences } from './artifact-tree.ts';
import type { BulkSource } from './bulk-source.ts';
import { fetchArtifact, fetchListing, type ArtifactSource } from './fetch-artifact.ts';
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

/** What an artifact is made of. */
interface Known {
  /** Of a folder; null of a file. */
  readonly listing: Uint8Array | null;
  readonly tree: ArtifactTree;
}

export class ArtifactCache {
  readonly #options: ArtifactCacheOptions;
  /** Of what this process uses. */
  readonly #known = new Map<string, Known>();
  readonly #underWay = new Map<string, Promise<LocalisedArtifact>>();
  /** How many uses this process makes of each. */
  readonly #uses = new Map<string, number>();

  constructor(options: ArtifactCacheOptions) {
    this.#options = options;
  }

  /**
   * The artifact on this machine, fetched unless it is there as it was fetched; those who ask at the same time share one fetch. It stays until
   * it has been released as often as it was asked for, whatever came of that.
   * Throws ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT, COORDINATOR_UNREACHABLE, DISK_FULL, STATE_UNWRITABLE.
   */
  localise(artifact: Artifact): Promise<LocalisedArtifact> {
    this.hold(artifact);
    const key = keyOf(artifact);
    return this.#underWay.get(key) ?? this.#begin(key, artifact);
  }

  /** Before a new process reads what is localised: what user code has changed of it since is fetched anew. @throws what {@link localise} throws */
  async check(artifact: Artifact): Promise<void> {
    const key = keyOf(artifact);
    await (this.#underWay.get(key) ?? this.#begin(key, artifact));
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
    if (uses > 0) return void this.#uses.set(key, uses);
    this.#uses.delete(key);
    this.#known.delete(key);
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
    const fetched = this.#localise(artifact, key).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, fetched);
    return fetched;
  }

  /** For `bytes` more. What other processes use looks as recently used. */
  async #makeRoom(bytes: number): Promise<void> {
    const { root, bytesMax, clock } = this.#options;
    const now = clock.wall();
    const entries: { readonly name: string; readonly ageMs: number; readonly bytes: number }[] = [];
    const names = new Set(await listDir(root));
    for (const name of names) {
      const path = join(root, name);
      const found = await stat(path).catch(ignoreMissing);
      if (!found) continue;
      const ageMs = now - found.mtimeMs;
      const isListing = name.endsWith(listingEnding);
      if (isListing && names.has(name.slice(0, -listingEnding.length))) continue;
      const isPart = isListing || name.startsWith(partialPrefix);
      const ageMax = isPart ? limits.artifactPartialMsMax : limits.artifactUnusedMsMax;
      if (ageMs > ageMax && !this.#uses.has(name)) await this.#remove(name);
      else if (!isListing) entries.push({ name, ageMs, bytes: await bytesBelow(path) });
    }
    let total = bytes + entries.reduce((sum, entry) => sum + entry.bytes, 0);
    for (const entry of entries.sort((a, b) => b.ageMs - a.ageMs)) {
      if (total <= bytesMax) return;
      const isFree = entry.ageMs > limits.artifactFreshMs && !entry.name.startsWith(partialPrefix);
      if (!isFree || this.#uses.has(entry.name)) continue;
      await this.#remove(entry.name);
      total -= entry.bytes;
    }
  }

  /** By a rename first: whoever is killed in the midst of it leaves no half of an artifact under its name. */
  async #remove(name: string): Promise<void> {
    const { root, log } = this.#options;
    const path = join(root, name);
    const aside = name.startsWith(partialPrefix) ? path : join(root, partialName());
    try {
      if (aside !== path) await rename(path, aside);
      await rm(`${path}${listingEnding}`, { force: true });
      await removeForeign(aside);
    } catch (error) {
      // Another process was faster.
      if (errnoOf(error) === 'ENOENT') return;
      log?.warn('an old artifact cannot be removed', { path: aside, reason: reasonOf(error) });
    }
  }

  /** Only for `sweep`; a cache that another user owns is as good. */
  async #touch(dir: string): Promise<void> {
    const seconds = this.#options.clock.wall() / 1_000;
    await utimes(dir, seconds, seconds).catch(() => undefined);
  }

  async #localise(artifact: Artifact, key: string): Promise<LocalisedArtifact> {
    const { root, peers } = this.#options;
    const dir = join(root, key);
    const localised = { dir, path: join(dir, artifact.name) };
    await this.#touch(dir);
    const isHere = (await stat(dir).catch(ignoreMissing)) !== undefined;
    const known = this.#known.get(key) ?? (isHere ? await this.#readKnown(artifact, key) : null);
    const whole =
      isHere && known && (await isWhole(known.tree, dir)) ? known : await this.#make(artifact, key, known, isHere);
    if (this.#uses.has(key)) this.#known.set(key, whole);
    peers?.has(artifact, localised.path, whole.listing);
    return localised;
  }

  /** Null when the listing is not there, or is damaged: it is fetched then. */
  async #readKnown(artifact: Artifact, key: string): Promise<Known | null> {
    if (artifact.kind === 'file') return { listing: null, tree: treeOf(artifact, null) };
    const listing = await readFile(join(this.#options.root, `${key}${listingEnding}`)).catch(ignoreMissing);
    if (listing === undefined || digestOf(listing) !== artifact.digest) return null;
    return { listing, tree: treeOf(artifact, listing) };
  }

  /** Fetches it, or what differs of one that is here. */
  async #make(artifact: Artifact, key: string, known: Known | null, isHere: boolean): Promise<Known> {
    const { root } = this.#options;
    if (!isHere) await this.#makeRoom(artifact.bytes);
    const dir = join(root, key);
    const partial = join(root, partialName());
    const partialDir = join(partial, 'files');
    const listingPath = join(partial, 'listing');
    const made = join(partial, 'tree');
    try {
      await localWrite(partial, () => makeFolder(partialDir));
      const whole = await this.#fetch(artifact, known, { dir: isHere ? dir : made, partialDir, isHere });
      const { listing } = whole;
      if (listing !== null && listing !== known?.listing) {
        await localWrite(listingPath, () => writeFile(listingPath, listing));
        await localWrite(listingPath, () => rename(listingPath, `${dir}${listingEnding}`));
      }
      if (!isHere) await publish(made, dir);
      return whole;
    } finally {
      await rm(partial, { recursive: true, force: true });
    }
  }

  /** From other nodes as long as the coordinator names one that has it, then from the coordinator. */
  async #fetch(
    artifact: Artifact,
    known: Known | null,
    { dir, partialDir, isHere }: { readonly dir: string; readonly partialDir: string; readonly isHere: boolean },
  ): Promise<Known> {
    const { peers, source, signal, delay, log } = this.#options;
    const failed: string[] = [];
    let isTold = !isHere;
    const fetchFrom = async (from: Pick<ArtifactSource, 'open' | 'tries'>): Promise<Known> => {
      const place = { ...from, partialDir, signal, delay };
      if (known === null) {
        const listing = await fetchListing(artifact, place);
        known = { listing, tree: treeOf(artifact, listing) };
      }
      const differing = await differences(known.tree, dir);
      if (!isTold) log?.warn(changedText, toldOf(artifact, differing));
      isTold = true;
      await fetchArtifact(known.tree, dir, differing, place);
      return known;
    };
    for (;;) {
      const peer = (await peers?.find(artifact, failed)) ?? null;
      if (peer === null) {
        const open = (file: Digest, offset: number): AsyncIterable<Uint8Array> => source.artifact(file, offset, signal);
        // Twice, when it comes out wrong: a bad disk, or a file that was just being replaced.
        return await fetchFrom({ open, tries: 2 });
      }
      try {
        const open = (file: Digest, offset: number): AsyncIterable<Uint8Array> => peer.open(file, offset);
        return await fetchFrom({ open, tries: 1 });
      } catch (error) {
        if (signal.aborted || isLocal(error)) throw error;
        failed.push(peer.node);
        const said = { artifact: artifact.name, from: peer.node, reason: reasonOf(error) };
        log?.info('an artifact cannot be had from another node', said);
      } finally {
        peer.close();
      }
    }
  }
}

const partialPrefix = '.partial-';
const listingEnding = '.listing';

function partialName(): string {
  return `${partialPrefix}${process.pid}-${randomUUID()}`;
}

const changedText = 'an artifact on this machine is not as it was fetched; what differs is fetched anew';

/** For whoever looks for the script that did it. */
function toldOf({ name }: Artifact, { files, surplus }: Differences): Record<string, string | number> {
  const [first = name] = [...files.map(({ path }) => path), ...surplus];
  return { artifact: name, differ: files.length, surplus: surplus.length, first };
}

async function isWhole(tree: ArtifactTree, dir: string): Promise<boolean> {
  const { files, surplus } = await differences(tree, dir);
  return files.length === 0 && surplus.length === 0;
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
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
