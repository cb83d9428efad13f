/** The two deployments of the digits tutorial, with the models as they were saved and the frameworks that saved them. */
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  assembleFolder,
  completeFolder,
  frameworkPython,
  inputFiles,
  plainLoop,
  scratch,
  sharedData,
} from '../helpers/deployment-folder.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
beforeEach(() => (dir = scratch.make()));
afterEach(() => scratch.remove());

const input = sharedData('mnist', 'inputs');
const names = inputFiles(input).map((path) => basename(path));
const labels = new Map(
  readFileSync(sharedData('mnist', 'labels.csv'), 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(',') as [string, string]),
);

/** How many of the 200 lines `digit-0001.png 7` are right; a line of any other form, or out of order, fails. */
function rightOf(text: string): number {
  const lines = text.split('\n');
  expect(lines.pop()).toBe('');
  expect(lines.map((line) => /^(digit-\d{4}\.png) \d$/.exec(line)?.[1])).toEqual(names);
  return lines.filter((line) => line === `${line.slice(0, 14)} ${labels.get(line.slice(0, 14))}`).length;
}

test('PyTorch: the nested folder as it is, 192 of 200 digits right', async () => {
  const folder = assembleFolder(dir, 'mnist-torch', [sharedData('mnist', 'torch', 'model.pt')]);
  const python = frameworkPython('torch');
  const output = join(dir, 'out');
  const end = await completeFolder({ deployment: join(folder, 'deployment.yml'), input, output, python, cwd: '/' });
  const { text, files, isComplete } = readOutput(output);
  expect(rightOf(text)).toBe(192);
  expect([files.length, isComplete]).toEqual([200, true]);
  const script = join(folder, 'code', 'batch_driver.py');
  expect(text).toBe(await plainLoop({ python, script, modelDir: folder, input, miniBatchFiles: 10 }));
  // What the script prints is no output of the program.
  expect(end.stdout).not.toContain('run over');
});

test('PyTorch: a model folder of another name, given on the command line', async () => {
  const folder = assembleFolder(dir, 'mnist-torch');
  const output = join(dir, 'out');
  const more = ['--set', `model.path=${sharedData('mnist', 'torch')}`, 'settings.mini_batch_size=64'];
  await completeFolder({ deployment: folder, input, output, python: frameworkPython('torch'), more });
  expect(rightOf(readOutput(output).text)).toBe(192);
});

test('Keras: a SavedModel, 198 of 200 digits right', async () => {
  const folder = assembleFolder(dir, 'mnist-keras', [
    sharedData('mnist', 'keras', 'saved_model.pb'),
    sharedData('mnist', 'keras', 'keras_metadata.pb'),
    sharedData('mnist', 'keras', 'variables'),
  ]);
  const output = join(dir, 'out');
  await completeFolder({ deployment: folder, input, output, python: frameworkPython('tensorflow') });
  expect(rightOf(readOutput(output).text)).toBe(198);
});
