/** A shadow beside a job: two deployments, real scripts in real hosts, two worker nodes; what is compared, and that nothing else changes. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { formatAddress } from '../../common/config/address.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { JobView, ShadowView } from '../../coordinator/api/backend.ts';
import { compareOutputs } from '../../coordinator/compare/compare-outputs.ts';
import { NodeDesk } from '../../coordinator/node-desk.ts';
import { verifyOutput } from '../../coordinator/verify/verify-output.ts';
import { InputStager } from '../../worker/staging/input-stager.ts';
import { cli } from '../helpers/cli-host.ts';
import { sharedData } from '../helpers/deployment-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { testPython } from '../helpers/python.ts';

/** A row for each file; what a shadow does otherwise is in its environment. */
const script = `
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
const { MODE = '', COLUMN = 'score', OWN = '' } = process.env;
export function init() {
  if (MODE === 'init') throw new Error('no such weights');
}
export function run(files) {
  console.log('run of ' + (MODE || 'the default'));
  if (MODE === 'raise') throw new Error('cannot ' + basename(files[0]));
  if (MODE === 'crash') process.kill(process.pid, 'SIGKILL');
  if (process.env.PIDS) appendFileSync(process.env.PIDS, process.pid + '\\n');
  if (MODE === 'hang') for (;;);
  if (MODE === 'one' && basename(files[0]) === '05.txt') throw new Error('not this one');
  if (OWN !== '') appendFileSync(join(process.env.AZUREML_BI_OUTPUT_PATH, OWN), files.length + '\\n');
  return files.flatMap((file) => {
    const n = Number(readFileSync(file, 'utf8'));
    const off = MODE === 'off' && n % 10 === 0 ? 0.5 : 0;
    const row = { file: basename(file), [COLUMN]: n / 4 + off, text: 'a, "b"\\nc' };
    return MODE === 'twice' && n === 7 ? [row, row] : [row];
  });
}
`;

/** File and digit, whichever network it is. */
const digits = `
import glob, os
import numpy as np, onnxruntime, pandas as pd
from PIL import Image

def init():
    global network
    network = onnxruntime.InferenceSession(glob.glob(os.environ["AZUREML_MODEL_DIR"] + "/*.onnx")[0])

def run(mini_batch):
    (image, *_) = network.get_inputs()
    pixels = np.stack([np.asarray(Image.open(path).convert("L"), dtype=np.float32) for path in mini_batch])
    shaped = pixels.reshape([len(mini_batch), *image.shape[1:]])
    scores = network.run([network.get_outputs()[0].name], {image.name: shaped})[0]
    return pd.DataFrame({"file": [os.path.basename(path) for path in mini_batch], "digit": scores.argmax(axis=1)})
`;

const names = Array.from({ length: 60 }, (_, n) => `${String(n).padStart(2, '0')}.txt`);

let cluster: LocalCluster;
beforeEach(async () => {
  cluster = await LocalCluster.start({ http: { host: '127.0.0.1', port: 0 } });
  mkdirSync(join(cluster.dir, 'in'));
  mkdirSync(join(cluster.dir, 'code'));
  writeFileSync(join(cluster.dir, 'code', 'rows.mjs'), script);
  names.forEach((name, n) => writeFileSync(join(cluster.dir, 'in', name), String(n)));
  await call('PUT', '/v1/endpoints/digits', {});
  await deploy('own', {});
});
afterEach(async () => {
  vi.restoreAllMocks();
  await cluster.close();
});

async function call(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const { http } = cluster.coordinator;
  if (!http) throw new Error('the coordinator serves no HTTP');
  const sent =
    body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
  const reply = await fetch(`http://${formatAddress(http)}${path}`, { method, ...sent });
  return (await reply.json()) as Record<string, unknown>;
}

