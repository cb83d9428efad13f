/** Environments: conda files and what they name, MLflow models' own lists, and --environment. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadDeployment, type LoadOptions } from '../../common/config/deployment-file.ts';
import { logicalLines, parsePipLine } from '../../common/config/pip-line.ts';
import type { EnvironmentSpec, LocalDeployment } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { failureOf, TempFolder } from '../helpers/temp-folder.ts';

let folder: TempFolder;
let notes: string[];
beforeEach(() => {
  folder = new TempFolder();
  notes = [];
  folder.put({ 'code/score.py': 'def init(): pass\n', 'model/w.bin': '', 'm.onnx': '' });
});
afterEach(() => folder.remove());

const script = 'type: model\ncode_configuration: {code: code, scoring_script: score.py}\n';

async function load(yaml: string, options: LoadOptions = {}): Promise<LocalDeployment> {
  folder.put({ 'deployment.yml': yaml });
  const cwd = folder.path;
  return await loadDeployment('deployment.yml', {
    cwd,
    isScriptUnchecked: true,
    onNote: (text) => notes.push(text),
    ...options,
  });
}

/** The environment of a script whose conda file has this text. */
async function conda(text: string): Promise<EnvironmentSpec> {
  folder.put({ 'env/conda.yaml': text });
  return (await load(`${script}environment: {conda_file: env/conda.yaml}\n`)).environment;
}

/** Channels and packages as they travel. */
function contentOf(environment: EnvironmentSpec): unknown {
  if (environment.kind !== 'conda') throw new Error(`wanted a conda environment, found ${environment.kind}`);
  return parse(environment.conda.yaml);
}

