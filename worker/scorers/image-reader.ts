/** Images as the pixels that a model takes. Decoding and scaling are sharp's (libvips). */
import { extname } from 'node:path';
import type { default as Sharp, Sharp as SharpImage } from 'sharp';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { HostFile } from '../../common/core/host-protocol.ts';
import { invariant, InvariantViolation } from '../../common/core/invariant.ts';
import { halfOfFloat } from '../../common/format/half-float.ts';
import { reasonOf } from '../../common/io/errno.ts';
import type { FileReader, FileRows, RowToPut } from './file-rows.ts';
import type { ImagePlan } from './onnx-inputs.ts';
import { decodePlainPng, pngHeaderOf, type Pixels, type PngHeader } from './plain-png.ts';
import { ReadRoom } from './read-room.ts';
import { makeCells, type Cells, type NumberCells } from './tensor-cells.ts';

type SharpFactory = typeof Sharp;
let library: Promise<SharpFactory> | null = null;

/** When it is first needed: libvips takes a tenth of a second to load, which small plain PNGs do without. */
async function loadLibrary(): Promise<SharpFactory> {
  const { default: sharp } = await import('sharp');
  // Scoring hosts share the machine: each decodes on one thread, and no file is read twice. Nor may libvips know again what it has
  // seen at a place in memory where another file is now.
  sharp.concurrency(1);
  sharp.cache(false);
  return sharp;
}

/**
 * Reads one image per file. Colours are what a script with Pillow gets: 16-bit images, palettes and CMYK become 8-bit RGB, alpha is
 * dropped (not blended), grey is Pillow's `L`, and an orientation in EXIF is not applied. Of several frames the first counts.
 */
export function openImageReader(plan: ImagePlan): FileReader<RowToPut> {
  const levels = levelsOf(plan);
  const room = new ReadRoom();
  return {
    extensions: ['.png', '.jpg', '.jpeg', '.tif', '.tiff', '.gif', '.webp', '.bmp'],
    hasRowNumbers: false,
    filesAheadMax: filesAheadOf(plan),
    read: (file, risk) => {
      const pixels = Promise.resolve().then(async () => {
        const bytes = readBytes(file, room);
        try {
          return await decode(bytes, plan, file, risk);
        } finally {
          room.give(bytes);
        }
      });
      // Decoding begins now; how it ends is told when the rows are asked for, which may be much later.
      pixels.catch(() => undefined);
      return rowOf(pixels, plan, levels);
    },
  };
}

async function* rowOf(
  pixels: Promise<Pixels>,
  plan: ImagePlan,
  levels: readonly Levels[],
): AsyncGenerator<FileRows<RowToPut>> {
  yield { rows: 1, inputs: [rowToPut(await pixels, plan, levels)] };
}

/** As many as fit the bytes that may wait; two where images keep their own size, which nobody knows before. */
function filesAheadOf({ height, width, channels }: ImagePlan): number {
  if (height === null || width === null) return 2;
  const files = Math.floor(limits.decodeAheadBytesMax / (height * width * channels));
  return Math.max(1, Math.min(limits.decodeAheadFilesMax, files));
}

