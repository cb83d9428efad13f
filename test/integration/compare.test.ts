/** What complete outputs tell of their rows: how two agree, where one comes from; on a real coordinator with a real worker node. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { startApi } from '../../coordinator/api/server.ts';
import { compareOutputs, type Comparison } from '../../coordinator/compare/compare-outputs.ts';
import { whyRow } from '../../coordinator/why/why-row.ts';
import { cli } from '../helpers/cli-host.ts';
import { failing } from '../helpers/failing.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';

/** Two rows for each file; OFF is added to the score of every tenth file, FAIL is a file that cannot be scored. */
const script = `
import { basename } from 'node:path';
export function run(files) {
  return files.flatMap((file) => {
    const n = Number(basename(file, '.txt'));
    console.log('scored ' + basename(file));
    if (basename(file) === process.env.FAIL) throw new Error('not this one');
    const off = n % 10 === 0 ? Number(process.env.OFF ?? 0) : 0;
    const rows = [0, 1].map((k) => ({ file: basename(file), score: n / 3 + off, label: 'a, "b"\\nc' }));
    return basename(file) === process.env.ONE ? rows.slice(1) : rows;
  });
}
`;

let cluster: LocalCluster;
beforeEach(async () => {
  cluster = await LocalCluster.start();
  mkdirSync(join(cluster.dir, 'in'));
  mkdirSync(join(cluster.dir, 'code'));
  writeFileSync(join(cluster.dir, 'code', 'rows.mjs'), script);
  for (let n = 0; n < 100; n += 1) writeFileSync(join(cluster.dir, 'in', `${n}.txt`), 'x');
  await cluster.join('node-1', 2);
});
afterEach(() => cluster.close());

async function score(
  output: string,
  variables: Record<string, string>,
  set: readonly string[] = [],
  over = output,
): Promise<string> {
  const path = join(cluster.dir, `${output}.yml`);
  writeFileSync(path, 'type: model\ncode_configuration: { code: ./code, scoring_script: rows.mjs }\n');
  const sets = Object.entries(variables).map(([key, value]) => `settings.environment_variables.${key}="${value}"`);
  const deployment = await loadDeployment(path, { set: ['settings.output.format=csv', ...set, ...sets] });
  const outputDir = join(cluster.dir, over);
  const isOverwrite = over !== output;
  const request = { deployment, inputPath: join(cluster.dir, 'in'), outputDir, isOverwrite, name: output };
  await cluster.coordinator.jobs.submit(request);
  for await (const event of cluster.coordinator.jobs.events(output, 0, new AbortController().signal)) void event;
  return outputDir;
}

const compare = async (a: string, b: string, tolerance = 0): Promise<Comparison> =>
  await compareOutputs({ a, b, tolerance, examplesMax: 3, fileSystem: nodeFileSystem });

describe('two outputs', () => {
  it('agree wholly, or are counted row by row, whatever the size of mini-batches', async () => {
    const a = await score('a', {}, ['settings.mini_batch_size=7']);
    const b = await score('b', {}, ['settings.mini_batch_size=10']);
    const same = { agreement: 1, files: { same: 100 }, rows: { compared: 200, same: 200 }, differences: [] };
    // Two rows for each of several files: nobody knows whose they are, and both sides have the same order all the same.
    expect(await compare(a, b)).toMatchObject({ ...same, files: { same: 100, grouped: 100 } });
    const single = await score('single', {}, ['settings.mini_batch_size=1']);
    expect(await compare(a, single)).toMatchObject(same);
    const off = await compare(single, await score('c', { OFF: '0.5' }, ['settings.mini_batch_size=1']));
    expect(off).toMatchObject({ agreement: 0.9, files: { same: 90, different: 10 }, rows: { different: 20 } });
    expect(off.differences).toHaveLength(3);
    expect(off.differences[0]).toEqual({
      ...{ file: '0.txt', row: 0, a: '0.txt,0,"a, ""b""\nc"', b: '0.txt,0.5,"a, ""b""\nc"' },
    });
    expect((await compare(single, join(cluster.dir, 'c'), 0.5)).agreement).toBe(1);
    expect((await compare(single, join(cluster.dir, 'c'), 0.02)).agreement).toBe(0.92);
    const other = await score('d', { FAIL: '5.txt', ONE: '6.txt' }, ['settings.mini_batch_size=1']);
    const mixed = await compare(single, other);
    expect(mixed.files).toMatchObject({ failed_only_b: 1, other_row_counts: 1 });
    expect(mixed.rows.compared).toBe(196);
    expect(mixed.b).toMatchObject({ job: 'd', failed_files: 1, rows: 197 });
  });

  it('in other forms are compared by what they say, Arrow too', async () => {
    const csv = await score('a', {});
    const json = await score('b', { OFF: '1' }, ['settings.output.format=jsonl']);
    const arrow = await score('c', { OFF: '1' }, ['settings.output.format=arrow']);
    expect((await compare(json, arrow)).agreement).toBe(1);
    expect((await compare(csv, arrow)).agreement).toBe(0.9);
  });

  it('that are of other inputs, in parts, or damaged are refused', async () => {
    const a = await score('a', {});
    const parts = await score('b', {}, ['settings.output.format=parquet']);
    await expect(compare(a, parts)).rejects.toThrow(failing('COMPARE_UNUSABLE', 'its rows are in parts'));
    await expect(compare(a, cluster.dir)).rejects.toThrow(failing('COMPARE_UNUSABLE', 'has no _manifest.json'));
    const rows = readFileSync(join(a, 'predictions.csv'));
    rows[rows.length - 5] = 0x78;
    writeFileSync(join(a, 'predictions.csv'), rows);
    await expect(compare(a, a)).rejects.toThrow(failing('COMPARE_UNUSABLE', 'is not what was sealed'));
  });
});

