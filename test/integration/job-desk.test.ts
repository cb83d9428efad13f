/** What goes wrong with one job or one request is that job's, and never the end of the coordinator. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { systemClock } from '../../common/io/clock.ts';
import { silentLog } from '../../common/io/log.ts';
import { systemRandom } from '../../common/io/random.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import { openCoordinator, type Coordinator } from '../../coordinator/coordinator.ts';
import { failing } from '../helpers/failing.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { until } from '../helpers/programs.ts';

let dir = '';
let coordinator: Coordinator;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-desk-'));
  coordinator = await open();
});
afterEach(async () => {
  await coordinator.close();
  rmSync(dir, { recursive: true, force: true });
});

function open(state = 'state'): Promise<Coordinator> {
  return openCoordinator({
    stateDir: join(dir, state),
    listen: '127.0.0.1:0',
    http: null,
    heartbeatMs: null,
    log: silentLog,
    clock: systemClock,
    random: systemRandom,
  });
}

async function submit(name: string, isOverwrite = false, to = coordinator): Promise<JobView> {
  const inputPath = writeInputs(join(dir, 'in'), smallFiles(3));
  const deployment = await loadDeployment(writeDeployment(dir, 'desk', { script: 'hash-rows.mjs' }));
  return to.jobs.submit({ deployment, inputPath, outputDir: join(dir, name), isOverwrite, name });
}

/** No worker node has joined: the job waits until it is canceled. */
async function submitAndCancel(name: string): Promise<void> {
  await submit(name);
  await until(() => coordinator.jobs.show(name).files.is_listed, 'the end of the listing');
  await coordinator.jobs.cancel(name);
  await until(async () => await isSealed(name), `the end of ${name}`);
}

async function isSealed(name: string): Promise<boolean> {
  try {
    await coordinator.jobs.outputFiles(name);
    return true;
  } catch {
    return false;
  }
}

test('an output folder that is gone has no files, and one that holds more is not looked into', async () => {
  await submitAndCancel('job-a');
  mkdirSync(join(dir, 'job-a', 'mine'));
  writeFileSync(join(dir, 'job-a', 'mine', '_SUCCESS'), '');
  const files = await coordinator.jobs.outputFiles('job-a');
  expect(files.map((file) => file.path)).toEqual([
    '_manifest.json',
    '_manifest/files-00000.jsonl',
    'predictions.csv.partial',
  ]);
  rmSync(join(dir, 'job-a'), { recursive: true });
  expect(await coordinator.jobs.outputFiles('job-a')).toEqual([]);
  expect(coordinator.jobs.show('job-a').status).toBe('Canceled');
});

test('a state directory that takes no job refuses that job alone', async () => {
  await submitAndCancel('job-b');
  rmSync(join(dir, 'state', 'jobs'), { recursive: true });
  writeFileSync(join(dir, 'state', 'jobs'), 'a file where a folder should be');
  await expect(submit('job-c')).rejects.toThrow(failing('STATE_UNWRITABLE', 'the state folder'));
  expect(coordinator.jobs.list().map((job) => job.name)).toEqual(['job-b']);
  rmSync(join(dir, 'state', 'jobs'));
  expect((await submit('job-d')).name).toBe('job-d');
});

test('--overwrite destroys nothing for a job that cannot be made', async () => {
  await submitAndCancel('job-e');
  const inputPath = join(dir, 'in');
  const deployment = await loadDeployment(writeDeployment(dir, 'desk', { script: 'hash-rows.mjs' }));
  const gone = { ...deployment, code: { kind: 'folder', path: join(dir, 'gone') } } as const;
  const request = { deployment: gone, inputPath, outputDir: join(dir, 'job-e'), isOverwrite: true, name: 'job-f' };
  await expect(coordinator.jobs.submit(request)).rejects.toThrow(failing('DEPLOYMENT_NOT_FOUND', 'gone'));
  expect((await coordinator.jobs.outputFiles('job-e')).length).toBe(3);
});

test('a folder that a job of another coordinator writes to is not overwritten, until that job has ended', async () => {
  await submit('job-i');
  const other = await open('state-of-another');
  try {
    const writing = failing('OUTPUT_EXISTS', `is writing to ${join(dir, 'job-i')}; wait for its end`);
    await expect(submit('job-i', true, other)).rejects.toThrow(writing);
    expect(existsSync(join(dir, 'job-i', 'predictions.csv.partial'))).toBe(true);
    // Also after a restart of the first one.
    await coordinator.close();
    coordinator = await open();
    await expect(submit('job-i', true, other)).rejects.toThrow(writing);
    await until(() => coordinator.jobs.show('job-i').files.is_listed, 'the end of the listing');
    await coordinator.jobs.cancel('job-i');
    await until(async () => await isSealed('job-i'), 'the end of job-i');
    expect(readdirSync(join(dir, 'job-i'))).not.toContain('.batchmill-lock');
    expect((await submit('job-i', true, other)).status).not.toBe('Failed');
  } finally {
    await other.close();
  }
});

test('a job whose output folder was removed while the coordinator was away fails, and the next one is taken', async () => {
  await submit('job-g');
  await coordinator.close();
  rmSync(join(dir, 'job-g'), { recursive: true });
  coordinator = await open();
  expect(coordinator.jobs.show('job-g')).toMatchObject({ status: 'Failed', error: { code: 'STATE_UNWRITABLE' } });
  expect((await submit('job-h')).status).not.toBe('Failed');
});
