/**
 * Columns of plain JavaScript values as Arrow data: the type is found in the values, or told. Whole numbers are int64 and
 * others float64; a column with both is float64. Objects in cells become JSON text, as their keys may differ from row to
 * row, unless a struct is told.
 */
import type * as Arrow from 'apache-arrow';
import type { Data, DataType } from 'apache-arrow';
import { BatchError } from '../core/batch-error.ts';
import { unreachable } from '../core/invariant.ts';
import { typeText, type ColumnType, type TimeUnit } from './column-type.ts';
import { halfOfFloat } from './half-float.ts';
import { Instant } from './instant.ts';
import { cellText, jsonText } from './cell-text.ts';

export type CellOf = (row: number) => unknown;

const nullType: ColumnType = { kind: 'null' };
const boolType: ColumnType = { kind: 'bool' };
const textType: ColumnType = { kind: 'utf8' };
const bytesType: ColumnType = { kind: 'binary' };
const wholeType: ColumnType = { kind: 'int', bits: 64, isSigned: true };
const floatType: ColumnType = { kind: 'float', bits: 64 };
const timeType: ColumnType = { kind: 'timestamp', unit: 'ms', zone: 'UTC' };

const typedArrays: Readonly<Record<string, ColumnType>> = {
  Int8Array: { kind: 'int', bits: 8, isSigned: true },
  Int16Array: { kind: 'int', bits: 16, isSigned: true },
  Int32Array: { kind: 'int', bits: 32, isSigned: true },
  BigInt64Array: wholeType,
  Uint8Array: { kind: 'int', bits: 8, isSigned: false },
  Uint8ClampedArray: { kind: 'int', bits: 8, isSigned: false },
  Uint16Array: { kind: 'int', bits: 16, isSigned: false },
  Uint32Array: { kind: 'int', bits: 32, isSigned: false },
  BigUint64Array: { kind: 'int', bits: 64, isSigned: false },
  Float32Array: { kind: 'float', bits: 32 },
  Float64Array: floatType,
};

/** Type of the cells of a typed array; null for anything else. */
export function cellTypeOf(values: unknown): ColumnType | null {
  if (!ArrayBuffer.isView(values) || Buffer.isBuffer(values)) return null;
  return typedArrays[values.constructor.name] ?? null;
}

/** The type that fits all rows. @throws SCORER_OUTPUT_INVALID when values are of kinds that no column holds together */
export function inferType(column: string, rows: number, cell: CellOf): ColumnType {
  let type = nullType;
  for (let row = 0; row < rows; row += 1) {
    const own = typeOfValue(cell(row));
    if (own === type) continue;
    const merged = mergeTypes(type, own);
    if (merged === null) {
      throw invalid(
        `column ${JSON.stringify(column)} is ${typeText(own)} in row ${row} and ${typeText(type)} in the rows before; ` +
          'return one type, or declare it in output.schema',
      );
    }
    type = merged;
  }
  return type;
}

function typeOfValue(value: unknown): ColumnType {
  switch (typeof value) {
    case 'string':
      return textType;
    case 'number':
      return Number.isSafeInteger(value) && !Object.is(value, -0) ? wholeType : floatType;
    case 'bigint':
      return wholeType;
    case 'boolean':
      return boolType;
    case 'undefined':
      return nullType;
    default:
      return typeOfObject(value);
  }
}

function typeOfObject(value: unknown): ColumnType {
  if (value === null) return nullType;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? nullType : timeType;
  if (Buffer.isBuffer(value)) return bytesType;
  const cells = cellTypeOf(value);
  if (cells) return { kind: 'list', item: cells };
  if (!Array.isArray(value)) return textType;
  let item = nullType;
  for (const one of value as readonly unknown[]) {
    const merged = mergeTypes(item, typeOfValue(one));
    // A list of this and that has no type; as JSON it is read all the same.
    if (merged === null) return textType;
    item = merged;
  }
  return { kind: 'list', item };
}

