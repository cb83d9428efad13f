/** Where the last group of a journal ends after a loss of power: what is torn, and what is damage. */
import { expect, it } from 'vitest';
import { isTornTail } from '../../coordinator/journal/damage.ts';
import { frameHeaderBytes, type ChainState } from '../../coordinator/journal/frame-format.ts';
import { GroupQueue } from '../../coordinator/journal/group-queue.ts';

const before: ChainState = { sequence: 41, epoch: 3, chain: 0x1234_5678 };

/** One group of three records, as it is written behind record 41. */
function group(): Buffer {
  const queue = new GroupQueue(4_096, before);
  for (let index = 0; index < 3; index += 1) queue.add({ kind: 'Record', index, text: 'x'.repeat(40) });
  const { buffer, usedBytes } = queue.take() as { readonly buffer: Buffer; readonly usedBytes: number };
  return Buffer.from(buffer.subarray(0, usedBytes));
}

function set(bytes: Buffer, at: number, value: number): Buffer {
  bytes[at] = value;
  return bytes;
}

it.each(Array.from({ length: frameHeaderBytes }, (_, index) => index + 1))(
  'a group whose first %i bytes were on a page that is lost is torn',
  (lost) => {
    expect(isTornTail(group().fill(0, 0, lost), before)).toBe(true);
  },
);

it.each([
  ['a byte of its first record is another', (bytes: Buffer): Buffer => set(bytes, frameHeaderBytes + 4, 0x21)],
  ['its first byte is another', (bytes: Buffer): Buffer => set(bytes, 0, 0xff)],
  ['its first byte and one of its first record are gone', (bytes: Buffer): Buffer => set(set(bytes, 0, 0), 40, 0)],
] as const)('a group is damaged when %s', (_name, damage) => {
  expect(isTornTail(damage(group()), before)).toBe(false);
});
