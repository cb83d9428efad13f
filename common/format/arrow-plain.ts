/**
 * Arrow tables of any release of apache-arrow as columns of ours: without dictionaries, so that each record batch stands by
 * itself, and of the type that is declared, where one is. Buffers are taken as they lie wherever the type allows it.
 */
import type * as Arrow from 'apache-arrow';
import type { Data, DataType, Field, Vector } from 'apache-arrow';
import { BatchError } from '../core/batch-error.ts';
import { arrowTypeId as id } from './arrow-type-id.ts';
import type { ColumnBuilder } from './arrow-values.ts';
import { typeText, type ColumnType } from './column-type.ts';
import { floatOfHalf } from './half-float.ts';

/** The parameters of all types that are read here; each type has those of its own. */
interface AnyType {
  readonly typeId: number;
  readonly isSigned?: boolean;
  readonly bitWidth?: number;
  readonly precision?: number;
  readonly scale?: number;
  readonly unit?: number;
  readonly timezone?: string | null;
  readonly listSize?: number;
  readonly children?: readonly Field[];
  readonly dictionary?: DataType;
}

/** A column as it stands in a record batch. */
export interface PlainColumn {
  readonly name: string;
  /** Text of its type; equal for equal layouts of bytes. */
  readonly type: string;
  readonly data: Data;
}

export interface PlainReader {
  /** @throws SCORER_OUTPUT_INVALID for a type that no output format has */
  column(name: string, data: Data): PlainColumn;
  /** The column as `wanted`. @throws SCORER_OUTPUT_INVALID, with both types, where a value would be lost */
  cast(column: PlainColumn, wanted: ColumnType): PlainColumn;
}

const units = ['s', 'ms', 'us', 'ns'];

