/** Cells of a CSV table as those of a tensor: plain numbers straight from the bytes, all others by way of their texts. */
import { halfOfFloat } from '../../common/format/half-float.ts';
import { decimalAt } from './csv-cells.ts';
import type { RecordTable } from './csv-records.ts';
import type { FirstFailure } from './table-columns.ts';
import { cellTypes, isWide, plainRange, setterOf, type Cells } from './tensor-cells.ts';

export type CellValue = number | bigint | string;

/** What is wanted of each record: the columns at these places side by side. */
export interface CellTaker {
  readonly type: string;
  readonly places: readonly number[];
  /** For a text that is no value of the type; throws where nothing stands for it. `column`: its place in `places`. */
  readonly insteadOf: (text: string, line: number, column: number) => CellValue;
}

/** Cells of the rows from `first` on. */
export function takeCells(table: RecordTable, first: number, taker: CellTaker, failures: FirstFailure): Cells {
  const { type, places } = taker;
  const make = (cellTypes[type] as (typeof cellTypes)[string]).make;
  const cells = make((table.rows - first) * places.length);
  const put = setterOf(cells);
  places.forEach((_place, column) => takeColumn(table, first, taker, column, cells, put, failures));
  return cells;
}

function takeColumn(
  table: RecordTable,
  first: number,
  { type, places, insteadOf }: CellTaker,
  column: number,
  cells: Cells,
  put: (at: number, value: CellValue) => void,
  failures: FirstFailure,
): void {
  const place = places[column] as number;
  const step = places.length;
  const { parse } = cellTypes[type] as (typeof cellTypes)[string];
  const slow = (row: number): void => {
    const text = table.text(first + row, place);
    const value = parse(text) ?? insteadOf(text, table.line(first + row), column);
    put(row * step + column, value);
  };
  const range = plainRange(type);
  let row = 0;
  try {
    if (table.bytes === null || range === null) {
      for (; row < failures.rows; row += 1) slow(row);
      return;
    }
    const { all, places: ends, numbers: found } = table.bytes;
    const isSingle = type === 'float32';
    const isWhole = !type.startsWith('float');
    const { least, most } = range;
    const numbers = cells as Float64Array;
    const isDirect = !Array.isArray(cells) && !isWide(cells) && type !== 'float16';
    let cell = first * table.width + place;
    for (let at = column; row < failures.rows; row += 1, at += step, cell += table.width) {
      let value = found[cell] as number;
      if (Number.isNaN(value)) value = decimalAt(all, ends[2 * cell] as number, ends[2 * cell + 1] as number, isSingle);
      if (!(value >= least && value <= most) || (isWhole && !Number.isInteger(value))) slow(row);
      else if (isDirect) numbers[at] = value;
      else put(at, type === 'float16' ? halfOfFloat(value) : value);
    }
  } catch (error) {
    failures.set(row, error);
  }
}
