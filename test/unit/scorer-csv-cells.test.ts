import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CellPlaces, decimalAt } from '../../worker/scorers/csv-cells.ts';
import { readTables } from '../../worker/scorers/csv-records.ts';
import type { FileRows } from '../../worker/scorers/file-rows.ts';
import { openTableReader } from '../../worker/scorers/table-reader.ts';
import { cellsOf, cellTypes } from '../../worker/scorers/tensor-cells.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-cells-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const digits = fc.stringMatching(/^\d{1,21}$/);
const number = fc.oneof(
  fc.tuple(fc.constantFrom('', '-', '+'), digits, fc.option(digits)).map(([sign, whole, fraction]) => {
    return `${sign}${whole}${fraction === null ? '' : `.${fraction}`}`;
  }),
  fc.double({ noNaN: true }).map(String),
  fc.float({ noNaN: true }).map(String),
  fc.integer().map(String),
  fc.constantFrom(
    '',
    '-',
    '.',
    '+.',
    '5.',
    '.5',
    '-.5',
    '1.2.3',
    '1e5',
    '--1',
    '0',
    '-0',
    '00.10',
    ' 7',
    '9007199254740993',
  ),
);
const decimal = /^[+-]?(?:\d+\.?\d*|\.\d+)$/;

describe('a plain number in bytes', () => {
  it('is what Number() finds in the text, or left to it', () => {
    fc.assert(
      fc.property(number, (text) => {
        const bytes = Buffer.from(`x${text},`);
        const found = decimalAt(bytes, 1, bytes.length - 1, false);
        if (!Number.isNaN(found)) expect(decimal.test(text)).toBe(true);
        if (!Number.isNaN(found)) expect(found).toBe(Number(text));
        const single = decimalAt(bytes, 1, bytes.length - 1, true);
        if (!Number.isNaN(single)) expect(decimal.test(text)).toBe(true);
        if (!Number.isNaN(single)) expect(Math.fround(single)).toBe(Math.fround(Number(text)));
      }),
      { numRuns: 2_000 },
    );
  });

  it.each(['0', '-0', '12', '-12.5', '+3', '123456.789012345', '.5', '5.', '999999999999999'])(
    'is %s at once',
    (text) => {
      expect(decimalAt(Buffer.from(text), 0, text.length, false)).toBe(Number(text));
    },
  );

  it.each(['0.12345678901234567', '3.1415926535897931', '1234567890.123456789'])(
    'is %s at once as a float32',
    (text) => {
      expect(decimalAt(Buffer.from(text), 0, text.length, false)).toBeNaN();
      expect(Math.fround(decimalAt(Buffer.from(text), 0, text.length, true))).toBe(Math.fround(Number(text)));
    },
  );

  it('is left where it lies between two float32', () => {
    // Halfway between 1 and the next float32, and a little more.
    const text = '1.00000005960464478';
    expect(decimalAt(Buffer.from(text), 0, text.length, true)).toBeNaN();
  });
});

const cell = fc.oneof(
  { weight: 6, arbitrary: number.filter((text) => !/[",\r\n]/.test(text)) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('', 'NA', 'é', 'x y', '"7"', '"a,b"', '"a ""b"""', '"1\n2"', '"1\r\n2"', '""'),
  },
);
const table = fc
  .tuple(fc.integer({ min: 1, max: 4 }), fc.constantFrom('\n', '\r\n'), fc.constantFrom('', '\n', '\n\n'), fc.boolean())
  .chain(([width, lineEnd, gap, hasMark]) =>
    fc.array(fc.array(cell, { minLength: width, maxLength: width }), { maxLength: 12 }).map((rows) => {
      const header = Array.from({ length: width }, (_, i) => `c${i}`);
      const lines = [header, ...rows].map((row) => row.join(','));
      return { width, text: `${hasMark ? '\ufeff' : ''}${lines.join(lineEnd + gap)}` };
    }),
  );

const reference = (text: string): string[][] =>
  parse(text, { bom: true, record_delimiter: ['\r\n', '\n', '\r'], relax_column_count: true, skip_empty_lines: true });

async function tablesOf(path: string): Promise<string[][]> {
  const records: string[][] = [];
  for await (const { rows, width, text } of readTables({ path, name: 'in.csv' }, ',')) {
    for (let row = 0; row < rows; row += 1) records.push(Array.from({ length: width }, (_, i) => text(row, i)));
  }
  return records;
}

describe('a table', () => {
  it('has the records and the numbers that csv-parse finds, each by way of its text', async () => {
    const path = join(dir, 'any.csv');
    const types = ['float32', 'float64', 'int64', 'int8', 'string'] as const;
    await fc.assert(
      fc.asyncProperty(table, fc.constantFrom(...types), async ({ width, text }, type) => {
        writeFileSync(path, text);
        const [, ...rows] = reference(text);
        expect(await tablesOf(path)).toEqual(reference(text));
        const columns = Array.from({ length: width }, (_, i) => `c${i}`);
        const inputs = [{ name: 'x', type, rank: 2, width, columns } as const];
        const reader = openTableReader({ plan: { kind: 'table', inputs, batch: null }, missing: { fill: 7 } });
        const found: FileRows[] = [];
        const walk = async (): Promise<void> => {
          for await (const some of reader.read({ path, name: 'any.csv' }, () => undefined)) found.push(some);
        };
        const values = rows
          .flat()
          .map((one) => cellTypes[type]?.parse(one) ?? (/^(NA|nan)?$/i.test(one.trim()) ? 7 : null));
        if (values.includes(null)) {
          await expect(walk()).rejects.toThrow(/is not an? /);
          return;
        }
        await walk();
        const cells = found.flatMap((some) => Array.from(some.inputs[0]?.cells as ArrayLike<unknown>));
        const given = values.map((one) => (type === 'string' ? String(one) : one) as number);
        const wanted = Array.from(cellsOf(type, given) as ArrayLike<unknown>);
        expect(cells).toEqual(wanted);
      }),
      { numRuns: 150 },
    );
  });

  it('of plain numbers makes no text of a cell', () => {
    const bytes = Buffer.from('1,-2.5\n3,4e5\n"5",6\n');
    const cells = new CellPlaces(',', 0);
    expect(cells.walk(bytes, bytes.length)).toBe('end');
    expect([cells.rows, cells.width, cells.linesBefore]).toEqual([3, 2, 3]);
    expect(Array.from(cells.numbers.subarray(0, 6))).toEqual([1, -2.5, 3, NaN, NaN, 6]);
    expect(Array.from(cells.places.subarray(0, 4))).toEqual([0, 1, 2, 6]);
    expect(bytes.toString('latin1', cells.places[8], cells.places[9])).toBe('5');
  });

  it.each([
    ['a doubled quote', '1,2\n"3""",4\n', 4],
    ['a line end between quotes', '1,2\n"3\n",4\n', 4],
    ['a quote within a cell', '1,2\n3",4\n', 4],
    ['a letter behind a quote', '1,2\n"3"x,4\n', 4],
    ['a return that ends a line alone', '1,2\n3\r4,5\n', 4],
  ])('stands still where %s is', (_what, text, next) => {
    const cells = new CellPlaces(',', 0);
    expect(cells.walk(Buffer.from(text), text.length)).toBe('quotes');
    expect([cells.rows, cells.next, cells.linesBefore]).toEqual([1, next, 1]);
  });
});
