/**
 * A piece of a result as the message that carries it, written into memory that is there already: each megabyte of results that is
 * allocated on its way makes the collector run.
 */
import { invariant } from '../core/invariant.ts';
import type { Token } from '../core/token.ts';
import type { UploadPiece } from './generated/batchmill/v1/UploadPiece.ts';
import { clusterService } from './load-cluster.ts';
import { writeToken } from './translate.ts';

export interface UploadHead {
  readonly token: Token;
  readonly offset: number;
  readonly totalBytes: number;
}

/** What a message has beside its data, at most: four numbers of ten bytes, a length of five, and tags. */
export const uploadHeadBytesMax = 64;

/** Field 3, of a length that follows. @source cluster.proto; protobuf's wire format, in which fields come in any order */
const dataTag = 0x1a;

/** `parts`: the data. `into` has room for them and for {@link uploadHeadBytesMax} more. */
export function encodeUploadPiece(head: UploadHead, parts: readonly Uint8Array[], into: Buffer): UploadPiece {
  const { token, offset, totalBytes } = head;
  const start = clusterService().service.Upload.requestSerialize({ token: writeToken(token), offset, totalBytes });
  let left = parts.reduce((sum, part) => sum + part.length, 0);
  invariant(left + uploadHeadBytesMax <= into.length, `${left} bytes of a result do not fit ${into.length}`);
  into.set(start);
  let at = start.length;
  into[at++] = dataTag;
  for (; left > 0x7f; left >>>= 7) into[at++] = (left & 0x7f) | 0x80;
  into[at++] = left;
  for (const part of parts) {
    into.set(part, at);
    at += part.length;
  }
  // Passed on as it is: see `writerOf` of load-cluster.ts.
  return into.subarray(0, at) as UploadPiece;
}
