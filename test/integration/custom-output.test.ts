/** Files that user code writes by itself: real scripts, real scoring hosts, real gRPC; what is published at the end. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import type { CustomOutput } from '../../common/core/deployment.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import type { Coordinator } from '../../coordinator/coordinator.ts';
import type { WorkerHandle } from '../../worker/worker.ts';
import { failing } from '../helpers/failing.ts';
import { writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { testPython } from '../helpers/python.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let cluster: LocalCluster;
let dir = '';
let coordinator: Coordinator;

beforeEach(async () => {
  cluster = await LocalCluster.start();
  ({ dir, coordinator } = cluster);
});
afterEach(() => cluster.close());

const joinNode = (name: string, slots: number): Promise<WorkerHandle> =>
  cluster.join(name, slots, { python: testPython() });

interface Given {
  readonly script: string;
  readonly name?: string;
  readonly files?: number;
  readonly more?: readonly string[];
  readonly custom?: CustomOutput;
  readonly isOverwrite?: boolean;
}

const out = (...names: string[]): string => join(dir, 'out', ...names);

/** Runs a script over files `f00.txt`, `f01.txt`, …, two to a mini-batch. */
async function ran(given: Given): Promise<JobView> {
  const { script, name = 'score.py', files = 8, more = [], custom, isOverwrite = false } = given;
  mkdirSync(join(dir, 'code'), { recursive: true });
  writeFileSync(join(dir, 'code', name), script);
  const yaml = ['name: custom', 'code_configuration:', '  code: code', `  scoring_script: ${name}`];
  writeFileSync(join(dir, 'custom.yml'), [...yaml, 'mini_batch_size: 2', ...more, ''].join('\n'));
  const names = Array.from({ length: files }, (_, index) => `f${String(index).padStart(2, '0')}.txt`);
  const input = writeInputs(
    join(dir, 'in'),
    names.map((file) => [file, file] as const),
  );
  const loaded = await loadDeployment(join(dir, 'custom.yml'));
  const settings = custom ? { ...loaded.settings, customOutput: custom } : loaded.settings;
  const deployment = { ...loaded, settings };
  const request = { deployment, inputPath: input, outputDir: out(), isOverwrite, name: null };
  const job = (await coordinator.jobs.submit(request)).name;
  for await (const event of coordinator.jobs.events(job, 0, new AbortController().signal)) void event;
  await sealed(job);
  return coordinator.jobs.show(job);
}

/** Waits until the job's files are in place. */
async function sealed(job: string): Promise<void> {
  await expect
    .poll(
      () =>
        coordinator.jobs.outputFiles(job).then(
          () => true,
          () => false,
        ),
      { timeout: 30_000 },
    )
    .toBe(true);
}

/** Everything in the output folder that is none of our own, with its content. */
function published(): Record<string, string> {
  const names = readdirSync(out(), { recursive: true }) as string[];
  const theirs = names.filter((name) => !/^(_|predictions)/.test(name) && statSync(out(name)).isFile());
  return Object.fromEntries(theirs.sort().map((name) => [name, readFileSync(out(name), 'utf8')]));
}

const names = (count: number): string[] =>
  Array.from({ length: count }, (_, n) => `f${String(n).padStart(2, '0')}.txt`);

const writesAll = `
import os
out = None
def init():
    global out
    out = os.environ["AZUREML_BI_OUTPUT_PATH"]
    assert os.path.isdir(out)
    with open(os.path.join(out, "from-init.txt"), "w") as file:
        file.write("init")
def run(mini_batch):
    for path in mini_batch:
        name = os.path.basename(path)
        folder = os.path.join(out, "by-file", name[:2])
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, name + ".out"), "w") as file:
            file.write(name.upper())
        with open(os.path.join(out, "all.csv"), "a") as file:
            file.write(name + ",1\\n")
        with open(os.path.join(out, "last.txt"), "w") as file:
            file.write(name)
    return [os.path.basename(path) for path in mini_batch]
`;

