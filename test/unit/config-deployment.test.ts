import { scaledOnnxSettings } from '../../common/core/onnx-settings.ts';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadDeployment, type LoadOptions } from '../../common/config/deployment-file.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import { digest, type Digest } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { packageFile } from '../../common/io/package-files.ts';

let dir = '';

const digestOf = (value: unknown): Digest =>
  digest(`sha256:${createHash('sha256').update(JSON.stringify(value)).digest('hex')}`);

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-config-'));
  await put('model/digits.onnx', 'onnx');
  await put('code/batch_driver.py', 'def init(): pass\n');
  await put('code/batch_driver.ts', '');
});
afterEach(async () => await rm(dir, { recursive: true, force: true }));

async function put(path: string, content: string): Promise<string> {
  await mkdir(dirname(join(dir, path)), { recursive: true });
  await writeFile(join(dir, path), content);
  return path;
}

/** Writes `yaml` as deployment.yml and loads it. */
async function load(yaml: string, options: LoadOptions = {}): Promise<LocalDeployment> {
  await put('deployment.yml', yaml);
  return await loadDeployment('deployment.yml', { cwd: dir, isScriptUnchecked: true, ...options });
}

/** `CODE message` of the error that `loading` ends with. */
async function failure(loading: Promise<unknown>): Promise<string> {
  const outcome = await loading.then(
    (value) => `no error, but ${JSON.stringify(value)}`,
    (error: unknown) => error,
  );
  if (!(outcome instanceof BatchError)) throw outcome;
  return `${outcome.code} ${outcome.message}`;
}

const onnx = 'type: model\nname: digits\nmodel: model/digits.onnx\n';
const script = 'type: model\nmodel: {path: model}\ncode_configuration: {code: code, scoring_script: batch_driver.py}\n';

