/** What a model takes, read off its inputs and the deployment's settings: images, or columns of tables. Pure: metadata in, plan out. */
import { nearestWord } from '../../common/config/nearest-word.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { defaultOnnxSettings, type OnnxImageSettings, type OnnxSettings } from '../../common/core/onnx-settings.ts';
import { cellTypes } from './tensor-cells.ts';

/** One input of a model as onnxruntime-node tells it; a dimension without a number is a name. */
export interface ModelValue {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type: string;
  readonly shape: readonly (number | string)[];
}

/** Pixels: grey or colours, planes (`nchw`, also without a channel axis) or interleaved (`nhwc`). Null: the image's own size. */
export interface ImagePlan {
  readonly kind: 'image';
  readonly input: string;
  readonly type: string;
  readonly channels: 1 | 3;
  readonly order: 'gray' | 'rgb' | 'bgr';
  readonly layout: 'nchw' | 'nhwc' | 'nhw';
  readonly height: number | null;
  readonly width: number | null;
  /** A pixel 0..255 becomes `(pixel * scale - mean) / std`; one number for all channels or one for each. */
  readonly scale: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Rows that the model wants in every call; null: any number. */
  readonly batch: number | null;
}

/** Where the cells of an input come from. */
export interface TableInput {
  readonly name: string;
  readonly type: string;
  readonly rank: 1 | 2;
  /** Cells of a row; null: as many as the file has. */
  readonly width: number | null;
  /** Columns of the file, side by side, or one that holds a list in each row. Null: all that suit the type, in file order. */
  readonly columns: readonly string[] | null;
}

/** Columns of tables (CSV, JSON Lines, Parquet, Arrow), for inputs of one or two dimensions. */
export interface TablePlan {
  readonly kind: 'table';
  readonly inputs: readonly TableInput[];
  readonly batch: number | null;
}

export type InputPlan = ImagePlan | TablePlan;

/** Decides how a model is fed. Throws MODEL_UNSUPPORTED with all inputs when it takes neither images nor columns, or not as it is told. */
export function planInputs(inputs: readonly ModelValue[], settings: OnnxSettings = defaultOnnxSettings): InputPlan {
  const [only] = inputs;
  const plan = planTable(inputs, settings) ?? (only && inputs.length === 1 ? planImage(only, settings.image) : null);
  if (plan) {
    checkSettings(plan, inputs, settings);
    return plan;
  }
  throw new BatchError(
    'MODEL_UNSUPPORTED',
    `the built-in scorer feeds images ([n,h,w], [n,1 or 3,h,w] or [n,h,w,1 or 3]) and columns of tables ([n], [n,1] or ` +
      `[n,k]); the model takes ${inputs.map(describeValue).join(', ')}. Use a scoring script`,
  );
}

/** What is told of pixels has no meaning for columns, nor the other way round: whoever said it expects it to be heeded. */
function checkSettings(plan: InputPlan, inputs: readonly ModelValue[], settings: OnnxSettings): void {
  const { columns, features, missing, image } = settings;
  const plain = defaultOnnxSettings.image;
  const told =
    plan.kind === 'table'
      ? (Object.keys(plain) as (keyof OnnxImageSettings)[]).filter((key) => String(image[key]) !== String(plain[key]))
      : [
          ...(features !== null || Object.keys(columns).length > 0 ? ['columns'] : []),
          ...(missing === defaultOnnxSettings.missing ? [] : ['missing']),
        ];
  if (told.length === 0) return;
  const takes = `but the model takes ${inputs.map(describeValue).join(', ')}`;
  throw unsupported(
    plan.kind === 'table'
      ? `settings.onnx.image (or --scale) says ${told.join(', ')} for images, ${takes}, which are fed from columns of tables`
      : `settings.onnx.${told.join(' and ')} is for columns of tables, ${takes}, which is fed images`,
  );
}

/** `image: float32[batch,1,28,28]` */
export function describeValue(value: ModelValue): string {
  return value.isTensor ? `${value.name}: ${value.type}[${value.shape.join(',')}]` : `${value.name}: no tensor`;
}

/** `input image: float32 NCHW 1×28×28, gray, scale 1`, as the log of the host has it. */
export function describePlan(plan: InputPlan): string {
  if (plan.kind === 'table') return plan.inputs.map(describeTableInput).join('\n');
  const { layout, channels, height, width, mean, std } = plan;
  const [h, w] = [height ?? 'any height', width ?? 'any width'];
  const size = { nchw: `${channels}×${h}×${w}`, nhwc: `${h}×${w}×${channels}`, nhw: `${h}×${w}` }[layout];
  const normal = [mean.length > 0 ? `, mean ${mean.join(' ')}` : '', std.length > 0 ? `, std ${std.join(' ')}` : ''];
  const rows = plan.batch === null ? '' : `, ${plan.batch} at a time`;
  const scale = `scale ${Number(plan.scale.toPrecision(6))}`;
  return `input ${plan.input}: ${plan.type} ${layout.toUpperCase()} ${size}, ${plan.order}, ${scale}${normal.join('')}${rows}`;
}

function describeTableInput({ name, type, rank, width, columns }: TableInput): string {
  const shape = rank === 1 ? '[n]' : `[n,${width ?? 'k'}]`;
  if (columns !== null) return `input ${name}: ${type}${shape} from ${columns.join(', ')}`;
  return `input ${name}: ${type}${shape} from all columns that suit, in file order`;
}

