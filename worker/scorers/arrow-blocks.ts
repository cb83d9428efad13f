/** Arrow IPC files and streams (`.arrow`, `.feather`) as blocks of columns, a record batch at a time. */
import { open, type FileHandle } from 'node:fs/promises';
import type * as Arrow from 'apache-arrow';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile, HostPart } from '../../common/core/host-protocol.ts';
import { footerBytesOf, footerOf, footerTailBytes } from '../../common/format/arrow-footer.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { readFully } from '../../common/io/read-fully.ts';
import { decodeLz4Frame } from './lz4-frame.ts';
import { arrowCells } from './arrow-cells.ts';
import type { ColumnBlock } from './column-block.ts';
import { typeLook } from './type-look.ts';

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
  const { part } = file;
  if (part?.kind === 'groups' && part.count === 0) return;
  const arrow = await import('apache-arrow');
  await registerCodecs(arrow);
  const handle = await openFile(file);
  try {
    const source = part?.kind === 'groups' ? await fileOf(handle, part) : handle;
    const reader = await arrow.RecordBatchReader.from(source as FileHandle);
    await reader.open();
    let first = part?.row ?? 0;
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

/** The file as it would be with some of its record batches alone: its footer names no others. */
async function fileOf(
  handle: FileHandle,
  { first, count }: Extract<HostPart, { kind: 'groups' }>,
): Promise<Pick<FileHandle, 'fd' | 'stat' | 'read' | 'close'>> {
  const { size } = await handle.stat();
  const tail = Buffer.alloc(Math.min(size, footerTailBytes));
  await readFully(handle, tail, size - tail.length);
  const footerBytes = footerBytesOf(tail);
  if (footerBytes === null) throw new Error('there is no footer');
  const begin = size - footerTailBytes - footerBytes;
  const whole = Buffer.alloc(footerBytes);
  await readFully(handle, whole, begin);
  const footer = footerOf(whole, first, count);
  const read = async (bytes: Uint8Array, offset: number, length: number, position: number): Promise<unknown> => {
    const found = await handle.read(bytes, offset, length, position);
    const [from, to] = [Math.max(position, begin), Math.min(position + found.bytesRead, begin + footerBytes)];
    if (from < to) bytes.set(footer.subarray(from - begin, to - begin), offset + from - position);
    return found;
  };
  return {
    fd: handle.fd,
    stat: handle.stat.bind(handle),
    read: read as FileHandle['read'],
    close: () => handle.close(),
  };
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
  const cells = (name: string): ReturnType<typeof arrowCells> =>
    arrowCells(batch.data.children[names.indexOf(name)] as Arrow.Data);
  return {
    rows: batch.numRows,
    names,
    look: typeLook((name) => {
      const type = batch.schema.fields[names.indexOf(name)]?.type;
      if (arrow.DataType.isDecimal(type)) return { kind: 'float', bits: 64 };
      return isFed(type, arrow) ? cells(name).type : null;
    }),
    column,
    carried: (name) => ({ name, ...cells(name) }),
    place: (row) => `row ${first + row}`,
  };
}

/** Whether {@link valuesOf} gives values that a model may take. */
function isFed(type: Arrow.DataType | undefined, arrow: typeof Arrow): boolean {
  const { Null, List, FixedSizeList } = arrow.Type;
  const fed: readonly number[] = [Null, List, FixedSizeList, ...plainTypes(arrow)];
  return type !== undefined && fed.includes(type.typeId);
}

function plainTypes({ Type }: typeof Arrow): readonly number[] {
  return [Type.Int, Type.Float, Type.Bool, Type.Utf8, Type.LargeUtf8, Type.Dictionary];
}

function valuesOf(vector: Arrow.Vector, arrow: typeof Arrow): ArrayLike<unknown> {
  const { DataType } = arrow;
  const type = vector.type as Arrow.DataType;
  if (DataType.isNull(type)) return new Array<null>(vector.length).fill(null);
  const isHalf = DataType.isFloat(type) && type.precision === 0;
  if ((DataType.isInt(type) || DataType.isFloat(type)) && vector.nullCount === 0 && !isHalf) {
    return vector.toArray() as ArrayLike<unknown>;
  }
  if (DataType.isList(type) || DataType.isFixedSizeList(type)) {
    return Array.from(vector as Iterable<Arrow.Vector | null>, (list) => list && valuesOf(list, arrow));
  }
  // Numbers for a model, as those of Parquet are.
  if (DataType.isDecimal(type)) return vector.data.flatMap(decimalsOf);
  if (plainTypes(arrow).includes(type.typeId)) return Array.from(vector as Iterable<unknown>);
  const other = new OtherValue(String(type));
  return Array.from(vector as Iterable<unknown>, (value) => (value === null ? null : other));
}

function decimalsOf(data: Arrow.Data): (number | null)[] {
  const { cell } = arrowCells(data);
  return Array.from({ length: data.length }, (_, row) => {
    const text = cell(row);
    return text === null ? null : Number(text);
  });
}

/** What writers compress with: feather files are LZ4 unless told otherwise. */
async function registerCodecs(arrow: typeof Arrow): Promise<void> {
  const { CompressionType, compressionRegistry } = arrow;
  if (compressionRegistry.get(CompressionType.LZ4_FRAME) !== null) return;
  const { decompressZstd } = await import('hyparquet-compressors');
  compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: decodeLz4Frame });
  compressionRegistry.set(CompressionType.ZSTD, { decode: (bytes) => decompressZstd(bytes) });
}
