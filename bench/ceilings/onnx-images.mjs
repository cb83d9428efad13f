/** Images through an ONNX model in a bare loop: sharp decodes on threads while onnxruntime has the images before. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
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
    /** The output of scores; the others are written as they are. */
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
      const image = sharp(readFileSync(join(input, path)));
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
      const classes = outputs[scores].data;
      const widths = columns.map((data) => data.length / paths.length);
      const width = classes.length / paths.length;
      let text = '';
      for (let row = 0; row < paths.length; row += 1) {
        text += `${paths[row]},${largest(classes, row * width, width)}`;
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
