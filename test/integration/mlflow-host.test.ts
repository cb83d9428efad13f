/** MLflow in the Python scoring host: saved models without a script, and what scripts log. Real models, a real MLflow. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tableFromIPC } from 'apache-arrow';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { OutputFormat } from '../../common/core/deployment.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { defaultOutputForm } from '../../common/core/output-form.ts';
import { prologueBytes } from '../../common/format/prologue.ts';
import type { HostProcess } from '../../worker/pool/host-process.ts';
import { matching } from '../helpers/matching.ts';
import { failed, openBench, patience, refusalOf, scored, textOf, type HostBench } from '../helpers/python-host.ts';
import { testPython } from '../helpers/python.ts';

/** Saves the models that these tests score with. A model's class must be one of the saving script, as it is pickled by value. */
const saveModels = `
import sys, mlflow, numpy, pandas
from mlflow.models.signature import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec
root = sys.argv[1]
class Sum(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if (model_input["age"] < 0).any():
            raise ValueError("a negative age")
        return (model_input["age"] * model_input["weight"]).to_numpy()
class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return pandas.DataFrame({"rows": [len(model_input)], "types": [str(list(model_input.dtypes))], "cell": [{"a": [1, "x"]}]})
class Tight(mlflow.pyfunc.PythonModel):
    def __init__(self, is_whole):
        self.is_whole = is_whole
    def predict(self, context, model_input, params=None):
        if len(model_input) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [len(model_input)] * (1 if self.is_whole else len(model_input))
class Image(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [f"{model_input.dtype} {model_input.shape} {model_input.max()}"]
class Old(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        import yaml
        return yaml.no_such_function()
class Broken(mlflow.pyfunc.PythonModel):
    def __reduce__(self):
        return (exec, ("raise AttributeError('no attribute _lost')",))
columns = ModelSignature(inputs=Schema([ColSpec(DataType.long, "age"), ColSpec(DataType.double, "weight"), ColSpec(DataType.string, "name", required=False)]))
tensor = lambda dtype, shape: ModelSignature(inputs=Schema([TensorSpec(numpy.dtype(dtype), shape)]))
def save(name, model, signature=None):
    mlflow.pyfunc.save_model(f"{root}/{name}", python_model=model, signature=signature, pip_requirements=["mlflow", "scikit-learn==1.1.2", "pyyaml==1.0.1"])
save("sum", Sum(), columns)
save("echo", Echo())
save("tight", Tight(False))
save("whole", Tight(True))
save("image", Image())
save("pixels", Image(), tensor("float32", (-1, 4)))
save("channels", Image(), tensor("uint8", (-1, 3, -1, -1)))
save("old", Old())
save("broken", Broken())
import PIL.Image
for name, mode, size in (("grey.png", "L", (2, 2)), ("colour.PNG", "RGB", (3, 2)), ("wide.gif", "P", (5, 1))):
    PIL.Image.new(mode, size, 7).save(f"{root}/{name}")
`;

let models: string;
let bench: HostBench;
beforeAll(() => {
  models = realpathSync(mkdtempSync(join(tmpdir(), 'batchmill-models-')));
  const done = spawnSync(testPython(), ['-c', saveModels, models], { encoding: 'utf8', cwd: models });
  expect(done.status, done.stderr).toBe(0);
}, 120_000);
afterAll(() => rmSync(models, { recursive: true }));
beforeEach(() => void (bench = openBench()));
afterEach(() => bench.close());

interface ModelHostOptions {
  readonly format?: OutputFormat;
  readonly rowsPerPredict?: number;
  readonly callSize?: number;
}

function modelHost(model: string, options: ModelHostOptions = {}): Promise<HostProcess> {
  return bench.start({
    settings: { outputFormat: options.format ?? 'azure' },
    init: {
      scorer: { kind: 'mlflow', rowsPerPredict: options.rowsPerPredict ?? null },
      modelPath: join(models, model),
      codeDir: null,
      ...(options.callSize !== undefined && { callSize: options.callSize }),
    },
  });
}

function input(name: string, text: string): HostFile {
  const path = join(bench.dir, name.replaceAll('/', '_'));
  writeFileSync(path, text);
  return { path, name };
}

