/** The built-in ONNX scorer told by `settings.onnx`, in the compiled scoring host: real models, images and tables. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { tableFromArrays, tableToIPC, vectorFromArray, Float64, Int64, Utf8, type Table } from 'apache-arrow';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { encode as encodeBmp } from 'bmp-ts';
import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveOnnx } from '../../common/config/onnx-settings-schema.ts';
import type { HostDone, HostFailed, HostFile } from '../../common/core/host-protocol.ts';
import { defaultOnnxSettings, type OnnxImageSettings, type OnnxSettings } from '../../common/core/onnx-settings.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { openNodeHostBench, type Answer, type NodeHostBench, type RawHost } from '../helpers/node-host.ts';
import { onnxModel } from '../helpers/onnx-model.ts';

let bench: NodeHostBench;
beforeEach(() => void (bench = openNodeHostBench()));
afterEach(() => bench.close());

function data(...parts: readonly string[]): string {
  const path = packageFile('..', 'shared', 'data', ...parts);
  if (existsSync(path)) return path;
  throw new Error(`${path} does not exist: these tests need the models and inputs of ../shared/data`);
}

const filesIn = (dir: string): HostFile[] =>
  readdirSync(dir)
    .sort()
    .map((name) => ({ path: join(dir, name), name }));

const start = (modelPath: string, settings: Partial<OnnxSettings> = {}): Promise<RawHost> =>
  bench.start({ kind: 'onnx', settings: { ...defaultOnnxSettings, ...settings } }, { modelPath });

const image = (changes: Partial<OnnxImageSettings>): Partial<OnnxSettings> => ({
  image: { ...defaultOnnxSettings.image, ...changes },
});

function done(answer: Answer): HostDone & { readonly lines: readonly string[] } {
  if (answer.kind !== 'done') throw new Error(`expected done, found ${JSON.stringify(answer)}`);
  return { ...answer.message, lines: answer.rows.split('\n').filter(Boolean) };
}

async function refusal(host: RawHost): Promise<HostFailed> {
  if (host.init.kind !== 'failed') throw new Error(`expected failed, found ${JSON.stringify(host.init)}`);
  await host.exit;
  return host.init.message;
}

describe('SqueezeNet, half precision, one image at a time, blue first', () => {
  it('names what is on 32 photos', async () => {
    const settings = await resolveOnnx(
      { image: { channels: 'bgr' }, labels: { path: 'labels.json' }, top_k: 3 },
      ['settings', 'onnx'],
      data('imagenet'),
      [],
    );
    const host = await start(data('imagenet', 'SqueezeNet_fp16.onnx'), settings);
    const files = filesIn(data('imagenet', 'inputs'));
    const { lines, schema, fileRows, failed } = done(await host.score(files));
    expect(schema?.prologue).toBe('file,label_1,score_1,label_2,score_2,label_3,score_3\n');
    expect({ fileRows, failed }).toEqual({ fileRows: files.map(() => 1), failed: [] });
    const best = new Map(
      lines.map((line) => /^([^,]+),("[^"]*"|[^,]*),([^,]+)/.exec(line)?.slice(1) as [string, string]),
    );
    console.log([...best].map(([file, label]) => `${file}: ${label}`).join('\n'));
    expect(best.get('kitten_224.png')).toMatch(/cat|tabby|lynx/i);
    expect(best.get('fish.png')).toMatch(/fish|tench|coho|gar|eel|ray|shark|sturgeon/i);
    expect(host.printed.stdout).toMatch(/^input \S+: float16 NCHW 3×224×224, bgr, scale 1, 1 at a time$/m);
    expect(host.printed.stdout).toContain('execution provider: cpu\n');
  });

  it('refuses labels that are not as many as its classes', async () => {
    const host = await start(data('imagenet', 'SqueezeNet_fp16.onnx'), { labels: ['cat', 'dog'] });
    expect(await refusal(host)).toMatchObject({
      code: 'MODEL_UNSUPPORTED',
      message: expect.stringContaining('settings.onnx.labels has 2 names, but the model gives softmaxout_1') as string,
    });
  });
});

describe('heart.onnx', () => {
  const header = 'age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal';
  const floats = ['oldpeak'];

  /** The rows of all four files, column by column. */
  function heartColumns(): Map<string, (string | number)[]> {
    const columns = new Map<string, (string | number)[]>();
    for (const file of filesIn(data('heart', 'inputs'))) {
      const [head = '', ...rows] = readFileSync(file.path, 'utf8').trim().split(/\r?\n/);
      expect(head).toBe(header);
      head.split(',').forEach((name, at) => {
        const cells = rows.map((row) => row.split(',')[at] as string);
        columns.set(name, [...(columns.get(name) ?? []), ...(name === 'thal' ? cells : cells.map(Number))]);
      });
    }
    return columns;
  }

  const predictions = (lines: readonly string[]): string[] => lines.map((line) => line.split(',').slice(2).join());

  it('predicts the same from CSV, JSON Lines, Parquet, and Arrow in its three forms', async () => {
    const columns = heartColumns();
    const rows = columns.get('age')?.length ?? 0;
    const objects = Array.from({ length: rows }, (_, i) =>
      JSON.stringify(Object.fromEntries([...columns].map(([name, values]) => [name, values[i]]))),
    );
    const arrow = tableFromArrays(
      Object.fromEntries(
        [...columns].map(([name, values]) => {
          if (name === 'thal') return [name, vectorFromArray(values, new Utf8())];
          if (floats.includes(name)) return [name, vectorFromArray(values, new Float64())];
          return [
            name,
            vectorFromArray(
              values.map((value) => BigInt(value)),
              new Int64(),
            ),
          ];
        }),
      ) as never,
    ) as unknown as Table;
    const parquet = parquetWriteBuffer({
      rowGroupSize: 100,
      columnData: [...columns].map(([name, values]) => ({
        name,
        data: name === 'thal' || floats.includes(name) ? values : values.map((value) => BigInt(value)),
        type: name === 'thal' ? 'STRING' : floats.includes(name) ? 'DOUBLE' : 'INT64',
      })),
    });
    const host = await start(data('heart', 'heart.onnx'));
    const csv = done(await host.score(filesIn(data('heart', 'inputs'))));
    expect(csv.rows).toBe(303);
    const forms = [
      bench.file('heart.jsonl', objects.join('\n')),
      bench.file('heart.parquet', new Uint8Array(parquet)),
      bench.file('heart.arrow', tableToIPC(arrow, 'file')),
      bench.file('heart.feather', tableToIPC(arrow, 'file')),
      bench.file('heart.arrows', tableToIPC(arrow, 'stream')),
    ];
    const answer = done(await host.score(forms));
    expect({ failed: answer.failed, fileRows: answer.fileRows }).toEqual({
      failed: [],
      fileRows: forms.map(() => 303),
    });
    forms.forEach((_, i) => {
      expect(predictions(answer.lines.slice(i * 303, (i + 1) * 303))).toEqual(predictions(csv.lines));
    });
  });

  it('names column, row and value of what it cannot take, and goes on', async () => {
    const good = Object.fromEntries([...heartColumns()].map(([name, [value]]) => [name, value]));
    const line = (changes: object): string => `${JSON.stringify({ ...good, ...changes })}\n`;
    const { chol: _, ...lacking } = good;
    const files = [
      bench.file('text.jsonl', line({}) + line({ age: 'old' })),
      bench.file('gap.jsonl', line({ age: null })),
      bench.file('lacking.jsonl', JSON.stringify(lacking)),
      bench.file('cut.jsonl', '{"age": 1'),
      bench.file('none.parquet', 'this is no Parquet file'),
      bench.file('none.arrow', 'this is no Arrow file at all'),
      bench.file('good.jsonl', line({})),
    ];
    const host = await start(data('heart', 'heart.onnx'));
    const { failed, fileRows } = done(await host.score(files));
    expect(fileRows).toEqual([0, 0, 0, 0, 0, 0, 1]);
    expect(failed.map(({ code, message }) => `${code} ${message.slice(0, 70)}`)).toEqual([
      'INPUT_DECODE_FAILED text.jsonl, line 2, column age: "old" is not an int64',
      'INPUT_DECODE_FAILED gap.jsonl, line 1, column age is empty, and the model wants an int64; ',
      'INPUT_COLUMNS_MISSING lacking.jsonl lacks the column chol that the model takes; it has age, ',
      expect.stringMatching(/^INPUT_DECODE_FAILED cut.jsonl, line 1: /) as string,
      expect.stringMatching(/^INPUT_DECODE_FAILED none.parquet is no Parquet file/) as string,
      expect.stringMatching(/^INPUT_DECODE_FAILED none.arrow is no Arrow file/) as string,
    ]);
  });
});