function planTable(inputs: readonly ModelValue[], settings: OnnxSettings): TablePlan | null {
  const isTable = ({ isTensor, type, shape }: ModelValue): boolean =>
    isTensor && type in cellTypes && (shape.length === 1 || shape.length === 2);
  const batches = new Set(inputs.map((input) => fixed(input.shape[0])));
  if (inputs.length === 0 || !inputs.every(isTable) || batches.size > 1) return null;
  checkColumnNames(inputs, settings);
  return {
    kind: 'table',
    inputs: inputs.map((input) => planTableInput(input, inputs.length === 1, settings)),
    batch: fixed(inputs[0]?.shape[0]),
  };
}

function checkColumnNames(inputs: readonly ModelValue[], { columns, features }: OnnxSettings): void {
  const names = inputs.map((input) => input.name);
  const unknown = Object.keys(columns).find((name) => !names.includes(name));
  const takes = `the model takes ${inputs.map(describeValue).join(', ')}`;
  if (unknown !== undefined) {
    const near = nearestWord(unknown, names);
    const hint = near === null ? '' : `; did you mean ${near}?`;
    throw unsupported(`settings.onnx.columns maps the input ${unknown}, but ${takes}${hint}`);
  }
  if (features !== null && inputs.length > 1) {
    throw unsupported(`settings.onnx.columns is a list for one input, but ${takes}: map each input to its columns`);
  }
}

function planTableInput(input: ModelValue, isOnly: boolean, { columns, features }: OnnxSettings): TableInput {
  const { name, type, shape } = input;
  const rank = shape.length === 1 ? 1 : 2;
  const width = rank === 1 ? 1 : fixed(shape[1]);
  const told = features ?? (Object.hasOwn(columns, name) ? columns[name] : undefined);
  const list = told === undefined ? null : typeof told === 'string' ? [told] : told;
  if (list !== null && list.length > 1 && width !== null && width !== list.length) {
    throw unsupported(`settings.onnx.columns gives ${list.length} columns to ${describeValue(input)}`);
  }
  const isFeatures = isOnly && width !== 1 && type !== 'bool';
  return { name, type, rank, width, columns: list ?? (isFeatures ? null : [name]) };
}

/** Types of pixels. Wide integers are rather tokens or counts. */
const imageTypes = /^(float(16|32|64)|u?int8|uint16)$/;

function planImage(input: ModelValue, told: OnnxImageSettings): ImagePlan | null {
  if (!input.isTensor || !imageTypes.test(input.type)) return null;
  const found = layoutOf(input, told);
  if (found === null) return null;
  const order = told.channels ?? (found.channels === 1 ? 'gray' : 'rgb');
  if ((order === 'gray') !== (found.channels === 1)) {
    throw unsupported(`settings.onnx.image.channels is ${order}, but the model takes ${describeValue(input)}`);
  }
  for (const key of ['mean', 'std'] as const) {
    if (told[key].length > 1 && told[key].length !== found.channels) {
      const text = `settings.onnx.image.${key} has ${told[key].length} numbers, but the model takes ${describeValue(input)}`;
      throw unsupported(text);
    }
  }
  const { scale, mean, std } = told;
  const size = {
    height: sideOf('height', found.height, told, input),
    width: sideOf('width', found.width, told, input),
  };
  const { layout, channels } = found;
  const batch = fixed(input.shape[0]);
  return {
    kind: 'image',
    input: input.name,
    type: input.type,
    layout,
    channels,
    order,
    ...size,
    scale,
    mean,
    std,
    batch,
  };
}

interface FoundLayout {
  readonly layout: ImagePlan['layout'];
  readonly channels: 1 | 3;
  readonly height: number | null;
  readonly width: number | null;
}

/** By the axis that can be the channels; where both can, or neither says, by what the deployment tells. */
function layoutOf(input: ModelValue, told: OnnxImageSettings): FoundLayout | null {
  const [, second, third, fourth] = input.shape.map(fixed) as (number | null)[];
  if (input.shape.length === 3) return { layout: 'nhw', channels: 1, height: second ?? null, width: third ?? null };
  if (input.shape.length !== 4) return null;
  const toldChannels = told.channels === null ? null : told.channels === 'gray' ? 1 : 3;
  const channelsOf = (axis: number | null | undefined): 1 | 3 | null =>
    axis === 1 || axis === 3 ? axis : (axis ?? null) === null ? toldChannels : null;
  const [first, last] = [channelsOf(second), channelsOf(fourth)];
  const isLastFixed = fourth === 1 || fourth === 3;
  const isPlanesByShape = second === 1 || second === 3 || (first !== null && !isLastFixed);
  const isPlanes = told.layout === null ? isPlanesByShape : told.layout === 'nchw';
  const channels = isPlanes ? first : last;
  if (channels === null) {
    if (told.layout === null) return null;
    throw unsupported(`settings.onnx.image.layout is ${told.layout}, but the model takes ${describeValue(input)}`);
  }
  return isPlanes
    ? { layout: 'nchw', channels, height: third ?? null, width: fourth ?? null }
    : { layout: 'nhwc', channels, height: second ?? null, width: third ?? null };
}

function sideOf(
  side: 'height' | 'width',
  found: number | null,
  told: OnnxImageSettings,
  input: ModelValue,
): number | null {
  const wanted = told[side];
  if (wanted === null || found === null || wanted === found) return found ?? wanted;
  throw unsupported(`settings.onnx.image.${side} is ${wanted}, but the model takes ${describeValue(input)}`);
}

/** A dimension's number; null for a symbolic one, which has a name, an empty name or −1. */
function fixed(dimension: number | string | undefined): number | null {
  return typeof dimension === 'number' && dimension > 0 ? dimension : null;
}

const unsupported = (message: string): BatchError => new BatchError('MODEL_UNSUPPORTED', message);
