/** `output.include: input`: columns of input tables beside the results, in both scorers that read tables, in the compiled hosts. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tableFromIPC, type Table } from 'apache-arrow';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { OutputFormat, Scorer } from '../../common/core/deployment.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { defaultOnnxSettings } from '../../common/core/onnx-settings.ts';
import { defaultOutputForm, type OutputForm } from '../../common/core/output-form.ts';
import { prologueBytes } from '../../common/format/prologue.ts';
import type { HostProcess, ScoreOutcome } from '../../worker/pool/host-process.ts';
import { onnxModel } from '../helpers/onnx-model.ts';
import { failed, openBench, patience, refusalOf, scored, textOf, type HostBench } from '../helpers/python-host.ts';
import { testPython } from '../helpers/python.ts';

/** A model that gives its input back, and tables with a column of each type. */
const makeFiles = `
import datetime, decimal, sys, mlflow, pandas, pyarrow, pyarrow.parquet
from mlflow.models.signature import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema
root = sys.argv[1]
class Same(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return pandas.DataFrame({"y": model_input["x"]})
class Few(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [1.0]
signature = ModelSignature(inputs=Schema([ColSpec(DataType.double, "x")]))
for name, model in (("same", Same()), ("few", Few())):
    mlflow.pyfunc.save_model(f"{root}/{name}", python_model=model, signature=signature, pip_requirements=[])
day = datetime.datetime(2024, 2, 29, 1, 2, 3, 456789)
arrays = {
    "x": pyarrow.array([0.5, 1.5, 2.5]),
    "id": pyarrow.array([9007199254740993, None, -9223372036854775808], pyarrow.int64()),
    "small": pyarrow.array([1, None, -3], pyarrow.int16()),
    "unsigned": pyarrow.array([18446744073709551615, 0, None], pyarrow.uint64()),
    "share": pyarrow.array([0.5, None, 3.0], pyarrow.float32()),
    "flag": pyarrow.array([True, None, False]),
    "name": pyarrow.array(["Zoë", None, "日本, \\"x\\""]),
    "word": pyarrow.array(["a", None, "a"]).dictionary_encode(),
    "raw": pyarrow.array([b"\\x00\\xff", None, b""]),
    "day": pyarrow.array([day.date(), None, datetime.date(1969, 12, 31)]),
    "wall": pyarrow.array([day, None, day], pyarrow.timestamp("us")),
    "moment": pyarrow.array([day, None, day], pyarrow.timestamp("ns", "UTC")),
    "list": pyarrow.array([[1, None], None, []], pyarrow.list_(pyarrow.int32())),
    "price": pyarrow.array([decimal.Decimal("-0.05"), None, decimal.Decimal("123456789012345.67")], pyarrow.decimal128(20, 2)),
}
table = pyarrow.table(arrays)
pyarrow.parquet.write_table(table, f"{root}/all.parquet", row_group_size=2)
with pyarrow.ipc.new_file(f"{root}/all.arrow", table.schema) as out:
    out.write_table(table, max_chunksize=2)
import PIL.Image
PIL.Image.new("L", (2, 2)).save(f"{root}/grey.png")
`;

const model = onnxModel({
  inputs: [{ name: 'x', type: 'float64', shape: ['n', 1] }],
  outputs: [{ name: 'y', type: 'float64', shape: ['n', 1] }],
  nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
});

let made: string;
let bench: HostBench;
beforeAll(() => {
  made = realpathSync(mkdtempSync(join(tmpdir(), 'batchmill-columns-')));
  writeFileSync(join(made, 'same.onnx'), model);
  const done = spawnSync(testPython(), ['-c', makeFiles, made], { encoding: 'utf8', cwd: made });
  expect(done.status, done.stderr).toBe(0);
}, 120_000);
afterAll(() => rmSync(made, { recursive: true }));
beforeEach(() => void (bench = openBench()));
afterEach(() => bench.close());

type Kind = 'onnx' | 'mlflow';
const scorers: Readonly<Record<Kind, Scorer>> = {
  onnx: { kind: 'onnx', settings: defaultOnnxSettings },
  mlflow: { kind: 'mlflow', rowsPerPredict: null },
};

function host(
  kind: Kind,
  outputFormat: OutputFormat,
  form: Partial<OutputForm>,
  { scorer = scorers[kind], modelName = kind === 'onnx' ? 'same.onnx' : 'same' } = {},
): Promise<HostProcess> {
  const settings = { outputFormat, outputForm: { ...defaultOutputForm, ...form } };
  return bench.start({ settings, init: { scorer, modelPath: join(made, modelName), codeDir: null } });
}

