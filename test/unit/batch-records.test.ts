import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { batchRecords, type PlacedRecord } from '../../coordinator/logs/batch-records.ts';
import { logsDirName } from '../../coordinator/logs/log-tree.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-records-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

const record = {
  ...{ first: 0, count: 2, token: '1.7', attempt: 1, status: 'RUN_DONE', start: '2026-01-01T00:00:00.000Z' },
  ...{ run_seconds: 0.25, cpu_seconds: 0.2, rows: 2, failed: 0, stdout: [0, 5], stderr: [0, 0] },
  ...{ code: null, message: null },
};

async function read(text: string): Promise<readonly PlacedRecord[]> {
  const folder = join(dir, logsDirName, 'sys/mini_batches/node-a');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'process000.jsonl'), text);
  const found: PlacedRecord[] = [];
  for await (const one of batchRecords(dir)) found.push(one);
  return found;
}

const placed = (more: object): object => ({ ...record, ...more, node: 'node-a', process: 'process000' });

it('gives every record, also the last one without a line end, and across the blocks of a large file', async () => {
  const many = Array.from({ length: 4_000 }, (_, first) => JSON.stringify({ ...record, first, token: `é1.${first}` }));
  const found = await read(many.join('\n'));
  expect(found).toHaveLength(many.length);
  expect(found.map(({ first }) => first)).toEqual(many.map((_, first) => first));
  expect(found.at(-1)).toEqual(placed({ first: 3_999, token: 'é1.3999' }));
});

it('reads what older and newer releases write, as far as it is one', async () => {
  const { cpu_seconds: _absent, ...older } = record;
  const newer = { ...record, code: 'OF_A_NEWER_RELEASE', status: 'RUN_EXCEPTION', message: 'no', unheard: 1 };
  expect(await read(`${JSON.stringify(older)}\n${JSON.stringify(newer)}\n`)).toEqual([
    placed({ cpu_seconds: null }),
    placed({ code: 'INTERNAL', status: 'RUN_EXCEPTION', message: 'no' }),
  ]);
});

it.each([
  ['a line that is not whole yet', JSON.stringify(record).slice(0, -4)],
  ['no object', '7'],
  ['a list', '[]'],
  ['a status of a newer release', JSON.stringify({ ...record, status: 'RUN_SKIPPED' })],
  ['a number that is none', JSON.stringify({ ...record, rows: '2' })],
  ['a count below nothing', JSON.stringify({ ...record, first: -1 })],
  ['a span of three', JSON.stringify({ ...record, stdout: [0, 1, 2] })],
  ['no token', JSON.stringify({ ...record, token: undefined })],
])('passes over %s', async (_, line) => {
  expect(await read(`${line}\n${JSON.stringify(record)}\n`)).toEqual([placed({})]);
});
