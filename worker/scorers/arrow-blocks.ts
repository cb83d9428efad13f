/** Arrow IPC files and streams (`.arrow`, `.feather`) as blocks of columns, a record batch at a time. */
import { open, type FileHandle } from 'node:fs/promises';
import type * as Arrow from 'apache-arrow';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { decodeLz4Frame } from './lz4-frame.ts';
import { arrowCells } from './arrow-cells.ts';
import type { ColumnBlock } from './column-block.ts';

/** A value of a type that is fed to no model; shown as the type's name. */
class OtherValue {
  readonly #type: string;
  constructor(type: string) {
    this.#type = type;
  }
  toString(): string {
    return `a value of Arrow type ${this.#type}`;
  }
}

/** Throws INPUT_UNREADABLE and INPUT_DECODE_FAILED. */
export async function* readArrowBlocks(file: HostFile): AsyncGenerator<ColumnBlock> {
  const arrow = await import('apache-arrow');
  await registerCodecs(arrow);
  const handle = await openFile(file);
  try {
    const reader = await arrow.RecordBatchReader.from(handle);
    await reader.open();
    let first = 0;
    for await (const batch of reader as AsyncIterable<Arrow.RecordBatch>) {
      const begin = first;
      first += batch.numRows;
      if (batch.numRows > 0) yield blockOf(batch, begin, arrow);
    }
  } catch (error) {
    if (error instanceof BatchError) throw error;
    const text = `${file.name} is no Arrow file or stream that can be decoded: ${reasonOf(error)}`;
    throw new BatchError('INPUT_DECODE_FAILED', text, { cause: error });
  } finally {
    // The reader closes what it has read to the end.
    await handle.close().catch(() => undefined);
  }
}

async function openFile(file: HostFile): Promise<FileHandle> {
  try {
    return await open(file.path);
  } catch (error) {
    throw new BatchError('INPUT_UNREADABLE', `${file.name} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

function blockOf(batch: Arrow.RecordBatch, first: number, arrow: typeof Arrow): ColumnBlock {
  const names = batch.schema.fields.map((field) => field.name);
  const made = new Map<string, ArrayLike<unknown>>();
  const column = (name: string): ArrayLike<unknown> => {
    const vector = batch.getChildAt(names.indexOf(name));
    const values = made.get(name) ?? (vector === null ? [] : valuesOf(vector, arrow));
    made.set(name, values);
    return values;
  };
  return {
    rows: batch.numRows,
    names,
    column,
    carried: (name) => ({ name, ...arrowCells(batch.data.children[names.indexOf(name)] as Arrow.Data) }),
    place: (row) => `row ${first + row}`,
  };
}

function valuesOf(vector: Arrow.Vector, arrow: typeof Arrow): ArrayLike<unknown> {
  const { DataType, Type } = arrow;
  const type = vector.type as Arrow.DataType;
  if (DataType.isNull(type)) return new Array<null>(vector.length).fill(null);
  const isHalf = DataType.isFloat(type) && type.precision === 0;
  if ((DataType.isInt(type) || DataType.isFloat(type)) && vector.nullCount === 0 && !isHalf) {
    return vector.toArray() as ArrayLike<unknown>;
  }
  if (DataType.isList(type) || DataType.isFixedSizeList(type)) {
    return Array.from(vector as Iterable<Arrow.Vector | null>, (list) => list && valuesOf(list, arrow));
  }
  const plain: readonly number[] = [Type.Int, Type.Float, Type.Bool, Type.Utf8, Type.LargeUtf8, Type.Dictionary];
  if (plain.includes(type.typeId)) return Array.from(vector as Iterable<unknown>);
  const other = new OtherValue(String(type));
  return Array.from(vector as Iterable<unknown>, (value) => (value === null ? null : other));
}

/** What writers compress with: feather files are LZ4 unless told otherwise. */
async function registerCodecs(arrow: typeof Arrow): Promise<void> {
  const { CompressionType, compressionRegistry } = arrow;
  if (compressionRegistry.get(CompressionType.LZ4_FRAME) !== null) return;
  const { decompressZstd } = await import('hyparquet-compressors');
  compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: decodeLz4Frame });
  compressionRegistry.set(CompressionType.ZSTD, { decode: (bytes) => decompressZstd(bytes) });
}
