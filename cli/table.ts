/** Rows as text: aligned columns for people, tabs for programs. */

/** One column of a table; `value` is what a cell shows, null for nothing. */
export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => string | number | null;
}

/** Aligned columns under their titles; numbers to the right. Nothing is cut off. */
export function formatTable<T>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  titleText: (title: string) => string = (title) => title.toUpperCase(),
): string {
  const cells = rows.map((row) => columns.map((column) => cellText(column.value(row))));
  const lines = [columns.map((column) => titleText(column.title)), ...cells];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => widthOf(line[i] ?? ''))));
  const isNumber = columns.map((column) => rows.some((row) => typeof column.value(row) === 'number'));
  return lines.map((line) => alignLine(line, widths, isNumber)).join('');
}

function alignLine(line: readonly string[], widths: readonly number[], isNumber: readonly boolean[]): string {
  const padded = line.map((text, i) => {
    const gap = ' '.repeat((widths[i] ?? 0) - widthOf(text));
    return isNumber[i] ? gap + text : text + gap;
  });
  return `${padded.join('  ').trimEnd()}\n`;
}

/** One object as lines of title and value; what is empty is left out. */
export function formatSheet<T>(item: T, columns: readonly Column<T>[]): string {
  const lines = columns.map((column) => [column.title, cellText(column.value(item))] as const);
  const shown = lines.filter(([, text]) => text !== '');
  const width = Math.max(...shown.map(([title]) => widthOf(title)));
  return shown.map(([title, text]) => `${title.padEnd(width)}  ${text}\n`).join('');
}

/** One line a row, tabs between cells, no titles. */
export function formatTsv<T>(rows: readonly T[], columns: readonly Column<T>[]): string {
  return rows.map((row) => `${columns.map((column) => cellText(column.value(row))).join('\t')}\n`).join('');
}

/** A cell is one line without tabs, whatever it holds. */
function cellText(value: string | number | null): string {
  return value === null ? '' : String(value).replaceAll(/[\t\r\n]+/g, ' ');
}

/** Characters, not UTF-16 units. */
function widthOf(text: string): number {
  return [...text].length;
}
