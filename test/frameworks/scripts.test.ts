/** Scripts in the manners that are about: text in CSV, the flat form, parallel runs' helpers, MLflow's tracking. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  assembleFolder,
  completeFolder,
  frameworkPython,
  plainLoop,
  runFolder,
  scratch,
  sharedData,
} from '../helpers/deployment-folder.ts';
import { writeInputs } from '../helpers/job-folder.ts';
import { testPython } from '../helpers/python.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
beforeEach(() => (dir = scratch.make()));
afterEach(() => scratch.remove());

test('text in CSV: quoted columns with commas, quotes and newlines survive, and numbers as settings arrive as text', async () => {
  const python = testPython();
  const input = join(dir, 'in');
  mkdirSync(input);
  const split = `
import sys, pandas as pd
laws = pd.read_csv(sys.argv[1])
for part in range(7):
    laws.iloc[part::7].to_csv(f"{sys.argv[2]}/laws-{part}.csv", index=False)
`;
  await promisify(execFile)(python, ['-c', split, sharedData('billsum', 'billsum-small-49rows.csv'), input]);
  const folder = assembleFolder(dir, 'summaries');
  const output = join(dir, 'out');
  await completeFolder({ deployment: folder, input, output, python });
  const { text } = readOutput(output);
  const environment = { SENTENCES: '2', CHARACTERS_MAX: '400.0', LOWER_CASE: 'false' };
  const script = join(folder, 'code', 'batch_driver.py');
  expect(text).toBe(await plainLoop({ python, script, modelDir: dir, input, miniBatchFiles: 1, environment }));
  // As a consumer reads it, with a space for a comma.
  const read = `
import sys, json, pandas as pd
table = pd.read_csv(sys.argv[1], sep=" ", header=None, names=["title", "summary", "settings", "file"])
print(json.dumps([len(table), sorted(set(table["settings"])), int(table["summary"].str.contains("\\n").sum()), list(table["file"].value_counts())]))
`;
  const { stdout } = await promisify(execFile)(python, ['-c', read, join(output, 'predictions.csv')]);
  const [rows, settings, withNewline, byFile] = JSON.parse(stdout) as [number, string[], number, number[]];
  expect([rows, settings, byFile]).toEqual([49, ['2,400.0,false,info'], [7, 7, 7, 7, 7, 7, 7]]);
  expect(withNewline).toBeGreaterThan(40);
});

const words = [
  ['a.txt', 'one two two\n'],
  ['b b.txt', ''],
  ['c.txt', 'two'],
  ['d.txt', 'ten " ten'],
  ['e.txt', 'two two two two'],
] as const;

test('the flat form: keys from the command line, a list of texts, a model that is one file', async () => {
  const folder = assembleFolder(dir, 'flat-list');
  writeFileSync(join(dir, 'factor.json'), '{"factor": 10}');
  const output = join(dir, 'out');
  await completeFolder({
    deployment: join(folder, 'deployment.yml'),
    input: writeInputs(join(dir, 'in'), words),
    output,
    python: testPython(),
    more: [
      '--set',
      'name=counting-list',
      'endpoint_name=Counting-1a2B',
      `model.path=${join(dir, 'factor.json')}`,
      'compute=azureml:batch-cluster',
      'environment_variables.UNIT=characters',
    ],
  });
  // Lists are not quoted, whatever stands in an element.
  expect(readOutput(output, 'counts.txt').text).toBe(
    'a.txt: "120", characters\nb b.txt: "0", characters\nc.txt: "30", characters\nd.txt: "90", characters\n' +
      'e.txt: "150", characters\n',
  );
  expect(existsSync(join(output, 'predictions.csv'))).toBe(false);
});

test('in the manner of parallel runs: EntryScript, azureml.core, a context and shutdown', async () => {
  mkdirSync(join(dir, 'model'));
  writeFileSync(join(dir, 'model', 'words.txt'), 'two ten\n');
  const folder = assembleFolder(dir, 'parallel-style', [join(dir, 'model', 'words.txt')]);
  const output = join(dir, 'out');
  await completeFolder({
    deployment: folder,
    input: writeInputs(join(dir, 'in'), words),
    output,
    python: testPython(),
    more: ['--slots', '1'],
  });
  expect(readOutput(output).text).toBe("('a.txt', 2)\n('b b.txt', 0)\n('c.txt', 1)\n('d.txt', 2)\n('e.txt', 4)\n");
  const logs = filesBelow(join(output, '_logs', 'user', 'entry_script_log'));
  expect(logs.filter((path) => path.endsWith('shutdown.txt'))).toHaveLength(1);
  const [log = ''] = logs.filter((path) => /process\d{3}\.log\.txt$/.test(path));
  expect(readFileSync(log, 'utf8')).toMatch(/init of process\d{3}[\s\S]*mini-batch of 1[\s\S]*the end/);
});

/** An interpreter without any package. */
async function bareEnvironment(): Promise<string> {
  const folder = join(dir, 'bare');
  await promisify(execFile)(testPython(), ['-m', 'venv', '--without-pip', folder]);
  return join(folder, 'bin', 'python');
}

test.each(['mlflow', 'stand-in'])('log_param and log_metric need no set-up: %s', async (kind) => {
  const folder = assembleFolder(dir, 'tracking');
  const output = join(dir, 'out');
  await completeFolder({
    deployment: folder,
    input: writeInputs(join(dir, 'in'), words),
    output,
    python: kind === 'mlflow' ? frameworkPython('mlflow') : await bareEnvironment(),
  });
  expect(readOutput(output).text).toBe('a.txt,12\nb b.txt,0\nc.txt,3\nd.txt,9\ne.txt,15\n');
  const kept = filesBelow(join(output, '_logs'));
  expect(kept.some((path) => (kind === 'mlflow' ? /mlruns\/.*params\/unit$/ : /\/mlflow\//).test(path))).toBe(true);
});

test('a model of another kind without a script is refused before anything is scored', async () => {
  writeFileSync(join(dir, 'model.pkl'), 'x');
  writeFileSync(join(dir, 'deployment.yml'), 'name: bare\ntype: model\nmodel:\n  path: model.pkl\n');
  const output = join(dir, 'out');
  const end = await runFolder({
    deployment: join(dir, 'deployment.yml'),
    input: writeInputs(join(dir, 'in'), words),
    output,
    python: testPython(),
  });
  expect(end.code).toBe(2);
  expect(end.stderr).toContain('DEPLOYMENT_INVALID');
  expect(existsSync(output)).toBe(false);
});

/** Absolute paths of the files below a folder, at any depth; none when it is not there. */
function filesBelow(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
