/** What a node has learnt of calls on its device: it costs no try, and the next process of the node begins with it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

const folder = new TempFolder();
const dir = folder.path;
afterAll(async () => {
  await endPrograms();
  folder.remove();
});

test('a mini-batch that is too much for the device is scored in parts, then and after a restart of the node', async () => {
  const trace = join(dir, 'trace');
  const environment = { TRACE: trace };
  const deployment = writeDeployment(dir, 'little', { script: 'little_memory.py', miniBatchSize: 16, environment });
  const input = writeInputs(join(dir, 'in'), smallFiles(32));
  const cluster = await ClusterProcesses.start({ dir, heartbeat: '1s' });
  const calls = (): readonly number[] => readFileSync(trace, 'utf8').trim().split('\n').map(Number);
  const score = async (output: string): Promise<void> => {
    const job = await cluster.submit([deployment, '--input', input, '--output', join(dir, output)]);
    const done = await cluster.job(job, ({ status }) => status === 'Completed', 'the end of the job');
    expect(done).toMatchObject({ rows: 32, mini_batches: { committed: 2, failed_tries: 0 } });
  };
  const first = await cluster.startWorker('a', { slots: 1, python: testPython() });
  await score('out-1');
  expect(calls()).toEqual([16, 8, ...Array<number>(8).fill(4)]);
  first.signal('SIGTERM');
  expect((await first.endsWithin(30_000)).code).toBe(0);
  const kept = JSON.parse(readFileSync(join(cluster.scratchDir('a'), 'call-sizes.json'), 'utf8')) as unknown;
  expect(kept).toEqual({ version: 1, sizes: { [Object.keys((kept as { sizes: object }).sizes)[0] ?? '']: 4 } });
  await cluster.startWorker('a', { slots: 1, python: testPython() });
  await score('out-2');
  expect(calls().slice(10)).toEqual(Array<number>(8).fill(4));
  const rows = (output: string): string => readFileSync(join(dir, output, 'predictions.csv'), 'utf8');
  expect(rows('out-2')).toBe(rows('out-1'));
});
