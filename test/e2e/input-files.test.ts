/** Which files are scored, and what they would come to, through the real program. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { PlanReport } from '../../coordinator/plan-input.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram, type ProgramEnd } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
let deployment = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-inputs-'));
  const names = ['a.txt', 'b.csv', 'raw/c.txt', 'raw/deep/d.txt', 'old/e.txt', '_f.txt', '.g.txt'];
  writeInputs(
    join(dir, 'in'),
    names.map((name, index) => [name, 'x'.repeat(10 * (index + 1))]),
  );
  deployment = writeDeployment(dir, 'chosen', { script: 'hash-rows.mjs' });
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

async function program(...args: readonly string[]): Promise<ProgramEnd> {
  return await runProgram(args, { cwd: dir });
}

describe('run', () => {
  const run = async (...more: readonly string[]): Promise<ProgramEnd> =>
    await program('run', deployment, '--output', 'out', '--slots', '1', ...more);

  test('scores what the patterns leave, and says in the manifest what they left out', async () => {
    const end = await run('--input', 'in', '--include', '*.txt', '--exclude', 'old', '--exclude', '**/deep/');
    expect([end.code, end.stderr]).toEqual([0, expect.stringContaining(" --include '*.txt' --exclude 'old'")]);
    const { files, manifest } = readOutput(join(dir, 'out'));
    expect(files.map(({ path }) => path)).toEqual(['a.txt', 'raw/c.txt']);
    expect(manifest).toMatchObject({
      input_selection: { include: ['*.txt'], exclude: ['old', '**/deep/'], recursive: true, list: null },
      counts: { files: { skipped: 5, skipped_by: { hidden: 2, excluded: 3 } } },
    });
    const files_ = (JSON.parse(end.stdout) as { files: unknown }).files;
    expect(files_).toMatchObject({ total: 2, skipped: 5 });
    const verified = await program('job', 'verify', 'out');
    expect(verified.code, verified.stdout).toBe(0);
    expect(verified.stdout).toContain('2 looked at');
  });

  test('flags win over the deployment', async () => {
    writeFileSync(deployment, `${readFileSync(deployment, 'utf8')}input:\n  include: ['*.csv']\n  exclude: raw/\n`);
    expect((await run('--input', 'in')).code).toBe(0);
    expect(readOutput(join(dir, 'out')).files.map(({ path }) => path)).toEqual(['b.csv']);
    expect((await run('--input', 'in', '--include', '{a,c}.txt', '--overwrite')).code).toBe(0);
    expect(readOutput(join(dir, 'out')).files.map(({ path }) => path)).toEqual(['a.txt']);
  });

  test('scores what a list names, in its order, into a folder beside it; what is not there fails alone', async () => {
    writeFileSync(join(dir, 'in', 'today.csv'), 'id,file\n1,raw/deep/d.txt\n2,gone.txt\n3,_f.txt\n4,a.txt\n');
    const list = ['--input-list', 'in/today.csv', '--input-list-column', 'file'];
    const end = await runProgram(
      ['run', deployment, ...list, '--output', 'in/out', '--slots', '2', '--mini-batch-size', '1'],
      { cwd: dir },
    );
    expect(end.code, end.stderr).toBe(0);
    expect(end.stderr).toContain(`input       ${dir}/in, the files of ${dir}/in/today.csv\n`);
    const { files, errors, manifest } = readOutput(join(dir, 'in', 'out'));
    expect(files.map(({ path, status }) => [path, status])).toEqual([
      ['raw/deep/d.txt', 'scored'],
      ['gone.txt', 'failed'],
      ['_f.txt', 'scored'],
      ['a.txt', 'scored'],
    ]);
    expect(errors.map(({ path, code }) => [path, code])).toEqual([['gone.txt', 'INPUT_UNREADABLE']]);
    expect(manifest.totals?.rows).toBe(3);
  });

  test.each([
    ['list.csv', 'name\na.txt\n', 'INPUT_LIST_INVALID', 2, 'line 1: has no column "path", only name'],
    ['list.txt', 'a.txt\nraw/../../x\n', 'INPUT_LIST_INVALID', 2, 'line 2: "raw/../../x" leaves'],
    ['list.txt', 'a.txt\na.txt\n', 'INPUT_LIST_INVALID', 2, 'line 2: "a.txt" was named before, in line 1'],
    ['list.txt', '# nothing\n', 'INPUT_EMPTY', 2, 'list.txt names no file to score'],
    [null, '', 'INPUT_NOT_FOUND', 3, 'no-list.txt does not exist'],
  ])('refuses a list that is wrong: %s %j', async (name, content, code, exit, words) => {
    if (name !== null) writeFileSync(join(dir, name), content);
    const end = await run('--input', 'in', '--input-list', name ?? 'no-list.txt');
    expect([end.code, end.stdout]).toEqual([exit, '']);
    expect(end.stderr).toContain(`error ${code}: `);
    expect(end.stderr).toContain(words);
    expect(existsSync(join(dir, 'out', '_SUCCESS'))).toBe(false);
  });
});

