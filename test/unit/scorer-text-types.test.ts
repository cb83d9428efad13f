import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { typeText } from '../../common/format/column-type.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { typedTexts } from '../../worker/scorers/text-types.ts';

/** The Python host is held to the same cases in test/python/test_carried.py. */
const cases = JSON.parse(readFileSync(packageFile('test', 'fixtures', 'text-types.json'), 'utf8')) as readonly {
  readonly texts: readonly string[];
  readonly type: string;
  /** Integers that JSON would round, and infinities, are text. */
  readonly values: readonly unknown[];
}[];

test.each(cases)('$texts', ({ texts, type, values }) => {
  const found = typedTexts(texts.length, (row) => texts[row] as string);
  expect(typeText(found.type)).toBe(type);
  const plain = (value: unknown): unknown => {
    if (typeof value === 'bigint') return String(value);
    if (value === Infinity || value === -Infinity) return value > 0 ? 'inf' : '-inf';
    return Object.is(value, -0) ? 0 : value;
  };
  expect(texts.map((_, row) => plain(found.cell(row)))).toEqual(values);
});
