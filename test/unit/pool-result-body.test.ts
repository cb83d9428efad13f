/** Bytes of results in memory and in a file without a name. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { spawnSync } from 'node:child_process';
import { limits } from '../../common/core/limits.ts';
import { ResultBody } from '../../worker/pool/result-body.ts';

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

  it('sends large pieces without a copy of them, and joins small ones', async () => {
    const body = new ResultBody(dir);
    const large = [patterned(2 * limits.uploadChunkBytes, 1), patterned(limits.uploadChunkBytes, 2)];
    for (const part of large) body.append(part);
    const memory = new Set<ArrayBufferLike>();
    for await (const piece of body.pieces()) memory.add(piece.buffer);
    expect([...memory]).toEqual(large.map(({ buffer }) => buffer));

    const small = new ResultBody(dir);
    for (let part = 0; part < 1_000; part += 1) small.append(patterned(1_000, part));
    expect((await gathered(small)).lengths).toHaveLength(Math.ceil(1_000_000 / limits.uploadChunkBytes));
  });

  it('cuts pieces to what a message may hold', async () => {
    const body = new ResultBody(dir);
    const parts = [
      patterned(limits.uploadChunkBytes - 1, 1),
      patterned(3, 2),
      patterned(limits.uploadChunkBytes + 1, 3),
    ];
    for (const part of parts) body.append(part);
    const { lengths, bytes } = await gathered(body);
    expect(lengths).toEqual([limits.uploadChunkBytes - 1, 3, limits.uploadChunkBytes, 1]);
    expect(bytes.equals(Buffer.concat(parts))).toBe(true);
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