describe('conda files', () => {
  test('the canonical form, its digest and its name', async () => {
    const environment = await conda(
      'dependencies: [pip, {pip: [six]}, "python=3.8.5"]\nchannels: [conda-forge]\nname: last\n',
    );
    const content = { channels: ['conda-forge'], dependencies: ['pip', 'python=3.8.5', { pip: ['six'] }] };
    expect(environment).toEqual({
      kind: 'conda',
      conda: {
        name: 'last',
        yaml: 'channels:\n  - conda-forge\ndependencies:\n  - pip\n  - python=3.8.5\n  - pip:\n      - six\n',
        digest: `sha256:${createHash('sha256').update(JSON.stringify(content)).digest('hex')}`,
      },
    });
    expect(notes).toEqual([]);
  });

  test('name, comments and layout do not change the digest; a version does', async () => {
    const digests = await Promise.all(
      ['name: a\ndependencies: [pip, {pip: [six]}]\n', '# words\ndependencies:\n- pip\n- pip:\n  - six # why\n'].map(
        async (text) => {
          const own = new TempFolder();
          own.put({
            'score.py': '',
            'c.yaml': text,
            'd.yml': `${script.replace('code: code', 'code: .')}environment: c.yaml\n`,
          });
          const { environment } = await loadDeployment('d.yml', { cwd: own.path, isScriptUnchecked: true });
          own.remove();
          return environment.kind === 'conda' ? [environment.conda.digest, environment.conda.name] : [];
        },
      ),
    );
    expect(digests[0]?.[0]).toBe(digests[1]?.[0]);
    expect(digests.map(([, name]) => name)).toEqual(['a', 'c']);
    const other = await conda('dependencies: [pip, {pip: [six==1.16.0]}]\n');
    expect(other.kind === 'conda' && other.conda.digest).not.toBe(digests[0]?.[0]);
  });

  test('spellings of packages that occur', async () => {
    const packages = [
      'python=3.8.5',
      'pip<22.0',
      'pip',
      'numpy>=1.21,<2',
      'numpy 1.21.*',
      'pytorch::pytorch=1.13',
      'pytorch=1.13.0=py3.8_cuda11.7*',
      'cudatoolkit==11.3',
      'azureml-dataset-runtime[fuse]',
      'libgcc_mutex',
      'https://conda.example.org/linux-64/a-1.0-0.conda',
    ];
    const pip = [
      'azureml-core~=1.5',
      'pkg[a,b]>=2',
      'x; python_version < "3.9"',
      'y @ https://example.org/y.whl',
      '--pre',
    ];
    const environment = await conda(JSON.stringify({ dependencies: [...packages, { pip }] }));
    expect(contentOf(environment)).toEqual({ channels: [], dependencies: [...packages, { pip }] });
  });

  test('requirement files take the place of the line that names them, relative to the file that does', async () => {
    folder.put({
      'env/reqs/main.txt':
        '# words\n-r more/other.txt\npandas==2.0 # pinned\n\n--extra-index-url https://example.org/simple\n',
      'env/reqs/more/other.txt': 'numpy>=1.21, \\\n  <2\n-c ../limits.txt\n',
      'env/reqs/limits.txt': 'numpy!=1.25\nsix==1.16.0\n',
    });
    const environment = await conda('dependencies: [pip, {pip: [before, -r reqs/main.txt, after]}]\n');
    expect(contentOf(environment)).toEqual({
      channels: [],
      dependencies: [
        'pip',
        {
          pip: [
            'before',
            'numpy>=1.21, <2',
            'pandas==2.0',
            '--extra-index-url https://example.org/simple',
            'after',
            'numpy!=1.25',
            'six==1.16.0',
          ],
        },
      ],
    });
    expect(notes).toEqual(['constraints travel as requirements, so these are installed too: six==1.16.0']);
  });

  test.each([
    ['dependencies: [pip, {pip: [-e ./x]}]', 'env/conda.yaml:1:28: -e ./x points to this disk'],
    ['dependencies: [{pip: [./wheels/a.whl]}]', './wheels/a.whl points to this disk'],
    ['dependencies: [{pip: [a.whl]}]', 'a.whl points to this disk'],
    ['dependencies: [{pip: [.]}]', '. points to this disk'],
    ['dependencies: [{pip: ["x @ file:///srv/x"]}]', 'x @ file:///srv/x points to this disk'],
    ['dependencies: [{pip: [--find-links ./wheels]}]', '--find-links ./wheels points to this disk'],
    ['dependencies: [./a.conda]', './a.conda points to this disk'],
    ['channels: [./local]\ndependencies: [pip]', 'env/conda.yaml:1:12: ./local points to this disk'],
    ['dependencies: [{pip: [-r gone.txt]}]', 'failed to open gone.txt (looked for '],
    ['dependencies: [{pip: [-r https://example.org/r.txt]}]', 'is not a local file'],
    ['dependencies: [{npm: [left-pad]}]', 'wanted a package or a list with the name pip, found npm'],
    ['dependencies: [3]', 'env/conda.yaml:1:16: wanted a package or a list with the name pip, found 3'],
    ['dependencies: ["=3"]', 'wanted a package, such as numpy=1.26, found "=3"'],
    ['dependencies: [{pip: six}]', 'wanted a list of requirements, found "six"'],
    ['dependencies: [{pip: [1.5]}]', 'wanted a requirement, such as pandas==2.2.3, found 1.5'],
    [
      'dependancies: [pip]',
      'wanted dependencies, a list of packages, found nothing; did you mean that by dependancies?',
    ],
    ['channels: main\ndependencies: [pip]', 'wanted channels, a list of names, found "main"'],
  ])('%s is refused', async (text, reason) => {
    const message = await failureOf(conda(`${text}\n`));
    expect(message).toMatch(/^ENVIRONMENT_INVALID env\/conda\.yaml:\d+:\d+: /);
    expect(message).toContain(reason);
  });

  test('requirement files that include each other end with their place', async () => {
    folder.put({ 'env/a.txt': 'six\n-r b.txt\n', 'env/b.txt': '-r a.txt\n' });
    expect(await failureOf(conda('dependencies: [{pip: [-r a.txt]}]\n'))).toBe(
      'ENVIRONMENT_INVALID env/b.txt:1:1: a.txt includes itself',
    );
  });

  test('several mistakes are told at once; a file that is too large is refused', async () => {
    const message = await failureOf(conda('dependencies: [./a, {pip: [-e ./x]}]\n'));
    expect(message).toMatch(/^ENVIRONMENT_INVALID 2 problems:/);
    folder.put({ 'env/big.txt': 'package-with-a-name\n'.repeat(limits.condaYamlCharsMax / 16) });
    expect(await failureOf(conda('dependencies: [{pip: [-r big.txt]}]\n'))).toContain(
      'wanted at most 262144 characters',
    );
  });

  test('variables and unknown keys are told', async () => {
    await conda('dependencies: [pip]\nvariables: {A: 1}\nplattforms: [linux-64]\n');
    expect(notes).toEqual([
      'env/conda.yaml:2:1: variables are not set: give environment_variables instead',
      'env/conda.yaml:3:1: plattforms has no effect',
    ]);
  });
});

describe('pip lines', () => {
  test.each([
    ['', { kind: 'nothing' }],
    ['  # words', { kind: 'nothing' }],
    ['six # words', { kind: 'requirement', text: 'six', name: 'six' }],
    [
      'x @ git+https://example.org/x#egg=x',
      { kind: 'requirement', text: 'x @ git+https://example.org/x#egg=x', name: 'x' },
    ],
    ['-rreq.txt', { kind: 'include', file: 'req.txt', isConstraint: false }],
    ['--requirement=req.txt', { kind: 'include', file: 'req.txt', isConstraint: false }],
    ['--constraint c.txt', { kind: 'include', file: 'c.txt', isConstraint: true }],
    ['-i https://example.org/simple', { kind: 'requirement', text: '-i https://example.org/simple', name: null }],
    ['--editable=.', { kind: 'local', text: '--editable=.' }],
    ['-e git+https://example.org/x', { kind: 'local', text: '-e git+https://example.org/x' }],
    ['x==1 --hash=sha256:ab', { kind: 'requirement', text: 'x==1 --hash=sha256:ab', name: 'x' }],
  ])('%j', (line, wanted) => {
    expect(parsePipLine(line)).toEqual(wanted);
  });

  test('lines that go on keep the number of their first', () => {
    expect(logicalLines('a\\\n==1\r\nb\n')).toEqual([
      { line: 1, text: 'a ==1' },
      { line: 3, text: 'b' },
      { line: 4, text: '' },
    ]);
  });
});

