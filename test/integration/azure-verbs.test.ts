/** The verbs of Azure's command line against a real coordinator: what they ask, answer, refuse, and in which form. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatAddress } from '../../common/config/address.ts';
import { cli, type CliRun, type TestHostOptions } from '../helpers/cli-host.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { onnxModel } from '../helpers/onnx-model.ts';

let cluster: LocalCluster;
let environment: Record<string, string>;
beforeEach(async () => {
  cluster = await LocalCluster.start({ http: { host: '127.0.0.1', port: 0 } });
  const { http } = cluster.coordinator;
  environment = { BATCHMILL_SERVER: http === null ? '' : formatAddress(http) };
  const value = { type: 'float64', shape: ['n', 1] } as const;
  const nodes = [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }];
  const model = onnxModel({ inputs: [{ name: 'x', ...value }], outputs: [{ name: 'y', ...value }], nodes });
  put('same.onnx', model);
  put('in/a.csv', 'x\n1\n');
  put('in/b.csv', 'x\n2\n');
});
afterEach(async () => await cluster.close());

function put(path: string, content: string | Uint8Array): void {
  const target = join(cluster.dir, path);
  mkdirSync(join(target, '..'), { recursive: true });
  writeFileSync(target, content);
}

async function az(line: string, options: TestHostOptions = {}): Promise<CliRun> {
  return await cli(line.split(' '), { cwd: cluster.dir, environment, ...options });
}

/** The answer of a command that must do. */
async function ask<T = Record<string, unknown>>(line: string): Promise<T> {
  const { code, stdout, stderr } = await az(line);
  expect([line, code, code === 0 ? '' : stderr]).toEqual([line, 0, '']);
  return JSON.parse(stdout) as T;
}

async function refusal(line: string, options: TestHostOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await az(line, options);
  expect([line, stdout]).toEqual([line, '']);
  return `${code} ${stderr}`;
}

async function deploy(endpoint = 'rows'): Promise<void> {
  await ask(`batch-endpoint create -n ${endpoint}`);
  put('dep/deployment.yml', 'type: model\nname: same\nmodel: ../same.onnx\nsettings:\n  mini_batch_size: 1\n');
  await ask(`batch-deployment create -f dep/deployment.yml -e ${endpoint} --set-default`);
}

describe('endpoints', () => {
  test('are created without a file or with one, shown, listed, changed and deleted', async () => {
    expect(Object.keys(await ask('ml batch-endpoint create -n rows -g rg -w ws'))[0]).toBe('name');
    put('endpoint.yml', 'name: other\ndescription: words\ntags: {team: a}\n');
    const made = await ask('endpoint create --f endpoint.yml --set tags.size=1 tags.team=b');
    expect(made).toMatchObject({ name: 'other', description: 'words', tags: { team: 'b', size: '1' } });
    expect(await ask('endpoint list --query [].name')).toEqual(['rows', 'other']);
    expect((await az('endpoint show -n OTHER --query name -o tsv')).stdout).toBe('other\n');
    const changed = await ask('endpoint update -n other --add tags x=1 y=2 --remove tags.team --set description=new');
    expect(changed).toMatchObject({ description: 'new', tags: { size: '1', x: '1', y: '2' } });
    expect(changed['tags'] as object).not.toHaveProperty('team');
    expect(await refusal('endpoint delete -n rows')).toMatch(/^2 .*say --yes/s);
    expect((await az('endpoint delete -n rows -y --no-wait')).code).toBe(0);
    expect(await refusal('endpoint show -n rows')).toMatch(/^3 error RESOURCE_NOT_FOUND/);
    expect(await ask('endpoint list --query [].name')).toEqual(['other']);
  });

  test('somebody on a terminal is asked', async () => {
    await ask('endpoint create -n rows');
    const no = await az('endpoint delete -n rows', { isTerminal: true, stdin: 'n\n' });
    expect([no.code, no.stderr]).toEqual([1, expect.stringContaining('Delete endpoint rows')]);
    expect((await az('endpoint delete -n rows', { isTerminal: true, stdin: 'y\n' })).code).toBe(0);
    expect(await ask('endpoint list')).toEqual([]);
  });

  test.each([
    ['endpoint create', 'the following arguments are required: --name/-n'],
    ['endpoint create -n a', 'wanted'],
    ['endpoint create -f gone.yml', 'gone.yml does not exist; wanted the YAML of an endpoint'],
    ['endpoint create -n rows --set nmae=x', 'nmae is not a known key; did you mean name?'],
    ['endpoint update -n rows --remove tags.gone', '--remove tags.gone: there is no such key'],
  ])('%s', async (line, reason) => {
    await ask('endpoint create -n rows');
    expect(await refusal(line)).toContain(reason);
  });
});

