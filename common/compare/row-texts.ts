/** Rows as texts, one by one, from the bytes as they stand in an output: all at once, or as the bytes come. */
import type { OutputFormat } from '../core/deployment.ts';
import { rowCutter } from '../format/row-cutter.ts';
import { RowEnds } from '../format/row-ends.ts';

/** Null where the rows cannot be told from each other. `head`: what stands before the first row; of Arrow alone it is needed. */
export async function textsOf(
  bytes: Buffer,
  count: number,
  format: OutputFormat,
  head: Buffer,
): Promise<readonly string[] | null> {
  if (format === 'arrow') return await arrowTexts(bytes, head);
  const cutter = await rowCutter({ bytes, count, format, head });
  if (cutter === null) return null;
  return Array.from({ length: count }, (_, row) => textOf(cutter.cut(row, 1)));
}

/**
 * The same of bytes that come in pieces of any size, as many at a time as end in a piece; holds one piece, and the row or record batch that it ends in. `schemaMessage`: of
 * Arrow, what stands before the first row. @throws OUTPUT_CORRUPT for messages that are none
 */
export function rowTexts(
  pieces: AsyncIterable<Uint8Array>,
  format: OutputFormat,
  schemaMessage: Uint8Array,
): AsyncGenerator<readonly string[], void, void> {
  return format === 'arrow' ? batchTexts(pieces, schemaMessage) : lineTexts(pieces, format);
}

async function* lineTexts(
  pieces: AsyncIterable<Uint8Array>,
  format: OutputFormat,
): AsyncGenerator<readonly string[], void, void> {
  const ends = new RowEnds(format === 'csv');
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of pieces) {
    const seen = rest.length;
    const bytes = Buffer.concat([rest, piece]);
    let begin = 0;
    yield ends.ends(bytes, seen).map((end) => {
      const text = textOf(bytes.subarray(begin, end));
      begin = end;
      return text;
    });
    rest = bytes.subarray(begin);
  }
  if (rest.length > 0) yield [textOf(rest)];
}

async function* batchTexts(
  pieces: AsyncIterable<Uint8Array>,
  schema: Uint8Array,
): AsyncGenerator<readonly string[], void, void> {
  const { messageHead, messagePrefixBytes, metadataBytesOf } = await import('../format/arrow-message.ts');
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  let wanted = messagePrefixBytes;
  for await (const piece of pieces) {
    waiting.push(piece);
    bytes += piece.length;
    while (bytes >= wanted) {
      const whole = Buffer.concat(waiting);
      const begin = messagePrefixBytes + metadataBytesOf(whole);
      const head = bytes < begin ? null : messageHead(whole.subarray(messagePrefixBytes, begin));
      const end = begin + (head?.kind === 'batch' ? head.bodyBytes : 0);
      if (head === null || bytes < end) {
        [waiting, wanted] = [[whole], end];
        break;
      }
      yield await arrowTexts(whole.subarray(0, end), schema);
      const rest = whole.subarray(end);
      [waiting, bytes, wanted] = [[rest], rest.length, messagePrefixBytes];
    }
  }
}

async function arrowTexts(bytes: Uint8Array, head: Uint8Array): Promise<readonly string[]> {
  const { tableFromIPC } = await import('apache-arrow');
  const asJson = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? Number(value) : value);
  return tableFromIPC(Buffer.concat([head, bytes]))
    .toArray()
    .map((row: unknown) => JSON.stringify(row, asJson));
}

function textOf(row: Buffer): string {
  return row.toString('utf8').replace(/\r?\n$/, '');
}
