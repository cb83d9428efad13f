/**
 * Tables of numbers through an ONNX model in a bare loop. Where the blocks of the files begin is known beforehand (`--blocks`), so that
 * nothing is looked for; text is parsed by a loop that knows plain decimal numbers, commas and nothing else.
 */
import { openSync, readSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parquetRead, parquetMetadata } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import * as ort from 'onnxruntime-node';
import { ceiling, floatText } from './pool.mjs';

const rowsOfCall = 4_096;

await ceiling({
  header: 'file,row,score\n',
  options: { model: { type: 'string' }, blocks: { type: 'string' }, width: { type: 'string' } },
  plan: ({ blocks }) => JSON.parse(readFileSync(blocks, 'utf8')),
  open: async ({ input, model, width: widthText }) => {
    const width = Number(widthText);
    const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1 });
    const [name] = session.inputNames;
    const [output] = session.outputNames;
    const cellsOf = await openReader(input, width);
    return async (block, write) => {
      const cells = await cellsOf(block);
      for (let first = 0; first < block.rows; first += rowsOfCall) {
        const rows = Math.min(rowsOfCall, block.rows - first);
        const part = cells.subarray(first * width, (first + rows) * width);
        const { data } = (await session.run({ [name]: new ort.Tensor('float32', part, [rows, width]) }))[output];
        let text = '';
        for (let row = 0; row < rows; row += 1) {
          text += `${block.file},${block.firstRow + first + row},${floatText(data[row])}\n`;
        }
        write(text);
      }
    };
  },
});

async function openReader(input, width) {
  const files = new Map();
  const fileOf = (name) => {
    if (!files.has(name)) files.set(name, openSync(join(input, name), 'r'));
    return files.get(name);
  };
  return (block) => {
    const bytes = Buffer.allocUnsafe(block.bytes);
    readSync(fileOf(block.file), bytes, 0, block.bytes, block.offset);
    return block.file.endsWith('.csv') ? parse(bytes, block.rows * width) : columns(input, block, width);
  };
}

const metadata = new Map();

/** A row group of a Parquet file, row by row. */
async function columns(input, block, width) {
  const file = bufferOf(join(input, block.file));
  if (!metadata.has(block.file)) metadata.set(block.file, parquetMetadata(await file.slice(0)));
  const cells = new Float32Array(block.rows * width);
  await parquetRead({
    file,
    compressors,
    metadata: metadata.get(block.file),
    rowStart: block.firstRow,
    rowEnd: block.firstRow + block.rows,
    onChunk: ({ columnName, columnData, rowStart }) => {
      const column = Number(columnName.slice(1));
      const from = Math.max(0, block.firstRow - rowStart);
      const count = Math.min(columnData.length - from, block.rows);
      let to = (rowStart + from - block.firstRow) * width + column;
      for (let row = 0; row < count; row += 1, to += width) cells[to] = columnData[from + row];
    },
  });
  return cells;
}

const buffers = new Map();

function bufferOf(path) {
  if (!buffers.has(path)) {
    const bytes = readFileSync(path);
    const all = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    buffers.set(path, { byteLength: all.byteLength, slice: (from, to) => all.slice(from, to) });
  }
  return buffers.get(path);
}

const powers = [1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/** Digits with an optional sign and fraction, between commas and line ends. */
function parse(bytes, count) {
  const cells = new Float32Array(count);
  let cell = 0;
  let value = 0;
  let fraction = -1;
  let isNegative = false;
  for (let i = 0; i < bytes.length; i += 1) {
    const byte = bytes[i];
    if (byte >= 48) {
      value = value * 10 + byte - 48;
      if (fraction >= 0) fraction += 1;
    } else if (byte === 46) fraction = 0;
    else if (byte === 45) isNegative = true;
    else {
      if (fraction > 0) value /= powers[fraction];
      cells[cell++] = isNegative ? -value : value;
      value = 0;
      fraction = -1;
      isNegative = false;
    }
  }
  return cells;
}
