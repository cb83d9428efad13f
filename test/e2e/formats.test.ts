/** The same job in every format, read back by readers that are not ours; and an Arrow stream that crashes do not harm. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mapBounded } from '../../common/io/map-bounded.ts';
import { packageFile } from '../../common/io/package-files.ts';
import type { SealedOutput } from '../../coordinator/output/sealed-lines.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, runProgram } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-formats-'));
  mkdirSync(join(dir, 'code'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

const script = `
const days = ['2024-02-29T12:30:01.250Z', '1969-12-31T00:00:00Z', null];
export function run(files, { names }) {
  return names.map((name) => {
    const n = Number(name.slice(1, 4));
    return {
      name, whole: n % 3 ? n * 2 ** 33 : null, wide: 2n ** 62n + BigInt(n), ratio: n / 3, isOdd: n % 2 === 1,
      text: ['ü — 漢字 🙂', 'a,b "c"\\nd', ' ', null][n % 4], when: days[n % 3] && new Date(days[n % 3]),
      list: [[1, 2, n], [], null][n % 3], floats: Float32Array.of(0.5, n), nested: { n, of: [name] },
    };
  });
}
`;

const pythonScript = `
import datetime, os
import numpy as np, pandas as pd
def init(): pass
def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    n = np.array([int(name[1:4]) for name in names])
    return pd.DataFrame({
        "name": names, "whole": n * 2**33, "small": n.astype("int16"), "ratio": n / 3, "half": (n / 4).astype("float16"),
        "isOdd": n % 2 == 1, "text": [["ü — 漢字 🙂", 'a,b "c"\\nd', " ", None][i % 4] for i in n],
        "gaps": pd.array([int(i) if i % 3 else None for i in n], dtype="Int64"),
        "when": [datetime.datetime(2024, 2, 29, 12, 30, 1, int(i)) for i in n], "list": [[int(i), 2] for i in n],
    })
`;

function inputs(count: number): string {
  const names = Array.from({ length: count }, (_, i) => `f${String(i).padStart(3, '0')}.txt`);
  return writeInputs(
    join(dir, 'in'),
    names.map((name) => [name, name] as const),
  );
}

interface Found {
  readonly types: Readonly<Record<string, string>>;
  readonly rows: number;
  readonly first: readonly unknown[];
}

const endings = [
  ['csv', 'csv'],
  ['jsonl', 'jsonl'],
  ['arrow', 'arrows'],
  ['arrow_file', 'arrow'],
  ['parquet', 'parquet'],
] as const;

/** Runs the deployment in each format and has the outputs compared. */
async function inAllFormats(deployment: string, input: string, more: readonly string[]): Promise<Found> {
  const paths = await mapBounded(endings, 2, async ([format, ending]) => {
    const out = join(dir, `out-${format}`);
    const args = ['run', deployment, '--input', input, '--output', out, '--format', format, '--nodes', '2', ...more];
    const end = await runProgram(args, { cwd: dir }, 120_000);
    expect(end.code, end.stderr).toBe(0);
    const verified = await runProgram(['job', 'verify', out], { cwd: dir });
    expect(verified.code, verified.stdout).toBe(0);
    return join(out, `predictions.${ending}`);
  });
  return read(packageFile('test', 'e2e', 'readers', 'equal_rows.py'), ...paths) as Found;
}

function read(program: string, ...args: readonly string[]): unknown {
  const done = spawnSync(testPython(), [program, ...args], { encoding: 'utf8' });
  expect(done.status, done.stderr).toBe(0);
  return JSON.parse(done.stdout);
}