/** At once: nothing else waits in this process, and for a small file a thread's way there and back costs more than reading. */
function readBytes(file: HostFile, room: ReadRoom): Buffer {
  try {
    return room.read(file.path);
  } catch (error) {
    throw new BatchError('INPUT_UNREADABLE', `${file.name} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

async function decode(bytes: Buffer, plan: ImagePlan, file: HostFile, risk: () => void): Promise<Pixels> {
  const header = pngHeaderOf(bytes);
  const plain = header && isForPlan(header, plan) ? decodePlainPng(bytes, header) : null;
  if (plain !== null) return plain;
  risk();
  const sharp = await (library ??= loadLibrary());
  // Small grey images are many: decoding them as the grey that they are costs a fifth less than by way of RGB.
  const isGrey = plan.channels === 1 && header?.isGrey === true;
  try {
    const image = (await openImage(bytes, file, sharp)).removeAlpha();
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

/** Small enough to be decoded sooner than another thread hears of it, and nothing to be scaled or made another colour. */
function isForPlan(header: PngHeader, plan: ImagePlan): boolean {
  const { width, height, plainChannels } = header;
  const isSmall = width * height * (plainChannels ?? 0) <= limits.plainPngBytesMax;
  const isOfColours = plainChannels === 3 || (plainChannels === 1 && plan.channels === 1);
  return isSmall && isOfColours && isOfSize(header, plan);
}

function isOfSize(header: PngHeader | null, plan: ImagePlan): boolean {
  if (plan.height === null && plan.width === null) return true;
  if (header === null) return false;
  return header.height === (plan.height ?? header.height) && header.width === (plan.width ?? header.width);
}

/** An image as sharp takes it; BMP, which libvips does not read, is decoded first. */
async function openImage(bytes: Buffer, file: HostFile, sharp: SharpFactory): Promise<SharpImage> {
  if (extname(file.name).toLowerCase() !== '.bmp' && bytes.toString('latin1', 0, 2) !== 'BM') {
    return sharp(bytes, { failOn: 'error' });
  }
  const { decode: decodeBmp } = await import('bmp-ts');
  checkBmp(bytes);
  const { data, width, height } = decodeBmp(bytes, { toRGBA: true });
  return sharp(data, { raw: { width, height, channels: 4 } });
}

/** The decoder makes room for as many pixels as the header says before it looks whether they can be there. @source BITMAPINFOHEADER */
function checkBmp(bytes: Buffer): void {
  const [width, height] = bytes.length < 34 ? [0, 0] : [bytes.readInt32LE(18), Math.abs(bytes.readInt32LE(22))];
  const [bits, compression] = bytes.length < 34 ? [0, 0] : [bytes.readUInt16LE(28), bytes.readUInt32LE(30)];
  const isRunLength = compression === 1 || compression === 2;
  const bytesWanted = isRunLength ? 0 : Math.ceil((width * bits) / 32) * 4 * height;
  const isWhole = bytes.length >= bytes.readUInt32LE(10) + bytesWanted;
  if (width < 1 || height < 1 || width * height > limits.bmpPixelsMax || !isWhole) {
    throw new Error(`a BMP of ${width}×${height} pixels in ${bytes.length} bytes`);
  }
}

/** Cells of a tensor by the value of a pixel; a pixel has 256 values, so each is normalised and converted once for each channel. */
type Levels = NumberCells;

function levelsOf(plan: ImagePlan): Levels[] {
  return Array.from({ length: plan.channels }, (_, channel) => {
    const mean = plan.mean[channel] ?? plan.mean[0] ?? 0;
    const std = plan.std[channel] ?? plan.std[0] ?? 1;
    return convertLevels(
      plan.type,
      Array.from({ length: 256 }, (_level, level) => (level * plan.scale - mean) / std),
    );
  });
}

/** Integers are rounded and stay within their range. */
function convertLevels(type: string, values: readonly number[]): Levels {
  const levels = makeCells(type, 256);
  const [least, most] = rangeOf(levels);
  values.forEach((value, level) => {
    const bounded = Math.min(most, Math.max(least, Math.round(value)));
    if (levels instanceof BigInt64Array || levels instanceof BigUint64Array) levels[level] = BigInt(bounded);
    else levels[level] = type === 'float16' ? halfOfFloat(value) : type.startsWith('float') ? value : bounded;
  });
  return levels;
}

function rangeOf(cells: Levels): readonly [number, number] {
  const bits = Math.min(32, cells.BYTES_PER_ELEMENT * 8);
  const isSigned = /^(Big)?Int/.test(cells.constructor.name);
  return isSigned ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
}

function rowToPut(pixels: Pixels, plan: ImagePlan, levels: readonly Levels[]): RowToPut {
  const { height, width } = pixels;
  const dims = {
    nhw: [height, width],
    nchw: [plan.channels, height, width],
    nhwc: [height, width, plan.channels],
  }[plan.layout];
  const [{ BYTES_PER_ELEMENT: cellBytes }] = levels as [Levels];
  const put = (cells: Cells, at: number): void => fill(cells as Float32Array, at, pixels, plan, levels);
  return { name: plan.input, type: plan.type, dims, cellBytes, put };
}

/** The pixels in the order of the model's layout and channels from place `at` on, each through the table of its channel's levels. */
function fill(cells: Float32Array, at: number, pixels: Pixels, plan: ImagePlan, levels: readonly Levels[]): void {
  const { data, channels, height, width } = pixels;
  const count = height * width;
  const table = levels[0] as Float32Array;
  if (channels === 1) {
    for (let i = 0; i < count; i += 1) cells[at + i] = table[data[i] as number] as number;
  } else if (plan.channels === 1) {
    for (let i = 0, from = 0; i < count; i += 1, from += 3) cells[at + i] = table[greyOf(data, from)] as number;
  } else {
    fillColours(cells, at, pixels, plan, levels as readonly Float32Array[]);
  }
}

/** A channel of the model after the other: its cells lie `step` apart from the first one on. */
function fillColours(
  cells: Float32Array,
  at: number,
  { data, height, width }: Pixels,
  { layout, order }: ImagePlan,
  levels: readonly Float32Array[],
): void {
  const count = height * width;
  for (let channel = 0; channel < 3; channel += 1) {
    const table = levels[channel] as Float32Array;
    let from = order === 'bgr' ? 2 - channel : channel;
    const [begin, step] = layout === 'nhwc' ? [at + channel, 3] : [at + channel * count, 1];
    for (let i = 0, to = begin; i < count; i += 1, from += 3, to += step) {
      cells[to] = table[data[from] as number] as number;
    }
  }
}

/** @source Pillow's conversion from RGB to L: ITU-R 601-2 luma in 16-bit fixed point; a grey pixel stays what it is */
function greyOf(data: Uint8Array, at: number): number {
  const [red, green, blue] = [data[at] as number, data[at + 1] as number, data[at + 2] as number];
  return (red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16;
}
