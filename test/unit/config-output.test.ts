import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadDeployment, type LoadOptions } from '../../common/config/deployment-file.ts';
import type { DeploymentSettings } from '../../common/core/deployment.ts';
import { defaultOutputForm } from '../../common/core/output-form.ts';
import { failing } from '../helpers/failing.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-output-'));
  mkdirSync(join(dir, 'code'));
  writeFileSync(join(dir, 'code', 'score.mjs'), 'export const run = (files) => files;\n');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function settingsOf(output: string, options: LoadOptions = {}): Promise<DeploymentSettings> {
  const file = join(dir, 'deployment.yml');
  writeFileSync(file, `code_configuration: {code: code, scoring_script: score.mjs}\noutput: ${output}\n`);
  return (await loadDeployment(file, { cwd: dir, ...options })).settings;
}

test.each([
  ['{}', {}],
  ['{format: csv, header: False, delimiter: ";"}', { header: false, delimiter: ';' }],
  ['{format: csv, delimiter: tab}', { delimiter: '\t' }],
  ['{format: arrow, schema: {b: string, a: "timestamp[us, UTC]"}}', { schema: ['b:utf8', 'a:timestamp[us,UTC]'] }],
  ['{format: arrow, schema: evolve}', { evolves: true }],
  ['{include: file}', { fileColumn: 'file' }],
  ['{include: [row, file]}', { fileColumn: 'file', rowColumn: 'row' }],
  ['{include: {row: line}}', { rowColumn: 'line' }],
])('%s', async (output, wanted) => {
  expect((await settingsOf(output)).outputForm).toEqual({ ...defaultOutputForm, ...wanted });
});

test.each([
  ['{format: orc}', 'output.format: wanted one of azure, csv, jsonl, arrow'],
  ['{format: jsonl, delimiter: ";"}', 'delimiter is for format: csv, and the format is jsonl'],
  ['{header: false}', 'header is for format: csv, and the format is azure'],
  ['{format: csv, schema: {a: int64}}', 'schema is for format: arrow, and the format is csv'],
  ['{format: csv, delimiter: x}', 'output.delimiter: wanted one of , ; | : tab space'],
  ['{format: arrow, schema: {a: int7}}', 'output.schema: wanted evolve, or a mapping of columns to types'],
  ['{format: arrow, schema: [a]}', 'output.schema: wanted evolve, or a mapping'],
  ['{include: [inputs]}', 'output.include: wanted file, row, input'],
  ['{include: {input: false}}', 'output.include: wanted file, row, input'],
  ['{include: {input: []}}', 'output.include: wanted file, row, input'],
  ['{include: {input: [a, a]}}', 'output.include: wanted file, row, input'],
  ['{include: {file: a, input: [b, a]}}', 'output.include: wanted file, row, input'],
  ['{include: [file, input]}', 'a script gives the columns itself: return them with the others'],
  ['{include: {file: x, row: x}}', 'output.include: wanted file, row'],
  ['{include: {file: ""}}', 'output.include: wanted file, row'],
])('%s is refused', async (output, text) => {
  await expect(settingsOf(output)).rejects.toThrow(failing('CONFIG_INVALID', text));
});

test('--format wins, and names the file of rows', async () => {
  const settings = await settingsOf('{format: csv}', { format: 'arrow' });
  expect([settings.outputFormat, settings.outputFileName]).toEqual(['arrow', 'predictions.arrows']);
  await expect(settingsOf('{format: csv, header: false}', { format: 'jsonl' })).rejects.toThrow(
    failing('CONFIG_INVALID', 'header is for format: csv'),
  );
});

/** The same of a model, whose content nobody reads here. */
async function formOf(output: string, more = ''): Promise<DeploymentSettings['outputForm']> {
  writeFileSync(join(dir, 'm.onnx'), '');
  const file = join(dir, 'model.yml');
  writeFileSync(file, `model: m.onnx\nsettings: {output: ${output}${more}}\n`);
  return (await loadDeployment(file, { cwd: dir })).settings.outputForm;
}

test.each([
  ['{include: input}', { inputColumns: 'all' }],
  ['{include: [file, row, input]}', { fileColumn: 'file', rowColumn: 'row', inputColumns: 'all' }],
  ['{include: {file: source, input: true}}', { fileColumn: 'source', inputColumns: 'all' }],
  ['{include: {input: [id, land & see]}}', { inputColumns: ['id', 'land & see'] }],
  ['{include: {input: id}}', { inputColumns: ['id'] }],
])('of a model, %s', async (output, wanted) => {
  expect(await formOf(output)).toEqual({ ...defaultOutputForm, ...wanted });
});

test('columns of the input are refused where images are fed', async () => {
  await expect(formOf('{include: input}', ', onnx: {image: {channels: rgb}}')).rejects.toThrow(
    failing('CONFIG_INVALID', 'this one is fed images (settings.onnx.image), which have no columns'),
  );
});
