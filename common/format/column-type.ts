/**
 * Types of columns as plain data and as text: what a result's schema names, what a deployment declares. The text says
 * everything that the bytes depend on, so that equal texts mean record batches of one stream.
 */
import { unreachable } from '../core/invariant.ts';

export type TimeUnit = 's' | 'ms' | 'us' | 'ns';

export type ColumnType =
  | { readonly kind: 'null' | 'bool' | 'utf8' | 'binary' | 'date32' }
  | { readonly kind: 'int'; readonly bits: 8 | 16 | 32 | 64; readonly isSigned: boolean }
  | { readonly kind: 'float'; readonly bits: 16 | 32 | 64 }
  /** `zone` null: a time of day on a wall clock, of no zone. */
  | { readonly kind: 'timestamp'; readonly unit: TimeUnit; readonly zone: string | null }
  | { readonly kind: 'list'; readonly item: ColumnType }
  | { readonly kind: 'struct'; readonly fields: readonly ColumnField[] };

export interface ColumnField {
  readonly name: string;
  readonly type: ColumnType;
}

/** `int64`, `float32`, `utf8`, `timestamp[ms,UTC]`, `list<int64>`, `struct<a:int64,b:utf8>`. */
export function typeText(type: ColumnType): string {
  switch (type.kind) {
    case 'null':
    case 'bool':
    case 'utf8':
    case 'binary':
    case 'date32':
      return type.kind;
    case 'int':
      return `${type.isSigned ? '' : 'u'}int${type.bits}`;
    case 'float':
      return `float${type.bits}`;
    case 'timestamp':
      return `timestamp[${type.unit}${type.zone === null ? '' : `,${type.zone}`}]`;
    case 'list':
      return `list<${typeText(type.item)}>`;
    case 'struct':
      return `struct<${type.fields.map((field) => `${field.name}:${typeText(field.type)}`).join(',')}>`;
    default:
      return unreachable(type);
  }
}

/** Other words for the same, as other tools have them. */
const aliases: Readonly<Record<string, string>> = {
  string: 'utf8',
  str: 'utf8',
  text: 'utf8',
  boolean: 'bool',
  int: 'int64',
  long: 'int64',
  float: 'float32',
  double: 'float64',
  half: 'float16',
  date: 'date32',
  timestamp: 'timestamp[us]',
};

/** Null for a text that names no type. */
export function parseType(given: string): ColumnType | null {
  const trimmed = given.trim();
  const text = aliases[trimmed.toLowerCase()] ?? trimmed;
  const number = /^(u?int)(8|16|32|64)$/.exec(text);
  if (number) return { kind: 'int', bits: Number(number[2]) as 8, isSigned: number[1] === 'int' };
  const float = /^float(16|32|64)$/.exec(text);
  if (float) return { kind: 'float', bits: Number(float[1]) as 16 };
  const time = /^timestamp\[(s|ms|us|ns)(?:,\s*([^\]\s]+))?\]$/.exec(text);
  if (time) return { kind: 'timestamp', unit: time[1] as TimeUnit, zone: time[2] ?? null };
  const list = /^list<(.*)>$/.exec(text);
  if (list) {
    const item = parseType(list[1] as string);
    return item && { kind: 'list', item };
  }
  const struct = /^struct<(.*)>$/.exec(text);
  if (struct) return parseStruct(struct[1] as string);
  const plain = ['null', 'bool', 'utf8', 'binary', 'date32'] as const;
  const kind = plain.find((one) => one === text);
  return kind === undefined ? null : { kind };
}

function parseStruct(text: string): ColumnType | null {
  const fields: ColumnField[] = [];
  for (const part of outerParts(text)) {
    const at = part.indexOf(':');
    const type = at < 0 ? null : parseType(part.slice(at + 1));
    if (type === null) return null;
    fields.push({ name: part.slice(0, at).trim(), type });
  }
  return fields.length === 0 ? null : { kind: 'struct', fields };
}

/** Parts between the commas that are in no bracket. */
function outerParts(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at < text.length; at += 1) {
    const symbol = text.charAt(at);
    if (symbol === '<' || symbol === '[') depth += 1;
    else if (symbol === '>' || symbol === ']') depth -= 1;
    else if (symbol === ',' && depth === 0) {
      parts.push(text.slice(from, at));
      from = at + 1;
    }
  }
  parts.push(text.slice(from));
  return parts;
}
