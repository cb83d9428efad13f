/**
 * Text of Arrow tables. Reads the buffers of the columns as they lie, and knows types by their numbers, never by
 * `instanceof`: a script may bring a release of apache-arrow of its own, and this file then works without loading ours.
 */
import type { Data, DataType, Field, Table, Vector } from 'apache-arrow';
import { BatchError } from '../core/batch-error.ts';
import type { TextFormat } from '../core/deployment.ts';
import { arrowTypeId as typeId } from './arrow-type-id.ts';
import { floatOfHalf } from './half-float.ts';
import { floatText, jsonInteger } from './number-text.ts';
import { booleanText, type TextBlock, type TextColumn } from './text-column.ts';
import { encodeBlocks, type EncodedRows, type EncodeOptions } from './text-encoder.ts';
import { arrowTimeUnits, instantJson, instantText, timeJson, timeText } from './time-text.ts';

type Cells = Pick<TextColumn, 'type' | 'isQuotable' | 'cell' | 'integer' | 'single' | 'json'>;
/** The parameters of all types that are read here; each type has those of its own. */
interface AnyType {
  readonly typeId: number;
  readonly precision?: number;
  readonly unit?: number;
  readonly listSize?: number;
  readonly children?: readonly Field[];
}

/** Encodes a table as it is, batch by batch. A column of a type without a text is refused with SCORER_OUTPUT_INVALID. */
export function encodeTable(table: Table, format: TextFormat, options: EncodeOptions = {}): EncodedRows {
  const fields = table.schema.fields;
  const blocks = table.batches.map((batch): TextBlock => {
    const columns = fields.map((field, i) => arrowColumn(field.name, batch.data.children[i] as Data));
    return { rows: batch.numRows, columns };
  });
  return encodeBlocks(blocks, format, options);
}

function arrowColumn(name: string, data: Data): TextColumn {
  return { name, ...cellsOf(name, data) };
}

function cellsOf(name: string, data: Data): Cells {
  const cells = readerOf(name, data);
  if (data.nullCount === 0) return cells;
  const { type, isQuotable } = cells;
  return {
    type,
    isQuotable,
    cell: (row) => (data.getValid(row) ? cells.cell(row) : ''),
    json: (row) => (data.getValid(row) ? cells.json(row) : 'null'),
  };
}

function readerOf(name: string, data: Data): Cells {
  const type = data.type as AnyType;
  switch (type.typeId) {
    case typeId.null:
      return { type: 'null', isQuotable: false, cell: () => '', json: () => 'null' };
    case typeId.int:
      return intCells(data);
    case typeId.float:
      return floatCells(data, type);
    case typeId.bool:
      return boolCells(data);
    case typeId.utf8:
    case typeId.largeUtf8:
      return stringCells(utf8Reader(data));
    case typeId.dictionary:
      return dictionaryCells(name, data);
    case typeId.date:
      return dateCells(data);
    case typeId.timestamp:
      return timestampCells(data, type);
    case typeId.list:
    case typeId.fixedSizeList:
      return listCells(name, data, type);
    case typeId.struct:
      return structCells(data, type);
    default:
      throw new BatchError(
        'SCORER_OUTPUT_INVALID',
        `column ${JSON.stringify(name)} is of Arrow type ${String(data.type)}, which has no text: cast it before it is returned`,
      );
  }
}

function intCells(data: Data): Cells {
  const values = data.values as Int32Array | BigInt64Array;
  const type = String(data.type as DataType).toLowerCase();
  const cell = (row: number): string => String(values[row]);
  const isWide = values instanceof BigInt64Array || values instanceof BigUint64Array;
  if (isWide) return { type, isQuotable: false, cell, json: (row) => jsonInteger(values[row] as bigint) };
  return { type, isQuotable: false, cell, integer: (row) => values[row] as number, json: cell };
}

function floatCells(data: Data, type: AnyType): Cells {
  const values = data.values as Float64Array;
  const read = type.precision === 0 ? (row: number) => floatOfHalf(values[row] as number) : undefined;
  const value = read ?? ((row: number): number => values[row] as number);
  return {
    type: `float${16 << (type.precision ?? 2)}`,
    isQuotable: false,
    ...(type.precision === 1 ? { single: value } : {}),
    cell: (row) => {
      const number = value(row);
      return Number.isNaN(number) ? '' : floatText(number);
    },
    json: (row) => {
      const number = value(row);
      return Number.isFinite(number) ? floatText(number) : 'null';
    },
  };
}

