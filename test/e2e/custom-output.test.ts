/** Files that a script writes by itself, on a cluster where a worker node is killed in the middle and attempts raise after writing. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { writeInputs } from '../helpers/job-folder.ts';
import { endPrograms } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'batchmill-custom-e2e-'))));
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

const files = 120;
const poison = 'f050.txt';
/** Goes slowly until `FAST_WHEN` is there, so that the kill comes in the middle. */
const script = `
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
export async function run(files, { outputDir }) {
  const names = files.map((file) => basename(file));
  mkdirSync(join(outputDir, 'each'), { recursive: true });
  for (const name of names) {
    appendFileSync(join(outputDir, 'all.txt'), name + '\\n');
    writeFileSync(join(outputDir, 'each', name), name);
  }
  if (!existsSync(process.env.FAST_WHEN)) await new Promise((resolve) => setTimeout(resolve, 200));
  if (names.includes('${poison}')) throw new Error('poison, after it has written');
  return names;
}
`;

test('a worker node killed and attempts that raise: each file once, appended lines once and in order', async () => {
  mkdirSync(join(dir, 'code'));
  writeFileSync(join(dir, 'code', 'score.mjs'), script);
  const names = Array.from({ length: files }, (_, index) => `f${String(index).padStart(3, '0')}.txt`);
  const input = writeInputs(
    join(dir, 'in'),
    names.map((name) => [name, name] as const),
  );
  const fast = join(dir, 'fast');
  const yaml = ['name: custom', 'code_configuration:', '  code: code', '  scoring_script: score.mjs'];
  const more = [
    'mini_batch_size: 2',
    'output_action: summary_only',
    'environment_variables:',
    `  FAST_WHEN: ${fast}`,
    '',
  ];
  writeFileSync(join(dir, 'custom.yml'), [...yaml, ...more].join('\n'));

  const cluster = await ClusterProcesses.start({ dir, heartbeat: '1s' });
  const killed = await cluster.startWorker('node-a');
  await cluster.startWorker('node-b');
  const out = join(dir, 'out');
  const job = await cluster.submit([join(dir, 'custom.yml'), '--input', input, '--output', out]);
  await cluster.job(job, (view) => view.mini_batches.committed >= 12, 'a dozen mini-batches');
  await killed.kill();
  writeFileSync(fast, '');
  const waited = await cluster.cli(['job', 'wait', job], 120_000);
  expect(waited.code, waited.stderr).toBe(0);

  const wanted = names.filter((name) => name !== poison);
  const copy = join(dir, 'copy');
  const downloaded = await cluster.cli(['job', 'download', job, '--output', copy]);
  expect(downloaded.code, downloaded.stderr).toBe(0);
  expect(readFileSync(join(copy, 'all.txt'), 'utf8')).toBe(wanted.map((name) => `${name}\n`).join(''));
  const { manifest } = readOutput(out);
  expect(manifest.output).toBeNull();
  expect(manifest.custom_files.map(({ path }) => path)).toEqual(['all.txt', ...wanted.map((name) => `each/${name}`)]);
  const nodes = new Set(readOutput(out).files.map(({ node }) => node));
  expect([...nodes].sort()).toEqual(['node-a', 'node-b']);
});