describe('Azure forms', () => {
  test('a nested file with every key gives the deployment that it describes', async () => {
    await put('environment/conda.yaml', 'channels: [conda-forge]\ndependencies: [python=3.11, pip, {pip: [torch]}]\n');
    const deployment = await load(`
$schema: https://example.org/modelBatchDeployment.schema.json
type: model
name: heart-torch
endpoint_name: Heart-Classifier
description: A description
tags: {device_batching: 16, isGpu: true}
properties: {a: b}
model: {name: heart, version: 3, path: model/, type: custom_model}
code_configuration: {code: code, scoring_script: batch_driver.py}
environment:
  name: env
  image: mcr.example/base
  conda_file: environment/conda.yaml
compute: azureml:batch-cluster
resources: {instance_count: 2}
settings:
  instance_count: 9
  max_concurrency_per_instance: 4
  mini_batch_size: 25
  split_files: off
  retry_settings: {max_retries: 5, timeout: 300}
  progress_update_timeout: PT15M
  error_threshold: 7
  logging_level: INFO
  output_action: AppendRow
  output_file_name: scores.csv
  environment_variables: {BATCH: 16, VERSION: 1.10, FLAG: True, EMPTY: , TEXT: "a b"}
  output: {format: jsonl, custom: shared, include: {file: source}}
  input: {recursive: false, include: ['*.jpg', raw/**], exclude: old/, incremental: true}
  isolation: mini_batch
  speculation: off
  resources: {memory: 2GB, gpu: 0.5, keep_warm: true, require: {gpu: a100, rack: 7}}
`);
    expect(deployment).toEqual({
      name: 'heart-torch',
      scorer: { kind: 'python', script: 'batch_driver.py' },
      model: { kind: 'folder', path: join(dir, 'model') },
      code: { kind: 'folder', path: join(dir, 'code') },
      environment: {
        kind: 'conda',
        conda: {
          name: 'env',
          yaml: 'channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n      - torch\n',
          digest: digestOf({ channels: ['conda-forge'], dependencies: ['python=3.11', 'pip', { pip: ['torch'] }] }),
        },
      },
      settings: {
        miniBatchSize: { kind: 'files', files: 25 },
        splitFiles: { kind: 'off' },
        triesMax: 5,
        timeoutMs: 300_000,
        errorThreshold: 7,
        isolation: 'mini_batch',
        outputAction: 'append_row',
        outputFileName: 'scores.csv',
        outputFormat: 'jsonl',
        outputForm: {
          header: true,
          delimiter: ',',
          schema: null,
          evolves: false,
          fileColumn: 'source',
          rowColumn: null,
        },
        parts: null,
        loggingLevel: 'info',
        environmentVariables: { BATCH: '16', VERSION: '1.10', FLAG: 'True', EMPTY: '', TEXT: 'a b' },
        instanceCountMax: 2,
        concurrencyPerInstanceMax: 4,
        recursive: false,
        include: ['*.jpg', 'raw/**'],
        exclude: ['old/'],
        incremental: true,
        customOutput: 'shared',
        memoryBytesMax: 2_147_483_648,
        gpu: 0.5,
        require: { gpu: 'a100', rack: '7' },
        keepWarm: true,
        speculation: 'off',
        progressTimeoutMs: 900_000,
      },
    } satisfies LocalDeployment);
  });

  test('the flat form has the same knobs at the root', async () => {
    const nested = await load(`${script}name: same\nsettings: {mini_batch_size: 3, retry_settings: {timeout: 9}}\n`);
    const flat = await load(
      'name: same\nmodel: {path: model}\ncode_configuration: {code: code, scoring_script: batch_driver.py}\n' +
        'mini_batch_size: 3\nretry_settings: {timeout: 9}\n',
    );
    expect(flat).toEqual(nested);
  });

  test('Azure’s defaults hold where a file says nothing', async () => {
    const { settings } = await load(script);
    expect(settings).toEqual({
      miniBatchSize: { kind: 'files', files: 10 },
      splitFiles: { kind: 'auto' },
      triesMax: 3,
      timeoutMs: 30_000,
      errorThreshold: -1,
      isolation: 'file',
      outputAction: 'append_row',
      outputFileName: 'predictions.csv',
      outputFormat: 'azure',
      outputForm: { header: true, delimiter: ',', schema: null, evolves: false, fileColumn: null, rowColumn: null },
      parts: null,
      loggingLevel: 'info',
      environmentVariables: {},
      instanceCountMax: null,
      concurrencyPerInstanceMax: null,
      recursive: true,
      include: [],
      exclude: [],
      incremental: false,
      customOutput: 'collected',
      memoryBytesMax: null,
      gpu: null,
      keepWarm: null,
      speculation: 'auto',
      progressTimeoutMs: null,
    });
  });

  test('a model that is an .onnx file needs no code and writes a CSV with a header', async () => {
    const deployment = await load(`${onnx}settings: {onnx: {scale: 0.5}}`);
    expect(deployment.scorer).toEqual({ kind: 'onnx', settings: scaledOnnxSettings(0.5) });
    expect(deployment.settings.outputFormat).toBe('csv');
    expect(deployment.model).toEqual({ kind: 'file', path: join(dir, 'model/digits.onnx') });
  });

  test('numbers may be text, null counts as not given', async () => {
    const { settings } = await load(
      `${onnx}description:\nresources:\nsettings:\n  mini_batch_size: "25"\n  error_threshold: "-1"\n  logging_level:\n`,
    );
    expect(settings.miniBatchSize).toEqual({ kind: 'files', files: 25 });
    expect(settings.loggingLevel).toBe('info');
  });

  test('max_retries 0 still tries once; a summary has no output file', async () => {
    const { settings } = await load(
      `${script}settings: {retry_settings: {max_retries: 0}, output_action: summary_only}`,
    );
    expect(settings.triesMax).toBe(1);
    expect(settings.outputFileName).toBe('');
  });

  test('anchors and aliases are read; a mistake behind an alias is shown where it stands', async () => {
    const deployment = await load('name: &n digits\nendpoint_name: *n\nmodel: model/digits.onnx\n');
    expect(deployment.name).toBe('digits');
    expect(await failure(load('tags: {a: &bad x}\nmodel: model/digits.onnx\nerror_threshold: *bad\n'))).toMatch(
      /^CONFIG_INVALID deployment\.yml:1:\d+: error_threshold: wanted/,
    );
  });

  test('the digits examples of this repository load', async () => {
    for (const [file, kind] of [
      ['deployment.yml', 'onnx'],
      ['deployment-python.yml', 'python'],
      ['deployment-typescript.yml', 'node'],
    ] as const) {
      const deployment = await loadDeployment(packageFile('examples', 'digits', file));
      expect([file, deployment.scorer.kind, deployment.settings.outputFormat]).toEqual([file, kind, 'csv']);
    }
  });
});

