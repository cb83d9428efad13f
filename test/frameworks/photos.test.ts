/** Photos: one after the other through a public network, and a mini-batch at once through torchvision. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
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
import { testPython } from '../helpers/python.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
beforeEach(() => (dir = scratch.make()));
afterEach(() => scratch.remove());

const input = sharedData('imagenet', 'inputs');

test('by file: a list of texts, a line each without quotes, and a cat is a cat', async () => {
  const folder = assembleFolder(dir, 'photos-by-file', [
    sharedData('imagenet', 'SqueezeNet_fp16.onnx'),
    sharedData('imagenet', 'labels.json'),
  ]);
  const python = testPython();
  const output = join(dir, 'out');
  await completeFolder({ deployment: folder, input, output, python });
  const { text, files } = readOutput(output);
  const script = join(folder, 'code', 'score-by-file.py');
  expect(text).toBe(await plainLoop({ python, script, modelDir: folder, input, miniBatchFiles: 5 }));
  const lines = text.trimEnd().split('\n');
  expect(lines.map((line) => line.split(':')[0])).toEqual(inputFiles(input).map((path) => basename(path)));
  const labels = JSON.parse(readFileSync(sharedData('imagenet', 'labels.json'), 'utf8')) as Record<string, string>;
  expect(lines.find((line) => line.startsWith('kitten_224.png'))).toMatch(/^kitten_224\.png: 28[1-5] .*cat/);
  expect(lines.find((line) => line.startsWith('fish.png'))).toBe(`fish.png: 0 ${labels['0']}`);
  expect(files.map(({ rows }) => rows)).toEqual(lines.map(() => 1));
});

test('by batch: a DataFrame for each mini-batch, with the weights of a seed', async () => {
  const folder = assembleFolder(dir, 'photos-by-batch');
  const python = frameworkPython('torch');
  mkdirSync(join(folder, 'model'));
  const make = `
import sys, torch, torchvision
torch.manual_seed(11)
network = torchvision.models.squeezenet1_1(weights=None, num_classes=12)
for module in network.modules():
    if isinstance(module, torch.nn.Conv2d):
        torch.nn.init.normal_(module.weight, std=(2.4 / module.weight[0].numel()) ** 0.5)
network.classifier[1].weight.data *= 0.3
torch.jit.script(network.eval()).save(sys.argv[1])
`;
  await promisify(execFile)(python, ['-c', make, join(folder, 'model', 'network.pt')]);
  const output = join(dir, 'out');
  await completeFolder({ deployment: folder, input, output, python });
  const { text } = readOutput(output);
  const script = join(folder, 'code', 'score_by_batch.py');
  expect(text).toBe(await plainLoop({ python, script, modelDir: folder, input, miniBatchFiles: 5 }));
  const rows = text.trimEnd().split('\n');
  expect(rows.map((row) => row.split(' ')[0])).toEqual(inputFiles(input).map((path) => basename(path)));
  expect(rows.every((row) => /^\S+ \d+ \d\.\d{1,3}$/.test(row))).toBe(true);
  // A network that says the same of all photos would prove little.
  expect(new Set(rows.map((row) => row.slice(row.indexOf(' ')))).size).toBeGreaterThan(10);
});
