/** The JSON Schemas of editors say what the program says, for every file in the shapes of Azure's public examples. */
import { Ajv } from 'ajv';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadConfigFile } from '../../common/config/config-file.ts';
import { configKinds, guessKind, type ConfigKind } from '../../common/config/config-kind.ts';
import { formatJsonSchema, jsonSchemas } from '../../common/config/json-schema.ts';
import { packageFile } from '../../common/io/package-files.ts';

const schemas = jsonSchemas();
const ajv = new Ajv({ strict: true, strictTypes: false, strictRequired: false, allErrors: true });
const validate = Object.fromEntries(configKinds.map((kind) => [kind, ajv.compile(schemas[kind])])) as Record<
  ConfigKind,
  ReturnType<typeof ajv.compile>
>;

/** What is wrong with `value`, in the validator's words. */
function complaints(kind: ConfigKind, value: unknown): readonly string[] {
  if (validate[kind](value)) return [];
  return (validate[kind].errors ?? []).map((error) => `${error.instancePath} ${error.message ?? ''}`);
}

const folder = packageFile('test', 'fixtures', 'azure');
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.yml'))
  .toSorted();

function read(path: string): { readonly kind: ConfigKind; readonly value: Record<string, unknown> } {
  const value = parse(readFileSync(`${folder}/${path}`, 'utf8')) as Record<string, unknown>;
  const { kind } = guessKind(value);
  if (kind === null) throw new Error(`${path}: its kind cannot be told`);
  return { kind, value };
}

test.each(configKinds)(
  'schemas/%s.schema.json is what the program reads; if not, run `node scripts/schemas.mjs`',
  (kind) => {
    expect(readFileSync(packageFile('schemas', `${kind}.schema.json`), 'utf8')).toBe(formatJsonSchema(schemas[kind]));
  },
);

test('every kind has a file to look at', () => {
  expect(new Set(files.map((path) => read(path).kind))).toEqual(new Set(configKinds));
});

describe.each(files)('%s', (path) => {
  test('loads, as the kind that it is', async () => {
    const loaded = await loadConfigFile(`${folder}/${path}`, { isScriptUnchecked: true });
    expect(loaded.kind).toBe(read(path).kind);
  });

  test('is accepted; with a typo in a key, or a value of the wrong type, it is not', () => {
    const { kind, value } = read(path);
    expect(complaints(kind, value)).toEqual([]);
    expect(complaints(kind, { ...value, descripton: 'x' }).length).toBeGreaterThan(0);
    expect(complaints(kind, { ...value, tags: ['x'] }).length).toBeGreaterThan(0);
  });
});

describe('deployments', () => {
  const { value } = read('mnist-torch/deployment.yml');
  const settings = value['settings'] as Record<string, unknown>;

  test.each([
    [{ mini_batch_sise: 3 }],
    [{ error_threshold: -2 }],
    [{ output_action: 'append' }],
    [{ retry_settings: { timeout: 0 } }],
    [{ resources: { memory: 'much' } }],
    [{ output: { custom: 'mine' } }],
    [{ mlflow: { rows: 1 } }],
  ])('settings %j are refused by schema and program alike', async (wrong) => {
    expect(complaints('deployment', { ...value, settings: { ...settings, ...wrong } }).length).toBeGreaterThan(0);
    const set = Object.entries(wrong).map(([key, one]) => `settings.${key}=${JSON.stringify(one)}`);
    await expect(
      loadConfigFile(`${folder}/mnist-torch/deployment.yml`, { set, isScriptUnchecked: true }),
    ).rejects.toMatchObject({ code: expect.stringMatching(/^CONFIG_/) as string });
  });

  test.each([
    [{ mini_batch_size: '64MB', resources: { memory: '2GB' }, isolation: 'MINI_BATCH' }],
    [{ mini_batch_size: 'auto', output: { format: 'jsonl', custom: 'shared' } }],
    [{ retry_settings: { timeout: 'PT30S', max_retries: '3' }, logging_level: 'WARNING', output_action: 'AppendRow' }],
    [{ environment_variables: { A: 1, B: 1.5, C: true, D: null }, instance_count: null }],
  ])('settings %j are accepted by both', async (right) => {
    expect(complaints('deployment', { ...value, settings: { ...settings, ...right } })).toEqual([]);
    const set = Object.entries(right).map(([key, one]) => `settings.${key}=${one === null ? '' : JSON.stringify(one)}`);
    const loading = loadConfigFile(`${folder}/mnist-torch/deployment.yml`, { set, isScriptUnchecked: true });
    expect((await loading).kind).toBe('deployment');
  });

  test('the flat form takes the knobs at the root, the nested form does not', () => {
    const { value: flat } = read('mnist-torch/deployment-flat.yml');
    expect(complaints('deployment', { ...flat, isolation: 'file', mlflow: { rows_per_predict: 1 } })).toEqual([]);
    expect(complaints('deployment', { ...flat, type: 'model' }).length).toBeGreaterThan(0);
    expect(complaints('deployment', { ...value, mini_batch_size: 3 }).length).toBeGreaterThan(0);
    expect(complaints('deployment', { ...value, type: 'pipeline' }).length).toBeGreaterThan(0);
  });
});
