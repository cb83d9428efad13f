/** Ends of rows in text, however it is cut into blocks. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RowEnds } from '../../common/format/row-ends.ts';

/** Places behind rows, found a block and at most `rowsMax` rows at a time. */
function endsOf(text: Buffer, hasQuotes: boolean, blockBytes: number, rowsMax: number): number[] {
  const ends = new RowEnds(hasQuotes);
  const found: number[] = [];
  for (let from = 0; from < text.length; from += blockBytes) {
    const block = text.subarray(from, from + blockBytes);
    let at = 0;
    while (at < block.length) {
      const { rows, end } = ends.scan(block, at, rowsMax);
      expect(rows).toBeLessThanOrEqual(rowsMax);
      expect(end).toBeGreaterThan(at);
      if (rowsMax === 1 && rows === 1) found.push(from + end);
      at = end;
    }
  }
  expect(ends.isWithin).toBe(text.length > 0 && found.at(-1) !== text.length && rowsMax === 1);
  return found;
}

const cell = fc.string({ unit: fc.constantFrom('a', '"', '\n', ',', 'ü', '\r') });
const csvCell = (value: string): string => (/["\n\r,]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

it('of CSV are not between quotes', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(cell, { minLength: 1, maxLength: 3 })),
      fc.integer({ min: 1, max: 9 }),
      (rows, bytes) => {
        const lines = rows.map((row) => Buffer.from(`${row.map(csvCell).join(',')}\n`));
        let at = 0;
        const wanted = lines.map(({ length }) => (at += length));
        expect(endsOf(Buffer.concat(lines), true, bytes, 1)).toEqual(wanted);
      },
    ),
  );
});

it('of lines are at each newline, whatever else stands there', () => {
  const text = Buffer.from('a "b\n\n"c"\nd');
  expect(endsOf(text, false, 3, 1)).toEqual([5, 6, 10]);
});

it('are counted many at a time', () => {
  const text = Buffer.from('1\n2\n3\n4\n');
  const ends = new RowEnds(true);
  expect(ends.scan(text, 0, 3)).toEqual({ rows: 3, end: 6 });
  expect(ends.scan(text, 6, Infinity)).toEqual({ rows: 1, end: 8 });
  expect(ends.isWithin).toBe(false);
});

it('that are missing are known', () => {
  for (const text of ['a', 'a\nb', '"a\n', '"a""\n']) {
    const ends = new RowEnds(true);
    ends.scan(Buffer.from(text), 0, Infinity);
    expect(ends.isWithin).toBe(true);
  }
});
