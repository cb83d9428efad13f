import { beforeAll, describe, expect, it } from 'vitest';
import { encodeTable } from '../../common/format/arrow-text.ts';
import { defaultOnnxSettings } from '../../common/core/onnx-settings.ts';
import type { ModelValue } from '../../worker/scorers/onnx-inputs.ts';
import {
  openTableMaker,
  planOutputs,
  type OutputPlan,
  type OutputTensor,
  type RowSpan,
} from '../../worker/scorers/onnx-outputs.ts';
import { failing } from '../helpers/failing.ts';

const output = (name: string, type: string, ...shape: (number | string)[]): ModelValue => ({
  name,
  type,
  shape,
  isTensor: true,
});

describe('the label', () => {
  it.each([
    ['of probabilities before logits', ['logits', 'probabilities'], 'probabilities'],
    ['of scores', ['boxes', 'scores'], 'scores'],
    ['of logits', ['features', 'logits'], 'logits'],
    ['of the only vector', ['495'], '495'],
    ['not of what is named as something else', ['last_hidden'], null],
    ['not of several without a name', ['a', 'b'], null],
  ])('%s', (_, names, labelFrom) => {
    expect(planOutputs(names.map((name) => output(name, 'float32', 'n', 10))).labelFrom).toBe(labelFrom);
  });

  it('is not made up where the model has one, or where nothing is a vector of floats', () => {
    expect(
      planOutputs([output('label', 'int64', 'n'), output('probabilities', 'float32', 'n', 2)]).labelFrom,
    ).toBeNull();
    expect(planOutputs([output('y', 'float32', 'n', 1)]).labelFrom).toBeNull();
    expect(planOutputs([output('y', 'int64', 'n', 10)]).labelFrom).toBeNull();
    expect(planOutputs([output('y', 'float32', 'n', 3, 8, 8)]).labelFrom).toBeNull();
    expect(planOutputs([output('y', 'float32', 1, 1000, 1, 1)]).labelFrom).toBe('y');
  });
});

it('asks for tensors only, and says so when there is none', () => {
  const maps: ModelValue = { name: 'output_probability', isTensor: false, type: '', shape: [] };
  expect(planOutputs([output('output_label', 'int64', 'n'), maps]).names).toEqual(['output_label']);
  expect(() => planOutputs([maps])).toThrow(failing('MODEL_UNSUPPORTED', 'output_probability: no tensor'));
});

describe('settings that do not fit the outputs are refused', () => {
  const scores = output('p', 'float32', 'n', 3);
  it.each([
    [{ labels: ['a', 'b'] }, [scores], 'settings.onnx.labels has 2 names, but the model gives p: float32[n,3]'],
    [{ topK: 4 }, [scores], 'settings.onnx.top_k is 4, but the model gives p: float32[n,3]'],
    [{ topK: 1 }, [output('y', 'float32', 'n', 1)], 'settings.onnx.top_k is for a model with one score for each class'],
    [{ labels: ['a'] }, [output('y', 'int64', 'n')], 'settings.onnx.labels is for a model with one score'],
    [
      { outputs: ['q'] },
      [scores],
      'settings.onnx.outputs names q, but the model gives p: float32[n,3]; did you mean p?',
    ],
  ])('%j', (changes, outputs, words) => {
    expect(() => planOutputs(outputs, { ...defaultOnnxSettings, ...changes })).toThrow(
      failing('MODEL_UNSUPPORTED', words),
    );
  });
});

const spans: RowSpan[] = [
  { file: 'a.csv', first: 5, rows: 2 },
  { file: 'b c.csv', first: 0, rows: 1 },
];

async function linesOf(
  outputs: Readonly<Record<string, OutputTensor>>,
  options: Partial<OutputPlan> & { hasRowNumbers?: boolean; batch?: number; spans?: RowSpan[] } = {},
): Promise<string[]> {
  const names = Object.keys(outputs);
  const { hasRowNumbers = false, batch = null, spans: _, ...changes } = options;
  const plan: OutputPlan = { names, shown: names, labelFrom: null, labels: null, topK: null, ...changes };
  const makeTable = await openTableMaker(plan, { fileColumn: 'file', rowColumn: hasRowNumbers ? 'row' : null, batch });
  const encoded = encodeTable(makeTable(outputs, options.spans ?? spans), 'csv');
  const text = Buffer.concat([...encoded.pieces]).toString();
  return [encoded.schema?.columns.join() ?? '', ...text.trimEnd().split('\n')];
}

