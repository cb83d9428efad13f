/** Which files a job scores is the job's, for its whole life: also where a coordinator ends while it lists them. */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { limits } from '../../common/core/limits.ts';
import { failing } from '../helpers/failing.ts';
import { writeDeployment } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { until } from '../helpers/programs.ts';

let cluster: LocalCluster;
let dir = '';

beforeEach(async () => {
  cluster = await LocalCluster.start();
  dir = cluster.dir;
});
afterEach(() => cluster.close());

const wanted = 4 * limits.manifestChunkFiles;

/** As many files again as are wanted, and folders that are not. */
function writeTree(): string {
  const input = join(dir, 'in');
  for (let index = 0; index < wanted; index += 1) {
    const folder = join(input, `part-${index % 16}`);
    if (index < 16) mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${index}.txt`), '');
    if (index % 2 === 0) writeFileSync(join(folder, `${index}.csv`), '');
  }
  mkdirSync(join(input, 'old', 'deep'), { recursive: true });
  writeFileSync(join(input, 'old', 'deep', 'x.txt'), '');
  return input;
}

const chunksOf = (job: string): number =>
  readdirSync(join(dir, 'state', 'jobs', job, 'inputs')).filter((name) => /^chunk-\d+\.jsonl$/.test(name)).length;

test('a listing that a restart cuts off goes on with the same files, and counts what it passes over', async () => {
  const inputPath = writeTree();
  const deployment = await loadDeployment(writeDeployment(dir, 'chosen', { script: 'hash-rows.mjs' }));
  const selection = { include: ['*.txt'], exclude: ['old/'], recursive: true, list: null };
  const request = { deployment, inputPath, selection, outputDir: join(dir, 'out'), isOverwrite: false };
  const { name } = await cluster.coordinator.jobs.submit({ ...request, name: null });
  await cluster.coordinator.close();
  expect(chunksOf(name)).toBeLessThan(wanted / limits.manifestChunkFiles);
  cluster.coordinator = await cluster.open();
  const { jobs } = cluster.coordinator;
  await until(() => jobs.show(name).files.is_listed, 'the end of the listing');
  const { files } = jobs.show(name);
  expect(files).toMatchObject({
    total: wanted,
    skipped: wanted / 2 + 1,
    skipped_by: { hidden: 0, special: 0, folders: 0, loops: 0, excluded: wanted / 2 + 1 },
  });

  // So it is with what was replayed once more.
  await cluster.coordinator.close();
  cluster.coordinator = await cluster.open();
  expect(cluster.coordinator.jobs.show(name).files).toEqual(files);
});

describe('a list of inputs', () => {
  const names = Array.from({ length: wanted }, (_, index) => `f-${wanted - index}.txt`);

  /** A job whose coordinator ends before the list is read to its end. */
  async function submitAndEnd(): Promise<string> {
    mkdirSync(join(dir, 'in'));
    const list = { path: join(dir, 'list.txt'), column: 'path', identity: null };
    writeFileSync(list.path, names.join('\n'));
    const deployment = await loadDeployment(writeDeployment(dir, 'named', { script: 'hash-rows.mjs' }));
    const selection = { include: [], exclude: [], recursive: true, list };
    const request = { deployment, inputPath: join(dir, 'in'), selection, outputDir: join(dir, 'in', 'out') };
    const { name } = await cluster.coordinator.jobs.submit({ ...request, isOverwrite: false, name: null });
    await cluster.coordinator.close();
    expect(chunksOf(name)).toBeLessThan(wanted / limits.manifestChunkFiles);
    return name;
  }

  test('is read on after a restart, in its order', async () => {
    const name = await submitAndEnd();
    cluster.coordinator = await cluster.open();
    await until(() => cluster.coordinator.jobs.show(name).files.is_listed, 'the end of the listing');
    expect(cluster.coordinator.jobs.show(name).files.total).toBe(wanted);
    const lines = readdirSync(join(dir, 'state', 'jobs', name, 'inputs')).sort();
    const listed = lines.flatMap((chunk) =>
      readFileSync(join(dir, 'state', 'jobs', name, 'inputs', chunk), 'utf8')
        .trimEnd()
        .split('\n')
        .slice(1),
    );
    expect(listed.map((line) => (JSON.parse(line) as [string])[0])).toEqual(names);
  });

  test('that changed meanwhile fails its job', async () => {
    const name = await submitAndEnd();
    appendFileSync(join(dir, 'list.txt'), '\nmore.txt');
    cluster.coordinator = await cluster.open();
    const { jobs } = cluster.coordinator;
    await until(() => jobs.show(name).status === 'Failed', 'the end of the job');
    expect(jobs.show(name).error).toMatchObject({
      code: 'INPUT_CHANGED',
      message: expect.stringContaining('list.txt changed since the job was submitted; run the job again') as string,
    });
  });

  test('that is none, or that names nothing, is refused before there is a job', async () => {
    mkdirSync(join(dir, 'in'));
    const deployment = await loadDeployment(writeDeployment(dir, 'named', { script: 'hash-rows.mjs' }));
    const submit = async (content: string) => {
      const path = join(dir, 'list.csv');
      writeFileSync(path, content);
      const selection = { include: [], exclude: [], recursive: true, list: { path, column: 'path', identity: null } };
      const request = { deployment, inputPath: join(dir, 'in'), selection, outputDir: join(dir, 'out') };
      return await cluster.coordinator.jobs.submit({ ...request, isOverwrite: false, name: null });
    };
    await expect(submit('path\n../x\n')).rejects.toThrow(failing('INPUT_LIST_INVALID', 'line 2: "../x" leaves'));
    await expect(submit('path\n')).rejects.toThrow(failing('INPUT_EMPTY', 'list.csv names no file to score'));
    expect(cluster.coordinator.jobs.list()).toEqual([]);
  });
});
