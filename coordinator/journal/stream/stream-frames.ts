/** The frames of a journal's stream, each held against the one before it. */
import { BatchError } from '../../../common/core/batch-error.ts';
import type { JournalStream, StreamMessage } from '../../../common/ports/journal-stream.ts';
import { decodeFrameHeader, frameHeaderBytes, isNextFrame, type ChainState } from '../frame-format.ts';
import { beginsGroup, MessageReader } from './stream-message.ts';

export interface StreamFrame {
  /** Of the message that its group begins with. */
  readonly place: number;
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
    yield* framesOf(until(stream.follow(first, over.signal), last), base);
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

/** Frames at or before `base` are passed over, those of groups that broke off as well. @throws JOURNAL_STREAM_LOST */
export async function* framesOf(
  messages: AsyncIterable<StreamMessage>,
  base: ChainState,
): AsyncGenerator<StreamFrame, void, void> {
  const reader = new MessageReader();
  let before = base;
  let begun = 0;
  for await (const { place, bytes: message } of messages) {
    if (beginsGroup(message)) begun = place;
    const bytes = reader.add(message);
    let at = 0;
    while (bytes.length - at >= frameHeaderBytes) {
      const header = decodeFrameHeader(bytes, at);
      const end = at + frameHeaderBytes + header.bytes;
      if (end > bytes.length) break;
      if (header.sequence > base.sequence) {
        if (!isNextFrame(bytes, at, header, before)) {
          throw new BatchError(
            'JOURNAL_STREAM_LOST',
            `message ${place} of the journal’s stream does not follow record ${before.sequence}: messages are missing, or it was changed`,
          );
        }
        before = { sequence: header.sequence, epoch: header.epoch, chain: header.crc };
        yield { place: begun, ...before, crc: header.crc, bytes: Buffer.from(bytes.subarray(at, end)) };
      }
      at = end;
    }
    reader.take(at);
  }
}
