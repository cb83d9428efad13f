/** What a model gives, as columns of an Arrow table: the file, the row in it, a label where there are class scores, the outputs. */
import type * as Arrow from 'apache-arrow';
import type { Data, DataType, Table } from 'apache-arrow';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { floatsOfHalves } from '../../common/format/half-float.ts';
import { describeValue, type ModelValue } from './onnx-inputs.ts';
import type { Cells } from './tensor-cells.ts';

/** An output tensor as onnxruntime-node hands it over. */
export interface OutputTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

export interface OutputPlan {
  /** Outputs that are asked for, in the model's order: all tensors. */
  readonly names: readonly string[];
  /** The output whose largest value's place is the `label`; null when none looks like class scores. */
  readonly labelFrom: string | null;
}

/** Rows `first` to `first + rows − 1` of a file, as they follow one another in a call of the model. */
export interface RowSpan {
  readonly file: string;
  readonly first: number;
  readonly rows: number;
}

const tensorTypes = /^(float(16|32|64)|u?int(8|16|32|64)|bool|string)$/;

/** Decides which outputs become columns. Throws MODEL_UNSUPPORTED when none is a tensor. */
export function planOutputs(outputs: readonly ModelValue[]): OutputPlan {
  const tensors = outputs.filter((output) => output.isTensor && tensorTypes.test(output.type));
  if (tensors.length === 0) {
    throw new BatchError(
      'MODEL_UNSUPPORTED',
      `the model has no output that is a tensor: ${outputs.map(describeValue).join(', ')}. ` +
        'Export it without ZipMap (zipmap=False), or use a scoring script',
    );
  }
  const hasLabel = tensors.some((output) => output.name.toLowerCase() === 'label');
  return { names: tensors.map((output) => output.name), labelFrom: hasLabel ? null : findScores(tensors) };
}

/**
 * The output that holds a score per class: named so (probabilities before logits), else the only one of its shape unless
 * its name says that its numbers are something else.
 */
function findScores(tensors: readonly ModelValue[]): string | null {
  const scores = tensors.filter(({ type, shape }) => type.startsWith('float') && isVectorPerRow(shape));
  const named = (pattern: RegExp): string | undefined => scores.find(({ name }) => pattern.test(name))?.name;
  const byName = named(/prob|softmax/i) ?? named(/score/i) ?? named(/logit/i);
  if (byName !== undefined) return byName;
  const [only] = scores;
  const isOther = /embed|feature|hidden|box|coord|point|mask|state|pool/i;
  return only && scores.length === 1 && !isOther.test(only.name) ? only.name : null;
}

/** [n, k] with k of 2 or more or not known; further dimensions of 1 count for nothing. */
function isVectorPerRow(shape: readonly (number | string)[]): boolean {
  const inner = shape.slice(1).filter((dimension) => dimension !== 1);
  return inner.length === 1;
}

/** Makes tables of outputs; apache-arrow is loaded once, when a model is opened. */
export type TableMaker = (outputs: Readonly<Record<string, OutputTensor>>, spans: readonly RowSpan[]) => Table;

interface Column {
  readonly name: string;
  readonly data: Data;
}

/** `batch` is the fixed number of rows of the model's calls, which may be more than the spans have: the others are padding. */
export async function openTableMaker(
  plan: OutputPlan,
  options: { readonly hasRowNumbers: boolean; readonly batch: number | null },
): Promise<TableMaker> {
  const arrow = await import('apache-arrow');
  const { makeData, Field, Struct, RecordBatch, Schema, Table } = arrow;
  const vectors = arrowVectors(arrow);
  return (outputs, spans) => {
    const rows = spans.reduce((sum, span) => sum + span.rows, 0);
    const columns: Column[] = [{ name: 'file', data: vectors.names(spans) }];
    if (options.hasRowNumbers) columns.push({ name: 'row', data: vectors.cells(rowNumbers(spans, rows)) });
    const grids = plan.names.map((name) => gridOf(name, outputs[name], rows, options.batch));
    const scores = grids.find((grid) => grid.name === plan.labelFrom);
    if (scores && scores.width > 1) columns.push({ name: 'label', data: vectors.labels(labelsOf(scores, rows)) });
    for (const grid of grids) columns.push(...columnsOf(grid, rows, vectors));
    const fields = uniqueNames(columns).map((name, i) => new Field(name, columns[i]?.data.type as DataType, true));
    const data = makeData({ type: new Struct(fields), length: rows, children: columns.map((column) => column.data) });
    return new Table([new RecordBatch(new Schema(fields), data)]);
  };
}

/** An output with one row of `width` cells for each row that was fed. */
interface Grid {
  readonly name: string;
  readonly type: string;
  readonly width: number;
  readonly cells: Cells;
}

