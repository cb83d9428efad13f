/** One process's view of a simulated disk: its operations take virtual time, and end when it is killed. */
import { errnoOf } from '../../common/io/errno.ts';
import type { FileSystem, OpenFile, OpenMode } from '../../common/ports/file-system.ts';
import type { DiskFault, FileContent } from './disk-file.ts';
import { systemError, type DiskNames } from './disk-names.ts';
import type { Random, World } from './world.ts';

/** What does a step later in a process, unless the process is frozen (then when it thaws) or dead (then never). */
export type Later = (delayMs: number, what: () => void) => void;

/** What is left out, for proving that a simulation notices: the operation succeeds and does nothing. */
export interface DiskMutation {
  readonly noDataSync?: (path: string) => boolean;
  readonly noDirSync?: boolean;
  readonly noTruncate?: (path: string) => boolean;
}

/** What all mounts of a disk share. */
export interface DiskState {
  readonly world: World;
  readonly random: Random;
  readonly names: DiskNames;
  mutation: DiskMutation;
  /** Bytes by which files may still grow; infinite unless the disk is full. */
  roomBytes: number;
  /** Of syncs that are to fail, each once. */
  readonly failingSyncs: ((path: string) => boolean)[];
  /** Files that came to be because a process opened them in whose place another one was by then. */
  readonly litter: Set<string>;
  readonly tell: (fault: DiskFault) => void;
}

export interface SimMount extends FileSystem {
  /** The process is killed: nothing settles any more, and what was under way has happened wholly, in part or not at all. */
  release(): void;
  /** From now on what it changes is told: another process has taken its place. */
  overtake(): void;
}

const totalBytes = 1e12;

/** Does an operation; `isCutShort`: only in part, as a kill may leave it. */
type Effect<T> = (isCutShort: boolean) => T;

interface Step {
  readonly effect: Effect<unknown>;
  /** Others happen or do not happen. */
  readonly canBeCutShort: boolean;
  readonly lane: Lane | null;
  readonly resolve: (value: never) => void;
  readonly reject: (reason: unknown) => void;
  next: Step | null;
}

/** Operations of one open file, in the order in which they were begun. */
class Lane {
  /** Whichever of a file's steps is due, the oldest is done. */
  readonly due: () => void;
  #first: Step | null = null;
  #last: Step | null = null;

  constructor(take: (step: Step) => void) {
    this.due = () => {
      const step = this.#shift();
      if (step) take(step);
    };
  }

  push(step: Step): void {
    if (this.#last) this.#last.next = step;
    else this.#first = step;
    this.#last = step;
  }

  #shift(): Step | null {
    const step = this.#first;
    this.#first = step?.next ?? null;
    if (!this.#first) this.#last = null;
    return step;
  }
}

export class Mount implements SimMount {
  readonly #disk: DiskState;
  readonly #later: Later;
  /** In the order in which they were begun. */
  readonly #underWay = new Set<Step>();
  #isReleased = false;
  #isOvertaken = false;

  constructor(disk: DiskState, later: Later) {
    this.#disk = disk;
    this.#later = later;
  }

  open(path: string, mode: OpenMode): Promise<OpenFile> {
    return this.#begin(() => {
      const { names } = this.#disk;
      let file = names.file(path);
      if (!file && (mode === 'read' || mode === 'update')) throw systemError('ENOENT', path);
      if (!file) this.#noteCreated(path);
      file ??= names.create(path);
      if (mode === 'replace') resize(this.#disk, file, 0);
      return new SimFile(this.#disk, this, path, file, mode !== 'read');
    });
  }

  list(dir: string): Promise<readonly string[]> {
    return this.#begin(() => this.#disk.names.list(dir));
  }

  makeDir(path: string): Promise<void> {
    return this.#begin(() => void this.#disk.names.makeDir(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#change(() => this.#disk.names.rename(from, to));
  }

  link(from: string, to: string): Promise<void> {
    return this.#change(() => this.#disk.names.link(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#change(() => this.#disk.names.remove(path));
  }

  removeDir(path: string): Promise<void> {
    return this.#begin(() => this.#disk.names.removeDir(path));
  }