describe('tables', () => {
  it('feed lists, columns that are mapped, and what is told for gaps', async () => {
    const { path } = bench.file(
      'model.onnx',
      onnxModel({
        inputs: [
          { name: 'x', type: 'float32', shape: ['n', 2] },
          { name: 'id', type: 'string', shape: ['n', 1] },
        ],
        outputs: [
          { name: 'y', type: 'float32', shape: ['n', 2] },
          { name: 'name', type: 'string', shape: ['n', 1] },
        ],
        nodes: [
          { op: 'Neg', inputs: ['x'], outputs: ['y'] },
          { op: 'Identity', inputs: ['id'], outputs: ['name'] },
        ],
      }),
    );
    const host = await start(path, {
      columns: { x: 'vector', id: 'key' },
      missing: { fill: 0 },
      outputs: ['name', 'y'],
    });
    const list = bench.file('a.jsonl', '{"key":"p","vector":[1,2]}\n{"key":7,"vector":[null,4]}\n');
    const short = bench.file('b.jsonl', '{"key":"p","vector":[1]}\n');
    const { lines, failed } = done(await host.score([list, short]));
    expect(lines).toEqual(['a.jsonl,0,0,p,-1.0,-2.0', 'a.jsonl,1,0,7,-0.0,-4.0']);
    expect(failed[0]?.message).toBe('b.jsonl, line 1, column vector: x takes a list of 2 values, found 1');
    const unknown = await refusal(await start(path, { columns: { z: 'vector' } }));
    expect(unknown.code).toBe('MODEL_UNSUPPORTED');
  });
});

