/** Bytes of results in memory and in a file without a name. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { spawnSync } from 'node:child_process';
import { limits } from '../../common/core/limits.ts';
import { blocksMade } from '../../common/io/held-bytes.ts';
import { ResultBody, resultBytesHeld } from '../../worker/pool/result-body.ts';

/** A small disk of its own; false where this user may not mount one. */
function mountSmall(path: string, megabytes: number): boolean {
  mkdirSync(path, { recursive: true });
  return spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path]).status === 0;
}

function unmount(path: string): boolean {
  return spawnSync('umount', [path]).status === 0;
}

const probe = mkdtempSync(join(tmpdir(), 'batchmill-probe-'));
const canMount = mountSmall(probe, 1) && unmount(probe);
rmSync(probe, { recursive: true });
if (!canMount) console.warn('SKIPPED: tests of a full spool mount a small disk, which needs root');

let dir = '';
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'batchmill-body-'))));
afterEach(() => rmSync(dir, { recursive: true }));

/** Bytes that differ from place to place. */
function patterned(count: number, seed: number): Buffer {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at < count; at += 1) bytes[at] = (at * 31 + seed + (at >> 8)) & 0xff;
  return bytes;
}

async function gathered(body: ResultBody): Promise<{ lengths: number[]; bytes: Buffer }> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body.pieces()) pieces.push(piece);
  return { lengths: pieces.map((piece) => piece.length), bytes: Buffer.concat(pieces) };
}

/** Writes of files in groups of buffers, while `work` runs. */
async function groupWrites(work: () => Promise<void>): Promise<number> {
  const handle = await open(join(dir, 'any'), 'w');
  const writes = vi.spyOn(Object.getPrototypeOf(handle) as FileHandle, 'writev');
  try {
    await work();
    return writes.mock.calls.length;
  } finally {
    writes.mockRestore();
    await handle.close();
  }
}