describe('equal rows with the right types in every format', () => {
  test('of a script in JavaScript', async () => {
    writeFileSync(join(dir, 'code', 'score.mjs'), script);
    const more = ['--mini-batch-size', '6', '--set', 'settings.output.include={file: source, row: line}'];
    const found = await inAllFormats(join(dir, 'code', 'score.mjs'), inputs(50), more);
    expect([found.rows, ...found.first.slice(0, 5)]).toEqual([50, 'f000.txt', 0, 'f000.txt', null, 2 ** 62]);
    expect(found.types).toEqual({
      ...{ source: 'string', line: 'int64', name: 'string', whole: 'int64', wide: 'int64', ratio: 'double' },
      ...{ isOdd: 'bool', text: 'string', when: 'timestamp[ms, tz=UTC]', list: 'list<int64>', floats: 'list<float>' },
      nested: 'string',
    });
  });

  test('of a script in Python', async () => {
    writeFileSync(join(dir, 'code', 'score.py'), pythonScript);
    const more = ['--mini-batch-size', '6', '--python', testPython(), '--set', 'settings.output.include=[file, row]'];
    const found = await inAllFormats(join(dir, 'code', 'score.py'), inputs(50), more);
    expect([found.rows, ...found.first.slice(0, 8)]).toEqual([50, 'f000.txt', 0, 'f000.txt', 0, 0, 0, 0, false]);
    expect(found.types).toEqual({
      ...{ file: 'string', row: 'int64', name: 'string', whole: 'int64', small: 'int16', ratio: 'double' },
      ...{ half: 'halffloat', isOdd: 'bool', text: 'string', gaps: 'int64', when: 'timestamp[ns]' },
      list: 'list<int64>',
    });
  });

  test('of the built-in ONNX scorer', async () => {
    const found = await inAllFormats(
      packageFile('examples', 'digits', 'model', 'digits.onnx'),
      packageFile('examples', 'digits', 'inputs', 'depot-a'),
      ['--mini-batch-size', '7'],
    );
    expect(found.rows).toBeGreaterThan(100);
    expect(Object.entries(found.types).slice(0, 3)).toEqual([
      ['file', 'string'],
      ['label', 'int32'],
      ['logits_0', 'float'],
    ]);
  });
});

test('a job without rows gives an empty output with the declared columns, and fails without them', async () => {
  const heart = packageFile('..', 'shared', 'data', 'heart');
  const source = join(heart, 'inputs', readdirSync(join(heart, 'inputs'))[0] as string);
  const header = readFileSync(source, 'utf8').split('\n')[0] as string;
  const input = writeInputs(join(dir, 'in'), [['none.csv', `${header}\n`]]);
  const run = (out: string, format: string, ...more: readonly string[]) =>
    runProgram(
      ['run', join(heart, 'heart.onnx'), '--input', input, '--output', join(dir, out), '--format', format, ...more],
      { cwd: dir },
      120_000,
    );
  const columns = ['--set', 'settings.output.schema={label: int64, probability: float32}'];
  const declared = await run('out', 'arrow', ...columns);
  expect(declared.code, declared.stderr).toBe(0);
  writeFileSync(
    join(dir, 'columns_of.py'),
    'import json, sys, pyarrow as pa\nt = pa.ipc.open_stream(sys.argv[1]).read_all()\n' +
      'print(json.dumps([t.num_rows, *(f"{f.name}:{f.type}" for f in t.schema)]))',
  );
  const found = read(join(dir, 'columns_of.py'), join(dir, 'out', 'predictions.arrows'));
  expect(found).toEqual([0, 'label:int64', 'probability:float']);
  const verified = await runProgram(['job', 'verify', join(dir, 'out')], { cwd: dir });
  expect(verified.code, verified.stdout).toBe(0);
  const parquet = await run('parquet', 'parquet', ...columns);
  expect(parquet.code, parquet.stderr).toBe(0);
  const table = 'import json, sys, pyarrow.parquet as pq\nt = pq.read_table(sys.argv[1])\n';
  writeFileSync(
    join(dir, 'parquet_of.py'),
    `${table}print(json.dumps([t.num_rows, *(f"{f.name}:{f.type}" for f in t.schema)]))`,
  );
  expect(read(join(dir, 'parquet_of.py'), join(dir, 'parquet', 'predictions.parquet'))).toEqual(found);
  const bare = await run('bare', 'arrow');
  expect(bare.code).toBe(1);
  expect(bare.stderr).toContain('error NO_RESULTS: ');
});

/** Whole numbers and gaps in some mini-batches, fractions and texts in others; the first has the widest of each. */
const uneven = `
export const run = (files, { names }) => names.map((name) => {
  const n = Number(name.slice(1, 4));
  return { n, ratio: n < 6 ? n / 4 : n, note: n % 5 < 2 ? name : null };
});
`;