describe('weights in a file beside the model', () => {
  it('come with its folder, and the error of the file alone says so', async () => {
    const values = new Float32Array([10, 20]);
    const bytes = onnxModel({
      inputs: [{ name: 'x', type: 'float32', shape: ['n', 2] }],
      outputs: [{ name: 'y', type: 'float32', shape: ['n', 2] }],
      nodes: [{ op: 'Add', inputs: ['x', 'w'], outputs: ['y'] }],
      weights: [{ name: 'w', dims: [2], values, file: 'model.onnx.data' }],
    });
    const { path } = bench.file('apart/model.onnx', bytes);
    bench.file('apart/model.onnx.data', new Uint8Array(values.buffer));
    const host = await start(dirname(path));
    const { lines } = done(await host.score([bench.file('a.csv', 'a,b\n1,2\n')]));
    expect(lines).toEqual(['a.csv,0,1,11.0,22.0']);
    expect(await refusal(await start(bench.file('alone.onnx', bytes).path))).toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('give the folder that holds them') as string,
    });
  });
});

describe('features that nobody has named', () => {
  const model = (): string =>
    bench.file(
      'model.onnx',
      onnxModel({
        inputs: [{ name: 'x', type: 'float32', shape: ['n', 'k'] }],
        outputs: [{ name: 'y', type: 'float32', shape: ['n', 'k'] }],
        nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
      }),
    ).path;
  const tables = (): HostFile[] => [
    bench.file('a.csv', 'a,b\n1,2\n'),
    bench.file('b.csv', 'b,a\n2,1\n'),
    bench.file('c.jsonl', '{"b":2,"a":1}\n'),
  ];

  it('are told, and files in another order share no mini-batch', async () => {
    for (const outputFormat of ['csv', 'azure'] as const) {
      const host = await bench.start(
        { kind: 'onnx', settings: defaultOnnxSettings },
        { modelPath: model(), outputFormat },
      );
      const together = await host.score(tables());
      expect(together).toMatchObject({ kind: 'failed', message: { code: 'RESULT_SCHEMA_MISMATCH' } });
      expect(JSON.stringify(together)).toMatch(/the columns b, a here and a, b before.*settings\.onnx\.columns/);
      const orders: unknown[] = [];
      for (const file of tables()) orders.push(done(await host.score([file])).schema?.features);
      expect(orders).toEqual([
        ['a', 'b'],
        ['b', 'a'],
        ['b', 'a'],
      ]);
    }
  });

  it('go in by name once they are listed', async () => {
    const host = await start(model(), { features: ['a', 'b'] });
    const { lines, schema } = done(await host.score(tables()));
    expect(lines).toEqual(['a.csv,0,1,1.0,2.0', 'b.csv,0,1,1.0,2.0', 'c.jsonl,0,1,1.0,2.0']);
    expect(schema).not.toHaveProperty('features');
  });
});