describe('values', () => {
  test.each([
    ['7', { kind: 'files', files: 7 }],
    ['64MB', { kind: 'bytes', bytes: 67_108_864 }],
    ['512KB', { kind: 'bytes', bytes: 524_288 }],
    ['1.5 MiB', { kind: 'bytes', bytes: 1_572_864 }],
    ['AUTO', { kind: 'auto' }],
    ['30s', { kind: 'seconds', seconds: 30 }],
    ['250 ms', { kind: 'seconds', seconds: 0.25 }],
    ['2m', { kind: 'seconds', seconds: 120 }],
    ['1.5H', { kind: 'seconds', seconds: 5_400 }],
  ])('mini_batch_size %s', async (text, wanted) => {
    const { settings } = await load(`${onnx}settings: {mini_batch_size: ${text}}`);
    expect(settings.miniBatchSize).toEqual(wanted);
  });

  test.each([
    ['0', 'a count of files from 1'],
    ['-3', 'a count of files from 1'],
    ['2.5', 'a count of files from 1'],
    ['100001', 'a count of files from 1'],
    ['0MB', 'a count of files from 1'],
    ['64XB', 'a count of files from 1'],
    ['49ms', 'a time such as 30s from 50ms'],
    ['30sec', 'a time such as 30s'],
    ['[1]', 'a count of files from 1'],
  ])('mini_batch_size %s is refused', async (text, reason) => {
    const message = await failure(load(`${onnx}settings:\n  mini_batch_size: ${text}\n`));
    expect(message).toMatch(/^CONFIG_INVALID deployment\.yml:5:20: settings\.mini_batch_size: wanted /);
    expect(message).toContain(reason);
  });

  test.each([
    ['30', 30_000],
    ['0.25', 250],
    ['PT1M30S', 90_000],
    ['259200', limits.timeoutMsMax],
  ])('timeout %s', async (text, wanted) => {
    const { settings } = await load(`${onnx}settings: {retry_settings: {timeout: ${text}}}`);
    expect(settings.timeoutMs).toBe(wanted);
  });

  test.each(['0', '-1', '259201', 'soon', 'PT', '.inf', '[]'])('timeout %s is refused', async (text) => {
    expect(await failure(load(`${onnx}settings: {retry_settings: {timeout: ${text}}}`))).toContain(
      'settings.retry_settings.timeout: wanted seconds above 0 and up to 259200',
    );
  });

  test.each(['../up.csv', 'a/b.csv', '_SUCCESS', '.hidden', 'a..b', '""', '"a\\nb"', '7'])(
    'output_file_name %s is refused',
    async (text) => {
      expect(await failure(load(`${onnx}settings: {output_file_name: ${text}}`))).toContain('wanted a file name');
    },
  );

  test.each(['ab', '1abc', 'abc-', 'a_b', 'x'.repeat(33)])('name %s is refused', async (name) => {
    expect(await failure(load(`type: model\nname: ${name}\nmodel: model/digits.onnx`))).toMatch(
      /^CONFIG_INVALID deployment\.yml:2:7: name: wanted a name of 3 to 32/,
    );
  });

  test('an environment variable whose value is a mapping is refused', async () => {
    const message = await failure(load(`${onnx}settings:\n  environment_variables:\n    A: {b: 1}\n`));
    expect(message).toContain('deployment.yml:6:8: settings.environment_variables.A: wanted text, found a mapping');
  });
});

