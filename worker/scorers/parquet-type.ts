/** Types of Parquet columns, as hyparquet reads them. */
import type { SchemaTree } from 'hyparquet';
import type { ColumnType, TimeUnit } from '../../common/format/column-type.ts';

const textType: ColumnType = { kind: 'utf8' };
const int = (bits: number, isSigned: boolean): ColumnType => ({ kind: 'int', bits: bits as 64, isSigned });
const time = (unit: TimeUnit, isUtc: boolean): ColumnType => ({ kind: 'timestamp', unit, zone: isUtc ? 'UTC' : null });
const units: Readonly<Record<string, TimeUnit>> = { MILLIS: 'ms', MICROS: 'us', NANOS: 'ns' };
const physical: Readonly<Record<string, ColumnType>> = {
  BOOLEAN: { kind: 'bool' },
  INT32: int(32, true),
  INT64: int(64, true),
  FLOAT: { kind: 'float', bits: 32 },
  DOUBLE: { kind: 'float', bits: 64 },
  // Its only use is for times.
  INT96: time('ns', false),
  BYTE_ARRAY: { kind: 'binary' },
  FIXED_LEN_BYTE_ARRAY: { kind: 'binary' },
};

/** Null for what has a type in each value, such as JSON. Decimals are read as float64. */
export function parquetType({ element, children }: SchemaTree): ColumnType | null {
  const { type, converted_type: converted, logical_type: logical } = element;
  if (type === undefined) return nestedType(children, converted === 'LIST' || logical?.type === 'LIST');
  switch (logical?.type) {
    case 'TIMESTAMP':
      return time(units[logical.unit] ?? 'ns', logical.isAdjustedToUTC);
    case 'INTEGER':
      return int(logical.bitWidth, logical.isSigned);
    case 'FLOAT16':
      return { kind: 'float', bits: 16 };
    case 'STRING':
    case 'ENUM':
    case 'UUID':
      return textType;
    case 'JSON':
      return null;
    default:
  }
  const sized = /^(U?)INT_(8|16|32|64)$/.exec(converted ?? '');
  if (sized) return int(Number(sized[2]), sized[1] === '');
  switch (converted) {
    case 'UTF8':
    case 'ENUM':
      return textType;
    case 'DATE':
      return { kind: 'date32' };
    case 'TIMESTAMP_MILLIS':
    case 'TIMESTAMP_MICROS':
      return time(converted === 'TIMESTAMP_MILLIS' ? 'ms' : 'us', true);
    case 'DECIMAL':
      return { kind: 'float', bits: 64 };
    case 'JSON':
      return null;
    default:
      return logical?.type === 'DATE' ? { kind: 'date32' } : (physical[type] ?? null);
  }
}

/** A list has a group of its own around its item; anything else is an object, which is JSON in a cell. */
function nestedType(children: readonly SchemaTree[], isList: boolean): ColumnType | null {
  const [group] = children;
  if (!isList || !group) return null;
  const inner = group.children[0] ?? group;
  const item = parquetType(inner);
  return item && { kind: 'list', item };
}

/** True for bytes that nobody says are text. */
export const isBytes = (column: SchemaTree): boolean =>
  parquetType(column)?.kind === 'binary' && column.element.type === 'BYTE_ARRAY';
