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
  ['{format: orc}', 'output.format: wanted one of azure, csv, jsonl, arrow, arrow_file, parquet'],
  ['{format: jsonl, delimiter: ";"}', 'delimiter is for format: csv, and the format is jsonl'],
  ['{header: false}', 'header is for format: csv, and the format is azure'],
  ['{format: csv, schema: {a: int64}}', 'schema is for format: arrow, arrow_file, parquet, and the format is csv'],
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

const parts = {
  partitionBy: [],
  header: false,
  fileRows: null,
  fileBytes: null,
  rowGroupRows: 122_880,
  compression: 'snappy',
};

test.each([
  ['{}', 'azure', 'predictions.csv', null],
  ['{format: arrow}', 'arrow', 'predictions.arrows', null],
  ['{format: parquet}', 'arrow', 'predictions.parquet', { format: 'parquet' }],
  ['{format: Arrow_File}', 'arrow', 'predictions.arrow', { format: 'arrow_file' }],
  [
    '{format: parquet, row_group_rows: 1000, compression: zstd}',
    'arrow',
    'predictions.parquet',
    { format: 'parquet', rowGroupRows: 1000, compression: 'zstd' },
  ],
  ['{format: arrow, partition_by: a}', 'arrow', 'part-00000.arrows', { format: 'arrow', partitionBy: ['a'] }],
  [
    '{format: parquet, partition_by: [b, a], file_rows: 5}',
    'arrow',
    'part-00000.parquet',
    { format: 'parquet', partitionBy: ['b', 'a'], fileRows: 5 },
  ],
  ['{format: jsonl, file_bytes: 128MB}', 'jsonl', 'part-00000.jsonl', { format: 'jsonl', fileBytes: 128 * 2 ** 20 }],
  ['{format: csv, file_rows: 7}', 'csv', 'part-00000.csv', { format: 'csv', header: true, fileRows: 7 }],
  ['{format: csv, header: false, file_rows: 7}', 'csv', 'part-00000.csv', { format: 'csv', fileRows: 7 }],
])('files of %s', async (output, format, name, wanted) => {
  const settings = await settingsOf(output);
  expect([settings.outputFormat, settings.outputFileName]).toEqual([format, name]);
  expect(settings.parts).toEqual(wanted && { ...parts, ...wanted });
});

test.each([
  ['parquet', 'predictions.csv', 'predictions.parquet'],
  ['arrow', 'scores.JSONL', 'scores.arrows'],
  ['arrow_file', 'scores.parquet', 'scores.arrow'],
  ['parquet', 'rows.v2.parquet', 'rows.v2.parquet'],
  ['parquet', 'rows', 'rows'],
  ['csv', 'rows.txt', 'rows.txt'],
])('a file of %s that is called %s has the name %s', async (format, given, name) => {
  expect((await settingsOf(`{format: ${format}}\noutput_file_name: ${given}`)).outputFileName).toBe(name);
});

test('a file of parquet may have a name of its own, and a declared schema', async () => {
  const settings = await settingsOf('{format: parquet, schema: {a: int64}}\noutput_file_name: rows.pq');
  expect(settings.outputFileName).toBe('rows.pq');
  expect(settings.outputForm?.schema).toEqual(['a:int64']);
});

test.each([
  ['{format: csv, partition_by: a}', 'partition_by is for format: parquet, arrow, arrow_file, and the format is csv'],
  ['{format: arrow, compression: zstd}', 'compression is for format: parquet, and the format is arrow'],
  ['{format: arrow, row_group_rows: 5}', 'row_group_rows is for format: parquet, arrow_file, and the format is arrow'],
  ['{format: parquet, delimiter: ";"}', 'delimiter is for format: csv, and the format is parquet'],
  ['{format: parquet, compression: gzip}', 'output.compression: wanted one of snappy, zstd, none'],
  ['{format: parquet, file_rows: 0}', 'output.file_rows: wanted a whole number from 1'],
  ['{format: parquet, file_bytes: 1KB}', 'output.file_bytes: wanted a size such as 2GB or 512MB, at least 1MB'],
  ['{format: parquet, partition_by: [a, a]}', 'output.partition_by: wanted the name of a column, or a list of names'],
  ['{format: parquet, partition_by: []}', 'output.partition_by: wanted the name of a column, or a list of names'],
  [
    '{format: parquet, file_rows: 5, partition_by: a}\noutput_file_name: x.parquet',
    'output_file_name has no meaning with output.partition_by, output.file_rows',
  ],
  ['{file_rows: 5}\noutput_action: summary_only', 'file_rows has no meaning with output_action: summary_only'],
  ['{format: parquet, schema: {a: int64}, partition_by: b}', 'output.schema has no column b to partition by; it has a'],
  [
    '{format: parquet, schema: {a: "list<int64>", b: int8}, partition_by: a}',
    'column a is list<int64>, whose values name no folders',
  ],
])('files of %s are refused', async (output, text) => {
  await expect(settingsOf(output)).rejects.toThrow(failing('CONFIG_INVALID', text));
});

test('--format parquet, and rows that nobody keeps', async () => {
  const settings = await settingsOf('{format: csv}', { format: 'parquet' });
  expect([settings.outputFormat, settings.outputFileName]).toEqual(['arrow', 'predictions.parquet']);
  const none = await settingsOf('{format: parquet}\noutput_action: summary_only');
  expect([none.parts, none.outputFileName]).toEqual([null, '']);
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
