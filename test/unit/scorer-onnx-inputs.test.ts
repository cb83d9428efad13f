import { describe, expect, it } from 'vitest';
import { planInputs, type ModelValue } from '../../worker/scorers/onnx-inputs.ts';
import { failing } from '../helpers/failing.ts';

const input = (name: string, type: string, ...shape: (number | string)[]): ModelValue => ({
  name,
  type,
  shape,
  isTensor: true,
});

describe('one input of rank 3 or 4 is an image', () => {
  it.each([
    [['n', 3, 224, 224], { layout: 'nchw', channels: 3, height: 224, width: 224, batch: null }],
    [['n', 1, 28, 28], { layout: 'nchw', channels: 1, height: 28, width: 28, batch: null }],
    [[1, 3, 'h', 'w'], { layout: 'nchw', channels: 3, height: null, width: null, batch: 1 }],
    [[-1, 3, -1, 64], { layout: 'nchw', channels: 3, height: null, width: 64, batch: null }],
    [[4, 32, 48, 3], { layout: 'nhwc', channels: 3, height: 32, width: 48, batch: 4 }],
    [['', 'h', 'w', 1], { layout: 'nhwc', channels: 1, height: null, width: null, batch: null }],
    [['n', 28, 28], { layout: 'nhw', channels: 1, height: 28, width: 28, batch: null }],
  ])('%j', (shape, plan) => {
    for (const type of ['float32', 'float16', 'uint8']) {
      expect(planInputs([input('x', type, ...shape)])).toEqual({ kind: 'image', input: 'x', type, ...plan });
    }
  });
});

describe('columns', () => {
  it('are inputs of one value per row, by name', () => {
    const plan = planInputs([input('age', 'int64', 'n', 1), input('thal', 'string', 'n', 1), input('x', 'bool', 'n')]);
    expect(plan).toEqual({
      kind: 'columns',
      inputs: [
        { name: 'age', type: 'int64', rank: 2 },
        { name: 'thal', type: 'string', rank: 2 },
        { name: 'x', type: 'bool', rank: 1 },
      ],
      batch: null,
    });
  });

  it('may want a fixed number of rows', () => {
    expect(planInputs([input('a', 'float32', 8), input('b', 'float64', 8, 1)])).toMatchObject({ batch: 8 });
  });

  it('are one table of features where there is one input for all', () => {
    const plan = { kind: 'features', input: 'x', type: 'float32' };
    expect(planInputs([input('x', 'float32', 'n', 30)])).toEqual({ ...plan, features: 30, batch: null });
    expect(planInputs([input('x', 'float32', 2, 'k')])).toEqual({ ...plan, features: null, batch: 2 });
    expect(planInputs([input('x', 'string', 'n', 'k')])).toMatchObject({ kind: 'features', type: 'string' });
  });
});

describe('refused, with the inputs that were found', () => {
  it.each([
    [[], ''],
    [[input('x', 'float32', 'n', 4, 8, 8)], 'x: float32[n,4,8,8]'],
    [[input('x', 'int32', 'n', 3, 8, 8)], 'x: int32[n,3,8,8]'],
    [[input('x', 'float32', 'n', 3, 4, 8, 8)], 'x: float32[n,3,4,8,8]'],
    [[input('x', 'float32')], 'x: float32[]'],
    [[input('a', 'float32', 'n', 1), input('b', 'float32', 'n', 2)], 'a: float32[n,1], b: float32[n,2]'],
    [[input('a', 'float32', 2, 1), input('b', 'float32', 3, 1)], 'a: float32[2,1], b: float32[3,1]'],
    [[input('ids', 'int64', 'n', 'l'), input('mask', 'int64', 'n', 'l')], 'ids: int64[n,l], mask: int64[n,l]'],
    [[input('x', 'complex64', 'n', 1)], 'x: complex64[n,1]'],
    [[{ name: 's', isTensor: false, type: '', shape: [] }], 's: no tensor'],
  ])('%j', (inputs, found) => {
    expect(() => planInputs(inputs as ModelValue[])).toThrow(failing('MODEL_UNSUPPORTED', `takes ${found}`));
  });
});
