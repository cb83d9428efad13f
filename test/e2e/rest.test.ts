/** The HTTP API from outside: the walk with curl, and a client that a public generator makes of the OpenAPI document. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms } from '../helpers/programs.ts';

let dir = '';
let cluster: ClusterProcesses;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-rest-'));
  cluster = await ClusterProcesses.start({ dir });
  await cluster.startWorker('node-a');
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

interface End {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(command: string, args: readonly string[], environment: Record<string, string> = {}): Promise<End> {
  const child = spawn(command, args, { cwd: dir, env: { ...process.env, ...environment }, timeout: 180_000 });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data) => (stdout += String(data)));
  child.stderr.on('data', (data) => (stderr += String(data)));
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

test('examples/rest/walk.sh goes the whole way in both shapes, and fails where a status is another one', async () => {
  const script = packageFile('examples', 'rest', 'walk.sh');
  const url = `http://${cluster.http}`;
  const { code, stdout, stderr } = await run('bash', [script], { BATCHMILL_URL: url });
  expect([code, stderr]).toEqual([0, '']);
  const lines = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('=='));
  const job = lines[1]?.replace('job ', '');
  expect(job).toMatch(/^walk-digits-/);
  expect(lines).toEqual([
    ...[`scoring_uri ${url}/azure/endpoints/walk-digits/jobs`, `job ${job}`, 'status Completed', job],
    ...['rows 500', 'begin file,labe', 'JOB_NOT_FOUND', 'REQUEST_INVALID', 'status Completed', 'jobs 2'],
    ...[expect.stringContaining('Deployment name other not found for this endpoint'), 'RESOURCE_NOT_FOUND'],
  ]);
  const missing = await run('bash', [script], { BATCHMILL_URL: `${url}/nowhere` });
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('answered 404, not 201')]);
});

const generator = packageFile('.venv-clients', 'bin', 'python');
test.skipIf(!existsSync(generator))('a client that openapi-python-client makes does the same', async () => {
  const document = await (await fetch(`http://${cluster.http}/openapi.json`)).text();
  writeFileSync(join(dir, 'openapi.json'), document);
  const args = ['--path', join(dir, 'openapi.json'), '--output-path', join(dir, 'batchmill_client')];
  const venv = packageFile('.venv-clients', 'bin');
  const made = await run(
    generator,
    ['-m', 'openapi_python_client', 'generate', ...args, '--meta', 'none', '--fail-on-warning'],
    {
      PATH: `${venv}:${process.env['PATH'] ?? ''}`,
    },
  );
  expect([made.code, made.stdout, made.stderr]).toEqual([0, expect.stringContaining('Generating'), '']);
  const deployment = writeDeployment(dir, 'only', { script: 'hash-rows.mjs' });
  const input = writeInputs(join(dir, 'in'), [
    ['a.txt', 'a'],
    ['b/c.txt', 'c'],
  ]);
  const driver = packageFile('test', 'helpers', 'drive_client.py');
  const driven = await run(generator, [driver, dir, `http://${cluster.http}`, deployment, input]);
  expect([driven.code, driven.stderr]).toEqual([0, '']);
  const got = JSON.parse(driven.stdout) as { job: string; rows: string };
  expect(got).toMatchObject({
    ...{ listed: [got.job], next: null, display: 'from Python', hidden: 0, nested: true },
    problem: [true, 'JOB_NOT_FOUND', 404],
  });
  expect(got.rows.match(/[abc]\.txt/g)).toEqual(['a.txt', 'c.txt']);
});
