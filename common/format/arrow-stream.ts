/**
 * Rows as an Arrow IPC stream. What each mini-batch gives is record batch messages alone: the schema message is the prologue
 * of the output and the end-of-stream marker its epilogue, so that results are put behind one another as they are.
 * @source Arrow columnar format, IPC streaming format: encapsulated messages, each a multiple of 8 bytes
 */
import type * as Arrow from 'apache-arrow';
import type { Data, DataType, RecordBatch } from 'apache-arrow';
import { BatchError } from '../core/batch-error.ts';
import { limits } from '../core/limits.ts';
import type { OutputForm } from '../core/output-form.ts';
import { columnOf, type ResultSchema } from '../core/result.ts';
import { plainReader, type PlainColumn } from './arrow-plain.ts';
import { checkCarried, withCarried } from './carried-columns.ts';
import { cellTypeOf, columnBuilder, inferType, type CellOf } from './arrow-values.ts';
import { parseType, typeText, type ColumnField, type ColumnType } from './column-type.ts';
import { fitType, widened } from './widen.ts';
import { binarySchema } from './prologue.ts';
import type { RowEncoder } from './row-encoder.ts';
import { originColumns, type OriginColumn } from './row-origin.ts';
import { listColumnName, type ValueRows } from './value-text.ts';

/** Says that no record batch follows. */
export const endOfStream: Uint8Array = Uint8Array.of(255, 255, 255, 255, 0, 0, 0, 0);

const originTypes = {
  file: { kind: 'utf8' },
  row: { kind: 'int', bits: 64, isSigned: true },
} as const satisfies Record<OriginColumn['kind'], ColumnType>;

/** A column of values, whose type is known. */
interface ValueColumn extends ColumnField {
  readonly cell: CellOf;
}

export async function openArrowEncoder(form: OutputForm): Promise<RowEncoder> {
  const arrow = await import('apache-arrow');
  const builder = columnBuilder(arrow);
  const reader = plainReader(arrow, builder);
  const declared = form.schema === null ? null : declaredFields(form.schema);
  const originNames = ['file', 'row', form.fileColumn, form.rowColumn];

  const built = ({ name, type, cell }: ValueColumn, first: number, rows: number): PlainColumn => ({
    name,
    type: typeText(type),
    data: builder.build(name, type, rows, (row) => cell(first + row)),
  });
  // Results of one scorer have the same columns for the most part.
  let known: ResultSchema | null = null;
  const schemaOf = (columns: readonly PlainColumn[]): ResultSchema => {
    const texts = columns.map(({ name, type }) => `${name}:${type}`);
    const isKnown = known?.columns.length === texts.length && known.columns.every((text, i) => text === texts[i]);
    if (!isKnown || known === null) known = binarySchema(texts, schemaMessage(arrow, columns.map(fieldOf(arrow))));
    return known;
  };

  return {
    values: (result, { origin = null, columns: told = null } = {}) => {
      const { rows, columns } = valueColumns(result, declared);
      const added = originColumns(
        form,
        origin,
        columns.map(({ name }) => name),
      ).map(originValues);
      const all = widened([...added, ...columns], told, ({ name, type }, wanted) =>
        fitType(name, typeText(type), wanted),
      ).map(({ column, type }) => (type === null ? column : { ...column, type }));
      const empty = all.map((column) => built(column, 0, 0));
      const pieces = function* (): Generator<Uint8Array> {
        for (let first = 0; first < rows; first += limits.arrowBatchRowsMax) {
          const count = Math.min(limits.arrowBatchRowsMax, rows - first);
          yield batchMessage(
            arrow,
            count,
            all.map((column) => built(column, first, count)),
          );
        }
      };
      return { rows, schema: rows === 0 ? null : schemaOf(empty), pieces: pieces() };
    },
    table: (table, { origin = null, columns: told = null, carried = null } = {}) => {
      const batches = table.batches.filter((batch) => batch.numRows > 0);
      const names = table.schema.fields.map(({ name }) => name);
      checkCarried(carried, names);
      const added = originColumns(form, origin, names).map(originValues);
      const undeclared = new Set([...originNames, ...(carried?.columns.map(({ name }) => name) ?? [])]);
      const columnsOf = (batch: RecordBatch, first: number): readonly PlainColumn[] => {
        const given = names.map((name, i) => reader.column(name, batch.data.children[i] as Data));
        const own = withCarried(given, carried, ({ name, type, cell }) =>
          built({ name, type: type ?? inferType(name, table.numRows, cell), cell }, first, batch.numRows),
        );
        const fitted = declared === null ? own : fitColumns(own, declared, { cast: reader.cast, undeclared });
        const all = [...added.map((column) => built(column, first, batch.numRows)), ...fitted];
        const wide = widened(all, told, ({ name, type }, wanted) => fitType(name, type, wanted));
        return wide.map(({ column, type }) => (type === null ? column : reader.cast(column, type)));
      };
      const [head] = batches;
      const headColumns = head ? columnsOf(head, 0) : [];
      const rows = batches.reduce((sum, batch) => sum + batch.numRows, 0);
      const pieces = function* (): Generator<Uint8Array> {
        let first = 0;
        for (const batch of batches) {
          yield batchMessage(arrow, batch.numRows, batch === head ? headColumns : columnsOf(batch, first));
          first += batch.numRows;
        }
      };
      return { rows, schema: head ? schemaOf(headColumns) : null, pieces: pieces() };
    },
  };
}