async function deploy(
  name: string,
  variables: Record<string, string>,
  settings: object = {},
  code = join(cluster.dir, 'code'),
): Promise<void> {
  const document = {
    name,
    type: 'model',
    code_configuration: { code, scoring_script: 'rows.mjs' },
    settings: { environment_variables: variables, mini_batch_size: 3, output: { format: 'csv' }, ...settings },
  };
  const answer = await call('PUT', `/v1/endpoints/digits/deployments/${name}`, { document });
  expect(answer).toMatchObject({ name });
}

/** Through the endpoint, to its end. */
async function scored(name: string, body: object = {}): Promise<JobView> {
  const output = join(cluster.dir, name);
  const given = {
    deployment_name: 'own',
    job_name: name,
    input: join(cluster.dir, 'in'),
    output_path: output,
    ...body,
  };
  expect(await call('POST', '/v1/endpoints/digits/jobs', given)).toMatchObject({ name });
  const { jobs } = cluster.coordinator;
  for await (const event of jobs.events(name, 0, new AbortController().signal)) void event;
  await expect.poll(() => readdirSync(output).includes('_SUCCESS'), { timeout: 20_000 }).toBe(true);
  return jobs.show(name);
}

function shadowOf({ shadow }: JobView): ShadowView {
  if (shadow === null) throw new Error('the job has no shadow');
  return shadow;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const rowsOf = (name: string): string => readFileSync(join(cluster.dir, name, 'predictions.csv'), 'utf8');
const differencesOf = (name: string): unknown[] =>
  readFileSync(join(cluster.dir, name, '_differences.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);

describe('a shadow that differs', () => {
  it('changes nothing of the output, is fetched nothing for, and has each row that differs told once, in order', async () => {
    await cluster.join('node-1', 2);
    await cluster.join('node-2', 2);
    await deploy('next', { MODE: 'off', OWN: 'report.txt' });
    // Nodes that do not share the folder of the inputs.
    const stage = InputStager.prototype.stage;
    vi.spyOn(InputStager.prototype, 'stage').mockImplementation(function (this: InputStager, request) {
      return stage.call(this, { ...request, inputRoot: join(cluster.dir, 'elsewhere') });
    });
    const fetched = vi.spyOn(NodeDesk.prototype, 'input');
    const alone = await scored('alone');
    expect(alone.shadow).toBe(null);
    expect(fetched).toHaveBeenCalledTimes(60);
    fetched.mockClear();
    const beside = shadowOf(await scored('beside', { shadow: 'next' }));
    expect(fetched).toHaveBeenCalledTimes(60);
    expect(rowsOf('beside')).toBe(rowsOf('alone'));
    expect(beside).toMatchObject({
      ...{ deployment: 'next', revision: 1, tolerance: 0, agreement: 0.9, columns: null, failures: [] },
      rows: { compared: 60, same: 54, different: 6, not_compared: 0 },
      files: { same: 54, different: 6, other_row_counts: 0, failed_only_shadow: 0, taken: 0 },
      mini_batches: { compared: 20, failed: 0, other_columns: 0 },
    });
    expect(beside.seconds.shadow.p95).toBeGreaterThan(0);
    const differences = [0, 10, 20, 30, 40, 50].map((n) => ({
      ...{ file: names[n], row: 0 },
      default: `${names[n] ?? ''},${n / 4},"a, ""b""\nc"`,
      shadow: `${names[n] ?? ''},${n / 4 + 0.5},"a, ""b""\nc"`,
    }));
    expect(differencesOf('beside')).toEqual(differences);
    // What the shadow's script writes is nobody's, and its prints are told apart.
    expect(readdirSync(join(cluster.dir, 'beside'))).not.toContain('report.txt');
    const logs = join(cluster.dir, 'beside', '_logs', 'user');
    const shadowLogs = () => readdirSync(join(logs, 'shadow'), { recursive: true }).map(String);
    await expect.poll(shadowLogs, { timeout: 20_000 }).toContain('node-1/stdout/process000.stdout.txt');
    expect(readFileSync(join(logs, 'shadow/node-1/stdout/process000.stdout.txt'), 'utf8')).toMatch(/^run of off\n/);
    expect(readFileSync(join(logs, 'stdout/node-1/process000.stdout.txt'), 'utf8')).not.toContain('off');
    // Two jobs of their own, laid beside each other, come to the same.
    await scored('other', { deployment_name: 'next' });
    const [a, b] = [join(cluster.dir, 'alone'), join(cluster.dir, 'other')];
    const diff = await compareOutputs({ a, b, tolerance: 0, examplesMax: 10, fileSystem: nodeFileSystem });
    expect([diff.agreement, diff.rows]).toEqual([0.9, { compared: 60, same: 54, different: 6 }]);
    expect(diff.differences).toEqual(
      differences.map(({ file, row, default: own, shadow }) => ({ file, row, a: own, b: shadow })),
    );
    expect((await verifyOutput({ dir: join(cluster.dir, 'beside'), inputPath: null, key: null })).findings).toEqual([]);
  });
});

describe('a shadow', () => {
  beforeEach(() => cluster.join('node-1', 2, { python: testPython() }));

  it('that fails in whatever way is counted with its reasons, and the job has its rows', async () => {
    await scored('alone');
    const include = ['0*.txt'];
    await scored('few', { include });
    const failed: Record<string, { readonly code: string; readonly says: RegExp; readonly few?: boolean }> = {
      raise: { code: 'SCORER_FAILED', says: /cannot \d\d\.txt/ },
      crash: { code: 'SCORER_CRASHED', says: /SIGKILL/ },
      init: { code: 'SCORER_INIT_FAILED', says: /no such weights/ },
      hang: { code: 'SCORER_TIMEOUT', says: /took longer/, few: true },
    };
    for (const [mode, { code, says, few = false }] of Object.entries(failed)) {
      await deploy(mode, { MODE: mode }, { retry_settings: { timeout: 1 } });
      const job = await scored(`by-${mode}`, { shadow: mode, ...(few ? { include } : {}) });
      expect(job).toMatchObject({ status: 'Completed', files: { failed: 0 }, mini_batches: { failed_tries: 0 } });
      expect(rowsOf(`by-${mode}`)).toBe(rowsOf(few ? 'few' : 'alone'));
      const { failures, agreement, rows, mini_batches: batches } = shadowOf(job);
      expect([failures, agreement, rows.compared, batches]).toEqual([
        [{ code, message: expect.stringMatching(says) as string, mini_batches: few ? 4 : 20 }],
        ...[null, 0, { compared: 0, failed: few ? 4 : 20, other_columns: 0 }],
      ]);
      expect(readdirSync(join(cluster.dir, `by-${mode}`))).not.toContain('_differences.jsonl');
    }
    // Its code is lost on the coordinator's disk.
    const lost = join(cluster.dir, 'lost');
    mkdirSync(lost);
    writeFileSync(join(lost, 'rows.mjs'), `${script}// of the lost one`);
    await deploy('lost', {}, {}, lost);
    const digest = createHash('sha256')
      .update(readFileSync(join(lost, 'rows.mjs')))
      .digest('hex');
    const state = join(cluster.dir, 'state');
    const stored = readdirSync(state, { recursive: true })
      .map(String)
      .filter((path) => path.includes(digest));
    expect(stored).toHaveLength(1);
    for (const path of stored) rmSync(join(state, path));
    const job = await scored('by-lost', { shadow: 'lost', include });
    expect(rowsOf('by-lost')).toBe(rowsOf('few'));
    expect(shadowOf(job).failures).toMatchObject([{ code: 'ARTIFACT_NOT_FOUND', mini_batches: 4 }]);
    // Where each mini-batch is a file, the others have their counterparts.
    await deploy('next', { MODE: 'one' });
    const single = await scored('one', { shadow: 'next', overrides: { mini_batch_size: 1 } });
    expect(shadowOf(single)).toMatchObject({ rows: { compared: 59 }, mini_batches: { compared: 59, failed: 1 } });
    // A job that is ended while a shadow hangs leaves no process behind.
    const pids = join(cluster.dir, 'pids');
    await deploy('stuck', { MODE: 'hang', PIDS: pids }, { retry_settings: { timeout: 3_600 } });
    const stuck = { deployment_name: 'own', job_name: 'stuck', input: join(cluster.dir, 'in'), shadow: 'stuck' };
    await call('POST', '/v1/endpoints/digits/jobs', { ...stuck, output_path: join(cluster.dir, 'stuck') });
    await expect.poll(() => existsSync(pids), { timeout: 20_000 }).toBe(true);
    await cluster.coordinator.jobs.cancel('stuck', 0);
    const running = (): boolean => isRunning(Number(readFileSync(pids, 'utf8').split('\n')[0]));
    await expect.poll(running, { timeout: 20_000 }).toBe(false);
    expect(cluster.coordinator.jobs.show('stuck')).toMatchObject({ status: 'Canceled', rows: 0 });
    // A few of them have tried; the others are told that it was given up.
    const runs = (mode: string, stream: string): number => {
      const dir = join(cluster.dir, `by-${mode}`, '_logs', 'user', 'shadow', 'node-1', stream);
      const texts = readdirSync(dir).map((name) => readFileSync(join(dir, name), 'utf8'));
      return texts.join('').split(/^.*(?:run of crash|init\(\) failed)/m).length - 1;
    };
    await expect.poll(() => runs('init', 'error'), { timeout: 20_000 }).toBeGreaterThanOrEqual(3);
    expect(runs('init', 'error')).toBeLessThanOrEqual(4);
    expect(runs('crash', 'stdout')).toBeLessThanOrEqual(11);
  });

  it('is compared whatever the form of the rows, their number and the names of their columns', async () => {
    await deploy('next', { MODE: 'off' });
    await deploy('twice', { MODE: 'twice' });
    await deploy('renamed', { COLUMN: 'points' });
    for (const format of ['jsonl', 'arrow', 'parquet']) {
      await deploy(format, { OWN: 'report.txt' }, { output: { format } });
      const job = await scored(`in-${format}`, { deployment_name: format, shadow: 'next' });
      expect(shadowOf(job)).toMatchObject({ agreement: 0.9, rows: { compared: 60, different: 6 } });
      const differing = differencesOf(`in-${format}`);
      expect(differing).toMatchObject([0, 10, 20, 30, 40, 50].map((n) => ({ file: names[n], row: 0 })));
      expect(differing[1]).toMatchObject({ default: expect.stringContaining('"score":2.5,') as string });
      // Beside what the script of the job itself has written.
      expect(readFileSync(join(cluster.dir, `in-${format}`, 'report.txt'), 'utf8')).toBe('3\n'.repeat(20));
    }
    const close = shadowOf(await scored('close', { shadow: 'next', shadow_tolerance: 0.5 }));
    expect(close).toMatchObject({ agreement: 1, tolerance: 0.5, files: { same: 60 } });
    const twice = shadowOf(await scored('twice-job', { shadow: 'twice' }));
    expect(twice).toMatchObject({ rows: { compared: 57, not_compared: 3 }, files: { same: 57, other_row_counts: 3 } });
    expect(differencesOf('twice-job')).toEqual([
      { file: '06.txt', to: '08.txt', row: null, default: '3 rows', shadow: '4 rows' },
    ]);
    const renamed = shadowOf(await scored('renamed-job', { shadow: 'renamed' }));
    expect(renamed).toMatchObject({
      ...{ agreement: 1, mini_batches: { compared: 20, other_columns: 20 } },
      columns: { default: ['file', 'score', 'text'], shadow: ['file', 'points', 'text'] },
    });
    // What is taken from an earlier output is scored by nobody.
    const again = shadowOf(await scored('again', { shadow: 'next', since: 'close' }));
    expect(again).toMatchObject({ agreement: null, files: { taken: 60 }, rows: { compared: 0, not_compared: 60 } });
    const ofManifest = JSON.parse(readFileSync(join(cluster.dir, 'close', '_manifest.json'), 'utf8')) as JobView;
    expect(ofManifest.shadow).toMatchObject({ deployment: 'next', agreement: 1, scorer: { kind: 'node' } });
  });

  it('of another network agrees on handwritten digits as far as two jobs do', async () => {
    const input = sharedData('mnist', 'inputs');
    const code = join(cluster.dir, 'reader');
    mkdirSync(code);
    writeFileSync(join(code, 'digits.py'), digits);
    const code_configuration = { code, scoring_script: 'digits.py' };
    for (const path of [sharedData('mnist', 'torch', 'mnist.onnx'), sharedData('mnist', 'keras', 'mnist-keras.onnx')]) {
      const name = basename(path, '.onnx');
      const document = { type: 'model', model: { path }, code_configuration, settings: { output: { format: 'csv' } } };
      expect(await call('PUT', `/v1/endpoints/digits/deployments/${name}`, { document })).toMatchObject({ name });
    }
    const beside = shadowOf(await scored('beside', { deployment_name: 'mnist', shadow: 'mnist-keras', input }));
    await scored('other', { deployment_name: 'mnist-keras', input });
    const [a, b] = [join(cluster.dir, 'beside'), join(cluster.dir, 'other')];
    const diff = await compareOutputs({ a, b, tolerance: 0, examplesMax: 200, fileSystem: nodeFileSystem });
    console.log(`digits: two networks say the same of ${beside.rows.same} of ${beside.rows.compared}`);
    expect([beside.rows, beside.agreement]).toMatchObject([{ ...diff.rows, compared: 200 }, diff.agreement]);
    expect(differencesOf('beside')).toEqual(
      diff.differences.map(({ file, row, ...of }) => ({ file, row, default: of.a, shadow: of.b })),
    );
  });

  it('is another deployment, of rows that are written; the command line names and shows it', async () => {
    const refused = async (body: object) =>
      await call('POST', '/v1/endpoints/digits/jobs', { input: cluster.dir, ...body });
    expect(await refused({ deployment_name: 'own', shadow: 'OWN' })).toMatchObject({
      ...{ code: 'REQUEST_INVALID', detail: expect.stringContaining('cannot be its own shadow') as string },
    });
    expect(await refused({ deployment_name: 'own', shadow: 'none' })).toMatchObject({ code: 'RESOURCE_NOT_FOUND' });
    await deploy('silent', {}, { output_action: 'summary_only', output: {} });
    expect(await refused({ deployment_name: 'silent', shadow: 'own' })).toMatchObject({
      ...{ code: 'REQUEST_INVALID', detail: expect.stringContaining('summary_only') as string },
    });
    await deploy('next', { MODE: 'off' });
    const run = async (...args: readonly string[]) => await cli(args, { cwd: cluster.dir });
    const { http } = cluster.coordinator;
    const server = ['--server', `http://${http ? formatAddress(http) : ''}`];
    const given = ['--name', 'digits', '-d', 'own', '--input', 'in', '--job-name', 'said', '--shadow', 'next'];
    const streamed = await run('endpoint', 'invoke', ...given, '--stream', ...server);
    expect([streamed.code, streamed.stderr]).toEqual([0, expect.stringContaining('shadow      next, revision 1\n')]);
    expect(streamed.stdout + streamed.stderr).toContain('next, revision 1: 54 of 60 rows the same, 90.00 %');
    const shown = await run('job', 'show', 'said', '-o', 'table', ...server);
    expect(shown.stdout).toContain('6 rows, in ');
    const bare = await run(
      'endpoint',
      'invoke',
      '--name',
      'digits',
      '--input',
      'in',
      '--shadow-tolerance',
      '1',
      ...server,
    );
    expect([bare.code, bare.stderr]).toEqual([2, expect.stringContaining('name the deployment with --shadow too')]);
  });
});