function boolCells(data: Data): Cells {
  const bits = data.values as Uint8Array;
  const value = (row: number): boolean => {
    const at = data.offset + row;
    return (((bits[at >> 3] as number) >> (at & 7)) & 1) === 1;
  };
  return {
    type: 'bool',
    isQuotable: false,
    cell: (row) => booleanText(value(row)),
    json: (row) => String(value(row)),
  };
}

function stringCells(value: (row: number) => string): Cells {
  return { type: 'utf8', isQuotable: true, cell: value, json: (row) => JSON.stringify(value(row)) };
}

function utf8Reader(data: Data): (row: number) => string {
  const bytes = data.values as Uint8Array;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const offsets = data.valueOffsets as Int32Array | BigInt64Array;
  return (row) => text.toString('utf8', Number(offsets[row]), Number(offsets[row + 1]));
}

/** Texts of a dictionary are made once each, however often they stand in the column. */
function dictionaryCells(name: string, data: Data): Cells {
  const words = (data as unknown as { dictionary: Vector }).dictionary;
  const parts = words.data.map((part) => ({ length: part.length, cells: cellsOf(name, part as Data) }));
  const first = parts[0]?.cells ?? { type: 'utf8', isQuotable: false, cell: () => '', json: () => 'null' };
  const read = (form: 'cell' | 'json'): ((row: number) => string) => {
    const texts: string[] = parts.flatMap(({ length, cells }) => Array.from({ length }, (_, i) => cells[form](i)));
    return (row) => texts[Number((data.values as Int32Array)[row])] as string;
  };
  return { ...first, cell: onFirstUse(() => read('cell')), json: onFirstUse(() => read('json')) };
}

/** Only one of the two forms of a dictionary is ever asked for. */
function onFirstUse(make: () => (row: number) => string): (row: number) => string {
  let made: ((row: number) => string) | undefined;
  return (row) => (made ??= make())(row);
}

function dateCells(data: Data): Cells {
  const values = data.values as Int32Array | BigInt64Array;
  const dayMs = values instanceof Int32Array ? 86_400_000 : 1;
  const ms = (row: number): number => Number(values[row]) * dayMs;
  return { type: 'date', isQuotable: true, cell: (row) => timeText(ms(row)), json: (row) => timeJson(ms(row)) };
}

function timestampCells(data: Data, type: AnyType): Cells {
  const values = data.values as BigInt64Array;
  const unit = arrowTimeUnits[type.unit ?? 1] ?? 'ms';
  return {
    type: 'timestamp',
    isQuotable: true,
    cell: (row) => instantText(values[row] as bigint, unit),
    json: (row) => instantJson(values[row] as bigint, unit),
  };
}

/** A list is a JSON array in every format. */
function listCells(name: string, data: Data, type: AnyType): Cells {
  const items = cellsOf(name, data.children[0] as Data);
  const offsets = data.valueOffsets as Int32Array | undefined;
  const begin = (row: number): number => (type.listSize ? row * type.listSize : Number(offsets?.[row]));
  const json = (row: number): string => {
    const end = begin(row + 1);
    let text = '[';
    for (let i = begin(row), first = i; i < end; i += 1) text += (i > first ? ',' : '') + items.json(i);
    return `${text}]`;
  };
  return { type: `list<${items.type}>`, isQuotable: true, cell: json, json };
}

/** A struct is a JSON object in every format. */
function structCells(data: Data, type: AnyType): Cells {
  const columns = (type.children ?? []).map((field, i) => arrowColumn(field.name, data.children[i] as Data));
  const json = (row: number): string => `{${columns.map((c) => `${JSON.stringify(c.name)}:${c.json(row)}`).join(',')}}`;
  const types = columns.map((column) => `${column.name}:${column.type}`).join(',');
  return { type: `struct<${types}>`, isQuotable: true, cell: json, json };
}