function input(name: string, text: string): HostFile {
  const path = join(bench.dir, name);
  writeFileSync(path, text);
  return { path, name };
}

const prepared = (name: string): HostFile => ({ path: join(made, name), name });

/** Header and lines, so that a test does not depend on where a scorer has `file`. */
async function csvOf(outcome: ScoreOutcome): Promise<string[][]> {
  const { schema } = scored(outcome).summary;
  const lines = `${schema?.prologue}${await textOf(outcome)}`.trimEnd().split('\n');
  return lines.map((line) => line.split(','));
}

async function tableOf(outcome: ScoreOutcome): Promise<Table> {
  const { summary, body } = scored(outcome);
  const pieces: Uint8Array[] = [prologueBytes(summary.schema ?? undefined)];
  for await (const piece of body.pieces()) pieces.push(piece);
  return tableFromIPC(Buffer.concat(pieces));
}

const columnsOf = (outcome: ScoreOutcome): readonly string[] | undefined => scored(outcome).summary.schema?.columns;

/** What is no result stands where the scorer has it. */
const beside: Readonly<Record<Kind, readonly [string[], string[]]>> = {
  onnx: [['file:utf8', 'row:int32'], []],
  mlflow: [['row:int64'], ['file:utf8']],
};

describe.each(['onnx', 'mlflow'] as const)('%s', (kind) => {
  const [before, after] = beside[kind];
  const columns = (...own: readonly string[]): readonly string[] => [...before, ...own, 'y:float64', ...after];
  const text = 'zip,x,id,name,"a b",note\n007,0.5,9007199254740993,Zoë,1.50,\n100,1.5,,"x ""y""",2,NA\n';

  it('keeps the text of a CSV as it is', async () => {
    const all = await host(kind, 'csv', { inputColumns: 'all' });
    const [header = [], first = [], second = []] = await csvOf(await all.score([input('a.csv', text)], patience));
    const names = header.filter((name) => name !== 'file' && name !== 'row');
    expect(names).toEqual(['zip', 'x', 'id', 'name', 'a b', 'note', 'y']);
    const place = header.indexOf('zip');
    expect(first.slice(place, place + 7)).toEqual(['007', '0.5', '9007199254740993', 'Zoë', '1.50', '', '0.5']);
    expect(second.slice(place, place + 7)).toEqual(['100', '1.5', '', '"x ""y"""', '2', 'NA', '1.5']);

    const azure = await host(kind, 'azure', { inputColumns: ['id'] });
    const outcome = await azure.score([input('a.csv', text)], patience);
    const lines = (await textOf(outcome)).trimEnd().split('\n');
    const wanted =
      kind === 'onnx'
        ? ['a.csv 0 9007199254740993 0.5', 'a.csv 1  1.5']
        : ['0,9007199254740993,0.5,a.csv', '1,,1.5,a.csv'];
    expect(lines).toEqual(wanted);
  }, 60_000);

  it('finds types in the texts of a CSV where the format has types', async () => {
    const arrow = await host(kind, 'arrow', { inputColumns: ['id', 'zip', 'a b', 'name', 'note'] });
    const outcome = await arrow.score([input('a.csv', text)], patience);
    expect(columnsOf(outcome)).toEqual(columns('id:int64', 'zip:utf8', 'a b:float64', 'name:utf8', 'note:utf8'));
    const rows = (await tableOf(outcome)).toArray() as readonly { toJSON(): unknown }[];
    expect(rows.map((row) => row.toJSON())).toMatchObject([
      { id: 9007199254740993n, zip: '007', 'a b': 1.5, name: 'Zoë', note: null, y: 0.5 },
      { id: null, zip: '100', 'a b': 2, name: 'x "y"', note: 'NA', y: 1.5 },
    ]);
    const json = await host(kind, 'jsonl', { inputColumns: ['zip', 'a b', 'note', 'name'] });
    const lines = (await textOf(await json.score([input('a.csv', text)], patience))).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { zip: '007', 'a b': 1.5, note: null, name: 'Zoë' },
      { zip: '100', 'a b': 2, note: 'NA', name: 'x "y"' },
    ]);
  }, 60_000);

  const typed = ['small', 'unsigned', 'share', 'flag', 'name', 'word', 'raw', 'day', 'wall', 'moment', 'list'];
  it.each(kind === 'onnx' ? ['all.parquet', 'all.arrow'] : ['all.parquet'])(
    'keeps the types of %s',
    async (name) => {
      const arrow = await host(kind, 'arrow', { inputColumns: ['id', ...typed] });
      const outcome = await arrow.score([prepared(name)], patience);
      expect(columnsOf(outcome)).toEqual(
        columns(
          ...['id:int64', 'small:int16', 'unsigned:uint64', 'share:float32', 'flag:bool', 'name:utf8', 'word:utf8'],
          ...['raw:binary', 'day:date32', 'wall:timestamp[us]', 'moment:timestamp[ns,UTC]', 'list:list<int32>'],
        ),
      );
      const table = await tableOf(outcome);
      const valuesOf = (column: string): unknown[] => Array.from(table.getChild(column) as Iterable<unknown>);
      expect(valuesOf('id')).toEqual([9007199254740993n, null, -9223372036854775808n]);
      expect(valuesOf('unsigned')).toEqual([18446744073709551615n, 0n, null]);
      expect(valuesOf('small')).toEqual([1, null, -3]);
      expect(valuesOf('share')).toEqual([0.5, null, 3]);
      expect(valuesOf('flag')).toEqual([true, null, false]);
      expect(valuesOf('name')).toEqual(['Zoë', null, '日本, "x"']);
      expect(valuesOf('word')).toEqual(['a', null, 'a']);
      expect(valuesOf('raw').map((one) => one && [...(one as Uint8Array)])).toEqual([[0, 255], null, []]);
      expect(valuesOf('list').map((one) => one && [...(one as Iterable<unknown>)])).toEqual([[1, null], null, []]);
      const counts = (column: string): unknown[] =>
        [0, 1, 2].map(
          (row) => table.getChild(column)?.data.flatMap((part) => [...(part.values as BigInt64Array)])[row],
        );
      expect(counts('wall')).toEqual([1709168523456789n, 0n, 1709168523456789n]);
      expect(counts('moment')).toEqual([1709168523456789000n, 0n, 1709168523456789000n]);
      expect(counts('day')).toEqual([19782, 0, -1]);
    },
    60_000,
  );

  it('writes typed values as text', async () => {
    const csv = await host(kind, 'csv', { inputColumns: ['id', 'share', 'flag', 'day', 'wall'] });
    const [header = [], ...lines] = await csvOf(await csv.score([prepared('all.parquet')], patience));
    const place = header.indexOf('id');
    expect(lines.map((line) => line.slice(place, place + 5))).toEqual([
      ['9007199254740993', '0.5', 'True', '2024-02-29', '2024-02-29 01:02:03.456789'],
      ['', '', '', '', ''],
      ['-9223372036854775808', '3.0', 'False', '1969-12-31', '2024-02-29 01:02:03.456789'],
    ]);
    const json = await host(kind, 'jsonl', { inputColumns: ['small', 'share', 'day', 'wall', 'list', 'name'] });
    const [first = '', second = ''] = (await textOf(await json.score([prepared('all.parquet')], patience))).split('\n');
    expect(JSON.parse(first)).toMatchObject({
      ...{ small: 1, share: 0.5, day: '2024-02-29', wall: '2024-02-29T01:02:03.456789', list: [1, null], name: 'Zoë' },
    });
    expect(JSON.parse(second)).toMatchObject({ small: null, share: null, day: null, wall: null, list: null });
  }, 60_000);

  it('leaves out a file that lacks a column, and says what it has', async () => {
    const csv = await host(kind, 'csv', { inputColumns: ['id', 'contry'] });
    const files = [input('a.csv', 'x,id,country\n1,7,NO\n'), input('b.csv', 'x,id,contry\n2,8,SE\n')];
    const outcome = scored(await csv.score(files, patience));
    expect(outcome.summary.fileRows).toEqual([0, 1]);
    const [failure] = outcome.summary.failed;
    expect([failure?.index, failure?.code]).toEqual([0, 'INPUT_COLUMNS_MISSING']);
    expect(failure?.message).toMatch(/contry.*output\.include|output\.include.*contry/);
    expect(failure?.message).toMatch(/country/);
    const [, line] = await csvOf(outcome);
    expect(line?.filter((cell) => ['8', 'SE'].includes(cell))).toEqual(['8', 'SE']);
  }, 60_000);

  it('refuses a name that the rows have too', async () => {
    for (const format of ['csv', 'arrow'] as const) {
      const all = await host(kind, format, { inputColumns: 'all' });
      const { failure } = failed(await all.score([input('a.csv', 'x,y,id\n1,2,3\n')], patience));
      expect(failure.code).toBe('SCORER_OUTPUT_INVALID');
      expect(failure.message).toMatch(
        /^the input has (?:a column|columns) ["']y["'], .*include: \{input: \["?x"?, "?id"?\]\}$/,
      );
    }
  }, 60_000);

  it('takes files whose columns stand in another order when they are named, and says so when they are not', async () => {
    const files = [input('a.csv', 'x,id,c\n1,7,NO\n'), input('b.csv', 'c,id,x\nSE,8,2\n')];
    const named = await host(kind, 'csv', { inputColumns: ['id', 'c'] });
    const [header = [], ...lines] = await csvOf(await named.score(files, patience));
    const place = header.indexOf('id');
    expect(lines.map((line) => line.slice(place, place + 3))).toEqual([
      ['7', 'NO', '1.0'],
      ['8', 'SE', '2.0'],
    ]);
    for (const format of ['azure', 'csv', 'arrow'] as const) {
      const all = await host(kind, format, { inputColumns: 'all' });
      expect(failed(await all.score(files, patience)).failure.code).toBe('RESULT_SCHEMA_MISMATCH');
      // Alone each is a result with a schema of its own, which the coordinator compares.
      expect(columnsOf(await all.score(files.slice(1), patience))?.map((text) => text.split(':')[0])).toEqual(
        kind === 'onnx' ? ['file', 'row', 'c', 'id', 'x', 'y'] : ['row', 'c', 'id', 'x', 'y', 'file'],
      );
    }
  }, 60_000);

  it('refuses integers here and fractions there, unless the column is declared or widened', async () => {
    const whole = input('whole.csv', 'x,n,code\n1,7,12\n');
    const part = input('part.csv', 'x,n,code\n1,7.5,A1\n');
    const plain = await host(kind, 'arrow', { inputColumns: ['n'] });
    const { failure } = failed(await plain.score([whole, part], patience));
    expect(failure.code).toBe('RESULT_SCHEMA_MISMATCH');
    expect(failure.message).toMatch(/n:int64.* and .*n:float64.*output\.schema/);

    const declared = await host(kind, 'arrow', {
      inputColumns: ['n', 'code'],
      schema: ['n:float64', 'code:utf8', 'y:float64'],
    });
    const outcome = await declared.score([whole, part], patience);
    expect(columnsOf(outcome)?.filter((column) => !/^(file|row):/.test(column))).toEqual([
      ...['n:float64', 'code:utf8', 'y:float64'],
    ]);
    const table = await tableOf(outcome);
    expect([...(table.getChild('n') as Iterable<unknown>)]).toEqual([7, 7.5]);
    expect([...(table.getChild('code') as Iterable<unknown>)]).toEqual(['12', 'A1']);

    const wide = await host(kind, 'arrow', { inputColumns: ['n', 'code'], evolves: true });
    const fixed = columns('n:float64', 'code:utf8');
    expect(columnsOf(await wide.score([part, whole], patience))).toEqual(fixed);
    expect(columnsOf(await wide.score([whole], { ...patience, columns: fixed }))).toEqual(fixed);
    const narrow = columns('n:int64', 'code:utf8');
    const refused = failed(await wide.score([part], { ...patience, columns: narrow })).failure;
    expect([refused.code, refused.message]).toEqual([
      'RESULT_SCHEMA_MISMATCH',
      expect.stringContaining("column n is float64 here and int64 in the job's first rows"),
    ]);
  }, 60_000);

  it('puts them beside the file and row of other names', async () => {
    const csv = await host(kind, 'csv', { inputColumns: ['file', 'id'], fileColumn: 'source', rowColumn: 'line' });
    const files = [input('a.csv', 'x,file,id\n1,inner,7\n2,,8\n')];
    const wanted =
      kind === 'onnx'
        ? [...['source,line,file,id,y', 'a.csv,0,inner,7,1.0', 'a.csv,1,,8,2.0']]
        : [...['line,file,id,y,source', '0,inner,7,1.0,a.csv', '1,,8,2.0,a.csv']];
    expect((await csvOf(await csv.score(files, patience))).map((line) => line.join(','))).toEqual(wanted);
  }, 60_000);
});

