/**
 * Snapshots of the simulated journal: written, synced, renamed and made durable step by step as the real ones are, with
 * everything that a crash may do to each step. The image and its bytes are the real ones. Its chances are drawn from a
 * source of its own, so that a seed plays the same game with and without snapshots.
 */
import type { DurableEvent } from '../../coordinator/core/events.ts';
import { evolve } from '../../coordinator/core/evolve.ts';
import { newLedger, type Ledger } from '../../coordinator/core/ledger.ts';
import { imageOf, restoreImage } from '../../coordinator/core/ledger-image.ts';
import { decodeImage, encodeImage } from '../../coordinator/journal/image-bytes.ts';
import { Random } from './world.ts';

export interface SnapshotMutation {
  /** A snapshot gets its name before the records that it holds are on the disk. */
  readonly noSnapshotWait?: boolean;
  /** Names of snapshots are never made durable. */
  readonly noSnapshotDirSync?: boolean;
  /** Segments go as soon as the newest snapshot holds them. */
  readonly noSecondSnapshot?: boolean;
}

interface SimSnapshot {
  readonly sequence: number;
  readonly bytes: Buffer;
  isSynced: boolean;
  isNamed: boolean;
  isNameDurable: boolean;
  isDamaged: boolean;
}

/** What does a step later, unless the process is killed before. */
export type Later = (delayMs: number, what: () => void) => void;

const step = { write: 1, rename: 2, syncDir: 3 } as const;
const heartbeatMs = 5_000;

export class SimSnapshots {
  readonly faults: string[] = [];
  /** Called when one is begun. */
  onBegin: () => void = () => undefined;
  taken = 0;
  loaded = 0;
  fellBack = 0;
  readonly #random: Random;
  readonly #mutation: SnapshotMutation;
  readonly #everyRecords: number;
  #files: SimSnapshot[] = [];
  /** Records up to this one are in no segment any more. */
  #removedUpTo = 0;
  #isTaking = false;
  #lastAt = 0;
  /** Whole ones that must be there, at most two: one of two may be damaged, and nothing is lost. */
  #wholeWanted = 0;
  readonly #stagingBytesMax: number;

  constructor(seed: number, stagingBytesMax: number, mutation: SnapshotMutation) {
    this.#stagingBytesMax = stagingBytesMax;
    this.#random = new Random(seed ^ 0x5eed);
    this.#mutation = mutation;
    this.#everyRecords = this.#random.pick([3, 8, 40, 100_000]);
  }

  /** After a sync of the journal, as in the real one: `unsynced` are records that this process has and the disk has not. */
  look(ledger: Ledger, journal: readonly DurableEvent[], unsynced: readonly DurableEvent[], later: Later): void {
    const sequence = journal.length + unsynced.length;
    if (this.#isTaking || sequence - this.#lastAt < this.#everyRecords) return;
    this.#isTaking = true;
    this.#lastAt = sequence;
    this.taken += 1;
    this.onBegin();
    const bytes = bytesOf(ledger);
    const replayed = bytesOf(this.#replayOf([...journal, ...unsynced]));
    if (!bytes.equals(replayed)) this.faults.push(difference(`the image at record ${sequence}`, bytes, replayed));
    const state = { isSynced: false, isNamed: false, isNameDurable: false, isDamaged: false };
    this.#files.push({ sequence, bytes, ...state });
    const file = this.#files.at(-1) as SimSnapshot;
    // Records that come later are no reason to wait, those in the image are.
    const isDurable = (): boolean => journal.length >= sequence || this.#mutation.noSnapshotWait === true;
    const advance = (next: number): void =>
      later(this.#random.pick([0, 1, 5, 40]), () => {
        if (next === step.write) file.isSynced = true;
        else if (next === step.rename && !isDurable()) return advance(next);
        else if (next === step.rename) file.isNamed = true;
        else return this.#finish(file);
        advance(next + 1);
      });
    advance(step.write);
  }

  /** What was not synced may be lost or torn, a name that was not made durable may be lost, and now and then a bit flips. */
  crash(): void {
    this.#isTaking = false;
    for (const file of this.#files) {
      if (!file.isSynced && this.#random.chance(0.7)) file.isDamaged = true;
      if (!file.isNameDurable) file.isNamed = file.isNamed && this.#random.chance(0.5);
    }
    // What a rename that was lost leaves is a temporary file, which the next start removes.
    this.#files = this.#files.filter((file) => file.isNamed);
    for (const file of this.#files) file.isNameDurable = true;
    const newest = this.#files.at(-1);
    if (newest && this.#wholeWanted === 2 && this.#random.chance(0.3)) {
      newest.isDamaged = true;
      this.#wholeWanted = 1;
    }
  }

  /** The ledger of a start: the newest whole snapshot and the records behind it. */
  recover(journal: readonly DurableEvent[]): Ledger {
    const newest = this.#files.at(-1);
    const file = this.#files.findLast(({ isDamaged }) => !isDamaged);
    if (newest?.isDamaged === true) this.fellBack += 1;
    this.#files = this.#files.filter(({ isDamaged }) => !isDamaged);
    this.#lastAt = file?.sequence ?? 0;
    if (!file) {
      if (this.#removedUpTo > 0)
        this.faults.push(`records up to ${this.#removedUpTo} are gone, and no snapshot holds them`);
      return this.#replayOf(journal);
    }
    if (file.sequence > journal.length) {
      this.faults.push(`a snapshot holds ${file.sequence} records, the journal has ${journal.length}`);
      return this.#replayOf(journal);
    }
    if (file.sequence < this.#removedUpTo) this.faults.push('segments behind a snapshot are gone');
    this.loaded += 1;
    const ledger = this.#newLedger();
    restoreImage(ledger, decodeImage(Buffer.from(file.bytes)));
    for (const event of journal.slice(file.sequence)) evolve(ledger, event);
    const [a, b] = [bytesOf(ledger), bytesOf(this.#replayOf(journal))];
    if (!a.equals(b)) this.faults.push(difference(`a start from snapshot ${file.sequence}`, a, b));
    return ledger;
  }

  #newLedger(): Ledger {
    return newLedger({ heartbeatMs, stagingBytesMax: this.#stagingBytesMax });
  }

  #replayOf(events: readonly DurableEvent[]): Ledger {
    const ledger = this.#newLedger();
    for (const event of events) evolve(ledger, event);
    return ledger;
  }

  /** In the order of the real one: the name is durable, snapshots but two go, segments before the older one go. */
  #finish(file: SimSnapshot): void {
    this.#isTaking = false;
    this.#wholeWanted = Math.min(2, this.#wholeWanted + 1);
    file.isNameDurable = !this.#mutation.noSnapshotDirSync;
    this.#files = this.#files.slice(-2);
    const older = this.#mutation.noSecondSnapshot ? file : this.#files.at(-2);
    if (this.#mutation.noSecondSnapshot) this.#files = [file];
    this.#removedUpTo = Math.max(this.#removedUpTo, older?.sequence ?? 0);
  }
}

/** Of the image, as a snapshot has them. */
export function bytesOf(ledger: Ledger): Buffer {
  return Buffer.concat([...encodeImage(imageOf(ledger))]);
}

function difference(what: string, found: Buffer, wanted: Buffer): string {
  let at = 0;
  while (found[at] === wanted[at]) at += 1;
  const part = (bytes: Buffer): string => bytes.toString('latin1', Math.max(0, at - 80), at + 80);
  return `${what} differs at byte ${at}: ${part(found)} instead of ${part(wanted)}`;
}
