/**
 * The content of one simulated file: what readers see, and what of it the disk has for certain. A write costs one copy: only
 * what it replaces is set aside, so that a sync has nothing to do but forget it, and a power cut can take back and replay.
 */
import type { Random } from './world.ts';

export type DiskFault =
  | 'lost write'
  | 'torn write'
  | 'undone truncation'
  | 'lost name'
  | 'lost folder'
  | 'lost removal'
  | 'rename without its folder sync'
  | 'EIO on sync'
  | 'ENOSPC'
  | 'bit flipped'
  | 'write cut short by a kill'
  | 'bytes of an overtaken coordinator'
  | 'name of an overtaken coordinator';

/** Counts a fault that has happened. */
export type Tell = (fault: DiskFault) => void;

/** What a disk writes wholly or not at all, if pages reach it out of order. */
const sectorBytes = 512;

interface Change {
  readonly number: number;
  readonly kind: 'write' | 'truncate';
  readonly at: number;
  /** Of a write: behind its last byte. */
  readonly end: number;
  readonly sizeBefore: number;
  /** Bytes from `at` on that were replaced or cut off; null for none. */
  readonly before: Uint8Array | null;
  /** `abandoned`: a sync failed, and no later one looks at it again. `synced` only while an abandoned one is there. */
  state: 'open' | 'synced' | 'abandoned';
}

export class FileContent {
  size = 0;
  /** Names that it has now. */
  links = 0;
  /** Virtual time until which its operations so far take. */
  busyUntil = 0;
  #bytes: Buffer = Buffer.alloc(0);
  /** Not on the disk for certain, the oldest first. */
  #changes: Change[] = [];
  #lastNumber = 0;

  /** Of the last change: a sync that begins now covers what has come so far. */
  get mark(): number {
    return this.#lastNumber;
  }

  /** The first `length` bytes of `pieces`, from `at` on. */
  write(pieces: readonly Uint8Array[], at: number, length: number): void {
    if (length === 0) return;
    const end = at + length;
    this.#note('write', at, end, at < this.size ? this.#copy(at, Math.min(end, this.size)) : null);
    this.#extend(at, end);
    let offset = at;
    for (const piece of pieces) {
      const part = offset + piece.length > end ? piece.subarray(0, end - offset) : piece;
      this.#bytes.set(part, offset);
      offset += part.length;
    }
  }

  truncate(to: number): void {
    if (to === this.size) return;
    this.#note('truncate', to, to, to < this.size ? this.#copy(to, this.size) : null);
    this.#resize(to);
  }

