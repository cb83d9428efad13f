/**
 * Rows of Arrow columns put together anew: any runs of rows of any record batches with the same columns, in the order in
 * which they are named. Pure; buffers are copied, never changed.
 */
import { makeData, Type, type Data, type DataType } from 'apache-arrow';
import { BatchError } from '../core/batch-error.ts';

/** Rows of one column, as a record batch has it. */
export interface Pick {
  readonly data: Data;
  /** Begin and end (exclusive) of each run of rows, one after the other. */
  readonly runs: Uint32Array;
}

type Words = Uint8Array | Uint16Array | Uint32Array;
type Offsets = Int32Array | BigInt64Array;

/** Types whose rows are so many bytes each. */
const fixedTypes: ReadonlySet<Type> = new Set([
  ...[Type.Int, Type.Float, Type.Decimal, Type.Date, Type.Time, Type.Timestamp],
  ...[Type.Interval, Type.Duration, Type.FixedSizeBinary],
]);
const bytesTypes: ReadonlySet<Type> = new Set([Type.Utf8, Type.Binary, Type.LargeUtf8, Type.LargeBinary]);
const listTypes: ReadonlySet<Type> = new Set([Type.List, Type.LargeList, Type.Map]);
/** Offsets of 64 bits. */
const largeTypes: ReadonlySet<Type> = new Set([Type.LargeUtf8, Type.LargeBinary, Type.LargeList]);

/** The first type, of this one and those within it, whose rows cannot be put together; null: none. */
export function ungatherable(type: DataType): DataType | null {
  const typeId = type.typeId as Type;
  if (fixedTypes.has(typeId) || bytesTypes.has(typeId) || typeId === Type.Null || typeId === Type.Bool) return null;
  if (!listTypes.has(typeId) && typeId !== Type.FixedSizeList && typeId !== Type.Struct) return type;
  for (const field of type.children ?? []) {
    const found = ungatherable(field.type as DataType);
    if (found !== null) return found;
  }
  return null;
}

/** A single run of rows. */
export const runOf = (begin: number, end: number): Uint32Array => Uint32Array.of(begin, end);

/** Rows in ascending order as runs. */
export function runsOf(rows: ArrayLike<number>): Uint32Array {
  const runs = new Uint32Array(2 * rows.length);
  let count = 0;
  for (let i = 0; i < rows.length; i += 1) {
    const row = rows[i] as number;
    if (count > 0 && runs[count - 1] === row) runs[count - 1] = row + 1;
    else {
      runs[count] = row;
      runs[count + 1] = row + 1;
      count += 2;
    }
  }
  return runs.subarray(0, count);
}

/**
 * One column of all rows that are picked, at least one pick; all of one type.
 * @throws SCORER_OUTPUT_INVALID for a type of other buffers; OUTPUT_CORRUPT when a value lies outside of its column, or more than 2 GiB come together
 */
export function gather(picks: readonly Pick[]): Data {
  const { type } = (picks[0] as Pick).data;
  const typeId = type.typeId as Type;
  const rows = rowsOf(picks);
  if (ungatherable(type as DataType) !== null) {
    const text = `values of the Arrow type ${String(type)} cannot be cut or put together: cast them first`;
    throw new BatchError('SCORER_OUTPUT_INVALID', text);
  }
  if (picks.some(({ data, runs }) => (runs.at(-1) ?? 0) > data.length)) throw outside();
  const base = { type, length: rows, ...gatherValidity(picks, rows) };
  const made = (parts: object): Data => makeData({ ...base, ...parts } as never);
  if (typeId === Type.Null) return makeData({ type, length: rows } as never);
  if (typeId === Type.Bool) return made({ data: gatherBits(picks, rows, ({ values }) => values as Uint8Array).bits });
  if (fixedTypes.has(typeId)) return made({ data: gatherFixed(picks, rows) });
  if (typeId === Type.Struct) {
    const children = (type.children ?? []).map((_, i) =>
      gather(picks.map(({ data, runs }) => ({ data: data.children[i] as Data, runs }))),
    );
    return made({ children });
  }
  if (typeId === Type.FixedSizeList) {
    const size = (type as { readonly listSize?: number }).listSize ?? 0;
    const child = picks.map(({ data, runs }) => ({
      data: data.children[0] as Data,
      runs: runs.map((row) => row * size),
    }));
    return made({ child: gather(child) });
  }
  const { offsets, items } = gatherOffsets(picks, rows, largeTypes.has(typeId));
  if (listTypes.has(typeId)) return made({ valueOffsets: offsets, child: gather(items) });
  return made({ valueOffsets: offsets, data: gatherBytes(items) });
}

function rowsOf(picks: readonly Pick[]): number {
  let rows = 0;
  for (const { runs } of picks) for (let i = 0; i < runs.length; i += 2) rows += (runs[i + 1] ?? 0) - (runs[i] ?? 0);
  return rows;
}

function gatherValidity(
  picks: readonly Pick[],
  rows: number,
): { readonly nullCount: number; readonly nullBitmap?: Uint8Array } {
  if (picks.every(({ data }) => data.nullCount === 0)) return { nullCount: 0 };
  const { bits, ones } = gatherBits(picks, rows, ({ nullBitmap, nullCount }) => (nullCount === 0 ? null : nullBitmap));
  return ones === rows ? { nullCount: 0 } : { nullCount: rows - ones, nullBitmap: bits };
}

