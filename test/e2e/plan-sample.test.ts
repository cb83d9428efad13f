/** `plan --sample`: a few files really scored, through the real program, and what they say of all held against the truth. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { PlanReport } from '../../coordinator/plan-input.ts';
import { startWebServer } from '../helpers/store-servers.ts';
import { endPrograms, runProgram, type ProgramEnd } from '../helpers/programs.ts';

/** A millisecond for each 1,000 bytes of a file; a row for each 10,000; those that end in .bad fail. */
const script = `import { statSync } from 'node:fs';
export const init = () => new Promise((resolve) => setTimeout(resolve, 200));
export async function run(files, { names }) {
  const rows = [];
  for (const [i, path] of files.entries()) {
    const { size } = statSync(path);
    await new Promise((resolve) => setTimeout(resolve, size / 1000));
    if (path.endsWith('.bad')) throw new Error('a file that nobody can read: ' + names[i]);
    for (let row = 0; row < Math.ceil(size / 10_000); row += 1) rows.push({ name: names[i], row, half: row / 2 });
  }
  return rows;
}
`;

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-plan-'));
  for (const name of ['code', 'tmp', 'in/sub']) mkdirSync(join(dir, name), { recursive: true });
  writeFileSync(join(dir, 'code', 'score.mjs'), script);
  writeFileSync(
    join(dir, 'deployment.yml'),
    'name: slow\ncode_configuration: {code: code, scoring_script: score.mjs}\noutput: {format: csv}\n',
  );
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

/** Sizes from 10 KB to 200 KB, some in a folder. Gives the seconds of all that do not fail. */
function writeFiles(good: number, bad: number): number {
  let bytes = 0;
  for (let i = 0; i < good; i += 1) {
    const size = 10_000 + ((i * 7_919) % 190) * 1_000;
    writeFileSync(join(dir, 'in', i % 5 === 0 ? 'sub' : '', `#${i} "ü".dat`), Buffer.alloc(size));
    bytes += size;
  }
  for (let i = 0; i < bad; i += 1) writeFileSync(join(dir, 'in', `${i}.bad`), Buffer.alloc(20_000));
  return (bytes + bad * 20_000) / 1e6;
}

function program(...args: readonly string[]): Promise<ProgramEnd> {
  return runProgram([...args, '--input', 'in', '--slots', '2'], {
    cwd: dir,
    environment: { TMPDIR: join(dir, 'tmp') },
  });
}

const sampleOf = ({ stdout }: ProgramEnd): NonNullable<PlanReport['sample']> => {
  const { sample } = JSON.parse(stdout) as PlanReport;
  if (sample === undefined) throw new Error(`no sample in ${stdout}`);
  return sample;
};

test('says what all would take, and which files fail, and leaves nothing', async () => {
  const truth = writeFiles(200, 20);
  const end = await program('plan', 'deployment.yml', '--sample', '24', '-o', 'json');
  expect(end.code, end.stderr).toBe(0);
  const sample = sampleOf(end);
  expect(JSON.parse(end.stdout)).toMatchObject({ files: 220, plans: [{ mini_batch_size: '10' }, {}, {}] });
  expect(sample.files).toBe(24);
  // A sleep is never shorter than it was told; on a busy machine it is longer.
  const { estimate, low, high } = sample.run_seconds;
  expect(estimate / truth).toBeGreaterThan(0.85);
  expect(estimate / truth).toBeLessThan(2);
  expect([low !== null && low < estimate, high !== null && high > estimate]).toEqual([true, true]);
  expect(sample.seconds_per_mb).toBeGreaterThan(0.7);
  expect(sample.init_seconds).toBeGreaterThan(0.19);
  expect(sample.job_seconds.estimate).toBeGreaterThan(estimate / 2);
  expect(sample.job_seconds.estimate).toBeLessThan(estimate);
  expect(sample.peak_memory_bytes).toBeGreaterThan(20 * 2 ** 20);
  expect(sample.columns.map(({ name }) => name)).toEqual(['name', 'row', 'half']);
  const rows = truth * 100 - 40;
  expect(sample.output_rows.estimate / rows).toBeGreaterThan(0.8);
  expect(sample.output_rows.estimate / rows).toBeLessThan(1.25);
  expect(sample.suggested.slots).toBeGreaterThanOrEqual(1);
  expect(sample.suggested.mini_batch_size).toMatch(/^\d+$/);
  expect(sample.failed.length).toBeGreaterThan(0);
  expect(
    sample.failed.every(
      ({ path, code, message }) =>
        path.endsWith('.bad') && `${code}: ${message}`.includes('SCORER_FAILED: Error: a file that nobody can read'),
    ),
  ).toBe(true);
  expect(sample.failing_files).toBe(20);
  expect(readdirSync(dir).sort()).toEqual(['code', 'deployment.yml', 'in', 'tmp']);
  expect(readdirSync(join(dir, 'tmp')).filter((name) => name.startsWith('batchmill-'))).toEqual([]);
});

