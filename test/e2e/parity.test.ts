/**
 * One machine and a cluster are the same program: whatever the number of nodes, and whether they see the files or have to
 * fetch them, the output is the same to the byte.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import { blindTo, canHide } from '../helpers/blind-node.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-parity-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

/** The Python of the tests has what the example's conda file asks for, so nothing is built. */
const withPackages = ['--environment', testPython()];
const isHidingAllowed = canHide();

async function runHere(deployment: string, input: string, nodes: number): Promise<string> {
  const out = join(dir, `run-${nodes}`);
  const args = [
    'run',
    deployment,
    '--input',
    input,
    '--output',
    out,
    '--nodes',
    String(nodes),
    '--slots',
    '1',
    ...withPackages,
  ];
  const end = await runProgram(args, { cwd: dir });
  expect(end.code, end.stderr).toBe(0);
  return out;
}

describe.skipIf(!isHidingAllowed)(
  'run with one node, run with two, and a cluster in which nodes do not see the files',
  () => {
    test.each(['deployment.yml', 'deployment-typescript.yml', 'deployment-python.yml'])('%s', async (name) => {
      // All that the job is made of lies where a blind node sees nothing.
      const shared = join(dir, 'shared');
      cpSync(packageFile('examples', 'digits'), shared, { recursive: true });
      const [deployment, input] = [join(shared, name), join(shared, 'inputs')];
      const one = readOutput(await runHere(deployment, input, 1));
      expect(one.errors).toEqual([]);
      expect(one.files.length).toBeGreaterThan(100);
      expect(readOutput(await runHere(deployment, input, 2)).sha256).toBe(one.sha256);

      const cluster = await ClusterProcesses.start({ dir });
      const options = { slots: 1 };
      await cluster.startWorker('node-blind', { ...options, prefix: blindTo(shared) });
      const alone = await cluster.submit([
        deployment,
        '--input',
        input,
        '--output',
        join(dir, 'blind'),
        ...withPackages,
      ]);
      await cluster.job(alone, (job) => job.status === 'Completed', 'completed', 120_000);
      const blind = readOutput(join(dir, 'blind'));
      expect(blind.sha256).toBe(one.sha256);
      expect(new Set(blind.files.map((file) => file.node))).toEqual(new Set(['node-blind']));

      await cluster.startWorker('node-seeing', options);
      const both = await cluster.submit([deployment, '--input', input, '--output', join(dir, 'both'), ...withPackages]);
      await cluster.job(both, (job) => job.status === 'Completed', 'completed', 120_000);
      expect(readOutput(join(dir, 'both')).sha256).toBe(one.sha256);
      // The model came by its digest, and is there once for both jobs.
      const models = readdirSync(join(cluster.scratchDir('node-blind'), 'artifacts'), {
        recursive: true,
        encoding: 'utf8',
      });
      expect(models.filter((path) => path.endsWith('digits.onnx'))).toHaveLength(1);
    });

    test('a node that sees the files reads them in place, one that does not fetches them and keeps none', async () => {
      const input = writeInputs(join(dir, 'shared', 'in'), smallFiles(400));
      const trace = join(dir, 'trace.txt');
      const environment = { TRACE: trace, PAUSE_MS: '30' };
      const deployment = writeDeployment(dir, 'hashes', { script: 'hash-rows.mjs', environment });
      const calm = readOutput(await runHere(deployment, input, 1));
      rmSync(trace);

      const cluster = await ClusterProcesses.start({ dir });
      await cluster.startWorker('node-blind', { prefix: blindTo(join(dir, 'shared')) });
      await cluster.startWorker('node-seeing');
      const job = await cluster.submit([deployment, '--input', input, '--output', join(dir, 'out')]);
      await cluster.job(job, (view) => view.status === 'Completed', 'completed');
      const found = readOutput(join(dir, 'out'));
      expect(found.sha256).toBe(calm.sha256);
      expect(new Set(found.files.map((file) => file.node))).toEqual(new Set(['node-blind', 'node-seeing']));

      const lines = readFileSync(trace, 'utf8').trimEnd().split('\n');
      const placesOf = (node: string): string[] =>
        lines
          .map((line) => line.split(' '))
          .flatMap(([, , from = '', cwd = '']) => (cwd.includes(`/${node}/`) ? [from] : []));
      expect(placesOf('node-seeing').every((from) => from.startsWith(`${input}/`))).toBe(true);
      expect(placesOf('node-blind').every((from) => from.startsWith(`${cluster.scratchDir('node-blind')}/`))).toBe(
        true,
      );
      const left = readdirSync(cluster.scratchDir('node-blind'), { recursive: true, encoding: 'utf8' });
      expect(left.filter((path) => path.endsWith('.txt') && path.includes('file-'))).toEqual([]);
    });
  },
);
