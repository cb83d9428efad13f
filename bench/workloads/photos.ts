/** (b) photographs of a few hundred KB through a vision model: decoding and scaling are most of the work. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { onnxModel, type ModelNode, type ModelWeights } from '../../test/helpers/onnx-model.ts';
import { Random } from '../../test/sim/world.ts';
import { batchmill, ceiling, dataPeers, peers } from './contenders.ts';
import { sized, type Place, type Workload } from './workload.ts';

const side = 224;
const classes = 10;
const photo = { width: 1_600, height: 1_200 };

export async function photos(place: Place): Promise<Workload> {
  const files = sized(place, 600, 12);
  const input = await place.data(`photos-${files}`, (dir) => takePhotos(dir, files));
  const models = await place.data('photos-model', (dir) => writeFileSync(join(dir, 'squeezenet.onnx'), squeezeNet()));
  const model = join(models, 'squeezenet.onnx');
  const work = ['--model', model, '--side', String(side), '--channels', '3'];
  return {
    name: 'photos',
    title: `${files} JPEG photos of ${photo.width}×${photo.height}, SqueezeNet 1.1 in ONNX`,
    input,
    count: files,
    unit: 'files',
    // Libraries scale pictures down in ways of their own, and a pixel of another shade is another feature.
    agreement: { kind: 'numbers', hasRows: false, nearness: 0.1 },
    contenders: [
      ...batchmill(model, input),
      ceiling('onnx-images.mjs', ['--input', input, ...work, '--batch', '16']),
      ...(await peers(place, dataPeers, { kind: 'images', input, more: [...work, '--batch', '16'] })),
    ],
  };
}

/** Noise of several sizes laid over one another, which compresses about as a photograph does. */
async function takePhotos(dir: string, files: number): Promise<void> {
  const random = new Random(1_600);
  for (let file = 0; file < files; file += 1) {
    const layers = await Promise.all([4, 24, 120, 480].map((cells) => noise(cells, random)));
    const [ground, ...others] = layers as [Buffer, ...Buffer[]];
    const bytes = await sharp(ground)
      .composite(others.map((input) => ({ input, blend: 'soft-light' as const })))
      .jpeg({ quality: 90 })
      .toBuffer();
    writeFileSync(join(dir, `photo-${String(file).padStart(4, '0')}.jpg`), bytes);
  }
}

async function noise(cells: number, random: Random): Promise<Buffer> {
  const [width, height] = [cells, Math.ceil((cells * photo.height) / photo.width)];
  const pixels = Buffer.from(Uint8Array.from({ length: width * height * 3 }, () => random.next() * 256));
  return await sharp(pixels, { raw: { width, height, channels: 3 } })
    .resize({ ...photo, fit: 'fill', kernel: 'cubic' })
    .png({ compressionLevel: 0 })
    .toBuffer();
}

/** Nodes and weights of a network, one after the other. */
class Network {
  readonly nodes: ModelNode[] = [];
  readonly weights: ModelWeights[] = [];
  readonly #random = new Random(11);

  add(op: string, inputs: readonly string[], attributes: NonNullable<ModelNode['attributes']> = {}): string {
    const output = `v${this.nodes.length}`;
    this.nodes.push({ op, inputs, outputs: [output], attributes });
    return output;
  }

  weight(dims: readonly number[], spread: number): string {
    const name = `w${this.weights.length}`;
    const count = dims.reduce((product, dim) => product * dim, 1);
    const values = Float32Array.from({ length: count }, () => (this.#random.next() - 0.5) * 2 * spread);
    this.weights.push({ name, dims, values });
    return name;
  }

  /** A convolution and what follows it; weights keep the size of what goes through them. */
  conv(from: string, channels: readonly [number, number], kernel: number, stride = 1): string {
    const [inward, outward] = channels;
    const pad = kernel === 3 && stride === 1 ? 1 : 0;
    const weight = this.weight([outward, inward, kernel, kernel], Math.sqrt(6 / (inward * kernel * kernel)));
    const attributes = {
      kernel_shape: [kernel, kernel],
      strides: [stride, stride],
      pads: [pad, pad, pad, pad],
    };
    return this.add('Relu', [this.add('Conv', [from, weight, this.weight([outward], 0.01)], attributes)]);
  }

  pool(from: string): string {
    return this.add('MaxPool', [from], { kernel_shape: [3, 3], strides: [2, 2] });
  }

  fire(from: string, inward: number, squeezed: number, expanded: number): string {
    const narrow = this.conv(from, [inward, squeezed], 1);
    const parts = [1, 3].map((kernel) => this.conv(narrow, [squeezed, expanded], kernel));
    return this.add('Concat', parts, { axis: 1 });
  }
}

/** SqueezeNet 1.1 with ten outputs and weights by chance: what it computes is nothing, how much it computes is the same. @source arXiv:1602.07360 */
function squeezeNet(): Buffer {
  const net = new Network();
  const scale = 'scale';
  net.weights.push({ name: scale, dims: [1], values: Float32Array.of(1 / 255) });
  let at = net.pool(net.conv(net.add('Mul', ['image', scale]), [3, 64], 3, 2));
  at = net.pool(net.fire(net.fire(at, 64, 16, 64), 128, 16, 64));
  at = net.pool(net.fire(net.fire(at, 128, 32, 128), 256, 32, 128));
  at = net.fire(net.fire(at, 256, 48, 192), 384, 48, 192);
  at = net.fire(net.fire(at, 384, 64, 256), 512, 64, 256);
  at = net.add('GlobalAveragePool', [net.conv(at, [512, classes], 1)]);
  net.nodes.push({ op: 'Flatten', inputs: [at], outputs: ['features'] });
  return onnxModel({
    inputs: [{ name: 'image', type: 'float32', shape: ['n', 3, side, side] }],
    outputs: [{ name: 'features', type: 'float32', shape: ['n', classes] }],
    nodes: net.nodes,
    weights: net.weights,
  });
}
