/** (a) 20,000 small PNGs through a small convolutional model. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { packageFile } from '../../common/io/package-files.ts';
import { Random } from '../../test/sim/world.ts';
import { batchmill, ceiling, dataPeers, peers } from './contenders.ts';
import { sized, type Place, type Workload } from './workload.ts';

const side = 28;
const filesOfFolder = 1_000;
const atOnce = 64;

export async function digits(place: Place): Promise<Workload> {
  const files = sized(place, 20_000, 200);
  const input = await place.data(`digits-${files}`, (dir) => drawDigits(dir, files));
  const model = packageFile('examples', 'digits', 'model', 'digits.onnx');
  const work = ['--model', model, '--side', String(side), '--channels', '1', '--scores', 'logits'];
  return {
    name: 'digits',
    title: `${files} PNG digits, convolutional ONNX model`,
    input,
    count: files,
    unit: 'files',
    agreement: { kind: 'numbers', hasRows: false },
    contenders: [
      ...batchmill(model, input),
      ceiling('onnx-images.mjs', ['--input', input, ...work]),
      ...(await peers(place, dataPeers, { kind: 'images', input, more: work })),
    ],
  };
}

/** The digits of the example, moved, turned and made fainter by chance. */
async function drawDigits(dir: string, files: number): Promise<void> {
  const from = packageFile('examples', 'digits', 'inputs');
  const originals = readdirSync(from, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.png'))
    .sort();
  const random = new Random(28);
  const draw = async (number: number): Promise<void> => {
    const folder = join(dir, `depot-${String(Math.floor(number / filesOfFolder)).padStart(2, '0')}`);
    if (number % filesOfFolder === 0) mkdirSync(folder);
    const turned = await sharp(join(from, originals[number % originals.length] ?? ''))
      .rotate((random.next() - 0.5) * 20, { background: 'black' })
      .resize(side, side, { fit: 'cover' })
      .linear(0.7 + random.next() * 0.3, 0)
      .toColourspace('b-w')
      .png()
      .toBuffer();
    writeFileSync(join(folder, `scan-${String(number).padStart(5, '0')}.png`), turned);
  };
  for (let first = 0; first < files; first += atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, files - first) }, (_, i) => draw(first + i)));
  }
}