/** Null when nothing holds both. */
function mergeTypes(a: ColumnType, b: ColumnType): ColumnType | null {
  if (a === b || b.kind === 'null') return a;
  if (a.kind === 'null') return b;
  if (a.kind === 'list' && b.kind === 'list') {
    const item = mergeTypes(a.item, b.item);
    return item && { kind: 'list', item };
  }
  if (typeText(a) === typeText(b)) return a;
  const isNumber = (type: ColumnType): boolean => type.kind === 'int' || type.kind === 'float';
  return isNumber(a) && isNumber(b) ? (a.kind === b.kind && a.kind === 'int' ? wholeType : floatType) : null;
}

export interface ColumnBuilder {
  /** `column` is for messages. @throws SCORER_OUTPUT_INVALID for a value that does not fit the type */
  build(column: string, type: ColumnType, rows: number, cell: CellOf): Data;
  /** The same type as Arrow has it. */
  dataType(type: ColumnType): DataType;
}

/** Integers that their typed arrays hold as numbers. */
type SmallInts = Int8Array | Int16Array | Int32Array | Uint8Array | Uint16Array | Uint32Array;

export function columnBuilder(arrow: typeof Arrow): ColumnBuilder {
  const units = { s: 0, ms: 1, us: 2, ns: 3 } as const;
  const dataType = (type: ColumnType): DataType => {
    switch (type.kind) {
      case 'null':
        return new arrow.Null();
      case 'bool':
        return new arrow.Bool();
      case 'utf8':
        return new arrow.Utf8();
      case 'binary':
        return new arrow.Binary();
      case 'date32':
        return new arrow.DateDay();
      case 'int':
        return new arrow.Int(type.isSigned as true, type.bits as 32);
      case 'float':
        return new arrow.Float(({ 16: 0, 32: 1, 64: 2 } as const)[type.bits]);
      case 'timestamp':
        return new arrow.Timestamp(units[type.unit], type.zone);
      case 'list':
        return new arrow.List(new arrow.Field('item', dataType(type.item), true));
      case 'struct':
        return new arrow.Struct(type.fields.map((field) => new arrow.Field(field.name, dataType(field.type), true)));
      default:
        return unreachable(type);
    }
  };
  const build = (column: string, type: ColumnType, rows: number, cell: CellOf): Data => {
    const nulls = nullsOf(rows, cell);
    const own = { length: rows, nullCount: nulls.count, ...(nulls.bitmap ? { nullBitmap: nulls.bitmap } : {}) };
    const made = (parts: object): Data => arrow.makeData({ type: dataType(type), ...own, ...parts } as never);
    const refuse = (row: number): never => {
      const found = cellText(cell(row));
      const shown = found.length > 60 ? `${found.slice(0, 60)}…` : found;
      throw invalid(
        `column ${JSON.stringify(column)} is ${typeText(type)}, and row ${row} has ${JSON.stringify(shown)}`,
      );
    };
    switch (type.kind) {
      case 'null': {
        const odd = firstValue(rows, cell);
        return odd < 0 ? arrow.makeData({ type: new arrow.Null(), length: rows }) : refuse(odd);
      }
      case 'bool':
        return made({ data: bits(rows, cell, refuse) });
      case 'int':
        return made({
          data: type.bits === 64 ? wideCells(type.isSigned, rows, cell, refuse) : smallCells(type, rows, cell, refuse),
        });
      case 'float':
        return made({ data: floatCells(type.bits, rows, cell, refuse) });
      case 'date32':
        return made({ data: Int32Array.from(times(rows, cell, refuse), (ms) => Math.floor(ms / 86_400_000)) });
      case 'timestamp':
        return made({ data: instants(type.unit, rows, cell, refuse) });
      case 'utf8':
      case 'binary':
        return made(varCells(column, type.kind, rows, cell, refuse));
      case 'list': {
        const { offsets, items } = listCells(rows, cell, refuse);
        const child = build(column, type.item, items.length, (i) => items[i]);
        return made({ valueOffsets: offsets, child });
      }
      case 'struct': {
        const at = (row: number): Readonly<Record<string, unknown>> => {
          const value = cell(row);
          if (isMissing(value)) return {};
          const isObject = typeof value === 'object' && !Array.isArray(value) && !ArrayBuffer.isView(value);
          return isObject ? (value as Readonly<Record<string, unknown>>) : refuse(row);
        };
        const children = type.fields.map((field) =>
          build(`${column}.${field.name}`, field.type, rows, (row) => at(row)[field.name]),
        );
        return made({ children });
      }
      default:
        return unreachable(type);
    }
  };
  return { build, dataType };
}

