import { describe, expect, it } from 'vitest';
import { defaultOnnxSettings, type OnnxImageSettings, type OnnxSettings } from '../../common/core/onnx-settings.ts';
import { describePlan, planInputs, type ModelValue } from '../../worker/scorers/onnx-inputs.ts';
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
    const plain = { order: plan.channels === 1 ? 'gray' : 'rgb', scale: 1, mean: [], std: [] };
    for (const type of ['float32', 'float16', 'uint8']) {
      const found = { kind: 'image', input: 'x', type, ...plan, ...plain };
      expect(planInputs([input('x', type, ...shape)])).toEqual(found);
    }
  });
});

describe('columns', () => {
  it('are inputs of one value per row, by name', () => {
    const plan = planInputs([input('age', 'int64', 'n', 1), input('thal', 'string', 'n', 1), input('x', 'bool', 'n')]);
    expect(plan).toEqual({
      kind: 'table',
      inputs: [
        { name: 'age', type: 'int64', rank: 2, width: 1, columns: ['age'] },
        { name: 'thal', type: 'string', rank: 2, width: 1, columns: ['thal'] },
        { name: 'x', type: 'bool', rank: 1, width: 1, columns: ['x'] },
      ],
      batch: null,
    });
  });

  it('may want a fixed number of rows', () => {
    expect(planInputs([input('a', 'float32', 8), input('b', 'float64', 8, 1)])).toMatchObject({ batch: 8 });
  });

  it('are one table of features where there is one input for all', () => {
    const one = { name: 'x', type: 'float32', rank: 2, columns: null };
    const planOf = (...shape: (number | string)[]): unknown => planInputs([input('x', 'float32', ...shape)]);
    expect(planOf('n', 30)).toEqual({ kind: 'table', inputs: [{ ...one, width: 30 }], batch: null });
    expect(planOf(2, 'k')).toEqual({ kind: 'table', inputs: [{ ...one, width: null }], batch: 2 });
  });

  it('are those that the deployment maps', () => {
    const inputs = [input('dense', 'float32', 'n', 2), input('id', 'string', 'n', 1)];
    const columns = { dense: ['p', 'q'], id: 'name' };
    expect(planInputs(inputs, { ...defaultOnnxSettings, columns })).toMatchObject({
      inputs: [{ columns: ['p', 'q'] }, { columns: ['name'] }],
    });
    const features = ['b', 'a'];
    expect(planInputs([input('x', 'float32', 'n', 2)], { ...defaultOnnxSettings, features })).toMatchObject({
      inputs: [{ columns: features }],
    });
  });

  it.each([
    [
      { columns: { agee: 'a' } },
      'maps the input agee, but the model takes age: int64[n,1], x: float32[n,2]; did you mean age?',
    ],
    [{ columns: { x: ['a', 'b', 'c'] } }, 'settings.onnx.columns gives 3 columns to x: float32[n,2]'],
    [{ features: ['a', 'b'] }, 'is a list for one input, but the model takes age'],
  ])('are refused where they fit no input: %j', (changes, words) => {
    const inputs = [input('age', 'int64', 'n', 1), input('x', 'float32', 'n', 2)];
    const settings = { ...defaultOnnxSettings, ...changes } as OnnxSettings;
    expect(() => planInputs(inputs, settings)).toThrow(failing('MODEL_UNSUPPORTED', words));
  });
});

describe('what the deployment says of images', () => {
  const told = (image: Partial<OnnxImageSettings>): OnnxSettings => ({
    ...defaultOnnxSettings,
    image: { ...defaultOnnxSettings.image, ...image },
  });

  it.each([
    [['n', 'c', 'h', 'w'], { channels: 'bgr', width: 8, height: 4 }, 'input x: float32 NCHW 3×4×8, bgr, scale 1'],
    [
      ['n', 'h', 'w', 'c'],
      { channels: 'gray', layout: 'nhwc' },
      'input x: float32 NHWC any height×any width×1, gray, scale 1',
    ],
    [
      [1, 3, 3, 3],
      { layout: 'nhwc', mean: [1, 2, 3] },
      'input x: float32 NHWC 3×3×3, rgb, scale 1, mean 1 2 3, 1 at a time',
    ],
    [['n', 28, 28], { scale: 1 / 255 }, 'input x: float32 NHW 28×28, gray, scale 0.00392157'],
  ] as const)('%j %j', (shape, image, text) => {
    expect(describePlan(planInputs([input('x', 'float32', ...shape)], told(image as Partial<OnnxImageSettings>)))).toBe(
      text,
    );
  });

  it.each([
    [{ width: 200 }, 'settings.onnx.image.width is 200, but the model takes x: float32[n,3,224,224]'],
    [{ channels: 'gray' }, 'settings.onnx.image.channels is gray, but the model takes x'],
    [{ layout: 'nhwc' }, 'settings.onnx.image.layout is nhwc, but the model takes x'],
  ] as const)('is refused where it does not fit: %j', (image, words) => {
    expect(() => planInputs([input('x', 'float32', 'n', 3, 224, 224)], told(image))).toThrow(
      failing('MODEL_UNSUPPORTED', words),
    );
  });
});

describe('settings of the other kind', () => {
  const { image } = defaultOnnxSettings;
  it.each([
    [
      ['n', 2],
      { image: { ...image, scale: 2 } },
      'settings.onnx.image (or --scale) says scale for images, but the model',
    ],
    [['n', 1], { image: { ...image, width: 8, mean: [0] } }, 'says width, mean for images'],
    [['n', 28, 28], { features: ['a', 'b'] }, 'settings.onnx.columns is for columns of tables, but the model takes x'],
    [['n', 28, 28], { columns: { x: 'a' }, missing: { fill: 'nan' } }, 'settings.onnx.columns and missing is for'],
  ] as const)('are refused, not ignored: %j %j', (shape, changes, words) => {
    const settings = { ...defaultOnnxSettings, ...changes };
    expect(() => planInputs([input('x', 'float32', ...shape)], settings)).toThrow(failing('MODEL_UNSUPPORTED', words));
  });
});

describe('refused, with the inputs that were found', () => {
  it.each([
    [[], ''],
    [[input('x', 'float32', 'n', 4, 8, 8)], 'x: float32[n,4,8,8]'],
    [[input('x', 'int32', 'n', 3, 8, 8)], 'x: int32[n,3,8,8]'],
    [[input('x', 'float32', 'n', 3, 4, 8, 8)], 'x: float32[n,3,4,8,8]'],
    [[input('x', 'float32')], 'x: float32[]'],
    [[input('a', 'float32', 2, 1), input('b', 'float32', 3, 1)], 'a: float32[2,1], b: float32[3,1]'],
    [[input('x', 'complex64', 'n', 1)], 'x: complex64[n,1]'],
    [[{ name: 's', isTensor: false, type: '', shape: [] }], 's: no tensor'],
  ])('%j', (inputs, found) => {
    expect(() => planInputs(inputs as ModelValue[])).toThrow(failing('MODEL_UNSUPPORTED', `takes ${found}`));
  });
});