  read(into: Uint8Array, at: number): number {
    if (at >= this.size) return 0;
    const end = Math.min(this.size, at + into.length);
    into.set(this.#bytes.subarray(at, end));
    return end - at;
  }

  copy(): Buffer {
    return this.#copy(0, this.size);
  }

  /** Everything up to `mark` is on the disk, except what an earlier sync gave up. */
  sync(mark: number): void {
    const changes = this.#changes;
    const last = changes.at(-1);
    if (!last) return;
    if (last.number <= mark && changes.every(({ state }) => state === 'open')) {
      this.#changes = [];
      return;
    }
    for (const change of changes) if (change.number <= mark && change.state === 'open') change.state = 'synced';
    const open = changes.findIndex(({ state }) => state !== 'synced');
    changes.splice(0, open < 0 ? changes.length : open);
  }

  /** The pages are marked clean though they were not written: no later sync makes them durable. */
  failSync(mark: number): void {
    for (const change of this.#changes)
      if (change.number <= mark && change.state === 'open') change.state = 'abandoned';
  }

  powerCut(random: Random, tell: Tell): void {
    const changes = this.#changes;
    this.busyUntil = 0;
    if (changes.length === 0) return;
    this.#changes = [];
    const written = this.#takeBack(changes);
    // Often enough all of it or nothing: what a quick and a slow cut leave.
    const mood = random.next();
    for (const [index, change] of changes.entries()) {
      const bytes = written[index] as Uint8Array;
      const fate = change.state === 'synced' || mood < 0.15 ? 1 : mood < 0.3 ? 0 : random.next();
      if (change.kind === 'truncate') {
        if (fate >= 0.5) this.#resize(change.at);
        else tell('undone truncation');
      } else if (fate >= 0.65) this.#put(bytes, change.at);
      else if (fate < 0.35 || bytes.length < 2) tell('lost write');
      else {
        tell('torn write');
        this.#tear(bytes, change.at, random);
      }
    }
  }

  /** Flips a bit that is on the disk and that readers see. Returns its byte's offset; null when none was found. */
  flipBit(random: Random): number | null {
    for (let tries = 0; tries < 40 && this.size > 0; tries += 1) {
      const offset = random.between(0, this.size - 1);
      const isOpen = this.#changes.some(({ kind, at, end, sizeBefore }) =>
        kind === 'write' ? offset >= Math.min(at, sizeBefore) && offset < end : offset >= Math.min(at, sizeBefore),
      );
      if (isOpen) continue;
      this.#bytes[offset] = (this.#bytes[offset] as number) ^ (1 << random.between(0, 7));
      return offset;
    }
    return null;
  }

  #note(kind: Change['kind'], at: number, end: number, before: Uint8Array | null): void {
    this.#lastNumber += 1;
    this.#changes.push({ number: this.#lastNumber, kind, at, end, sizeBefore: this.size, before, state: 'open' });
  }

  /** Undoes all changes and returns what each had written. */
  #takeBack(changes: readonly Change[]): Uint8Array[] {
    const written: Uint8Array[] = [];
    for (const { at, end, sizeBefore, before } of [...changes].reverse()) {
      written.push(this.#copy(at, end));
      if (before) this.#bytes.set(before, at);
      this.size = sizeBefore;
    }
    return written.reverse();
  }

  /** Some of the bytes arrive; with those behind them the file's size may have grown, and zeros stand there. */
  #tear(bytes: Uint8Array, at: number, random: Random): void {
    const end = at + bytes.length;
    const grows = end > this.size;
    const firstSector = Math.floor(at / sectorBytes);
    const sectors = Math.floor((end - 1) / sectorBytes) - firstSector + 1;
    let arrived = 0;
    if (sectors === 1 || random.chance(0.5)) {
      arrived = random.between(grows ? 0 : 1, bytes.length - 1);
      if (arrived > 0) this.#put(bytes.subarray(0, arrived), at);
    } else {
      const [kept, lost] = [random.between(1, sectors - 1), random.between(0, sectors - 1)];
      for (let index = 0; index < sectors; index += 1) {
        const turn = (index + sectors - lost) % sectors;
        if (turn === 0 || (turn !== kept && random.chance(0.5))) continue;
        const from = Math.max(at, (firstSector + index) * sectorBytes);
        const to = Math.min(end, (firstSector + index + 1) * sectorBytes);
        this.#put(bytes.subarray(from - at, to - at), from);
        arrived += to - from;
      }
    }
    // Nothing at all would not be torn.
    if (arrived === 0 || random.chance(0.5)) this.#extend(end, end);
  }

  #put(bytes: Uint8Array, at: number): void {
    this.#extend(at, at + bytes.length);
    this.#bytes.set(bytes, at);
  }

  #resize(to: number): void {
    this.#extend(to, to);
    this.size = to;
  }

  /** Room for bytes from `at` to `end`; between the end of the file and `at` stand zeros. */
  #extend(at: number, end: number): void {
    if (end > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(end, this.#bytes.length * 2, 256));
      grown.set(this.#bytes.subarray(0, this.size));
      this.#bytes = grown;
    }
    if (at > this.size) this.#bytes.fill(0, this.size, at);
    if (end > this.size) this.size = end;
  }

  #copy(from: number, to: number): Buffer {
    const copy = Buffer.allocUnsafe(to - from);
    copy.set(this.#bytes.subarray(from, to));
    return copy;
  }
}