/** Null in place of a bitmap: all ones. */
function gatherBits(
  picks: readonly Pick[],
  rows: number,
  bitmapOf: (data: Data) => Uint8Array | null | undefined,
): { readonly bits: Uint8Array; readonly ones: number } {
  // A multiple of 8 bytes, as all buffers of a message are.
  const bits = new Uint8Array(Math.ceil(rows / 64) * 8);
  let at = 0;
  let ones = 0;
  for (const { data, runs } of picks) {
    const bitmap = bitmapOf(data) ?? null;
    if (bitmap !== null && bitmap.length * 8 < (runs.at(-1) ?? 0) + data.offset) throw outside();
    for (let i = 0; i < runs.length; i += 2) {
      const end = (runs[i + 1] as number) + data.offset;
      for (let row = (runs[i] as number) + data.offset; row < end; row += 1) {
        if (bitmap === null || ((bitmap[row >> 3] as number) >> (row & 7)) & 1) {
          (bits[at >> 3] as number) |= 1 << (at & 7);
          ones += 1;
        }
        at += 1;
      }
    }
  }
  return { bits, ones };
}

function gatherFixed(picks: readonly Pick[], rows: number): ArrayBufferView {
  const { values, stride } = (picks[0] as Pick).data;
  const typed = values as Float64Array;
  const made = new (typed.constructor as Float64ArrayConstructor)(rows * stride);
  const bytes = typed.BYTES_PER_ELEMENT * stride;
  // Words, as a double or a BigInt in between would cost time, or a NaN its bits.
  const size = bytes % 4 === 0 ? 4 : bytes % 2 === 0 ? 2 : 1;
  const words = bytes / size;
  const target = wordsOf(made, size);
  let at = 0;
  for (const { data, runs } of picks) {
    const source = wordsOf(data.values as Float64Array, size);
    if (source.length < (runs.at(-1) ?? 0) * words) throw outside();
    for (let i = 0; i < runs.length; i += 2) {
      const begin = (runs[i] as number) * words;
      const end = (runs[i + 1] as number) * words;
      if (end - begin <= shortCopy) for (let word = begin; word < end; word += 1) target[at++] = source[word] as number;
      else {
        target.set(source.subarray(begin, end), at);
        at += end - begin;
      }
    }
  }
  return made;
}

/** Up to so many elements a loop is faster than a view and `set`. */
const shortCopy = 32;

function wordsOf({ buffer, byteOffset, byteLength }: ArrayBufferView, size: number): Words {
  if (size === 4) return new Uint32Array(buffer, byteOffset, byteLength / 4);
  return size === 2
    ? new Uint16Array(buffer, byteOffset, byteLength / 2)
    : new Uint8Array(buffer, byteOffset, byteLength);
}

/** Offsets of texts or lists, and the runs of their bytes or items. */
function gatherOffsets(
  picks: readonly Pick[],
  rows: number,
  isLarge: boolean,
): { readonly offsets: Offsets; readonly items: readonly Pick[] } {
  const offsets = isLarge ? new BigInt64Array(rows + 1) : new Int32Array(rows + 1);
  let at = 0;
  let length = 0;
  const items = picks.map(({ data, runs }): Pick => {
    const source = data.valueOffsets as unknown as Offsets;
    const lengthMax = data.children[0]?.length ?? (data.values as Uint8Array).length;
    const found = new Uint32Array(runs.length);
    for (let i = 0; i < runs.length; i += 2) {
      const end = runs[i + 1] as number;
      let before = Number(source[runs[i] as number]);
      found[i] = before;
      if (!(before >= 0)) throw outside();
      for (let row = runs[i] as number; row < end; row += 1) {
        const next = Number(source[row + 1]);
        if (!(next >= before && next <= lengthMax)) throw outside();
        length += next - before;
        before = next;
        at += 1;
        if (isLarge) offsets[at] = BigInt(length);
        else offsets[at] = length;
      }
      found[i + 1] = before;
    }
    return { data: data.children[0] ?? data, runs: found };
  });
  if (length > offsetMax)
    throw new BatchError('OUTPUT_CORRUPT', 'more than 2 GiB would stand in one column of a batch');
  return { offsets, items };
}

const offsetMax = 2 ** 31 - 1;

const outside = (): BatchError => new BatchError('OUTPUT_CORRUPT', 'a record batch has a value outside of its column');

/** `runs` are of bytes here. */
function gatherBytes(picks: readonly Pick[]): Uint8Array {
  const bytes = new Uint8Array(rowsOf(picks));
  let at = 0;
  for (const { data, runs } of picks) {
    const source = data.values as Uint8Array;
    for (let i = 0; i < runs.length; i += 2) {
      const begin = runs[i] as number;
      const end = runs[i + 1] as number;
      if (end - begin <= shortCopy) for (let byte = begin; byte < end; byte += 1) bytes[at++] = source[byte] as number;
      else {
        bytes.set(source.subarray(begin, end), at);
        at += end - begin;
      }
    }
  }
  return bytes;
}