describe('a row', () => {
  it('leads back to its file, its attempt and what was printed, or says how far it can', async () => {
    const dir = await score('a', {}, ['settings.mini_batch_size=1']);
    const names = Array.from({ length: 100 }, (_, n) => `${n}.txt`).sort();
    await vi.waitFor(async () => expect((await whyRow(dir, 199)).run).not.toBe(null), { timeout: 20_000 });
    for (const row of [0, 1, 2, 57, 198, 199]) {
      const found = await whyRow(dir, row);
      const at = Math.floor(row / 2);
      const file = names[at] ?? '';
      expect(found).toMatchObject({ job: 'a', row, files: [file], node: 'node-1', mini_batch: [at, 1] });
      expect(found.text?.startsWith(`${file},`)).toBe(true);
      expect(found.run).toMatchObject({ status: 'RUN_DONE', stdout: `scored ${file}\n` });
    }
    const together = await score('b', {}, ['settings.mini_batch_size=7']);
    // What a node notes of its attempts may come a moment after the job has ended.
    const known = await vi.waitFor(() => whyRow(together, 20), { timeout: 20_000, interval: 100 });
    expect(known).toMatchObject({ grain: 'mini_batch', row_in_file: null, mini_batch: [7, 7] });
    expect(known.files).toEqual(names.slice(7, 14));
    const parts = await score('c', {}, ['settings.output.format=parquet']);
    const part = await vi.waitFor(() => whyRow(parts, 5), { timeout: 20_000, interval: 100 });
    expect(part).toMatchObject({ text: null, grain: 'mini_batch' });
    await expect(whyRow(dir, 200)).rejects.toThrow(failing('INPUT_NOT_FOUND', 'it has 200, from 0 to 199'));
    rmSync(join(together, '_logs'), { recursive: true });
    await expect(whyRow(together, 20)).rejects.toThrow(failing('COMPARE_UNUSABLE', 'the logs that say how many'));
  });
});

describe('the API', () => {
  it('says that rows are gone where a later job has the folder, and does not give that job’s', async () => {
    await score('a', {});
    await score('b', { OFF: '1' }, [], 'a');
    const { jobs: backend } = cluster.coordinator;
    const api = await startApi({ backend, host: '127.0.0.1', port: 0, onDefect: () => undefined });
    try {
      const ask = async (path: string) => {
        const reply = await fetch(`http://127.0.0.1:${api.address.port}/v1/jobs/${path}`);
        const { code, agreement, job } = (await reply.json()) as Record<string, unknown>;
        return [reply.status, code ?? agreement ?? job];
      };
      const gone = [409, 'OUTPUT_EXISTS'];
      expect([await ask('a/compare/b'), await ask('b/compare/a'), await ask('a/why?row=0')]).toEqual([
        gone,
        gone,
        gone,
      ]);
      expect(await ask('b/compare/b')).toEqual([200, 1]);
      // What the node notes of its attempts may come a moment after the job has ended.
      await vi.waitFor(async () => expect(await ask('b/why?row=0')).toEqual([200, 'b']), { timeout: 20_000 });
    } finally {
      await api.close();
    }
  });
});

describe('the command line', () => {
  it('answers diff by how far rows agree, and why by where one comes from', async () => {
    await score('a', {}, ['settings.mini_batch_size=1']);
    await score('b', { OFF: '1' }, ['settings.mini_batch_size=1']);
    const run = async (...args: readonly string[]) => await cli(args, { cwd: cluster.dir });
    const found = await run('job', 'diff', 'a', 'b', '-o', 'json', '--examples', '1', '--min-agreement', '0.9');
    expect([found.code, JSON.parse(found.stdout)]).toMatchObject([0, { agreement: 0.9, differences: [{ row: 0 }] }]);
    const less = await run('job', 'diff', 'a', 'b', '--min-agreement', '0.95');
    expect(less.code).toBe(1);
    expect(less.stderr).toContain('the rows agree to 90.00 %, less than 95.00 %');
    expect((await run('job', 'diff', 'a', 'b', '--tolerance', 'much')).code).toBe(2);
    const why = await run('why', 'a/predictions.csv:0', '--query', 'files[0]', '-o', 'tsv');
    expect(why).toMatchObject({ code: 0, stdout: '0.txt\n' });
    expect((await run('why', 'a')).stderr).toContain('wanted OUTPUT:ROW');
  });
});
