/** Bad input through the real program: each is refused, or put aside, by its code, and what is good is scored. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nodeName, incarnation } from '../../common/core/ids.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { connectCluster } from '../../common/rpc/cluster-client.ts';
import { fromGrpcError } from '../../common/rpc/grpc-error.ts';
import { writeJoinRequest } from '../../common/rpc/translate-node-message.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram, type ProgramEnd } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';
import { readOutput } from '../helpers/sealed-output.ts';

const digitsModel = packageFile('examples', 'digits', 'model', 'digits.onnx');
const digitImage = packageFile('examples', 'digits', 'inputs', 'depot-a');

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-bad-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

/** `run` of `deployment` (a path relative to the test's folder) over `in` to `out`. */
async function run(deployment: string, more: readonly string[] = []): Promise<ProgramEnd> {
  const args = ['run', deployment, '--input', 'in', '--output', 'out', '--slots', '1', '--python', testPython()];
  return await runProgram([...args, ...more], { cwd: dir });
}

function write(path: string, content: string | Buffer): string {
  writeInputs(dir, [[path, content]]);
  return join(dir, path);
}

function sharedFile(...parts: readonly string[]): string {
  const path = packageFile('..', 'shared', 'data', ...parts);
  if (!existsSync(path))
    throw new Error(`${path} does not exist: this test scores real data that lies beside the checkout`);
  return path;
}

const goodScript = 'export const run = (files) => files.map((file) => file.length);\n';

