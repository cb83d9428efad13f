/** Scores images of handwritten digits: one row (file, label, probability) for each file. */

import { basename, join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import sharp from 'sharp';

const SIDE = 28;
const PIXELS = SIDE * SIDE;
const DIGITS = 10;

interface Prediction {
  readonly file: string;
  readonly label: number;
  readonly probability: number;
}

let session: InferenceSession | undefined;

/** Runs once in each scoring process, so that the model is not loaded again for each mini-batch. */
export async function init(): Promise<void> {
  const folder = process.env.AZUREML_MODEL_DIR;
  if (folder === undefined) throw new Error('AZUREML_MODEL_DIR must name the folder that holds digits.onnx');
  // Several scoring processes share a machine; one thread each, so they do not fight over the cores.
  session = await InferenceSession.create(join(folder, 'digits.onnx'), { intraOpNumThreads: 1 });
}

/** The 784 pixels of one image, 0..255; the network scales them itself. */
async function readImage(path: string): Promise<Buffer> {
  // Without toColourspace sharp hands out a grey PNG as three equal channels.
  const grey = sharp(path).removeAlpha().toColourspace('b-w').raw();
  const { data, info } = await grey.toBuffer({ resolveWithObject: true });
  if (info.width !== SIDE || info.height !== SIDE || info.channels !== 1) {
    const found = `${info.width}x${info.height} with ${info.channels} channel(s)`;
    throw new Error(`${path}: the network wants ${SIDE}x${SIDE} pixels with 1 channel, this image has ${found}`);
  }
  return data;
}

export async function run(miniBatch: readonly string[]): Promise<Prediction[]> {
  if (session === undefined) throw new Error('init() must be called before run()');
  const images = await Promise.all(miniBatch.map(readImage));

  // One call for the whole mini-batch: many small calls would spend their time outside the network.
  const input = new Float32Array(images.length * PIXELS);
  images.forEach((pixels, i) => input.set(pixels, i * PIXELS));
  const image = new Tensor('float32', input, [images.length, 1, SIDE, SIDE]);
  const { probabilities } = await session.run({ image }, ['probabilities']);
  if (probabilities?.type !== 'float32') throw new Error('digits.onnx must give float32 probabilities');
  const scores = probabilities.data as Float32Array;

  return miniBatch.map((path, i) => {
    const row = scores.subarray(i * DIGITS, (i + 1) * DIGITS);
    const probability = Math.max(...row);
    return { file: basename(path), label: row.indexOf(probability), probability };
  });
}
