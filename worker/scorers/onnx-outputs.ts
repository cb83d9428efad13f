/** What a model gives, as columns of an Arrow table: the file, the row in it, a label where there are class scores, the outputs. */
import type * as Arrow from 'apache-arrow';
import type { Data, DataType, Table } from 'apache-arrow';
import { BatchError } from '../../common/core/batch-error.ts';
import { nearestWord } from '../../common/config/nearest-word.ts';
import { limits } from '../../common/core/limits.ts';
import { defaultOnnxSettings, type OnnxSettings } from '../../common/core/onnx-settings.ts';
import { floatsOfHalves, halvesOfFloats } from '../../common/format/half-float.ts';
import { describeValue, type ModelValue } from './onnx-inputs.ts';
import type { Cells } from './tensor-cells.ts';

/** An output tensor as onnxruntime-node hands it over. */
export interface OutputTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

export interface OutputPlan {
  /** Outputs that are asked for, in the model's order: tensors. */
  readonly names: readonly string[];
  /** Those of them that become columns. */
  readonly shown: readonly string[];
  /** The output whose largest value's place is the `label`; null when none looks like class scores. */
  readonly labelFrom: string | null;
  /** Names of classes by place, for the label and for a label that the model gives itself. */
  readonly labels: readonly string[] | null;
  /** Best classes, each a column with its score; null: the label alone. */
  readonly topK: number | null;
}

/** What the deployment says of outputs. */
export type OutputSettings = Pick<OnnxSettings, 'labels' | 'topK' | 'outputs'>;

/** Rows `first` to `first + rows − 1` of a file, as they follow one another in a call of the model. */
export interface RowSpan {
  readonly file: string;
  readonly first: number;
  readonly rows: number;
}

const tensorTypes = /^(float(16|32|64)|u?int(8|16|32|64)|bool|string)$/;

/** Decides which outputs become columns. Throws MODEL_UNSUPPORTED when none is a tensor, or the settings do not fit them. */
export function planOutputs(
  outputs: readonly ModelValue[],
  settings: OutputSettings = defaultOnnxSettings,
): OutputPlan {
  const tensors = outputs.filter(isColumns);
  if (tensors.length === 0) {
    throw unsupported(
      `the model has no output that is a tensor: ${outputs.map(describeValue).join(', ')}. ` +
        'Export it without ZipMap (zipmap=False), or use a scoring script',
    );
  }
  const { labels, topK } = settings;
  const chosen = chooseOutputs(tensors, outputs, settings.outputs);
  const hasOwnLabel = tensors.some(isOwnLabel);
  const labelFrom = hasOwnLabel && topK === null ? null : findScores(tensors, labels);
  const isLabelled = labelFrom !== null || (hasOwnLabel && topK === null);
  if ((labels ?? topK) !== null && !isLabelled) {
    const key = labels === null ? 'top_k' : 'labels';
    throw unsupported(
      `settings.onnx.${key} is for a model with one score for each class; it gives ${tensors.map(describeValue).join(', ')}`,
    );
  }
  const scores = tensors.find((output) => output.name === labelFrom);
  if (scores) checkClasses(scores, settings);
  const shown = chosen.filter((name) => topK === null || name !== labelFrom || settings.outputs !== null);
  const names = tensors.map((output) => output.name).filter((name) => shown.includes(name) || name === labelFrom);
  return { names, shown, labelFrom, labels, topK };
}

/** Outputs that are left out because they are no tensors, such as the maps of ZipMap. */
export const leftOut = (outputs: readonly ModelValue[]): readonly ModelValue[] =>
  outputs.filter((output) => !isColumns(output));

const isColumns = (output: ModelValue): boolean => output.isTensor && tensorTypes.test(output.type);
const isOwnLabel = ({ name }: Pick<ModelValue, 'name'>): boolean => name.toLowerCase() === 'label';
const unsupported = (message: string): BatchError => new BatchError('MODEL_UNSUPPORTED', message);

function chooseOutputs(
  tensors: readonly ModelValue[],
  outputs: readonly ModelValue[],
  told: readonly string[] | null,
): readonly string[] {
  const names = tensors.map((output) => output.name);
  if (told === null) return names;
  const unknown = told.find((name) => !names.includes(name));
  if (unknown === undefined) return told;
  const near = nearestWord(unknown, names);
  const hint = near === null ? '' : `; did you mean ${near}?`;
  throw unsupported(
    `settings.onnx.outputs names ${unknown}, but the model gives ${outputs.map(describeValue).join(', ')}${hint}`,
  );
}

