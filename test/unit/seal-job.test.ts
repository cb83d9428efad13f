/** The lines of a job that was broken off, made from its ledger: they tell of the output as it is. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Token } from '../../common/core/token.ts';
import { InputCatalog } from '../../coordinator/input/input-catalog.ts';
import { sealJob } from '../../coordinator/seal-job.ts';
import { files, Harness, job } from '../helpers/ledger-harness.ts';
import { readOutput } from '../helpers/sealed-output.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';

let dir = '';
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'batchmill-seal-job-'))));
afterEach(async () => await rm(dir, { recursive: true }));

test('a canceled job: files whose result still waits for its turn are unscored, for their rows are not in the output', async () => {
  const table = new Harness()
    .submit()
    .list(...files(6))
    .endList();
  const node = table.node('a', 3);
  const [first, , third] = table.grants() as [Token, Token, Token];
  table.commit(node, third);
  table.commit(node, first);
  table.give({ kind: 'cancel', job, graceMs: 0, wallMs: 5 });
  expect(table.order).toBe('0+2:committed 2+2:leased 4+2:committed');

  const outputDir = join(dir, 'out');
  const stagingDir = join(dir, 'staging');
  for (const path of [outputDir, stagingDir]) await mkdir(path);
  await writeFile(join(outputDir, 'predictions.csv.partial'), 'a\n1\n2\n');
  const catalog = await InputCatalog.open({ jobDir: dir });
  const page = Array.from({ length: 6 }, (_, index) => ({ path: `f${index}`, sizeBytes: 1, identity: '1-1' }));
  await catalog.append(page);
  const sealed = { ...table.job, outputDir };
  await sealJob({
    ledger: table.ledger,
    job: sealed,
    catalog,
    stagingDir,
    release: '1',
    endedWallMs: 5,
    signer: null,
    parts: null,
    fileSystem: nodeFileSystem,
  });

  const { manifest, files: lines } = readOutput(outputDir);
  expect(manifest.verdict).toBe('Canceled');
  expect(lines.map(({ status, rows }) => [status, rows])).toEqual([
    ...[0, 1].map(() => ['scored', 1]),
    ...[2, 3, 4, 5].map(() => ['unscored', null]),
  ]);
  expect(lines.map(({ attempt, node }) => [attempt, node]).slice(3, 5)).toEqual([
    [null, null],
    [null, null],
  ]);
});