test('rows of mini-batches that differ are widened to the columns of the first', async () => {
  writeFileSync(join(dir, 'code', 'score.mjs'), uneven);
  const out = join(dir, 'out');
  const args = ['run', join(dir, 'code', 'score.mjs'), '--input', inputs(60), '--output', out, '--format', 'arrow'];
  const more = ['--mini-batch-size', '2', '--nodes', '2', '--slots', '2'];
  const end = await runProgram([...args, ...more, '--set', 'settings.output.schema=evolve'], { cwd: dir }, 120_000);
  expect(end.code, end.stderr).toBe(0);
  const rows = rowsOf(join(out, 'predictions.arrows')) as { readonly n: number }[];
  expect(rows).toEqual(
    Array.from({ length: 60 }, (_, n) => ({
      n,
      ratio: n < 6 ? n / 4 : n,
      note: n % 5 < 2 ? `f${String(n).padStart(3, '0')}.txt` : null,
    })),
  );
});

const partitioned = `
import json, sys, duckdb, pandas as pd, pyarrow as pa, pyarrow.dataset as ds
kinds = ds.partitioning(pa.schema([("odd", pa.bool_()), ("text", pa.string())]), flavor="hive")
table = ds.dataset(sys.argv[1], partitioning=kinds, format="parquet").to_table().sort_by("n")
frame = pd.read_parquet(sys.argv[1], partitioning=kinds).sort_values("n")
assert frame["n"].tolist() == table["n"].to_pylist()
files = "read_parquet('" + sys.argv[1] + "/**/*.parquet', hive_partitioning = true, hive_types = {'odd': BOOLEAN, 'text': VARCHAR})"
found = duckdb.sql("SELECT n, odd, nullif(text, '__HIVE_DEFAULT_PARTITION__') FROM " + files + " ORDER BY n").fetchall()
assert found == [(row["n"], row["odd"], row["text"]) for row in table.to_pylist()], found
print(json.dumps(table.to_pylist()))`;

test('a partitioned data set of files of a size, read back as one', async () => {
  writeFileSync(
    join(dir, 'code', 'score.mjs'),
    `const texts = ['a/b', 'ü 漢', 'x=y', null];
     export const run = (files, { names }) => names.map((name) => {
       const n = Number(name.slice(1, 4));
       return { n, odd: n % 2 === 1, text: texts[n % 4], twice: n * 2 };
     });`,
  );
  const out = join(dir, 'out');
  const args = ['run', join(dir, 'code', 'score.mjs'), '--input', inputs(80), '--output', out, '--format', 'parquet'];
  const keys = ['settings.output.partition_by=[odd, text]', 'settings.output.file_rows=15'];
  const end = await runProgram([...args, '--mini-batch-size', '6', ...keys.flatMap((key) => ['--set', key])], {
    cwd: dir,
  });
  expect(end.code, end.stderr).toBe(0);
  writeFileSync(join(dir, 'partitioned.py'), partitioned);
  const texts = ['a/b', 'ü 漢', 'x=y', null];
  const wanted = Array.from({ length: 80 }, (_, n) => ({ n, twice: n * 2, odd: n % 2 === 1, text: texts[n % 4] }));
  expect(read(join(dir, 'partitioned.py'), out)).toEqual(wanted);
  // Twenty rows of each text: two files.
  const { custom_files: files } = JSON.parse(readFileSync(join(out, '_manifest.json'), 'utf8')) as SealedOutput;
  expect(files.map(({ path, rows }) => [path, rows])).toEqual(
    [
      'odd=false/text=a%2Fb',
      'odd=false/text=x%3Dy',
      'odd=true/text=__HIVE_DEFAULT_PARTITION__',
      'odd=true/text=ü 漢',
    ].flatMap((folder) => [
      [`${folder}/part-00000.parquet`, 15],
      [`${folder}/part-00000_0001.parquet`, 5],
    ]),
  );
  const verified = await runProgram(['job', 'verify', out], { cwd: dir });
  expect(verified.code, verified.stdout).toBe(0);
});

