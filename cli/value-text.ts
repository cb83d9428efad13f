/** Any JSON value as text: what is left of an answer when `--query` has been through it. */
import { formatTable, type Column } from './table.ts';

/**
 * As `az` prints it: a bare value, a list one item a line, the values of an object on one line with tabs between, in the order of the
 * query. A truth value alone is `true`, among others `True`; nothing is an empty text alone and `None` among others; a list among others is
 * its length, an object there is empty.
 * @source Azure CLI, `-o tsv`
 */
export function valueTsv(value: unknown): string {
  if (value === null) return '';
  return (Array.isArray(value) ? value : [value]).map((item) => `${rowTsv(item)}\n`).join('');
}

function rowTsv(item: unknown): string {
  if (typeof item === 'boolean') return String(item);
  if (typeof item !== 'object' || item === null) return cellTsv(item);
  return Object.values(item).map(cellTsv).join('\t');
}

function cellTsv(value: unknown): string {
  if (value === null) return 'None';
  if (Array.isArray(value)) return String(value.length);
  if (typeof value === 'object') return '';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return String(value).replaceAll(/[\t\r\n]+/g, ' ');
}

/** Objects under their keys, in the order of the query; bare values one a line. Keys that hold only lists and objects are left out. */
export function valueTable(value: unknown): string {
  if (value === null) return '';
  const items: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (items.length === 0) return '';
  const isRow = (item: unknown): item is object => typeof item === 'object' && item !== null;
  if (!items.every(isRow)) return items.map((item) => `${cellText(item)}\n`).join('');
  const rows = items.map((item) => new Map<string, unknown>(Object.entries(item)));
  const keys = [...new Set(rows.flatMap((row) => [...row.keys()]))];
  const shown = keys.filter((key) => rows.some((row) => typeof row.get(key) !== 'object' || row.get(key) === null));
  const columns = shown.map((key): Column<ReadonlyMap<string, unknown>> => {
    // A row that is a list has numbers for keys.
    const title = /^\d+$/.test(key) ? `Column${Number(key) + 1}` : key;
    return {
      title,
      value: (row) => (typeof row.get(key) === 'number' ? (row.get(key) as number) : cellText(row.get(key))),
    };
  });
  return columns.length === 0 ? '' : formatTable(rows, columns, (title) => title);
}

function cellText(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value as string | number | boolean);
}