describe('mistakes are told with their place', () => {
  test('an unknown key, with what was meant', async () => {
    expect(await failure(load(`${onnx}settings:\n  mini_batch_sise: 3\n`))).toBe(
      'CONFIG_UNKNOWN_KEY deployment.yml:5:3: settings.mini_batch_sise is not a known key; did you mean mini_batch_size?',
    );
    expect(await failure(load(`${onnx}settings:\n  retry_settings:\n    retries: 3\n`))).toBe(
      'CONFIG_UNKNOWN_KEY deployment.yml:6:5: settings.retry_settings.retries is not a known key; known here: max_retries, timeout',
    );
    expect(await failure(load('type: model\nmodel:\n  pth: x\n'))).toContain(
      'model.pth is not a known key; did you mean path?',
    );
  });

  test('a knob in the form that it does not belong to', async () => {
    expect(await failure(load(`${onnx}mini_batch_size: 3\n`))).toContain('settings.mini_batch_size');
    expect(await failure(load('model: model/digits.onnx\nerror_threshold: 0\nsettings: {}\n'))).toContain(
      'deployment.yml:3:1: settings is not a known key; without `type: model`',
    );
  });

  test('several at once, each on its line', async () => {
    const message = await failure(load(`${onnx}colour: red\nsettings:\n  error_threshold: many\n  onnx: 3\n`));
    expect(message.split('\n').toSorted()).toEqual([
      'CONFIG_INVALID 3 problems:',
      'deployment.yml:4:1: colour is not a known key; known here: code_configuration, compute, description, endpoint_name, environment, model, name, properties, resources, settings, tags, type',
      'deployment.yml:6:20: settings.error_threshold: wanted a whole number from -1 to 2147483647, found "many"',
      'deployment.yml:7:9: settings.onnx: wanted a mapping, found 3',
    ]);
  });

  test('text that is not YAML, or is no mapping', async () => {
    expect(await failure(load('name: [1,\n'))).toMatch(/^CONFIG_INVALID deployment\.yml:\d+:\d+: /);
    expect(await failure(load('a: 1\na: 2\n'))).toMatch(/^CONFIG_INVALID deployment\.yml:2:1: a is given twice/);
    expect(await failure(load('name: x\n---\nname: y\n'))).toMatch(
      /deployment\.yml:2:1: a second document begins here/,
    );
    const utf16 = await failure(load(Buffer.from('\ufeffname: x\n', 'utf16le').toString('utf8')));
    expect(utf16).toMatch(/^CONFIG_INVALID deployment\.yml:1:1: wanted UTF-8 text/);
    expect(await failure(load('- a\n'))).toBe(
      'CONFIG_INVALID deployment.yml:1:1: wanted keys and values, found a list',
    );
    expect(await failure(load(''))).toMatch(/^DEPLOYMENT_INVALID deployment\.yml: nothing to score with/);
  });

  test('rules between keys', async () => {
    expect(await failure(load(`${onnx}settings:\n  output_action: summary_only\n  output_file_name: a.csv\n`))).toMatch(
      /^CONFIG_INVALID deployment\.yml:6:3: output_file_name has no meaning/,
    );
    expect(
      await failure(load('model: model/digits.onnx\nresources: {instance_count: 1}\ninstance_count: 2\n')),
    ).toMatch(/^CONFIG_INVALID deployment\.yml:3:1: instance_count is given twice/);

    expect(await failure(load(`${script}settings: {onnx: {scale: 2}}`))).toContain('scale is for the built-in ONNX');
  });

  test('files that are not there, all of them', async () => {
    const message = await failure(
      load('type: model\nmodel:\n  path: gone.onnx\ncode_configuration:\n  code: nowhere\n  scoring_script: a.py\n'),
    );
    expect(message).toContain('DEPLOYMENT_NOT_FOUND 2 problems:');
    expect(message).toContain(`deployment.yml:3:9: model.path: gone.onnx does not exist (looked for ${dir}/gone.onnx)`);
    expect(message).toContain('deployment.yml:5:9: code_configuration.code: nowhere does not exist');
  });

  test('a script that is not there, leaves its folder, or is of no known language', async () => {
    const scoring = (name: string): Promise<string> =>
      failure(load(`type: model\ncode_configuration:\n  code: code\n  scoring_script: ${name}\n`));
    expect(await scoring('gone.py')).toMatch(
      /^DEPLOYMENT_NOT_FOUND deployment\.yml:4:19: .*failed to open gone\.py in .*; found batch_driver\.py, batch_driver\.ts$/,
    );
    expect(await scoring('../code/batch_driver.py')).toContain('wanted a path inside of the code folder');
    expect(await scoring('/etc/passwd')).toContain('wanted a path inside of the code folder');
    await put('code/score.R', '');
    expect(await scoring('score.R')).toMatch(/^DEPLOYMENT_INVALID .*found score\.R/);
  });

  test('a kind that does not fit, an asset, a URI', async () => {
    expect(await failure(load(script.replace('code: code', 'code: model/digits.onnx')))).toContain('wanted a folder');
    expect(await failure(load('model: azureml:digits@latest\n'))).toMatch(
      /deployment\.yml:1:8: .*is a registered model \(digits, latest\).* or --model PATH$/,
    );
    expect(await failure(load('model: https://example.org/m.onnx\n'))).toContain(
      'is a URI, which cannot be fetched from here',
    );
    expect(await failure(load('model: {name: m, version: 1}\n'))).toContain('deployment.yml:1:1: model: wanted path');
  });

  test('a model that nothing scores without a script', async () => {
    await put('model.pt', '');
    await put('flow/MLmodel', '');
    const typed = 'model: {path: flow, type: custom_model}\n';
    expect(await failure(load('model: model.pt\n'))).toMatch(/^DEPLOYMENT_INVALID .*model\.pt needs a scoring script/);
    expect(await failure(load(typed))).toContain('custom_model needs a scoring script');
    expect(await failure(load('model: {path: model, type: mlflow_model}\n'))).toContain('a folder with a file MLmodel');
    expect(await failure(load('model: {path: model, type: triton_model}\n'))).toContain(
      'a Triton model needs a scoring',
    );
    expect(await failure(load('model: flow\n'))).toContain(
      'flow/MLmodel: wanted a model with the flavor python_function',
    );
    expect(await failure(load('code_configuration: {code: code}\n'))).toContain('found no scoring_script');
  });
});

