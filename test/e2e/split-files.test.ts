/** Large tables shared out in parts, by a whole job: the output is that of the whole files, to the byte. */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
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
import { testPython } from '../helpers/python.ts';
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

async function runHere(split: string, output = split, ...more: string[]): Promise<ReturnType<typeof readOutput>> {
  const args = [
    'run',
    'same.onnx',
    '--input',
    'shared/in',
    '--output',
    output,
    '--split-files',
    split,
    ...flags,
    ...more,
  ];
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

test('parts of tables that are the same are taken from an earlier output', async () => {
  writeTables(join(dir, 'shared', 'in'));
  const first = await runHere('256KB', 'first');
  writeFileSync(join(dir, 'shared', 'in', 'aa.csv'), 'note,x\nnew,1\n');
  const csv = join(dir, 'shared', 'in', 'a.csv');
  writeFileSync(csv, `${readFileSync(csv, 'utf8')}last,2\n`);
  const second = await runHere('256KB', 'second', '--since', 'first');
  const ofOthers = first.files.filter(({ path }) => path !== 'a.csv').length;
  expect(second.files.filter(({ taken }) => taken === true)).toHaveLength(ofOthers);
  expect(second.files.every(({ path, taken }) => (path.startsWith('a') ? taken === undefined : taken))).toBe(true);
  expect(second.sha256).toBe((await runHere('off', 'whole')).sha256);
  // Cut otherwise, they are other inputs.
  const third = await runHere('200KB', 'third', '--since', 'second');
  expect([third.sha256, third.files.filter(({ taken }) => taken).length]).toEqual([second.sha256, 1]);
  const verified = await runProgram(['job', 'verify', 'second'], { cwd: dir });
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

test('what a node held that was killed is scored by the other', async () => {
  writeTables(join(dir, 'shared', 'in'));
  const whole = await runHere('off');
  const cluster = await ClusterProcesses.start({ dir, heartbeat: '200ms' });
  const doomed = await cluster.startWorker('doomed', { slots: 2 });
  const output = join(dir, 'killed');
  const given = ['--input', join(dir, 'shared', 'in'), '--output', output, '--split-files', '64KB', ...flags];
  const job = await cluster.submit([join(dir, 'same.onnx'), ...given]);
  await cluster.job(job, ({ files }) => files.scored >= 4, 'four parts', 60_000);
  doomed.signal('SIGKILL');
  await doomed.ended;
  await cluster.startWorker('heir', { slots: 2 });
  const end = await cluster.job(job, ({ status }) => status === 'Completed', 'completed', 120_000);
  expect(end.files.split).toEqual({ files: 4, parts: end.files.total });
  const killed = readOutput(output);
  expect(killed.errors).toEqual([]);
  expect(killed.sha256).toBe(whole.sha256);
  expect(new Set(killed.files.map(({ node }) => node))).toEqual(new Set(['doomed', 'heir']));
});

test('a broken row fails the part that has it, which alone is scored again', async () => {
  const path = join(dir, 'shared', 'in', 'a.csv');
  const line = (i: number): string => `${i === 9_000 ? '' : i},${'-'.repeat(i % 60)}\n`;
  const text = `x,note\n${Array.from({ length: 20_000 }, (_, i) => line(i)).join('')}`;
  writeFileSync(path, text);
  const cluster = await ClusterProcesses.start({ dir });
  await cluster.startWorker('node', { slots: 2 });
  const output = join(dir, 'broken');
  const model = join(dir, 'same.onnx');
  const given = ['--input', join(dir, 'shared', 'in'), '--output', output, '--split-files', '64KB', ...flags];
  const job = await cluster.submit([model, ...given, '--mini-batch-size', '1']);
  const first = await cluster.job(job, ({ ended_at: ended }) => ended !== null, 'its end', 60_000);
  expect(first.files.failed).toBe(1);
  const { errors, files } = readOutput(output);
  const part = files.findIndex(({ status }) => status === 'failed');
  const [begin = 0, end = 0] = files[part]?.part ?? [];
  const broken = text.indexOf('\n,') + 1;
  expect([begin <= broken, broken < end]).toEqual([true, true]);
  expect(errors).toEqual([expect.objectContaining({ ordinal: part, path: 'a.csv', part: [begin, end] })]);
  expect(errors[0]?.message).toContain('a.csv, line 9002, column x is empty');
  const told = await cluster.cli(['job', 'errors', job]);
  expect(told.stdout).toContain(`a.csv, bytes ${begin} to ${end}`);
  expect((await runProgram(['job', 'verify', output], { cwd: dir })).code).toBe(0);

  const mended = ['--deployment', model, '--set', 'settings.onnx={missing: {fill: 0}}'];
  const alike = ['--set', flags[1] as string, '--set', 'settings.output.format=csv'];
  const retried = await cluster.cli(['job', 'retry', job, '--failed-only', ...mended, ...alike, '--wait']);
  expect(retried.code, retried.stderr).toBe(0);
  const again = readOutput(output);
  expect(again.errors).toEqual([]);
  const attempts = again.files.map(({ attempt }) => attempt);
  expect(attempts.filter((attempt, i) => attempt !== files[i]?.attempt)).toEqual([attempts[part]]);
  const rowsOf = readFileSync(join(output, 'predictions.csv'), 'utf8').trimEnd().split('\n').slice(1);
  expect(rowsOf.map((row) => row.split(',').slice(0, 2).join())).toEqual(rowsOf.map((_, i) => `a.csv,${i}`));
  expect(rowsOf.length).toBe(20_000);
});

test('a file that has changed since is not made of parts of two versions', async () => {
  const path = join(dir, 'shared', 'in', 'a.csv');
  const text = (x: string): string =>
    `x\n${Array.from({ length: 40_000 }, (_, i) => `${i === 30_000 ? x : i}\n`).join('')}`;
  writeFileSync(path, text('?'));
  const cluster = await ClusterProcesses.start({ dir });
  await cluster.startWorker('node', { slots: 2 });
  const given = ['--input', join(dir, 'shared', 'in'), '--output', join(dir, 'out'), '--split-files', '64KB'];
  const job = await cluster.submit([join(dir, 'same.onnx'), ...given]);
  await cluster.job(job, ({ ended_at: ended }) => ended !== null, 'its end', 60_000);
  writeFileSync(path, text('0'));
  const refused = await cluster.cli(['job', 'retry', job, '--failed-only']);
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain('a.csv has changed since it was listed, and other parts of it have been scored');
});

test('a file of which every part has failed is scored anew when it has been mended', async () => {
  const path = join(dir, 'shared', 'in', 'a.csv');
  const body = Array.from({ length: 40_000 }, (_, i) => `${i}\n`).join('');
  writeFileSync(path, `y\n${body}`);
  const cluster = await ClusterProcesses.start({ dir });
  await cluster.startWorker('node', { slots: 2 });
  const output = join(dir, 'out');
  const given = ['--input', join(dir, 'shared', 'in'), '--output', output, '--split-files', '64KB'];
  const job = await cluster.submit([join(dir, 'same.onnx'), ...given]);
  const first = await cluster.job(job, ({ ended_at: ended }) => ended !== null, 'its end', 60_000);
  expect(first.files.failed).toBe(first.files.total);
  writeFileSync(path, `x\n${body}40000\n`);
  const retried = await cluster.cli(['job', 'retry', job, '--failed-only', '--wait']);
  expect(retried.code, retried.stderr).toBe(0);
  expect(readOutput(output).errors).toEqual([]);
  expect((await cluster.client.show(job)).rows).toBe(40_001);
  expect((await runProgram(['job', 'verify', output], { cwd: dir })).code).toBe(0);
});

const billsum = join(process.cwd(), '..', 'shared', 'data', 'billsum', 'billsum-small-49rows.csv');
test.skipIf(!existsSync(billsum))('49 rows in 3,721 lines: every cut falls into a text', async () => {
  copyFileSync(billsum, join(dir, 'shared', 'in', 'bills.csv'));
  const value = { type: 'string', shape: ['n', 1] } as const;
  const nodes = [{ op: 'Identity', inputs: ['title'], outputs: ['y'] }];
  const model = onnxModel({ inputs: [{ name: 'title', ...value }], outputs: [{ name: 'y', ...value }], nodes });
  writeFileSync(join(dir, 'title.onnx'), model);
  const outputs: ReturnType<typeof readOutput>[] = [];
  for (const split of ['off', '64KB']) {
    const args = ['run', 'title.onnx', '--input', 'shared/in', '--output', split, '--split-files', split];
    const end = await runProgram([...args, '--set', 'settings.output={include: {input: true}}'], { cwd: dir });
    expect(end.code, end.stderr).toBe(0);
    outputs.push(readOutput(join(dir, split)));
  }
  const [whole, parts] = outputs;
  expect(parts?.sha256).toBe(whole?.sha256);
  expect(parts?.files.length).toBeGreaterThan(3);
  expect(parts?.files.reduce((sum, { rows: own }) => sum + (own ?? 0), 0)).toBe(49);
});

const saveModel = `
import sys, mlflow
from mlflow.models.signature import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema
class Half(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return (model_input["x"] / 2).to_numpy()
columns = ModelSignature(inputs=Schema([ColSpec(DataType.double, "x")]))
mlflow.pyfunc.save_model(sys.argv[1], python_model=Half(), signature=columns, pip_requirements=["mlflow"])
`;

test('an MLflow model reads parts of CSV and Parquet where a size is asked for, and whole files otherwise', async () => {
  writeTables(join(dir, 'shared', 'in'));
  rmSync(join(dir, 'shared', 'in', 'b.jsonl'));
  rmSync(join(dir, 'shared', 'in', 'd.arrow'));
  const saved = spawnSync(testPython(), ['-c', saveModel, join(dir, 'half')], { encoding: 'utf8', cwd: dir });
  expect(saved.status, saved.stderr).toBe(0);
  const outputs: ReturnType<typeof readOutput>[] = [];
  for (const split of ['auto', '256KB']) {
    const args = ['run', 'half', '--input', 'shared/in', '--output', split, '--split-files', split, '--slots', '2'];
    const end = await runProgram([...args, ...flags, '--environment', testPython()], { cwd: dir }, 120_000);
    expect(end.code, end.stderr).toBe(0);
    outputs.push(readOutput(join(dir, split)));
  }
  const [whole, parts] = outputs;
  expect(whole?.files.length).toBe(2);
  expect(parts?.files.length).toBeGreaterThan(8);
  expect(parts?.sha256).toBe(whole?.sha256);
});
