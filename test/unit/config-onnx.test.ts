/** `settings.onnx` of a deployment file. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { defaultOnnxSettings, type OnnxSettings } from '../../common/core/onnx-settings.ts';
import { failing } from '../helpers/failing.ts';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-config-onnx-'));
  await writeFile(join(dir, 'net.onnx'), 'onnx');
  await writeFile(join(dir, 'names.txt'), 'cat\r\na dog\n\n');
  await writeFile(join(dir, 'names.json'), '{"1": "a dog", "0": "cat"}');
  await writeFile(join(dir, 'list.json'), '["cat", "a dog"]');
  await writeFile(join(dir, 'odd.json'), '{"1": "a dog"}');
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function load(onnx: string): Promise<OnnxSettings> {
  const path = join(dir, 'deployment.yml');
  await writeFile(path, `type: model\nmodel: net.onnx\nsettings:\n  onnx: ${onnx}\n`);
  const { scorer } = await loadDeployment(path, { set: [] });
  if (scorer.kind !== 'onnx') throw new Error(`expected the built-in scorer, found ${scorer.kind}`);
  return scorer.settings;
}

describe('the keys', () => {
  it('may all be absent', async () => {
    expect(await load('{}')).toEqual(defaultOnnxSettings);
  });

  it('of images, in numbers or fractions', async () => {
    const { image } = await load(
      '{image: {layout: NHWC, width: 8, height: 4, channels: bgr, scale: 1/255, mean: 0.5, std: [1, 2, 1/4]}}',
    );
    expect(image).toEqual({
      layout: 'nhwc',
      width: 8,
      height: 4,
      channels: 'bgr',
      scale: 1 / 255,
      mean: [0.5],
      std: [1, 2, 0.25],
    });
  });

  it('of images may be ImageNet’s, in the order of the channels', async () => {
    const { image } = await load('{image: {mean: imagenet, std: imagenet}}');
    expect(image).toMatchObject({ scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] });
    const blueFirst = await load('{image: {mean: imagenet, channels: bgr, scale: 2}}');
    expect(blueFirst.image).toMatchObject({ scale: 2, mean: [0.406, 0.456, 0.485], std: [] });
  });

  it.each(['names.txt', 'names.json', 'list.json'])('of classes may name %s', async (file) => {
    expect((await load(`{labels: ${file}, top_k: 2}`)).labels).toEqual(['cat', 'a dog']);
  });

  it('of tables, outputs and providers', async () => {
    expect(
      await load(
        '{columns: {x: a, y: [b, c]}, missing: .nan, batch_rows: 8, outputs: p, providers: [CUDAExecutionProvider, cpu]}',
      ),
    ).toEqual({
      ...defaultOnnxSettings,
      columns: { x: 'a', y: ['b', 'c'] },
      missing: { fill: 'nan' },
      batchRows: 8,
      outputs: ['p'],
      providers: ['cuda', 'cpu'],
    });
    expect(await load('{columns: [a, b], missing: {fill: 0}, labels: [x, y]}')).toMatchObject({
      features: ['a', 'b'],
      columns: {},
      missing: { fill: 0 },
      labels: ['x', 'y'],
    });
  });
});

describe('what is wrong is told with its place', () => {
  it.each([
    ['{image: {chanels: rgb}}', 'CONFIG_UNKNOWN_KEY', 'did you mean channels?'],
    [
      '{image: {mean: [1, 2]}}',
      'CONFIG_INVALID',
      'onnx.image.mean: wanted a number, three (one a channel), or imagenet',
    ],
    ['{image: {std: 0}}', 'CONFIG_INVALID', 'onnx.image.std: wanted numbers other than 0'],
    ['{image: {channels: gray, mean: imagenet}}', 'CONFIG_INVALID', 'onnx.image.mean: wanted one number'],
    ['{providers: [cudo]}', 'CONFIG_INVALID', '(cudo: did you mean cuda?)'],
    ['{labels: gone.txt}', 'DEPLOYMENT_NOT_FOUND', 'gone.txt does not exist'],
    ['{labels: odd.json}', 'CONFIG_INVALID', 'odd.json: wanted one name a line'],
    ['{labels: [a, b], top_k: 3}', 'CONFIG_INVALID', 'wanted at most 2, the number of labels, found 3'],
    ['{missing: zero}', 'CONFIG_INVALID', 'wanted refuse, nan, or a mapping with fill'],
    ['{batch_rows: 0}', 'CONFIG_INVALID', 'wanted auto, or rows from 1'],
  ] as const)('%s', async (onnx, code, words) => {
    await expect(load(onnx)).rejects.toThrow(failing(code, words));
  });
});