describe('files of a Python script', () => {
  test('are published with the rows: whole ones, nested ones, appended ones in input order', async () => {
    await joinNode('a', 1);
    const job = await ran({ script: writesAll });
    expect(job).toMatchObject({ status: 'Completed', rows: 8, error: null });
    const own = Object.fromEntries(
      names(8).map((name) => [`by-file/${name.slice(0, 2)}/${name}.out`, name.toUpperCase()]),
    );
    const all = names(8)
      .map((name) => `${name},1\n`)
      .join('');
    expect(published()).toEqual({ ...own, 'all.csv': all, 'from-init.txt': 'init', 'last.txt': 'f07.txt' });
    const { manifest, text } = readOutput(out());
    expect(text).toBe(
      names(8)
        .map((name) => `${name}\n`)
        .join(''),
    );
    expect(manifest.custom_counts).toEqual({ files: 11, bytes: 8 * 7 + 8 * 10 + 4 + 7, overwritten: 3, error: null });
    expect(manifest.custom_files.map(({ path, mini_batches }) => [path, mini_batches])).toContainEqual(['all.csv', 4]);
    // Cleared once the job's end is written, which is when it was read above.
    await expect.poll(() => existsSync(join(dir, 'state', 'jobs', job.name, 'staging'))).toBe(false);
  });

  test('of an attempt that raises are not there, and its neighbours lose nothing', async () => {
    await joinNode('a', 1);
    // Nothing old is overwritten here, so that the host goes on after its failed attempt.
    const calm = writesAll.replace(/ +with open\(os\.path\.join\(out, "last\.txt"\).*\n.*\n/, '');
    const script = calm.replace(
      '    return [',
      '    if any("f03" in path for path in mini_batch): raise ValueError("poison")\n    return [',
    );
    const job = await ran({ script });
    expect(job).toMatchObject({ status: 'Completed', rows: 7, files: { failed: 1 } });
    const found = published();
    expect(
      found['all.csv']
        ?.split('\n')
        .filter(Boolean)
        .map((line) => line.slice(0, 7)),
    ).toEqual(names(8).filter((name) => name !== 'f03.txt'));
    expect(Object.keys(found)).not.toContain('by-file/f0/f03.txt.out');
    expect(Object.keys(found)).toContain('by-file/f0/f02.txt.out');
  });

  test('come with summary_only too, where no rows are written and the name of the rows is free', async () => {
    await joinNode('a', 2);
    const script = `
import os
def run(mini_batch):
    for path in mini_batch:
        with open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], os.path.basename(path)), "w") as file:
            file.write("x")
    return mini_batch
`;
    const job = await ran({ script, more: ['output_action: summary_only'] });
    expect(job).toMatchObject({ status: 'Completed', rows: 8 });
    expect(Object.keys(published())).toEqual(names(8));
    expect(existsSync(out('predictions.csv'))).toBe(false);
  });

  test.each([
    ['a link', 'os.symlink("/etc/hostname", os.path.join(out, "host"))', '"host"'],
    ['the name of the rows', 'open(os.path.join(out, "predictions.csv"), "w").close()', '"predictions.csv"'],
    ['a name of ours', 'open(os.path.join(out, "_SUCCESS"), "w").close()', '"_SUCCESS"'],
  ])('that cannot be published fail their attempt by name: %s', async (_, line, named) => {
    await joinNode('a', 1);
    const script = `
import os
out = os.environ["AZUREML_BI_OUTPUT_PATH"]
def run(mini_batch):
    ${line}
    return mini_batch
`;
    const job = await ran({ script, files: 1 });
    expect(job.status).toBe('Failed');
    const [error] = readOutput(out()).errors;
    expect(error?.code).toBe('CUSTOM_OUTPUT_INVALID');
    expect(error?.message).toContain(named);
    expect(published()).toEqual({});
  });
});

describe('files of a JavaScript script', () => {
  test('that many hosts append to are joined in input order, also when attempts fail in between', async () => {
    await joinNode('a', 2);
    await joinNode('b', 2);
    const script = `
import { appendFile } from 'node:fs/promises';
import { appendFileSync, createWriteStream, openSync, writeSync, closeSync } from 'node:fs';
import { once } from 'node:events';
import { basename, join } from 'node:path';
export async function run(files, { outputDir }) {
  if (outputDir !== process.env.AZUREML_BI_OUTPUT_PATH) throw new Error('another folder');
  const text = files.map((file) => basename(file) + ' ').join('');
  appendFileSync(join(outputDir, 'sync.txt'), text);
  await appendFile(join(outputDir, 'promise.txt'), text);
  const file = openSync(join(outputDir, 'open.txt'), 'a');
  writeSync(file, text);
  closeSync(file);
  const stream = createWriteStream(join(outputDir, 'stream.txt'), { flags: 'a' });
  stream.end(text);
  await once(stream, 'close');
  if (text.includes('f07') || (text.includes('f11') && files.length > 1)) throw new Error('poison');
  return files.map((file) => basename(file));
}
`;
    const job = await ran({ script, name: 'score.mjs', files: 24 });
    expect(job).toMatchObject({ status: 'Completed', rows: 23, files: { failed: 1 } });
    const text = names(24)
      .filter((name) => name !== 'f07.txt')
      .map((name) => `${name} `)
      .join('');
    expect(published()).toEqual({ 'open.txt': text, 'promise.txt': text, 'stream.txt': text, 'sync.txt': text });
  });
});

describe('an output folder', () => {
  const script = `
import os
def run(mini_batch):
    with open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "report.txt"), "w") as file:
        file.write("ours")
    os.makedirs(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "deep", "er"), exist_ok=True)
    with open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "deep", "er", "x"), "w") as file:
        file.write("x")
    return mini_batch
`;

  test('gives its custom files to whoever downloads, and loses them with --overwrite', async () => {
    await joinNode('a', 1);
    const { name } = await ran({ script, files: 2 });
    const listed = (await coordinator.jobs.outputFiles(name)).map(({ path }) => path);
    expect(listed).toEqual(expect.arrayContaining(['deep/er/x', 'report.txt', 'predictions.csv', '_manifest.json']));
    expect(await coordinator.jobs.outputFile(name, 'deep/er/x')).toBe(out('deep', 'er', 'x'));
    await expect(coordinator.jobs.outputFile(name, 'deep/er')).rejects.toThrow(failing('INPUT_NOT_FOUND', 'deep/er'));
    const again = await ran({
      script: 'def run(mini_batch):\n    return mini_batch\n',
      files: 2,
      isOverwrite: true,
    });
    expect(again.status).toBe('Completed');
    expect(published()).toEqual({});
    expect(existsSync(out('deep'))).toBe(false);
  });

  test('keeps what somebody else has put there; ours goes beside it', async () => {
    await joinNode('a', 1);
    mkdirSync(out());
    writeFileSync(out('report.txt'), 'theirs');
    const { name } = await ran({ script, files: 2 });
    expect(published()).toEqual({ 'report.txt': 'theirs', [`report.txt~${name}`]: 'ours', 'deep/er/x': 'x' });
    const lines = readOutput(out()).manifest.custom_files;
    expect(lines.find(({ wanted_path }) => wanted_path === 'report.txt')?.path).toBe(`report.txt~${name}`);
  });

  test('is where a script writes by itself when the deployment says shared', async () => {
    await joinNode('a', 2);
    const job = await ran({ script, files: 8, custom: 'shared' });
    expect(job.status).toBe('Completed');
    expect(published()).toEqual({ 'report.txt': 'ours', 'deep/er/x': 'x' });
    expect(readOutput(out()).manifest.custom_files).toEqual([]);
  });
});

test.each([
  ['score.py', 'import os\ndef run(paths):\n    os.rmdir(os.environ["AZUREML_BI_OUTPUT_PATH"])\n    return paths\n'],
  [
    'score.mjs',
    "import { rmdirSync } from 'node:fs';\nexport function run(paths, { outputDir }) { rmdirSync(outputDir); return paths; }\n",
  ],
  [
    'score.mjs',
    "import { rmdirSync } from 'node:fs';\nexport function run(paths, { outputDir }) { rmdirSync(outputDir); throw new Error('no good'); }\n",
  ],
])('a script that removes AZUREML_BI_OUTPUT_PATH fails its attempt, which says so: %s', async (name, script) => {
  await joinNode('a', 1);
  const job = await ran({ name, script, files: 2 });
  expect(job.status).toBe('Failed');
  const [error] = readOutput(out()).errors;
  const isThrown = script.includes('no good');
  expect(error?.code).toBe(isThrown ? 'SCORER_FAILED' : 'CUSTOM_OUTPUT_INVALID');
  expect(error?.message).toContain(isThrown ? 'no good' : 'has removed, moved or replaced the folder');
});