  syncDir(path: string): Promise<void> {
    const { names, mutation } = this.#disk;
    const { mark } = names;
    const sync = (): void => {
      const folder = names.folder(path);
      if (mutation.noDirSync !== true) names.sync(folder, mark);
    };
    return this.begin(null, syncMs(this.#disk.random), sync, false);
  }

  freeBytes(path: string): Promise<number> {
    return this.#begin(() => {
      this.#disk.names.folder(path);
      return Math.min(totalBytes, this.#disk.roomBytes);
    });
  }

  totalBytes(path: string): Promise<number> {
    return this.#begin(() => {
      this.#disk.names.folder(path);
      return totalBytes;
    });
  }

  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    const { random } = this.#disk;
    const ended = new Set<Lane>();
    for (const { effect, canBeCutShort, lane } of this.#underWay) {
      // Of one file, nothing happens behind what did not happen wholly.
      if (lane && ended.has(lane)) continue;
      const isWhole = random.chance(0.4);
      try {
        if (isWhole) effect(false);
        else if (canBeCutShort && random.chance(0.5)) effect(true);
      } catch (error) {
        // Nobody hears of it.
        if (errnoOf(error) === '') throw error;
      }
      if (lane && !isWhole) ended.add(lane);
    }
    this.#underWay.clear();
  }

  /** Does `effect` after `delayMs` and settles with what it gives or throws. */
  begin<T>(lane: Lane | null, delayMs: number, effect: Effect<T>, canBeCutShort: boolean): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#isReleased) return;
      const step: Step = { effect, canBeCutShort, lane, resolve, reject, next: null };
      this.#underWay.add(step);
      lane?.push(step);
      this.#later(delayMs, lane?.due ?? (() => this.#take(step)));
    });
  }

  overtake(): void {
    this.#isOvertaken = true;
  }

  tellOvertaken(what: DiskFault): void {
    if (this.#isOvertaken) this.#disk.tell(what);
  }

  #noteCreated(path: string): void {
    if (!this.#isOvertaken) return;
    this.#disk.litter.add(path);
    this.tellOvertaken('name of an overtaken coordinator');
  }

  lane(): Lane {
    return new Lane((step) => this.#take(step));
  }

  #begin<T>(effect: () => T): Promise<T> {
    return this.begin(null, quickMs(this.#disk.random), effect, false);
  }

  #change(effect: () => void): Promise<void> {
    return this.#begin(() => {
      effect();
      this.tellOvertaken('name of an overtaken coordinator');
    });
  }

  #take(step: Step): void {
    if (this.#isReleased) return;
    this.#underWay.delete(step);
    try {
      step.resolve(step.effect(false) as never);
    } catch (error) {
      step.reject(error);
    }
    this.#disk.world.touch();
  }
}

class SimFile implements OpenFile {
  readonly #disk: DiskState;
  readonly #mount: Mount;
  readonly #path: string;
  readonly #content: FileContent;
  readonly #isWritable: boolean;
  readonly #lane: Lane;
  #isClosed = false;

  constructor(disk: DiskState, mount: Mount, path: string, content: FileContent, isWritable: boolean) {
    this.#disk = disk;
    this.#mount = mount;
    this.#lane = mount.lane();
    this.#path = path;
    this.#content = content;
    this.#isWritable = isWritable;
  }

  write(pieces: readonly Uint8Array[], position: number): Promise<void> {
    if (!this.#isWritable) return this.#refuse();
    return this.#begin((isCutShort) => {
      const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
      if (!isCutShort) return this.#store(pieces, position, length);
      this.#disk.tell('write cut short by a kill');
      this.#store(pieces, position, this.#disk.random.between(0, Math.max(0, length - 1)));
    }, true);
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#begin(() => this.#content.read(into, position));
  }

  sizeBytes(): Promise<number> {
    return this.#begin(() => this.#content.size);
  }

  truncate(bytes: number): Promise<void> {
    if (!this.#isWritable) return this.#refuse();
    return this.#begin(() => {
      if (this.#disk.mutation.noTruncate?.(this.#path) !== true) resize(this.#disk, this.#content, bytes);
    });
  }

  datasync(): Promise<void> {
    const { mark } = this.#content;
    return this.#begin(() => this.#sync(mark), false, syncMs(this.#disk.random));
  }

  close(): Promise<void> {
    const closed = this.#begin(() => undefined);
    this.#isClosed = true;
    return closed;
  }

  #begin<T>(effect: Effect<T>, canBeCutShort = false, takesMs = quickMs(this.#disk.random)): Promise<T> {
    if (this.#isClosed) return this.#refuse();
    const { now } = this.#disk.world;
    const content = this.#content;
    content.busyUntil = Math.max(now + takesMs, content.busyUntil);
    return this.#mount.begin(this.#lane, content.busyUntil - now, effect, canBeCutShort);
  }

  #refuse(): Promise<never> {
    this.#disk.world.touch();
    return Promise.reject(systemError('EBADF', this.#path));
  }

  /** What fits is written before the rest is refused. */
  #store(pieces: readonly Uint8Array[], position: number, length: number): void {
    const disk = this.#disk;
    const growth = Math.max(0, position + length - Math.max(position, this.#content.size));
    const missing = Math.max(0, growth - disk.roomBytes);
    disk.roomBytes -= growth - missing;
    this.#content.write(pieces, position, length - missing);
    this.#mount.tellOvertaken('bytes of an overtaken coordinator');
    if (missing === 0) return;
    disk.tell('ENOSPC');
    throw systemError('ENOSPC', this.#path);
  }

  #sync(mark: number): void {
    const { mutation, failingSyncs, tell } = this.#disk;
    const failing = failingSyncs.findIndex((match) => match(this.#path));
    if (failing >= 0) {
      failingSyncs.splice(failing, 1);
      this.#content.failSync(mark);
      tell('EIO on sync');
      throw systemError('EIO', this.#path);
    }
    if (mutation.noDataSync?.(this.#path) !== true) this.#content.sync(mark);
  }
}

function resize(disk: DiskState, content: FileContent, bytes: number): void {
  disk.roomBytes += Math.max(0, content.size - bytes);
  content.truncate(bytes);
}

function quickMs(random: Random): number {
  const chance = random.next();
  return chance < 0.99 ? 2 * chance : (chance - 0.99) * 4_000;
}

function syncMs(random: Random): number {
  const chance = random.next();
  return chance < 0.98 ? 1 + 14.2 * chance : 15 + (chance - 0.98) * 14_000;
}
