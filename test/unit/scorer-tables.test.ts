import { Decimal, makeData, makeVector, Table, tableToIPC, vectorFromArray } from 'apache-arrow';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HostFile } from '../../common/core/host-protocol.ts';
import type { TableInput } from '../../worker/scorers/onnx-inputs.ts';
import type { TableFeed } from '../../worker/scorers/table-columns.ts';
import { openTableReader } from '../../worker/scorers/table-reader.ts';
import { failing } from '../helpers/failing.ts';

let dir = '';
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'batchmill-json-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function file(lines: readonly string[], name = 'in.jsonl'): HostFile {
  return fileOf(lines.map((line) => `${line}\n`).join(''), name);
}

function fileOf(bytes: string | Uint8Array, name: string): HostFile {
  const path = join(dir, name);
  writeFileSync(path, bytes);
  return { path, name };
}

const input = (change: Partial<TableInput> = {}): TableInput => ({
  name: 'x',
  type: 'float64',
  rank: 2,
  width: null,
  columns: null,
  ...change,
});

function feed(inputs: readonly TableInput[], more: Partial<TableFeed> = {}): TableFeed {
  return { plan: { kind: 'table', inputs, batch: null }, missing: 'refuse', ...more };
}

interface Found {
  readonly inputs: unknown[][];
  readonly carried: Record<string, unknown[]>;
}

async function read(from: HostFile, how: TableFeed): Promise<Found> {
  const found: Found = { inputs: how.plan.inputs.map(() => []), carried: {} };
  for await (const { rows, inputs, carried = [] } of openTableReader(how).read(from, () => undefined)) {
    inputs.forEach(({ cells }, at) => found.inputs[at]?.push(...(cells as Float64Array)));
    for (const { name, cell } of carried) {
      (found.carried[name] ??= []).push(...Array.from({ length: rows }, (_, row) => cell(row)));
    }
  }
  return found;
}

/** Lines of more than the bytes that tell the columns; `note` and what else is in `last` begin behind them. */
const filler = ' '.repeat(1_000);
const long = (last: string): string[] => [
  ...Array.from({ length: 300 }, () => `{"a": 1, "b": 2${filler}}`),
  `{"a": 1, "b": 2, ${last}}`,
];

describe('a column that begins late', () => {
  it('fails the file where all columns are asked for', async () => {
    const named = feed([input({ columns: ['a'] })], { carried: 'all' });
    await expect(read(file(long('"note": "n"')), named)).rejects.toThrow(
      failing(
        'INPUT_COLUMNS_MISSING',
        'in.jsonl, line 301: the column note begins here, but the first rows of the file, which tell its columns, have only a, b. ' +
          'Name the columns: include: {input: [...]} of settings.output names those to keep',
      ),
    );
    // Nothing is lost with it.
    const { carried } = await read(file(long('"note": null')), named);
    expect(Object.keys(carried)).toEqual(['a', 'b']);
  });

  it('fails the file where it would be a feature', async () => {
    const all = feed([input()]);
    await expect(read(file(long('"c": 3')), all)).rejects.toThrow(
      failing('INPUT_COLUMNS_MISSING', 'Name the columns: settings.onnx.columns lists those to take'),
    );
    for (const other of ['"c": "text"', '"c": [1]', '"c": null']) {
      const { inputs } = await read(file(long(other)), all);
      expect(inputs[0]?.length).toBe(602);
    }
    const listed = [...Array.from({ length: 300 }, () => `{"x": [1, 2]${filler}}`), '{"x": [3, 4], "c": 3}'];
    expect((await read(file(listed), all)).inputs[0]?.slice(-2)).toEqual([3, 4]);
  });

  it('is missing until then where it is named', async () => {
    const { carried } = await read(file(long('"note": "n"')), feed([input({ columns: ['a'] })], { carried: ['note'] }));
    expect(carried['note']?.slice(-2)).toEqual([undefined, 'n']);
    expect(carried['note']?.length).toBe(301);
    const filled = feed([input({ columns: ['c'] })], { missing: { fill: 7 } });
    expect((await read(file(long('"c": 3')), filled)).inputs[0]?.slice(-2)).toEqual([7, 3]);
  });

  it('that no row has is none of the file', async () => {
    for (const how of [
      feed([input({ columns: ['a'] })], { carried: ['noted'] }),
      feed([input({ columns: ['noted'] })], { missing: { fill: 7 } }),
      feed([input({ columns: ['noted'] })]),
    ]) {
      await expect(read(file(['{"a": 1, "note": 2}']), how)).rejects.toThrow(
        failing('INPUT_COLUMNS_MISSING', 'noted (did you mean note?)'),
      );
    }
  });
});

describe('decimals of Arrow', () => {
  it('are numbers, as those of Parquet are', async () => {
    const type = new Decimal(2, 20, 128);
    const words = Uint32Array.of(0xffff_fffb, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 12_345, 0, 0, 0, 0, 0, 0, 0);
    const data = makeData({ type, length: 3, data: words, nullCount: 1, nullBitmap: Uint8Array.of(0b011) });
    const table = new Table({ price: makeVector(data), name: vectorFromArray(['p', 'q', 'r']) });
    for (const columns of [null, ['price']]) {
      const how = feed([input({ columns })], { missing: { fill: 7 } });
      const { inputs } = await read(fileOf(tableToIPC(table, 'file'), 'in.feather'), how);
      expect(inputs[0]).toEqual([-0.05, 123.45, 7]);
    }
  });
});

describe('a CSV of one column', () => {
  it('has no row for an empty line, but one for empty quotes', async () => {
    const how = feed([input({ columns: ['a'] })], { missing: { fill: 7 } });
    const { inputs } = await read(file(['a', '1', '', '""', '2', ''], 'in.csv'), how);
    expect(inputs[0]).toEqual([1, 7, 2]);
  });
});

describe('integers that a double does not hold', () => {
  it.each([
    ['string', '9007199254740993', ['9007199254740993', '9007199254740992']],
    ['int64', '-9223372036854775808', [-9223372036854775808n, 9007199254740992n]],
    ['uint64', '18446744073709551615', [18446744073709551615n, 9007199254740992n]],
  ])('go into %s as they are', async (type, text, wanted) => {
    const lines = [`{"id": ${text}}`, '{"id": 9007199254740992}'];
    const { inputs } = await read(file(lines), feed([input({ type, columns: ['id'] })]));
    expect(inputs[0]).toEqual(wanted);
  });
});
