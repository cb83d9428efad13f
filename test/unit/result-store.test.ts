import { crc32 } from 'node:zlib';
import { expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { OutputWriter } from '../../coordinator/output/output-writer.ts';
import { ResultStore } from '../../coordinator/result-store.ts';
import type { UploadedPiece } from '../../coordinator/service/cluster-server.ts';
import { MemoryFileSystem } from '../helpers/memory-file-system.ts';

const token = { epoch: 1, counter: 1 };
const segmentPath = '/state/staging/segment-000007';
/** Too large for memory. */
const totalBytes = limits.directAppendBytesMax + 2;
const first = Buffer.alloc(totalBytes - 1, 'a');
const piece = (offset: number, data: Uint8Array): UploadedPiece => ({ token, offset, data, totalBytes });

async function rig(): Promise<{ disk: MemoryFileSystem; writer: OutputWriter; store: ResultStore }> {
  const disk = new MemoryFileSystem();
  await disk.makeDir('/out');
  const writer = new OutputWriter({
    ...{ outputDir: '/out', outputFileName: 'rows.csv', stagingDir: '/state/staging', fileSystem: disk },
    ...{ onDone: () => undefined, onStall: () => undefined },
    onFatal: (error) => {
      throw error;
    },
  });
  await writer.recover({ outputEnd: 0, prologue: null, liveSegments: new Set() });
  return { disk, writer, store: new ResultStore({ openSegment: () => writer.openSegment(7) }) };
}

it('says nothing of a large result whose upload begins anew while its sum is taken', async () => {
  const { disk, writer, store } = await rig();
  await store.putPiece(piece(0, first));
  await store.putPiece(piece(first.length, Buffer.from('x')));
  const whole = store.whole(token);
  const again = store.putPiece(piece(0, first));
  // Told once more while what came first is on its way out.
  expect([await store.whole(token), await whole]).toEqual([null, null]);
  await again;
  expect(await store.whole(token)).toBe(undefined);
  await store.putPiece(piece(first.length, Buffer.from('y')));
  const bytes = Buffer.concat([first, Buffer.from('y')]);
  expect(await store.whole(token)).toEqual({ length: totalBytes, crc32: crc32(bytes) });
  expect(disk.content(segmentPath)?.equals(bytes)).toBe(true);
  await writer.close();
});

it('lets the last of several uploads of one result have its segment', async () => {
  const { disk, writer, store } = await rig();
  await store.putPiece(piece(0, Buffer.from('old')));
  const uploads = ['one', 'two', 'three'].map((text) => store.putPiece(piece(0, Buffer.from(text))));
  const ends = await Promise.allSettled(uploads);
  expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled']);
  expect(ends[0]).toMatchObject({ reason: { code: 'REQUEST_INVALID' } });
  expect(disk.content(segmentPath)?.toString()).toBe('three');
  await store.putPiece(piece(5, first.subarray(4)));
  expect(await store.whole(token)).toMatchObject({ length: totalBytes });
  await writer.close();
});
