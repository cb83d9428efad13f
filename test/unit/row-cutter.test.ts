import {
  RecordBatchStreamWriter,
  Table,
  tableFromIPC,
  vectorFromArray,
  Utf8,
  Int64,
  Float32,
  List,
  Field,
} from 'apache-arrow';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { messagePrefixBytes, metadataBytesOf } from '../../common/format/arrow-message.ts';
import { endOfStream } from '../../common/format/arrow-stream.ts';
import { rowCutter } from '../../common/format/row-cutter.ts';

const none = new Uint8Array(0);
const cellOf = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const csvRow = (cells: readonly string[]): string => `${cells.map(cellOf).join(',')}\n`;

describe('rows of text', () => {
  it('are cut where a row ends, whatever stands in their cells', async () => {
    const cell = fc.stringMatching(/^[a"\n,ä ]{0,6}$/);
    const rows = fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(rows, fc.nat(), fc.nat(), async (cells, a, b) => {
        const texts = cells.map(csvRow);
        const bytes = Buffer.from(texts.join(''));
        const cutter = await rowCutter({ bytes, count: texts.length, format: 'csv', head: none });
        const first = a % texts.length;
        const count = 1 + (b % (texts.length - first));
        expect(cutter?.cut(first, count).toString()).toBe(texts.slice(first, first + count).join(''));
      }),
    );
  });

  it.each([
    ['azure', 'a b\nc\nd\n', 2],
    ['azure', 'a b\nc', 2],
    ['azure', 'a b\n', 2],
    ['jsonl', '{"a":1}\n{"a":2}\n', 1],
    ['csv', '"a\n', 1],
    ['csv', '"a\nb"\n"c\nd"\n', 3],
  ] as const)('of %s that are told to be another number are not cut: %j, %i', async (format, text, count) => {
    expect(await rowCutter({ bytes: Buffer.from(text), count, format, head: none })).toBeNull();
  });
});

describe('record batches', () => {
  /** Batches of `sizes` rows: numbers, texts with gaps, lists. */
  function stream(sizes: readonly number[]): {
    readonly head: Buffer;
    readonly body: Buffer;
    readonly rows: unknown[];
  } {
    let next = 0;
    const writer = new RecordBatchStreamWriter();
    const rows: unknown[] = [];
    for (const size of sizes) {
      const ids = Array.from({ length: size }, () => next++);
      const table = new Table({
        id: vectorFromArray(
          ids.map((id) => BigInt(id) * 2n ** 40n),
          new Int64(),
        ),
        text: vectorFromArray(
          ids.map((id) => (id % 3 === 0 ? null : `ä ${id}`)),
          new Utf8(),
        ),
        list: vectorFromArray(
          ids.map((id) => Array.from({ length: id % 4 }, (_, n) => n / 2)),
          new List(new Field('item', new Float32(), true)),
        ),
      });
      rows.push(...plain(table));
      writer.write(table.batches[0]);
    }
    writer.finish();
    const bytes = Buffer.from(writer.toUint8Array(true));
    const headEnd = messagePrefixBytes + metadataBytesOf(bytes);
    return { head: bytes.subarray(0, headEnd), body: bytes.subarray(headEnd, -endOfStream.length), rows };
  }

  const plain = (table: Table): unknown[] =>
    table.toArray().map((row: unknown) => JSON.parse(JSON.stringify(row, wide)) as unknown);
  const wide = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

  it('are cut at any rows, and stay as they are where they are wanted whole', async () => {
    const { head, body, rows } = stream([3, 1, 70, 5]);
    const cutter = await rowCutter({ bytes: body, count: rows.length, format: 'arrow', head });
    for (let first = 0; first < rows.length; first += 1) {
      for (const count of [1, 2, 4, rows.length - first].filter((one) => first + one <= rows.length)) {
        const cut = Buffer.concat([head, cutter?.cut(first, count) ?? none, endOfStream]);
        expect(plain(tableFromIPC(cut))).toEqual(rows.slice(first, first + count));
      }
    }
    expect(cutter?.cut(0, rows.length)).toEqual(body);
  });

  it('of another number of rows are not cut', async () => {
    const { head, body } = stream([3]);
    expect(await rowCutter({ bytes: body, count: 4, format: 'arrow', head })).toBeNull();
  });
});
