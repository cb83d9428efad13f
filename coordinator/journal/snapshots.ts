/**
 * Takes snapshots: when the journal has grown by enough since the last one, while records are appended on. Two are kept, and
 * with the older one everything that follows it, so that a damaged snapshot costs time and nothing else.
 */
import { join } from 'node:path';
import type { Failure } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { isDiskFull } from '../../common/io/errno.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import type { ChainState } from './frame-format.ts';
import { findSnapshots, snapshotName, writeTemporary } from './snapshot-file.ts';
import { SyncFailure, synced } from './segment-files.ts';

/** What the records amount to, in bytes of which the journal knows nothing. */
export interface JournalImage {
  /** Copied now; the pieces are made while they are written. `bytes`: of all of them, roughly. */
  take(): { readonly bytes: number; readonly pieces: Iterable<Uint8Array> };
  /** What `take` gave once, whole. Called before the first record, at most once. */
  load(content: Buffer): void;
}

export interface SnapshotTaken {
  readonly sequence: number;
  readonly bytes: number;
  /** Milliseconds that copying held up the event loop, and all of it. */
  readonly copyMs: number;
  readonly totalMs: number;
  readonly segmentsRemoved: number;
}

export interface SnapshotsOptions {
  readonly fileSystem: FileSystem;
  readonly dir: string;
  readonly image: JournalImage;
  /** Growth of the journal between two snapshots. */
  readonly intervalBytes: number;
  /** Room that the journal itself must still have when a snapshot is written. */
  readonly reserveBytes: number;
  /** Sequences of those that are there and not known to be damaged, the newest first. */
  readonly kept: readonly number[];
  readonly monotonic: () => number;
  /** Where the journal stands; the next record begins a segment. */
  readonly cut: () => ChainState;
  /** Resolves when everything up to `sequence` is on the disk; false when it never will be. */
  readonly durable: (sequence: number) => Promise<boolean>;
  readonly removeSegments: (sequence: number) => Promise<number>;
  /** `state`: where the journal stood. */
  readonly onTaken: (taken: SnapshotTaken, state: ChainState) => void;
  /** There was no room (DISK_FULL); it is tried again. */
  readonly onRefused: (failure: Failure) => void;
  /** What is on the disk is unknown. */
  readonly onFatal: (error: unknown) => void;
}

export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #stop = new AbortController();
  #kept: readonly number[];
  #taking: Promise<void> | null = null;
  /** Journal bytes since the last snapshot, or since the last one that was refused. */
  #grownBytes: number;
  #wantedBytes: number;

  /** `grownBytes`: what a start had to replay. */
  constructor(options: SnapshotsOptions, grownBytes: number) {
    this.#options = options;
    this.#kept = options.kept;
    this.#grownBytes = grownBytes;
    this.#wantedBytes = options.intervalBytes;
  }

  /** The journal has grown; takes a snapshot when it is time. The caller's records are all in the image. */
  grown(bytes: number, isStalled: boolean): void {
    this.#grownBytes += bytes;
    if (this.#taking !== null || isStalled || this.#stop.signal.aborted || this.#grownBytes < this.#wantedBytes) return;
    this.#taking = this.#take()
      .catch((error: unknown) => this.#options.onFatal(error))
      .finally(() => (this.#taking = null));
  }

  /** Sequences of those that are there, the newest first. */
  get kept(): readonly number[] {
    return this.#kept;
  }

  /** Journal bytes since the last one. */
  get grownBytes(): number {
    return this.#grownBytes;
  }

  /** Gives up what is under way. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#taking;
  }

  async #take(): Promise<void> {
    const { image, cut, fileSystem, dir, durable, monotonic } = this.#options;
    const begin = monotonic();
    const state = cut();
    const { bytes: expected, pieces } = image.take();
    const copyMs = monotonic() - begin;
    this.#grownBytes = 0;
    const free = await fileSystem.freeBytes(dir);
    if (free < expected + this.#options.reserveBytes) return this.#refuse(expected, free);
    try {
      const written = await this.#write(state, pieces);
      if (!written) return;
      const { path, bytes } = written;
      if (!(await durable(state.sequence)) || this.#stop.signal.aborted) return await fileSystem.remove(path);
      await fileSystem.rename(path, join(dir, snapshotName(state.sequence)));
      await synced(() => fileSystem.syncDir(dir));
      // A large snapshot is taken less often: writing them costs at most twice what the journal itself does.
      this.#wantedBytes = Math.max(this.#options.intervalBytes, bytes / 2);
      const segmentsRemoved = await this.#prune(state.sequence);
      const totalMs = monotonic() - begin;
      this.#options.onTaken({ sequence: state.sequence, bytes, copyMs, totalMs, segmentsRemoved }, state);
    } catch (error) {
      await this.#dropTemporary(state);
      if (error instanceof SyncFailure || !isDiskFull(error)) throw error;
      this.#refuse(expected, await fileSystem.freeBytes(dir));
    }
  }

  async #write(
    state: ChainState,
    pieces: Iterable<Uint8Array>,
  ): Promise<{ readonly path: string; readonly bytes: number } | null> {
    const { fileSystem, dir } = this.#options;
    const written = await writeTemporary({ fileSystem, dir }, state, pieces, this.#stop.signal);
    if (written === null) await this.#dropTemporary(state);
    return written;
  }

  async #dropTemporary({ sequence }: ChainState): Promise<void> {
    await this.#options.fileSystem.remove(join(this.#options.dir, `${snapshotName(sequence)}.tmp`));
  }

  /** Snapshots but the newest two, and the segments that lie wholly before the older one. Returns the segments removed. */
  async #prune(newest: number): Promise<number> {
    const { fileSystem, dir } = this.#options;
    const older = this.#kept[0];
    this.#kept = older === undefined ? [newest] : [newest, older];
    for (const sequence of findSnapshots(await fileSystem.list(dir)).sequences) {
      if (!this.#kept.includes(sequence)) await fileSystem.remove(join(dir, snapshotName(sequence)));
    }
    return older === undefined ? 0 : await this.#options.removeSegments(older);
  }

  #refuse(expected: number, free: number): void {
    this.#wantedBytes = Math.min(limits.journalSnapshotRetryBytes, this.#options.intervalBytes);
    this.#options.onRefused({
      code: 'DISK_FULL',
      message:
        `a snapshot of the journal in ${this.#options.dir} needs about ${expected} bytes and ` +
        `${this.#options.reserveBytes} in reserve, ${free} are free; it is tried again. Until then a restart takes longer`,
      detail: '',
    });
  }
}
