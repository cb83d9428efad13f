/** Rows as a Parquet file: record batches go into WebAssembly as they are, and pages come out of it. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import {
  ReadableStream,
  type ReadableStreamDefaultController,
  type ReadableStreamDefaultReader,
} from 'node:stream/web';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parquetMetadataAsync } from 'hyparquet';
import type * as Wasm from 'parquet-wasm';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { PartFile, PartsForm } from '../../common/core/parts-form.ts';
import { emptyBatchMessage, type BatchMessage } from '../../common/format/arrow-message.ts';
import { endOfStream } from '../../common/format/arrow-stream.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { readFully } from '../../common/io/read-fully.ts';
import type { BatchRows } from './batch-rows.ts';
import { forgetParquetLibrary, parquetLibrary } from './parquet-library.ts';
import { PartWriter } from './part-writer.ts';

export interface ParquetPart {
  readonly dir: string;
  /** Relative to `dir`. */
  readonly path: string;
  readonly form: Pick<PartsForm, 'rowGroupRows' | 'compression'>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Writes up to `rowsMax` rows. @throws OUTPUT_CORRUPT, SCORER_OUTPUT_INVALID, DISK_FULL, STATE_UNWRITABLE */
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
  const wasm = parquetLibrary();
  const input = new Input(wasm, rows, rowsMax);
  try {
    const pages = await wasm.transformParquetStream(input.stream as never, properties(wasm, form, metadata));
    const reader = (pages as ReadableStream<Uint8Array>).getReader();
    for (let page = await input.page(reader); page !== undefined; page = await input.page(reader)) {
      await writer.write(page);
    }
    input.check();
    return input.given;
  } catch (error) {
    // The transformation takes an error of its input for its end, or makes another one of it.
    const failure = input.failure ?? error;
    forgetParquetLibrary();
    if (failure instanceof BatchError) throw failure;
    const code = input.failure === null ? 'SCORER_OUTPUT_INVALID' : 'OUTPUT_CORRUPT';
    throw new BatchError(code, `${path}: the rows cannot be written as Parquet: ${reasonOf(failure)}`, {
      cause: failure,
    });
  }
}

/** Record batches for the transformation, and its pages; it tells nobody when it fails half-way, and then stands still. */
class Input {
  readonly stream: ReadableStream<Wasm.RecordBatch>;
  given = 0;
  failure: unknown = null;
  readonly #wasm: typeof Wasm;
  readonly #rows: BatchRows;
  readonly #rowsMax: number;
  /** The batches that it was given last, as a stream. */
  #last: Uint8Array | null = null;
  /** While batches are read for it. */
  #pull: Promise<void> | null = null;

  constructor(wasm: typeof Wasm, rows: BatchRows, rowsMax: number) {
    this.#wasm = wasm;
    this.#rows = rows;
    this.#rowsMax = rowsMax;
    const pull = async (controller: Controller): Promise<void> => {
      this.#pull = this.#next(controller);
      await this.#pull;
      this.#pull = null;
    };
    this.stream = new ReadableStream<Wasm.RecordBatch>({ pull }, { highWaterMark: 0 });
  }

  /** The next page; undefined behind the last one. @throws what the transformation failed with */
  async page(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<Uint8Array | undefined> {
    const read = reader.read();
    // All that it does without us is done in turns of the event loop, one after the other.
    for (let turns = 0; turns < idleTurnsMax; turns += 1) {
      const found = await Promise.race([read, nextTurn(null)]);
      if (found !== null) return found.value;
      if (this.#pull === null) continue;
      await this.#pull;
      turns = 0;
    }
    throw this.#reason();
  }

  /** @throws what reading the rows failed with */
  check(): void {
    if (this.failure !== null) throw this.failure;
  }

  async #next(controller: Controller): Promise<void> {
    try {
      const group = await nextGroup(this.#rows, this.#rowsMax - this.given);
      // Of a file without rows, too, the columns must be known.
      if (group.length === 0 && this.#last === null) group.push(emptyBatchMessage(this.#rows.schema.schema));
      if (group.length === 0) return controller.close();
      for (const { rows: count } of group) this.given += count;
      this.#last = Buffer.concat([this.#rows.schema.message, ...group.map(({ bytes }) => bytes), endOfStream]);
      for (const batch of batchesOf(this.#wasm, this.#last)) controller.enqueue(batch);
    } catch (error) {
      this.failure = error;
      controller.error(error);
    }
  }

  /** Why it stands still: the same rows, written by the call that says it. */
  #reason(): unknown {
    try {
      if (this.#last !== null) this.#wasm.writeParquet(this.#wasm.Table.fromIPCStream(this.#last));
    } catch (error) {
      return error;
    }
    return new Error('the writer gave up, and does not say why');
  }
}

type Controller = ReadableStreamDefaultController<Wasm.RecordBatch>;

/** So many turns in which nothing comes, while nothing is waited for, and nothing will. */
const idleTurnsMax = 1_000;

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

function batchesOf(wasm: typeof Wasm, stream: Uint8Array): Wasm.RecordBatch[] {
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
      await readFully(file, bytes, begin);
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
