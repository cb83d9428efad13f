/** Text of a single value of plain JavaScript: a cell of a line, a value in JSON. */
import { BatchError } from '../core/batch-error.ts';
import { unreachable } from '../core/invariant.ts';
import { jsonInteger, numberText } from './number-text.ts';
import { booleanText } from './text-column.ts';
import { timeJson, timeText } from './time-text.ts';

/** Text of one cell in `azure` and `csv`. */
export function cellText(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return value;
    case 'number':
      return Number.isNaN(value) ? '' : numberText(value);
    case 'bigint':
      return value.toString();
    case 'boolean':
      return booleanText(value);
    case 'undefined':
      return '';
    case 'object':
    case 'function':
    case 'symbol':
      if (value === null) return '';
      return value instanceof Date ? timeText(value.getTime()) : jsonText(value);
    default:
      return unreachable(value as never);
  }
}

/** One cell as a JSON value. */
export function jsonText(value: unknown): string {
  if (typeof value === 'number') return Number.isFinite(value) ? numberText(value) : 'null';
  if (typeof value === 'bigint') return jsonInteger(value);
  if (value === undefined) return 'null';
  if (value instanceof Date) return timeJson(value.getTime());
  const text = stringify(value);
  if (text === undefined)
    throw new BatchError('SCORER_OUTPUT_INVALID', `a ${typeof value} cannot be written as a result`);
  return text;
}

function stringify(value: unknown): string | undefined {
  try {
    return JSON.stringify(value, plainer);
  } catch (error) {
    const words = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new BatchError('SCORER_OUTPUT_INVALID', `a result cannot be written as JSON: ${words}`, { cause: error });
  }
}

/** What JSON has no form for and yet has a plain meaning: big integers, typed arrays, maps and sets. */
function plainer(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (value instanceof Map) return Object.fromEntries(value as Map<string, unknown>);
  if (value instanceof Set) return [...(value as Set<unknown>)];
  if (ArrayBuffer.isView(value) && !(value instanceof DataView))
    return Array.from(value as unknown as ArrayLike<unknown>);
  return value;
}