export function plainReader(arrow: typeof Arrow, builder: ColumnBuilder): PlainReader {
  const { Field, makeData } = arrow;
  const listField = (item: PlainColumn): Field => new Field('item', item.data.type as DataType, true);

  const column = (name: string, data: Data): PlainColumn => {
    const type = data.type as unknown as AnyType;
    const { length, offset } = data;
    const nulls = data.nullCount > 0 ? { nullCount: data.nullCount, nullBitmap: data.nullBitmap } : { nullCount: 0 };
    const made = (text: string, dataType: DataType, parts: object): PlainColumn => ({
      name,
      type: text,
      data: makeData({ type: dataType, length, offset, ...nulls, ...parts } as never),
    });
    const cells = { data: data.values };
    const unit = units[type.unit ?? 1];
    switch (type.typeId) {
      case id.null:
        return { name, type: 'null', data: makeData({ type: new arrow.Null(), length }) };
      case id.int: {
        const text = `${type.isSigned ? '' : 'u'}int${type.bitWidth}`;
        return made(text, new arrow.Int(type.isSigned as true, type.bitWidth as 32), cells);
      }
      case id.float:
        return made(`float${16 << (type.precision ?? 2)}`, new arrow.Float(type.precision as 2), cells);
      case id.bool:
        return made('bool', new arrow.Bool(), cells);
      case id.date:
        return type.unit === 0
          ? made('date32', new arrow.DateDay(), cells)
          : made('date64', new arrow.DateMillisecond(), cells);
      case id.timestamp: {
        const text = `timestamp[${unit}${type.timezone ? `,${type.timezone}` : ''}]`;
        return made(text, new arrow.Timestamp(type.unit ?? 1, type.timezone), cells);
      }
      case id.decimal: {
        const [scale, precision, bits] = [type.scale ?? 0, type.precision ?? 38, type.bitWidth ?? 128];
        return made(`decimal${bits}[${precision},${scale}]`, new arrow.Decimal(scale, precision, bits), cells);
      }
      case id.utf8:
        return made('utf8', new arrow.Utf8(), { ...cells, valueOffsets: data.valueOffsets });
      case id.largeUtf8:
        return made('large_utf8', new arrow.LargeUtf8(), { ...cells, valueOffsets: data.valueOffsets });
      case id.binary:
        return made('binary', new arrow.Binary(), { ...cells, valueOffsets: data.valueOffsets });
      case id.dictionary:
        return words(name, data);
      case id.list: {
        const item = column(name, data.children[0] as Data);
        const parts = { valueOffsets: data.valueOffsets, child: item.data };
        return made(`list<${item.type}>`, new arrow.List(listField(item)), parts);
      }
      case id.fixedSizeList: {
        const item = column(name, data.children[0] as Data);
        const size = type.listSize ?? 0;
        const list = new arrow.FixedSizeList(size, listField(item));
        return made(`list<${item.type}>[${size}]`, list, { child: item.data });
      }
      case id.struct: {
        const fields = (type.children ?? []).map((field, i) => column(field.name, data.children[i] as Data));
        const struct = new arrow.Struct(fields.map((one) => new Field(one.name, one.data.type as DataType, true)));
        const text = fields.map((field) => `${field.name}:${field.type}`).join(',');
        return made(`struct<${text}>`, struct, { children: fields.map((field) => field.data) });
      }
      default:
        throw invalid(
          `column ${quoted(name)} is of Arrow type ${String(data.type)}, which no output has: cast it first`,
        );
    }
  };

  /** The words of a dictionary, each where it stands. */
  const words = (name: string, data: Data): PlainColumn => {
    const dictionary = (data as unknown as { dictionary: Vector }).dictionary;
    const { typeId } = dictionary.type as unknown as AnyType;
    const type = dictionaryTypes[typeId]?.(dictionary.type as unknown as AnyType);
    if (!type) throw invalid(`column ${quoted(name)} is a dictionary of ${String(dictionary.type)}: cast it first`);
    const values = Array.from({ length: dictionary.length }, (_, i): unknown => dictionary.get(i));
    const places = data.values as Int32Array;
    const cell = (row: number): unknown => (data.getValid(row) ? values[Number(places[row])] : null);
    return { name, type: typeText(type), data: builder.build(name, type, data.length, cell) };
  };

  const cast = (given: PlainColumn, wanted: ColumnType): PlainColumn => {
    const { name, data } = given;
    const type = typeText(wanted);
    if (given.type === type) return given;
    const cell = given.type === 'null' ? (): null => null : numberOf(data);
    const isNumber = wanted.kind === 'int' || wanted.kind === 'float';
    // A fraction is never cut off.
    const isLossless = isNumber && !(wanted.kind === 'int' && given.type.startsWith('float'));
    if (cell === null || !(given.type === 'null' || isLossless)) {
      throw invalid(`column ${quoted(name)} is ${given.type}, and the job's output has ${type} there`);
    }
    return { name, type, data: builder.build(name, wanted, data.length, cell) };
  };
  return { column, cast };
}

const dictionaryTypes: Readonly<Record<number, (type: AnyType) => ColumnType>> = {
  [id.utf8]: () => ({ kind: 'utf8' }),
  [id.largeUtf8]: () => ({ kind: 'utf8' }),
  [id.int]: (type) => ({ kind: 'int', bits: type.bitWidth as 32, isSigned: type.isSigned === true }),
  [id.float]: (type) => ({ kind: 'float', bits: (16 << (type.precision ?? 2)) as 32 }),
};

/** Reads a column of numbers; null for any other. */
function numberOf(data: Data): ((row: number) => unknown) | null {
  const { typeId, precision } = data.type as unknown as AnyType;
  if (typeId !== id.int && typeId !== id.float) return null;
  const values = data.values as Float64Array;
  const isHalf = typeId === id.float && precision === 0;
  const read = isHalf ? (row: number) => floatOfHalf(values[row] as number) : (row: number) => values[row];
  return data.nullCount === 0 ? read : (row) => (data.getValid(row) ? read(row) : null);
}

const quoted = (name: string): string => JSON.stringify(name);

function invalid(message: string): BatchError {
  return new BatchError('SCORER_OUTPUT_INVALID', message);
}
