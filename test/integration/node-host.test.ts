/** The compiled Node scoring host over its own channels: ONNX models, scripts, and how it ends. */
import { defaultOnnxSettings, type OnnxSettings } from '../../common/core/onnx-settings.ts';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hostFrame, type HostDone, type HostFailed, type HostFile } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';
import { packageFile } from '../../common/io/package-files.ts';
import {
  openNodeHostBench,
  type Answer,
  type HostChanges,
  type NodeHostBench,
  type RawHost,
} from '../helpers/node-host.ts';
import { onnxModel, type OnnxModel } from '../helpers/onnx-model.ts';

let bench: NodeHostBench;
beforeEach(() => void (bench = openNodeHostBench()));
afterEach(() => bench.close());

function data(...parts: readonly string[]): string {
  const path = packageFile('..', 'shared', 'data', ...parts);
  if (!existsSync(path))
    throw new Error(`${path} does not exist: these tests need the models and inputs of ../shared/data`);
  return path;
}

function inputs(...parts: readonly string[]): HostFile[] {
  const dir = data(...parts);
  return readdirSync(dir)
    .sort()
    .map((name) => ({ path: join(dir, name), name }));
}

const startOnnx = (
  modelPath: string,
  changes: HostChanges = {},
  settings: Partial<OnnxSettings> = {},
): Promise<RawHost> =>
  bench.start({ kind: 'onnx', settings: { ...defaultOnnxSettings, ...settings } }, { modelPath, ...changes });

async function startModel(
  model: OnnxModel,
  changes: HostChanges = {},
  settings: Partial<OnnxSettings> = {},
): Promise<RawHost> {
  const host = await startOnnx(bench.file('model.onnx', onnxModel(model)).path, changes, settings);
  expect(host.init).toMatchObject({ kind: 'ready' });
  return host;
}

function startScript(name: string, code: string, changes: HostChanges = {}): Promise<RawHost> {
  bench.file(`code/${name}`, code);
  return bench.start({ kind: 'node', script: name }, { codeDir: join(bench.dir, 'code'), ...changes });
}

function done(answer: Answer): HostDone & { readonly lines: string[] } {
  if (answer.kind !== 'done') throw new Error(`expected done, found ${JSON.stringify(answer)}`);
  const { rows, message } = answer;
  expect(message.bytes).toBe(Buffer.byteLength(rows));
  return { ...message, lines: rows === '' ? [] : rows.trimEnd().split('\n') };
}

function failed(answer: Answer): HostFailed {
  if (answer.kind !== 'failed') throw new Error(`expected failed, found ${JSON.stringify(answer)}`);
  return answer.message;
}

/** The only answer of a host whose init() failed; it has ended. */
async function refusal(host: RawHost): Promise<HostFailed> {
  expect(await host.exit).toEqual({ code: 1, signal: null });
  const failure = failed(host.init);
  expect(failure).toMatchObject({ sequence: 0, fileIndex: -1 });
  return failure;
}

const copies = (file: HostFile, count: number): HostFile[] => Array.from({ length: count }, () => file);