describe('deployments', () => {
  test('keep their YAML, are updated without files, and say which need them', async () => {
    await deploy();
    const shown = await ask('batch-deployment show -n same -e rows');
    expect(shown).toMatchObject({ name: 'same', endpoint_name: 'rows', revision: 1, settings: { mini_batch_size: 1 } });
    const updated = await ask('deployment update -n same -e rows --set settings.mini_batch_size=7 tags.a=b');
    expect(updated).toMatchObject({ revision: 2, settings: { mini_batch_size: 7 }, tags: { a: 'b' } });
    expect(updated['model']).toBe(shown['model']);
    expect(await refusal('deployment update -n same -e rows --set model=x.onnx')).toContain(
      'model is read with the files',
    );
    expect(await refusal('deployment update -n same -e rows --set settings.mini_batch_size=many')).toContain(
      'mini_batch_size',
    );
    expect(await refusal('deployment update -n same -e rows')).toContain('say what changes');
    expect(await ask('deployment list -e rows --query [].[name,revision]')).toEqual([['same', 2]]);
    expect(await ask('endpoint show -n rows --query defaults.deployment_name')).toBe('same');
    expect((await az('deployment delete -n same -e rows --yes')).code).toBe(0);
    expect(await ask('deployment list -e rows')).toEqual([]);
  });

  test('an endpoint that is not there, a script with a syntax error, and its bypass', async () => {
    put('dep/code/score.py', 'def init(:\n');
    put(
      'dep/deployment.yml',
      'type: model\nname: scripted\ncode_configuration: {code: code, scoring_script: score.py}\n',
    );
    expect(await refusal('deployment create -f dep/deployment.yml -e rows')).toMatch(/^3 error RESOURCE_NOT_FOUND/);
    await ask('endpoint create -n rows');
    expect(await refusal('deployment create -f dep/deployment.yml -e rows')).toMatch(/SCRIPT_INVALID.*score\.py/s);
    expect(await refusal('deployment create -f dep/deployment.yml')).toContain('required: --endpoint-name/-e');
    expect(await refusal('deployment create -e rows')).toContain('required: --file/-f');
    const made = await ask('deployment create -f dep/deployment.yml -e rows --skip-script-validation');
    expect(made).toMatchObject({ code_configuration: { scoring_script: 'score.py' } });
  });
});