/** Classes of an output; null when the model does not say how many. */
function classesOf({ shape }: ModelValue): number | null {
  const [classes] = shape.slice(1).filter((dimension) => dimension !== 1);
  return typeof classes === 'number' && classes > 0 ? classes : null;
}

function checkClasses(scores: ModelValue, { labels, topK }: OutputSettings): void {
  const classes = classesOf(scores);
  if (classes === null) return;
  if (labels !== null && labels.length !== classes) {
    throw unsupported(`settings.onnx.labels has ${labels.length} names, but the model gives ${describeValue(scores)}`);
  }
  if (topK !== null && topK > classes) {
    throw unsupported(`settings.onnx.top_k is ${topK}, but the model gives ${describeValue(scores)}`);
  }
}

/**
 * The output that holds a score per class: named so (probabilities before logits), else the only one of its shape unless
 * its name says that its numbers are something else. Told names of classes decide where the names of outputs do not.
 */
function findScores(tensors: readonly ModelValue[], labels: readonly string[] | null): string | null {
  const scores = tensors.filter(({ type, shape }) => type.startsWith('float') && isVectorPerRow(shape));
  const named = (pattern: RegExp): string | undefined => scores.find(({ name }) => pattern.test(name))?.name;
  const byName = named(/prob|softmax/i) ?? named(/score/i) ?? named(/logit/i);
  if (byName !== undefined) return byName;
  const ofLabels = labels && scores.find((output) => classesOf(output) === labels.length);
  if (ofLabels) return ofLabels.name;
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

export interface TableOptions {
  /** Name of the first column, the file of each row. */
  readonly fileColumn: string;
  /** Name of the column with its number within the file; null: there is none. */
  readonly rowColumn: string | null;
  /** Fixed number of rows of the model's calls, which may be more than the spans have: the others are padding. */
  readonly batch: number | null;
}

export async function openTableMaker(plan: OutputPlan, options: TableOptions): Promise<TableMaker> {
  const arrow = await import('apache-arrow');
  const { makeData, Field, Struct, RecordBatch, Schema, Table } = arrow;
  const vectors = arrowVectors(arrow);
  return (outputs, spans) => {
    const rows = spans.reduce((sum, span) => sum + span.rows, 0);
    const columns: Column[] = [{ name: options.fileColumn, data: vectors.names(spans) }];
    if (options.rowColumn !== null)
      columns.push({ name: options.rowColumn, data: vectors.cells(rowNumbers(spans, rows)) });
    const grids = plan.names.map((name) => gridOf(name, outputs[name], rows, options.batch));
    const scores = grids.find((grid) => grid.name === plan.labelFrom);
    if (scores && (scores.width > 1 || plan.labels !== null))
      columns.push(...labelColumns(scores, rows, plan, vectors));
    for (const name of plan.shown) {
      const grid = grids.find((one) => one.name === name) as Grid;
      const isNamed = plan.labels !== null && isOwnLabel(grid) && grid.width === 1;
      columns.push(...(isNamed ? [namedLabels(grid, rows, plan, vectors)] : columnsOf(grid, rows, vectors)));
    }
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
  /** Those of half precision widened. */
  readonly cells: Cells;
  /** As the model gives them, which is how they become columns. */
  readonly given: Cells;
}

function gridOf(name: string, tensor: OutputTensor | undefined, rows: number, batch: number | null): Grid {
  if (tensor === undefined) throw new BatchError('SCORER_OUTPUT_INVALID', `the model gave no output ${name}`);
  const given = tensor.data as Cells;
  const cells = tensor.type === 'float16' ? floatsOfHalves(given as Uint16Array) : given;
  const fed = batch ?? rows;
  // A model for one row may leave the first dimension out.
  if (tensor.dims[0] !== fed && batch !== 1) {
    throw new BatchError(
      'SCORER_OUTPUT_INVALID',
      `output ${name} has shape [${tensor.dims.join(',')}] for ${fed} rows: its first dimension must be the rows. Use a scoring script`,
    );
  }
  return { name, type: tensor.type, width: cells.length / fed, cells, given };
}

/** `label`, or `label_1`, `score_1` and on, best first; the name of a class where there are names, else its place. */
function labelColumns(scores: Grid, rows: number, plan: OutputPlan, vectors: Vectors): Column[] {
  const { labels, topK } = plan;
  if ((labels !== null && labels.length !== scores.width) || (topK !== null && topK > scores.width)) {
    const told = labels === null ? `top_k is ${topK}` : `labels has ${labels.length} names`;
    const text = `settings.onnx.${told}, but ${scores.name} has ${scores.width} values per row`;
    throw new BatchError('SCORER_OUTPUT_INVALID', text);
  }
  const nameAll = (places: readonly (number | null)[]): Data =>
    labels === null
      ? vectors.labels(places)
      : vectors.words(places.map((place) => (place === null ? null : (labels[place] as string))));
  if (topK === null) return [{ name: 'label', data: nameAll(labelsOf(scores, rows)) }];
  const best = bestOf(scores, rows, topK);
  return Array.from({ length: topK }, (_, k) => k).flatMap((k) => [
    { name: `label_${k + 1}`, data: nameAll(best.map((places) => places[k] ?? null)) },
    { name: `score_${k + 1}`, data: vectors.cells(scoresAt(scores, best, k), scores.type) },
  ]);
}

/** Places of the `count` largest scores of each row, best first, of equal ones the first; shorter where scores are no numbers. */
function bestOf({ cells, width }: Grid, rows: number, count: number): number[][] {
  const scores = cells as Float32Array;
  return Array.from({ length: rows }, (_, row) => {
    const best: number[] = [];
    const scoreOf = (place: number): number => scores[row * width + place] as number;
    for (let place = 0; place < width; place += 1) {
      const score = scoreOf(place);
      if (Number.isNaN(score) || (best.length === count && score <= scoreOf(best[count - 1] as number))) continue;
      const at = best.findIndex((other) => scoreOf(other) < score);
      best.splice(at < 0 ? best.length : at, 0, place);
      if (best.length > count) best.pop();
    }
    return best;
  });
}

function scoresAt({ cells, width }: Grid, best: readonly (readonly number[])[], k: number): Cells {
  const scores = cells as Float32Array;
  const picked = new (scores.constructor as typeof Float32Array)(best.length);
  best.forEach((places, row) => {
    const place = places[k];
    picked[row] = place === undefined ? NaN : (scores[row * width + place] as number);
  });
  return picked;
}

/** The model's own label as the name of that place. */
function namedLabels(grid: Grid, rows: number, { labels }: OutputPlan, vectors: Vectors): Column {
  const names = Array.from({ length: rows }, (_, row) => {
    const place = Number(grid.cells[row]);
    const name = labels?.[place];
    if (name !== undefined) return name;
    const text = `settings.onnx.labels has ${labels?.length} names, but the model’s ${grid.name} is ${String(grid.cells[row])}`;
    throw new BatchError('SCORER_OUTPUT_INVALID', text);
  });
  return { name: grid.name, data: vectors.words(names) };
}

/** A value per row is a column; a few are a column each, `name_0` and on; many are one column of lists. */
function columnsOf({ name, type, width, given: cells }: Grid, rows: number, vectors: Vectors): Column[] {
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
  /** Texts of which many are equal. */
  words(words: readonly (string | null)[]): Data;
}

function arrowVectors(arrow: typeof Arrow): Vectors {
  const { Bool, Dictionary, Field, FixedSizeList, Float16, Int32, Utf8, makeData, makeVector, vectorFromArray } = arrow;
  const cells = (values: Cells, type = ''): Data => {
    if (type === 'bool') return firstData(vectorFromArray(Array.from(values as Uint8Array, Boolean), new Bool()));
    if (Array.isArray(values)) return firstData(vectorFromArray(values, new Utf8()));
    if (type === 'float16') {
      const data = values instanceof Uint16Array ? values : halvesOfFloats(values as Float32Array);
      return makeData({ type: new Float16(), length: data.length, data });
    }
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
    words: (words) => {
      const known = [...new Set(words.filter((word) => word !== null))];
      if (words.includes(null)) return firstData(vectorFromArray(words, new Utf8()));
      const places = new Map(known.map((word, place) => [word, place]));
      const data = Int32Array.from(words, (word) => places.get(word as string) as number);
      const dictionary = vectorFromArray(known, new Utf8());
      return makeData({ type: new Dictionary(new Utf8(), new Int32()), length: data.length, data, dictionary });
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