describe('images', () => {
  const mean = {
    inputs: [{ name: 'x', type: 'float32', shape: ['n', 3, 2, 2] }],
    outputs: [{ name: 'mean', type: 'float32', shape: ['n', 3, 1, 1] }],
    nodes: [{ op: 'GlobalAveragePool', inputs: ['x'], outputs: ['mean'] }],
  } as const;
  const model = (): string => bench.file('mean.onnx', onnxModel(mean)).path;

  it('of every kind are the same pixels', async () => {
    const plain = sharp({ create: { width: 2, height: 2, channels: 3, background: '#0a141e' } });
    const raw = await plain.clone().ensureAlpha().raw().toBuffer();
    const abgr = Buffer.from(Array.from({ length: 4 }, () => [255, 30, 20, 10]).flat());
    const files = [
      bench.file('a.png', await plain.clone().png().toBuffer()),
      bench.file('b.webp', await plain.clone().webp({ lossless: true }).toBuffer()),
      bench.file('c.tiff', await plain.clone().tiff({ compression: 'none' }).toBuffer()),
      bench.file('d.gif', await plain.clone().gif().toBuffer()),
      bench.file('e.bmp', encodeBmp({ width: 2, height: 2, data: abgr }).data),
      bench.file(
        'f.png',
        await sharp(raw, { raw: { width: 2, height: 2, channels: 4 } })
          .png()
          .toBuffer(),
      ),
      bench.file('cut.bmp', encodeBmp({ width: 2, height: 2, data: abgr }).data.subarray(0, 50)),
    ];
    const host = await start(model(), { outputs: ['mean'] });
    const { lines, failed } = done(await host.score(files));
    expect(new Set(lines.map((line) => line.replace(/^[^,]+,/, '')))).toEqual(new Set(['2,10.0,20.0,30.0']));
    expect(lines).toHaveLength(6);
    expect(failed).toMatchObject([{ index: 6, code: 'INPUT_DECODE_FAILED' }]);
  });

  it('are normalised for each channel in the model’s order', async () => {
    const plain = sharp({ create: { width: 2, height: 2, channels: 3, background: '#0a141e' } });
    const host = await start(model(), image({ channels: 'bgr', mean: [0, 10, 20], std: [10, 5, 2] }));
    const { lines } = done(await host.score([bench.file('a.png', await plain.png().toBuffer())]));
    expect(lines).toEqual(['a.png,0,3.0,2.0,-5.0']);
  });
});