/** An image beside the models. */
const image = (name: string): HostFile => ({ path: join(models, name), name });

describe('an MLflow model without a script', () => {
  it('is given half as many rows when its device is full, and from then on; the next host knows', async () => {
    const rows = (count: number): string => `age\n${'1\n'.repeat(count)}`;
    const host = await modelHost('tight');
    const first = scored(await host.score([input('a.csv', rows(7)), input('b.csv', rows(2))], patience));
    expect(await textOf(first)).toBe(
      [3, 3, 3, 3, 3, 3, 1].map((of, row) => `${row},${of},a.csv\n`).join('') + '0,2,b.csv\n1,2,b.csv\n',
    );
    expect([first.callSize, first.summary.failed]).toEqual([3, []]);
    const again = scored(await host.score([input('c.csv', rows(4))], patience));
    expect([await textOf(again), again.callSize]).toEqual(['0,3,c.csv\n1,3,c.csv\n2,3,c.csv\n3,1,c.csv\n', null]);
    const next = scored(await (await modelHost('tight', { callSize: 2 })).score([input('d.csv', rows(3))], patience));
    expect(await textOf(next)).toBe('0,2,d.csv\n1,2,d.csv\n2,1,d.csv\n');
  });

  it('fails as want of memory when it says something of rows together', async () => {
    const file = input('a.csv', 'age\n1\n2\n3\n4\n5\n6\n7\n');
    const { failure } = failed(await (await modelHost('whole')).score([file], patience));
    expect(failure).toMatchObject({
      code: 'SCORER_OUT_OF_MEMORY',
      message: matching(/for 3 of them it returned 1 rows/),
    });
  });

  it('writes the row, the prediction and the file, and leaves out files that cannot be scored', async () => {
    const host = await modelHost('sum');
    const files = [
      input('in/a.csv', 'weight,age,more\n0.5,10,x\n2,20,y\n'),
      input('b.csv', 'age,weight\n1,oops\n'),
      input('c.csv', 'weight\n1\n'),
      input('d.avro', 'Obj'),
      input('e.csv', ''),
      input('f.csv', 'age,weight\n-1,1\n'),
      input('g, h.CSV', 'name,age,weight\n7,3,1.5\n'),
      input('only-header.csv', 'age,weight\n'),
    ];
    const outcome = scored(await host.score(files, patience));
    expect(await textOf(outcome)).toBe('0,5.0,in/a.csv\n1,40.0,in/a.csv\n0,4.5,"g, h.CSV"\n');
    expect(outcome.summary).toMatchObject({
      attribution: 'file',
      fileRows: [2, 0, 0, 0, 0, 0, 1, 0],
      rows: 3,
      schema: null,
    });
    const reasons = outcome.summary.failed.map(({ index, code, message }) => [index, code, message.split('\n')[0]]);
    expect(reasons).toEqual([
      [
        1,
        'INPUT_DECODE_FAILED',
        expect.stringMatching(/^Error processing input file: 'b\.csv'\. Exception: could not convert/),
      ],
      [2, 'INPUT_COLUMNS_MISSING', expect.stringContaining("needs the columns 'age'; the file has 'weight'")],
      [3, 'INPUT_UNSUPPORTED', expect.stringContaining("'d.avro'. File type 'avro' is not supported")],
      [4, 'INPUT_DECODE_FAILED', expect.stringContaining('No columns to parse from file')],
      [5, 'SCORER_FAILED', 'ValueError: a negative age'],
    ]);
    expect(outcome.summary.failed[0]?.message).toContain("column 'weight' must be double; row 0 has 'oops'");
    expect(outcome.summary.failed[4]?.message).toContain('in predict');

    // The same error in all files is the model's; the host lives on.
    const broken = failed(
      await host.score([input('x.csv', 'age,weight\n-1,1\n'), input('y.csv', 'age,weight\n-2,1\n')], patience),
    );
    expect(broken).toMatchObject({
      isHostDead: false,
      failure: { code: 'SCORER_FAILED', message: 'ValueError: a negative age' },
    });
    expect(await textOf(await host.score([input('z.csv', 'age,weight\n4,0.25\n')], patience))).toBe('0,1.0,z.csv\n');
  }, 60_000);

  it('gives predict() some rows at a time when asked, and counts rows on', async () => {
    const host = await modelHost('sum', { rowsPerPredict: 2, format: 'csv' });
    const rows = Array.from({ length: 5 }, (_, i) => `${i},1\n`).join('');
    const outcome = scored(
      await host.score([input('a.csv', `age,weight\n${rows}`), input('b.csv', 'age,weight\n9,1\n')], patience),
    );
    expect(await textOf(outcome)).toBe(
      '0,0.0,a.csv\n1,1.0,a.csv\n2,2.0,a.csv\n3,3.0,a.csv\n4,4.0,a.csv\n0,9.0,b.csv\n',
    );
    expect(outcome.summary).toMatchObject({
      fileRows: [5, 1],
      schema: { columns: ['row:value', 'prediction:value', 'file:value'], prologue: 'row,prediction,file\n' },
    });
    // Rows before the one that cannot be read are not half a result.
    const late = scored(
      await host.score(
        [input('late.csv', `age,weight\n${rows}six,1\n`), input('ok.csv', 'age,weight\n1,1\n')],
        patience,
      ),
    );
    expect(late.summary).toMatchObject({
      rows: 1,
      fileRows: [0, 1],
      failed: [{ index: 0, code: 'INPUT_DECODE_FAILED' }],
    });
    expect(late.summary.failed[0]?.message).toContain("column 'age' must be long; row 5 has 'six'");
    expect(await textOf(late)).toBe('0,1.0,ok.csv\n');
  }, 60_000);

  it('gives Arrow with the types of the prediction, and its columns under the names that are told', async () => {
    const outputForm = { ...defaultOutputForm, fileColumn: 'source', rowColumn: 'line', evolves: true };
    const host = await bench.start({
      settings: { outputFormat: 'arrow', outputForm },
      init: { scorer: { kind: 'mlflow', rowsPerPredict: 1 }, modelPath: join(models, 'sum'), codeDir: null },
    });
    const outcome = scored(
      await host.score([input('a.csv', 'age,weight\n1,0.5\n2,2\n'), input('b.csv', 'age,weight\n3,1\n')], patience),
    );
    expect(outcome.summary.schema?.columns).toEqual(['line:int64', 'prediction:float64', 'source:utf8']);
    const pieces: Uint8Array[] = [prologueBytes(outcome.summary.schema ?? undefined)];
    for await (const piece of outcome.body.pieces()) pieces.push(piece);
    const rows = tableFromIPC(Buffer.concat(pieces)).toArray() as readonly { toJSON(): unknown }[];
    expect(rows.map((row) => row.toJSON())).toEqual([
      { line: 0n, prediction: 0.5, source: 'a.csv' },
      { line: 1n, prediction: 4, source: 'a.csv' },
      { line: 0n, prediction: 3, source: 'b.csv' },
    ]);
    const told = { ...patience, columns: ['line:int64', 'prediction:float32', 'source:utf8'] };
    expect(failed(await host.score([input('a.csv', 'age,weight\n1,0.5\n')], told)).failure).toMatchObject({
      code: 'RESULT_SCHEMA_MISMATCH',
      message: matching(/^column prediction is float64 here and float32 in the job's first rows/),
    });
  }, 60_000);

  it('takes a data frame column by column, and columns as they come without a signature', async () => {
    const azure = await modelHost('echo');
    expect(await textOf(await azure.score([input('a.csv', 'n,t\n1,x\n2,y\n')], patience))).toMatch(
      /^0,2,"\[dtype\('int64'\), .+\]","\{'a': \[1, 'x'\]\}",a\.csv\n$/,
    );
    const json = await modelHost('echo', { format: 'jsonl' });
    const [row = ''] = (await textOf(await json.score([input('a.csv', 'n\n1.5\n')], patience))).split('\n');
    expect(JSON.parse(row)).toEqual({
      row: 0,
      rows: 1,
      types: "[dtype('float64')]",
      cell: { a: [1, 'x'] },
      file: 'a.csv',
    });
  }, 60_000);

  it('is refused where a column of its own has the name of the row or the file', async () => {
    const host = await bench.start({
      settings: { outputFormat: 'jsonl', outputForm: { ...defaultOutputForm, fileColumn: 'types' } },
      init: { scorer: { kind: 'mlflow', rowsPerPredict: null }, modelPath: join(models, 'echo'), codeDir: null },
    });
    expect(failed(await host.score([input('a.csv', 'n\n1.5\n')], patience)).failure).toMatchObject({
      code: 'SCORER_OUTPUT_INVALID',
      message: matching(/^the rows have more than one column 'types'/),
    });
  }, 60_000);

  it('reads images as arrays, in the shape of the signature', async () => {
    const plain = await modelHost('image');
    expect(await textOf(await plain.score(['grey.png', 'colour.PNG', 'wide.gif'].map(image), patience))).toBe(
      '0,"uint8 (1, 2, 2, 1) 7",grey.png\n0,"uint8 (1, 2, 3, 3) 7",colour.PNG\n0,"uint8 (1, 1, 5, 3) 0",wide.gif\n',
    );
    const pixels = await modelHost('pixels');
    const outcome = scored(await pixels.score([image('grey.png'), image('wide.gif')], patience));
    expect(await textOf(outcome)).toBe('0,"float32 (1, 4) 7.0",grey.png\n');
    expect(outcome.summary.failed).toMatchObject([{ index: 1, code: 'INPUT_DECODE_FAILED' }]);
    expect(outcome.summary.failed[0]?.message).toContain("into the signature's (-1, 4)");
    const channels = await modelHost('channels');
    expect(await textOf(await channels.score([image('colour.PNG')], patience))).toBe(
      '0,"uint8 (1, 3, 2, 3) 7",colour.PNG\n',
    );
  }, 60_000);

  it('names both versions: in one line of the log, and in the error when the library breaks', async () => {
    const host = await modelHost('old');
    const log = (): string => bench.printed.map(({ text }) => text).join('');
    expect(log()).toMatch(
      /WARNING batchmill: the model was saved with pyyaml 1\.0\.1, this environment has 6\.\S+ \(packages that differ: 2\)\n/,
    );
    const { failure } = failed(await host.score([input('a.csv', 'n\n1\n')], patience));
    expect(failure.code).toBe('MODEL_INVALID');
    expect(failure.message).toMatch(
      /AttributeError: module 'yaml' has no attribute 'no_such_function'\nthe model was saved with pyyaml 1\.0\.1, this environment has 6\./,
    );

    const error = await refusalOf(modelHost('broken'));
    expect(error.code).toBe('MODEL_INVALID');
    expect(error.message).toContain('the model cannot be loaded: ');
    expect(error.message).toContain('the model was saved with scikit-learn 1.1.2, this environment has none');
  }, 60_000);

  it('finds the model one folder below, and says what there is when there is none', async () => {
    const below = await bench.start({
      init: { scorer: { kind: 'mlflow', rowsPerPredict: null }, modelPath: bareFolder('below', 'sum'), codeDir: null },
    });
    expect(await textOf(await below.score([input('a.csv', 'age,weight\n2,2\n')], patience))).toBe('0,4.0,a.csv\n');
    const none = { scorer: { kind: 'mlflow', rowsPerPredict: null }, modelPath: bench.dir, codeDir: null } as const;
    const error = await refusalOf(bench.start({ init: none }));
    expect([error.code, error.message]).toEqual([
      'MODEL_INVALID',
      expect.stringContaining('must hold one MLflow model'),
    ]);
  }, 60_000);

  it('says which packages the model asks for where MLflow is missing', async () => {
    const error = await refusalOf(
      bench.start({
        command: bareInterpreter(),
        init: { scorer: { kind: 'mlflow', rowsPerPredict: null }, modelPath: join(models, 'sum'), codeDir: null },
      }),
    );
    expect(error.code).toBe('MODEL_INVALID');
    expect(error.message).toMatch(
      /MLflow needs the Python module 'mlflow', which .+ does not have; the model's own environment asks for mlflow/,
    );
    expect(error.message).toContain('scikit-learn==1.1.2');
  });
});

describe('what a script logs', () => {
  const script = `import mlflow, os
def init():
    mlflow.log_param("mode", "fast")
def run(mini_batch):
    mlflow.log_metric("files", len(mini_batch))
    mlflow.log_artifact(mini_batch[0])
    return [mlflow.active_run().info.run_name]
`;

  it('is in one MLflow run for each of several hosts that begin at once', async () => {
    bench.code('batch_driver.py', script);
    const logDir = join(bench.dir, 'logs of the job');
    const hosts = await Promise.all([0, 1, 2].map((number) => bench.start({ init: { logDir, process: number } })));
    const files = bench.files('a', 'b');
    const names = [];
    for (const host of hosts) names.push(await textOf(await host.score(files, patience)));
    expect(names.sort()).toEqual([0, 1, 2].map((number) => `node-1/process00${number}\n`));
    await Promise.all(hosts.map((host) => host.stop()));

    const program = `import json, mlflow
runs = mlflow.search_runs(experiment_names=["job"], output_format="list")
print(json.dumps(sorted([run.info.run_name, run.info.status, run.data.params, run.data.metrics] for run in runs)))`;
    const env = { PATH: '/usr/bin:/bin', MLFLOW_TRACKING_URI: `file://${encodeURI(join(logDir, 'mlruns'))}` };
    const done = spawnSync(testPython(), ['-c', program], { env, encoding: 'utf8', cwd: models });
    expect(done.status, done.stderr).toBe(0);
    expect(JSON.parse(done.stdout)).toEqual(
      [0, 1, 2].map((number) => [`node-1/process00${number}`, 'FINISHED', { mode: 'fast' }, { files: 2 }]),
    );
    expect(readdirSync(logDir)).toEqual(['mlruns']);
  }, 90_000);

  it('is a line of JSON each where MLflow is missing, and what else it has is refused by name', async () => {
    bench.code(
      'batch_driver.py',
      `${script}
def shutdown():
    for statement in ("mlflow.pyfunc.load_model('x')", "import mlflow.sklearn", "from mlflow import tracking"):
        try:
            exec(statement)
        except (AttributeError, ImportError) as error:
            print(type(error).__name__, error)
`,
    );
    const logDir = join(bench.dir, 'logs');
    const host = await bench.start({ command: bareInterpreter(), init: { logDir } });
    expect(await textOf(await host.score(bench.files('a', 'b'), patience))).toBe('process000\n');
    const lines = readFileSync(join(logDir, 'mlflow', 'process000.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const records = lines.map(
      (line) => JSON.parse(line) as { kind: string; key?: string; value?: unknown; path?: string },
    );
    expect(records.map(({ kind, key, value }) => [kind, key, value])).toEqual([
      ['run', undefined, undefined],
      ['param', 'mode', 'fast'],
      ['metric', 'files', 2],
      ['artifact', undefined, undefined],
    ]);
    expect(readFileSync(join(logDir, 'mlflow', records[3]?.path ?? ''), 'utf8')).toBe('a');
    await host.stop();
    const log = bench.printed.map(({ text }) => text).join('');
    expect(log.match(/mlflow is not installed: a small stand-in/g)).toHaveLength(1);
    expect(log).toContain("AttributeError mlflow.pyfunc is not part of the scoring host's stand-in for mlflow");
    expect(log).toContain('ModuleNotFoundError mlflow.sklearn is not part');
    expect(log).toContain('ModuleNotFoundError mlflow.tracking is not part');
    expect(log).toContain('add mlflow to the environment');
    expect(readdirSync(logDir)).toEqual(['mlflow']);
  });
});

/** The interpreter that `.venv` was made of, run so that it sees no package but its own library. */
function bareInterpreter(): string {
  const asked = spawnSync(testPython(), ['-c', 'import sys; print(sys.base_prefix)'], { encoding: 'utf8' });
  const path = join(bench.dir, 'bare-python');
  writeFileSync(path, `#!/bin/sh\nexec ${join(asked.stdout.trim(), 'bin', 'python3')} -S "$@"\n`, { mode: 0o755 });
  return path;
}

/** A folder with nothing but one model in it. */
function bareFolder(name: string, model: string): string {
  const folder = join(bench.dir, name);
  mkdirSync(folder);
  const copied = spawnSync('cp', ['-r', join(models, model), join(folder, 'pipeline')]);
  expect(copied.status).toBe(0);
  return folder;
}