describe('assets', () => {
  test('versions are counted, labels and versions name one, the newest is listed', async () => {
    expect(await ask('model create -n m -p same.onnx --tag a=b --query version')).toBe('1');
    put('same.onnx', readFileSync(join(cluster.dir, 'same.onnx')).subarray(0));
    expect(
      await ask('model create -n m --path in --type custom_model --description two --query [version,description]'),
    ).toEqual(['2', 'two']);
    expect((await az('model show -n m --label latest --query version -o tsv')).stdout).toBe('2\n');
    expect(await ask('model list --query [].[name,version]')).toEqual([['m', '2']]);
    expect(await ask('model list -n m --query [].version')).toEqual(['2', '1']);
    expect((await az('model delete -n m -v 2 --yes')).code).toBe(0);
    expect(await ask('model show -n m -l latest --query [version,tags.a]')).toEqual(['1', 'b']);
    expect(await refusal('model show -n gone --label latest')).toMatch(/^3 error RESOURCE_NOT_FOUND/);
    expect(await refusal('model show -n m')).toContain('--version/-v or --label/-l');
  });

  test('data by path and by location, environments by their conda file', async () => {
    expect(await ask('data create -n rows --path in --query [type,path]')).toEqual([
      'uri_folder',
      join(cluster.dir, 'in'),
    ]);
    expect(await ask('data create -n far --path s3://bucket/in/ --query path')).toBe('s3://bucket/in/');
    put('env/conda.yml', 'dependencies: [python=3.11, {pip: [numpy]}]\n');
    const made = await ask('environment create -n env --conda-file env/conda.yml --image some/image');
    expect(made).toMatchObject({ name: 'env', version: '1' });
    expect(made['conda_file']).toContain('numpy');
    expect(await ask('environment list --query [].name')).toEqual(['env']);
  });

  test('datastores and computes', async () => {
    expect(await ask('datastore create -n stuff --location . --query location')).toBe(cluster.dir);
    expect(await ask('datastore list --query [].name')).toEqual(['stuff']);
    const compute = await ask(
      'compute create -n batch-cluster --type amlcompute --min-instances 0 --max-instances 5 --label gpu=a100',
    );
    expect(compute).toMatchObject({
      name: 'batch-cluster',
      min_instances: 0,
      max_instances: 5,
      labels: { gpu: 'a100' },
    });
    expect((await az('compute show -n batch-cluster --query max_instances -o tsv')).stdout).toBe('5\n');
    expect((await az('compute delete -n batch-cluster -y')).code).toBe(0);
    expect((await az('datastore delete -n stuff -y')).code).toBe(0);
    expect(await ask('compute list')).toEqual([]);
  });
});