describe('refused before anything is scored', () => {
  const expectRefusal = (end: ProgramEnd, code: string, exit: number, words: RegExp): void => {
    expect(end.stderr).toContain(`error ${code}: `);
    expect(end.stderr).toMatch(words);
    expect([end.code, end.stdout]).toEqual([exit, '']);
    expect(existsSync(join(dir, 'out', '_SUCCESS'))).toBe(false);
  };

  test('an input folder that does not exist', async () => {
    write('score.mjs', goodScript);
    mkdirSync(join(dir, 'im'));
    expectRefusal(await run('score.mjs'), 'INPUT_NOT_FOUND', 3, /did you mean "im"/);
    expect(existsSync(join(dir, 'out'))).toBe(false);
  });

  test('an empty input folder, and one with hidden files only', async () => {
    write('score.mjs', goodScript);
    mkdirSync(join(dir, 'in'));
    expectRefusal(await run('score.mjs'), 'INPUT_EMPTY', 2, /holds no file to score/);
    write('in/.hidden', '');
    expectRefusal(await run('score.mjs'), 'INPUT_EMPTY', 2, /1 name was passed over: 1 hidden/);
  });

  test('a folder of which the patterns leave nothing, and patterns that are none', async () => {
    write('score.mjs', goodScript);
    for (const name of ['in/a.txt', 'in/b.txt', 'in/.c', 'in/old/d.jpg']) write(name, '');
    const nothing = await run('score.mjs', ['--include', '*.jpg', '--exclude', 'old/']);
    expectRefusal(
      nothing,
      'INPUT_EMPTY',
      2,
      /4 names were passed over: 1 hidden, 3 excluded \(--include '\*\.jpg' --exclude 'old\/'\)/,
    );
    expectRefusal(await run('score.mjs', ['--include', '[a']), 'USAGE', 2, /--include: "\[a" has "\[" without its end/);
    write('deployment.yml', 'code_configuration: {code: ., scoring_script: score.mjs}\ninput:\n  exclude: [/abs]\n');
    const inFile = await run('deployment.yml');
    expectRefusal(
      inFile,
      'CONFIG_INVALID',
      2,
      /deployment\.yml:3:\d+: input\.exclude: wanted .* \("\/abs" begins with/,
    );
  });

  test('an output folder that holds results; --overwrite replaces them', async () => {
    write('score.mjs', goodScript);
    write('in/a.txt', 'a');
    expect((await run('score.mjs')).code).toBe(0);
    const first = readOutput(join(dir, 'out'));
    write('in/b.txt', 'b');
    const again = await run('score.mjs');
    expect([again.code, again.stdout]).toEqual([2, '']);
    expect(again.stderr).toContain('error OUTPUT_EXISTS: ');
    expect(readOutput(join(dir, 'out')).sha256).toBe(first.sha256);
    expect((await run('score.mjs', ['--overwrite'])).code).toBe(0);
    expect(readOutput(join(dir, 'out')).files).toHaveLength(2);
  });

  test('a key that nobody knows, with its place and what was meant', async () => {
    write('in/a.txt', 'a');
    write('score.mjs', goodScript);
    write('d.yml', 'code_configuration:\n  code: .\n  scoring_script: score.mjs\nmini_batch_sice: 3\n');
    expectRefusal(await run('d.yml'), 'CONFIG_UNKNOWN_KEY', 2, /d\.yml:4:1.*did you mean mini_batch_size\?/s);
  });

  test('a syntax error in Python, with its place and its line', async () => {
    write('in/a.txt', 'a');
    write('score.py', 'def init():\n    pass\n\ndef run(mini_batch:\n    return []\n');
    expectRefusal(await run('score.py'), 'SCRIPT_INVALID', 1, /score\.py:4.*def run\(mini_batch:/s);
    expect(existsSync(join(dir, 'out'))).toBe(false);
  });

  test('a deployment, a model or a script that does not exist', async () => {
    write('in/a.txt', 'a');
    expectRefusal(await run('nothing.yml'), 'DEPLOYMENT_NOT_FOUND', 3, /nothing\.yml/);
    expectRefusal(await run('nothing.onnx'), 'DEPLOYMENT_NOT_FOUND', 3, /nothing\.onnx/);
    write('d.yml', 'model:\n  path: nothing.onnx\n');
    expectRefusal(await run('d.yml'), 'DEPLOYMENT_NOT_FOUND', 3, /d\.yml:2:\d+/);
  });
});

describe('a scorer that cannot score fails the job at once', () => {
  const syntaxTypescript = 'export function run(files: string[]) {\n  return files.map((file => 1);\n}\n';
  test.each([
    ['a model that is not ONNX', 'model.onnx', 'this is no model', 'MODEL_INVALID', /model/],
    ['an empty model file', 'model.onnx', '', 'MODEL_INVALID', /model/],
    ['Python without run()', 'score.py', 'def init():\n    pass\n', 'SCRIPT_INVALID', /run/],
    ['an import that fails in Python', 'score.py', 'import no_such_module\n', 'SCRIPT_INVALID', /no_such_module/],
    ['a syntax error in TypeScript', 'score.ts', syntaxTypescript, 'SCRIPT_INVALID', /score\.ts:2:\d+/],
    ['TypeScript without run()', 'score.ts', 'export const init = (): void => {};\n', 'SCRIPT_INVALID', /run\(/],
  ])('%s', async (_what, name, content, code, words) => {
    for (let file = 0; file < 40; file += 1) write(`in/${file}.txt`, 'a');
    write(`scorer/${name}`, content);
    const { stderr, stdout, code: exit } = await run(`scorer/${name}`, ['--mini-batch-size', '5']);
    expect(exit, stderr).toBe(1);
    expect(stderr).toContain(`error ${code}: `);
    expect(stderr).toMatch(words);
    expect(JSON.parse(stdout)).toMatchObject({ status: 'Failed', rows: 0, error: { code } });
    const { files, isComplete } = readOutput(join(dir, 'out'));
    expect(isComplete).toBe(false);
    expect(files.map((file) => file.status)).toEqual(new Array(40).fill('unscored'));
  });

  test('init() that raises is tried three times on one slot', async () => {
    write('in/a.txt', 'a');
    write(
      'scorer/score.py',
      'def init():\n    raise RuntimeError("no licence")\n\ndef run(files):\n    return files\n',
    );
    const { stderr, code } = await run('scorer/score.py');
    expect(code).toBe(1);
    expect(stderr).toContain('error SCORER_INIT_FAILED: ');
    expect(stderr).toContain('no licence');
    expect(stderr.match(/the scorer did not start/g)).toHaveLength(3);
  });
});

describe('files that cannot be scored are put aside, their neighbours are scored', () => {
  const names = (count: number): readonly string[] => Array.from({ length: count }, (_, index) => `f${index}.txt`);

  test('an image that is none', async () => {
    const images = readdirSync(digitImage)
      .filter((name) => name.endsWith('.png'))
      .slice(0, 9);
    expect(images).toHaveLength(9);
    mkdirSync(join(dir, 'in'));
    for (const name of images) copyFileSync(join(digitImage, name), join(dir, 'in', name));
    write('in/zz-broken.png', 'this is no image');
    write('in/zz-cut.png', Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex'));
    const end = await run(digitsModel, ['--mini-batch-size', '11']);
    expect(end.code, end.stderr).toBe(0);
    const { files, errors, text, isComplete } = readOutput(join(dir, 'out'));
    expect(isComplete).toBe(true);
    expect(errors.map(({ path, code }) => [path, code])).toEqual([
      ['zz-broken.png', 'INPUT_DECODE_FAILED'],
      ['zz-cut.png', 'INPUT_DECODE_FAILED'],
    ]);
    // One process opened them all and lives on.
    for (const line of errors) {
      expect(line.run_seconds).toBeGreaterThan(0);
      expect(line.peak_memory_bytes).toBeGreaterThan(10_000_000);
      expect(line.host_exit).toBe(null);
    }
    expect(files.map((file) => file.status)).toEqual([...new Array(9).fill('scored'), 'failed', 'failed']);
    expect(text.trimEnd().split('\n')).toHaveLength(1 + 9);
    expect(JSON.parse(end.stdout)).toMatchObject({ status: 'Completed', files: { total: 11, scored: 9, failed: 2 } });
    expect(end.stderr).toContain('2 failed, see _errors.jsonl');
  });

  test('a CSV without columns that the model needs', async () => {
    const model = sharedFile('heart', 'heart.onnx');
    const csv = readFileSync(sharedFile('heart', 'labelled', 'heart.csv'), 'utf8').split('\n');
    const head = csv.slice(0, 6);
    write('in/good.csv', `${head.join('\n')}\n`);
    write('in/narrow.csv', `${head.map((line) => line.split(',').slice(0, 4).join(',')).join('\n')}\n`);
    write('in/same.csv', `${head.join('\n')}\n`);
    const end = await run(model, ['--mini-batch-size', '3']);
    expect(end.code, end.stderr).toBe(0);
    const { errors, text } = readOutput(join(dir, 'out'));
    expect(errors.map(({ path, code }) => [path, code])).toEqual([['narrow.csv', 'INPUT_COLUMNS_MISSING']]);
    const missing = (head[0] ?? '')
      .trim()
      .split(',')
      .slice(4)
      .filter((name) => name !== 'target');
    for (const name of missing) expect(errors[0]?.message).toContain(name);
    expect(text.trimEnd().split('\n')).toHaveLength(1 + 2 * 5);
  });

  test('a link to nowhere, and a file that may not be read', async () => {
    for (const name of names(8)) write(`in/${name}`, 'a');
    symlinkSync(join(dir, 'gone'), join(dir, 'in', 'link.txt'));
    chmodSync(write('in/secret.txt', 'a'), 0);
    chmodSync(dir, 0o777);
    const deployment = writeDeployment(dir, 'hashes', { script: 'hash-rows.mjs' });
    // Root may read everything.
    const prefix = process.getuid?.() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [];
    const args = ['run', deployment, '--input', 'in', '--output', 'out', '--slots', '1'];
    const end = await runProgram(args, { cwd: dir, prefix });
    expect(end.code, end.stderr).toBe(0);
    const { errors, text } = readOutput(join(dir, 'out'));
    expect(errors.map(({ path, code }) => [path, code])).toEqual([
      ['link.txt', 'INPUT_UNREADABLE'],
      ['secret.txt', 'INPUT_UNREADABLE'],
    ]);
    expect(text.trimEnd().split('\n')).toHaveLength(8);
  });

  test('more failures than error_threshold allows', async () => {
    for (const name of names(20)) write(`in/${name}`, Number(name.slice(1, -4)) % 4 === 0 ? 'raise' : 'fine');
    const deployment = writeDeployment(dir, 'trouble', {
      script: 'trouble.py',
      environment: { TRACE: join(dir, 'trace.txt') },
      more: ['error_threshold: 2', 'retry_settings:', '  max_retries: 1'],
    });
    const end = await run(deployment);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('error ERROR_THRESHOLD_EXCEEDED: 3 files have failed, error_threshold allows 2');
    expect(end.stderr).toContain('SCORER_FAILED');
    expect(readOutput(join(dir, 'out')).isComplete).toBe(false);
  });

  test('nothing but failures is no success', async () => {
    for (const name of names(4)) write(`in/${name}`, 'raise');
    const environment = { TRACE: join(dir, 'trace.txt') };
    const end = await run(writeDeployment(dir, 'trouble', { script: 'trouble.py', environment }));
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('error NO_RESULTS: ');
    const { errors } = readOutput(join(dir, 'out'));
    expect(new Set(errors.map((line) => line.code))).toEqual(new Set(['SCORER_FAILED']));
    // Tries in company count; whoever has used them up in company is tried once alone all the same.
    expect(errors.map((line) => line.tries)).toEqual([3, 3, 4, 4]);
  });
});

describe('strangers', () => {
  test('an address where nobody listens', async () => {
    const nowhere = '127.0.0.1:9';
    const listed = await runProgram(['job', 'list', '--server', nowhere], { cwd: dir });
    expect([listed.code, listed.stdout]).toEqual([5, '']);
    expect(listed.stderr).toContain('error COORDINATOR_UNREACHABLE: ');
    for (const how of [['--insecure'], ['--ca-fingerprint', `sha256:${'0'.repeat(64)}`]]) {
      const args = ['worker', 'join', nowhere, '--token', 'x', '--scratch-dir', 's', ...how];
      const joined = await runProgram(args, { cwd: dir });
      expect(joined.code).toBe(5);
      expect(joined.stderr).toContain('error COORDINATOR_UNREACHABLE: ');
      expect(joined.stderr).toContain(nowhere);
    }
  });

  test('a wrong join token, no join token, a name that is taken, another protocol', async () => {
    const cluster = await ClusterProcesses.start({ dir });
    const wrong = await cluster.worker('node-a', { token: 'wrong' }).endsWithin(20_000);
    expect([wrong.code, wrong.stdout]).toEqual([6, '']);
    expect(wrong.stderr).toContain('error TOKEN_INVALID: ');
    expect(wrong.stderr).not.toContain(cluster.token);
    const none = await cluster.worker('node-a', { token: '' }).endsWithin(20_000);
    expect([none.code, none.stderr]).toEqual([6, expect.stringContaining('no join token was given')]);
    await cluster.startWorker('node-a');
    const taken = await cluster.worker('node-a').endsWithin(30_000);
    expect([taken.code, taken.stderr]).toEqual([6, expect.stringContaining('error NAME_TAKEN: ')]);
    expect((await cluster.client.nodes()).map((node) => [node.name, node.state])).toEqual([['node-a', 'ready']]);
    const refusal = await joinWithProtocol(cluster, 99);
    expect(refusal).toMatchObject({ code: 'PROTOCOL_MISMATCH' });
    expect(refusal.message).toContain('speaks protocol 99');
    expect((await cluster.client.nodes()).map((node) => node.name)).toEqual(['node-a']);
  });
});

/** What the coordinator answers to a node of another time. */
async function joinWithProtocol(cluster: ClusterProcesses, protocol: number): Promise<Error> {
  const client = connectCluster(cluster.listen);
  const request = writeJoinRequest({
    ...{ protocol, release: '99.0.0', joinToken: cluster.token, name: nodeName('stranger') },
    ...{ incarnation: incarnation('1'), slots: 1, hostname: 'elsewhere', pid: 1, labels: {}, answersDiagnose: true },
  });
  try {
    return await new Promise((resolve, reject) => {
      client.join(request, (error) => {
        if (error) resolve(fromGrpcError(error, cluster.listen));
        else reject(new Error(`protocol ${protocol} was taken`));
      });
    });
  } finally {
    client.close();
  }
}