describe('only where it has a meaning', () => {
  it('is an error of an image that an MLflow model is fed, and of an ONNX model of images', async () => {
    const mlflow = await host('mlflow', 'csv', { inputColumns: 'all' });
    const { summary } = scored(await mlflow.score([prepared('grey.png'), input('a.csv', 'x\n1\n')], patience));
    expect(summary.failed).toMatchObject([{ index: 0, code: 'INPUT_UNSUPPORTED' }]);
    expect(summary.rows).toBe(1);
    const pixels = { name: 'x', type: 'float32', shape: ['n', 1, 2, 2] } as const;
    const nodes = [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }];
    writeFileSync(
      join(made, 'pixels.onnx'),
      onnxModel({ inputs: [pixels], outputs: [{ ...pixels, name: 'y' }], nodes }),
    );
    const refused = await refusalOf(host('onnx', 'csv', { inputColumns: 'all' }, { modelName: 'pixels.onnx' }));
    expect([refused.code, refused.message]).toEqual([
      'MODEL_UNSUPPORTED',
      expect.stringContaining('this model is fed images, which have none'),
    ]);
  }, 60_000);

  it('wants a prediction for each row', async () => {
    const few = await host('mlflow', 'csv', { inputColumns: 'all' }, { modelName: 'few' });
    const { failure } = failed(await few.score([input('a.csv', 'x\n1\n2\n')], patience));
    expect(failure.message).toMatch(/^predict\(\) returned 1 rows for 2 rows of input/);
  }, 60_000);

  it('holds for rows that go to predict() some at a time', async () => {
    const scorer = { kind: 'mlflow', rowsPerPredict: 2 } as const;
    const json = await host('mlflow', 'jsonl', { inputColumns: ['n'] }, { scorer });
    const rows = ['1,1', '2,', '3,2.5', '4,9', '5,1'].join('\n');
    const lines = (await textOf(await json.score([input('a.csv', `x,n\n${rows}\n`)], patience))).trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { n: unknown }).n)).toEqual([1, null, 2.5, 9, 1]);
    expect(lines[0]).toContain('"n":1.0');
  }, 60_000);
});

