/**
 * Messages of an Arrow IPC stream: what their heads say, record batches out of them and into them. Whole streams are never
 * in memory here; who reads or writes files is elsewhere.
 * @source Arrow columnar format, encapsulated messages: a marker, the length of the metadata, the metadata, the body
 */
import {
  makeData,
  Message,
  RecordBatch,
  RecordBatchReader,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  type Data,
  type DataType,
} from 'apache-arrow';
import { BatchError } from '../core/batch-error.ts';
import { endOfStream } from './arrow-stream.ts';
import { batchHead } from './record-batch-head.ts';

/** A record batch as its bytes in a stream, head included: a multiple of 8 of them. */
export interface BatchMessage {
  readonly bytes: Uint8Array;
  readonly rows: number;
}

/** Columns of a stream: the message that says so, and what it says. */
export interface StreamSchema {
  readonly message: Uint8Array;
  readonly schema: Schema;
}

/** Bytes before the metadata. */
export const messagePrefixBytes = 8;

/** Bytes of metadata that follow a message's first eight; 0 at the end of the stream. @throws OUTPUT_CORRUPT */
export function metadataBytesOf(prefix: Uint8Array): number {
  const view = new DataView(prefix.buffer, prefix.byteOffset, messagePrefixBytes);
  const bytes = view.getInt32(4, true);
  if (view.getInt32(0, true) !== -1 || bytes < 0 || bytes % 8 !== 0) throw corrupt('no message of Arrow begins there');
  return bytes;
}

export type MessageHead =
  | { readonly kind: 'schema'; readonly schema: Schema }
  | { readonly kind: 'batch'; readonly rows: number; readonly bodyBytes: number };

/** What a message's metadata says. @throws OUTPUT_CORRUPT when it cannot be, or names bytes outside of its body */
export function messageHead(metadata: Uint8Array): MessageHead {
  const { header, rows, bodyBytes, isWithin } = decoded(() => batchHead(metadata));
  if (header === 'schema')
    return { kind: 'schema', schema: decoded(() => Message.decode(metadata).header() as Schema) };
  if (header !== 'record batch') throw corrupt(`a message of kind ${header} stands where rows are expected`);
  if (!isWithin) throw corrupt('a record batch names bytes that it does not have');
  return { kind: 'batch', rows, bodyBytes };
}

function decoded<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw corrupt('the head of a message cannot be read', error);
  }
}

/** @throws OUTPUT_CORRUPT */
export function decodeBatches({ message }: StreamSchema, messages: readonly BatchMessage[]): readonly RecordBatch[] {
  try {
    const bytes = Buffer.concat([message, ...messages.map((one) => one.bytes), endOfStream]);
    return [...RecordBatchReader.from(bytes)];
  } catch (error) {
    throw corrupt('a record batch cannot be read', error);
  }
}

/** The message of a schema; `metadata` is added to what it says about itself. */
export function schemaMessage(
  { fields, metadata }: Schema,
  added: Readonly<Record<string, string>> = {},
): StreamSchema {
  const schema = new Schema([...fields], new Map([...metadata, ...Object.entries(added)]));
  const bytes = streamOf(schema, []);
  return { message: bytes.subarray(0, firstMessageBytes(bytes)), schema };
}

/** Columns in the order of the schema's fields, all of `rows` rows. */
export function batchMessage(schema: Schema, columns: readonly Data[], rows: number): BatchMessage {
  const data = makeData({
    type: new Struct(schema.fields),
    length: rows,
    nullCount: 0,
    children: [...columns],
  });
  const bytes = streamOf(schema, [new RecordBatch(schema, data)]);
  return { bytes: bytes.subarray(firstMessageBytes(bytes), bytes.length - endOfStream.length), rows };
}

/** No rows, for what must be given some. */
export function emptyBatchMessage(schema: Schema): BatchMessage {
  return batchMessage(
    schema,
    schema.fields.map(({ type }) => emptyData(type as DataType)),
    0,
  );
}

function emptyData(type: DataType): Data {
  const children = (type.children ?? []).map((field) => emptyData(field.type as DataType));
  return makeData({ type, length: 0, nullCount: 0, children, child: children[0] } as never);
}

function streamOf(schema: Schema, batches: readonly RecordBatch[]): Uint8Array {
  const writer = new RecordBatchStreamWriter();
  writer.reset(undefined, schema);
  for (const batch of batches) writer.write(batch);
  writer.finish();
  return writer.toUint8Array(true);
}

function firstMessageBytes(stream: Uint8Array): number {
  return messagePrefixBytes + metadataBytesOf(stream);
}

function corrupt(text: string, cause?: unknown): BatchError {
  return new BatchError('OUTPUT_CORRUPT', text, { cause });
}