test('a column that no partition can be made of fails the job, which keeps its rows and is resumed under another', async () => {
  writeFileSync(join(dir, 'code', 'score.mjs'), script);
  writeFileSync(
    join(dir, 'job.yml'),
    'name: parts\ncode_configuration: {code: code, scoring_script: score.mjs}\noutput: {format: parquet, partition_by: list}\n',
  );
  const cluster = await ClusterProcesses.start({ dir });
  await cluster.startWorker('node-a');
  const out = join(dir, 'out');
  const job = await cluster.submit([join(dir, 'job.yml'), '--input', inputs(20), '--output', out]);
  const failed = await cluster.job(job, (view) => view.status === 'Failed', 'failed', 60_000);
  expect(failed.error?.code).toBe('PARTITION_INVALID');
  expect(failed.error?.message).toMatch(/^part 0 of the output cannot be made: .*list/);
  writeFileSync(
    join(dir, 'job.yml'),
    'name: parts\ncode_configuration: {code: code, scoring_script: score.mjs}\noutput: {format: parquet, partition_by: isOdd}\n',
  );
  const resumed = await cluster.cli(['job', 'resume', job, '--deployment', join(dir, 'job.yml')]);
  expect(resumed.code, resumed.stderr).toBe(0);
  const done = await cluster.job(job, (view) => view.status === 'Completed', 'completed', 60_000);
  // No file was scored again.
  expect([done.rows, done.mini_batches.failed_tries]).toEqual([20, 0]);
  expect(readdirSync(out).filter((name) => !name.startsWith('_'))).toEqual(['isOdd=false', 'isOdd=true']);
});

const list = `
import json, sys, pyarrow as pa
with pa.ipc.open_stream(sys.argv[1]) as reader: print(json.dumps(reader.read_all().to_pylist()))`;

function rowsOf(path: string): unknown {
  writeFileSync(join(dir, 'list.py'), list);
  return read(join(dir, 'list.py'), path);
}

const fragile = `
import { existsSync } from 'node:fs';
export async function run(files, { names }) {
  if (!existsSync(process.env.FAST_WHEN)) await new Promise((resolve) => setTimeout(resolve, 200));
  if (names.includes('f017.txt') && !existsSync(process.env.FAST_WHEN + '-mended')) throw new Error('not yet');
  return names.map((name) => ({ name, n: Number(name.slice(1, 4)) }));
}
`;

test('an Arrow stream is whole after kills of coordinator and worker node, and after a retry that puts rows in between', async () => {
  writeFileSync(join(dir, 'code', 'score.mjs'), fragile);
  const fast = join(dir, 'fast');
  const yaml = `name: fragile
code_configuration: {code: code, scoring_script: score.mjs}
mini_batch_size: 2
environment_variables: {FAST_WHEN: ${fast}}
output: {format: arrow, schema: {name: utf8, n: int32}}
`;
  writeFileSync(join(dir, 'job.yml'), yaml);
  const cluster = await ClusterProcesses.start({ dir, heartbeat: '1s' });
  const killed = await cluster.startWorker('node-a');
  await cluster.startWorker('node-b');
  const out = join(dir, 'out');
  const job = await cluster.submit([join(dir, 'job.yml'), '--input', inputs(80), '--output', out]);
  await cluster.job(job, (view) => view.mini_batches.committed >= 8, 'eight mini-batches');
  await killed.kill();
  await cluster.coordinator.kill();
  await cluster.restartCoordinator();
  writeFileSync(fast, '');
  const waited = await cluster.cli(['job', 'wait', job], 120_000);
  expect(waited.code, waited.stderr).toBe(0);
  const path = join(out, 'predictions.arrows');
  const wanted = Array.from({ length: 80 }, (_, n) => ({ name: `f${String(n).padStart(3, '0')}.txt`, n }));
  expect(rowsOf(path)).toEqual(wanted.filter(({ n }) => n !== 17));

  writeFileSync(`${fast}-mended`, '');
  const retried = await cluster.cli(['job', 'retry', job, '--failed-only']);
  expect(retried.code, retried.stderr).toBe(0);
  expect((await cluster.cli(['job', 'wait', job], 120_000)).code).toBe(0);
  expect(rowsOf(path)).toEqual(wanted);
  expect(readFileSync(path).subarray(-8)).toEqual(Buffer.from('ffffffff00000000', 'hex'));
  const { output } = JSON.parse(readFileSync(join(out, '_manifest.json'), 'utf8')) as SealedOutput;
  expect(output).toMatchObject({ path: 'predictions.arrows', bytes: readFileSync(path).length });
  const verified = await runProgram(['job', 'verify', out], { cwd: dir });
  expect(verified.code, verified.stdout).toBe(0);
});
