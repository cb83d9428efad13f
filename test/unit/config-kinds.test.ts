/** Which kind a YAML is, what references point to, and the kinds beside deployments. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfigFile, type ConfigFile, type LoadFileOptions } from '../../common/config/config-file.ts';
import { guessKind } from '../../common/config/config-kind.ts';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { parseCompute, parseReference } from '../../common/config/reference.ts';
import { failureOf, TempFolder } from '../helpers/temp-folder.ts';

let folder: TempFolder;
beforeEach(() => void (folder = new TempFolder()));
afterEach(() => folder.remove());

async function load(yaml: string, options: LoadFileOptions = {}): Promise<ConfigFile> {
  folder.put({ 'file.yml': yaml });
  return await loadConfigFile('file.yml', { cwd: folder.path, isScriptUnchecked: true, ...options });
}

describe('the kind of a file', () => {
  const hint = (name: string): string => `https://example.org/latest/${name}.schema.json`;

  test.each([
    ['endpoint', { name: 'abc', auth_mode: 'aad_token' }],
    ['endpoint', { name: 'abc' }],
    ['endpoint', { $schema: hint('batchEndpoint'), name: 'abc', description: 'x' }],
    ['deployment', { type: 'model' }],
    ['deployment', { type: 'pipeline', component: 'x' }],
    ['deployment', { name: 'abc', model: 'm', mini_batch_size: 3 }],
    ['deployment', { $schema: hint('batchEndpoint'), model: 'm', environment: 'e' }],
    ['model', { name: 'm', path: 'p', type: 'mlflow_model' }],
    ['model', { name: 'm', path: 'p', type: 'mlflow_modle' }],
    ['model', { $schema: hint('model'), name: 'm', path: 'p' }],
    ['data', { $schema: hint('data'), name: 'm', path: 'p' }],
    ['data', { name: 'm', path: 'p', type: 'uri_file' }],
    ['environment', { name: 'e', image: 'i' }],
    ['environment', { $schema: hint('model'), image: 'i', conda_file: 'c' }],
    ['compute', { name: 'c', type: 'AmlCompute' }],
    ['compute', { name: 'c', min_instances: 0 }],
  ])('%s: %j', (kind, value) => {
    expect(guessKind(value)).toEqual({ kind });
  });

  test.each([
    [{ name: 'm', path: 'p' }, 'path alone may be a model or a data asset'],
    [{ $schema: hint('batchEndpoint'), name: 'm', path: 'p' }, 'path alone may be'],
    [{ dependencies: ['pip'] }, 'it is a conda file'],
    [{}, 'it is empty'],
    [{ colour: 'red' }, 'its keys (colour) are of none'],
  ])('cannot be told: %j', (value, reason) => {
    expect(guessKind(value)).toMatchObject({ kind: null, reason: expect.stringContaining(reason) as string });
  });

  test('a message says so, and --type decides', async () => {
    folder.put({ 'in/a.txt': '' });
    expect(await failureOf(load('name: inputs\npath: in\n'))).toMatch(
      /^CONFIG_INVALID file\.yml: wanted one of endpoint, .*add type .* Or say --type$/,
    );
    expect((await load('name: inputs\npath: in\n', { kind: 'data' })).kind).toBe('data');
  });

  test('another kind where a deployment is wanted is named', async () => {
    folder.put({ 'endpoint.yml': 'name: abc\nauth_mode: aad_token\n' });
    expect(await failureOf(loadDeployment('endpoint.yml', { cwd: folder.path }))).toMatch(
      /^DEPLOYMENT_INVALID endpoint\.yml is an endpoint, wanted a deployment/,
    );
  });
});

describe('references', () => {
  const asset = { kind: 'asset', asset: null, version: null, label: null, registry: null };
  const workspace = '/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w';

  test.each([
    ['model', { kind: 'path', path: 'model' }],
    ['./a b/c', { kind: 'path', path: './a b/c' }],
    ['file:./conda.yaml', { kind: 'path', path: './conda.yaml' }],
    ['file:///srv/model', { kind: 'path', path: '/srv/model' }],
    ['azureml:heart:3', { ...asset, name: 'heart', version: '3' }],
    ['AzureML:heart@latest', { ...asset, name: 'heart', label: 'latest' }],
    [`azureml:${workspace}/models/heart/versions/3`, { ...asset, asset: 'model', name: 'heart', version: '3' }],
    [`${workspace}/data/rows/versions/1`, { ...asset, asset: 'data', name: 'rows', version: '1' }],
    [
      'azureml://registries/azureml/models/bert/versions/12',
      { ...asset, asset: 'model', name: 'bert', version: '12', registry: 'azureml' },
    ],
    [
      'azureml://registries/r/environments/e/labels/latest',
      { ...asset, asset: 'environment', name: 'e', label: 'latest', registry: 'r' },
    ],
    [
      'azureml://locations/l/workspaces/w/data/rows/versions/labels/latest',
      { ...asset, asset: 'data', name: 'rows', version: 'labels', label: 'latest' },
    ],
    ['azureml://datastores/blob/paths/a/b/', { kind: 'datastore', datastore: 'blob', path: 'a/b/' }],
    [
      'azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/blob/paths/models/x',
      { kind: 'datastore', datastore: 'blob', path: 'models/x' },
    ],
    ['https://example.org/m.onnx', { kind: 'uri', uri: 'https://example.org/m.onnx', scheme: 'https' }],
    ['wasbs://c@a/p', { kind: 'uri', uri: 'wasbs://c@a/p', scheme: 'wasbs' }],
  ])('%s', (text, wanted) => {
    expect(parseReference(text)).toEqual(wanted);
  });

  test.each(['azureml:', 'azureml:heart', 'azureml:a:b:c', 'azureml://models/x', 'azureml://'])(
    '%s is malformed',
    (text) => {
      expect(parseReference(text)).toMatchObject({ kind: 'malformed' });
    },
  );

  test.each(['azureml:cluster', 'cluster', `${workspace}/computes/cluster`])('compute %s', (text) => {
    expect(parseCompute(text)).toEqual({ ...asset, asset: 'compute', name: 'cluster' });
  });

  test('what cannot be followed is named, with what to do today', async () => {
    const message = await failureOf(
      load('model: azureml://registries/r/models/m/versions/4\nenvironment: azureml:env@latest\n'),
    );
    expect(message).toContain(
      'file.yml:1:8: model: azureml://registries/r/models/m/versions/4 is a registered model (m, version 4 of the registry r)',
    );
    expect(message).toContain('or --model PATH');
    expect(message).toContain(
      'file.yml:2:14: environment: azureml:env@latest is a registered environment (env, latest)',
    );
    expect(message).toContain('--environment host|PATH');
    expect(await failureOf(load('model: azureml:heart\n'))).toContain(
      'is not a reference: wanted azureml:NAME:VERSION',
    );
  });
});

describe('endpoint', () => {
  test('both spellings of the default deployment; tags become text', async () => {
    const endpoint = {
      kind: 'endpoint',
      name: 'Heart-Batch',
      description: null,
      tags: { a: '1' },
      properties: {},
      authMode: 'aad_token',
      defaultDeployment: 'heart',
    };
    const yaml = 'name: Heart-Batch\nauth_mode: aadToken\ntags: {a: 1}\ndefaults:\n  ';
    expect(await load(`${yaml}deployment_name: heart\n`)).toEqual(endpoint);
    expect(await load(`${yaml}deploymentName: heart\n`)).toEqual(endpoint);
    expect(await failureOf(load(`${yaml}deployment_name: one\n  deploymentName: two\n`))).toMatch(
      /^CONFIG_INVALID file\.yml:6:19: defaults\.deploymentName: two and deployment_name one differ/,
    );
  });

  test('a typo, a wrong mode, a bad name', async () => {
    expect(await failureOf(load('name: abc\nauth_mod: aad_token\ndefaults: {}\n'))).toBe(
      'CONFIG_UNKNOWN_KEY file.yml:2:1: auth_mod is not a known key; did you mean auth_mode?',
    );
    expect(await failureOf(load('name: abc\nauth_mode: key\n'))).toContain('file.yml:2:12: auth_mode: wanted one of');
    expect(await failureOf(load('name: a_b\nauth_mode: aad_token\n'))).toContain(
      'file.yml:1:7: name: wanted a name of 3',
    );
  });

  test('--set supplies what the file leaves out', async () => {
    expect(await load('auth_mode: aad_token\n', { set: ['name=abc', 'defaults.deployment_name=def'] })).toMatchObject({
      name: 'abc',
      defaultDeployment: 'def',
    });
  });
});

describe('model and data asset', () => {
  test('a folder with MLmodel is an MLflow model unless the file says otherwise', async () => {
    folder.put({ 'm/MLmodel': 'flavors: {python_function: {loader_module: x}}\n', 'w.pt': '' });
    const type = async (yaml: string): Promise<unknown> =>
      ((await load(yaml, { kind: 'model' })) as { type: string }).type;
    expect(await type('name: a\npath: m\n')).toBe('mlflow_model');
    expect(await type('name: a\npath: m\ntype: custom_model\n')).toBe('custom_model');
    expect(await type('name: a\npath: w.pt\n')).toBe('custom_model');
    expect(await failureOf(load('name: a\npath: w.pt\ntype: mlflow_model\n'))).toContain(
      'a folder with a file MLmodel',
    );
    expect(await failureOf(load('name: a\ntype: custom_model\n'))).toContain('wanted path, a local file or folder');
  });

  test('a data asset is a folder unless it says uri_file; mltable is refused', async () => {
    folder.put({ 'rows.csv': 'a\n1\n', 'in/a.csv': '' });
    expect(await load('name: rows\ntype: uri_file\npath: rows.csv\nversion: 1.10\n')).toMatchObject({
      kind: 'data',
      type: 'uri_file',
      artifact: { kind: 'file', path: `${folder.path}/rows.csv` },
    });
    expect(await failureOf(load('name: rows\npath: rows.csv\n', { kind: 'data' }))).toContain('wanted a folder, found');
    expect(await failureOf(load('name: rows\ntype: mltable\npath: in\n'))).toContain('do not read mltable');
    const elsewhere = async (path: string): Promise<unknown> =>
      await load(`name: rows\ntype: uri_folder\npath: ${path}\n`);
    for (const path of ['azureml://datastores/d/paths/p', 's3://bucket/in/']) {
      expect(await elsewhere(path)).toMatchObject({ path, artifact: null });
    }
    expect(await failureOf(elsewhere('s3a://b/c'))).toContain('file.yml:3:7: the location s3a://b/c');
    expect(await failureOf(elsewhere('azureml:rows:1'))).toContain('is a registered data asset');
  });
});

describe('compute', () => {
  test('defaults', async () => {
    expect(await load('name: cpu-cluster\ntype: amlcompute\n')).toEqual({
      kind: 'compute',
      name: 'cpu-cluster',
      description: null,
      tags: {},
      properties: {},
      type: 'amlcompute',
      size: null,
      tier: 'dedicated',
      instancesMin: 0,
      instancesMax: 1,
      idleSeconds: 120,
      labels: {},
      slurmOptions: [],
    });
  });

  test('other kinds of computes are named, bounds are checked', async () => {
    expect(await failureOf(load('name: k8s\ntype: kubernetes\n'))).toContain('kubernetes computes are not started');
    expect(await failureOf(load('name: hpc\ntype: kubernetes\n'))).toContain('kubernetes computes are not started');
    const options = 'slurm_options: [--partition=gpu, --gres=gpu:1]';
    expect(await load(`name: hpc\ntype: slurm\n${options}\n`)).toMatchObject({
      ...{ type: 'slurm', slurmOptions: ['--partition=gpu', '--gres=gpu:1'] },
    });
    const owned = load('name: hpc\ntype: slurm\nslurm_options: [--wrap=ls]\n');
    expect(await failureOf(owned)).toContain('--wrap is said by the allocator');
    expect(await failureOf(load('name: c\ntype: amlcompute\nmin_instances: "4"\nmax_instances: 2\n'))).toContain(
      'file.yml:3:16: min_instances: wanted at most max_instances (2), found 4',
    );
  });
});

test('deployments of pipeline components get one clear answer', async () => {
  const yaml = 'name: steps\ntype: pipeline\ncomponent: azureml:steps@latest\nsettings: {default_compute: c}\n';
  expect(await failureOf(load(yaml))).toMatch(
    /^DEPLOYMENT_INVALID file\.yml:2:7: type: wanted model, found pipeline: pipeline component deployments are not run/,
  );
  expect(await failureOf(load('name: steps\njob_definition: azureml:job\n'))).toMatch(
    /^DEPLOYMENT_INVALID file\.yml:2:1: job_definition is a key of pipeline deployments/,
  );
});
