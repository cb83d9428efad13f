/** Targets that read files of others: YAML, CSV, images. Each input is a file on the disk, as it is in life. */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { parseDocument } from 'yaml';
import { loadConfigFile, type ConfigFile } from '../../common/config/config-file.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { readRecords } from '../../worker/scorers/csv-records.ts';
import { openImageReader } from '../../worker/scorers/image-reader.ts';
import type { ImagePlan } from '../../worker/scorers/onnx-inputs.ts';
import { checkSettings, FuzzDefect, nothingOpen, outcomeOf, same, type FuzzTarget } from './target.ts';

export const yaml: FuzzTarget = {
  name: 'yaml',
  weight: 2,
  open: (dir) => {
    const folder = packageFile('test', 'fixtures', 'azure');
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.yml'));
    const own = readFileSync(packageFile('examples', 'digits', 'deployment.yml'));
    const owns = Array.from({ length: files.length }, () => own);
    const path = join(dir, 'in.yml');
    // What a deployment names must be there, or nothing of it is looked at.
    cpSync(packageFile('examples', 'digits', 'model'), join(dir, 'model'), { recursive: true });
    return Promise.resolve({
      samples: {
        valid: [...files.map((file) => readFileSync(join(folder, file))), ...owns],
        words: [
          '\n',
          ': ',
          '- ',
          '  ',
          '&a ',
          '*a',
          '<<: *a',
          '!!binary ',
          '"',
          '|',
          '>',
          '{',
          '[',
          'null',
          '1e999',
          '0x10',
          'azureml:',
          '../',
          '\t',
          '%YAML 9.9',
          '---\n',
          '__proto__',
          'settings:',
        ],
      },
      run: (input) =>
        outcomeOf(async () => {
          writeFileSync(path, input);
          const load = (): Promise<ConfigFile> => loadConfigFile(path, { isScriptUnchecked: true });
          const found = await load();
          same(await load(), found, 'the same file, read again');
          const { errors } = parseDocument(Buffer.from(input).toString('utf8'));
          if (errors.length > 0) throw new FuzzDefect(`accepted, though it is no YAML: ${errors[0]?.message ?? ''}`);
          if (found.kind === 'deployment') checkSettings(found.deployment.settings);
        }),
      close: nothingOpen,
    });
  },
};

const quoted = (cell: string): string => `"${cell.replaceAll('"', '""')}"`;

/** The whole text at once, by a reader that cuts no line by hand. */
function reference(bytes: Uint8Array): unknown {
  const text = new TextDecoder().decode(bytes);
  const options = { record_delimiter: ['\r\n', '\n', '\r'], relax_column_count: true, skip_empty_lines: true };
  try {
    return parse(text, options);
  } catch (error) {
    throw new FuzzDefect(`accepted, though another reader says: ${(error as Error).message}`);
  }
}

export const csv: FuzzTarget = {
  name: 'csv',
  weight: 1,
  open: (dir) => {
    const path = join(dir, 'in.csv');
    const read = async (bytes: Uint8Array): Promise<readonly (readonly string[])[]> => {
      writeFileSync(path, bytes);
      const found: string[][] = [];
      for await (const _ of readRecords({ path, name: 'in.csv' }, ',', (record) => void found.push(record))) continue;
      return found;
    };
    return Promise.resolve({
      samples: {
        valid: ['a,b\n1,2\n3,4\n', 'a,"b ""c"""\r\n"1\n2",x\r\n', '\ufeffname,value\nx,1.5\ny,\n', 'a\n\n\n1\n'].map(
          (text) => Buffer.from(text),
        ),
        words: ['"', '""', ',', '\r\n', '\r', '\n', '\ufeff', '\0', '";"'],
      },
      run: (input) =>
        outcomeOf(async () => {
          const records = await read(input);
          same(records, reference(input), 'records that another reader reads otherwise');
          // All quoted, the same records must come again; a lone empty cell would be an empty line, which is skipped.
          const again = await read(Buffer.from(records.map((record) => `${record.map(quoted).join(',')}\n`).join('')));
          same(again, records, 'records that were written and read again');
        }),
      close: nothingOpen,
    });
  },
};

export const images: FuzzTarget = {
  name: 'images',
  weight: 0.5,
  open: async (dir) => {
    const { default: sharp } = await import('sharp');
    mkdirSync(dir, { recursive: true });
    const raw = { width: 4, height: 3, channels: 3 } as const;
    const image = sharp(Buffer.from(Array.from({ length: 36 }, (_, at) => at * 7)), { raw });
    const valid = await Promise.all([
      ...[image.clone().png().toBuffer(), image.clone().jpeg().toBuffer(), image.clone().gif().toBuffer()],
      ...[image.clone().webp().toBuffer(), image.clone().tiff().toBuffer()],
    ]);
    const plan: Omit<ImagePlan, 'height' | 'width'> = {
      kind: 'image',
      input: 'x',
      type: 'float32',
      channels: 3,
      order: 'rgb',
      layout: 'nchw',
      scale: 1,
      mean: [],
      std: [],
      batch: null,
    };
    const readers = [
      { reader: openImageReader({ ...plan, height: null, width: null }), size: null },
      { reader: openImageReader({ ...plan, height: 3, width: 4 }), size: [3, 3, 4] },
      { reader: openImageReader({ ...plan, channels: 1, height: 5, width: 2 }), size: [1, 5, 2] },
    ];
    const names = ['in.png', 'in.jpg', 'in.gif', 'in.webp', 'in.tif', 'in.bmp'];
    return {
      samples: {
        valid: [...valid, bitmap()],
        words: ['IHDR', 'IDAT', 'PLTE', 'BM', 'RIFF', 'GIF89a', '\xff\xd8', 'II*\0'],
      },
      run: (input, random) =>
        outcomeOf(async () => {
          const name = random.pick(names);
          const path = join(dir, name);
          writeFileSync(path, input);
          const { reader, size } = random.pick(readers);
          for await (const { inputs } of reader.read({ path, name }, () => undefined)) {
            for (const { dims, put } of inputs) {
              // A model of a fixed size takes no other, whatever the header of the file says.
              if (size !== null) same(dims, size, 'the shape of an image');
              const wanted = dims.reduce((product, size) => product * size, 1);
              const cells = new Float32Array(wanted + 1).fill(NaN);
              put(cells, 0);
              if (cells.findIndex(Number.isNaN) !== wanted)
                throw new FuzzDefect(`not ${wanted} cells for ${dims.join('×')}`);
            }
          }
        }),
      close: nothingOpen,
    };
  },
};

/** Two pixels by one, 24 bits. */
function bitmap(): Buffer {
  const bytes = Buffer.alloc(62);
  bytes.write('BM', 0, 'latin1');
  bytes.writeUInt32LE(62, 2);
  bytes.writeUInt32LE(54, 10);
  bytes.writeUInt32LE(40, 14);
  bytes.writeInt32LE(2, 18);
  bytes.writeInt32LE(1, 22);
  bytes.writeUInt16LE(1, 26);
  bytes.writeUInt16LE(24, 28);
  return bytes;
}