describe('invoke', () => {
  test('answers with the job, and its name alone for scripts', async () => {
    await deploy();
    const { code, stdout, stderr } = await az('endpoint invoke -n rows --input in --query name -o tsv');
    expect([code, stdout.trim().split('\n')]).toEqual([0, [expect.stringMatching(/^rows-/)]]);
    expect(stderr).toContain(`next        batchmill job stream -n ${stdout.trim()}`);
    expect(await ask(`job show -n ${stdout.trim()} --query [endpoint,experiment_name,type]`)).toEqual([
      'rows',
      'rows',
      'pipeline',
    ]);
    expect(await ask('endpoint list-jobs -n rows --query [].name')).toEqual([stdout.trim()]);
    expect(await ask(`job list --parent-job-name ${stdout.trim()} --query [0].name`)).toBe(stdout.trim());
  });

  test('settings of this job alone, an output of its own, and old names of the input', async () => {
    await deploy();
    const job = await ask(
      'endpoint invoke -n rows --input-path folder:in -m 5 -c 1 --output-path out --job-name mine --set output_file_name=rows.txt ' +
        'retry_settings.timeout=9 tags.a=b inputs.x.path=ignored',
    );
    expect(job).toMatchObject({
      name: 'mine',
      output_path: join(cluster.dir, 'out'),
      input_path: join(cluster.dir, 'in'),
      tags: { a: 'b' },
    });
    expect(String(job['output_file'])).toContain('rows.txt');
    put('inputs.yml', 'inputs:\n  x: {type: uri_folder, path: ../in}\noutputs:\n  score: {path: named}\n');
    put('below/inputs.yml', readFileSync(join(cluster.dir, 'inputs.yml'), 'utf8'));
    const other = await ask('endpoint invoke -n rows --f below/inputs.yml');
    expect(other).toMatchObject({
      input_path: join(cluster.dir, 'in'),
      output_path: join(cluster.dir, 'below', 'named'),
    });
    await ask('data create -n rows --path in');
    expect(await ask('endpoint invoke -n rows --input azureml:rows@latest --query input_path')).toBe(
      join(cluster.dir, 'in'),
    );
    expect(await ask('endpoint invoke -n rows --input rows:1 --query input_path')).toBe(join(cluster.dir, 'in'));
  });

  test('the same key is the same job', async () => {
    await deploy();
    const line = 'endpoint invoke -n rows --input in --idempotency-key k1 --query name';
    expect(await ask(line)).toBe(await ask(line));
    expect(await refusal(`${line} -m 3`)).toContain('error IDEMPOTENCY_MISMATCH');
  });

  test.each([
    ['--input in -n gone', 3, 'RESOURCE_NOT_FOUND'],
    ['-n rows', 2, 'the following arguments are required: --input'],
    ['-n rows --input gone', 3, 'there is no file or folder'],
    ['-n rows --input in/a.csv --input-type uri_folder', 2, 'there is no folder at'],
    ['-n rows --input azureml:gone:1', 3, 'RESOURCE_NOT_FOUND'],
    ['-n rows --input azureml:gone', 2, 'is not a reference'],
    ['-n rows --input in -d other', 3, 'Deployment name other not found for this endpoint'],
    ['-n rows --input in --set mini_batch_sze=3', 2, 'did you mean mini_batch_size?'],
    ['-n rows --input in --set inputs.a.path=in inputs.b.path=in', 2, 'a job has one input and one output'],
    ['-n rows --set inputs.a.type=string inputs.a.default=x', 2, 'literal inputs'],
    ['-n rows --input in --inp x', 2, '--inp may be'],
  ])('%s', async (flags, code, reason) => {
    await deploy();
    const said = await refusal(`endpoint invoke ${flags}`);
    expect([said.slice(0, 1), said]).toEqual([String(code), expect.stringContaining(reason)]);
  });

  test.each([
    ['model', '--path same.onnx'],
    ['data', '--path in'],
    ['environment', '--image python:3.11'],
  ])('%s takes --version for that of the asset, not for the release', async (kind, made) => {
    const asset = { name: 'mod', version: '10' };
    expect(await ask(`${kind} create -n mod ${made} --version 10`)).toMatchObject(asset);
    expect(await ask(`${kind} show -n mod --version 10`)).toMatchObject(asset);
    expect(await ask(`${kind} show -n mod --vers=10`)).toMatchObject(asset);
    expect((await az(`${kind} delete -n mod --version 10 --yes`)).stderr).toContain('version 10, is deleted');
    expect(await ask(`${kind} list`)).toEqual([]);
  });

  test('put again without a word of default and limit keeps both; null takes them away', async () => {
    const limit = async (to: number | null): Promise<void> => {
      const body = JSON.stringify({ concurrency_max: to });
      const headers = { 'content-type': 'application/json' };
      const url = `http://${environment['BATCHMILL_SERVER']}/v1/endpoints/rows`;
      expect((await fetch(url, { method: 'PUT', headers, body })).status).toBe(200);
    };
    const both = (deployment: string | null, most: number | null) => ({
      defaults: { deployment_name: deployment },
      concurrency_max: most,
    });
    await deploy();
    await limit(2);
    put('again.yml', 'name: rows\ndescription: again\n');
    expect(await ask('endpoint create -f again.yml')).toMatchObject({ description: 'again', ...both('same', 2) });
    expect(await ask('endpoint update -n rows --set description=new')).toMatchObject(both('same', 2));
    await limit(null);
    expect(await ask('endpoint show -n rows')).toMatchObject(both('same', null));
    for (const edit of ['--remove defaults', '--remove defaults.deployment_name', '--set defaults=null']) {
      expect(await ask(`endpoint update -n rows ${edit}`)).toMatchObject(both(null, null));
      expect(await ask('endpoint update -n rows --set defaults.deploymentName=same')).toMatchObject(both('same', null));
    }
  });

  test('without a default and with two deployments, somebody must say which', async () => {
    await deploy();
    await ask('deployment create -f dep/deployment.yml -e rows -n second');
    await ask('endpoint update -n rows --set defaults.deployment_name=null');
    expect(await refusal('endpoint invoke -n rows --input in')).toMatch(/^3 .*No valid deployments to route to/s);
    expect(await ask('endpoint invoke -n rows --input in --deployment second --query deployment')).toBe('second');
  });
});