describe('--set and flags', () => {
  test('values are YAML and win over the file, flags win over both', async () => {
    const set = [
      'settings.mini_batch_size=5',
      'settings.environment_variables.A=1.10',
      'settings.retry_settings={timeout: 7}',
    ];
    const { settings } = await load(`${onnx}settings:\n`, { set });
    expect(settings.miniBatchSize).toEqual({ kind: 'files', files: 5 });
    expect(settings.environmentVariables).toEqual({ A: '1.10' });
    expect(settings.timeoutMs).toBe(7_000);
    const flagged = await load(onnx, { set, miniBatchSize: '1MB', scale: 0.25 });
    expect(flagged.settings.miniBatchSize).toEqual({ kind: 'bytes', bytes: 1_048_576 });
    expect(flagged.scorer).toEqual({ kind: 'onnx', settings: scaledOnnxSettings(0.25) });
  });

  test.each([
    ['a: b', 'a: b'],
    ['x # y', 'x # y'],
    ['*star', '*star'],
    ['"quoted # text"', 'quoted # text'],
    ["'16'", '16'],
    ['- dash', '- dash'],
    ['@at %b', '@at %b'],
    ['a=b', 'a=b'],
    ['', ''],
    ['True', 'True'],
  ])('--set with %s is the text as it stands', async (value, wanted) => {
    const set = [`settings.environment_variables.A=${value}`];
    expect((await load(onnx, { set })).settings.environmentVariables).toEqual({ A: wanted });
  });

  test('--set with nothing takes a value away', async () => {
    const { settings } = await load(`${onnx}settings: {mini_batch_size: 3}`, { set: ['settings.mini_batch_size='] });
    expect(settings.miniBatchSize).toEqual({ kind: 'files', files: 10 });
  });

  test('a flag finds the place of a flat file', async () => {
    const deployment = await load('model: model/digits.onnx\nmini_batch_size: 2\n', { miniBatchSize: '4', scale: 2 });
    expect(deployment.settings.miniBatchSize).toEqual({ kind: 'files', files: 4 });
    expect(deployment.scorer).toEqual({ kind: 'onnx', settings: scaledOnnxSettings(2) });
  });

  test('required keys may come from outside of the file', async () => {
    const deployment = await load('type: model\n', { set: ['name=abc', 'model=model/digits.onnx'] });
    expect(deployment.name).toBe('abc');
  });

  test.each([
    ['settings.mini_batch_size', 'wanted key=value'],
    ['=5', 'wanted key=value'],
    ['a..b=5', 'wanted key=value'],
    ['name.x=5', '--set name.x: name is "digits" and has no keys below it'],
    ['settings.mini_batch_size=[1', 'the value is not YAML'],
    ['settings.mini_batch_size=none', '--set settings.mini_batch_size: settings.mini_batch_size: wanted a count'],
    ['settings.minibatch=5', '--set settings.minibatch: settings.minibatch is not a known key'],
  ])('--set %s is refused', async (set, reason) => {
    expect(await failure(load(onnx, { set: [set] }))).toContain(reason);
  });

  test('--mini-batch-size is named by its own name', async () => {
    expect(await failure(load(onnx, { miniBatchSize: 'x' }))).toMatch(/^CONFIG_INVALID --mini-batch-size: /);
  });
});

