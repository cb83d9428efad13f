/** (c) 10,000,000 rows in files of very uneven size, as CSV and as Parquet, through gradient-boosted trees. */
import { closeSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { makeTable, tableToIPC } from 'apache-arrow';
import type * as Wasm from 'parquet-wasm';
import { onnxModel, type ModelNode } from '../../test/helpers/onnx-model.ts';
import { Random } from '../../test/sim/world.ts';
import { batchmill, ceiling, dataPeers, peers } from './contenders.ts';
import { sized, type Place, type Workload } from './workload.ts';

const require = createRequire(import.meta.url);

const width = 10;
const filesMost = 40;
/** As XGBoost makes them unless told otherwise. */
const trees = 100;
const depth = 6;
/** Rows that a process of the ceiling scores at a time; a row group of Parquet. */
const rowsOfBlock = 122_880;
const least = 20_000;

type Form = 'csv' | 'parquet';

/** A piece of a file, for the ceiling. */
export interface Block {
  readonly file: string;
  readonly firstRow: number;
  readonly rows: number;
  readonly offset: number;
  readonly bytes: number;
}

export async function tableCsv(place: Place): Promise<Workload> {
  return await table(place, 'csv');
}

export async function tableParquet(place: Place): Promise<Workload> {
  return await table(place, 'parquet');
}

async function table(place: Place, form: Form): Promise<Workload> {
  const rows = sized(place, Number(process.env['BENCH_ROWS'] ?? 10_000_000), least);
  const input = await place.data(`table-${form}-${rows}`, (dir) => writeTables(dir, rows, form));
  const blocks = await place.data(`table-${form}-${rows}-blocks`, (dir) => {
    writeFileSync(join(dir, 'blocks.json'), JSON.stringify(blocksOf(input, rows, form)));
  });
  const models = await place.data('table-model', (dir) => writeFileSync(join(dir, 'trees.onnx'), treesModel()));
  const model = join(models, 'trees.onnx');
  return {
    name: `table-${form}`,
    title: `${rows} rows of ${width} numbers as ${form === 'csv' ? 'CSV' : 'Parquet'}, ${trees} boosted trees in ONNX`,
    input,
    count: rows,
    unit: 'rows',
    agreement: { kind: 'numbers', hasRows: true },
    contenders: [
      ...batchmill(model, input),
      ceiling('onnx-table.mjs', [
        ...['--input', input, '--model', model, '--blocks', join(blocks, 'blocks.json'), '--width', String(width)],
      ]),
      ...(await peers(place, dataPeers, { kind: form, input, more: ['--model', model] })),
    ],
  };
}

/** Rows of each file: the largest has a quarter of them all, the smallest a hundred and sixtieth. */
function sizesOf(rows: number): readonly number[] {
  const files = Math.min(filesMost, Math.ceil(rows / 1_000));
  const shares = Array.from({ length: files }, (_, i) => 1 / (i + 1));
  const whole = shares.reduce((sum, share) => sum + share, 0);
  const sizes = shares.map((share) => Math.floor((rows * share) / whole));
  sizes[0] = (sizes[0] ?? 0) + rows - sizes.reduce((sum, size) => sum + size, 0);
  return sizes;
}

/** The largest file is neither the first nor the last one. */
const nameOf = (place: number, form: Form): string =>
  `store-${String((place * 17 + 11) % 97).padStart(2, '0')}.${form}`;

async function writeTables(dir: string, rows: number, form: Form): Promise<void> {
  for (const [place, size] of sizesOf(rows).entries()) {
    const path = join(dir, nameOf(place, form));
    if (form === 'csv') writeCsv(path, size, place);
    else writeParquet(path, size, place);
    await Promise.resolve();
  }
}

const names = Array.from({ length: width }, (_, column) => `x${column}`);

/** Thousandths from −100 to 899.999, as a till or a sensor would write them. */
const cellOf = (random: Random): number => (Math.floor(random.next() * 1_000_000) - 100_000) / 1_000;

function writeCsv(path: string, rows: number, seed: number): void {
  const random = new Random(seed);
  const file = openSync(path, 'w');
  let text = `${names.join(',')}\n`;
  for (let row = 0; row < rows; row += 1) {
    text += cellOf(random);
    for (let column = 1; column < width; column += 1) text += `,${cellOf(random)}`;
    text += '\n';
    if (text.length > 4_194_304) {
      writeSync(file, text);
      text = '';
    }
  }
  writeSync(file, text);
  closeSync(file);
}

function writeParquet(path: string, rows: number, seed: number): void {
  const parquet = require('parquet-wasm') as typeof Wasm;
  const random = new Random(seed);
  const columns = names.map(() => new Float32Array(rows));
  for (let row = 0; row < rows; row += 1) for (const column of columns) column[row] = cellOf(random);
  const arrow = makeTable(Object.fromEntries(names.map((name, i) => [name, columns[i] as Float32Array])));
  const properties = new parquet.WriterPropertiesBuilder()
    .setCompression(parquet.Compression.SNAPPY)
    .setMaxRowGroupSize(rowsOfBlock)
    .build();
  const given = parquet.Table.fromIPCStream(tableToIPC(arrow, 'stream'));
  writeFileSync(path, parquet.writeParquet(given, properties));
}

/** Largest files first, so that the last blocks are small. */
function blocksOf(input: string, rows: number, form: Form): Block[] {
  return sizesOf(rows).flatMap((size, place) => {
    const file = nameOf(place, form);
    const ends = form === 'csv' ? rowEnds(join(input, file)) : [];
    return Array.from({ length: Math.ceil(size / rowsOfBlock) }, (_, block): Block => {
      const firstRow = block * rowsOfBlock;
      const count = Math.min(rowsOfBlock, size - firstRow);
      const offset = ends[block] ?? 0;
      const bytes = form === 'csv' ? (ends[block + 1] ?? statSync(join(input, file)).size) - offset : 0;
      return { file, firstRow, rows: count, offset, bytes };
    });
  });
}

/** Where blocks begin: behind the header, then after so many rows each. */
function rowEnds(path: string): number[] {
  const bytes = readFileSync(path);
  const begins: number[] = [];
  let row = 0;
  for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1), row += 1) {
    if (row % rowsOfBlock === 0 && at + 1 < bytes.length) begins.push(at + 1);
  }
  return begins;
}