describe('ONNX models of images', () => {
  const labels = (): Map<string, string> => {
    const lines = readFileSync(data('mnist', 'labels.csv'), 'utf8').trim().split('\n').slice(1);
    return new Map(lines.map((line) => line.split(',').slice(0, 2) as [string, string]));
  };

  it.each([
    ['torch/mnist.onnx', 192],
    ['keras/mnist-keras.onnx', 198],
  ])('%s knows %d of 200 digits', async (model, right) => {
    const host = await startOnnx(data('mnist', ...model.split('/')));
    const files = inputs('mnist', 'inputs');
    const { rows, lines, schema, ...summary } = done(await host.score(files));
    expect(summary).toMatchObject({ sequence: 1, attribution: 'file', fileRows: files.map(() => 1), failed: [] });
    expect(rows).toBe(200);
    expect(schema?.prologue).toMatch(/^file,label,logits_0,.*,logits_9,probabilities_0,.*,probabilities_9\n$/);
    expect(schema?.columns.slice(0, 3)).toEqual(['file:utf8', 'label:int32', 'logits_0:float32']);
    const known = labels();
    const cells = lines.map((line) => line.split(','));
    expect(cells.map(([file]) => file)).toEqual(files.map((file) => file.name));
    expect(cells.filter(([file = '', label]) => known.get(file) === label)).toHaveLength(right);
    expect(cells.every((row) => row.length === 22)).toBe(true);
    // Plain PNGs are nobody's but the host's own: their names are for the two calls of the model, and for the beginning.
    const told = host.printed.side.trimEnd().split('\n');
    expect(told).toHaveLength(3);
    expect([told[0], told[2]]).toEqual(['1 0', '1 199']);
  });

  it('are named one by one where a library decodes them', async () => {
    const host = await startOnnx(data('imagenet', 'SqueezeNet_fp16.onnx'), { outputFormat: 'jsonl' });
    const files = inputs('imagenet', 'inputs').slice(0, 3);
    done(await host.score(files));
    expect(new Set(host.printed.side.trimEnd().split('\n'))).toEqual(new Set(files.map((_, i) => `1 ${i}`)));
  });

  it('names bad files, and scores their neighbours as if they were alone', async () => {
    const host = await startOnnx(data('mnist', 'torch', 'mnist.onnx'), { outputFormat: 'azure' });
    const digits = inputs('mnist', 'inputs').slice(0, 3) as [HostFile, HostFile, HostFile];
    const alone = (await host.score(digits)).rows;
    const bad = [
      bench.file('text.png', 'no image'),
      { path: join(bench.dir, 'gone.png'), name: 'sub/gone.png' },
      bench.file('notes.txt', 'no image either'),
    ] as [HostFile, HostFile, HostFile];
    const answer = await host.score([bad[0], digits[0], bad[1], digits[1], digits[2], bad[2]], 2);
    expect(answer.rows).toBe(alone);
    expect(done(answer)).toMatchObject({
      sequence: 2,
      rows: 3,
      fileRows: [0, 1, 0, 1, 1, 0],
      schema: null,
      failed: [
        { index: 0, code: 'INPUT_DECODE_FAILED' },
        { index: 2, code: 'INPUT_UNREADABLE' },
        { index: 5, code: 'INPUT_UNSUPPORTED' },
      ],
    });
  });

  it('takes half precision, one image at a time', async () => {
    const host = await startOnnx(data('imagenet', 'SqueezeNet_fp16.onnx'), { outputFormat: 'jsonl' });
    const files = inputs('imagenet', 'inputs');
    const { lines, schema } = done(await host.score(files));
    expect(schema).toEqual({ columns: ['file:utf8', 'label:int32', 'softmaxout_1:list<float16>'], prologue: '' });
    const rows = lines.map((line) => JSON.parse(line) as { file: string; label: number; softmaxout_1: number[] });
    expect(rows.map((row) => row.file)).toEqual(files.map((file) => file.name));
    for (const { label, softmaxout_1: scores } of rows) {
      expect(scores).toHaveLength(1_000);
      expect(scores.indexOf(Math.max(...scores))).toBe(label);
      expect(Math.abs(scores.reduce((sum, score) => sum + score, 0) - 1)).toBeLessThan(0.02);
    }
    expect(rows.find((row) => row.file === '056_0003.jpg')?.label).toBe(207);
  });

  it('feeds images of different sizes to a model of any size', async () => {
    const host = await startModel({
      inputs: [{ name: 'x', type: 'float32', shape: ['n', 3, 'h', 'w'] }],
      outputs: [{ name: 'mean', type: 'float32', shape: ['n', 3, 1, 1] }],
      nodes: [{ op: 'GlobalAveragePool', inputs: ['x'], outputs: ['mean'] }],
    });
    const plain = async (name: string, width: number, background: string): Promise<HostFile> => {
      const image = sharp({ create: { width, height: 3, channels: 3, background } });
      return bench.file(name, await image.png().toBuffer());
    };
    const files = [
      await plain('a.png', 4, '#010203'),
      await plain('b.PNG', 4, '#040506'),
      await plain('c.png', 9, '#ff0000'),
    ];
    const { lines, schema } = done(await host.score(files));
    expect(schema?.prologue).toBe('file,label,mean_0,mean_1,mean_2\n');
    expect(lines).toEqual(['a.png,2,1.0,2.0,3.0', 'b.PNG,2,4.0,5.0,6.0', 'c.png,0,255.0,0.0,0.0']);
  });

  it('fails on outputs whose rows are not those of the input', async () => {
    const host = await startModel({
      inputs: [{ name: 'x', type: 'uint8', shape: ['n', 28, 28] }],
      outputs: [{ name: 'size', type: 'int64', shape: [3] }],
      nodes: [{ op: 'Shape', inputs: ['x'], outputs: ['size'] }],
    });
    expect(failed(await host.score(inputs('mnist', 'inputs').slice(0, 2)))).toMatchObject({
      code: 'SCORER_OUTPUT_INVALID',
      message: expect.stringContaining('size has shape [3] for 2 rows') as string,
      fileIndex: 1,
    });
  });
});

