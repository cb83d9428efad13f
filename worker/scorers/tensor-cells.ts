/** Cells of tensors by the names of their types, and how a text becomes one. */
import { halfOfFloat } from '../../common/format/half-float.ts';

/** Values of a tensor in row order. float16 is held as its 16 bits, bool as 0 and 1. */
export type Cells =
  | Float32Array
  | Float64Array
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | string[];

/** Those that are no texts. */
export type NumberCells = Exclude<Cells, string[]>;

interface CellType {
  /** Room for `count` cells. */
  readonly make: (count: number) => Cells;
  /** The cell that a text stands for, or null when it stands for none, as one that says that it is missing does. */
  readonly parse: (text: string) => number | bigint | string | null;
  /** The same for a value that has a type already: a number, a bigint, a boolean or a text. */
  readonly convert: (value: unknown) => number | bigint | string | null;
}

interface Range {
  readonly least: number;
  readonly most: number;
}

/** Integers that a double holds. */
const wholeRanges: Readonly<Record<string, Range>> = {
  uint8: { least: 0, most: 255 },
  int8: { least: -128, most: 127 },
  uint16: { least: 0, most: 65_535 },
  int16: { least: -32_768, most: 32_767 },
  uint32: { least: 0, most: 4_294_967_295 },
  int32: { least: -2_147_483_648, most: 2_147_483_647 },
  uint64: { least: 0, most: Number.MAX_SAFE_INTEGER },
  int64: { least: Number.MIN_SAFE_INTEGER, most: Number.MAX_SAFE_INTEGER },
};

/** Numbers that a type takes; `whole` within its range. */
const floatOf = (value: unknown): number | null =>
  typeof value === 'number' ? value : typeof value === 'bigint' || typeof value === 'boolean' ? Number(value) : null;

const wholeOf =
  (least: number, most: number) =>
  (value: unknown): number | null => {
    const number = floatOf(value);
    return number !== null && Number.isInteger(number) && number >= least && number <= most ? number : null;
  };

const wideOf =
  (least: bigint, most: bigint) =>
  (value: unknown): number | bigint | null => {
    if (typeof value === 'bigint') return value >= least && value <= most ? value : null;
    const number = floatOf(value);
    return number !== null && Number.isSafeInteger(number) && number >= least ? number : null;
  };

const integers = (make: (count: number) => Cells, type: keyof typeof wholeRanges): CellType => {
  const { least, most } = wholeRanges[type] as Range;
  return { make, parse: integerParser(least, most), convert: wholeOf(least, most) };
};

const wides = (make: (count: number) => Cells, least: bigint, most: bigint): CellType => ({
  make,
  parse: wideParser(least, most),
  convert: wideOf(least, most),
});

/** Types that a column of a table can be fed as. */
export const cellTypes: Readonly<Record<string, CellType>> = {
  float32: { make: (count) => new Float32Array(count), parse: parseFloatCell, convert: floatOf },
  float64: { make: (count) => new Float64Array(count), parse: parseFloatCell, convert: floatOf },
  float16: { make: (count) => new Uint16Array(count), parse: parseHalfCell, convert: convertHalf },
  uint8: integers((count) => new Uint8Array(count), 'uint8'),
  int8: integers((count) => new Int8Array(count), 'int8'),
  uint16: integers((count) => new Uint16Array(count), 'uint16'),
  int16: integers((count) => new Int16Array(count), 'int16'),
  uint32: integers((count) => new Uint32Array(count), 'uint32'),
  int32: integers((count) => new Int32Array(count), 'int32'),
  uint64: wides((count) => new BigUint64Array(count), 0n, 2n ** 64n - 1n),
  int64: wides((count) => new BigInt64Array(count), -(2n ** 63n), 2n ** 63n - 1n),
  bool: { make: (count) => new Uint8Array(count), parse: parseBoolCell, convert: convertBool },
  string: { make: () => [], parse: (text) => text, convert: convertText },
};

/** Room for `count` cells of a type of numbers. */
export function makeCells(type: string, count: number): NumberCells {
  return (cellTypes[type] as CellType).make(count) as NumberCells;
}

const missing = new Set(['', 'nan', 'na', 'n/a', 'null', 'none', '#n/a']);

/** True for a text that says that there is no value, where a number or a truth value is wanted. */
export const isMissingText = (text: string): boolean => missing.has(text.trim().toLowerCase());

/**
 * What stands for a missing value in an input of `type`, or null when `fill` is none of that type. The text `nan` is no
 * number for floats.
 */
export function fillOf(fill: number | string, type: string): number | bigint | string | null {
  const text = String(fill);
  if (type.startsWith('float') && text.toLowerCase() === 'nan') return type === 'float16' ? 0x7e00 : NaN;
  return cellTypes[type]?.parse(text) ?? null;
}

const infinities: Readonly<Record<string, number>> = {
  inf: Infinity,
  infinity: Infinity,
  '-inf': -Infinity,
  '-infinity': -Infinity,
};
const decimal = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

function parseFloatCell(text: string): number | null {
  const trimmed = text.trim();
  return decimal.test(trimmed) ? Number(trimmed) : (infinities[trimmed.toLowerCase()] ?? null);
}

