/** What is said of a text file in another encoding; its letters would come out as U+FFFD, and nobody would be told. */
import { isUtf8 } from 'node:buffer';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { errnoOf } from '../../common/io/errno.ts';

/** Of what a TextDecoder throws that is fatal. */
export const isDecodeError = (error: unknown): boolean => errnoOf(error) === 'ERR_ENCODING_INVALID_ENCODED_DATA';

/** INPUT_DECODE_FAILED with the line. The pieces are read once more for it: while all is well, nobody counts. `line`: where they begin, from 1. */
export function notUtf8(file: HostFile, pieces: Iterable<Uint8Array>, line: number): BatchError {
  let at = line;
  let held = Buffer.alloc(0);
  for (const piece of pieces) {
    const isFirst = at === 1 && held.length === 0;
    held = Buffer.concat([held, piece]);
    if (isFirst && isUtf16(held)) return failure(`${file.name} is UTF-16`, 'utf16');
    let begin = 0;
    for (let end = held.indexOf(0x0a); end >= 0; end = held.indexOf(0x0a, begin)) {
      if (!isUtf8(held.subarray(begin, end))) return failure(`${file.name}, line ${at}: is not UTF-8`, 'latin1');
      begin = end + 1;
      at += 1;
    }
    held = held.subarray(begin);
  }
  return failure(`${file.name}, line ${at}: is not UTF-8`, 'latin1');
}

const isUtf16 = ([first, second]: Uint8Array): boolean =>
  (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);

const failure = (what: string, encoding: string): BatchError =>
  new BatchError('INPUT_DECODE_FAILED', `${what}: convert it, e.g. iconv -f ${encoding} -t utf8`);
