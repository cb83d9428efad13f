/** Tables of text cut at every byte: the parts have the rows of the whole file, each once, with its number and its line. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HostPart } from '../../common/core/host-protocol.ts';
import { readRecords } from '../../worker/scorers/csv-records.ts';
import { readJsonBlocks } from '../../worker/scorers/json-blocks.ts';
import { RowScanner, type RowForm } from '../../worker/core/row-scanner.ts';
import type { PartSource } from '../../worker/staging/part-source.ts';
import { TextTable } from '../../worker/staging/text-table.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-split-text-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const csv: RowForm = { kind: 'csv', delimiter: 0x2c, isPandas: false };
const lines: RowForm = { kind: 'lines' };

interface Row {
  readonly row: number;
  readonly line: number;
  readonly cells: unknown;
}

/** Bytes in pieces of so many, the first of three at least; counts those that were taken. */
function sourceOf(bytes: Uint8Array, pieceBytes: number): PartSource & { taken: number } {
  const source = {
    taken: 0,
    fileBytes: bytes.length,
    async *read(begin: number, end: number): AsyncGenerator<Uint8Array, void, void> {
      for (let at = begin; at < end;) {
        const to = Math.min(end, at + (at < 3 ? Math.max(3, pieceBytes) : pieceBytes));
        source.taken += to - at;
        yield await Promise.resolve(bytes.subarray(at, to));
        at = to;
      }
    },
  };
  return source;
}

async function csvRows(path: string, part?: Extract<HostPart, { kind: 'text' }>): Promise<readonly Row[]> {
  const rows: Row[] = [];
  let row = part ? part.row : -1;
  const take = (cells: string[], line: number): void => {
    if (row >= 0) rows.push({ row, line, cells });
    row += 1;
  };
  for await (const _ of readRecords({ path, name: 't.csv' }, ',', take, part));
  return rows;
}

async function jsonRows(path: string, part?: Extract<HostPart, { kind: 'text' }>): Promise<readonly Row[]> {
  const rows: Row[] = [];
  let row = part?.row ?? 0;
  const file = { path, name: 't.jsonl', ...(part && { part }) };
  for await (const block of readJsonBlocks(file, { fed: null, carried: [] })) {
    if (block.isHead) continue;
    const names = [...block.names];
    for (let at = 0; at < block.rows; at += 1) {
      const line = Number(block.place(at).replace('line ', ''));
      rows.push({ row, line, cells: names.map((name) => [name, block.column(name)[at]]) });
      row += 1;
    }
  }
  return rows;
}

/** Rows of all parts between these cuts, read by their readers as the places are told. */
async function rowsOfParts(
  form: RowForm,
  text: Uint8Array,
  path: string,
  cuts: readonly number[],
  pieceBytes: number,
): Promise<readonly Row[]> {
  const table = new TextTable(form);
  const source = sourceOf(text, pieceBytes);
  const ends = [...cuts, text.length];
  const parts = ends.map((end, i) => ({ begin: ends[i - 1] ?? 0, end, fileBytes: text.length }));
  const found = new Array<readonly Row[]>(parts.length);
  // In another order than they stand in, as nodes are given them.
  const order = [...parts.keys()].sort((a, b) => (b % 2) - (a % 2) || a - b);
  for (const index of order) {
    const part = parts[index] as (typeof parts)[number];
    const place = (await table.locate(part, source, null)) as Extract<HostPart, { kind: 'text' }>;
    found[index] = await (form.kind === 'csv' ? csvRows(path, place) : jsonRows(path, place));
  }
  return found.flat();
}

async function expectAllCuts(form: RowForm, text: string): Promise<void> {
  const bytes = Buffer.from(text);
  const path = join(dir, form.kind === 'csv' ? 't.csv' : 't.jsonl');
  writeFileSync(path, bytes);
  const whole = await (form.kind === 'csv' ? csvRows(path) : jsonRows(path));
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const shown = `cut at ${cut} of ${JSON.stringify(text)}`;
    expect(await rowsOfParts(form, bytes, path, [cut], 1 + (cut % 7)), shown).toEqual(whole);
  }
  for (const size of [1, 2, 3, 5, 8, 13, 21]) {
    const cuts = Array.from({ length: Math.ceil(bytes.length / size) - 1 }, (_, i) => (i + 1) * size);
    expect(await rowsOfParts(form, bytes, path, cuts, 4), `parts of ${size}: ${JSON.stringify(text)}`).toEqual(whole);
  }
}

