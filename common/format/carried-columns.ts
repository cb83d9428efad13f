/** Columns of the input that stand beside those of the scorer, as the encoders take them: plain values, row by row. */
import { BatchError } from '../core/batch-error.ts';
import type { ColumnType } from './column-type.ts';
import { Instant } from './instant.ts';
import { floatText } from './number-text.ts';
import type { TextColumn } from './text-column.ts';
import { cellText, jsonText } from './cell-text.ts';
import { instantJson, instantText, timeJson, timeText } from './time-text.ts';

export interface CarriedColumn {
  readonly name: string;
  /** Null: nobody knows, and for text nobody needs to. */
  readonly type: ColumnType | null;
  /** Null where there is no value. */
  readonly cell: (row: number) => unknown;
}

/** Where they stand: behind the first `place` columns of the scorer, which say where a row comes from. */
export interface Carried {
  readonly place: number;
  readonly columns: readonly CarriedColumn[];
}

/** `own` with the carried columns in their place. */
export function withCarried<C>(own: readonly C[], carried: Carried | null, made: (column: CarriedColumn) => C): C[] {
  if (carried === null) return [...own];
  return [...own.slice(0, carried.place), ...carried.columns.map(made), ...own.slice(carried.place)];
}

/** @throws SCORER_OUTPUT_INVALID when a column of the input has the name of one of `own` */
export function checkCarried(carried: Carried | null, own: readonly string[]): void {
  const names = carried?.columns.map(({ name }) => name) ?? [];
  const clash = names.filter((name) => own.includes(name));
  if (clash.length === 0) return;
  const kept = names.filter((name) => !own.includes(name)).slice(0, 8);
  const advice =
    kept.length === 0
      ? 'take input out of output.include'
      : `name those to keep: include: {input: ${JSON.stringify(kept).replaceAll('","', '", "')}}`;
  const what = clash.length === 1 ? 'a column' : 'columns';
  throw new BatchError(
    'SCORER_OUTPUT_INVALID',
    `the input has ${what} ${clash.map((name) => JSON.stringify(name)).join(', ')}, and so have the rows of the scorer; ${advice}`,
  );
}

/** As text, from row `from` on. Types do not matter there: a column is the same whatever its values are. */
export function carriedText({ name, type, cell }: CarriedColumn, from: number): TextColumn {
  const text = (isJson: boolean): ((row: number) => string) => {
    const plain = isJson ? jsonText : cellText;
    return (row) => {
      const value = cell(from + row);
      if (typeof value === 'number' && type?.kind === 'float' && Number.isFinite(value)) return floatText(value);
      return value instanceof Instant || value instanceof Date ? momentText(value, type, isJson) : plain(value);
    };
  };
  return { name, type: 'value', isQuotable: true, cell: text(false), json: text(true) };
}

/** A day has no hours, and a time of no zone is not one of UTC. */
function momentText(moment: Instant | Date, type: ColumnType | null, isJson: boolean): string {
  const [text, json] =
    moment instanceof Instant
      ? [() => instantText(moment.count, moment.unit), () => instantJson(moment.count, moment.unit)]
      : [() => timeText(moment.getTime()), () => timeJson(moment.getTime())];
  if (type?.kind === 'date32') return isJson ? JSON.stringify(text().slice(0, 10)) : text().slice(0, 10);
  if (!isJson) return text();
  return type?.kind === 'timestamp' && type.zone === null ? json().replace('Z"', '"') : json();
}
