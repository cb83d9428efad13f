/**
 * Tells the torn end of a write that a crash cut short from damage to what was once on the disk.
 *
 * A group is written only after the one before it was synced. So a bad frame with any frame of a later group behind it was
 * whole once: that is damage. Behind a bad frame of the last group there may be nothing (a shortened write) or further frames of
 * the same group around a hole of zeros (pages that reached the disk out of order); anything else is damage too. The hole is
 * short when the group began just before the end of a page and that page was lost.
 */
import { decodeFrameHeader, encodeFrameStart, frameHeaderBytes, isNextFrame, type ChainState } from './frame-format.ts';

/** Longer than any run of zeros in a frame: sequence and epoch together have fewer, JSON text has none. */
const holeBytesMin = 16;

/** `rest`: everything from the bad frame to the end of the last segment. */
export function isTornTail(rest: Buffer, before: ChainState): boolean {
  const ends: number[] = [];
  for (const frame of framesBehind(rest, before)) {
    if (frame.startsGroup) return false;
    ends.push(frame.at);
  }
  const [holeEnd] = ends;
  return holeEnd === undefined || hasHole(rest.subarray(0, holeEnd)) || hasLostStart(rest.subarray(0, holeEnd), before);
}

/** Whether `frame` is the first of a group but for what it began with, where there are zeros now. */
function hasLostStart(frame: Buffer, before: ChainState): boolean {
  if (frame[0] !== 0 || frame.length < frameHeaderBytes) return false;
  const whole = Buffer.from(frame);
  encodeFrameStart(whole, { bytes: frame.length - frameHeaderBytes, startsGroup: true, sequence: before.sequence + 1 });
  return isNextFrame(whole, 0, decodeFrameHeader(whole, 0), before);
}

/**
 * Places behind the bad frame where one stands whose header fits and whose payload is JSON. Their crc cannot be checked, as it is chained
 * to what is lost; but a header holds zero bytes, which JSON text never does, so no payload looks like a frame.
 */
export function* framesBehind(
  rest: Buffer,
  before: ChainState,
): Generator<{ readonly at: number; readonly startsGroup: boolean; readonly sequence: number; readonly end: number }> {
  const sequenceMax = before.sequence + 1 + Math.ceil(rest.length / frameHeaderBytes);
  for (let at = 1; at + frameHeaderBytes <= rest.length; at += 1) {
    const header = decodeFrameHeader(rest, at);
    if (header.sequence <= before.sequence || header.sequence > sequenceMax) continue;
    const end = at + frameHeaderBytes + header.bytes;
    if (header.epoch < before.epoch || header.bytes === 0 || end > rest.length) continue;
    if (isJson(rest.toString('utf8', at + frameHeaderBytes, end))) {
      yield { at, startsGroup: header.startsGroup, sequence: header.sequence, end };
    }
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

function hasHole(bytes: Buffer): boolean {
  return bytes.includes(Buffer.alloc(holeBytesMin));
}
