/**
 * Rows as the bytes that will stand in the output file: `azure` (space, no header), `csv` (comma, header as prologue),
 * `jsonl` (one object a line). A loop of our own: a general CSV writer is several times slower than columns allow.
 */
import { limits } from '../core/limits.ts';
import { unreachable } from '../core/invariant.ts';
import type { TextFormat } from '../core/deployment.ts';
import { defaultOutputForm, type OutputForm } from '../core/output-form.ts';
import type { ResultSchema } from '../core/result.ts';
import { ByteLines } from './byte-lines.ts';
import { carriedText, checkCarried, withCarried, type Carried } from './carried-columns.ts';
import { originColumns, type OriginColumn, type RowOrigin } from './row-origin.ts';
import type { TextBlock, TextColumn } from './text-column.ts';

/** Encoded rows. `pieces` is made while it is walked, in pieces of about limits.frameRowsBytes, and only once. */
export interface EncodedRows {
  readonly rows: number;
  /** Null for `azure`, and when there is no row. */
  readonly schema: ResultSchema | null;
  readonly pieces: Iterable<Uint8Array>;
}

type RowText = (row: number) => string;
type PutRow = (row: number, lines: ByteLines) => void;

/** Beyond the format; where rows come from only matters where the form asks for it. */
export interface EncodeOptions {
  readonly form?: OutputForm;
  readonly origin?: RowOrigin | null;
  readonly carried?: Carried | null;
}

/** Encodes blocks that all have the columns of the first one; the cells are read when `pieces` is walked. */
export function encodeBlocks(
  given: readonly TextBlock[],
  format: TextFormat,
  options: EncodeOptions = {},
): EncodedRows {
  const { form = defaultOutputForm, origin = null, carried = null } = options;
  const names = given[0]?.columns.map(({ name }) => name) ?? [];
  checkCarried(carried, names);
  const whole = carried === null ? given : besideInput(given, carried);
  const blocks = withOrigin(whole, originColumns(form, origin, names));
  const rows = blocks.reduce((sum, block) => sum + block.rows, 0);
  const columns = blocks[0]?.columns ?? [];
  const parts = blocks.map((block) => ({ rows: block.rows, put: putterOf(block.columns, format, form) }));
  const schema = rows === 0 ? null : schemaOf(columns, format, form, carried !== null);
  return { rows, schema, pieces: piecesOf(parts) };
}

/** Encodes rows whose lines, without their ends, are known. */
export function encodeLines(rows: number, line: RowText): EncodedRows {
  return { rows, schema: null, pieces: piecesOf([{ rows, put: (row, lines) => lines.text(line(row)) }]) };
}

/** The blocks with columns before their own, whose rows are counted through. */
function withOrigin(blocks: readonly TextBlock[], added: readonly OriginColumn[]): readonly TextBlock[] {
  if (added.length === 0) return blocks;
  let first = 0;
  return blocks.map(({ rows, columns }) => {
    const from = first;
    first += rows;
    return { rows, columns: [...added.map((column) => originText(column, from)), ...columns] };
  });
}

/** The same with columns of the input. */
function besideInput(blocks: readonly TextBlock[], carried: Carried): readonly TextBlock[] {
  let first = 0;
  return blocks.map(({ rows, columns }) => {
    const from = first;
    first += rows;
    return { rows, columns: withCarried(columns, carried, (column) => carriedText(column, from)) };
  });
}

function originText({ kind, name, cell }: OriginColumn, from: number): TextColumn {
  const text = (row: number): string => String(cell(from + row));
  const isFile = kind === 'file';
  return {
    name,
    type: 'value',
    isQuotable: isFile,
    cell: text,
    json: isFile ? (row) => JSON.stringify(text(row)) : text,
  };
}

