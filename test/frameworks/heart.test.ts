/** The heart model: an MLflow model by itself, behind a script, and with Parquet files as its output. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  assembleFolder,
  completeFolder,
  frameworkPython,
  inputFiles,
  plainLoop,
  runFolder,
  scratch,
  sharedData,
} from '../helpers/deployment-folder.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
beforeEach(() => (dir = scratch.make()));
afterEach(() => scratch.remove());

const input = sharedData('heart', 'inputs');
const modelFiles = readdirSync(sharedData('heart', 'mlflow-model')).map((name) =>
  sharedData('heart', 'mlflow-model', name),
);

/** `[file name, data rows]` of each input, in input order. */
const inputRows = inputFiles(input).map(
  (path) => [basename(path), readFileSync(path, 'utf8').trim().split('\n').length - 1] as const,
);

/** What the model says, asked by hand: one digit for each patient, in input order. */
async function predictions(): Promise<readonly string[]> {
  const ask = `
import sys, mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
for path in sys.argv[2:]:
    print("\\n".join(str(value) for value in model.predict(pd.read_csv(path))))
`;
  const { stdout } = await promisify(execFile)(
    frameworkPython('mlflow'),
    ['-c', ask, sharedData('heart', 'mlflow-model'), ...inputFiles(input)],
    { cwd: dir },
  );
  return stdout.trim().split('\n');
}

/** Section 3.6: `row,prediction,file`, commas, no header; `row` counts from 0 in each file. */
async function expectedLines(): Promise<string> {
  const answers = await predictions();
  const rows = inputRows.flatMap(([name, count]) => Array.from({ length: count }, (_, row) => [row, name] as const));
  expect(rows).toHaveLength(303);
  return rows.map(([row, name], index) => `${row},${answers[index]},${name}\n`).join('');
}

describe('without a script', () => {
  test('303 lines row,prediction,file from four files, in an environment that is named', async () => {
    const folder = assembleFolder(dir, 'heart-mlflow', modelFiles);
    const output = join(dir, 'out');
    await completeFolder({ deployment: folder, input, output, python: frameworkPython('mlflow') });
    const { text, files } = readOutput(output);
    expect(text).toBe(await expectedLines());
    expect(files.map(({ rows }) => rows)).toEqual(inputRows.map(([, count]) => count));
  });

  test('the model folder by itself is a deployment', async () => {
    const output = join(dir, 'out');
    const deployment = sharedData('heart', 'mlflow-model');
    await completeFolder({ deployment, input, output, python: frameworkPython('mlflow') });
    expect(readOutput(output).text).toBe(await expectedLines());
  });

  test('an environment that cannot be made says so in the words of the installer', async () => {
    const folder = assembleFolder(dir, 'heart-mlflow', modelFiles);
    const conda = join(folder, 'model', 'conda.yaml');
    // mlflow-skinny 2.19.0 wants packaging below 25.
    const pins = ['mlflow-skinny==2.19.0', 'packaging==25.0'];
    rmSync(conda);
    writeFileSync(conda, `name: at-odds\ndependencies: [python=3.11, pip, {pip: [${pins.join(', ')}]}]\n`);
    const output = join(dir, 'out');
    const end = await runFolder({ deployment: folder, input, output, python: null });
    expect(end.code).not.toBe(0);
    expect(end.stderr).toContain('ENVIRONMENT_BUILD_FAILED');
    expect(end.stderr).toMatch(/mlflow-skinny.*(conflict|unsatisfiable|depends)/i);
    expect(existsSync(join(output, '_SUCCESS'))).toBe(false);
  });
});

test('with a script: a DataFrame with the columns that were fed beside the prediction', async () => {
  const folder = assembleFolder(dir, 'heart-script', modelFiles);
  const python = frameworkPython('mlflow');
  const output = join(dir, 'out');
  await completeFolder({ deployment: folder, input, output, python });
  const { text } = readOutput(output);
  const script = join(folder, 'code', 'score.py');
  expect(text).toBe(await plainLoop({ python, script, modelDir: folder, input, miniBatchFiles: 2 }));
  const lines = text.trimEnd().split('\n');
  expect(lines).toHaveLength(303);
  expect(lines[0]).toMatch(/^heart-unlabeled-0\.csv 63 2\.3 fixed [01]$/);
  expect(lines.map((line) => line.split(' ')[4])).toEqual(await predictions());
});

test('Parquet files of its own: one for each input file, and no predictions file', async () => {
  const folder = assembleFolder(dir, 'heart-parquet', modelFiles);
  const python = frameworkPython('mlflow');
  const output = join(dir, 'out');
  await completeFolder({ deployment: folder, input, output, python });
  const parquet = inputRows.map(([name]) => name.replace('.csv', '.parquet'));
  expect(readdirSync(output).filter((name) => /\.(parquet|csv|partial)$/.test(name))).toEqual(parquet);
  const read = `
import os, sys, pandas as pd
for path in sys.argv[1:]:
    table = pd.read_parquet(path)
    assert list(table.columns)[:2] == ["age", "sex"] and len(table.columns) == 14, table.columns
    print("\\n".join(str(value) for value in table["prediction"]))
# The threads of pyarrow now and then abort an interpreter that ends by itself.
sys.stdout.flush()
os._exit(0)
`;
  const { stdout } = await promisify(execFile)(python, ['-c', read, ...parquet.map((name) => join(output, name))]);
  expect(stdout.trim().split('\n')).toEqual(await predictions());
});
