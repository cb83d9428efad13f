/** What the texts of a CSV column are: the type that loses nothing of any of them. The same rules as carried.py of the Python host. */
import type { ColumnType } from '../../common/format/column-type.ts';
import { isMissingText } from './tensor-cells.ts';

type TextOf = (row: number) => string;

export interface TypedTexts {
  readonly type: ColumnType;
  readonly cell: (row: number) => unknown;
}

// A number that begins with 0 or + is a code or a telephone number.
const integer = /^-?(?:0|[1-9]\d*)$/;
const decimal = /^-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
const infinity = /^-?inf(?:inity)?$/i;
const truth = /^(?:true|false)$/i;

type Kind = 'missing' | 'int' | 'wide' | 'float' | 'bool' | 'text';

/** `wide`: an integer of 64 bits that a double does not hold. */
function kindOf(text: string): Kind {
  const trimmed = text.trim();
  if (isMissingText(trimmed)) return 'missing';
  if (integer.test(trimmed)) {
    if (Number.isSafeInteger(Number(trimmed))) return 'int';
    return BigInt.asIntN(64, BigInt(trimmed)) === BigInt(trimmed) ? 'wide' : 'text';
  }
  if (decimal.test(trimmed) || infinity.test(trimmed)) return 'float';
  return truth.test(trimmed) ? 'bool' : 'text';
}

/** Integers are int64, other numbers and both together float64, `true` and `false` bool, anything else text, where `NA` is no gap. */
export function typedTexts(rows: number, text: TextOf): TypedTexts {
  const kinds = new Set<Kind>();
  let isEmpty = true;
  for (let row = 0; row < rows && !kinds.has('text'); row += 1) {
    kinds.add(kindOf(text(row)));
    isEmpty &&= text(row) === '';
  }
  kinds.delete('missing');
  if (kinds.size === 0 && isEmpty) return { type: { kind: 'null' }, cell: () => null };
  const has = (...wanted: readonly Kind[]): boolean =>
    kinds.size > 0 && [...kinds].every((kind) => wanted.includes(kind));
  if (has('int', 'wide'))
    return { type: { kind: 'int', bits: 64, isSigned: true }, cell: unlessMissing(text, toInteger) };
  if (has('int', 'float')) return { type: { kind: 'float', bits: 64 }, cell: unlessMissing(text, toFloat) };
  if (has('bool')) return { type: { kind: 'bool' }, cell: unlessMissing(text, (one) => one.toLowerCase() === 'true') };
  return plainTexts(text);
}

/** Texts as they are; an empty one is no value. */
export const plainTexts = (text: TextOf): TypedTexts => ({ type: { kind: 'utf8' }, cell: (row) => text(row) || null });

const unlessMissing =
  (text: TextOf, value: (trimmed: string) => unknown) =>
  (row: number): unknown => {
    const trimmed = text(row).trim();
    return isMissingText(trimmed) ? null : value(trimmed);
  };

function toInteger(text: string): number | bigint {
  const near = Number(text);
  return Number.isSafeInteger(near) ? near : BigInt(text);
}

function toFloat(text: string): number {
  return infinity.test(text) ? (text.startsWith('-') ? -Infinity : Infinity) : Number(text);
}
