/**
 * Images through an ONNX model in a bare loop: sharp decodes on threads while onnxruntime has the images before. For a small PNG what
 * a library does around each image is more than the image, so that plain grey ones are inflated and unfiltered right here.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import * as ort from 'onnxruntime-node';
import sharp from 'sharp';
import { ceiling, filesBelow, floatText, inChunks } from './pool.mjs';

await ceiling({
  options: {
    model: { type: 'string' },
    side: { type: 'string' },
    channels: { type: 'string' },
    scale: { type: 'string', default: '1' },
    batch: { type: 'string', default: '64' },
    /** The output whose largest place is the label; none: there is no label. */
    scores: { type: 'string' },
  },
  plan: ({ input, batch }) => inChunks(filesBelow(input), Number(batch)),
  open: async ({ input, model, side: sideText, channels: channelsText, scale: scaleText, scores }) => {
    sharp.concurrency(1);
    sharp.cache(false);
    const [side, channels, scale] = [Number(sideText), Number(channelsText), Number(scaleText)];
    const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1 });
    const levels = Float32Array.from({ length: 256 }, (_, level) => level * scale);
    const size = side * side * channels;
    const name = session.inputNames[0];
    const decode = (path) => {
      const bytes = readFileSync(join(input, path));
      if (isPlainGrey(bytes, side)) return unfilter(inflateSync(dataOf(bytes)), side);
      const image = sharp(bytes);
      if (channels === 3) image.removeAlpha().resize({ width: side, height: side, fit: 'fill' });
      return image
        .toColourspace(channels === 1 ? 'b-w' : 'srgb')
        .raw({ depth: 'uchar' })
        .toBuffer();
    };
    return async (paths, write) => {
      const images = await Promise.all(paths.map(decode));
      const cells = new Float32Array(paths.length * size);
      for (let at = 0; at < images.length; at += 1) fill(cells, at * size, images[at], channels, levels);
      const tensor = new ort.Tensor('float32', cells, [paths.length, channels, side, side]);
      const outputs = await session.run({ [name]: tensor });
      const columns = session.outputNames.map((output) => outputs[output].data);
      const classes = scores === undefined ? [] : outputs[scores].data;
      const widths = columns.map((data) => data.length / paths.length);
      const width = classes.length / paths.length;
      let text = '';
      for (let row = 0; row < paths.length; row += 1) {
        text += width === 0 ? paths[row] : `${paths[row]},${largest(classes, row * width, width)}`;
        for (let column = 0; column < columns.length; column += 1) {
          const [data, count] = [columns[column], widths[column]];
          const isList = count > 32;
          if (isList) text += ',"[';
          for (let at = row * count; at < (row + 1) * count; at += 1) {
            text += (isList && at === row * count ? '' : ',') + floatText(data[at]);
          }
          if (isList) text += ']"';
        }
        text += '\n';
      }
      write(text);
    };
  },
});

/** Eight bits of grey, not interlaced, of the model's own size. @source PNG specification, 11.2.2 IHDR */
function isPlainGrey(bytes, side) {
  if (bytes.readUInt32BE(0) !== 0x89504e47) return false;
  const isOfSize = bytes.readUInt32BE(16) === side && bytes.readUInt32BE(20) === side;
  return isOfSize && bytes[24] === 8 && bytes[25] === 0 && bytes[28] === 0;
}

/** What the IDAT chunks hold, put together. */
function dataOf(bytes) {
  const parts = [];
  for (let at = 8; at < bytes.length;) {
    const length = bytes.readUInt32BE(at);
    if (bytes.readUInt32BE(at + 4) === 0x49444154) parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  return parts.length === 1 ? parts[0] : Buffer.concat(parts);
}

/** Rows of one byte a pixel, each behind the number of its filter. @source PNG specification, 9.2 Filter types for filter method 0 */
function unfilter(raw, side) {
  const pixels = new Uint8Array(side * side);
  for (let row = 0, from = 0, to = 0; row < side; row += 1) {
    const filter = raw[from++];
    for (let column = 0; column < side; column += 1, from += 1, to += 1) {
      const left = column > 0 ? pixels[to - 1] : 0;
      const above = row > 0 ? pixels[to - side] : 0;
      const corner = row > 0 && column > 0 ? pixels[to - side - 1] : 0;
      pixels[to] = raw[from] + foretold(filter, left, above, corner);
    }
  }
  return pixels;
}

function foretold(filter, left, above, corner) {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return above;
  if (filter === 3) return (left + above) >> 1;
  const [toLeft, toAbove, toCorner] = [
    Math.abs(above - corner),
    Math.abs(left - corner),
    Math.abs(left + above - 2 * corner),
  ];
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** The pixels of an image, channel after channel. */
function fill(cells, begin, pixels, channels, levels) {
  const count = pixels.length / channels;
  for (let channel = 0; channel < channels; channel += 1) {
    for (let i = 0, from = channel, to = begin + channel * count; i < count; i += 1, from += channels, to += 1) {
      cells[to] = levels[pixels[from]];
    }
  }
}

function largest(data, begin, count) {
  let best = begin;
  for (let at = begin + 1; at < begin + count; at += 1) if (data[at] > data[best]) best = at;
  return best - begin;
}
