/** A stream of messages outside of this machine that a journal is kept in as well: appended to by one at a time, read by all. */

/** What became of a message that was to follow the message at a certain place. */
export type Published =
  | { readonly kind: 'stored'; readonly place: number }
  /** The stream ends elsewhere; the message is not in it by this try. */
  | { readonly kind: 'refused' }
  /** No answer, or no leader: the message may be in the stream, or may still get there. `reason`: for people. */
  | { readonly kind: 'unknown'; readonly reason: string };

export interface StreamMessage {
  /** From 1; without a gap. */
  readonly place: number;
  readonly bytes: Uint8Array;
}

export interface StreamEnds {
  /** Place of the oldest message that is there, one more than `last` without any. */
  readonly first: number;
  /** Of the newest one that was ever there; 0 before the first. */
  readonly last: number;
}

/** A snapshot of the journal that is kept beside the stream. */
export interface StreamSnapshot {
  /** Of the last record that it holds, with that record's epoch and checksum. */
  readonly sequence: number;
  readonly epoch: number;
  readonly chain: number;
  /** Message with the record behind it. */
  readonly place: number;
}

/** Every call but {@link publish} rejects with JOURNAL_STREAM_UNREACHABLE when there is no answer. */
export interface JournalStream {
  /** As whoever leads the stream has it, never an older view. */
  ends(): Promise<StreamEnds>;
  /** Stores the message when the stream ends at `after`, and not otherwise. Never rejects. */
  publish(bytes: Uint8Array, after: number): Promise<Published>;
  /** Null: there is none, or none any more. */
  get(place: number): Promise<Uint8Array | null>;
  /** From `place` on, and on as they come, until the signal is given. */
  follow(place: number, signal: AbortSignal): AsyncIterable<StreamMessage>;
  /** Removes the messages below `place`. */
  trim(place: number): Promise<void>;
  /** Those that are there whole, the newest first. */
  snapshots(): Promise<readonly StreamSnapshot[]>;
  /** Resolves when the snapshot's file is there and was read back. */
  putSnapshot(snapshot: StreamSnapshot, file: AsyncIterable<Uint8Array>): Promise<void>;
  /** Rejects with JOURNAL_STREAM_LOST at its end when it is not what was put. */
  readSnapshot(snapshot: StreamSnapshot): AsyncIterable<Uint8Array>;
  removeSnapshot(snapshot: StreamSnapshot): Promise<void>;
  close(): Promise<void>;
}
