/** Rows that stand together in an output, cut apart: bytes that may stand in another output with the same columns. */
import type { DataType, RecordBatch } from 'apache-arrow';
import { BatchError } from '../core/batch-error.ts';
import type { OutputFormat } from '../core/deployment.ts';
import { RowEnds } from './row-ends.ts';

/** Whole rows as they were committed. */
export interface RowsTogether {
  readonly bytes: Buffer;
  readonly count: number;
  readonly format: OutputFormat;
  /** What stands before the first row of their output. */
  readonly head: Uint8Array;
}

export interface RowCutter {
  /** Rows `first` to `first + count − 1`; at least one. */
  cut(first: number, count: number): Buffer;
}

/**
 * Null where they cannot be cut apart: the bytes do not have as many row ends as rows (a text of `azure` may have newlines of
 * its own), or a column is of a type whose values cannot be moved. Reads them once, however often they are cut.
 * @throws OUTPUT_CORRUPT for record batches that are none
 */
export async function rowCutter(rows: RowsTogether): Promise<RowCutter | null> {
  return rows.format === 'arrow' ? await batchCutter(rows) : textCutter(rows);
}

function textCutter({ bytes, count, format }: RowsTogether): RowCutter | null {
  const begins = [0, ...new RowEnds(format === 'csv').ends(bytes, 0)];
  // Where a row has an end within it, all the cuts behind it would be wrong.
  if (begins.length !== count + 1 || begins[count] !== bytes.length) return null;
  return { cut: (first, taken) => bytes.subarray(begins[first], begins[first + taken]) };
}

/** A record batch among others. */
interface PlacedBatch {
  readonly first: number;
  readonly rows: number;
  readonly bytes: Buffer;
  decoded: RecordBatch | null;
}

async function batchCutter({ bytes, count, head }: RowsTogether): Promise<RowCutter | null> {
  const { batchMessage, decodeBatches, messageHead, messagePrefixBytes, metadataBytesOf } =
    await import('./arrow-message.ts');
  const { gather, runOf, ungatherable } = await import('./arrow-gather.ts');
  const headEnd = messagePrefixBytes + metadataBytesOf(head);
  const found = messageHead(head.subarray(messagePrefixBytes, headEnd));
  if (found.kind !== 'schema') throw corrupt('no schema stands before the rows');
  const { schema } = found;
  if (schema.fields.some(({ type }) => ungatherable(type as DataType) !== null)) return null;
  const batches: PlacedBatch[] = [];
  let first = 0;
  for (let at = 0; at < bytes.length;) {
    const begin = messagePrefixBytes + metadataBytesOf(bytes.subarray(at));
    const batch = messageHead(bytes.subarray(at + messagePrefixBytes, at + begin));
    if (batch.kind !== 'batch') throw corrupt('a schema stands where rows are expected');
    const end = at + begin + batch.bodyBytes;
    batches.push({ first, rows: batch.rows, bytes: bytes.subarray(at, end), decoded: null });
    first += batch.rows;
    at = end;
  }
  if (first !== count) return null;
  const decode = (batch: PlacedBatch): RecordBatch => {
    const { bytes: message, rows } = batch;
    batch.decoded ??=
      decodeBatches({ message: head.subarray(0, headEnd), schema }, [{ bytes: message, rows }])[0] ?? null;
    if (batch.decoded === null) throw corrupt('a record batch is empty');
    return batch.decoded;
  };
  const cut = (wanted: number, taken: number): Buffer => {
    const pieces: Uint8Array[] = [];
    for (let index = batchAt(batches, wanted); index < batches.length; index += 1) {
      const batch = batches[index] as PlacedBatch;
      const from = Math.max(0, wanted - batch.first);
      const to = Math.min(batch.rows, wanted + taken - batch.first);
      if (to <= 0) break;
      if (from === 0 && to === batch.rows) pieces.push(batch.bytes);
      else if (from < to) {
        const columns = decode(batch).data.children.map((data) => gather([{ data, runs: runOf(from, to) }]));
        pieces.push(batchMessage(schema, columns, to - from).bytes);
      }
    }
    return Buffer.concat(pieces);
  };
  return { cut };
}

/** By bisection: the last batch that begins at or before `row`. */
function batchAt(batches: readonly PlacedBatch[], row: number): number {
  let low = 0;
  let high = batches.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((batches[middle] as PlacedBatch).first <= row) low = middle;
    else high = middle - 1;
  }
  return Math.max(0, low);
}

const corrupt = (text: string): BatchError => new BatchError('OUTPUT_CORRUPT', text);
