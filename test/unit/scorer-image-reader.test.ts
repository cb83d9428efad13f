import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { halfOfFloat } from '../../common/format/half-float.ts';
import type { InputCells, RowToPut } from '../../worker/scorers/file-rows.ts';
import { openImageReader } from '../../worker/scorers/image-reader.ts';
import type { ImagePlan } from '../../worker/scorers/onnx-inputs.ts';
import { isWide, makeCells } from '../../worker/scorers/tensor-cells.ts';
import { failing } from '../helpers/failing.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-image-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const plan: ImagePlan = {
  kind: 'image',
  input: 'x',
  type: 'float32',
  channels: 3,
  order: 'rgb',
  layout: 'nchw',
  scale: 1,
  mean: [],
  std: [],
  height: null,
  width: null,
  batch: null,
};

type Depth = 'grey' | 'grey16' | 'rgb' | 'rgb16' | 'rgba' | 'palette';

/** An image of one row with these pixels, as the bytes of a PNG. */
async function png(kind: Depth, pixels: readonly number[]): Promise<Buffer> {
  const channels = kind.startsWith('grey') ? 1 : kind === 'rgba' ? 4 : 3;
  const raw = { width: pixels.length / channels, height: 1, channels } as const;
  const image = sharp(Buffer.from(pixels), { raw });
  if (kind === 'grey16' || kind === 'rgb16') image.toColourspace(kind);
  if (kind === 'grey') image.toColourspace('b-w');
  return image.png({ palette: kind === 'palette' }).toBuffer();
}

async function read(bytes: Uint8Array, changes: Partial<ImagePlan> = {}, scale = 1): Promise<InputCells> {
  const path = join(dir, 'in.png');
  writeFileSync(path, bytes);
  const reader = openImageReader({ ...plan, scale, ...changes });
  const found: RowToPut[] = [];
  for await (const { inputs, rows } of reader.read({ path, name: 'a/in.png' }, () => undefined)) {
    expect(rows).toBe(1);
    found.push(...inputs);
  }
  expect(found).toHaveLength(1);
  const { put, cellBytes, ...row } = found[0] as RowToPut;
  const count = row.dims.reduce((product, dim) => product * dim, 1);
  // Room for three of them, all of it in use before.
  const room = makeCells(row.type, 3 * count);
  room.fill((isWide(room) ? 77n : 77) as never);
  put(room, count);
  expect(cellBytes).toBe(room.BYTES_PER_ELEMENT);
  const others = [...room.subarray(0, count), ...room.subarray(2 * count)];
  expect(new Set<unknown>(others)).toEqual(new Set([isWide(room) ? 77n : 77]));
  return { ...row, cells: room.slice(count, 2 * count) };
}

const twoPixels = [10, 20, 30, 40, 50, 60];

describe('the layout', () => {
  it('is planes for nchw', async () => {
    const { dims, cells, name, type } = await read(await png('rgb', twoPixels));
    expect({ name, type, dims }).toEqual({ name: 'x', type: 'float32', dims: [3, 1, 2] });
    expect(cells).toEqual(Float32Array.of(10, 40, 20, 50, 30, 60));
  });

  it('is interleaved for nhwc', async () => {
    const { dims, cells } = await read(await png('rgb', twoPixels), { layout: 'nhwc' });
    expect(dims).toEqual([1, 2, 3]);
    expect(cells).toEqual(Float32Array.from(twoPixels));
  });

  it('is one value a pixel for grey', async () => {
    const grey = await png('grey', [0, 7, 255]);
    for (const [layout, dims] of [
      ['nhw', [1, 3]],
      ['nchw', [1, 1, 3]],
      ['nhwc', [1, 3, 1]],
    ] as const) {
      expect(await read(grey, { layout, channels: 1 })).toMatchObject({ dims, cells: Float32Array.of(0, 7, 255) });
    }
  });
});

