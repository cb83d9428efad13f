/** Large tables shared out in parts, by a whole job: the output is that of the whole files, to the byte. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RecordBatch } from 'apache-arrow';
import { tableFromArrays, tableToIPC, Table } from 'apache-arrow';
import { parquetWriteFile } from 'hyparquet-writer';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { blindTo, canHide } from '../helpers/blind-node.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { onnxModel } from '../helpers/onnx-model.ts';
import { endPrograms, runProgram } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-split-'));
  mkdirSync(join(dir, 'shared', 'in'), { recursive: true });
  const value = { type: 'float64', shape: ['n', 1] } as const;
  const nodes = [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }];
  const model = onnxModel({ inputs: [{ name: 'x', ...value }], outputs: [{ name: 'y', ...value }], nodes });
  writeFileSync(join(dir, 'same.onnx'), model);
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

const rows = 20_000;
const noteOf = (i: number): string => `row ${i}, "said" ${'é'.repeat(i % 7)}\n${'-'.repeat(i % 60)}`;

/** Some mebibytes of each kind, the same rows in all. */
function writeTables(folder: string): void {
  const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;
  let csv = 'note,x\r\n';
  let lines = '';
  for (let i = 0; i < rows; i += 1) {
    csv += `${quoted(noteOf(i))},${i / 8}${i % 3 === 0 ? '\r\n' : '\n'}${i % 100 === 0 ? '\n' : ''}`;
    lines += `${JSON.stringify({ note: noteOf(i), x: i / 8 })}\n${i % 100 === 0 ? '\n' : ''}`;
  }
  writeFileSync(join(folder, 'a.csv'), csv);
  writeFileSync(join(folder, 'b.jsonl'), lines);
  const note = Array.from({ length: rows }, (_, i) => noteOf(i));
  const x = Float64Array.from({ length: rows }, (_, i) => i / 8);
  parquetWriteFile({
    filename: join(folder, 'c.parquet'),
    columnData: [
      { name: 'note', data: note, type: 'STRING' },
      { name: 'x', data: x, type: 'DOUBLE' },
    ],
    rowGroupSize: 1_500,
    codec: 'UNCOMPRESSED',
  });
  const table = tableFromArrays({ x, note });
  const batches: RecordBatch[] = [];
  for (let first = 0; first < rows; first += 900) batches.push(...table.slice(first, first + 900).batches);
  writeFileSync(join(folder, 'd.arrow'), tableToIPC(new Table(batches), 'file'));
}

const flags = ['--set', 'settings.output={include: {input: [note]}}', '--mini-batch-size', '2', '--format', 'csv'];

async function runHere(split: string, output = split): Promise<ReturnType<typeof readOutput>> {
  const args = ['run', 'same.onnx', '--input', 'shared/in', '--output', output, '--split-files', split, ...flags];
  const end = await runProgram([...args, '--slots', '2'], { cwd: dir });
  expect(end.code, end.stderr).toBe(0);
  return readOutput(join(dir, output));
}

test('a run of large tables in parts gives what the whole files give', async () => {
  writeTables(join(dir, 'shared', 'in'));
  const whole = await runHere('off');
  const parts = await runHere('256KB');
  expect(whole.files.length).toBe(4);
  expect(parts.files.length).toBeGreaterThan(16);
  expect(parts.sha256).toBe(whole.sha256);
  const verified = await runProgram(['job', 'verify', '256KB'], { cwd: dir });
  expect(verified.code, verified.stdout).toBe(0);
});

test.skipIf(!canHide())('two nodes, of which one does not see the files, share them out', async () => {
  writeTables(join(dir, 'shared', 'in'));
  const whole = await runHere('off');
  const cluster = await ClusterProcesses.start({ dir });
  await cluster.startWorker('seeing', { slots: 2 });
  await cluster.startWorker('blind', { slots: 2, prefix: blindTo(join(dir, 'shared')) });
  const output = join(dir, 'both');
  const given = ['--input', join(dir, 'shared', 'in'), '--output', output, '--split-files', '128KB', ...flags];
  const job = await cluster.submit([join(dir, 'same.onnx'), ...given]);
  await cluster.job(job, ({ status }) => status === 'Completed', 'completed', 120_000);
  const both = readOutput(output);
  expect(both.errors).toEqual([]);
  expect(both.sha256).toBe(whole.sha256);
  expect(new Set(both.files.map(({ node }) => node))).toEqual(new Set(['seeing', 'blind']));
});