function gridOf(name: string, tensor: OutputTensor | undefined, rows: number, batch: number | null): Grid {
  if (tensor === undefined) throw new BatchError('SCORER_OUTPUT_INVALID', `the model gave no output ${name}`);
  const cells = tensor.type === 'float16' ? floatsOfHalves(tensor.data as Uint16Array) : (tensor.data as Cells);
  const fed = batch ?? rows;
  // A model for one row may leave the first dimension out.
  if (tensor.dims[0] !== fed && batch !== 1) {
    throw new BatchError(
      'SCORER_OUTPUT_INVALID',
      `output ${name} has shape [${tensor.dims.join(',')}] for ${fed} rows: its first dimension must be the rows. Use a scoring script`,
    );
  }
  return { name, type: tensor.type, width: cells.length / fed, cells };
}

/** A value per row is a column; a few are a column each, `name_0` and on; many are one column of lists. */
function columnsOf({ name, type, width, cells }: Grid, rows: number, vectors: Vectors): Column[] {
  if (width === 1) return [{ name, data: vectors.cells(head(cells, rows), type) }];
  if (width === 0 || width > limits.modelOutputColumnsMax) {
    return [{ name, data: vectors.lists(head(cells, rows * width), width, rows, type) }];
  }
  return Array.from({ length: width }, (_, i) => ({
    name: `${name}_${i}`,
    data: vectors.cells(everyNth(cells, i, width, rows), type),
  }));
}

const head = (cells: Cells, count: number): Cells =>
  Array.isArray(cells) ? cells.slice(0, count) : cells.subarray(0, count);

function everyNth(cells: Cells, first: number, step: number, count: number): Cells {
  const picked = Array.isArray(cells) ? [] : new (cells.constructor as new (length: number) => Cells)(count);
  for (let i = 0; i < count; i += 1) (picked as unknown[])[i] = cells[first + i * step];
  return picked;
}

/** Place of the largest score of each row, the first of equal ones; null where no score is a number. */
function labelsOf(scores: Grid, rows: number): (number | null)[] {
  const cells = scores.cells as Float32Array;
  return Array.from({ length: rows }, (_, row) => {
    let best: number | null = null;
    let bestScore = -Infinity;
    for (let i = 0; i < scores.width; i += 1) {
      const score = cells[row * scores.width + i] as number;
      if (score > bestScore || (best === null && score === -Infinity)) [best, bestScore] = [i, score];
    }
    return best;
  });
}

function rowNumbers(spans: readonly RowSpan[], rows: number): Int32Array {
  const numbers = new Int32Array(rows);
  let at = 0;
  for (const span of spans) {
    for (let i = 0; i < span.rows; i += 1) numbers[at++] = span.first + i;
  }
  return numbers;
}

/** An output may be called `file` or `row` too; the later one of two equal names gets a `_`. */
function uniqueNames(columns: readonly Column[]): string[] {
  const taken = new Set<string>();
  return columns.map(({ name }) => {
    let unique = name;
    while (taken.has(unique)) unique += '_';
    taken.add(unique);
    return unique;
  });
}

/** The few forms of Arrow data that are needed, made without copying where the cells are typed arrays. */
interface Vectors {
  names(spans: readonly RowSpan[]): Data;
  cells(cells: Cells, type?: string): Data;
  lists(cells: Cells, width: number, rows: number, type: string): Data;
  labels(labels: readonly (number | null)[]): Data;
}

function arrowVectors(arrow: typeof Arrow): Vectors {
  const { Bool, Dictionary, Field, FixedSizeList, Int32, Utf8, makeData, makeVector, vectorFromArray } = arrow;
  const cells = (values: Cells, type = ''): Data => {
    if (type === 'bool') return firstData(vectorFromArray(Array.from(values as Uint8Array, Boolean), new Bool()));
    if (Array.isArray(values)) return firstData(vectorFromArray(values, new Utf8()));
    return firstData(makeVector(values as Int32Array));
  };
  return {
    cells,
    names: (spans) => {
      const indices = new Int32Array(spans.reduce((sum, span) => sum + span.rows, 0));
      let at = 0;
      spans.forEach((span, i) => indices.fill(i, at, (at += span.rows)));
      const words = spans.map((span) => span.file);
      const dictionary = vectorFromArray(words, new Utf8());
      return makeData({ type: new Dictionary(new Utf8(), new Int32()), length: at, data: indices, dictionary });
    },
    lists: (values, width, rows, type) => {
      const child = cells(values, type);
      const list = new FixedSizeList(width, new Field('item', child.type as DataType, true));
      return makeData({ type: list, length: rows, child });
    },
    labels: (labels) =>
      labels.includes(null)
        ? firstData(vectorFromArray(labels, new Int32()))
        : firstData(makeVector(Int32Array.from(labels as number[]))),
  };
}

function firstData(vector: { readonly data: readonly unknown[] }): Data {
  return vector.data[0] as Data;
}