type Refuse = (row: number) => never;

const isMissing = (value: unknown): boolean =>
  value === null || value === undefined || (value instanceof Date && Number.isNaN(value.getTime()));

function firstValue(rows: number, cell: CellOf): number {
  for (let row = 0; row < rows; row += 1) if (!isMissing(cell(row))) return row;
  return -1;
}

function nullsOf(rows: number, cell: CellOf): { readonly count: number; readonly bitmap: Uint8Array | null } {
  let bitmap: Uint8Array | null = null;
  let count = 0;
  for (let row = 0; row < rows; row += 1) {
    if (!isMissing(cell(row))) continue;
    bitmap ??= new Uint8Array((rows + 7) >> 3).fill(255);
    (bitmap as Uint8Array)[row >> 3]! &= ~(1 << (row & 7));
    count += 1;
  }
  return { count, bitmap };
}

function bits(rows: number, cell: CellOf, refuse: Refuse): Uint8Array {
  const packed = new Uint8Array((rows + 7) >> 3);
  for (let row = 0; row < rows; row += 1) {
    const value = cell(row);
    if (value === true) packed[row >> 3]! |= 1 << (row & 7);
    else if (value !== false && !isMissing(value)) refuse(row);
  }
  return packed;
}

function smallCells(
  { bits: size, isSigned }: Extract<ColumnType, { kind: 'int' }>,
  rows: number,
  cell: CellOf,
  refuse: Refuse,
): SmallInts {
  const kinds = isSigned
    ? { 8: Int8Array, 16: Int16Array, 32: Int32Array, 64: Int32Array }
    : { 8: Uint8Array, 16: Uint16Array, 32: Uint32Array, 64: Uint32Array };
  const cells: SmallInts = new kinds[size](rows);
  for (let row = 0; row < rows; row += 1) {
    const value = cell(row);
    if (isMissing(value)) continue;
    if (typeof value !== 'bigint' && typeof value !== 'number') return refuse(row);
    cells[row] = Number(value);
    // What does not fit has wrapped around.
    if (cells[row] !== Number(value)) refuse(row);
  }
  return cells;
}

/** Written as two words each: a BigInt for each cell would be slow. */
function wideCells(isSigned: boolean, rows: number, cell: CellOf, refuse: Refuse): BigInt64Array | BigUint64Array {
  const cells = isSigned ? new BigInt64Array(rows) : new BigUint64Array(rows);
  const words = new Int32Array(cells.buffer);
  for (let row = 0; row < rows; row += 1) {
    const value = cell(row);
    if (typeof value === 'number' && Number.isSafeInteger(value) && (isSigned || value >= 0)) {
      words[2 * row] = value;
      words[2 * row + 1] = Math.floor(value / 2 ** 32);
    } else if (typeof value === 'bigint') {
      cells[row] = value;
      if (cells[row] !== value) refuse(row);
    } else if (!isMissing(value)) refuse(row);
  }
  return cells;
}