describe('ONNX models of CSV files', () => {
  it('take columns by name: 303 patients', async () => {
    const host = await startOnnx(data('heart', 'heart.onnx'));
    const { rows, fileRows, lines, schema, failed: bad } = done(await host.score(inputs('heart', 'inputs')));
    expect({ rows, fileRows, bad }).toEqual({ rows: 303, fileRows: [100, 100, 100, 3], bad: [] });
    expect(schema).toEqual({
      columns: ['file:utf8', 'row:int32', 'label:int64', 'probability:float32'],
      prologue: 'file,row,label,probability\n',
    });
    const cells = lines.map((line) => line.split(','));
    expect(cells.slice(98, 102).map(([file, row]) => `${file} ${row}`)).toEqual([
      'heart-unlabeled-0.csv 98',
      'heart-unlabeled-0.csv 99',
      'heart-unlabeled-1.csv 0',
      'heart-unlabeled-1.csv 1',
    ]);
    expect(cells.every(([, , label, p]) => (Number(p) > 0.5 ? '1' : '0') === label)).toBe(true);
    // The same rows, with their labels: the model was trained on them.
    const [header, ...labelled] = readFileSync(data('heart', 'labelled', 'heart.csv'), 'utf8')
      .trim()
      .split('\n');
    expect(header?.trim()).toMatch(/,target$/);
    const answer = done(await host.score([{ path: data('heart', 'labelled', 'heart.csv'), name: 'heart.csv' }]));
    const right = answer.lines.filter((line, i) => line.split(',')[2] === labelled[i]?.split(',').at(-1)?.trim());
    expect(answer.rows).toBe(303);
    expect(right.length).toBeGreaterThan(240);
  });

  it('send their rows in a few frames, however many calls they took', async () => {
    const host = await startOnnx(data('heart', 'heart.onnx'), {}, { batchRows: 1 });
    const answer = await host.score(inputs('heart', 'inputs'));
    expect(done(answer).rows).toBe(303);
    // One, and one more for each quarter of a second.
    expect(answer.frames).toBeLessThan(30);
  });

  it('take nothing from a file that is wrong at its end', async () => {
    const host = await startOnnx(data('heart', 'heart.onnx'), { outputFormat: 'azure' });
    const good = inputs('heart', 'inputs') as [HostFile, HostFile, HostFile, HostFile];
    const [header, row] = readFileSync(good[0].path, 'utf8').split('\n') as [string, string];
    const late = bench.file(
      'late.csv',
      `${header}\n${`${row}\n`.repeat(3 * limits.modelRunRowsMax)}${row.replace('63', 'x')}\n`,
    );
    const typo = bench.file('typo.csv', `${header.replace('chol', 'cholesterol')}\n${row}\n`);
    const alone = (await host.score([good[0], good[3]])).rows;
    const answer = await host.score([good[0], late, typo, good[3]]);
    expect(answer.rows).toBe(alone);
    expect(done(answer)).toMatchObject({
      rows: 103,
      fileRows: [100, 0, 0, 3],
      failed: [
        {
          index: 1,
          code: 'INPUT_DECODE_FAILED',
          message: `late.csv, line ${3 * limits.modelRunRowsMax + 2}, column age: "x" is not an int64`,
        },
        {
          index: 2,
          code: 'INPUT_COLUMNS_MISSING',
          message: expect.stringMatching(/^typo.csv lacks the column chol /) as string,
        },
      ],
    });
  });

  it('take all numeric columns as features, padded to a fixed batch', async () => {
    const host = await startModel(
      {
        inputs: [{ name: 'x', type: 'float32', shape: [4, 2] }],
        outputs: [{ name: 'features', type: 'float32', shape: [4, 2] }],
        nodes: [{ op: 'Neg', inputs: ['x'], outputs: ['features'] }],
      },
      {},
      { missing: { fill: 'nan' } },
    );
    const files = [
      bench.file('a.csv', 'id,p,q\nr,1,2\nr,3,4\n'),
      bench.file('b.csv', 'p,q\n5,6\n7,\n9,10\n'),
      bench.file('c.csv', 'p,q\n'),
    ];
    const { lines, fileRows, schema } = done(await host.score(files));
    expect(schema?.prologue).toBe('file,row,features_0,features_1\n');
    expect(fileRows).toEqual([2, 3, 0]);
    expect(lines).toEqual([
      'a.csv,0,-1.0,-2.0',
      'a.csv,1,-3.0,-4.0',
      'b.csv,0,-5.0,-6.0',
      'b.csv,1,-7.0,',
      'b.csv,2,-9.0,-10.0',
    ]);
    expect(done(await host.score(files.slice(2)))).toMatchObject({ rows: 0, schema: null, fileRows: [0], failed: [] });
  });

  it('leave out outputs that are no tensors', async () => {
    const x = { name: 'x', type: 'float32', shape: ['n', 2] } as const;
    const zip = {
      op: 'ZipMap',
      domain: 'ai.onnx.ml',
      inputs: ['x'],
      outputs: ['maps'],
      attributes: { classlabels_int64s: [0, 1] },
    };
    const maps = { name: 'maps', type: 'maps' } as const;
    const same = { op: 'Identity', inputs: ['x'], outputs: ['y'] };
    const host = await startModel({ inputs: [x], outputs: [maps, { ...x, name: 'y' }], nodes: [zip, same] });
    expect(done(await host.score([bench.file('a.csv', 'a,b\n1,2\n')])).lines).toEqual(['a.csv,0,1,1.0,2.0']);
    const only = bench.file('only.onnx', onnxModel({ inputs: [x], outputs: [maps], nodes: [zip] }));
    expect(await refusal(await startOnnx(only.path))).toMatchObject({
      code: 'MODEL_UNSUPPORTED',
      message: expect.stringContaining('maps: no tensor') as string,
    });
  });

  it('keep types: double, integers, texts, booleans', async () => {
    const column = (name: string, type: 'float64' | 'int32' | 'string' | 'bool') => ({ name, type, shape: ['n', 1] });
    const types = { d: 'float64', i: 'int32', s: 'string', b: 'bool' } as const;
    const names = Object.keys(types) as (keyof typeof types)[];
    const host = await startModel(
      {
        inputs: names.map((name) => column(name, types[name])),
        outputs: names.map((name) => column(`${name}_out`, types[name])),
        nodes: names.map((name) => ({ op: 'Identity', inputs: [name], outputs: [`${name}_out`] })),
      },
      { outputFormat: 'jsonl' },
      { missing: { fill: 'nan' } },
    );
    const file = bench.file('t.csv', 'b,s,i,d,other\ntrue,"a ""b""",7,0.1,\nFalse,é,-3,,x\n');
    expect(done(await host.score([file])).lines).toEqual([
      '{"file":"t.csv","row":0,"d_out":0.1,"i_out":7,"s_out":"a \\"b\\"","b_out":true}',
      '{"file":"t.csv","row":1,"d_out":null,"i_out":-3,"s_out":"é","b_out":false}',
    ]);
  });

  it('send large results in frames of a bounded size', async () => {
    const host = await startModel({
      inputs: [{ name: 'x', type: 'float64', shape: ['n', 'k'] }],
      outputs: [{ name: 'x_out', type: 'float64', shape: ['n', 'k'] }],
      nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['x_out'] }],
    });
    const width = 40;
    const header = Array.from({ length: width }, (_, i) => `c${i}`).join();
    const row = Array.from({ length: width }, (_, i) => i / 7).join();
    const answer = await host.score(copies(bench.file('wide.csv', `${header}\n${`${row}\n`.repeat(3_000)}`), 2));
    const { rows, bytes, lines } = done(answer);
    expect(rows).toBe(6_000);
    expect(new Set(lines.map((line) => line.replace(/^wide.csv,\d+,/, ''))).size).toBe(1);
    expect(answer.frames).toBeGreaterThanOrEqual(Math.ceil(bytes / limits.frameRowsBytes));
  });
});