describe('columns', () => {
  // The first import of apache-arrow takes its time.
  beforeAll(() => import('apache-arrow'));

  it('are the file, the row in it, the label and the outputs', async () => {
    const data = Float32Array.of(0.5, 0.25, 0.25, 0, 0, 1, NaN, NaN, NaN);
    const outputs = { p: { type: 'float32', dims: [3, 3], data } };
    expect(await linesOf(outputs, { labelFrom: 'p', hasRowNumbers: true })).toEqual([
      'file:utf8,row:int32,label:int32,p_0:float32,p_1:float32,p_2:float32',
      'a.csv,5,0,0.5,0.25,0.25',
      'a.csv,6,2,0.0,0.0,1.0',
      'b c.csv,0,,,,',
    ]);
  });

  it('name classes, and list the best ones with their scores', async () => {
    const data = Float32Array.of(0.25, 0.5, 0.25, 0, 0, 1, NaN, NaN, NaN);
    const outputs = { p: { type: 'float32', dims: [3, 3], data } };
    const plan = { labelFrom: 'p', labels: ['cat', 'a dog', 'owl'] };
    expect(await linesOf(outputs, { ...plan, shown: [] })).toEqual([
      'file:utf8,label:utf8',
      'a.csv,a dog',
      'a.csv,owl',
      'b c.csv,',
    ]);
    expect(await linesOf(outputs, { ...plan, shown: [], topK: 2 })).toEqual([
      'file:utf8,label_1:utf8,score_1:float32,label_2:utf8,score_2:float32',
      'a.csv,a dog,0.5,cat,0.25',
      'a.csv,owl,1.0,cat,0.0',
      'b c.csv,,,,',
    ]);
    expect((await linesOf(outputs, { ...plan, labels: null, topK: 1 }))[1]).toBe('a.csv,1,0.5,0.25,0.5,0.25');
    await expect(linesOf(outputs, { ...plan, labels: ['cat'] })).rejects.toThrow(
      failing('SCORER_OUTPUT_INVALID', 'labels has 1 names, but p has 3 values per row'),
    );
  });

  it('name the label that the model gives itself', async () => {
    const label = { type: 'int64', dims: [3], data: BigInt64Array.of(1n, 0n, 1n) };
    const labels = ['no', 'yes'];
    expect(await linesOf({ label }, { labels })).toEqual([
      'file:utf8,label:utf8',
      'a.csv,yes',
      'a.csv,no',
      'b c.csv,yes',
    ]);
    await expect(linesOf({ label }, { labels: ['no'] })).rejects.toThrow(
      failing('SCORER_OUTPUT_INVALID', 'labels has 1 names, but the model’s label is 1'),
    );
  });

  it('keep the types of the outputs', async () => {
    const outputs: Record<string, OutputTensor> = {
      i: { type: 'int64', dims: [3, 1], data: BigInt64Array.of(2n ** 62n, -1n, 0n) },
      s: { type: 'string', dims: [3], data: ['x', 'y,z', ''] },
      b: { type: 'bool', dims: [3], data: Uint8Array.of(1, 0, 1) },
      h: { type: 'float16', dims: [3, 1, 1], data: Uint16Array.of(0x3c00, 0x2e66, 0x7e00) },
      w: { type: 'string', dims: [3, 2], data: ['1', '2', '3', '4', '5', '6'] },
      file: { type: 'uint8', dims: [3], data: Uint8Array.of(1, 2, 3) },
    };
    expect(await linesOf(outputs)).toEqual([
      'file:utf8,i:int64,s:utf8,b:bool,h:float16,w_0:utf8,w_1:utf8,file_:uint8',
      'a.csv,4611686018427387904,x,True,1.0,1,2,1',
      'a.csv,-1,"y,z",False,0.0999755859375,3,4,2',
      'b c.csv,0,,True,,5,6,3',
    ]);
  });

  it('are one list where an output has many values', async () => {
    const data = Float32Array.from({ length: 99 }, (_, i) => i);
    const [columns, , second] = await linesOf({ e: { type: 'float32', dims: [3, 33], data } });
    expect(columns).toBe('file:utf8,e:list<float32>');
    expect(second?.startsWith('a.csv,"[33.0,34.0,')).toBe(true);
    expect((await linesOf({ e: { type: 'float32', dims: [3, 32], data: data.slice(0, 96) } }))[0]).toContain(
      'e_31:float32',
    );
  });

  it('leave padding out', async () => {
    const outputs = { y: { type: 'float32', dims: [4, 1], data: Float32Array.of(1, 2, 3, 99) } };
    expect(await linesOf(outputs, { batch: 4 })).toEqual([
      'file:utf8,y:float32',
      'a.csv,1.0',
      'a.csv,2.0',
      'b c.csv,3.0',
    ]);
  });

  it('may lack the first dimension in a model of one row', async () => {
    const one = { batch: 1, spans: [{ file: 'x', first: 0, rows: 1 }] };
    const outputs = { y: { type: 'float32', dims: [2], data: Float32Array.of(1, 2) } };
    expect(await linesOf(outputs, one)).toEqual(['file:utf8,y_0:float32,y_1:float32', 'x,1.0,2.0']);
  });

  it('need a row of each output for each row fed', async () => {
    const outputs = { y: { type: 'float32', dims: [2, 3], data: new Float32Array(6) } };
    await expect(linesOf(outputs)).rejects.toThrow(failing('SCORER_OUTPUT_INVALID', 'y has shape [2,3] for 3 rows'));
  });
});