/** Whole binary trees: inner nodes first, then leaves. @source ai.onnx.ml TreeEnsembleRegressor */
function treesModel(): Buffer {
  const random = new Random(100);
  const inner = 2 ** depth - 1;
  const nodes: { tree: number; node: number }[] = [];
  for (let tree = 0; tree < trees; tree += 1) {
    for (let node = 0; node < 2 * inner + 1; node += 1) nodes.push({ tree, node });
  }
  const leaves = nodes.filter(({ node }) => node >= inner);
  const isInner = ({ node }: { node: number }): boolean => node < inner;
  const attributes: ModelNode['attributes'] = {
    n_targets: 1,
    nodes_treeids: nodes.map(({ tree }) => tree),
    nodes_nodeids: nodes.map(({ node }) => node),
    nodes_featureids: nodes.map((one) => (isInner(one) ? random.between(0, width - 1) : 0)),
    nodes_values: Float32Array.from(nodes, (one) => (isInner(one) ? cellOf(random) : 0)),
    nodes_modes: nodes.map((one) => (isInner(one) ? 'BRANCH_LEQ' : 'LEAF')),
    nodes_truenodeids: nodes.map((one) => (isInner(one) ? 2 * one.node + 1 : 0)),
    nodes_falsenodeids: nodes.map((one) => (isInner(one) ? 2 * one.node + 2 : 0)),
    target_treeids: leaves.map(({ tree }) => tree),
    target_nodeids: leaves.map(({ node }) => node),
    target_ids: leaves.map(() => 0),
    target_weights: Float32Array.from(leaves, () => random.next() - 0.5),
    post_transform: 'NONE',
  };
  const op = { op: 'TreeEnsembleRegressor', domain: 'ai.onnx.ml', inputs: ['x'], outputs: ['score'], attributes };
  return onnxModel({
    inputs: [{ name: 'x', type: 'float32', shape: ['n', width] }],
    outputs: [{ name: 'score', type: 'float32', shape: ['n', 1] }],
    nodes: [op],
  });
}
