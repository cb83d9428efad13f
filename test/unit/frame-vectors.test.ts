/** common/core/frame.ts against the vectors that the Python host is tested against too. */
import { readFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { FrameReader, frameHeader, frameHeaderBytes, type Frame } from '../../common/core/frame.ts';
import { packageFile } from '../../common/io/package-files.ts';

type Vector =
  | { name: string; outcome: 'frame'; type: number; payload: string; frame: string }
  | { name: string; outcome: 'corrupt' | 'incomplete'; frame: string };

const vectors = JSON.parse(readFileSync(packageFile('test', 'fixtures', 'frames.json'), 'utf8')) as Vector[];
const good = vectors.filter((vector) => vector.outcome === 'frame');
const corrupt = vectors.filter((vector) => vector.outcome === 'corrupt');
const incomplete = vectors.filter((vector) => vector.outcome === 'incomplete');

const bytesOf = (hex: string): Buffer => Buffer.from(hex, 'hex');
const plain = (frames: readonly Frame[]): unknown[] =>
  frames.map(({ type, payload }) => ({ type, payload: Buffer.from(payload).toString('hex') }));
const wanted = good.map(({ type, payload }) => ({ type, payload }));

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return error instanceof BatchError ? error.code : String(error);
  }
  return 'nothing was thrown';
}

describe('frame vectors', () => {
  it('has vectors of every kind', () => {
    expect([good.length, corrupt.length, incomplete.length].every((count) => count >= 5)).toBe(true);
  });

  it.each(good)('writes and reads: $name', ({ type, payload, frame }) => {
    const header = frameHeader(type, bytesOf(payload), crc32);
    expect(header).toHaveLength(frameHeaderBytes);
    expect(Buffer.concat([header, bytesOf(payload)]).toString('hex')).toBe(frame);
    expect(plain(new FrameReader(crc32).push(bytesOf(frame)))).toEqual([{ type, payload }]);
  });

  it.each(corrupt)('refuses: $name', ({ frame }) => {
    expect(codeOf(() => new FrameReader(crc32).push(bytesOf(frame)))).toBe('FRAME_CORRUPT');
  });

  it.each(incomplete)('waits for more: $name', ({ frame }) => {
    expect(new FrameReader(crc32).push(bytesOf(frame))).toEqual([]);
  });

  it('reads all frames from one arrival', () => {
    const all = Buffer.concat(good.map(({ frame }) => bytesOf(frame)));
    expect(plain(new FrameReader(crc32).push(all))).toEqual(wanted);
  });

  it('reads the same frames when the stream is cut at any byte', () => {
    const all = Buffer.concat(good.map(({ frame }) => bytesOf(frame)));
    for (let cut = 0; cut <= all.length; cut += 1) {
      const reader = new FrameReader(crc32);
      const frames = [...reader.push(all.subarray(0, cut)), ...reader.push(all.subarray(cut))];
      expect(plain(frames), `cut at ${cut}`).toEqual(wanted);
    }
  });

  it('reads the same frames one byte at a time', () => {
    const all = Buffer.concat(good.map(({ frame }) => bytesOf(frame)));
    const reader = new FrameReader(crc32);
    const frames = Array.from(all, (_, at) => reader.push(all.subarray(at, at + 1))).flat();
    expect(plain(frames)).toEqual(wanted);
  });

  it('gives the frames before a corrupt one only when they came earlier', () => {
    const reader = new FrameReader(crc32);
    const [first, second] = [good[0]?.frame ?? '', corrupt[0]?.frame ?? ''];
    expect(reader.push(bytesOf(first))).toHaveLength(1);
    expect(codeOf(() => reader.push(bytesOf(second)))).toBe('FRAME_CORRUPT');
  });

  it('hands on frames of one type in parts as they come, each with its checksum, and the others whole', () => {
    const rows = Buffer.from(Array.from({ length: 1_000 }, (_, at) => (at * 7) & 0xff));
    const done = Buffer.from('{}');
    const all = Buffer.concat(
      [9, 2, 9, 9].flatMap((type) => {
        const payload = type === 9 ? rows : done;
        return [frameHeader(type, payload, crc32), payload];
      }),
    );
    for (const step of [1, 7, 300, 1_009, 5_000]) {
      const reader = new FrameReader(crc32, 9);
      const found: { type: number; payload: Uint8Array; crc32: number }[] = [];
      for (let at = 0; at < all.length; at += step) found.push(...reader.push(all.subarray(at, at + step)));
      expect(found.every((part) => part.crc32 === crc32(part.payload))).toBe(true);
      // Nothing is gathered: every part is where it came.
      const parts = found.filter(({ type }) => type === 9);
      expect(parts.every(({ payload }) => payload.length === 0 || payload.buffer === all.buffer)).toBe(true);
      expect(Buffer.concat(parts.map(({ payload }) => payload)).equals(Buffer.concat([rows, rows, rows]))).toBe(true);
      expect(found.filter(({ type }) => type === 2).map(({ payload }) => Buffer.from(payload))).toEqual([done]);
    }
    const reader = new FrameReader(crc32, 9);
    const broken = Buffer.from(all.subarray(0, 1_009));
    broken[broken.length - 1] = (broken[broken.length - 1] as number) ^ 1;
    expect(reader.push(broken.subarray(0, 500))).toHaveLength(1);
    expect(codeOf(() => reader.push(broken.subarray(500)))).toBe('FRAME_CORRUPT');
  });

  it('does not hand out the same memory twice', () => {
    const reader = new FrameReader(crc32);
    const frames = reader.push(Buffer.concat(good.map(({ frame }) => bytesOf(frame))));
    frames[1]?.payload.fill(0);
    expect(plain(frames.slice(2))).toEqual(wanted.slice(2));
  });
});