describe('CSV cut at every byte', () => {
  it.each([
    ['plain', 'a,b\n1,2\n3,4\n5,6\n'],
    ['no newline at the end', 'a,b\n1,2\n3,4'],
    ['returns', 'a,b\r1,2\r3,4\r'],
    ['returns and newlines', 'a,b\r\n1,2\r\n\r\n3,4\n\r\n5,6\r\r\n7,8'],
    ['empty lines before, between and behind', '\n\r\na,b\n\n\n1,2\n\n3,4\n\n\n'],
    ['a byte order mark', '\ufeffa,b\n1,2\n3,4\n'],
    ['a byte order mark and an empty line', '\ufeff\na,b\n1,2\n'],
    ['newlines in quotes', 'a,b\n"1\n\n1",2\n3,"4\r\n4"\n"5\r",6\n'],
    ['doubled quotes', 'a,b\n"1""",2\n"""",4\n"""\n""","""6"\n'],
    ['empty quotes', 'a,b\n"",""\n"",4\n\n"",\n'],
    ['one column of empty quotes', 'a\n""\n""\n\n""\n'],
    ['a header with newlines', '"a\n\na","b ""b"""\n1,2\n"3\n",4\n'],
    ['more bytes than letters', 'ä,b\n"é\n€",2\n𝒳,"𝒳""\n"\n'],
    ['cells of nothing', 'a,b\n,\n,\n"",\n,""\n'],
    ['spaces', 'a, b\n 1 , 2 \n  \n"3\n", 4\n\t\n'],
    ['a header alone', 'a,b\n'],
    ['a header alone, without its newline', 'a,b'],
    ['nothing', '\n'],
  ])('%s', async (_, text) => {
    await expectAllCuts(csv, text);
  });

  it('of any cells in any order', async () => {
    const piece = fc.constantFrom(
      '1',
      'ä€',
      ' ',
      '"x"',
      '"\n"',
      '"\r\n"',
      '""',
      '""""',
      '"a""\n""b"',
      '"\r"',
      '"1,2"',
      '',
    );
    const end = fc.constantFrom('\n', '\r\n', '\r', '\n\n', '\n\r\n');
    const record = fc.tuple(fc.array(piece, { minLength: 1, maxLength: 3 }), end);
    const texts = fc.tuple(fc.constantFrom('', '\ufeff'), fc.array(record, { minLength: 1, maxLength: 6 }));
    await fc.assert(
      fc.asyncProperty(texts, async ([mark, records]) => {
        await expectAllCuts(csv, mark + records.map(([cells, last]) => cells.join(',') + last).join(''));
      }),
      { numRuns: 40 },
    );
  }, 60_000);

  it('a quote that stands oddly fails the part that has it, and no other', async () => {
    for (const odd of ['5" pipe,2', '"5"x,2', 'a"b""c,"2"']) {
      const text = Buffer.from(`a,b\n1,2\n"3\n",4\n${odd}\n7,"8\n"\n9,10\n`);
      const path = join(dir, 'odd.csv');
      writeFileSync(path, text);
      const cuts = Array.from({ length: text.length - 1 }, (_, i) => i + 1);
      const table = new TextTable(csv);
      const source = sourceOf(text, 5);
      const ends = [...cuts, text.length];
      const rows: Row[] = [];
      const failed: string[] = [];
      for (const [i, end] of ends.entries()) {
        const part = { begin: ends[i - 1] ?? 0, end, fileBytes: text.length };
        const place = (await table.locate(part, source, null)) as Extract<HostPart, { kind: 'text' }>;
        await csvRows(path, place).then(
          (found) => rows.push(...found),
          (error: unknown) => failed.push((error as Error).message),
        );
      }
      expect(rows.map(({ row }) => row)).toEqual([0, 1, 3, 4]);
      expect(rows.map(({ line }) => line)).toEqual([2, 4, 7, 8]);
      expect(failed).toEqual([expect.stringMatching(/line 5: Invalid/)]);
    }
  });
});

