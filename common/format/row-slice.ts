/** Some of the rows that stand together in an output, as bytes that may stand in another one with the same columns. */
import type { DataType } from 'apache-arrow';
import { BatchError } from '../core/batch-error.ts';
import type { OutputFormat } from '../core/deployment.ts';
import { RowEnds } from './row-ends.ts';

/**
 * Rows `first` to `first + count − 1` of `rows`, whole rows as they were committed; `head`: what stands before the first row of their output.
 * Null where rows of these columns cannot be cut apart. @throws OUTPUT_CORRUPT when there are not so many
 */
export async function sliceRows(
  rows: Buffer,
  head: Uint8Array,
  format: OutputFormat,
  first: number,
  count: number,
): Promise<Buffer | null> {
  if (format === 'arrow') return await sliceBatches(rows, head, first, count);
  const ends = new RowEnds(format === 'csv');
  const before = ends.scan(rows, 0, first);
  const { rows: found, end } = ends.scan(rows, before.end, count);
  if (before.rows !== first || found !== count) throw tooFew(first + count, before.rows + found);
  return rows.subarray(before.end, end);
}

async function sliceBatches(rows: Buffer, head: Uint8Array, first: number, count: number): Promise<Buffer | null> {
  const { batchMessage, decodeBatches, messageHead, messagePrefixBytes, metadataBytesOf } =
    await import('./arrow-message.ts');
  const { gather, runOf, ungatherable } = await import('./arrow-gather.ts');
  const schemaBegin = messagePrefixBytes + metadataBytesOf(head);
  const found = messageHead(head.subarray(messagePrefixBytes, schemaBegin));
  if (found.kind !== 'schema') throw new BatchError('OUTPUT_CORRUPT', 'no schema stands before the rows');
  const { schema } = found;
  const pieces: Uint8Array[] = [];
  let at = 0;
  let row = 0;
  while (at < rows.length && row < first + count) {
    const begin = messagePrefixBytes + metadataBytesOf(rows.subarray(at));
    const batch = messageHead(rows.subarray(at + messagePrefixBytes, at + begin));
    if (batch.kind !== 'batch') throw new BatchError('OUTPUT_CORRUPT', 'a schema stands where rows are expected');
    const bytes = rows.subarray(at, at + begin + batch.bodyBytes);
    const from = Math.max(0, first - row);
    const to = Math.min(batch.rows, first + count - row);
    if (from === 0 && to === batch.rows) pieces.push(bytes);
    else if (from < to) {
      if (schema.fields.some(({ type }) => ungatherable(type as DataType) !== null)) return null;
      const message = { message: head.subarray(0, schemaBegin), schema };
      const [decoded] = decodeBatches(message, [{ bytes, rows: batch.rows }]);
      const columns = (decoded?.data.children ?? []).map((data) => gather([{ data, runs: runOf(from, to) }]));
      pieces.push(batchMessage(schema, columns, to - from).bytes);
    }
    at += bytes.length;
    row += batch.rows;
  }
  if (row < first + count) throw tooFew(first + count, row);
  return Buffer.concat(pieces);
}

function tooFew(wanted: number, found: number): BatchError {
  return new BatchError('OUTPUT_CORRUPT', `${wanted} rows are wanted and ${found} are there`);
}
