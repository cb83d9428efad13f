/** Looks through the copy of a journal in its stream: every record, and whether each follows the one before. Changes nothing. */
import { BatchError } from '../../../common/core/batch-error.ts';
import type { JournalStream, StreamSnapshot } from '../../../common/ports/journal-stream.ts';
import { emptyState } from '../recovery.ts';
import { snapshotName } from '../snapshot-file.ts';
import { streamFrames } from './stream-frames.ts';

export interface StreamReport {
  /** Places of the messages that are there; `last` below `first` for none. */
  readonly messages: { readonly first: number; readonly last: number };
  /** Records behind the older snapshot, or all. */
  readonly records: number;
  /** 0 without any. */
  readonly first_record: number;
  readonly last_record: number;
  readonly epoch: number;
  readonly snapshots: readonly { readonly name: string; readonly record: number; readonly is_whole: boolean }[];
  /** Why nobody could go on from it; null when one can. */
  readonly damage: string | null;
}

/** @throws JOURNAL_STREAM_UNREACHABLE */
export async function verifyStream(stream: JournalStream): Promise<StreamReport> {
  const messages = await stream.ends();
  const kept = await stream.snapshots();
  const snapshots = [];
  for (const one of kept) {
    snapshots.push({ name: snapshotName(one.sequence), record: one.sequence, is_whole: await isWhole(stream, one) });
  }
  const begin: StreamSnapshot | undefined =
    messages.first === 1 ? { ...emptyState, place: 1 } : kept.findLast(({ place }) => place >= messages.first);
  const found = { messages, snapshots, records: 0, first_record: 0, last_record: 0, epoch: 0 };
  if (begin === undefined) {
    return { ...found, damage: `messages before ${messages.first} are gone, and no snapshot holds what they said` };
  }
  let { records, first_record, last_record, epoch } = found;
  try {
    for await (const frame of streamFrames(stream, { first: begin.place, last: messages.last }, begin)) {
      first_record ||= frame.sequence;
      records += 1;
      ({ sequence: last_record, epoch } = frame);
    }
    return { ...found, records, first_record, last_record, epoch, damage: null };
  } catch (error) {
    if (!(error instanceof BatchError) || error.code !== 'JOURNAL_STREAM_LOST') throw error;
    return { ...found, records, first_record, last_record, epoch, damage: error.message };
  }
}

async function isWhole(stream: JournalStream, snapshot: StreamSnapshot): Promise<boolean> {
  try {
    for await (const _piece of stream.readSnapshot(snapshot));
    return true;
  } catch (error) {
    if (error instanceof BatchError && error.code === 'JOURNAL_STREAM_LOST') return false;
    throw error;
  }
}
