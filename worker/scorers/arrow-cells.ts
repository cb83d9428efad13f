/** Values of Arrow columns as they are to stand in the output: nothing rounded, each with its type. */
import type { Data, DataType, Field, Vector } from 'apache-arrow';
import { arrowTypeId as id } from '../../common/format/arrow-type-id.ts';
import type { ColumnType, TimeUnit } from '../../common/format/column-type.ts';
import { floatOfHalf } from '../../common/format/half-float.ts';
import { Instant } from '../../common/format/instant.ts';
import { arrowTimeUnits } from '../../common/format/time-text.ts';
import type { ReadColumn } from './file-rows.ts';

type TypedCells = Omit<ReadColumn, 'name' | 'type'> & { readonly type: ColumnType };

/** The parameters of all types that are read here; each type has those of its own. */
interface AnyType {
  readonly typeId: number;
  readonly isSigned?: boolean;
  readonly bitWidth?: 8 | 16 | 32 | 64;
  readonly precision?: number;
  readonly scale?: number;
  readonly unit?: number;
  readonly timezone?: string | null;
  readonly listSize?: number;
  readonly children?: readonly Field[];
}

const textType: ColumnType = { kind: 'utf8' };

/** Types that no output has (decimals, times of day) are text. */
export function arrowCells(data: Data): TypedCells {
  const { type, cell } = readerOf(data);
  return data.nullCount === 0 ? { type, cell } : { type, cell: (row) => (data.getValid(row) ? cell(row) : null) };
}

function readerOf(data: Data): TypedCells {
  const type = data.type as unknown as AnyType;
  const values = data.values as Float64Array;
  const texts = (): ((row: number) => string) => {
    const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
    return (row) => bytes.toString('utf8', offsetOf(data, row), offsetOf(data, row + 1));
  };
  switch (type.typeId) {
    case id.null:
      return { type: { kind: 'null' }, cell: () => null };
    case id.int:
      return {
        type: { kind: 'int', bits: type.bitWidth ?? 64, isSigned: type.isSigned === true },
        cell: (row) => values[row],
      };
    case id.float: {
      const bits = (16 << (type.precision ?? 2)) as 16 | 32 | 64;
      return {
        type: { kind: 'float', bits },
        cell: bits === 16 ? (row) => floatOfHalf(values[row] as number) : (row) => values[row],
      };
    }
    case id.bool: {
      const bits = data.values as Uint8Array;
      return { type: { kind: 'bool' }, cell: (row) => bitAt(bits, data.offset + row) };
    }
    case id.utf8:
    case id.largeUtf8:
      return { type: textType, cell: texts() };
    case id.binary: {
      const bytes = data.values as Uint8Array;
      const cell = (row: number): Buffer => Buffer.from(bytes.subarray(offsetOf(data, row), offsetOf(data, row + 1)));
      return { type: { kind: 'binary' }, cell };
    }
    case id.date: {
      const dayMs = type.unit === 0 ? 86_400_000 : 1;
      return { type: { kind: 'date32' }, cell: (row) => new Date(Number(values[row]) * dayMs) };
    }
    case id.timestamp: {
      const unit = arrowTimeUnits[type.unit ?? 1] as TimeUnit;
      const counts = data.values as BigInt64Array;
      return {
        type: { kind: 'timestamp', unit, zone: type.timezone || null },
        cell: (row) => new Instant(counts[row] as bigint, unit),
      };
    }
    case id.decimal:
      return { type: textType, cell: (row) => decimalText(data, type, row) };
    case id.dictionary:
      return words(data);
    case id.list:
    case id.fixedSizeList: {
      const item = arrowCells(data.children[0] as Data);
      const begin = (row: number): number => (type.listSize ? row * type.listSize : offsetOf(data, row));
      const cell = (row: number): unknown[] =>
        Array.from({ length: begin(row + 1) - begin(row) }, (_, i) => item.cell(begin(row) + i));
      return { type: { kind: 'list', item: item.type }, cell };
    }
    case id.struct: {
      const fields = (type.children ?? []).map(({ name }, i) => ({ name, ...arrowCells(data.children[i] as Data) }));
      const cell = (row: number): unknown => Object.fromEntries(fields.map((field) => [field.name, field.cell(row)]));
      return { type: { kind: 'struct', fields }, cell };
    }
    default:
      return { type: textType, cell: (row) => String(values[row]) };
  }
}

const offsetOf = (data: Data, row: number): number =>
  Number((data.valueOffsets as Int32Array | BigInt64Array)[row] as number | bigint);

const bitAt = (bits: Uint8Array, at: number): boolean => (((bits[at >> 3] as number) >> (at & 7)) & 1) === 1;

/** The words of a dictionary, each read once. */
function words(data: Data): TypedCells {
  const dictionary = (data as unknown as { readonly dictionary: Vector }).dictionary;
  const parts = dictionary.data.map((part) => ({ length: part.length, ...arrowCells(part as Data) }));
  const known = parts.flatMap(({ length, cell }) => Array.from({ length }, (_, i) => cell(i)));
  const places = data.values as Int32Array;
  return {
    type: parts[0]?.type ?? typeOfWords(dictionary.type as DataType),
    cell: (row) => known[Number(places[row])],
  };
}

/** Of a dictionary without words, in which all is null. */
const typeOfWords = (type: DataType): ColumnType =>
  (type as unknown as AnyType).typeId === id.utf8 ? textType : { kind: 'null' };

/** The unscaled integer stands in words of 32 bits, the low one first. */
function decimalText(data: Data, { bitWidth = 128 as 64, scale = 0 }: AnyType, row: number): string {
  const size = bitWidth / 32;
  const parts = (data.values as unknown as Uint32Array).subarray(row * size, (row + 1) * size);
  const whole = BigInt.asIntN(
    bitWidth,
    parts.reduceRight((sum, part) => (sum << 32n) | BigInt(part), 0n),
  );
  const digits = (whole < 0n ? -whole : whole).toString().padStart(scale + 1, '0');
  const at = digits.length - scale;
  return `${whole < 0n ? '-' : ''}${digits.slice(0, at)}${scale > 0 ? `.${digits.slice(at)}` : ''}`;
}
