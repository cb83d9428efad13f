/** A piece of an upload, encoded by hand, is what protobuf makes of the same. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { clusterService } from '../../common/rpc/load-cluster.ts';
import { encodeUploadPiece, uploadHeadBytesMax } from '../../common/rpc/upload-piece.ts';

const { requestSerialize, requestDeserialize } = clusterService().service.Upload;
const parts = [Buffer.from('a 1\n'), Buffer.alloc(0), Buffer.alloc(limits.uploadChunkBytes - 4, 'row\n')];

describe('a piece of an upload', () => {
  it.each([
    [{ epoch: 1, counter: 1 }, 0, 1, 1],
    [{ epoch: 7, counter: 12 }, 0, 127, 2],
    [{ epoch: 2 ** 31, counter: 2 ** 32 - 1 }, 2 ** 40, 2 ** 41, 3],
  ])('%j at %d of %d is read as it was meant', (token, offset, totalBytes, count) => {
    const into = Buffer.alloc(limits.uploadChunkBytes + uploadHeadBytesMax, 0xff);
    const given = parts.slice(0, count);
    const bytes = requestSerialize(encodeUploadPiece({ token, offset, totalBytes }, given, into));
    // Passed on as it is, and no copy of it.
    expect(bytes.buffer).toBe(into.buffer);
    expect(requestDeserialize(bytes)).toEqual({ token, offset, totalBytes, data: Buffer.concat(given) });
  });

  it('is refused memory that it does not fit', () => {
    const head = { token: { epoch: 1, counter: 1 }, offset: 0, totalBytes: 1 };
    expect(() => encodeUploadPiece(head, parts, Buffer.alloc(limits.uploadChunkBytes))).toThrow('do not fit');
  });
});