describe('bare models and scripts', () => {
  test('a model gets our defaults', async () => {
    const deployment = await loadDeployment('model/digits.onnx', { cwd: dir });
    expect(deployment.name).toBe('digits');
    expect(deployment.scorer).toEqual({ kind: 'onnx', settings: scaledOnnxSettings(1) });
    expect(deployment.settings.miniBatchSize).toEqual({ kind: 'auto' });
    expect(deployment.settings.timeoutMs).toBe(limits.bareTimeoutMsDefault);
    expect(deployment.settings.outputFormat).toBe('csv');
  });

  test('a script ships its folder, and a model beside it when there is one', async () => {
    const deployment = await loadDeployment('code/batch_driver.ts', { cwd: dir, model: 'model' });
    expect(deployment.name).toBe('batch-driver');
    expect(deployment.scorer).toEqual({ kind: 'node', script: 'batch_driver.ts' });
    expect(deployment.code).toEqual({ kind: 'folder', path: join(dir, 'code') });
    expect(deployment.model).toEqual({ kind: 'folder', path: join(dir, 'model') });
    expect(deployment.settings.outputFormat).toBe('azure');
    expect((await loadDeployment('code/batch_driver.py', { cwd: dir })).model).toBeNull();
  });

  test('--set reaches a bare model too', async () => {
    const set = ['settings.output.format=jsonl'];
    const { settings } = await loadDeployment('model/digits.onnx', { cwd: dir, set });
    expect(settings.outputFileName).toBe('predictions.jsonl');
  });

  test('a folder with one .onnx file is a model, with the weights beside it', async () => {
    const folder = join(dir, 'weights');
    await mkdir(folder);
    await writeFile(join(folder, 'm.onnx.data'), '');
    expect(await failure(loadDeployment('weights', { cwd: dir }))).toContain('not just one .onnx file');
    await writeFile(join(folder, 'm.onnx'), '');
    for (const loaded of [loadDeployment('weights', { cwd: dir }), load('model: weights\n')]) {
      const { scorer, model } = await loaded;
      expect([scorer.kind, model]).toEqual(['onnx', { kind: 'folder', path: folder }]);
    }
    expect(await failure(load('model: {path: weights, type: triton_model}\n'))).toContain('a Triton model');
    await writeFile(join(folder, 'n.onnx'), '');
    expect(await failure(load('model: weights\n'))).toContain('needs a scoring script');
  });

  test('a folder stands for the deployment.yml in it', async () => {
    await put('deployment.yml', onnx);
    expect((await loadDeployment('.', { cwd: dir })).name).toBe('digits');
    expect(await failure(loadDeployment('code', { cwd: dir }))).toMatch(/^DEPLOYMENT_NOT_FOUND .*no deployment\.yml/);
  });

  test('a script in a folder that cannot be meant is refused', async () => {
    for (let i = 0; i <= limits.bareCodeFilesMax; i += 1) await put(`code/inputs/${i}`, '');
    expect(await failure(loadDeployment('code/batch_driver.py', { cwd: dir }))).toMatch(
      /^DEPLOYMENT_INVALID .*more than 1000 files or 256 MiB/,
    );
  });

  test('nothing there, nothing that scores', async () => {
    expect(await failure(loadDeployment('gone.yml', { cwd: dir }))).toMatch(/^DEPLOYMENT_NOT_FOUND gone\.yml does not/);
    await put('model.pt', '');
    expect(await failure(loadDeployment('model.pt', { cwd: dir }))).toMatch(/^DEPLOYMENT_INVALID .*not something/);
    expect(await failure(loadDeployment('model/digits.onnx', { cwd: dir, model: 'gone' }))).toMatch(
      /^DEPLOYMENT_NOT_FOUND --model: /,
    );
  });
});
