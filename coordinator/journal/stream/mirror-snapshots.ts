/**
 * Brings snapshots of the journal beside its stream, one after the other, and trims what they make dispensable: two are kept, and of
 * the messages those behind the older one.
 */
import { toBatchError, type Failure } from '../../../common/core/batch-error.ts';
import type { FileSystem } from '../../../common/ports/file-system.ts';
import type { JournalStream, StreamSnapshot } from '../../../common/ports/journal-stream.ts';
import type { ChainState } from '../frame-format.ts';
import { wholePieces } from '../snapshot-file.ts';

export interface MirrorOptions {
  readonly stream: JournalStream;
  readonly fileSystem: FileSystem;
  /** Of the snapshots on this disk. */
  readonly dir: string;
  /** It is not there, and the stream was not trimmed; the next one makes up for it. */
  readonly onRefused: (failure: Failure) => void;
}

export class SnapshotMirror {
  readonly #options: MirrorOptions;
  readonly #stop = new AbortController();
  #last: Promise<void> = Promise.resolve();

  constructor(options: MirrorOptions) {
    this.#options = options;
  }

  /** The snapshot at `state` has its name on this disk; `place`: of the message behind it. */
  add(state: ChainState, place: number): void {
    const { onRefused } = this.#options;
    this.#last = this.#last.then(async () => {
      if (this.#stop.signal.aborted) return;
      await this.#bring({ ...state, place }).catch((error: unknown) => {
        if (!this.#stop.signal.aborted) onRefused(toBatchError(error).toFailure());
      });
    });
  }

  /** Gives up what is under way. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#last;
  }

  async #bring(snapshot: StreamSnapshot): Promise<void> {
    const { stream } = this.#options;
    // Nothing is trimmed for the sake of one that nobody could begin with.
    await stream.putSnapshot(snapshot, wholePieces(this.#options, snapshot.sequence, this.#stop.signal));
    const [, older, ...others] = await stream.snapshots();
    if (older) await stream.trim(older.place);
    for (const one of others) await stream.removeSnapshot(one);
  }
}