describe('environment of a deployment', () => {
  test('inline mapping, path of an environment YAML, path of a conda file: all the same', async () => {
    folder.put({
      'env/environment.yml': 'name: e\nversion: 1\nimage: base\nconda_file: conda.yaml\n',
      'env/conda.yaml': 'name: e\ndependencies: [pip]\n',
    });
    const found = [
      await load(`${script}environment: {name: e, conda_file: {dependencies: [pip]}}\n`),
      await load(`${script}environment: env/environment.yml\n`),
      await load(`${script}environment: file:env/conda.yaml\n`),
      await load(`${script}environment: {path: env/conda.yaml}\n`),
    ].map((one) => one.environment);
    expect(new Set(found.map((one) => JSON.stringify(one))).size).toBe(1);
    expect(notes).toEqual([expect.stringContaining('the image base is not used')]);
  });

  test('an image alone; none at all; a build', async () => {
    expect((await load(`${script}environment: {image: base}\n`)).environment).toEqual({
      kind: 'image',
      image: 'base',
      conda: null,
    });
    expect((await load(script)).environment).toEqual({ kind: 'host', python: null });
    expect(await failureOf(load(`${script}environment:\n  build: {path: docker}\n`))).toMatch(
      /^ENVIRONMENT_INVALID deployment\.yml:4:3: environment\.build: images are not built here/,
    );
    expect(await failureOf(load(`${script}environment: {name: e}\n`))).toContain(
      'wanted conda_file or image, found the name of a registered environment (e)',
    );
    expect(await failureOf(load(`${script}environment: {conda_file: gone.yaml}\n`))).toMatch(
      /^DEPLOYMENT_NOT_FOUND deployment\.yml:3:27: environment\.conda_file: gone\.yaml does not exist/,
    );
  });

  test('a mistake in an environment file has its place there', async () => {
    folder.put({ 'env/environment.yml': 'conda_fil: conda.yaml\n' });
    expect(await failureOf(load(`${script}environment: env/environment.yml\n`))).toBe(
      'CONFIG_UNKNOWN_KEY env/environment.yml:1:1: conda_fil is not a known key; did you mean conda_file?',
    );
  });

  test('scorers without Python need none: references are let be, files are looked at', async () => {
    const onnx = 'type: model\nmodel: m.onnx\n';
    expect((await load(`${onnx}environment: azureml:env@latest\n`)).environment).toEqual({
      kind: 'host',
      python: null,
    });
    expect((await load(`${onnx}environment: {build: {path: d}}\n`)).environment.kind).toBe('host');
    expect(await failureOf(load(`${onnx}environment: {conda_file: gone.yaml}\n`))).toContain(
      'gone.yaml does not exist',
    );
    expect(notes).toEqual([]);
  });

  test('--environment wins over everything', async () => {
    folder.put({ 'venv/bin/python': '', 'python3.9': '', 'empty/x': '' });
    const yaml = `${script}environment: azureml:env@latest\n`;
    const python = async (environment: string): Promise<unknown> => (await load(yaml, { environment })).environment;
    expect(await python('host')).toEqual({ kind: 'host', python: null });
    expect(await python('venv')).toEqual({ kind: 'host', python: `${folder.path}/venv/bin/python` });
    expect(await python('./python3.9')).toEqual({ kind: 'host', python: `${folder.path}/python3.9` });
    expect(await python('/no/such/python')).toEqual({ kind: 'host', python: '/no/such/python' });
    expect(notes).toEqual(['--environment: /no/such/python is not on this machine; it must be on every worker node']);
    expect(await failureOf(python('gone'))).toMatch(/^DEPLOYMENT_NOT_FOUND --environment: gone does not exist/);
    expect(await failureOf(python('empty'))).toContain('is a folder without bin/python');
    expect(await failureOf(python(''))).toMatch(/^USAGE --environment: /);
  });
});

