/** The frames of a journal's stream, each held against the one before it. */
import { BatchError } from '../../../common/core/batch-error.ts';
import type { JournalStream, StreamMessage } from '../../../common/ports/journal-stream.ts';
import { decodeFrameHeader, frameHeaderBytes, isNextFrame, type ChainState } from '../frame-format.ts';
import { beginsGroup, MessageReader } from './stream-message.ts';

export interface StreamFrame {
  /** Of the message that its group begins with. */
  readonly place: number;
  /** Message that it ends in. */
  readonly end: number;
  readonly sequence: number;
  readonly epoch: number;
  readonly crc: number;
  /** Header and payload. */
  readonly bytes: Buffer;
}

/** From the first message that is there to the one that is the last now. `base`: where the first frame follows. */
export async function* streamFrames(
  stream: JournalStream,
  { first, last }: { readonly first: number; readonly last: number },
  base: ChainState,
): AsyncGenerator<StreamFrame, void, void> {
  if (first > last) return;
  const over = new AbortController();
  try {
    yield* framesOf(until(stream.follow(first, over.signal), last), first, base);
  } finally {
    over.abort();
  }
}

async function* until(messages: AsyncIterable<StreamMessage>, last: number): AsyncGenerator<StreamMessage, void, void> {
  for await (const message of messages) {
    yield message;
    if (message.place >= last) return;
  }
}

/**
 * Frames at or before `base` are passed over, those of groups that broke off as well. `first`: message that was asked for.
 * @throws JOURNAL_STREAM_LOST, and JOURNAL_STREAM_UNREACHABLE when whoever leads has removed meanwhile what was to be read
 */
export async function* framesOf(
  messages: AsyncIterable<StreamMessage>,
  first: number,
  base: ChainState,
): AsyncGenerator<StreamFrame, void, void> {
  const reader = new MessageReader();
  let before = base;
  let begun = 0;
  let due = first;
  let isTrimmed = false;
  for await (const { place, bytes: message } of messages) {
    isTrimmed ||= place > due;
    due = place + 1;
    if (beginsGroup(message)) begun = place;
    const bytes = reader.add(message);
    let at = 0;
    while (bytes.length - at >= frameHeaderBytes) {
      const header = decodeFrameHeader(bytes, at);
      const end = at + frameHeaderBytes + header.bytes;
      if (end > bytes.length) break;
      // Read before, and another one now.
      if (header.sequence === base.sequence && header.crc !== base.chain) throw lost(place, base.sequence);
      if (header.sequence > base.sequence) {
        if (!isNextFrame(bytes, at, header, before)) {
          throw isTrimmed ? trimmed(place) : lost(place, before.sequence);
        }
        before = { sequence: header.sequence, epoch: header.epoch, chain: header.crc };
        yield { place: begun, end: place, ...before, crc: header.crc, bytes: Buffer.from(bytes.subarray(at, end)) };
      }
      at = end;
    }
    reader.take(at);
  }
}

function lost(place: number, sequence: number): BatchError {
  return new BatchError(
    'JOURNAL_STREAM_LOST',
    `message ${place} of the journal’s stream does not follow record ${sequence}: messages are missing, or it was changed`,
  );
}

/** Whoever is away for long, or begins at a bad moment, finds all of it in a snapshot at his next start. */
function trimmed(place: number): BatchError {
  return new BatchError(
    'JOURNAL_STREAM_UNREACHABLE',
    `messages before ${place} of the journal’s stream were removed behind a snapshot while they were to be read; start again`,
  );
}
