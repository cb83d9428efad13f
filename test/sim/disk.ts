/**
 * A disk in virtual time which loses what a real one may lose. What holds, for the content of a file:
 * - Readers see what was written last, synced or not. That survives a kill; a power cut leaves only what was synced for certain.
 * - A sync covers what the file held when it was begun. It makes data and size durable, never the file's name.
 * - Each write since then is kept, lost or torn by a power cut, whatever became of those before and behind it: the first bytes
 *   arrive, up to any of them, or any of its sectors of 512 bytes. The size may have grown with bytes that did not arrive, and
 *   zeros stand there. A truncation is kept or undone.
 * - After a sync that failed, readers still see what was written; no later sync makes it durable (fsyncgate).
 *
 * For names, of which a folder's sync makes durable those in it, itself, and the folders above:
 * - Each file made, linked or removed and each folder made or removed since then is kept or lost by itself, or all that came
 *   before some moment is kept, as a journaling file system does. A folder that is lost takes along what is in it.
 * - A rename is one change, durable with the sync of either folder: a file that had a durable name has the old one or the new
 *   one. It says nothing of the content, which may be empty or torn under either.
 *
 * Operations of one open file take effect in the order in which they were begun, all others in any order. A write reads the
 * caller's bytes when it takes effect, so whoever changes them earlier is found out.
 *
 * @source POSIX.1-2017 fsync, rename; Pillai et al., All File Systems Are Not Created Equal (OSDI 2014); Rebello et al., Can
 * Applications Recover from fsync Failures? (ATC 2020)
 */
import type { DiskFault } from './disk-file.ts';
import { Mount, type DiskMutation, type DiskState, type Later, type SimMount } from './disk-mount.ts';
import { DiskNames } from './disk-names.ts';
import type { Random, World } from './world.ts';

export type { DiskFault } from './disk-file.ts';
export type { DiskMutation, Later, SimMount } from './disk-mount.ts';

/** More than this is never free on a disk that has just been filled. */
const littleBytes = 300;

export class SimDisk {
  /** Faults that have happened, by kind. */
  readonly counts = new Map<DiskFault, number>();
  readonly #state: DiskState;
  #mounts: Mount[] = [];

  /** `random` is the disk's own, so that its draws do not depend on what else is simulated. */
  constructor(world: World, random: Random) {
    const names = new DiskNames((bytes) => (this.#state.roomBytes += bytes));
    const tell = (fault: DiskFault): void => void this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
    this.#state = {
      world,
      random,
      names,
      mutation: {},
      roomBytes: Infinity,
      failingSyncs: [],
      litter: new Set(),
      tell,
    };
  }

  get mutation(): DiskMutation {
    return this.#state.mutation;
  }

  set mutation(mutation: DiskMutation) {
    this.#state.mutation = mutation;
  }

  mount(later: Later): SimMount {
    const mount = new Mount(this.#state, later);
    this.#mounts.push(mount);
    return mount;
  }

  /** All processes on the machine end with it. */
  powerCut(): void {
    const { names, random, tell } = this.#state;
    for (const mount of this.#mounts) mount.release();
    this.#mounts = [];
    names.powerCut(random, tell);
    for (const [, file] of names.files()) file.powerCut(random, tell);
    if (this.#state.roomBytes < Infinity) this.fill();
  }

  /** Files cannot grow any more, but for a few bytes and those of files that go. */
  fill(): void {
    this.#state.roomBytes = this.#state.random.between(0, littleBytes);
  }

  drain(): void {
    this.#state.roomBytes = Infinity;
  }

  /** The next sync of a file that matches is refused with EIO. */
  failNextSync(match: (path: string) => boolean): void {
    this.#state.failingSyncs.push(match);
  }

  /** In a file that matches and has bytes; returns where. Null when there is none. */
  flipBit(match: (path: string) => boolean): string | null {
    const { names, random, tell } = this.#state;
    const files = [...names.files()].filter(([path, file]) => file.size > 0 && match(path));
    if (files.length === 0) return null;
    const [path, file] = random.pick(files);
    const offset = file.flipBit(random);
    if (offset === null) return null;
    tell('bit flipped');
    return `${path} at byte ${offset}`;
  }

  /** As a reader sees it now; null when there is no such file. */
  content(path: string): Buffer | null {
    return this.#state.names.file(path)?.copy() ?? null;
  }

  /** Of all files, sorted. */
  paths(): readonly string[] {
    return [...this.#state.names.files()].map(([path]) => path).sort();
  }

  /** Nothing but a name, by a process that was frozen as it opened the file, and let go of it when it woke up. */
  isLitter(path: string): boolean {
    return this.#state.litter.has(path) && this.content(path)?.length === 0;
  }

  /** By somebody else, and durable at once. */
  remove(path: string): void {
    this.#state.names.removeDurably(path);
  }
}
