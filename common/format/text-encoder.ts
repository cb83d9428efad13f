/**
 * Rows as the bytes that will stand in the output file: `azure` (space, no header), `csv` (comma, header as prologue),
 * `jsonl` (one object a line). A loop of our own: a general CSV writer is several times slower than columns allow.
 */
import { limits } from '../core/limits.ts';
import { unreachable } from '../core/invariant.ts';
import type { OutputFormat } from '../core/deployment.ts';
import type { ResultSchema } from '../core/result.ts';
import type { TextBlock, TextColumn } from './text-column.ts';

/** Encoded rows. `pieces` is made while it is walked, in pieces of about limits.frameRowsBytes, and only once. */
export interface EncodedRows {
  readonly rows: number;
  /** Null for `azure`, and when there is no row. */
  readonly schema: ResultSchema | null;
  readonly pieces: Iterable<Uint8Array>;
}

type RowText = (row: number) => string;

/** Encodes blocks that all have the columns of the first one; the cells are read when `pieces` is walked. */
export function encodeBlocks(blocks: readonly TextBlock[], format: OutputFormat): EncodedRows {
  const rows = blocks.reduce((sum, block) => sum + block.rows, 0);
  const columns = blocks[0]?.columns ?? [];
  const parts = blocks.map((block) => ({ rows: block.rows, line: lineOf(block.columns, format) }));
  return { rows, schema: rows === 0 ? null : schemaOf(columns, format), pieces: piecesOf(parts) };
}

/** Encodes rows whose lines, without their ends, are known. */
export function encodeLines(rows: number, line: RowText): EncodedRows {
  return { rows, schema: null, pieces: piecesOf([{ rows, line }]) };
}

function schemaOf(columns: readonly TextColumn[], format: OutputFormat): ResultSchema | null {
  if (format === 'azure') return null;
  const header = columns.map((column) => quoted(column.name, ',')).join(',');
  return {
    columns: columns.map((column) => `${column.name}:${column.type}`),
    prologue: format === 'csv' ? `${header}\n` : '',
  };
}

function* piecesOf(parts: readonly { readonly rows: number; readonly line: RowText }[]): Generator<Uint8Array> {
  let text = '';
  for (const { rows, line } of parts) {
    for (let row = 0; row < rows; row += 1) {
      text += line(row) + '\n';
      if (text.length < limits.frameRowsBytes) continue;
      yield Buffer.from(text);
      text = '';
    }
  }
  if (text !== '') yield Buffer.from(text);
}

function lineOf(columns: readonly TextColumn[], format: OutputFormat): RowText {
  switch (format) {
    case 'azure':
      return delimitedLine(columns, ' ');
    case 'csv':
      return delimitedLine(columns, ',');
    case 'jsonl':
      return jsonLine(columns);
    default:
      return unreachable(format);
  }
}

/** One line without its end; a line of one empty field is `""`, as an empty line would be no row. */
function delimitedLine(columns: readonly TextColumn[], delimiter: Delimiter): RowText {
  const cells = columns.map((column) => (column.isQuotable ? quotedCell(column.cell, delimiter) : column.cell));
  const [first] = cells;
  if (first && cells.length === 1) return (row) => first(row) || '""';
  return (row) => {
    let line = '';
    for (let i = 0; i < cells.length; i += 1) line += (i > 0 ? delimiter : '') + (cells[i] as RowText)(row);
    return line;
  };
}

function jsonLine(columns: readonly TextColumn[]): RowText {
  const keys = columns.map((column, i) => `${i === 0 ? '{' : ','}${JSON.stringify(column.name)}:`);
  return (row) => {
    let line = '';
    for (let i = 0; i < columns.length; i += 1) line += (keys[i] as string) + (columns[i] as TextColumn).json(row);
    return line + '}';
  };
}

type Delimiter = ' ' | ',';

const special = { ' ': /[ "\r\n]/, ',': /[,"\r\n]/ } satisfies Record<Delimiter, RegExp>;

/**
 * A field in quotes where it needs them, with quotes inside doubled.
 * @source Python's csv module, QUOTE_MINIMAL; a lone carriage return is quoted as its newer releases do, because readers
 *   take it for a line's end
 */
function quoted(text: string, delimiter: Delimiter): string {
  return special[delimiter].test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const quotedCell =
  (cell: RowText, delimiter: Delimiter): RowText =>
  (row) =>
    quoted(cell(row), delimiter);
