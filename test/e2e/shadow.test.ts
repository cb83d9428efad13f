/** A shadow beside a job whose worker node and coordinator are killed: what both say is counted once, whatever was tried again. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { smallFiles, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, until } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

const files = 400;

/** A row for each file, slowly; of every eighth the shadow says something else. */
const script = `
import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
export function run(paths) {
  if (!existsSync(process.env.FAST_WHEN)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60);
  return paths.map((path) => {
    const [, n] = readFileSync(path, 'utf8').split(' ');
    return { file: basename(path), n: Number(n) % 8 === 0 ? Number(n) + Number(process.env.OFF ?? 0) : Number(n) };
  });
}
`;

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-shadow-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

test('a worker node and the coordinator are killed: every row is compared once', async () => {
  const input = writeInputs(join(dir, 'in'), smallFiles(files));
  mkdirSync(join(dir, 'code'));
  writeFileSync(join(dir, 'code', 'slow.mjs'), script);
  const fast = join(dir, 'fast');
  const cluster = await ClusterProcesses.start({ dir, heartbeat: '1s' });
  const call = async (method: string, path: string, body: object): Promise<void> => {
    const sent = { method, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
    const reply = await fetch(`http://${cluster.http}/v1/endpoints/texts${path}`, sent);
    expect([reply.ok, await reply.text()]).toEqual([true, expect.any(String)]);
  };
  await call('PUT', '', {});
  for (const [name, OFF] of Object.entries({ own: '0', next: '1' })) {
    const environment_variables = { FAST_WHEN: fast, OFF };
    const settings = { mini_batch_size: 4, output: { format: 'csv' }, environment_variables };
    const code_configuration = { code: join(dir, 'code'), scoring_script: 'slow.mjs' };
    await call('PUT', `/deployments/${name}`, { document: { name, type: 'model', code_configuration, settings } });
  }
  const killed = await cluster.startWorker('node-a');
  await cluster.startWorker('node-b');
  const places = { input, output_path: join(dir, 'both') };
  await call('POST', '/jobs', { deployment_name: 'own', shadow: 'next', job_name: 'both', ...places });
  const committed = async (count: number): Promise<unknown> =>
    await cluster.job('both', (job) => job.mini_batches.committed >= count, `${count} mini-batches committed`);
  await committed(15);
  await killed.kill();
  await committed(30);
  await cluster.coordinator.kill();
  await cluster.restartCoordinator();
  const going = await cluster.job('both', (job) => job.nodes > 0, 'going on');
  expect(going.shadow?.mini_batches.compared).toBe(going.mini_batches.committed);
  await committed(going.mini_batches.committed + 5);
  writeFileSync(fast, '');
  const done = await cluster.job('both', (job) => job.status === 'Completed', 'completed', 120_000);
  expect(done.shadow).toMatchObject({
    ...{ agreement: 7 / 8, failures: [], mini_batches: { compared: 100, failed: 0 } },
    rows: { compared: files, same: 350, different: 50, not_compared: 0 },
    files: { same: 350, different: 50 },
  });
  // Faults cost attempts; without them this test has tested nothing.
  expect(await until(() => existsSync(join(dir, 'both', '_SUCCESS')), 'the end of sealing')).toBe(true);
  const found = readOutput(join(dir, 'both'));
  expect(new Set(found.files.map(({ node }) => node))).toEqual(new Set(['node-a', 'node-b']));
  const lines = readFileSync(join(dir, 'both', '_differences.jsonl'), 'utf8')
    .trimEnd()
    .split('\n');
  const differing = lines.map((line) => (JSON.parse(line) as { readonly file: string }).file);
  expect(differing).toEqual(found.files.filter((_, ordinal) => ordinal % 8 === 0).map(({ path }) => path));
  const rows = found.files.map(({ path }, ordinal) => `${basename(path)},${ordinal}\n`);
  expect(found.text).toBe(`file,n\n${rows.join('')}`);
});