function schemaOf(
  columns: readonly TextColumn[],
  format: TextFormat,
  form: OutputForm,
  isBesideInput: boolean,
): ResultSchema | null {
  // Where no name is written, nobody would see that files have their columns in another order.
  if (format === 'azure' && !isBesideInput) return null;
  return {
    columns: columns.map((column) => `${column.name}:${column.type}`),
    prologue:
      format === 'csv'
        ? headerLine(
            columns.map(({ name }) => name),
            form,
          )
        : '',
  };
}

/** The first line of a CSV; empty where it has none. */
export function headerLine(names: readonly string[], { header, delimiter }: OutputForm): string {
  const isSpecial = specialIn(delimiter);
  return header ? `${names.map((name) => quoted(name, isSpecial)).join(delimiter)}\n` : '';
}

function* piecesOf(parts: readonly { readonly rows: number; readonly put: PutRow }[]): Generator<Uint8Array> {
  const lines = new ByteLines();
  for (const { rows, put } of parts) {
    for (let row = 0; row < rows; row += 1) {
      put(row, lines);
      lines.end();
      if (lines.length >= limits.frameRowsBytes) yield lines.take();
    }
  }
  if (lines.length > 0) yield lines.take();
  lines.close();
}

function putterOf(columns: readonly TextColumn[], format: TextFormat, form: OutputForm): PutRow {
  switch (format) {
    case 'azure':
      return delimitedLine(columns, ' ');
    case 'csv':
      return delimitedLine(columns, form.delimiter);
    case 'jsonl':
      return jsonLine(columns);
    default:
      return unreachable(format);
  }
}

/** One line without its end; a line of one empty field is `""`, as an empty line would be no row. */
function delimitedLine(columns: readonly TextColumn[], delimiter: string): PutRow {
  const isSpecial = specialIn(delimiter);
  const [first] = columns;
  if (first && columns.length === 1) {
    const cell = first.isQuotable ? quotedCell(first.cell, isSpecial) : first.cell;
    return (row, lines) => lines.text(cell(row) || '""');
  }
  const code = delimiter.charCodeAt(0);
  const cells = columns.map((column) => putCell(column, isSpecial));
  return (row, lines) => {
    for (let i = 0; i < cells.length; i += 1) {
      if (i > 0) lines.letter(code);
      (cells[i] as PutRow)(row, lines);
    }
  };
}

function putCell({ cell, integer, single, isQuotable }: TextColumn, isSpecial: RegExp): PutRow {
  if (integer) return (row, lines) => lines.integer(integer(row));
  if (single) {
    return (row, lines) => {
      if (!lines.single(single(row))) lines.text(cell(row));
    };
  }
  const text = isQuotable ? quotedCell(cell, isSpecial) : cell;
  return (row, lines) => lines.text(text(row));
}

function jsonLine(columns: readonly TextColumn[]): PutRow {
  const keys = columns.map((column, i) => `${i === 0 ? '{' : ','}${JSON.stringify(column.name)}:`);
  return (row, lines) => {
    for (let i = 0; i < columns.length; i += 1) {
      lines.text(keys[i] as string);
      lines.text((columns[i] as TextColumn).json(row));
    }
    lines.text('}');
  };
}

/** What a field with quotes is known by. */
const specialIn = (delimiter: string): RegExp => new RegExp(`[\\u${hex4(delimiter)}"\\r\\n]`);
const hex4 = (symbol: string): string => symbol.charCodeAt(0).toString(16).padStart(4, '0');

/**
 * A field in quotes where it needs them, with quotes inside doubled.
 * @source Python's csv module, QUOTE_MINIMAL; a lone carriage return is quoted as its newer releases do, because readers
 *   take it for a line's end
 */
function quoted(text: string, isSpecial: RegExp): string {
  return isSpecial.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Texts of a column are often the same for many rows. */
function quotedCell(cell: RowText, isSpecial: RegExp): RowText {
  let last = '';
  let lastQuoted = '';
  return (row) => {
    const text = cell(row);
    if (text === last) return lastQuoted;
    last = text;
    return (lastQuoted = quoted(text, isSpecial));
  };
}