/** A whole stream of no rows: with the declared columns, or with none. */
export async function emptyStream(form: OutputForm): Promise<Uint8Array> {
  const arrow = await import('apache-arrow');
  const { dataType } = columnBuilder(arrow);
  const none = { fileOf: () => '', numberOf: () => 0 };
  const added = originColumns(form, none, []).map(originValues);
  const fields = [...added, ...(form.schema === null ? [] : declaredFields(form.schema))];
  const message = schemaMessage(
    arrow,
    fields.map(({ name, type }) => new arrow.Field(name, dataType(type), true)),
  );
  return Buffer.concat([message, endOfStream]);
}

function declaredFields(schema: readonly string[]): readonly ColumnField[] {
  return schema.map((text) => {
    const { name, type } = columnOf(text);
    const parsed = parseType(type);
    if (parsed === null) throw new BatchError('CONFIG_INVALID', `output.schema: column ${name} has no type ${type}`);
    return { name, type: parsed };
  });
}

const originValues = ({ kind, name, cell }: OriginColumn): ValueColumn => ({ name, type: originTypes[kind], cell });

/** The columns of values, with the types that are declared or that fit all of them. */
function valueColumns(
  result: ValueRows,
  declared: readonly ColumnField[] | null,
): { readonly rows: number; readonly columns: readonly ValueColumn[] } {
  const isList = result.kind === 'list';
  const rows = isList ? result.values.length : result.rows;
  const names = isList ? [listColumnName] : result.names;
  const cellOf = (place: number): CellOf => (isList ? (row) => result.values[row] : (row) => result.cell(row, place));
  if (rows === 0) return { rows, columns: [] };
  if (declared === null) {
    const known = isList ? cellTypeOf(result.values) : (result.cellType ?? null);
    const columns = names.map((name, place): ValueColumn => {
      const cell = cellOf(place);
      return { name, cell, type: known ?? inferType(name, rows, cell) };
    });
    return { rows, columns };
  }
  // Names that nobody gave are those that are declared, in their order.
  const isUnnamed = (isList || result.isUnnamed === true) && names.length === declared.length;
  const own = isUnnamed ? declared.map(({ name }) => name) : names;
  checkNames(own, declared);
  return { rows, columns: declared.map((field) => ({ ...field, cell: cellOf(own.indexOf(field.name)) })) };
}

interface Fitting {
  readonly cast: (column: PlainColumn, wanted: ColumnType) => PlainColumn;
  /** Names of file, row and columns of the input, which need not be declared. */
  readonly undeclared: ReadonlySet<string | null>;
}

function fitColumns(
  own: readonly PlainColumn[],
  declared: readonly ColumnField[],
  { cast, undeclared }: Fitting,
): readonly PlainColumn[] {
  const isWhole = declared.length === own.length;
  // Columns that are no results (file, row, those of the input) need not be declared, and stay in front.
  const extra = isWhole
    ? []
    : own.filter(({ name }) => undeclared.has(name) && !declared.some((one) => one.name === name));
  const rest = own.filter((column) => !extra.includes(column));
  checkNames(
    rest.map(({ name }) => name),
    declared,
  );
  const fitted = declared.map((field) => cast(rest.find(({ name }) => name === field.name) as PlainColumn, field.type));
  return [...extra, ...fitted];
}

/** @throws SCORER_OUTPUT_INVALID */
function checkNames(own: readonly string[], declared: readonly ColumnField[]): void {
  const missing = declared.find(({ name }) => !own.includes(name));
  const added = own.find((name) => !declared.some((field) => field.name === name));
  if (missing === undefined && added === undefined) return;
  const what = missing
    ? `lack the column ${missing.name} (${typeText(missing.type)}), which`
    : `have a column ${added}, which`;
  const how = missing ? 'declares' : 'does not declare';
  throw new BatchError('SCORER_OUTPUT_INVALID', `the rows ${what} output.schema ${how}; they have ${own.join(', ')}`);
}

const fieldOf =
  ({ Field }: typeof Arrow) =>
  ({ name, data }: PlainColumn): Arrow.Field =>
    new Field(name, data.type as DataType, true);

/** An encapsulated message begins with a marker and the length of its metadata; that of a schema has no body. */
function schemaMessage(arrow: typeof Arrow, fields: readonly Arrow.Field[]): Uint8Array {
  const bytes = arrow.tableToIPC(new arrow.Table(new arrow.Schema([...fields])), 'stream');
  return bytes.subarray(0, messageBytes(bytes));
}

function messageBytes(bytes: Uint8Array): number {
  return 8 + new DataView(bytes.buffer, bytes.byteOffset).getInt32(4, true);
}

/** The record batch alone, without the schema before it and the marker behind it. */
function batchMessage(arrow: typeof Arrow, rows: number, columns: readonly PlainColumn[]): Uint8Array {
  const fields = columns.map(fieldOf(arrow));
  const children = columns.map(({ data }) => data);
  const data = arrow.makeData({ type: new arrow.Struct(fields), length: rows, nullCount: 0, children });
  const writer = new arrow.RecordBatchStreamWriter();
  writer.write(new arrow.RecordBatch(new arrow.Schema(fields), data));
  writer.finish();
  const bytes = writer.toUint8Array(true);
  return bytes.subarray(messageBytes(bytes), bytes.length - endOfStream.length);
}
