import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { ReadRoom } from '../../worker/scorers/read-room.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-room-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function fileOf(bytes: number, value: number): string {
  const path = join(dir, `${value}.bin`);
  writeFileSync(path, Buffer.alloc(bytes, value));
  return path;
}

describe('room for files', () => {
  it('holds all of a file, whatever was there before', () => {
    const room = new ReadRoom();
    const { readRoomBytesMin: step } = limits;
    const sizes = [0, 1, step - 1, step, step + 1, 5 * step, 3, 0];
    for (const [value, size] of sizes.entries()) {
      const bytes = room.read(fileOf(size, value));
      expect(bytes.equals(Buffer.alloc(size, value))).toBe(true);
      room.give(bytes);
    }
  });

  it('serves one file after the other, and files that are held at once have their own', () => {
    const room = new ReadRoom();
    const [one, other] = [room.read(fileOf(300_000, 1)), room.read(fileOf(300_000, 2))];
    expect(one.equals(Buffer.alloc(300_000, 1))).toBe(true);
    const buffers = new Set([one.buffer, other.buffer]);
    expect(buffers.size).toBe(2);
    for (let round = 3; round < 8; round += 1) {
      room.give(round % 2 === 0 ? one : other);
      buffers.add(room.read(fileOf(200_000, round)).buffer);
    }
    expect(buffers.size).toBe(2);
  });

  it('is let go of where files are large', () => {
    const room = new ReadRoom();
    const large = room.read(fileOf(limits.readRoomBytesMax, 9));
    room.give(large);
    expect(room.read(fileOf(10, 1)).buffer).not.toBe(large.buffer);
  });

  it('says that there is no such file', () => {
    expect(() => new ReadRoom().read(join(dir, 'none'))).toThrow(/ENOENT/);
  });
});