test('is read at a glance, and is the same of a dry run', async () => {
  writeFiles(12, 1);
  const end = await program('run', 'deployment.yml', '--output', 'out', '--dry-run', '--sample', '100', '-o', 'table');
  expect(end.code, end.stderr).toBe(0);
  expect(end.stdout).toMatch(/^sample {5}13 of 13 files \(.+\), really scored$/m);
  expect(end.stdout).toMatch(/^whole job {2}[\d.]+ s on 2 slots$/m);
  expect(end.stdout).toMatch(/^columns {4}name, row, half$/m);
  expect(end.stdout).toMatch(/^failing {4}1 of 13 files failed, which would be about 1 of 13 \(7\.7 %\)$/m);
  expect(end.stdout).toMatch(/^0\.bad {8}SCORER_FAILED {2}Error: a file that nobody can read: 0\.bad$/m);
  expect(end.stderr).toContain('sample      13 of 13 files, scored here on 2 of 2 slots\n');
  expect(existsSync(join(dir, 'out'))).toBe(false);
  const alone = await program('run', 'deployment.yml', '--output', 'out', '--sample', '3');
  expect([alone.code, alone.stderr]).toEqual([2, expect.stringContaining('error USAGE: --sample goes with --dry-run')]);
});

test('is taken of a web server too, by a list of its own', async () => {
  writeFiles(30, 0);
  const server = await startWebServer(dir);
  try {
    const args = ['plan', 'deployment.yml', '--sample', '8', '-o', 'json', '--slots', '2'];
    const [here, there] = await Promise.all(
      ['in', `${server.origin}/in/`].map((input) =>
        runProgram([...args, '--input', input], { cwd: dir, environment: { TMPDIR: join(dir, 'tmp') } }),
      ),
    );
    expect([there?.code, there?.stderr]).toEqual([0, expect.stringContaining('8 of 30 files')]);
    const [near, far] = [here, there].map((end) => sampleOf(end as ProgramEnd));
    expect(far).toMatchObject({ files: 8, bytes: near?.bytes, failed: [], output_rows: near?.output_rows });
  } finally {
    await server.close();
  }
});

test('of which every file fails is an answer; a scorer that does not start is an error', async () => {
  writeFiles(0, 5);
  const all = sampleOf(await program('plan', 'deployment.yml', '--sample', '3', '-o', 'json'));
  expect([all.failed.length, all.failing_files, all.output_bytes.estimate]).toEqual([3, 5, 0]);
  writeFileSync(
    join(dir, 'code', 'score.mjs'),
    "export const init = () => { throw new Error('no licence'); };\nexport const run = () => [];\n",
  );
  const end = await program('plan', 'deployment.yml', '--sample', '3');
  expect([end.code === 0, end.stdout]).toEqual([false, '']);
  expect(end.stderr).toMatch(/error SCORER_INIT_FAILED: [^]*no licence/);
  expect(readdirSync(join(dir, 'tmp')).filter((name) => name.startsWith('batchmill-'))).toEqual([]);
});
