/**
 * Text of values that a script returned: plain JavaScript, of any type in any row. Because 7 and 7.0 are one value here,
 * and a column may hold null in one mini-batch and text in the next, columns of values have no type of their own.
 */
import type { TextFormat } from '../core/deployment.ts';
import { cellText, jsonText } from './cell-text.ts';
import { floatText } from './number-text.ts';
import type { TextColumn } from './text-column.ts';
import type { ColumnType } from './column-type.ts';
import { asksForOrigin } from './row-origin.ts';
import { encodeBlocks, encodeLines, type EncodedRows, type EncodeOptions } from './text-encoder.ts';

/** Results of a script that are no table: single values, or rows of cells under names. */
export type ValueRows =
  | { readonly kind: 'list'; readonly values: ArrayLike<unknown> }
  | {
      readonly kind: 'records';
      readonly names: readonly string[];
      readonly rows: number;
      readonly cell: (row: number, column: number) => unknown;
      /** Of all cells, where the rows are typed arrays of one type. */
      readonly cellType?: ColumnType | null;
      /** The names are made up: places of cells in rows that have none. */
      readonly isUnnamed?: boolean;
    };

/** The one column of single values, where a format has columns. */
export const listColumnName = 'result';

/**
 * Encodes values. Single values in `azure` are a line each, never quoted; everything else is a table.
 * A value that no text can stand for (a function, a cycle) throws SCORER_OUTPUT_INVALID when `pieces` comes to it.
 * @source Azure ML batch scoring-script contract: an element of a list is written as str() has it
 */
export function encodeValues(result: ValueRows, format: TextFormat, options: EncodeOptions = {}): EncodedRows {
  if (result.kind === 'records') {
    const columns = result.names.map((name, i) => valueColumn(name, (row) => result.cell(row, i)));
    return encodeBlocks([{ rows: result.rows, columns }], format, options);
  }
  const { values } = result;
  // With columns of their own beside them they are a table as well.
  const isBare = options.form === undefined || !asksForOrigin(options.form);
  if (format === 'azure' && isBare) return encodeLines(values.length, bareLine(values));
  return encodeBlocks([{ rows: values.length, columns: [listColumn(values)] }], format, options);
}

/** What is missing has a name here: a line of its own says more than an empty one. */
function bareLine(values: ArrayLike<unknown>): (row: number) => string {
  const { cell } = listColumn(values);
  return (row) => {
    const value = values[row];
    if (value === null || value === undefined) return 'None';
    return Number.isNaN(value) ? 'nan' : cell(row);
  };
}

function valueColumn(name: string, value: (row: number) => unknown): TextColumn {
  return {
    name,
    type: 'value',
    isQuotable: true,
    cell: (row) => cellText(value(row)),
    json: (row) => jsonText(value(row)),
  };
}

/** Elements of a typed array of floats are floats also where they are whole. */
function listColumn(values: ArrayLike<unknown>): TextColumn {
  const column = valueColumn(listColumnName, (row) => values[row]);
  if (!(values instanceof Float32Array || values instanceof Float64Array)) return column;
  const cell = (row: number): string => (Number.isNaN(values[row]) ? '' : floatText(values[row] as number));
  return { ...column, cell };
}
