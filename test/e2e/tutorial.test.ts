/** The tutorial of batch endpoints as a script of `az` commands, against a coordinator that serves TLS and two worker nodes: what it prints, and how many digits are right. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { compiledFile, packageFile } from '../../common/io/package-files.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { sharedData } from '../helpers/deployment-folder.ts';
import { endPrograms } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';

let dir = '';
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'batchmill-tutorial-'))));
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

const labels = new Map(
  readFileSync(sharedData('mnist', 'labels.csv'), 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(',') as [string, string]),
);

/** How many of the 200 rows that begin with file and digit are right; a file that is missing or there twice fails. */
function rightIn(file: string): number {
  const rows = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' '));
  expect(rows.map(([name = '']) => name)).toEqual([...labels.keys()].toSorted());
  return rows.filter(([name = '', digit]) => labels.get(name) === digit).length;
}

test('verb for verb, with az for batchmill: from 192 to 198 of 200 digits are right', async () => {
  const cluster = await ClusterProcesses.start({ dir, isSecure: true });
  for (const name of ['one', 'two']) await cluster.startWorker(name, { slots: 2, python: testPython() });
  const script = spawn('bash', [packageFile('examples', 'mnist-tutorial', 'tutorial.sh')], {
    cwd: dir,
    env: {
      ...process.env,
      // Where the coordinator has left the context of who started it: address, certificate and token.
      XDG_CONFIG_HOME: join(dir, 'config'),
      BATCHMILL: `${process.execPath} ${compiledFile('cli', 'main.js')}`,
      MODEL_TORCH: sharedData('mnist', 'torch', 'mnist.onnx'),
      MODEL_KERAS: sharedData('mnist', 'keras', 'mnist-keras.onnx'),
      IMAGES: sharedData('mnist', 'inputs'),
      WORK: join(dir, 'work'),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = Promise.all([text(script.stdout), text(script.stderr)]);
  const [code] = (await once(script, 'exit')) as [number | null];
  const [stdout, stderr] = await said;
  expect([code, code === 0 ? '' : `${stdout}\n${stderr}`]).toEqual([0, '']);

  const scores = [
    rightIn(join(dir, 'work', 'first', 'named-outputs', 'score', 'predictions.csv')),
    rightIn(join(dir, 'work', 'second', 'named-outputs', 'score', 'predictions.csv')),
  ];
  console.log(`tutorial: ${scores.join(' and ')} of 200 digits right`);
  expect(scores).toEqual([192, 198]);
  expect(rightIn(join(dir, 'work', 'other', 'digits.csv'))).toBe(192);

  // What scripts read off: states, tables under the keys of the query, names alone on a line.
  const jobs = [...stdout.matchAll(/^(\S+): Completed$/gm)].map(([, name]) => name);
  expect(jobs).toHaveLength(3);
  expect(stdout).toContain(`${jobs[1]}\n${jobs[0]}\n`);
  expect(stdout).toMatch(new RegExp(`^Name +Status\\n${jobs[1]} +Completed\\n${jobs[0]} +Completed$`, 'm'));
  expect(stdout).toMatch(new RegExp(`^Name +Jobstatus\\n${jobs[0]} +Completed$`, 'm'));
  expect(stderr).toContain(`RunId: ${jobs[0]}\n`);
  expect(stderr).toContain('its jobs stay');

  // Nothing is left but the jobs and the models.
  const list = async (...words: readonly string[]): Promise<unknown> => JSON.parse((await cluster.cli(words)).stdout);
  expect(await list('endpoint', 'list')).toEqual([]);
  expect(await list('model', 'list', '--query', 'sort_by(@, &name)[].[name,version]')).toEqual([
    ['digits-keras', '1'],
    ['digits-torch', '1'],
  ]);
  expect(await list('job', 'list', '--query', '[].name')).toEqual([jobs[2], jobs[1], jobs[0]]);
}, 180_000);