describe('plan', () => {
  test('says what a run would come to, starts nothing and writes nothing', async () => {
    const args = ['--input', 'in', '--output', 'out', '--exclude', 'old/', '--slots', '2', '--nodes', '2'];
    const plan = await program('plan', deployment, ...args, '-o', 'json');
    expect(plan.code, plan.stderr).toBe(0);
    const report = JSON.parse(plan.stdout) as PlanReport;
    expect(report).toMatchObject({
      deployment: 'chosen',
      ...{ files: 4, bytes: 100, unreadable: 0, skipped: 3, slots: 4, lower_bound_bytes: 25 },
      skipped_by: { hidden: 2, excluded: 1 },
      types: [
        { extension: '.txt', files: 3, bytes: 80 },
        { extension: '.csv', files: 1, bytes: 20 },
      ],
      file_bytes: { smallest: 10, median: 20, p99: 40, largest: 40 },
    });
    expect(report.plans.map(({ mini_batch_size }) => mini_batch_size)).toEqual(['10', '64KB', 'auto']);
    expect(report.plans[0]).toMatchObject({ mini_batches: 1, skew: 1, over_lower_bound: { input_order: 4 } });
    const dry = await program('run', deployment, ...args, '--dry-run', '-o', 'json');
    expect([dry.code, JSON.parse(dry.stdout)]).toEqual([0, report]);
    expect(existsSync(join(dir, 'out'))).toBe(false);
  });

  test('is read at a glance', async () => {
    const { code, stdout } = await program(
      'plan',
      deployment,
      '--input',
      'in',
      '--mini-batch-size',
      '1',
      '--slots',
      '2',
    );
    expect(code).toBe(0);
    expect(stdout).toBe(
      [
        'files         5 (150 B)',
        'skipped       2: 2 hidden',
        'types         .txt 4, .csv 1',
        'file sizes    10 B to 50 B, median 30 B, 99 of 100 up to 50 B',
        'mini-batches  5 by mini_batch_size 1, 30 B on average',
        'skew          1.67, the largest mini-batch (50 B) over the mean',
        'slots         2, at best 75 B each',
        '',
        'FILE SIZE  FILES  BYTES',
        `4 B up         1  10 B   ${'█'.repeat(10)}`,
        `16 B up        4  140 B  ${'█'.repeat(40)}`,
        '',
        'MINI_BATCH_SIZE  MINI-BATCHES  LARGEST  SKEW  INPUT ORDER  LONGEST FIRST',
        '1 (deployment)              5  50 B     1.67  1.20 ×       1.07 ×',
        '10                          1  150 B    1.00  2.00 ×       2.00 ×',
        '64KB                        1  150 B    1.00  2.00 ×       2.00 ×',
        'auto                        5  50 B     1.67  1.20 ×       1.07 ×',
        'The last two: bytes of the busiest of 2 slots over the lower bound, 75 B; 1.00 × is best.',
        '',
      ].join('\n'),
    );
  });

  test('is refused as a run is', async () => {
    mkdirSync(join(dir, 'empty'));
    const end = await program('plan', deployment, '--input', 'empty');
    expect([end.code, end.stdout, end.stderr]).toEqual([2, '', expect.stringContaining('error INPUT_EMPTY: ')]);
    const gone = await program('plan', deployment, '--input', 'gone');
    expect([gone.code, gone.stderr]).toEqual([3, expect.stringContaining('error INPUT_NOT_FOUND: ')]);
  });
});