describe('pixels', () => {
  it('of grey images keep their 256 values', async () => {
    const levels = Array.from({ length: 256 }, (_, level) => level);
    expect((await read(await png('grey', levels), { channels: 1 })).cells).toEqual(Float32Array.from(levels));
    expect((await read(await png('grey', levels))).cells).toEqual(Float32Array.from([...levels, ...levels, ...levels]));
  });

  it('of colours become Pillow’s grey', async () => {
    // Image.new('RGB', (1, 1), colour).convert('L').getpixel((0, 0))
    const colours = [255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 200, 77, 255, 255, 255];
    expect((await read(await png('rgb', colours), { channels: 1 })).cells).toEqual(
      Float32Array.of(76, 150, 29, 129, 255),
    );
  });

  it.each(['grey16', 'rgb16', 'palette'] as const)('of %s are 8-bit RGB', async (kind) => {
    const pixels = kind === 'grey16' ? [200, 100] : [200, 200, 200, 100, 100, 100];
    expect((await read(await png(kind, pixels), { layout: 'nhwc' })).cells).toEqual(
      Float32Array.of(200, 200, 200, 100, 100, 100),
    );
  });

  it('lose their alpha and keep their colour', async () => {
    const { cells } = await read(await png('rgba', [10, 20, 30, 0, 40, 50, 60, 128]), { layout: 'nhwc' });
    expect(cells).toEqual(Float32Array.from(twoPixels));
  });

  it('are multiplied by the scale', async () => {
    const grey = await png('grey', [0, 51, 255]);
    const one = { channels: 1 } as const;
    expect((await read(grey, one, 1 / 255)).cells).toEqual(Float32Array.of(0, 51 / 255, 1));
    expect((await read(grey, { ...one, type: 'float16' }, 1 / 255)).cells).toEqual(
      Uint16Array.of(0, halfOfFloat(0.2), 0x3c00),
    );
    expect((await read(grey, { ...one, type: 'uint8' })).cells).toEqual(Uint8Array.of(0, 51, 255));
    expect((await read(grey, { ...one, type: 'uint8' }, 2)).cells).toEqual(Uint8Array.of(0, 102, 255));
  });

  it('are scaled to the model’s size, each side by itself', async () => {
    const wide = await sharp({ create: { width: 8, height: 2, channels: 3, background: '#102030' } })
      .png()
      .toBuffer();
    const { dims, cells } = await read(wide, { height: 4, width: 4 });
    expect(dims).toEqual([3, 4, 4]);
    expect(new Set(cells as Float32Array)).toEqual(new Set([16, 32, 48]));
    expect((await read(wide, { width: 4 })).dims).toEqual([3, 2, 4]);
  });
});

describe('a file that is no image', () => {
  it('fails to decode, named as in the input', async () => {
    await expect(read(Buffer.from('this is text'))).rejects.toThrow(
      failing('INPUT_DECODE_FAILED', 'a/in.png is no image that can be decoded'),
    );
    await expect(read(Buffer.alloc(0))).rejects.toThrow(failing('INPUT_DECODE_FAILED', 'a/in.png'));
  });

  it('fails also when only its end is missing', async () => {
    const noise = Array.from({ length: 3_000 }, (_, i) => (i * 7_919) % 251);
    const whole = await png('rgb', noise);
    await expect(read(whole.subarray(0, whole.length / 2))).rejects.toThrow(failing('INPUT_DECODE_FAILED', 'a/in.png'));
  });

  it('is unreadable when it is not there or may not be read', async () => {
    const reader = openImageReader(plan);
    const first = (path: string): Promise<unknown> => {
      const rows = reader.read({ path, name: 'x.png' }, () => undefined);
      return rows[Symbol.asyncIterator]().next();
    };
    await expect(first(join(dir, 'gone.png'))).rejects.toThrow(
      failing('INPUT_UNREADABLE', 'x.png cannot be read: ENOENT'),
    );
    // Root may read everything.
    if (process.getuid?.() === 0) return;
    const path = join(dir, 'closed.png');
    writeFileSync(path, await png('grey', [1]));
    chmodSync(path, 0);
    await expect(first(path)).rejects.toThrow(failing('INPUT_UNREADABLE', 'EACCES'));
  });
});
