/**
 * Timestamps in seconds as milliseconds: Parquet has no seconds, and readers would take them for bare integers.
 * @source Parquet: LogicalType TimestampType has MILLIS, MICROS and NANOS
 */
import {
  BufferType,
  Field,
  Schema,
  Timestamp,
  TimeUnit,
  Type,
  type Data,
  type DataType,
  type RecordBatch,
} from 'apache-arrow';

/** Null when there are none, at any depth. */
export function withoutSeconds(schema: Schema): Schema | null {
  const fields = schema.fields.map(fieldOf);
  return fields.every((field, i) => field === schema.fields[i]) ? null : new Schema(fields, schema.metadata);
}

/** Columns of a batch as `schema`, which {@link withoutSeconds} gave, has them. */
export function columnsWithoutSeconds(batch: RecordBatch, schema: Schema): readonly Data[] {
  return batch.data.children.map((data, i) => dataOf(data, schema.fields[i]?.type as DataType));
}

function fieldOf(field: Field): Field {
  const type = typeOf(field.type as DataType);
  return type === field.type ? field : new Field(field.name, type, field.nullable, field.metadata);
}

function typeOf(type: DataType): DataType {
  if (isSeconds(type)) return new Timestamp(TimeUnit.MILLISECOND, (type as unknown as Timestamp).timezone);
  const { children } = type;
  const fields = (children ?? []).map(fieldOf);
  if (fields.every((field, i) => field === children?.[i])) return type;
  // A type of the same kind with other children; its own parameters stay.
  return Object.assign(Object.create(Object.getPrototypeOf(type) as object) as DataType, type, { children: fields });
}

function dataOf(data: Data, type: DataType): Data {
  const children = data.children.map((child, i) => dataOf(child, type.children?.[i]?.type as DataType));
  const { buffers } = data;
  const made = isSeconds(data.type) ? { ...buffers, [BufferType.DATA]: inMilliseconds(data) } : buffers;
  return data.clone(type, data.offset, data.length, data.nullCount, made as typeof buffers, children);
}

const isSeconds = (type: DataType): boolean =>
  (type.typeId as Type) === Type.Timestamp && (type as unknown as Timestamp).unit === TimeUnit.SECOND;

const inMilliseconds = ({ values }: Data): BigInt64Array =>
  (values as unknown as BigInt64Array).map((seconds) => seconds * 1_000n);