describe('result body', () => {
  it('is empty at first', async () => {
    const body = new ResultBody(dir);
    expect([body.bytes, body.crc32, body.inline()?.length, body.isSpooled]).toEqual([0, 0, 0, false]);
    expect((await gathered(body)).lengths).toEqual([]);
  });

  it('keeps a small result in memory and gives it inline', async () => {
    const body = new ResultBody(join(dir, 'unused'));
    body.append(Buffer.from('a 1\n'));
    body.append(Buffer.from('b 2\n'));
    expect(Buffer.from(body.inline() ?? []).toString()).toBe('a 1\nb 2\n');
    expect(body.crc32).toBe(crc32('a 1\nb 2\n'));
    expect((await gathered(body)).bytes.toString()).toBe('a 1\nb 2\n');
    expect(existsSync(join(dir, 'unused'))).toBe(false);
  });

  it('is inline up to the limit and not beyond', () => {
    const body = new ResultBody(dir);
    body.append(patterned(limits.inlineResultBytesMax, 1));
    expect(body.inline()).toHaveLength(limits.inlineResultBytesMax);
    body.append(patterned(1, 1));
    expect(body.inline()).toBeNull();
  });

  it('sends chunks of one size, however its bytes came', async () => {
    const parts = [
      patterned(limits.uploadChunkBytes - 1, 1),
      patterned(3, 2),
      patterned(1_000, 3),
      patterned(70_000, 4),
    ];
    const all = Buffer.concat([...parts, ...parts, ...parts]);
    const body = new ResultBody(dir);
    for (const part of [...parts, ...parts, ...parts]) body.append(part);
    for (const size of [limits.uploadChunkBytes, 100_000, all.length + 1]) {
      const chunks: Buffer[] = [];
      for await (const chunk of body.chunks(size)) chunks.push(Buffer.concat(chunk));
      expect(chunks.slice(0, -1).every(({ length }) => length === size)).toBe(true);
      expect(chunks).toHaveLength(Math.ceil(all.length / size));
      expect(Buffer.concat(chunks).equals(all)).toBe(true);
    }
    expect(body.crc32).toBe(crc32(all));
    await body.discard();
  });

  it('has its memory from results before it', async () => {
    const made: number[] = [];
    for (let result = 0; result < 40; result += 1) {
      const body = new ResultBody(dir);
      const own = patterned(1_000_000, result);
      for (let at = 0; at < own.length; at += 65_536) body.append(own.subarray(at, at + 65_536));
      expect((await gathered(body)).bytes.equals(own)).toBe(true);
      made.push(blocksMade());
      await body.discard();
    }
    expect(new Set(made.slice(1)).size).toBe(1);
  });

  it('is not read once it is discarded, when its memory is another’s', async () => {
    const body = new ResultBody(dir);
    body.append(patterned(3 * limits.uploadChunkBytes, 1));
    const chunks = body.chunks(limits.uploadChunkBytes);
    await chunks.next();
    await body.discard();
    await expect(chunks.next()).rejects.toThrow('discarded');
  });

  it('holds no more of all results in memory than the limit', async () => {
    const before = resultBytesHeld();
    const bodies = Array.from({ length: 8 }, () => new ResultBody(join(dir, 'many')));
    let most = 0;
    const parts = bodies.map((_, seed) => patterned(limits.frameRowsBytes, seed));
    for (let round = 0; round < 6; round += 1) {
      for (const [place, body] of bodies.entries()) {
        body.append(parts[place] as Buffer);
        most = Math.max(most, resultBytesHeld() - before);
        if (body.isBehind) await body.settled();
      }
    }
    // What is on its way to the disk is bounded by itself: a host waits from 4 MiB on.
    expect(most).toBeGreaterThan(limits.resultMemoryBytesMax);
    expect(most).toBeLessThanOrEqual(limits.resultMemoryBytesMax + bodies.length * 6 * limits.frameRowsBytes);
    await Promise.all(bodies.map((body) => body.settled()));
    expect(resultBytesHeld() - before).toBeLessThanOrEqual(limits.resultMemoryBytesMax);
    for (const [place, body] of bodies.entries()) {
      const whole = Buffer.concat(Array.from({ length: 6 }, () => parts[place] as Buffer));
      expect((await gathered(body)).bytes.equals(whole)).toBe(true);
      await body.discard();
    }
    expect(resultBytesHeld()).toBe(before);
  });

  it('spools a large result, leaves no name behind, and gives the same bytes again and again', async () => {
    const spoolDir = join(dir, 'spool');
    const body = new ResultBody(spoolDir);
    const parts = Array.from({ length: 10 }, (_, seed) => patterned(limits.frameRowsBytes + seed, seed));
    for (const part of parts) body.append(part);
    expect(body.isSpooled).toBe(true);
    await body.settled();
    expect(body.isBehind).toBe(false);
    expect(readdirSync(spoolDir)).toEqual([]);
    const whole = Buffer.concat(parts);
    expect([body.bytes, body.crc32]).toEqual([whole.length, crc32(whole)]);
    for (let round = 0; round < 2; round += 1) {
      const { lengths, bytes } = await gathered(body);
      expect(bytes.equals(whole)).toBe(true);
      expect(new Set(lengths.slice(0, -1))).toEqual(new Set([limits.uploadChunkBytes]));
    }
    await body.discard();
    await body.discard();
  });

  it('spools what comes together in one write', async () => {
    const before = resultBytesHeld();
    const body = new ResultBody(dir);
    const pieces = Array.from({ length: 256 }, (_, seed) => patterned(65_536, seed));
    const writes = await groupWrites(async () => {
      for (const piece of pieces) body.append(piece);
      await body.settled();
      for (const piece of pieces) body.append(piece);
      await body.settled();
    });
    expect(writes).toBe(2);
    expect((await gathered(body)).bytes.equals(Buffer.concat([...pieces, ...pieces]))).toBe(true);
    await body.discard();
    expect(resultBytesHeld()).toBe(before);
  });

  it('stays in memory at the limit', async () => {
    const body = new ResultBody(dir);
    body.append(patterned(limits.spoolMemoryBytesMax, 1));
    expect(body.isSpooled).toBe(false);
    body.append(patterned(1, 2));
    expect(body.isSpooled).toBe(true);
    expect((await gathered(body)).bytes).toHaveLength(limits.spoolMemoryBytesMax + 1);
    await body.discard();
  });

  it('tells that it is behind while the disk has not caught up', async () => {
    const body = new ResultBody(dir);
    body.append(patterned(limits.spoolMemoryBytesMax + 1, 1));
    expect(body.isBehind).toBe(true);
    await body.settled();
    expect(body.isBehind).toBe(false);
    await body.discard();
  });

  it('says so when the folder cannot be used, and can still be discarded', async () => {
    const blocked = join(dir, 'file');
    writeFileSync(blocked, '');
    const body = new ResultBody(blocked);
    body.append(patterned(limits.spoolMemoryBytesMax + 1, 1));
    await expect(body.settled()).rejects.toMatchObject({ code: 'STATE_UNWRITABLE' });
    await expect(gathered(body)).rejects.toMatchObject({ code: 'STATE_UNWRITABLE' });
    await body.discard();
  });

  it('takes nothing once it is discarded', async () => {
    const body = new ResultBody(dir);
    await body.discard();
    expect(() => body.append(patterned(1, 1))).toThrow('takes no more bytes');
  });

  it.skipIf(!canMount)('waits for room on a full disk, says so, and goes on by itself', async () => {
    const disk = join(dir, 'disk');
    mountSmall(disk, 12);
    const ballast = join(disk, 'ballast');
    writeFileSync(ballast, Buffer.alloc(8 * 1_048_576));
    const said: string[] = [];
    const body = new ResultBody(join(disk, 'spool'), (reason) => void said.push(reason));
    const parts = [patterned(limits.spoolMemoryBytesMax, 1), patterned(70_000, 2), patterned(5, 3)];
    for (const part of parts) body.append(part);
    await vi.waitFor(() => expect(body.isWaiting).toBe(true));
    expect(said).toEqual([`waits for room for results in ${join(disk, 'spool')}`]);
    rmSync(ballast);
    await body.settled();
    expect([body.isWaiting, said.at(-1)]).toEqual([false, '']);
    expect((await gathered(body)).bytes.equals(Buffer.concat(parts))).toBe(true);
    await body.discard();
    unmount(disk);
  });

  it.skipIf(!canMount)('is not waited for when nobody wants it any more', async () => {
    const disk = join(dir, 'disk');
    mountSmall(disk, 1);
    const body = new ResultBody(join(disk, 'spool'));
    body.append(patterned(limits.spoolMemoryBytesMax + 1, 1));
    await vi.waitFor(() => expect(body.isWaiting).toBe(true));
    const settled = body.settled();
    body.giveUp();
    await expect(settled).rejects.toMatchObject({ code: 'DISK_FULL' });
    await body.discard();
    unmount(disk);
  });
});