describe('a model that cannot be used', () => {
  it('is refused with the loader’s words', async () => {
    const { path } = bench.file('model.onnx', 'this is no model');
    expect(await refusal(await startOnnx(path))).toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringMatching(/^the model model.onnx cannot be loaded: .*Protobuf parsing failed/) as string,
    });
    expect(await refusal(await startOnnx(join(bench.dir, 'gone.onnx')))).toMatchObject({ code: 'MODEL_INVALID' });
  });

  it('is refused with its inputs', async () => {
    const x = { name: 'x', type: 'int64', shape: ['n', 8, 8] } as const;
    const { path } = bench.file(
      'model.onnx',
      onnxModel({
        inputs: [x],
        outputs: [{ ...x, name: 'y' }],
        nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
      }),
    );
    expect(await refusal(await startOnnx(path))).toMatchObject({
      code: 'MODEL_UNSUPPORTED',
      message: expect.stringContaining('x: int64[n,8,8]') as string,
    });
  });

  it('is found in a folder when it is the only one at its top', async () => {
    const x = { name: 'x', type: 'float32', shape: ['n', 1] } as const;
    const bytes = onnxModel({
      inputs: [x],
      outputs: [{ ...x, name: 'y' }],
      nodes: [{ op: 'Abs', inputs: ['x'], outputs: ['y'] }],
    });
    bench.file('model/net.onnx', bytes);
    bench.file('model/inner/part.onnx', bytes);
    bench.file('model/README.md', 'about');
    const host = await startOnnx(join(bench.dir, 'model'));
    expect(done(await host.score([bench.file('a.csv', 'x\n-1\n')])).lines).toEqual(['a.csv,0,1.0']);
    bench.file('model/second.onnx', bytes);
    expect(await refusal(await startOnnx(join(bench.dir, 'model')))).toMatchObject({
      code: 'MODEL_INVALID',
      message: 'the model folder model must hold one .onnx file; it holds net.onnx, second.onnx',
    });
  });
});

