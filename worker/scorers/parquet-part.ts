/** Rows as a Parquet file: record batches go into WebAssembly as they are, and pages come out of it. */
import { open } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { ReadableStream } from 'node:stream/web';
import { parquetMetadataAsync } from 'hyparquet';
import type * as Wasm from 'parquet-wasm';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { PartFile, PartsForm } from '../../common/core/parts-form.ts';
import { emptyBatchMessage, type BatchMessage } from '../../common/format/arrow-message.ts';
import { endOfStream } from '../../common/format/arrow-stream.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { BatchRows } from './batch-rows.ts';
import { PartWriter } from './part-writer.ts';

const require = createRequire(import.meta.url);
let loaded: typeof Wasm | null = null;

function parquet(): typeof Wasm {
  loaded ??= require('parquet-wasm') as typeof Wasm;
  return loaded;
}

/** After a panic its memory is not to be trusted: the next file has an instance of its own. */
function forget(): void {
  loaded = null;
  delete require.cache[require.resolve('parquet-wasm')];
}

export interface ParquetPart {
  readonly dir: string;
  /** Relative to `dir`. */
  readonly path: string;
  readonly form: Pick<PartsForm, 'rowGroupRows' | 'compression'>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Writes up to `rowsMax` rows. @throws OUTPUT_CORRUPT, DISK_FULL, STATE_UNWRITABLE */
export async function writeParquetPart(part: ParquetPart, rows: BatchRows, rowsMax: number): Promise<PartFile> {
  const writer = await PartWriter.open(part.dir, part.path);
  try {
    const given = await transform(part, rows, rowsMax, writer);
    const written = await writer.close(given);
    await checkRows(part, given);
    return written;
  } finally {
    await writer.abandon();
  }
}

async function transform(
  { path, form, metadata }: ParquetPart,
  rows: BatchRows,
  rowsMax: number,
  writer: PartWriter,
): Promise<number> {
  const wasm = parquet();
  let given = 0;
  let isBegun = false;
  // The transformation takes an error of its input for the end of it, so that it must be kept here.
  const failures: unknown[] = [];
  const input = new ReadableStream<Wasm.RecordBatch>(
    {
      pull: async (controller) => {
        try {
          const group = await nextGroup(rows, rowsMax - given);
          // Of a file without rows, too, the columns must be known.
          if (group.length === 0 && !isBegun) group.push(emptyBatchMessage(rows.schema.schema));
          isBegun = true;
          for (const { rows: count } of group) given += count;
          if (group.length === 0) controller.close();
          else for (const batch of batchesOf(wasm, rows, group)) controller.enqueue(batch);
        } catch (error) {
          failures.push(error);
          controller.error(error);
        }
      },
    },
    { highWaterMark: 0 },
  );
  try {
    const pages = await wasm.transformParquetStream(input as never, properties(wasm, form, metadata));
    for await (const bytes of pages as ReadableStream<Uint8Array>) await writer.write(bytes);
  } catch (error) {
    failures.push(error);
  }
  const [failure] = failures;
  if (failure === undefined) return given;
  if (failure instanceof Error && failure.name === 'RuntimeError') forget();
  if (failure instanceof BatchError) throw failure;
  throw new BatchError('OUTPUT_CORRUPT', `${path}: the rows cannot be written as Parquet: ${reasonOf(failure)}`, {
    cause: failure,
  });
}

/** Batches of about a MiB, as each call into WebAssembly costs; one that is larger is alone. */
async function nextGroup(rows: BatchRows, rowsMax: number): Promise<BatchMessage[]> {
  const group: BatchMessage[] = [];
  let bytes = 0;
  let count = 0;
  while (bytes < limits.partReadBytes && count < rowsMax) {
    const next = await rows.take(rowsMax - count);
    if (next === null) break;
    group.push(next);
    bytes += next.bytes.length;
    count += next.rows;
  }
  return group;
}

function batchesOf(wasm: typeof Wasm, { schema }: BatchRows, group: readonly BatchMessage[]): Wasm.RecordBatch[] {
  const stream = Buffer.concat([schema.message, ...group.map(({ bytes }) => bytes), endOfStream]);
  const table = wasm.Table.fromIPCStream(stream);
  try {
    return table.recordBatches();
  } finally {
    table.free();
  }
}

function properties(
  { Compression, WriterPropertiesBuilder }: typeof Wasm,
  { rowGroupRows, compression }: ParquetPart['form'],
  metadata: Readonly<Record<string, string>>,
): Wasm.WriterProperties {
  const codec = { snappy: Compression.SNAPPY, zstd: Compression.ZSTD, none: Compression.UNCOMPRESSED }[compression];
  return new WriterPropertiesBuilder()
    .setCompression(codec)
    .setMaxRowGroupSize(rowGroupRows)
    .setMaxRowGroupBytes(limits.rowGroupBytesMax)
    .setKeyValueMetadata(new Map(Object.entries(metadata)))
    .setCreatedBy('batchmill')
    .build();
}

/** What the file says of itself at its end, read back: no rows may be lost without a word. */
async function checkRows({ dir, path }: ParquetPart, wanted: number): Promise<void> {
  const file = await open(join(dir, path));
  try {
    const { size: byteLength } = await file.stat();
    const slice = async (begin: number, end = byteLength): Promise<ArrayBuffer> => {
      const bytes = new Uint8Array(end - begin);
      await file.read(bytes, 0, bytes.length, begin);
      return bytes.buffer;
    };
    const { num_rows: found } = await parquetMetadataAsync({ byteLength, slice });
    if (Number(found) !== wanted) throw new Error(`it has ${found} rows, and ${wanted} were given`);
  } catch (error) {
    throw new BatchError('OUTPUT_CORRUPT', `${path} was not written whole: ${reasonOf(error)}`, { cause: error });
  } finally {
    await file.close();
  }
}
