/** LZ4 frames, built by hand from the format's own words. */
import { describe, expect, it } from 'vitest';
import { decodeLz4Frame } from '../../worker/scorers/lz4-frame.ts';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** A frame of blocks that may refer to those before them, of at most 64 KiB each. */
function frame(...blocks: readonly (readonly number[])[]): Buffer {
  const parts = blocks.map((block) => [block.length & 255, block.length >> 8, 0, 0, ...block]);
  return Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0, ...parts.flat(), 0, 0, 0, 0]);
}

const letters = (word: string): number[] => [...Buffer.from(word)];

describe('an LZ4 frame', () => {
  it('repeats what came before, also across blocks and over itself', () => {
    // "abc", then 7 bytes from 3 before the end; the next block: "d", 4 bytes from 11 before the end, "e".
    const first = [0x33, ...letters('abc'), 3, 0, 0x00];
    const second = [0x10, ...letters('d'), 11, 0, 0x10, ...letters('e')];
    expect(text(decodeLz4Frame(frame(first, second)))).toBe('abcabcabcadabcae');
  });

  it('may hold blocks that are not compressed', () => {
    const bytes = frame(letters('plain'));
    bytes[10] = 0x80;
    expect(text(decodeLz4Frame(bytes))).toBe('plain');
  });

  it.each([
    ['no frame', Buffer.from('this is text'), 'no LZ4 frame'],
    ['a match before the begin', frame([0x10, 65, 9, 0, 0x00]), 'before the begin'],
    ['literals that are cut', frame([0xf0, 200, 65]), 'cut'],
  ])('is refused where it is %s', (_, bytes, words) => {
    expect(() => decodeLz4Frame(bytes)).toThrow(words);
  });
});