describe('execution providers', () => {
  const digit = (): string => data('mnist', 'torch', 'mnist.onnx');

  it('are tried in their order, and the log says why one was not taken', async () => {
    const host = await start(digit(), { providers: ['tensorrt', 'cpu'] });
    expect(host.init.kind).toBe('ready');
    const isThere = host.printed.stdout.includes('execution provider: tensorrt');
    if (isThere) return;
    expect(host.printed.stderr).toContain('execution provider tensorrt cannot be had, cpu is next: ');
    expect(host.printed.stdout).toContain('execution provider: cpu\n');
  });

  it('that cannot be had are refused where there is no other', async () => {
    const host = await start(digit(), { providers: ['tensorrt'] });
    if (host.init.kind === 'ready') return;
    expect(await refusal(host)).toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringMatching(/cannot be loaded: tensorrt: .*settings\.onnx\.providers/) as string,
    });
  });
});

describe('a model that has no memory for more than 8 rows', () => {
  /** Of more, a tensor of 140 TB is wanted, which no machine has the addresses for; onnxruntime says so itself. */
  const greedy = onnxModel({
    inputs: [{ name: 'x', type: 'float32', shape: ['n', 2] }],
    outputs: [{ name: 'y', type: 'float32', shape: ['n', 2] }],
    weights: (
      [
        ['most', 16],
        ['huge', 2 ** 45],
        ['one', 1],
      ] as const
    ).map(([name, value]) => ({ name, dims: [1], values: Float32Array.of(value) })),
    nodes: [
      { op: 'Shape', inputs: ['x'], outputs: ['shape'] },
      { op: 'Cast', inputs: ['shape'], outputs: ['sizes'], attributes: { to: 1 } },
      { op: 'ReduceProd', inputs: ['sizes'], outputs: ['cells'] },
      { op: 'Sub', inputs: ['cells', 'most'], outputs: ['above'] },
      { op: 'Relu', inputs: ['above'], outputs: ['more'] },
      { op: 'Sign', inputs: ['more'], outputs: ['isMore'] },
      { op: 'Mul', inputs: ['isMore', 'huge'], outputs: ['extra'] },
      { op: 'Add', inputs: ['extra', 'one'], outputs: ['wanted'] },
      { op: 'Cast', inputs: ['wanted'], outputs: ['length'], attributes: { to: 7 } },
      { op: 'ConstantOfShape', inputs: ['length'], outputs: ['zeros'] },
      { op: 'ReduceMax', inputs: ['zeros'], outputs: ['zero'], attributes: { keepdims: 0 } },
      { op: 'Add', inputs: ['x', 'zero'], outputs: ['y'] },
    ],
  });
  const rowsText = (from: number, count: number): string =>
    `a,b\n${Array.from({ length: count }, (_, row) => `${from + row},${row}\n`).join('')}`;

  it('is called with half as many until they fit, and says how many', async () => {
    const path = bench.file('greedy.onnx', greedy).path;
    const host = await start(path, { features: ['a', 'b'] });
    const files = [bench.file('one.csv', rowsText(0, 30)), bench.file('two.csv', rowsText(100, 5))];
    const first = done(await host.score(files));
    expect([first.rows, first.failed, first.fileRows, first.callSize]).toEqual([35, [], [30, 5], 8]);
    expect(first.lines.map((line) => Number(line.split(',')[3]))).toEqual(
      [...Array(30).keys()].concat([100, 101, 102, 103, 104]),
    );
    const tries = (): number => host.printed.stdout.split('no memory for a call of').length - 1;
    const before = tries();
    expect(before).toBeGreaterThan(0);
    expect(host.printed.stdout).toContain('Failed to allocate memory for requested buffer');
    const second = done(await host.score(files, 2));
    expect([second.lines, second.callSize, tries()]).toEqual([first.lines, undefined, before]);
  });

  it('begins with what was learnt before', async () => {
    const path = bench.file('greedy.onnx', greedy).path;
    const settings = { ...defaultOnnxSettings, features: ['a', 'b'] };
    const host = await bench.start({ kind: 'onnx', settings }, { modelPath: path, callSize: 8 });
    const { rows, callSize } = done(await host.score([bench.file('one.csv', rowsText(0, 30))]));
    expect([rows, callSize, host.printed.stdout.includes('no memory')]).toEqual([30, undefined, false]);
  });
});