describe('MLflow models', () => {
  const model = (env: string): Readonly<Record<string, string>> => ({
    'flow/MLmodel': `flavors: {python_function: {loader_module: x, python_version: 3.10.2${env}}}\n`,
  });

  test('a bare folder scores without a script, with our defaults', async () => {
    folder.put({
      ...model(', env: conda.yaml'),
      'flow/conda.yaml': 'name: mlflow-env\ndependencies: [python=3.10.2]\n',
    });
    const deployment = await loadDeployment('flow', {
      cwd: folder.path,
      set: ['settings.mlflow.rows_per_predict=1000'],
    });
    expect(deployment).toMatchObject({
      name: 'flow',
      scorer: { kind: 'mlflow', rowsPerPredict: 1_000 },
      model: { kind: 'folder', path: `${folder.path}/flow` },
      code: null,
      environment: { kind: 'conda', conda: { name: 'mlflow-env' } },
      settings: { miniBatchSize: { kind: 'auto' }, outputFormat: 'azure', outputFileName: 'predictions.csv' },
    });
  });

  test.each([
    [
      'the file that MLmodel names',
      ', env: {conda: other.yaml}',
      { 'flow/other.yaml': 'dependencies: [a]\n', 'flow/conda.yaml': 'dependencies: [b]\n' },
      ['a'],
    ],
    ['conda.yaml', '', { 'flow/conda.yaml': 'dependencies: [b]\n', 'flow/python_env.yaml': 'python: 3.9.1\n' }, ['b']],
    [
      'python_env.yaml',
      ', env: {virtualenv: python_env.yaml}',
      {
        'flow/python_env.yaml':
          'python: 3.10\nbuild_dependencies: [pip==24.0, wheel]\ndependencies: [-r requirements.txt]\n',
        'flow/requirements.txt': 'six\n',
      },
      ['python=3.10', 'pip==24.0', 'wheel', { pip: ['six'] }],
    ],
    ['requirements.txt', '', { 'flow/requirements.txt': 'six\n' }, ['python=3.10.2', 'pip', { pip: ['six'] }]],
  ])('environment from %s', async (_, env, files, dependencies) => {
    folder.put({ ...model(env), ...(files as Readonly<Record<string, string>>) });
    const { environment } = await load('type: model\nmodel: {path: flow, type: mlflow_model}\n');
    expect(contentOf(environment)).toEqual({ channels: [], dependencies });
  });

  test('nothing named: the host, with a note; a given environment wins', async () => {
    folder.put(model(''));
    expect((await load('model: flow\n')).environment).toEqual({ kind: 'host', python: null });
    expect(notes).toEqual([expect.stringContaining('flow names no packages')]);
    const given = await load('model: flow\nenvironment: {conda_file: {dependencies: [pip]}}\n');
    expect(given.environment.kind).toBe('conda');
  });

  test('with a script and without environment it runs in the host, which is said', async () => {
    folder.put(model(''));
    const deployment = await load(`${script}model: flow\n`);
    expect([deployment.scorer.kind, deployment.environment.kind]).toEqual(['python', 'host']);
    expect(notes).toEqual([expect.stringContaining('(Azure refuses this)')]);
    const set = ['settings.mlflow.rows_per_predict=5'];
    expect(await failureOf(load(`${script}model: flow\n`, { set }))).toContain(
      'rows_per_predict is for MLflow models without',
    );
  });

  test('the flat form has a place for our keys', async () => {
    folder.put(model(''));
    const { scorer, settings } = await load(
      'model: flow\nmlflow: {rows_per_predict: 7}\nresources: {instance_count: 2, memory: 512MB}\noutput: {custom: shared}\nisolation: mini_batch\n',
    );
    expect(scorer).toEqual({ kind: 'mlflow', rowsPerPredict: 7 });
    expect(settings).toMatchObject({ memoryBytesMax: 536_870_912, instanceCountMax: 2, customOutput: 'shared' });
    expect(
      await failureOf(
        load('type: model\nmodel: flow\nresources: {memory: 1GB}\nsettings: {resources: {memory: 2GB}}\n'),
      ),
    ).toContain('resources.memory is given twice');
    expect((await load('model: flow\nresources: {memory: 1GB}\ninstance_count: 3\n')).settings.instanceCountMax).toBe(
      3,
    );
    expect(await failureOf(load('model: flow\nresources: {memory: 12}\n'))).toContain('wanted a size such as 2GB');
  });

  test('the heart model of the shared data', async () => {
    const heart = packageFile('..', 'shared', 'data', 'heart', 'mlflow-model');
    if (!existsSync(heart)) throw new Error(`${heart} is not there; this test reads it in place`);
    const { environment, name } = await loadDeployment(heart);
    expect(name).toBe('mlflow-model');
    expect(contentOf(environment)).toEqual({
      channels: ['conda-forge'],
      dependencies: [
        'python=3.8.5',
        'pip',
        { pip: ['mlflow', 'cloudpickle==1.6.0', 'scikit-learn==1.1.2', 'xgboost==1.3.3'] },
      ],
    });
  });
});
