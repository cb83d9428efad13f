/** JSON Lines files as blocks of columns: one object a line, its keys the columns. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { ColumnBlock, LateColumn, WantedColumns } from './column-block.ts';
import { bytesOf, wholeFile, type RecordRange } from './csv-records.ts';
import { isDecodeError, notUtf8 } from './not-utf8.ts';

/** As worker/core/row-scanner.ts has it. */
const blank = /^[ \t\v\f\r]*$/;

type Row = Readonly<Record<string, unknown>>;

/**
 * A block for each piece of the file. The columns are the keys of the first block's objects, also for a part that begins behind it, and
 * later ones are told with each block; a key that an object lacks is a missing value. Empty lines are skipped. Throws INPUT_UNREADABLE, and INPUT_DECODE_FAILED with the line.
 */
export async function* readJsonBlocks(file: HostFile, wanted: WantedColumns): AsyncGenerator<ColumnBlock> {
  const isExact = wanted.isExact === true || wanted.carried.length > 0;
  const { part } = file;
  const parse: Parse = (text, line) => parseRow(file, text, line, isExact);
  if (part?.kind !== 'text') return yield* readRange(file, wholeFile, null, parse);
  // What is broken there fails the part that has it.
  for await (const head of readRange(file, { begin: 0, end: part.head, line: 1 }, null, unlessBroken(parse))) {
    yield { ...head, isHead: true };
    yield* readRange(file, part, head.names, parse);
    return;
  }
}

type Parse = (text: string, line: number) => Row | null;

const unlessBroken =
  (parse: Parse): Parse =>
  (text, line) => {
    try {
      return parse(text, line);
    } catch (error) {
      if (error instanceof BatchError) return null;
      throw error;
    }
  };

async function* readRange(
  file: HostFile,
  range: RecordRange,
  known: readonly string[] | null,
  parse: Parse,
): AsyncGenerator<ColumnBlock> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: range.begin > 0, fatal: true });
  let names = known;
  let isKnown: ReadonlySet<string> = new Set(known);
  let rest = '';
  let line = range.line - 1;
  const rowsOf = (text: string): ColumnBlock | null => {
    const rows: Row[] = [];
    const lines: number[] = [];
    for (const one of text.split('\n')) {
      line += 1;
      if (blank.test(one)) continue;
      const row = parse(one, line);
      if (row === null) continue;
      rows.push(row);
      lines.push(line);
    }
    if (rows.length === 0) return null;
    if (names === null) {
      isKnown = new Set(rows.flatMap((row) => Object.keys(row)));
      names = [...isKnown];
    }
    const made = new Map<string, readonly unknown[]>();
    return {
      rows: rows.length,
      names,
      late: (matters) => lateColumn(rows, isKnown, matters),
      column: (name) => {
        const values = made.get(name) ?? rows.map((row) => row[name]);
        made.set(name, values);
        return values;
      },
      carried: (name) => ({ name, type: null, cell: (row) => (rows[row] as Row)[name] }),
      place: (row) => `line ${lines[row]}`,
    };
  };
  try {
    for (const bytes of bytesOf(file.path, range)) {
      rest += decoder.decode(bytes, { stream: true });
      const end = rest.lastIndexOf('\n');
      const block = end < 0 ? null : rowsOf(rest.slice(0, end));
      rest = rest.slice(end + 1);
      if (rest.length > limits.csvRecordCharsMax) {
        const text = `longer than ${limits.csvRecordCharsMax} characters, so this is no JSON Lines file`;
        throw new BatchError('INPUT_DECODE_FAILED', `${file.name}, line ${line + 1}: ${text}`);
      }
      if (block) yield block;
    }
    const last = rowsOf(rest + decoder.decode());
    if (last) yield last;
  } catch (error) {
    if (error instanceof BatchError) throw error;
    if (isDecodeError(error)) throw notUtf8(file, bytesOf(file.path, range), range.line);
    throw new BatchError('INPUT_UNREADABLE', `${file.name} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

function lateColumn(
  rows: readonly Row[],
  isKnown: ReadonlySet<string>,
  matters: (name: string, value: unknown) => boolean,
): LateColumn | null {
  for (const [row, values] of rows.entries()) {
    for (const name in values) {
      if (!isKnown.has(name) && (values[name] ?? null) !== null && matters(name, values[name])) return { name, row };
    }
  }
  return null;
}

function parseRow(file: HostFile, text: string, line: number, isExact: boolean): Row {
  let value: unknown;
  try {
    value = isExact && hasWideInteger.test(text) ? parseExact(text) : JSON.parse(text);
  } catch (error) {
    const words = `${file.name}, line ${line}: ${reasonOf(error)}`;
    throw new BatchError('INPUT_DECODE_FAILED', words, { cause: error });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Row;
  const text80 = text.trim().slice(0, 80);
  throw new BatchError('INPUT_DECODE_FAILED', `${file.name}, line ${line}: wanted a JSON object, found ${text80}`);
}

/** An integer that a double may not hold. */
const hasWideInteger = /(?<![\d.])\d{16,}(?![\d.eE])/;
const wideMark = '\u0000integer ';

/** The same as JSON.parse, with integers that a double does not hold as BigInt. */
function parseExact(text: string): unknown {
  // Strings are walked over, so that digits in them are left alone.
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token) => {
    const isWide = /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token));
    return isWide ? JSON.stringify(wideMark + token) : token;
  });
  return JSON.parse(marked, (_key, value: unknown) =>
    typeof value === 'string' && value.startsWith(wideMark) ? BigInt(value.slice(wideMark.length)) : value,
  );
}