describe('JSON Lines', () => {
  it('keep what they have: large integers, gaps, objects', async () => {
    const text = '{"x":1,"id":9007199254740993,"o":{"a":[1]},"s":"12345678901234567890"}\n{"x":2,"o":null}\n';
    const json = await host('onnx', 'jsonl', { inputColumns: ['id', 'o', 's'] });
    const lines = (await textOf(await json.score([input('a.jsonl', text)], patience))).trimEnd().split('\n');
    expect(lines).toEqual([
      '{"file":"a.jsonl","row":0,"id":"9007199254740993","o":{"a":[1]},"s":"12345678901234567890","y":1.0}',
      '{"file":"a.jsonl","row":1,"id":null,"o":null,"s":null,"y":2.0}',
    ]);
    const arrow = await host('onnx', 'arrow', { inputColumns: ['id', 'o'] });
    const outcome = await arrow.score([input('a.jsonl', text)], patience);
    expect(columnsOf(outcome)).toEqual(['file:utf8', 'row:int32', 'id:int64', 'o:utf8', 'y:float64']);
    const table = await tableOf(outcome);
    expect([...(table.getChild('id') as Iterable<unknown>)]).toEqual([9007199254740993n, null]);
  }, 60_000);

  it('whose values no column holds are an error of the file', async () => {
    const arrow = await host('onnx', 'arrow', { inputColumns: ['v'] });
    const { summary } = scored(
      await arrow.score(
        [input('a.jsonl', '{"x":1,"v":1}\n{"x":2,"v":"a"}\n'), input('b.jsonl', '{"x":3,"v":3}\n')],
        patience,
      ),
    );
    expect(summary.failed).toMatchObject([{ index: 0, code: 'INPUT_DECODE_FAILED' }]);
    expect(summary.failed[0]?.message).toMatch(/^a\.jsonl: column "v" is utf8 in row 1 and int64 in the rows before/);
    expect(summary.fileRows).toEqual([0, 1]);
  }, 60_000);

  it('share calls of the model with files of other types, and are decimals of Arrow as text', async () => {
    const json = await host('onnx', 'jsonl', { inputColumns: ['price'] });
    const files = [input('a.jsonl', '{"x":1,"price":"p"}\n'), prepared('all.arrow'), input('b.csv', 'x,price\n9,3\n')];
    const lines = (await textOf(await json.score(files, patience))).trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { price: unknown }).price)).toEqual([
      ...['p', '-0.05', null, '123456789012345.67', 3],
    ]);
  }, 60_000);
});