describe('JSON Lines cut at every byte', () => {
  it.each([
    ['plain', '{"a":1}\n{"a":2}\n{"a":3}\n'],
    ['no newline at the end', '{"a":1}\n{"a":2}'],
    ['returns, and newlines within texts', '{"a":"x\\ny"}\r\n{"a":"\\r\\n"}\r\n'],
    ['blank lines', '\n  \n{"a":1}\n\t\r\n\n{"a":2}\n \n'],
    ['a byte order mark', '\ufeff{"a":1}\n{"a":2}\n'],
    ['other keys later', '{"a":1}\n{"b":"ä€𝒳"}\n{"a":2,"b":3}\n'],
    ['blank before', ' {"a":1}\n  {"a":2}\n'],
  ])('%s', async (_, text) => {
    await expectAllCuts(lines, text);
  });

  it('a line that is broken fails the part that has it', async () => {
    const text = Buffer.from('{"a":1}\n{"a":\n{"a":3}\n');
    const path = join(dir, 'broken.jsonl');
    writeFileSync(path, text);
    await expect(rowsOfParts(lines, text, path, [8, 14], 4)).rejects.toThrow(/line 2/);
    const table = new TextTable(lines);
    const place = await table.locate({ begin: 14, end: text.length, fileBytes: text.length }, sourceOf(text, 9), null);
    expect(await jsonRows(path, place as Extract<HostPart, { kind: 'text' }>)).toEqual([
      { row: 2, line: 3, cells: [['a', 3]] },
    ]);
  });
});

describe('what looking for rows costs', () => {
  const text = Buffer.from(`a,b\n${'1,"2\n"\n'.repeat(1_000_000)}`);
  const count = 40;
  const parts = Array.from({ length: count }, (_, i) => ({
    begin: Math.floor((text.length / count) * i),
    end: i + 1 === count ? text.length : Math.floor((text.length / count) * (i + 1)),
    fileBytes: text.length,
  }));

  it('reads a file once, whatever the order of its parts, but for a mebibyte and what is read behind each', async () => {
    for (const order of [parts, [...parts].reverse(), [...parts.slice(20), ...parts.slice(0, 20)]]) {
      const source = sourceOf(text, 65_536);
      const table = new TextTable(csv);
      for (const part of order) await table.locate(part, source, null);
      expect(source.taken).toBeLessThan(text.length + count * (1_048_576 + 2 * 65_536));
    }
    const source = sourceOf(text, 65_536);
    const table = new TextTable(csv);
    for (const part of parts) await table.locate(part, source, null);
    expect(source.taken).toBeLessThan(text.length + count * 65_536 * 2);
  });

  it('keeps the head and the rows of the part, and reads nothing behind them', async () => {
    const source = sourceOf(text, 65_536);
    const kept: [number, number][] = [];
    const keep = (bytes: Uint8Array, offset: number): Promise<void> => {
      kept.push([offset, offset + bytes.length]);
      return Promise.resolve();
    };
    const part = parts[1] as (typeof parts)[number];
    const place = (await new TextTable(csv).locate(part, source, keep)) as Extract<HostPart, { kind: 'text' }>;
    expect(kept[0]).toEqual([0, place.head]);
    const bytes = kept.slice(1).reduce((sum, [from, to]) => sum + to - from, 0);
    expect(bytes).toBe(place.end - place.begin);
    expect(source.taken).toBeLessThan(part.end + 4 * 65_536);
  });

  it('goes on from where a scan stood, in the middle of quotes too', () => {
    const scanned = new RowScanner(csv);
    expect(scanned.seek(text.subarray(0, 8), 0, 1_000)).toBe(-1);
    const resumed = new RowScanner(csv, scanned.state);
    expect(resumed.seek(text.subarray(8), 0, 9)).toBe(3);
    expect(resumed.state).toMatchObject({ offset: 11, records: 2, line: 4 });
  });
});
