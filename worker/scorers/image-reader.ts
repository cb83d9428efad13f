/** Images as the pixels that a model takes. Decoding and scaling are sharp's (libvips). */
import { readFileSync } from 'node:fs';
import type Sharp from 'sharp';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { invariant, InvariantViolation, unreachable } from '../../common/core/invariant.ts';
import { halvesOfFloats } from '../../common/format/half-float.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { FileReader, FileRows, InputCells } from './file-rows.ts';
import type { ImagePlan, ImageType } from './onnx-inputs.ts';

type SharpFactory = typeof Sharp;

/** 8 bits a channel, interleaved: RGB, or grey alone. */
interface Pixels {
  readonly data: Uint8Array;
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
}

/**
 * Reads one image per file. Colours are what a script with Pillow gets: 16-bit images and palettes become 8-bit RGB, alpha is
 * dropped (not blended), grey is Pillow's `L`, and an orientation in EXIF is not applied. Of several frames the first counts.
 */
export async function openImageReader(plan: ImagePlan, scale: number): Promise<FileReader> {
  const { default: sharp } = await import('sharp');
  // Scoring hosts share the machine: each decodes on one thread, and no file is read twice.
  sharp.concurrency(1);
  sharp.cache(false);
  const levels = levelsOf(plan.type, scale);
  return {
    extensions: ['.png', '.jpg', '.jpeg', '.tif', '.tiff', '.gif', '.webp'],
    hasRowNumbers: false,
    async *read(file): AsyncIterable<FileRows> {
      const bytes = readBytes(file);
      const pixels = await decode(bytes, plan, file, sharp);
      yield { rows: 1, inputs: [tensorOf(pixels, plan, levels)] };
    },
  };
}

/** At once: nothing else waits in this process, and for a small file a thread's way there and back costs more than reading. */
function readBytes(file: HostFile): Buffer {
  try {
    return readFileSync(file.path);
  } catch (error) {
    throw new BatchError('INPUT_UNREADABLE', `${file.name} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

/** What a PNG says of itself in its first bytes; null for other formats. @source PNG specification, 11.2.2 IHDR */
interface PngHeader {
  readonly width: number;
  readonly height: number;
  readonly isGrey: boolean;
}

function pngHeaderOf(bytes: Buffer): PngHeader | null {
  if (bytes.length < 26 || bytes.readUInt32BE(0) !== 0x89504e47) return null;
  return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20), isGrey: bytes[25] === 0 };
}

async function decode(bytes: Buffer, plan: ImagePlan, file: HostFile, sharp: SharpFactory): Promise<Pixels> {
  const header = pngHeaderOf(bytes);
  // Small grey images are many: decoding them as the grey that they are costs a fifth less than by way of RGB.
  const isGrey = plan.channels === 1 && header?.isGrey === true;
  try {
    const image = sharp(bytes, { failOn: 'error' }).removeAlpha();
    if (!isOfSize(header, plan)) {
      const size = { ...(plan.height && { height: plan.height }), ...(plan.width && { width: plan.width }) };
      image.resize({ ...size, fit: 'fill' });
    }
    image.toColourspace(isGrey ? 'b-w' : 'srgb').raw({ depth: 'uchar' });
    const { data, info } = await image.toBuffer({ resolveWithObject: true });
    const { width, height, channels } = info;
    const wanted = isGrey ? 1 : 3;
    invariant(channels === wanted, `${file.name} has ${channels} channels after decoding, not ${wanted}`);
    return { data, width, height, channels };
  } catch (error) {
    if (error instanceof InvariantViolation) throw error;
    const text = `${file.name} is no image that can be decoded: ${reasonOf(error)}`;
    throw new BatchError('INPUT_DECODE_FAILED', text, { cause: error });
  }
}

function isOfSize(header: PngHeader | null, plan: ImagePlan): boolean {
  if (plan.height === null && plan.width === null) return true;
  if (header === null) return false;
  return header.height === (plan.height ?? header.height) && header.width === (plan.width ?? header.width);
}

type Levels = Float32Array | Uint16Array | Uint8Array;

/** A pixel has 256 values, so each is scaled and converted once. */
function levelsOf(type: ImageType, scale: number): Levels {
  const scaled = Float32Array.from({ length: 256 }, (_, level) => level * scale);
  switch (type) {
    case 'float32':
      return scaled;
    case 'float16':
      return halvesOfFloats(scaled);
    case 'uint8':
      // A clamped array rounds and stays within a byte.
      return new Uint8Array(Uint8ClampedArray.from(scaled));
    default:
      return unreachable(type);
  }
}

function tensorOf(pixels: Pixels, plan: ImagePlan, levels: Levels): InputCells {
  const { height, width } = pixels;
  const cells = fill(pixels, plan, levels);
  const dims = {
    nhw: [height, width],
    nchw: [plan.channels, height, width],
    nhwc: [height, width, plan.channels],
  }[plan.layout];
  return { name: plan.input, type: plan.type, dims, cells };
}

/** The pixels in the order of the model's layout, each through the table of levels. */
function fill({ data, channels, height, width }: Pixels, plan: ImagePlan, levels: Levels): Levels {
  const count = height * width;
  const cells = new (levels.constructor as new (length: number) => Levels)(count * plan.channels);
  if (channels === 1) {
    for (let i = 0; i < count; i += 1) cells[i] = levels[data[i] as number] as number;
  } else if (plan.channels === 1) {
    for (let i = 0, at = 0; i < count; i += 1, at += 3) cells[i] = levels[greyOf(data, at)] as number;
  } else if (plan.layout === 'nhwc') {
    for (let i = 0; i < data.length; i += 1) cells[i] = levels[data[i] as number] as number;
  } else {
    for (let i = 0, at = 0; i < count; i += 1) {
      for (let plane = i; plane < cells.length; plane += count) cells[plane] = levels[data[at++] as number] as number;
    }
  }
  return cells;
}

/** @source Pillow's conversion from RGB to L: ITU-R 601-2 luma in 16-bit fixed point; a grey pixel stays what it is */
function greyOf(data: Uint8Array, at: number): number {
  const [red, green, blue] = [data[at] as number, data[at + 1] as number, data[at + 2] as number];
  return (red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16;
}
