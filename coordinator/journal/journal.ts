/**
 * The durable events of a coordinator. Records are appended at once and acknowledged, in order, when they are on the disk: one
 * write and one sync are under way at a time and take all that has gathered meanwhile.
 *
 * States: open → (stalled ⇄ open) → closed, or → dead after a failure that leaves the disk's content unknown.
 */
import { join } from 'node:path';
import { BatchError, type Failure } from '../../common/core/batch-error.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { delay, type Delay } from '../../common/io/delay.ts';
import { errnoOf, isDiskFull } from '../../common/io/errno.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { LockIdentity } from '../../common/io/lock-file.ts';
import { lifeOf, ownIdentity } from '../../common/io/process-identity.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { JournalStream } from '../../common/ports/journal-stream.ts';
import type { ChainState } from './frame-format.ts';
import { GroupQueue, type Group } from './group-queue.ts';
import { systemClock, type Clock } from '../../common/io/clock.ts';
import { replay, type Recovered, type Recovery } from './recovery.ts';
import { Reserve } from './reserve.ts';
import { journalFailure, SegmentFiles, SyncFailure } from './segment-files.ts';
import { Snapshots, type JournalImage, type SnapshotTaken } from './snapshots.ts';
import { StateLock } from './state-lock.ts';
import { caughtUp } from './stream/catch-up.ts';
import { SnapshotMirror } from './stream/mirror-snapshots.ts';
import { replayAligned } from './stream/replay-aligned.ts';
import type { StreamWriter } from './stream/stream-writer.ts';

export interface JournalOptions {
  /** The state directory: the lock lies in it, the segments in its folder `journal`. */
  readonly dir: string;
  /** Called while {@link Journal.open} replays. What it throws ends the opening. */
  readonly onRecord: (record: unknown, sequence: number) => void;
  /** Everything up to `sequence` is on the disk. */
  readonly onSynced: (sequence: number) => void;
  /** The disk is full (DISK_FULL), or (null) has room again. */
  readonly onStall: (failure: Failure | null) => void;
  /** Nothing more will be written; the process must end and start anew. Called once. */
  readonly onFatal: (error: BatchError) => void;
  /** A group is on the disk. */
  readonly onWritten?: (written: JournalWrite) => void;
  /** What the records amount to; without it no snapshots are taken, and none are read. */
  readonly image?: JournalImage | null;
  readonly onSnapshot?: (taken: SnapshotTaken) => void;
  /** A snapshot found no room (DISK_FULL); it is tried again, and nothing waits for it. */
  readonly onSnapshotRefused?: (failure: Failure) => void;
  readonly fileSystem?: FileSystem;
  readonly delay?: Delay;
  readonly sizes?: JournalSizes;
  /** Who holds the lock. */
  readonly identity?: LockIdentity;
  /** Where the records are kept as well, off this machine; nothing is acknowledged before it is there too. */
  readonly stream?: JournalStream | null;
  /** With a stream: resolves when this process is to lead; until then it follows. Absent: it is. */
  readonly untilLeading?: (() => Promise<void>) | null;
  /** Asked before anything is appended there: @throws NOT_LEADING once another process may have its turn. */
  readonly requireLeading?: (() => void) | null;
  /** The stream takes nothing (JOURNAL_STREAM_STALLED), or (null) does again. */
  readonly onStreamStall?: (failure: Failure | null) => void;
  /** For durations that are told. */
  readonly clock?: Clock;
}

/** One write with its sync. */
export interface JournalWrite {
  readonly seconds: number;
  readonly bytes: number;
  readonly records: number;
}

export interface JournalSizes {
  readonly segmentBytes: number;
  readonly groupBytesMax: number;
  readonly reserveBytes: number;
  /** Growth between two snapshots. */
  readonly snapshotBytes?: number;
}

const defaultSizes: JournalSizes = {
  segmentBytes: limits.journalSegmentBytes,
  groupBytesMax: limits.journalGroupBytesMax,
  reserveBytes: limits.journalReserveBytes,
};

interface DurableWaiter {
  readonly sequence: number;
  readonly resolve: (isDurable: boolean) => void;
}

export class Journal {
  readonly recovery: Recovery;
  readonly #options: Required<JournalOptions>;
  readonly #journalDir: string;
  readonly #lock: StateLock;
  readonly #reserve: Reserve;
  readonly #queue: GroupQueue;
  readonly #segments: SegmentFiles;
  readonly #snapshots: Snapshots | null;
  /** Null: this disk is the only copy. */
  readonly #writer: StreamWriter | null;
  readonly #mirror: SnapshotMirror | null;
  /** Message behind each record that a snapshot ends with. */
  readonly #places = new Map<number, number>();
  #durableWaiters: DurableWaiter[] = [];
  readonly #stop = new AbortController();
  #syncedSequence: number;
  #draining: Promise<void> | null = null;
  #isStalled = false;
  #isClosed = false;
  /** Nothing is written any more: after a fatal failure, or closed while the disk was full. */
  #isDead = false;
  #hasFailed = false;

