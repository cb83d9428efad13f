/** Which files a job scores is the job's, for its whole life: also where a coordinator ends while it lists them. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { limits } from '../../common/core/limits.ts';
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
  const selection = { include: ['*.txt'], exclude: ['old/'], recursive: true };
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
