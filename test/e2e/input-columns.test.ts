/** Columns of the input beside the results of a whole job: several mini-batches, several slots, one output. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tableFromIPC } from 'apache-arrow';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { onnxModel } from '../helpers/onnx-model.ts';
import { endPrograms, runProgram, type ProgramEnd } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-beside-'));
  mkdirSync(join(dir, 'in'));
  const value = { type: 'float64', shape: ['n', 1] } as const;
  const nodes = [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }];
  const model = onnxModel({ inputs: [{ name: 'x', ...value }], outputs: [{ name: 'y', ...value }], nodes });
  writeFileSync(join(dir, 'same.onnx'), model);
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

function write(name: string, text: string): void {
  writeFileSync(join(dir, 'in', name), text);
}

function run(output: string, format: string): Promise<ProgramEnd> {
  const set = ['--set', `settings.output=${output}`, '--mini-batch-size', '2', '--slots', '2'];
  return runProgram(
    ['run', 'same.onnx', '--input', 'in', '--output', 'out', '--overwrite', '--format', format, ...set],
    {
      cwd: dir,
    },
  );
}

const failuresIn = (output: string): readonly (string | null)[][] =>
  readOutput(join(dir, 'out'), output)
    .files.filter(({ status }) => status !== 'scored')
    .map(({ path, code }) => [path, code]);

test.each(['azure', 'csv'])(
  '%s: a file whose columns stand otherwise is told apart, unless they are named',
  async (format) => {
    for (let i = 0; i < 5; i += 1) write(`${i}.csv`, `x,id,land\n${i},0${i},Z\n`);
    write('5.csv', 'land,id,x\nQ,05,5\n');
    expect((await run('{include: input}', format)).code).toBe(0);
    expect(failuresIn('predictions.csv')).toEqual([['5.csv', 'RESULT_SCHEMA_MISMATCH']]);
    const named = await run('{include: {file: source, input: [land, id]}}', format);
    expect(named.code, named.stderr).toBe(0);
    const space = format === 'azure' ? ' ' : ',';
    const lines = ['Z', 'Z', 'Z', 'Z', 'Z', 'Q'].map((land, i) => [`${i}.csv`, 0, land, `0${i}`, `${i}.0`].join(space));
    const header = format === 'csv' ? ['source,row,land,id,y'] : [];
    expect(
      readFileSync(join(dir, 'out', 'predictions.csv'), 'utf8')
        .trimEnd()
        .split('\n'),
    ).toEqual([...header, ...lines]);
    const verified = await runProgram(['job', 'verify', 'out'], { cwd: dir });
    expect(verified.code, verified.stdout).toBe(0);
  },
);

test('arrow: whole numbers here and fractions there are widened or declared, else refused', async () => {
  write('0.csv', 'x,amount,code\n0,0.5,A1\n');
  for (let i = 1; i < 6; i += 1) write(`${i}.csv`, `x,amount,code\n${i},${i},${i}\n`);
  const include = 'include: {input: [amount, code]}';
  await run(`{${include}}`, 'arrow');
  expect(failuresIn('predictions.arrows')).toEqual([1, 2, 3, 4, 5].map((i) => [`${i}.csv`, 'RESULT_SCHEMA_MISMATCH']));
  for (const schema of ['evolve', '{amount: float64, code: utf8, y: float64}']) {
    const end = await run(`{${include}, schema: ${schema}}`, 'arrow');
    expect(end.code, end.stderr).toBe(0);
    const table = tableFromIPC(readFileSync(join(dir, 'out', 'predictions.arrows')));
    expect(table.schema.fields.map(({ name, type }) => `${name}:${String(type)}`)).toEqual([
      ...['file:Utf8', 'row:Int32', 'amount:Float64', 'code:Utf8', 'y:Float64'],
    ]);
    expect([...(table.getChild('amount') as Iterable<unknown>)]).toEqual([0.5, 1, 2, 3, 4, 5]);
    expect([...(table.getChild('code') as Iterable<unknown>)]).toEqual(['A1', '1', '2', '3', '4', '5']);
  }
});