describe('scripts', () => {
  const files = (): HostFile[] => ['a.png', 'b.png', 'c.png'].map((name) => bench.file(`in/${name}`, name));

  it('in TypeScript import their neighbours and what Batchmill brings', async () => {
    bench.file('code/lib/half.ts', 'export const half = (n: number): number => n / 2;\n');
    bench.file('code/lib/index.ts', "export { half } from './half';\n");
    const host = await startScript(
      'score.ts',
      `import { readFileSync } from 'node:fs';
import type { Metadata } from 'sharp';
import sharp from 'sharp';
import { half } from './lib';
import { half as again } from './lib/half.js';
interface Row { file: string; bytes: number; url: string }
let isReady = false;
export async function init(): Promise<void> { isReady = true; console.log('in init'); }
export async function run(miniBatch: string[], context: { names: readonly string[] }): Promise<Row[]> {
  const kind: Metadata | string = typeof sharp;
  return miniBatch.map((path, i) => ({
    file: context.names[i] as string, bytes: half(again(readFileSync(path).length)),
    url: import.meta.url.split('/').at(-1) + kind + isReady,
  }));
}
export const shutdown = (): void => console.log('in shutdown');
`,
    );
    const { lines, schema, attribution, fileRows } = done(await host.score(files()));
    expect(lines).toEqual(['in/a.png', 'in/b.png', 'in/c.png'].map((name) => `${name},1.25,score.tsfunctiontrue`));
    expect(schema).toEqual({ columns: ['file:value', 'bytes:value', 'url:value'], prologue: 'file,bytes,url\n' });
    expect({ attribution, fileRows }).toEqual({ attribution: 'positional', fileRows: [1, 1, 1] });
    host.send(hostFrame.stop);
    expect(await host.exit).toEqual({ code: 0, signal: null });
    expect(host.printed.stdout).toBe('in init\nin shutdown\n');
  });

  it('in CommonJS find packages too, and may export an object', async () => {
    const host = await startScript(
      'score.cjs',
      "const sharp = require('sharp');\nmodule.exports = { word: typeof sharp, run(files) { return files.map(() => this.word); } };\n",
      { outputFormat: 'azure' },
    );
    expect((await host.score(files())).rows).toBe('function\nfunction\nfunction\n');
    const byDefault = await startScript('score.mjs', 'export default { n: 3, run() { return [this.n]; } };\n');
    expect(done(await byDefault.score(files()))).toMatchObject({ lines: ['3'], attribution: 'range', fileRows: null });
  });

  it('prefer packages of their own', async () => {
    bench.file('code/node_modules/sharp/package.json', '{"name":"sharp","main":"index.js"}');
    bench.file('code/node_modules/sharp/index.js', 'module.exports = "mine";');
    const host = await startScript('score.js', "import sharp from 'sharp';\nexport const run = () => [sharp];\n");
    expect(done(await host.score(files())).lines).toEqual(['mine']);
  });

  it.each([
    ['a.ts', 'export function run(files: string[]) {\n  const a = ;\n}\n', 'a.ts:2:13: Unexpected ";"\n  const a = ;'],
    ['a.mjs', 'export function run() {\n  return [1,;\n}\n', 'a.mjs:2:13: Unexpected ";"\n  return [1,;'],
    [
      'a.js',
      "import { x } from './broken.ts';\nexport const run = () => [x];\n",
      'broken.ts:1:14: Expected ";" but found "=="\n  export let x == 1;',
    ],
    [
      'a.ts',
      "import { y } from './lib.ts';\nexport const run = () => [y];\n",
      'a.ts:1:10: No matching export in "lib.ts" for import "y"',
    ],
    [
      'a.ts',
      "import y from 'no-such-package';\nexport const run = () => [y];\n",
      "Cannot find package 'no-such-package' imported from",
    ],
    [
      'a.mjs',
      "import { Scorer } from 'batchmill';\nexport const run = () => [Scorer];\n",
      'the package batchmill has types only: write `import type { Scorer }',
    ],
    ['a.mjs', "import './gone.mjs';\nexport const run = () => [];\n", 'Cannot find module'],
    ['a.mjs', "throw new Error('at the top');\n", 'a.mjs cannot be imported: Error: at the top'],
    ['a.mjs', 'export const run = 1;\n', 'a.mjs exports run as number, not as a function'],
    ['a.mjs', 'export const init = 1, run = () => [];\n', 'a.mjs exports init as number, not as a function'],
    [
      'a.mjs',
      'export const init = () => {}, go = 1;\n',
      'a.mjs must export a function run(miniBatch); it exports go, init',
    ],
    ['a.mjs', '', 'a.mjs must export a function run(miniBatch); it exports nothing'],
  ])('%s that cannot be loaded are refused with the place: %j', async (name, code, words) => {
    bench.file('code/broken.ts', 'export let x == 1;\n');
    bench.file('code/lib.ts', 'export const x = 1;\n');
    const failure = await refusal(await startScript(name, code));
    expect(failure.code).toBe('SCRIPT_INVALID');
    expect(failure.message).toContain(words);
  });

  it('are told what they are part of, once and with each mini-batch', async () => {
    const host = await startScript(
      'score.mjs',
      'let told;\nexport const init = (context) => { told = context; };\n' +
        'export const run = (paths, { files, job, codeDir }) =>' +
        ' files.map(({ path, name }, i) => [name, path === paths[i], job === told.job, codeDir === told.codeDir]);\n',
    );
    const { lines, schema } = done(await host.score(files().slice(0, 1)));
    expect(schema?.prologue).toBe('c0,c1,c2,c3\n');
    expect(lines).toEqual(['in/a.png,True,True,True']);
  });

  it('that are not there are refused with those that are', async () => {
    bench.file('code/other.js', '');
    const host = await bench.start({ kind: 'node', script: 'score.js' }, { codeDir: join(bench.dir, 'code') });
    expect((await refusal(host)).message).toBe('the code folder has no score.js; it holds other.js');
  });

  it('fail in init() with their stack', async () => {
    const code =
      "interface A { a: number }\n\n\nexport const run = (): A[] => [];\nexport const init = async () => { throw new TypeError('no weights'); };\n";
    expect(await refusal(await startScript('a.ts', code))).toMatchObject({
      code: 'SCORER_INIT_FAILED',
      message: 'TypeError: no weights',
      detail: expect.stringMatching(/a\.ts:5:\d+/) as string,
    });
  });

  it('fail in run() and are asked again', async () => {
    const host = await startScript(
      'a.mjs',
      "let calls = 0;\nexport const run = (files) => { calls += 1; if (calls === 1) throw new RangeError('too much', { cause: new Error('deep') }); return calls === 2 ? null : [calls]; };\n",
    );
    expect(failed(await host.score(files().slice(0, 1), 7))).toMatchObject({
      sequence: 7,
      fileIndex: 0,
      code: 'SCORER_FAILED',
      message: 'RangeError: too much',
      detail: expect.stringMatching(/a\.mjs:2:\d+[^]*\[cause\]: Error: deep/) as string,
    });
    expect(failed(await host.score(files(), 8))).toMatchObject({
      sequence: 8,
      fileIndex: -1,
      code: 'SCORER_OUTPUT_INVALID',
    });
    expect(done(await host.score(files(), 9))).toMatchObject({ sequence: 9, lines: ['3'] });
    // Which file it is at is known only where there is one.
    expect(host.printed.side).toBe('7 0\n');
  });

  it('are called with fewer files where the device has no memory for all of them', async () => {
    const customDir = join(bench.dir, 'custom');
    mkdirSync(customDir);
    const code = `export const run = (files, { names }) => {
      if (files.length > 1) throw new Error('Failed to allocate memory for requested buffer of size 1073741824');
      return names;
    };`;
    const host = await startScript('a.mjs', code, { customDir });
    const names = files().map(({ name }) => name);
    const first = done(await host.score(files(), 1));
    expect(first).toMatchObject({ lines: names, attribution: 'positional', callSize: 1 });
    expect(host.printed.side).toBe('1 0\n1 1\n1 2\n');
    expect(host.printed.stderr).toContain('batchmill: no memory for 3 files in one call of run(), 1 from here on');
    expect(done(await host.score(files(), 2))).toMatchObject({ lines: names });
    expect(done(await host.score(files(), 3))).not.toHaveProperty('callSize');
    const again = await startScript('a.mjs', code, { customDir, callSize: 1 });
    expect(done(await again.score(files()))).toMatchObject({ lines: names });
    expect(again.printed.stderr).toBe('');
  });

  it('count rows without sending them for summary_only', async () => {
    const host = await startScript('a.mjs', 'export const run = (files) => files.map((f) => ({ f }));\n', {
      outputAction: 'summary_only',
    });
    expect(done(await host.score(files()))).toMatchObject({ rows: 3, bytes: 0, lines: [], attribution: 'positional' });
  });
});

