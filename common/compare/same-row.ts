/** Whether two rows say the same, as texts or with numbers that may differ a little. Pure. */
import { parse } from 'csv-parse/sync';
import { limits } from '../core/limits.ts';

export interface RowForm {
  /** As settings name it; rows of `arrow` come as JSON. */
  readonly format: string;
  readonly delimiter: string;
}

/** `delimiter`: of the settings, where they have one. */
export function rowForm(format: string, delimiter: string | undefined): RowForm {
  return { format, delimiter: format === 'azure' ? ' ' : (delimiter ?? ',') };
}

/** A row as it is shown among others. */
export function shownRow(text: string): string {
  return text.length <= limits.shownRowChars ? text : `${text.slice(0, limits.shownRowChars)}…`;
}

/** `tolerance` 0: the texts are equal. */
export function isSameRow(
  a: string,
  b: string,
  [formA, formB]: readonly [RowForm, RowForm],
  tolerance: number,
): boolean {
  if (a === b) return true;
  const isOneForm = formA.format === formB.format && formA.delimiter === formB.delimiter;
  if (tolerance === 0 && isOneForm) return false;
  const [left, right] = [cellsOf(a, formA), cellsOf(b, formB)];
  if (left === null || right === null || left.length !== right.length) return false;
  return left.every((cell, index) => isSameCell(cell, right[index], tolerance));
}

function isSameCell(a: unknown, b: unknown, tolerance: number): boolean {
  if (a === b) return true;
  if (typeof a === 'object' && typeof b === 'object' && a !== null && b !== null) {
    const [left, right] = [Object.entries(a), Object.entries(b)];
    if (left.length !== right.length) return false;
    return left.every(([key, value]) => isSameCell(value, (b as Readonly<Record<string, unknown>>)[key], tolerance));
  }
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x === null || y === null) return String(a) === String(b);
  const distance = Math.abs(x - y);
  return (
    Object.is(x, y) || x === y || distance <= tolerance || distance <= tolerance * Math.max(Math.abs(x), Math.abs(y))
  );
}

/** NaN is a number that is the same as itself. */
function numberOf(cell: unknown): number | null {
  if (typeof cell === 'number') return cell;
  if (typeof cell !== 'string' || cell.trim() === '') return null;
  const number = Number(cell);
  return Number.isNaN(number) && cell.toLowerCase() !== 'nan' ? null : number;
}

/** Null for a row that cannot be read as its form says. */
function cellsOf(row: string, { format, delimiter }: RowForm): readonly unknown[] | null {
  try {
    if (format === 'jsonl' || format === 'arrow') {
      const value: unknown = JSON.parse(row);
      return typeof value === 'object' && value !== null ? Object.values(value) : [value];
    }
    const [cells] = parse(row, { delimiter, relax_quotes: true }) as readonly (readonly string[])[];
    return cells ?? [];
  } catch {
    return null;
  }
}
