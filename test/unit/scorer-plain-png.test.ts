import { crc32, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodePlainPng, pngHeaderOf, type PngHeader } from '../../worker/scorers/plain-png.ts';

/** What the header of a PNG says; the rest of its 13 bytes are 0. */
interface Kind {
  readonly width: number;
  readonly height: number;
  readonly depth?: number;
  readonly colour: number;
  readonly interlace?: number;
}

type Chunk = readonly [name: string, data: Uint8Array];

function png(chunks: readonly Chunk[]): Buffer {
  const signature = Buffer.from('89504e470d0a1a0a', 'hex');
  return Buffer.concat([signature, ...chunks.map(([name, data]) => chunk(name, data))]);
}

function chunk(name: string, data: Uint8Array): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from(name), data, Buffer.alloc(4)]);
  bytes.writeUInt32BE(data.length);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, -4)), bytes.length - 4);
  return bytes;
}

function header({ width, height, depth = 8, colour, interlace = 0 }: Kind): Chunk {
  const data = Buffer.alloc(13);
  data.writeUInt32BE(width);
  data.writeUInt32BE(height, 4);
  data.set([depth, colour, 0, 0, interlace], 8);
  return ['IHDR', data];
}

const end: Chunk = ['IEND', Buffer.alloc(0)];

/** Lines of any bytes, the filter of each in front of it: whatever they come to is an image. */
const lines = fc
  .record({
    width: fc.integer({ min: 1, max: 9 }),
    filters: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 7 }),
    colour: fc.constantFrom(0, 2),
  })
  .chain(({ width, filters, colour }) => {
    const stride = width * (colour === 0 ? 1 : 3);
    const cells = fc.array(fc.uint8Array({ minLength: stride, maxLength: stride }), {
      minLength: filters.length,
      maxLength: filters.length,
    });
    return cells.map((rows) => ({
      kind: { width, height: filters.length, colour },
      packed: deflateSync(Buffer.concat(rows.map((row, i) => Buffer.from([filters[i] as number, ...row])))),
    }));
  });

const decode = (bytes: Buffer): Uint8Array | null =>
  decodePlainPng(bytes, pngHeaderOf(bytes) as PngHeader)?.data ?? null;

async function bySharp(bytes: Buffer): Promise<Uint8Array> {
  const { isGrey } = pngHeaderOf(bytes) as PngHeader;
  return await sharp(bytes)
    .removeAlpha()
    .toColourspace(isGrey ? 'b-w' : 'srgb')
    .raw({ depth: 'uchar' })
    .toBuffer();
}

describe('a plain PNG', () => {
  it('has the pixels that libvips finds, whatever the filters of its lines', async () => {
    await fc.assert(
      fc.asyncProperty(lines, fc.boolean(), async ({ kind, packed }, isCut) => {
        const parts: Chunk[] = isCut
          ? [3, packed.length].map((to, i) => ['IDAT', packed.subarray(i === 0 ? 0 : 3, to)])
          : [['IDAT', packed]];
        const bytes = png([header(kind), ...parts, end]);
        const found = decode(bytes);
        expect(found).not.toBeNull();
        expect(Buffer.from(found ?? [])).toEqual(await bySharp(bytes));
      }),
      { numRuns: 200 },
    );
  });

  it('may say things of itself that change no pixel', async () => {
    const more: Chunk[] = [
      ['gAMA', Buffer.from('0000b18f', 'hex')],
      ['cHRM', Buffer.from('00007a26000080840000fa00000080e8000075300000ea6000003a9800001770', 'hex')],
      ['pHYs', Buffer.from('00000b1300000b1301', 'hex')],
      ['tEXt', Buffer.from('Comment\0of a test')],
      ['tIME', Buffer.from('07e80101000000', 'hex')],
    ];
    const packed = deflateSync(Buffer.from([0, 1, 2, 3, 250, 128, 7]));
    const bytes = png([header({ width: 2, height: 1, colour: 2 }), ...more, ['IDAT', packed], end]);
    expect(decode(bytes)).toEqual(Uint8Array.of(1, 2, 3, 250, 128, 7));
    expect(await bySharp(bytes)).toEqual(Buffer.from([1, 2, 3, 250, 128, 7]));
  });
});

describe('what is not plain is left to libvips', () => {
  const packed = deflateSync(Buffer.from([0, 7, 9]));
  const grey = { width: 2, height: 1, colour: 0 };
  const whole = png([header(grey), ['IDAT', packed], end]);
  const cases: readonly (readonly [string, Buffer])[] = [
    ['sixteen bits', png([header({ ...grey, depth: 16 }), ['IDAT', packed], end])],
    ['a palette', png([header({ ...grey, colour: 3 }), ['IDAT', packed], end])],
    ['alpha', png([header({ ...grey, colour: 6 }), ['IDAT', packed], end])],
    ['interlacing', png([header({ ...grey, interlace: 1 }), ['IDAT', packed], end])],
    ['a colour that is transparent', png([header(grey), ['tRNS', Buffer.alloc(2)], ['IDAT', packed], end])],
    ['a colour profile', png([header(grey), ['iCCP', Buffer.from('p\0\0x')], ['IDAT', packed], end])],
    ['an orientation', png([header(grey), ['eXIf', Buffer.alloc(8)], ['IDAT', packed], end])],
    ['no pixels', png([header(grey), end])],
    ['no end', whole.subarray(0, -12)],
    ['an end that is cut off', whole.subarray(0, -2)],
    ['too few bytes', png([header({ ...grey, width: 3 }), ['IDAT', packed], end])],
    ['too many bytes', png([header({ ...grey, width: 1 }), ['IDAT', packed], end])],
    ['bytes behind the stream', png([header(grey), ['IDAT', Buffer.concat([packed, Buffer.alloc(1)])], end])],
    ['an unknown filter', png([header(grey), ['IDAT', deflateSync(Buffer.from([5, 7, 9]))], end])],
    [
      'pixels in two places',
      png([header(grey), ['IDAT', packed], ['tEXt', Buffer.from('a\0b')], ['IDAT', packed], end]),
    ],
    ['a second header', png([header(grey), header(grey), ['IDAT', packed], end])],
    [
      'a header of another length',
      png([['IHDR', Buffer.concat([header(grey)[1], Buffer.alloc(1)])], ['IDAT', packed], end]),
    ],
  ];
  it.each(cases)('%s', (_name, bytes) => {
    expect(decode(whole)).toEqual(Uint8Array.of(7, 9));
    expect(decode(bytes)).toBeNull();
  });

  it('any byte that has changed', () => {
    for (let at = 0; at < whole.length; at += 1) {
      const bytes = Buffer.from(whole);
      bytes.writeUInt8((whole[at] as number) ^ 1, at);
      const found = pngHeaderOf(bytes);
      expect(found && decodePlainPng(bytes, found)).toBeNull();
    }
  });

  it('what is no PNG', () => {
    expect(pngHeaderOf(Buffer.from('BM'))).toBeNull();
    expect(pngHeaderOf(Buffer.alloc(100))).toBeNull();
  });
});
