/**
 * Values of a column as the texts that name folders: integers and truth values as they are, dates and instants as
 * `2024-02-29` and `2024-02-29 12:00:00.25`, with `Z` where the column has a zone, floats with the fewest digits that tell
 * them apart.
 */
import { Type, type Data, type DataType } from 'apache-arrow';
import { BatchError } from '../core/batch-error.ts';
import { limits } from '../core/limits.ts';
import { floatOfHalf } from './half-float.ts';
import { floatText } from './number-text.ts';
import { arrowTimeUnits, timeParts } from './time-text.ts';

/** What a value is known by, and the text that it has; asked for once for each value. */
interface Reader {
  key(row: number): unknown;
  text(row: number): string;
}

/** Numbers the texts of a column in order of appearance. */
export class PartitionColumn {
  readonly name: string;
  /** By number. Null: the value is null. */
  readonly texts: (string | null)[] = [];
  readonly #open: (data: Data) => Reader;
  readonly #byKey = new Map<unknown, number>();
  readonly #byText = new Map<string | null, number>();

  /** @throws PARTITION_INVALID for a type whose values name no folder */
  constructor(name: string, type: DataType) {
    const open = readers[type.typeId as Type]?.(type as AnyType) ?? null;
    if (open === null) {
      const hint = 'partition by integers, text, truth values, dates, timestamps or floats';
      throw invalid(`column ${JSON.stringify(name)} is ${String(type)}, which names no folder: ${hint}`);
    }
    this.name = name;
    this.#open = open;
  }

  /** Puts the number of each row's text into `codes`, from `at` on. @throws PARTITION_INVALID beyond so many texts */
  encode(data: Data, codes: Int32Array, at: number): void {
    const reader = this.#open(data);
    const hasNulls = data.nullCount > 0;
    for (let row = 0; row < data.length; row += 1) {
      const isNull = hasNulls && !data.getValid(row);
      const key = isNull ? null : reader.key(row);
      codes[at + row] = this.#byKey.get(key) ?? this.#number(key, key === null ? null : () => reader.text(row));
    }
  }

  #number(key: unknown, textOf: (() => string) | null): number {
    // A text of no characters has null's folder.
    const text = textOf === null ? null : textOf() || null;
    const code = this.#byText.get(text) ?? this.texts.length;
    if (code === limits.partitionsMax) throw tooMany(`column ${JSON.stringify(this.name)} has`, 'values');
    if (code === this.texts.length) this.texts.push(text);
    this.#byText.set(text, code);
    this.#byKey.set(key, code);
    return code;
  }
}

/** @returns PARTITION_INVALID, with what is to be done */
export function tooMany(what: string, of: 'values' | 'partitions'): BatchError {
  const most = `${limits.partitionsMax.toLocaleString('en')} ${of} in one part of the output`;
  return invalid(
    `${what} more than ${most}, each of which would be a file; partition by a column of fewer values (the day, not the instant)`,
  );
}

function invalid(message: string): BatchError {
  return new BatchError('PARTITION_INVALID', `output.partition_by: ${message}`);
}

interface AnyType {
  readonly bitWidth?: number;
  readonly precision?: number;
  readonly unit?: number;
  readonly timezone?: string | null;
}

type Open = (data: Data) => Reader;

/** Values that are their own keys. */
const plain =
  <T>(read: (data: Data) => (row: number) => T, text: (value: T) => string): Open =>
  (data) => {
    const value = read(data);
    return { key: value, text: (row) => text(value(row)) };
  };

const bytes: Open = (data) => {
  const values = data.values as Uint8Array;
  const buffer = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const offsets = data.valueOffsets as Int32Array | BigInt64Array;
  const textOf = (row: number, encoding: 'latin1' | 'utf8'): string => {
    const [begin, end] = [Number(offsets[row]), Number(offsets[row + 1])];
    if (begin >= 0 && begin <= end && end <= buffer.length) return buffer.toString(encoding, begin, end);
    throw new BatchError('OUTPUT_CORRUPT', 'a record batch has a text outside of its column');
  };
  return {
    // A character for each byte: quicker than UTF-8, and different for different texts.
    key: (row) => textOf(row, 'latin1'),
    text: (row) => textOf(row, 'utf8'),
  };
};

const cells = (data: Data): ((row: number) => number) => {
  const values = data.values as Float64Array;
  return (row) => values[row] as number;
};
const wideCells = (data: Data): ((row: number) => bigint) => {
  const values = data.values as unknown as BigInt64Array;
  return (row) => values[row] as bigint;
};
const bits = (data: Data): ((row: number) => boolean) => {
  const values = data.values as Uint8Array;
  return (row) => (((values[(row + data.offset) >> 3] as number) >> ((row + data.offset) & 7)) & 1) === 1;
};
/** −0 and 0 are one. */
const floats = (data: Data): ((row: number) => number) => {
  const value = cells(data);
  return (row) => value(row) + 0;
};
const halves = (data: Data): ((row: number) => number) => {
  const value = cells(data);
  return (row) => floatOfHalf(value(row)) + 0;
};

const readers: Partial<Record<Type, (type: AnyType) => Open | null>> = {
  [Type.Null]: () => plain<null>(() => () => null, String),
  [Type.Bool]: () => plain(bits, String),
  [Type.Int]: ({ bitWidth }) => (bitWidth === 64 ? plain(wideCells, String) : plain(cells, String)),
  [Type.Float]: ({ precision }) =>
    precision === 2 ? plain(floats, floatText) : plain(precision === 0 ? halves : floats, singleText),
  [Type.Utf8]: () => bytes,
  [Type.LargeUtf8]: () => bytes,
  [Type.Date]: ({ unit }) =>
    unit === 0
      ? plain(cells, (days) => isoText(days * 86_400_000).slice(0, -14))
      : plain(wideCells, (ms) => isoText(Number(ms)).slice(0, -14)),
  [Type.Timestamp]: ({ unit = 0, timezone }) =>
    plain(wideCells, (time) => timeText(time, unit) + (timezone ? 'Z' : '')),
};

/** The fewest digits that give the float32 again. */
function singleText(value: number): string {
  for (let digits = 1; digits < 9; digits += 1) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return floatText(short);
  }
  return floatText(value);
}

/** `unit` as Arrow numbers it. A fraction has no zeros at its end. */
function timeText(time: bigint, unit: number): string {
  const parts = timeParts(time, arrowTimeUnits[unit] ?? 's');
  if (parts === null) throw tooFar();
  const fraction = parts.fraction.replace(/0+$/, '');
  return fraction === '' ? parts.seconds : `${parts.seconds}.${fraction}`;
}

function isoText(ms: number): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) throw tooFar();
  return date.toISOString();
}

const tooFar = (): BatchError => invalid('a date is more than 270,000 years away, which names no folder');