function parseHalfCell(text: string): number | null {
  const value = parseFloatCell(text);
  return value === null ? null : halfOfFloat(value);
}

function convertHalf(value: unknown): number | null {
  const number = floatOf(value);
  return number === null ? null : halfOfFloat(number);
}

/** An integer, also one that is written with a fraction of zeros, as a column that once held a gap often is. */
function integerParser(least: number, most: number): (text: string) => number | null {
  return (text) => {
    const trimmed = text.trim();
    if (!decimal.test(trimmed)) return null;
    const value = Number(trimmed);
    return Number.isInteger(value) && value >= least && value <= most ? value : null;
  };
}

/** The same for 64 bits; what a double holds exactly stays a number, as a BigInt for each cell is slow. */
function wideParser(least: bigint, most: bigint): (text: string) => number | bigint | null {
  return (text) => {
    const trimmed = text.trim();
    if (!decimal.test(trimmed)) return null;
    const near = Number(trimmed);
    if (Number.isSafeInteger(near)) return near >= least ? near : null;
    if (!/^[+-]?\d+$/.test(trimmed)) return null;
    const value = BigInt(trimmed.replace('+', ''));
    return value >= least && value <= most ? value : null;
  };
}

const booleans: Readonly<Record<string, number>> = { true: 1, false: 0, '1': 1, '0': 0, t: 1, f: 0, yes: 1, no: 0 };

function parseBoolCell(text: string): number | null {
  return booleans[text.trim().toLowerCase()] ?? null;
}

function convertBool(value: unknown): number | null {
  if (typeof value === 'boolean') return value ? 1 : 0;
  const number = floatOf(value);
  return number === 0 || number === 1 ? number : null;
}

/** A number is its shortest text, as a column that JSON or a data frame took for numbers was written in CSV. */
function convertText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : null;
}

/** Parsed cells as those of a tensor. */
export function cellsOf(type: string, values: readonly (number | bigint | string)[]): Cells {
  if (type === 'string') return values as string[];
  const cells = makeCells(type, values.length);
  const set = setterOf(cells);
  if (!isWide(cells)) cells.set(values as number[]);
  else values.forEach((value, at) => set(at, value));
  return cells;
}

/** True for cells of 64-bit integers. */
export const isWide = (cells: Cells): cells is BigInt64Array | BigUint64Array =>
  cells instanceof BigInt64Array || cells instanceof BigUint64Array;

/** Writes a number as two words, the low one first, as on every machine that Node's binaries of the runtime exist for. */
function wideSetter(cells: BigInt64Array | BigUint64Array): (at: number, value: number | bigint) => void {
  const words = new Int32Array(cells.buffer, cells.byteOffset);
  return (at, value) => {
    if (typeof value === 'bigint') {
      cells[at] = value;
    } else {
      words[2 * at] = value;
      words[2 * at + 1] = Math.floor(value / 2 ** 32);
    }
  };
}

/** Writes a value that was parsed or converted. */
export function setterOf(cells: Cells): (at: number, value: number | bigint | string) => void {
  if (Array.isArray(cells)) return (at, value) => void (cells[at] = value as string);
  if (isWide(cells)) return wideSetter(cells) as (at: number, value: number | bigint | string) => void;
  return (at, value) => void (cells[at] = value as number);
}

/** Bounds of the numbers that stand for themselves, whole ones where the type is one of integers; null where texts are looked at in another way. */
export function plainRange(type: string): Range | null {
  if (type.startsWith('float')) return { least: -Infinity, most: Infinity };
  return wholeRanges[type] ?? null;
}

/** True for a type whose cells are numbers. */
export const isNumericType = (type: string): boolean => type !== 'string' && type !== 'bool';

/** Cells of `rows` rows from row `first` on, each of `stride` cells; a view where the type has views. */
export function sliceCells(cells: Cells, first: number, rows: number, stride: number): Cells {
  const [begin, end] = [first * stride, (first + rows) * stride];
  return Array.isArray(cells) ? cells.slice(begin, end) : cells.subarray(begin, end);
}

/** Parts behind one another; the last `stride` cells are repeated until there are `total`. */
export function joinCells(type: string, parts: readonly Cells[], total: number, stride: number): Cells {
  const [only] = parts;
  if (only && parts.length === 1 && only.length === total) return only;
  if (type === 'string') return joinStrings(parts as string[][], total, stride);
  const joined = makeCells(type, total);
  let at = 0;
  for (const part of parts) {
    joined.set(part as never, at);
    at += part.length;
  }
  repeatRow(joined, at, stride);
  return joined;
}

/** Fills cells from place `at` on with the `stride` cells before it, again and again. */
export function repeatRow(cells: NumberCells, at: number, stride: number): void {
  for (let to = at; to < cells.length; to += stride) cells.copyWithin(to, to - stride, to);
}

function joinStrings(parts: readonly string[][], total: number, stride: number): string[] {
  const joined = parts.flat();
  while (joined.length < total) joined.push(...joined.slice(joined.length - stride));
  return joined;
}