function floatCells(
  size: 16 | 32 | 64,
  rows: number,
  cell: CellOf,
  refuse: Refuse,
): Float64Array | Float32Array | Uint16Array {
  const cells = size === 64 ? new Float64Array(rows) : size === 32 ? new Float32Array(rows) : new Uint16Array(rows);
  for (let row = 0; row < rows; row += 1) {
    const value = cell(row);
    if (isMissing(value)) continue;
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number !== 'number' || (typeof value === 'bigint' && BigInt(number) !== value)) return refuse(row);
    cells[row] = size === 16 ? halfOfFloat(number) : number;
  }
  return cells;
}

/** Milliseconds since 1970; 0 where there is none. */
function times(rows: number, cell: CellOf, refuse: Refuse): Float64Array {
  const found = new Float64Array(rows);
  for (let row = 0; row < rows; row += 1) {
    const value = cell(row);
    if (value instanceof Date) found[row] = Number.isNaN(value.getTime()) ? 0 : value.getTime();
    else if (!isMissing(value)) refuse(row);
  }
  return found;
}

/** Units since 1970; 0 where there is none. */
function instants(unit: TimeUnit, rows: number, cell: CellOf, refuse: Refuse): BigInt64Array {
  const found = new BigInt64Array(rows);
  for (let row = 0; row < rows; row += 1) {
    const value = cell(row);
    if (isMissing(value)) continue;
    const instant = value instanceof Date ? new Instant(BigInt(value.getTime()), 'ms') : value;
    if (!(instant instanceof Instant)) return refuse(row);
    const count = instant.in(unit);
    found[row] = count;
    // Nanoseconds have room for the years 1677 to 2262.
    if (found[row] !== count) refuse(row);
  }
  return found;
}

/** Offsets are of 32 bits: so much has room in a column of one record batch. */
const columnBytesMax = 2 ** 31 - 1;

function varCells(
  column: string,
  kind: 'utf8' | 'binary',
  rows: number,
  cell: CellOf,
  refuse: Refuse,
): { readonly valueOffsets: Int32Array; readonly data: Uint8Array } {
  const valueOffsets = new Int32Array(rows + 1);
  const parts: Uint8Array[] = [];
  let length = 0;
  // Names of files and labels often follow themselves.
  let before: unknown;
  let part: unknown;
  for (let row = 0; row < rows; row += 1) {
    const value = cell(row);
    if (!isMissing(value)) {
      if (value !== before || typeof value !== 'string') {
        part = kind === 'utf8' ? Buffer.from(textOf(value, row, refuse)) : value;
        before = value;
      }
      if (!(part instanceof Uint8Array)) return refuse(row);
      parts.push(part);
      length += part.length;
    }
    if (length > columnBytesMax) {
      throw invalid(
        `column ${JSON.stringify(column)} has more than 2 GiB in ${row + 1} rows; return fewer rows at a time`,
      );
    }
    valueOffsets[row + 1] = length;
  }
  return { valueOffsets, data: Buffer.concat(parts, length) };
}

/** What is no text and no scalar stands as JSON. */
function textOf(value: unknown, row: number, refuse: Refuse): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'object' && !(value instanceof Date) && !Buffer.isBuffer(value)) return jsonText(value);
  return refuse(row);
}

function listCells(
  rows: number,
  cell: CellOf,
  refuse: Refuse,
): { readonly offsets: Int32Array; readonly items: readonly unknown[] } {
  const offsets = new Int32Array(rows + 1);
  const items: unknown[] = [];
  for (let row = 0; row < rows; row += 1) {
    const value = cell(row);
    if (!isMissing(value)) {
      if (!Array.isArray(value) && cellTypeOf(value) === null) refuse(row);
      for (const item of value as Iterable<unknown>) items.push(item);
    }
    offsets[row + 1] = items.length;
  }
  return { offsets, items };
}

function invalid(message: string): BatchError {
  return new BatchError('SCORER_OUTPUT_INVALID', message);
}
