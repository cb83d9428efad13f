/**
 * How groups of the journal's frames stand in messages. A message is one byte and then frames as they stand in a segment: 0 when a
 * group begins with it, 1 when it goes on with the group of the message before, whose last frame may be cut anywhere. A group that
 * another one follows before its end was never acknowledged, and its last frame is dropped.
 */
import { invariant } from '../../../common/core/invariant.ts';
import { limits } from '../../../common/core/limits.ts';
import { frameHeaderBytes } from '../frame-format.ts';

const begins = 0;
const goesOn = 1;

export function* messagesOf(group: Uint8Array): Generator<Uint8Array, void, void> {
  const room = limits.journalMessageBytesMax - 1;
  for (let at = 0; at < group.length; at += room) {
    const piece = group.subarray(at, at + room);
    const message = new Uint8Array(piece.length + 1);
    message[0] = at === 0 ? begins : goesOn;
    message.set(piece, 1);
    yield message;
  }
}

/**
 * Begins a group that ends before its first frame: whoever stores it behind the last message has all others refused, and no record of
 * it is ever read. `id`: of no other process, so that nobody takes another one's for his own.
 */
export function fenceMessage(id: Uint8Array): Uint8Array {
  invariant(id.length < frameHeaderBytes, 'a fence is shorter than a frame');
  return Uint8Array.of(begins, ...id);
}

export function beginsGroup(message: Uint8Array): boolean {
  return message[0] === begins;
}

/** Puts the frames of messages that follow each other together again. */
export class MessageReader {
  /** Of a frame that is not whole yet. */
  #rest: Uint8Array = new Uint8Array();

  /** Bytes behind the last whole frame so far, from its first one; `take` says how many of them were frames. */
  add(message: Uint8Array): Buffer {
    const piece = message.subarray(1);
    this.#rest = message[0] === goesOn ? Buffer.concat([this.#rest, piece]) : piece;
    return Buffer.from(this.#rest.buffer, this.#rest.byteOffset, this.#rest.length);
  }

  take(bytes: number): void {
    this.#rest = this.#rest.subarray(bytes);
  }
}