describe('the process', () => {
  const one = (): HostFile[] => [bench.file('in/a.png', 'a')];

  it('keeps what is printed out of the protocol', async () => {
    const host = await startScript(
      'a.mjs',
      "import { writeSync } from 'node:fs';\nexport const run = () => { console.log('out'); console.error('err'); writeSync(1, 'raw\\n'); return ['row']; };\n",
    );
    expect(done(await host.score(one())).lines).toEqual(['row']);
    host.send(hostFrame.stop);
    await host.exit;
    expect(host.printed).toMatchObject({ stdout: 'out\nraw\n', stderr: 'err\n' });
  });

  it('ends when the worker node is gone', async () => {
    const host = await startScript('a.mjs', 'setInterval(() => {}, 1000);\nexport const run = () => [];\n');
    expect(host.init.kind).toBe('ready');
    host.hangUp();
    expect((await host.exit).code).toBe(0);
  });

  it('says its last words when something fails that nobody waits for', async () => {
    const host = await startScript(
      'a.mjs',
      "export const run = () => new Promise(() => setImmediate(() => { throw new Error('late'); }));\n",
    );
    expect(failed(await host.score(one(), 3))).toMatchObject({
      sequence: 3,
      fileIndex: 0,
      code: 'SCORER_CRASHED',
      message: 'uncaught exception: Error: late',
    });
    expect(await host.exit).toEqual({ code: 1, signal: null });
    expect(host.printed.stderr).toContain('Error: late');
  });

  it('ends for a rejection that nobody handles, also between mini-batches', async () => {
    const host = await startScript(
      'a.mjs',
      "export const run = () => { void Promise.reject(new Error('lost')); return ['row']; };\n",
    );
    const answer = await host.score(one());
    expect(['done', 'failed']).toContain(answer.kind);
    expect(await host.exit).toEqual({ code: 1, signal: null });
    expect(host.printed.stderr).toContain('unhandled rejection: Error: lost');
  });

  it('dies without a word when the script ends it', async () => {
    const host = await startScript('a.mjs', 'export const run = () => process.exit(5);\n');
    expect(await host.score(one())).toMatchObject({ kind: 'exit', exit: { code: 5, signal: null } });
    expect(host.printed.side).toBe('1 0\n');
  });

  it('ends when something that is no frame arrives', async () => {
    const host = await startScript('a.mjs', 'export const run = () => [];\n');
    host.sendRaw(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    expect(await host.exit).toEqual({ code: 1, signal: null });
    expect(host.printed.stderr).toContain('FRAME_CORRUPT');
  });

  it('loads nothing that it does not need', async () => {
    const host = await startScript(
      'a.cjs',
      "const { readFileSync } = require('fs');\nexports.run = () => [/onnxruntime|sharp|libvips/.test(readFileSync('/proc/self/maps', 'utf8'))];\n",
    );
    expect(done(await host.score(one())).lines).toEqual(['False']);
  });
});