  private constructor(
    options: Required<JournalOptions>,
    lock: StateLock,
    reserve: Reserve,
    recovered: Recovered,
    segments: SegmentFiles,
    writer: StreamWriter | null,
  ) {
    const { sizes } = options;
    this.#options = options;
    this.#journalDir = join(options.dir, 'journal');
    this.#lock = lock;
    this.#reserve = reserve;
    this.recovery = recovered.recovery;
    this.#syncedSequence = recovered.state.sequence;
    this.#queue = new GroupQueue(sizes.groupBytesMax, recovered.state);
    this.#segments = segments;
    this.#writer = writer;
    this.#mirror = this.#openMirror();
    this.#snapshots = this.#openSnapshots(recovered);
  }

  #openSnapshots(recovered: Recovered): Snapshots | null {
    const { fileSystem, sizes, image, onSnapshot, onSnapshotRefused } = this.#options;
    if (image === null) return null;
    const options = {
      fileSystem,
      dir: this.#journalDir,
      image,
      intervalBytes: sizes.snapshotBytes ?? limits.journalSnapshotBytes,
      reserveBytes: sizes.reserveBytes,
      kept: recovered.snapshots,
      monotonic: () => this.#options.clock.monotonic(),
      cut: () => this.#queue.cut(),
      durable: (sequence: number) => this.#durable(sequence),
      removeSegments: (sequence: number) => this.#segments.removeUpTo(sequence),
      onTaken: (taken: SnapshotTaken, state: ChainState) => {
        onSnapshot(taken);
        const { place = 0 } = this.#writer ?? {};
        this.#mirror?.add(state, this.#places.get(state.sequence) ?? place + 1);
        this.#places.clear();
      },
      onRefused: onSnapshotRefused,
      onFatal: (error: unknown) => this.#die(error),
    };
    return new Snapshots(options, recovered.replayedBytes);
  }

  #openMirror(): SnapshotMirror | null {
    const { stream, fileSystem, onSnapshotRefused } = this.#options;
    return stream && new SnapshotMirror({ stream, fileSystem, dir: this.#journalDir, onRefused: onSnapshotRefused });
  }

  #durable(sequence: number): Promise<boolean> {
    if (sequence <= this.#syncedSequence) return Promise.resolve(true);
    if (this.#isDead || this.#isClosed) return Promise.resolve(false);
    return new Promise((resolve) => this.#durableWaiters.push({ sequence, resolve }));
  }

  /** Whoever waits hears when its records are on the disk, or that they will not be. */
  #tellDurable(isOver: boolean): void {
    const due = this.#durableWaiters.filter(({ sequence }) => isOver || sequence <= this.#syncedSequence);
    this.#durableWaiters = this.#durableWaiters.filter((waiter) => !due.includes(waiter));
    for (const { sequence, resolve } of due) resolve(sequence <= this.#syncedSequence);
  }

  /**
   * Locks the state directory and replays what stands in it.
   * @throws STATE_LOCKED, STATE_UNWRITABLE, JOURNAL_CORRUPT, JOURNAL_VERSION
   */
  static async open(given: JournalOptions): Promise<Journal> {
    const ignore = (): void => undefined;
    const identity = given.identity ?? { self: ownIdentity(), lifeOf };
    const clock = systemClock;
    const defaults = {
      fileSystem: nodeFileSystem,
      delay,
      sizes: defaultSizes,
      image: null,
      stream: null,
      untilLeading: null,
      requireLeading: null,
      clock,
    };
    const options = {
      ...defaults,
      onSnapshot: ignore,
      onSnapshotRefused: ignore,
      onWritten: ignore,
      onStreamStall: ignore,
      ...given,
      identity,
    };
    const journalDir = join(options.dir, 'journal');
    const lock = await lockDir(options, journalDir);
    try {
      const { stream, sizes } = options;
      const onImage = options.image && ((content: Buffer) => options.image?.load(content));
      const here = { ...options, dir: journalDir, onImage };
      const [replayed, aligned] = stream
        ? await replayAligned({ ...here, stream, isLeading: options.untilLeading === null })
        : [await replay(here), null];
      const segments = new SegmentFiles(options.fileSystem, journalDir, options.sizes.segmentBytes, replayed);
      const followed = { ...options, groupBytesMax: sizes.groupBytesMax, onStall: options.onStreamStall };
      const [recovered, writer] =
        stream && aligned
          ? await caughtUp({ ...followed, stream, aligned, dir: journalDir, segments, replayed })
          : [replayed, null];
      const reserve = new Reserve(options.fileSystem, join(journalDir, 'reserve'), options.sizes.reserveBytes);
      const journal = new Journal(options, lock, reserve, recovered, segments, writer);
      if (!(await reserve.take())) journal.#kick();
      return journal;
    } catch (error) {
      await lock.close();
      throw errnoOf(error) === '' || error instanceof BatchError ? error : journalFailure(journalDir, error);
    }
  }

  /** Of the last record that is on the disk; 0 before the first. */
  get syncedSequence(): number {
    return this.#syncedSequence;
  }

  /** Appended and not on the disk yet. */
  get pendingBytes(): number {
    return this.#queue.bytes;
  }

  /**
   * One more than the last epoch in the journal. It is durable once a record that was appended afterwards is: append one, and
   * wait for it, before anything is granted in its name.
   */
  beginEpoch(): number {
    return this.#queue.beginEpoch();
  }

  /** Returns the record's sequence at once; it is durable when onSynced has come to it. */
  append(record: unknown): number {
    invariant(!this.#isClosed, 'nothing is appended to a journal that is closed');
    const sequence = this.#queue.add(record);
    this.#kick();
    return sequence;
  }

  /** Writes what is pending, unless the disk is full, and gives the state directory back. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stop.abort();
    while (this.#draining !== null) await this.#draining;
    this.#tellDurable(true);
    await this.#snapshots?.close();
    await this.#mirror?.close();
    await this.#segments.close();
    await this.#lock.close();
  }

  /** After everything that this turn of the event loop brings: records of many callers then share one sync. */
  #kick(): void {
    if (this.#draining !== null || this.#isDead) return;
    this.#draining = new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => this.#drain())
      .catch((error: unknown) => this.#die(error))
      .finally(() => {
        this.#draining = null;
        if (!this.#queue.isEmpty) this.#kick();
      });
  }

  async #drain(): Promise<void> {
    if (!this.#reserve.isHeld) await this.#stall();
    for (let group = this.#queue.take(); group; group = this.#queue.take()) {
      const begin = this.#options.clock.monotonic();
      const both = [this.#write(group), this.#publish(group)] as const;
      // One that fails leaves the other under way.
      await Promise.allSettled(both);
      const [isWritten, isPublished] = await Promise.all(both);
      if (!isWritten || !isPublished || this.#hasFailed) return;
      this.#options.onWritten?.({
        seconds: (this.#options.clock.monotonic() - begin) / 1_000,
        bytes: group.usedBytes,
        records: group.lastSequence - group.firstSequence + 1,
      });
      this.#syncedSequence = group.lastSequence;
      this.#queue.release(group);
      this.#options.onSynced(group.lastSequence);
      this.#tellDurable(false);
      this.#snapshots?.grown(group.usedBytes, this.#isStalled);
    }
    if (this.#isStalled) await this.#recoverReserve();
  }

  /** False when the journal was closed while the disk was full. */
  async #write(group: Group): Promise<boolean> {
    for (;;) {
      try {
        await this.#segments.append(group);
        return true;
      } catch (error) {
        if (error instanceof SyncFailure || !isDiskFull(error)) throw error;
      }
      await this.#stall();
      if (this.#reserve.isHeld) await this.#reserve.release();
      else if (this.#stop.signal.aborted) return this.#abandon();
      else await this.#options.delay(limits.diskFullRetryMs, this.#stop.signal);
    }
  }

  async #publish(group: Group): Promise<boolean> {
    if (this.#writer === null) return true;
    if (group.startsSegment) this.#places.set(group.firstSequence - 1, this.#writer.place + 1);
    const isThere = await this.#writer.append(group.buffer.subarray(0, group.usedBytes), this.#stop.signal);
    return isThere || this.#abandon();
  }

  #abandon(): false {
    this.#isDead = true;
    return false;
  }

  async #stall(): Promise<void> {
    if (this.#isStalled) return;
    this.#isStalled = true;
    const free = await this.#options.fileSystem.freeBytes(this.#journalDir);
    this.#options.onStall({
      code: 'DISK_FULL',
      message:
        `the journal in ${this.#journalDir} needs ${this.#options.sizes.reserveBytes} bytes in reserve, ` +
        `${free} are free; make room, it goes on by itself`,
      detail: '',
    });
  }

  /** With the reserve back, the next full disk can be recorded again: only then is the stall over. */
  async #recoverReserve(): Promise<void> {
    while (!(await this.#reserve.take())) {
      if (this.#stop.signal.aborted) return;
      await this.#options.delay(limits.diskFullRetryMs, this.#stop.signal);
      if (!this.#queue.isEmpty) return;
    }
    this.#isStalled = false;
    this.#options.onStall(null);
  }

  /** What is not the disk's failure is a programmer's, or came out of a callback: it ends the process by itself. */
  #die(error: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#isDead = true;
    this.#tellDurable(true);
    if (!(error instanceof SyncFailure || error instanceof BatchError) && errnoOf(error) === '') throw error;
    this.#stop.abort();
    this.#options.onFatal(journalFailure(this.#journalDir, error));
  }
}

async function lockDir(options: Required<JournalOptions>, journalDir: string): Promise<StateLock> {
  try {
    await options.fileSystem.makeDir(journalDir);
    await options.fileSystem.syncDir(options.dir);
    return await StateLock.acquire(options.dir, options.fileSystem, options.identity);
  } catch (error) {
    throw journalFailure(options.dir, error);
  }
}