describe('jobs', () => {
  test('a job that a worker node scored is streamed, downloaded as Azure does, labelled and archived', async () => {
    await deploy();
    await cluster.join('one', 1);
    const name = (await az('endpoint invoke -n rows --input in --query name -o tsv')).stdout.trim();
    const streamed = await az(`job stream -n ${name}`);
    expect([streamed.code, streamed.stderr]).toEqual([
      0,
      expect.stringContaining('Execution summary\nfiles         2 scored'),
    ]);
    expect(streamed.stderr).toMatch(new RegExp(`^RunId: ${name}\\nWeb View: http://`));
    expect((await az(`job show -n ${name} --query status -o tsv`)).stdout).toBe('Completed\n');
    const downloaded = await az(`job download -n ${name} --output-name score -p got --all`);
    expect([downloaded.code, downloaded.code === 0 ? '' : downloaded.stderr]).toEqual([0, '']);
    expect(readFileSync(join(cluster.dir, 'got/named-outputs/score/predictions.csv'), 'utf8')).toContain('a.csv');
    expect(readFileSync(join(cluster.dir, 'got/logs/readme.txt'), 'utf8')).not.toBe('');
    expect((await az(`job download ${name} --output plain`)).code).toBe(0);
    expect(readFileSync(join(cluster.dir, 'plain/predictions.csv'), 'utf8')).toContain('a.csv');
    expect(await refusal(`job download -n ${name} --output-name other`)).toContain('a job has one output, score');
    const labelled = await ask(`job update -n ${name} --set tags.a=1 display_name=shown`);
    expect(labelled).toMatchObject({ display_name: 'shown', tags: { a: '1' } });
    expect((await ask(`job archive -n ${name}`))['archived']).toBe(true);
    expect(await ask('job list')).toEqual([]);
    expect(await ask('job list --archived-only --query [].name')).toEqual([name]);
    expect((await ask(`job restore -n ${name}`))['archived']).toBe(false);
    expect(await ask('job list --query [].name')).toEqual([name]);
  });

  test('a job is named once, by an argument or by -n', async () => {
    expect(await refusal('job show')).toContain("missing required argument 'name'");
    expect(await refusal('job show one -n two')).toContain('two jobs are named, one and two');
  });
});

describe('a coordinator that does not see our disk', () => {
  /** As if the state directory were on another machine. */
  const blind = (): void => writeFileSync(join(cluster.dir, 'state', 'instance'), 'another one');

  test('gets model, code and input as bytes, once', async () => {
    blind();
    put(
      'dep/code/score.mjs',
      "import { basename } from 'node:path';\nexport const run = (files) => files.map((one) => basename(one));\n",
    );
    put('dep/code/deep/er/note.txt', 'x'.repeat(200_000));
    put(
      'dep/deployment.yml',
      'type: model\nname: scripted\nmodel: ../same.onnx\ncode_configuration: {code: code, scoring_script: score.mjs}\n',
    );
    await ask('endpoint create -n rows');
    const create = 'deployment create -f dep/deployment.yml -e rows --query [model,code_configuration.code]';
    const first = await az(create);
    expect([first.code, first.stderr]).toEqual([0, expect.stringContaining('uploading ')]);
    expect((await az(create)).stderr).not.toContain('uploading ');
    const made: unknown = JSON.parse(first.stdout);
    expect(made).toEqual([expect.stringMatching(/^same\.onnx \(sha256:/), expect.stringMatching(/^code \(sha256:/)]);
    await cluster.join('one', 1);
    const rowsOf = async (line: string, folder: string): Promise<string> => {
      const job = await ask(`${line} --query name`);
      expect((await az(`job wait ${String(job)}`)).code).toBe(0);
      expect((await az(`job download ${String(job)} --output ${folder}`)).code).toBe(0);
      return readFileSync(join(cluster.dir, folder, 'predictions.csv'), 'utf8');
    };
    expect(await rowsOf('endpoint invoke -n rows --input in', 'got-1')).toBe('a.csv\nb.csv\n');
    expect(await rowsOf('endpoint invoke -n rows --input in/b.csv', 'got-2')).toBe('b.csv\n');
    expect(await rowsOf('job submit dep/deployment.yml --input in --output out', 'got-3')).toBe('a.csv\nb.csv\n');
    expect(await ask('model create -n m -p same.onnx --query flavor')).toBe('onnx');
    expect(String(await ask('data create -n d -p in --query path'))).toContain(join(cluster.dir, 'state'));
  });

  test('is given paths all the same where the user knows better', async () => {
    blind();
    await deploy();
    const line = 'endpoint invoke -n rows --input in --by-path --query input_path';
    expect(await ask(line)).toBe(join(cluster.dir, 'in'));
  });
});
